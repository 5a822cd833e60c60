"""Tasks: which task belongs to a schema?"""

from typing import Any

from warmstart.data.encoding.batches import Batch
from warmstart.data.rows.split import Splits
from warmstart.data.schema.schema import Schema
from warmstart.tasks.classification import Classification
from warmstart.tasks.language import Language
from warmstart.tasks.regression import Regression
from warmstart.tasks.task import Loss, Objective, Task

__all__ = [
    "TASKS",
    "Batch",
    "Classification",
    "Language",
    "Loss",
    "Objective",
    "Regression",
    "Task",
    "task_for",
    "task_from_json",
]

TASKS: dict[str, type[Regression] | type[Classification] | type[Language]] = {
    "regression": Regression,
    "classification": Classification,
    "causal-lm": Language,
    "masked-lm": Language,
    "chat": Language,
    "summarise": Language,
    "translate": Language,
    "structured": Language,
}


def task_for(schema: Schema, splits: Splits) -> Task:
    """The task of a table: classes from all rows, mean and deviation from the training rows only."""
    return TASKS[schema.task].fit(schema, splits)


def task_from_json(facts: dict[str, Any]) -> Task:
    """The task that `to_json` described."""
    known = dict(facts)
    kind = TASKS[known["name"]]
    if kind is not Language:
        del known["name"]
    arguments: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in known.items()
    }
    return kind(**arguments)
