"""Texts: which real rows do the benchmarks train on, and how is a model judged on the rest?

One row a package of a Linux distribution: its text, and which of 57 sections it is in.
"""

import functools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from warmstart.data.encoding.language_inputs import CausalRows
from warmstart.data.encoding.packing import UNLABELED
from warmstart.data.rows.split import Rows, Splits, make_rows, split
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import ColumnChoices, Schema
from warmstart.data.tables.read import read_table
from warmstart.models.model import Model
from warmstart.models.pretrained.base import find_base
from warmstart.regimes.regimes import Regime
from warmstart.regimes.starts import Pretrained, Start
from warmstart.tasks.task import Task
from warmstart.training.config import TrainConfig
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.run_data import RunData
from warmstart.training.stages import TrainedStages, train_stages
from warmstart.training.validation import evaluate

WATCHED = 32  # validation rows that our training looks at once, at its end; peers look at none


@dataclass(frozen=True)
class Problem:
    """Rows to train on, held-out rows to be judged on, and the base that both sides start from."""

    splits: Splits
    schema: Schema
    base: str | None = None  # None: MiniLM

    @property
    def train(self) -> Rows:
        return self.splits.train

    @cached_property
    def start(self) -> Pretrained:
        return Pretrained(find_base(self.base))

    @cached_property
    def task(self) -> Task:
        return self.run_data(0).task

    @cached_property
    def everything(self) -> SharedData:
        """For judging outside of the time."""
        return SharedData(self.splits)

    def shared(self, held_out: bool = False) -> SharedData:
        """Nothing computed yet. Held-out rows are in it only where judging them is part of the time."""
        return SharedData(self.splits if held_out else replace(self.splits, test=self.splits.test.take(np.arange(0))))

    def run_data(self, seed: int, shared: SharedData | None = None) -> RunData:
        return RunData(self.splits, self.schema, shared or self.shared(), seed)

    def fit(self, regime: Regime, config: TrainConfig, shared: SharedData | None = None) -> Model:
        """Our own training."""
        steps = train_stages(regime, config, self.run_data(config.seed, shared), evaluations=1)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                trained: TrainedStages = stop.value
                return trained.model

    def accuracy(self, model: Model, start: Start | None = None, shared: SharedData | None = None) -> float:
        """Of the held-out rows, read as `start` reads (the base unless given); of documents their bits per byte."""
        inputs, test = self.task.reads((start or self.start).inputs), self.splits.test
        examples = (shared or self.everything).examples(inputs, test, self.task.targets(test))
        return evaluate(model, self.task, examples)[1]


@dataclass(frozen=True)
class Given:
    """What the command line names."""

    data: Path
    base: str | None = None  # None: MiniLM
    quick: bool = False  # only see that everything runs


@functools.cache
def packages(given: Given, column: str, rows: int, held_out: int) -> Problem:
    """`rows` packages to train on; others, of other sources, to be judged on."""
    table = read_table(given.data)
    schema = infer_schema(table, ColumnChoices("section", (column,), group="source"))
    splits = split(make_rows(table, schema, bad_rows="drop")[0], schema).subset(rows, seed=0)
    small = replace(splits, val=_spread(splits.val, WATCHED), test=_spread(splits.test, held_out))
    return Problem(small, schema, given.base)


@functools.cache
def documents(given: Given, column: str, rows: int, held_out: int, longest: int = 800) -> Problem:
    """Texts of at most so many characters, to be learned as they are; others to be judged on."""
    table = read_table(given.data)
    schema = infer_schema(table, ColumnChoices("", (column,), task="causal-lm"))
    splits = split(make_rows(table, schema, bad_rows="drop")[0], schema)
    train, val, test = (_shorter(part, longest) for part in (splits.train, splits.val, splits.test))
    splits = replace(splits, train=train).subset(rows, seed=0)
    small = replace(splits, val=_spread(val, WATCHED // 4), test=_spread(test, held_out))
    return Problem(small, schema, given.base)


@torch.no_grad()
def bits_per_byte(model: nn.Module, problem: Problem, start: Start | None = None) -> float:
    """Of the held-out documents by a transformers model, each by itself, in the tokens that ours reads."""
    rows = problem.task.reads((start or problem.start).inputs).encode(problem.splits.test.texts)
    assert isinstance(rows, CausalRows)
    model.eval()
    nats = 0.0
    for i in range(len(rows)):
        tokens, labels = (torch.from_numpy(part.row(i).astype(np.int64)) for part in (rows.tokens, rows.labels))
        logits = model(input_ids=tokens[None]).logits[0].float()
        nats += F.cross_entropy(logits, labels, ignore_index=UNLABELED, reduction="sum").item()
    return nats / math.log(2) / float(rows.bytes.sum())


def _shorter(rows: Rows, longest: int) -> Rows:
    return rows.take(np.flatnonzero([len(text) <= longest for text in rows.texts]))


def _spread(rows: Rows, count: int) -> Rows:
    return rows.take(np.arange(count) * len(rows) // count)


def save(problem: Problem, path: Path) -> None:
    """For another process, which then need not read the whole table."""
    parts = vars(problem.splits).items()
    rows = {name: [list(part.texts), part.targets.tolist()] for name, part in parts if isinstance(part, Rows)}
    path.write_text(json.dumps({"base": problem.base, "schema": problem.schema.to_json(), "rows": rows}))


def load(path: Path) -> Problem:
    """What `save` wrote."""
    facts = json.loads(path.read_text())
    first = iter(np.cumsum([1, *(len(texts) for texts, _ in facts["rows"].values())]).tolist())
    parts = {name: _rows(texts, targets, first) for name, (texts, targets) in facts["rows"].items()}
    return Problem(Splits(**parts, fingerprint=""), Schema.from_json(facts["schema"]), facts["base"])


def _rows(texts: list[str], targets: list[str], first: Iterator[int]) -> Rows:
    start = next(first)
    numbers = np.arange(start, start + len(texts))
    return Rows(tuple(texts), np.array(targets, dtype=object), numbers, tuple(map(str, numbers)))
