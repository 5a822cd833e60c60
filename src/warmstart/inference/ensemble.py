"""Ensemble: how do several saved models predict as one? By the weighted mean of their predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from warmstart.data.rows.read_columns import NO_COLUMNS
from warmstart.data.schema.cell_values import Values
from warmstart.tasks.task import Task
from warmstart.types import Array


class Predictor(Protocol):
    """What turns rows into a task's outputs, [n, k]: a network or a baseline. Not all read columns beside the texts."""

    def outputs(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> Array: ...


@dataclass(frozen=True)
class AveragedModels:
    """Models of the same task, each with its own calibration."""

    task: Task
    members: tuple[Predictor, ...]
    calibrations: tuple[Mapping[str, float], ...]
    weights: tuple[float, ...]  # of each member; their sum is 1

    def outputs(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> Array:
        """The outputs whose predictions are the mean of the members', float32 [n, k]."""
        each = [member.outputs(texts, columns) for member in self.members]
        return self.task.average(each, self.calibrations, self.weights)
