"""Regression: how is a number learned on a standardized (log) scale, and predicted in its own units?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from warmstart.data.encoding.batches import Batch
from warmstart.data.encoding.inputs import Inputs
from warmstart.data.rows.split import Rows, Splits
from warmstart.data.schema.numbers import mean_and_deviation
from warmstart.data.schema.schema import Scale, Schema
from warmstart.results.metrics import LOWER_IS_BETTER, PERCENTAGE_ERROR
from warmstart.tasks.head import linear_head
from warmstart.tasks.linearized_metrics import explained, root_mean
from warmstart.types import Array

# name -> (to the training scale, back to the target's units). Outputs are clipped before 10**x so that a wild
# prediction stays a finite number that can be stored and averaged.
SCALES: dict[Scale, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "linear": (lambda y: y, lambda z: z),
    "log10": (np.log10, lambda z: 10.0 ** np.clip(z, -300, 300)),
    "log10(1+x)": (lambda y: np.log10(1 + y), lambda z: np.maximum(10.0 ** np.clip(z, -300, 300) - 1, 0)),
}
ROUNDING = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-14}  # of standardized values, on their way back
COVERAGE = 0.9  # of the prediction interval
FEWEST_FOR_INTERVAL = 20  # validation rows: below, the 90 % quantile is the largest or second largest error


@dataclass(frozen=True)
class Regression:
    """A number for each text. Ranked by mean absolute error on the scale it is trained on."""

    target: str
    scale: Scale
    mean: float  # of the scaled target over the training rows
    deviation: float
    ranked_by: str = ""  # another metric than the mean absolute error

    name = "regression"
    writes = learns_language = ranks_by_writing = False
    generative = None
    margins = None

    @classmethod
    def fit(cls, schema: Schema, splits: Splits) -> "Regression":
        """Mean and deviation of the training rows, without outliers."""
        mean, deviation = mean_and_deviation(SCALES[schema.scale][0](splits.train.targets.astype(np.float64)))
        return cls(schema.target, schema.scale, mean, deviation or 1.0, schema.metric)

    @property
    def metric(self) -> str:
        return self.ranked_by or "mean absolute error"

    @property
    def higher_is_better(self) -> bool:
        return self.metric not in LOWER_IS_BETTER

    @property
    def units(self) -> str:
        return {
            "linear": self.target,
            "log10": f"log10({self.target})",
            "log10(1+x)": f"log10(1+{self.target})",
        }[self.scale]

    def reads(self, inputs: Inputs) -> Inputs:
        return inputs

    def head(self, width: int, seed: int) -> nn.Module:
        return linear_head(width, 1, seed)

    def targets(self, rows: Rows) -> Array:
        """Standardized, float32 [n]."""
        return self.exact_targets(rows).astype(np.float32)

    def soft_targets(self, targets: Tensor) -> None:
        return None

    def exact_targets(self, rows: Rows) -> Array:
        """Standardized, float64 [n]: float32 has seven digits, which a large number beside small ones uses up."""
        scaled = SCALES[self.scale][0](rows.targets.astype(np.float64))
        return (scaled - self.mean) / self.deviation

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean absolute error in deviations, or mean squared error: the loss is what the regimes are ranked by."""
        return self.output_loss(model(batch.inputs), batch.targets)

    def output_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        judged = functional.mse_loss if self.ranked_by else functional.l1_loss
        return judged(outputs.squeeze(-1).float(), targets)

    def row_weights(self, targets: Array) -> None:
        """None: all count alike."""

    def constant(self, targets: Array) -> Array:
        return np.mean(targets, keepdims=True) if self.ranked_by else np.median(targets, keepdims=True)

    def calibrate(self, outputs: Array, targets: Array) -> dict[str, float]:
        """Split conformal: the half-width, in deviations, that covers 90 % of new rows like the validation rows."""
        n = len(targets)
        if n < FEWEST_FOR_INTERVAL:
            return {}
        rank = int(np.ceil((n + 1) * COVERAGE))
        return {"quantile": float(np.sort(np.abs(outputs[:, 0] - targets))[rank - 1])}

    def score(self, outputs: Array, targets: Array, calibration: Mapping[str, float]) -> Array:
        error = np.abs(outputs[:, 0].astype(np.float64) - targets) * self.deviation
        if self.ranked_by:
            squares, truth = error**2, targets.astype(np.float64) * self.deviation
            return explained(squares, truth) if self.ranked_by == "R2" else root_mean(squares)
        return np.stack([error, np.ones_like(error)], axis=1)

    @np.errstate(over="ignore")  # what is squared may have no number
    def metrics(self, outputs: Array, targets: Array, calibration: Mapping[str, float]) -> dict[str, float]:
        scaled, truth = (self._scaled(x) for x in (outputs[:, 0], targets))
        own, true = self._own(outputs[:, 0]), np.array(self.truths(targets))
        found = {
            f"MAE ({self.units})": _mean(np.abs(scaled - truth)),
            f"RMSE ({self.units})": float(np.sqrt(np.mean((scaled - truth) ** 2))),
            f"R2 ({self.units})": _r2(scaled, truth),
        }
        if self.scale != "linear":
            found |= {
                f"MAE ({self.target})": _mean(np.abs(own - true)),
                f"RMSE ({self.target})": float(np.sqrt(np.mean((own - true) ** 2))),
                f"R2 ({self.target})": _r2(own, true),
            }
        nonzero = true != 0
        if nonzero.any():
            share = np.abs(own[nonzero] - true[nonzero]) / np.abs(true[nonzero])
            found[PERCENTAGE_ERROR] = 100 * float(np.median(share))
        if "quantile" in calibration:
            inside = np.abs(outputs[:, 0] - targets) <= calibration["quantile"]
            found["coverage of the 90 % interval"] = _mean(inside)
        return found

    def predictions(self, outputs: Array, calibration: Mapping[str, float]) -> dict[str, list[Any]]:
        center = outputs[:, 0].astype(np.float64)
        columns = {"prediction": self._own(center).tolist()}
        if "quantile" in calibration:
            width = calibration["quantile"]
            columns |= {"low": self._own(center - width).tolist(), "high": self._own(center + width).tolist()}
        return columns

    def probabilities(self, outputs: Array, calibration: Mapping[str, float]) -> None:
        """None: there are no classes."""

    def average(
        self, outputs: Sequence[Array], calibrations: Sequence[Mapping[str, float]], weights: Sequence[float]
    ) -> Array:
        """The mean on the scale that is trained on."""
        mean = np.tensordot(np.asarray(weights), np.stack([each.astype(np.float64) for each in outputs]), axes=1)
        return np.asarray(mean, dtype=np.float32)

    def changes(self, outputs: Array, calibration: Mapping[str, float]) -> Callable[[Array, Array], dict[str, Array]]:
        """'moved' and 'shift' on the scale that it is trained on; with '_units' as well where that is another one."""
        own = self._own(outputs[:, 0].astype(np.float64))
        scaled = SCALES[self.scale][0](own)

        def between(a: Array, b: Array) -> dict[str, Array]:
            on_scale, in_units = scaled[b] - scaled[a], own[b] - own[a]
            beside = {"moved_units": np.abs(in_units), "shift_units": in_units} if self.scale != "linear" else {}
            return {"moved": np.abs(on_scale), "shift": on_scale} | beside

        return between

    def truths(self, targets: Array) -> list[Any]:
        own = self._own(targets)
        if self.scale != "log10":  # of which no zero has a logarithm
            own[np.abs(own) < ROUNDING[targets.dtype] * (abs(self.mean) + self.deviation)] = 0.0
        return list(own.tolist())

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, **vars(self)}

    def _scaled(self, standardized: Array) -> Array:
        return standardized.astype(np.float64) * self.deviation + self.mean

    def _own(self, standardized: Array) -> Array:
        return SCALES[self.scale][1](self._scaled(standardized))


def _mean(values: Array) -> float:
    return float(np.mean(values))


def _r2(predicted: Array, true: Array) -> float:
    spread = float(np.sum((true - true.mean()) ** 2))
    return 1 - float(np.sum((predicted - true) ** 2)) / spread if spread > 0 else 0.0
