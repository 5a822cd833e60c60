"""Constant: what does always the same answer score: the floor for every other regime?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from warmstart.baselines.baseline import FitData, Fitted, save_baseline
from warmstart.data.rows.read_columns import NO_COLUMNS
from warmstart.data.schema.cell_values import Values
from warmstart.types import Array


@dataclass(frozen=True)
class Constant:
    """The same output for every text."""

    output: Array  # float32 [k]

    writer = None

    @property
    def weights(self) -> int:
        return len(self.output)

    def outputs(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> Array:
        return np.tile(self.output, (len(texts), 1))

    def flops(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> float:
        return 0.0

    def alone(self) -> "Constant":
        return self

    def save(self, folder: Path) -> None:
        save_baseline(folder, {"baseline": "constant"}, {"output": self.output})


def fit_constant(data: FitData) -> Fitted:
    """The median, or the shares of the classes. The seed changes nothing."""
    output = data.task.constant(data.task.targets(data.rows))
    return Fitted(Constant(output.astype(np.float32)), (), float(len(data.rows)), 0.0)
