"""Baseline: what do all models keep that learn without the training loop: fit, predict, count, save?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from warmstart.baselines.embedder import Embedder
from warmstart.data.features.reading import Reading, columns_of
from warmstart.data.rows.read_columns import NO_COLUMNS
from warmstart.data.rows.split import Rows
from warmstart.data.schema.cell_values import Values
from warmstart.data.schema.columns import Column
from warmstart.generation.answers import AnswerWriter
from warmstart.regimes.search_space import NO_SEARCH, SearchEffort
from warmstart.results.record import SettingsSearch, Trial
from warmstart.runtime.endpoint import Endpoint
from warmstart.runtime.files import write_arrays, write_json
from warmstart.tasks.task import Task
from warmstart.types import Array

FACTS, WEIGHTS = "baseline.json", "baseline.safetensors"
TRAIN_AGAIN = "take a copy that is whole, or train again"


class Baseline(Protocol):
    """A fitted model without a network: used like one."""

    @property
    def writer(self) -> AnswerWriter | None:
        """What writes its answers; None for one of a task that predicts no text."""
        ...

    @property
    def weights(self) -> int:
        """How many numbers were learned; all of them are trainable."""
        ...

    def outputs(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> Array:
        """What a head gives for these rows, float32 [n, k]: a standardized value, or logits.

        `columns`: the values of the columns of a table, by name, each [n]; where there is a text alone, none.
        """
        ...

    def flops(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> float:
        """Analytic cost of `outputs`."""
        ...

    def alone(self) -> "Baseline":
        """The same as it is once it is saved: it reads every text anew, whatever a study has read before."""
        ...

    def save(self, folder: Path) -> None:
        """JSON and safetensors; `load_baseline` gives the same outputs to the bit."""
        ...


@dataclass(frozen=True)
class FitData:
    """What a baseline learns from."""

    task: Task
    rows: Rows
    seed: int = 0
    embedder: Embedder | None = None  # the base, unchanged, for those that read by it
    columns: tuple[Column, ...] = ()  # the kinds of the columns that are read; none: the rows are texts
    effort: SearchEffort = NO_SEARCH  # for settings beside those that are always chosen
    trials: Path | None = None  # folder for finished trials of that search; None: they are not kept
    validation: Rows | None = None  # rows to choose by, for those that do not choose on training rows; None: those
    endpoint: Endpoint | None = None  # that `prompted-endpoint` asks
    deadline: float = math.inf  # by time.perf_counter(), for those that ask a base

    @property
    def reading(self) -> Reading:
        return columns_of(self.rows, self.columns)


@dataclass(frozen=True)
class Fitted:
    """A baseline, how it was chosen, and what that cost."""

    baseline: Baseline
    trials: tuple[Trial, ...]
    flops: float  # of the fit itself
    tuning_flops: float
    caveats: tuple[str, ...] = ()
    search: SettingsSearch | None = None  # of more settings, where that was asked for


def save_baseline(folder: Path, facts: dict[str, object], arrays: dict[str, Array]) -> None:
    """The JSON last: where it is, the weights are too."""
    folder.mkdir(parents=True, exist_ok=True)
    write_arrays(folder / WEIGHTS, {name: np.ascontiguousarray(array) for name, array in arrays.items()})
    write_json(folder / FACTS, facts)
