"""Run data: which training, validation and test rows does one run use?"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from warmstart.data.rows.split import Rows, Splits
from warmstart.data.schema.schema import Schema
from warmstart.regimes.regimes import Regime
from warmstart.runtime.endpoint import Endpoint
from warmstart.runtime.sampling import spread_places
from warmstart.tasks.task import Task
from warmstart.tasks.tasks import task_for
from warmstart.training.frozen_prefix import SharedData
from warmstart.types import Array


@dataclass(frozen=True)
class DomainCorpus:
    """Texts of the domain, for stages that learn its language before the task."""

    splits: Splits
    shared: SharedData


@dataclass(frozen=True)
class RunData:
    """One sample of training rows with the validation and test rows: the same for every regime."""

    splits: Splits
    schema: Schema
    shared: SharedData
    seed: int
    min_effect: float = 0.01
    corpus: DomainCorpus | None = None  # None: the training rows' own texts
    general: tuple[str, ...] = ()  # texts on which forgetting is measured; none: what the base itself says
    replayed: tuple[str, ...] = ()  # others, for replay; none: what the base itself says
    interpolate: bool = False  # whether weights are mixed with the base's afterwards
    endpoint: Endpoint | None = None  # a chat model elsewhere, that one regime asks
    sample: Splits | None = None  # what the training rows are drawn from, alike for all regimes; None: themselves
    old_test: Rows | None = None  # what an earlier model was tested on: none is trained on

    @cached_property
    def task(self) -> Task:
        """The task with mean and deviation, or classes, of the sample of training rows."""
        return task_for(self.schema, self.sample or self.splits)

    @property
    def rows(self) -> int:
        """Training rows in the sample, whatever part of them a regime learns from."""
        return len((self.sample or self.splits).train)

    def fitted(self, regime: Regime) -> Regime:
        """The same regime fitted to these training rows, if its inputs depend on them."""
        start = self.shared.fitted(regime.start, self.task, self.splits.train, self.schema.columns)
        return regime if start is regime.start else replace(regime, start=start)

    def some(self, count: int) -> "RunData":
        """The same with at most so many rows of each part, spread evenly, which are encoded by themselves."""
        parts = {name: getattr(self.splits, name) for name in ("train", "val", "test")}
        if all(len(part) <= count for part in parts.values()):
            return self
        taken = {name: part.take(spread_places(count, len(part))) for name, part in parts.items()}
        splits = replace(self.splits, **taken)
        return replace(self, splits=splits, shared=SharedData(splits), sample=self.sample or self.splits)

    @cached_property
    def copied(self) -> Array:
        """bool [test]: whether the row's text is the same or nearly the same as that of a training row."""
        found: Array = np.isin(self.shared.alike(self.splits.test), self.shared.alike(self.splits.train))
        return found

    def better(self, score: float, other: float) -> bool:
        """Whether a value of the ranking metric beats another one."""
        return score > other if self.task.higher_is_better else score < other
