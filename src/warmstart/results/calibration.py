"""Calibration: how well calibrated are predicted probabilities on test rows? Measured here, fitted by the task.

For classes, the expected calibration error: rows are put into bins of equal size by the probability of the predicted
class, and in each bin the mean probability is compared with the share of right answers. Few rows make a gap by chance
alone, and so does resampling them: what the resamples add to the error is subtracted, once, and the interval is the
basic bootstrap. No resample comes close to zero, though. So the interval reaches down to zero if calibrated
probabilities would show such an error in more than 5 % of cases. In simulations with known errors (100 to 1,000 rows),
92 to 100 % of the intervals contained the truth. For sets of labels, the same over every predicted label; the labels of
a row are resampled together. For numbers: the share of test rows inside their own interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from warmstart.results.bootstrap import Resampled, redrawn, resample, wilson
from warmstart.results.record import Interval, Run
from warmstart.types import Array

BINS = 10
MIN_CALIBRATION_ROWS = 50  # test rows, or labels predicted: below, bins hold too little to say anything
CASES = 400  # simulated, of probabilities that mean what they say
COVERED = 0.9  # of the rows, that the interval of a number is meant to hold


@dataclass(frozen=True)
class Bin:
    """Test rows, or labels predicted for them, with similar probabilities."""

    rows: int  # of each seed
    probability: float  # mean
    right: float  # share
    interval: Interval


@dataclass(frozen=True)
class Probabilities:
    """The classes or labels that one seed's model predicted."""

    rows: int  # tested
    row: Array  # int [m]: which of them each is said of
    probability: Array  # float [m]
    right: Array  # 0/1 [m]
    unit: str  # "rows" where one class is said of each row, else "labels"

    def of_rows(self, values: Array) -> Array:
        """Sums over the predictions of each row: [m, k] to [rows, k]."""
        sums = np.zeros((self.rows, values.shape[1]))
        np.add.at(sums, self.row, values)
        return sums


@dataclass(frozen=True)
class RunCalibration:
    """Probabilities of predicted classes compared with how often they were correct, over seeds."""

    error: float  # expected calibration error, 0 perfect
    interval: Interval
    surplus: float  # mean probability less the share right: positive is overconfident
    surplus_interval: Interval
    bins: tuple[Bin, ...]
    unit: str  # what there are so many of in a bin: "rows" or "labels"


@dataclass(frozen=True)
class Calibration:
    """Calibration of a regime: `fitted` with the temperature in use, `raw` without. Labels have no temperature."""

    fitted: RunCalibration | None = None
    raw: RunCalibration | None = None  # None: no temperature was fitted
    temperature: float | None = None  # the median over seeds
    coverage: float | None = None  # of the interval of a number
    coverage_interval: Interval | None = None

    def to_json(self) -> dict[str, Any]:
        """For `comparison.json`."""
        if self.coverage is not None and self.coverage_interval is not None:
            return {"nominal": COVERED, "coverage": self.coverage, "interval": list(self.coverage_interval)}
        raw = self.raw and {"error": self.raw.error, "interval": list(self.raw.interval)}
        return _sureness_json(self.fitted) | {"temperature": self.temperature, "uncalibrated": raw}


def _sureness_json(found: RunCalibration | None) -> dict[str, Any]:
    assert found is not None, "of classes, or else of numbers"
    return {
        "error": found.error,
        "interval": list(found.interval),
        "overconfidence": {"value": found.surplus, "interval": list(found.surplus_interval)},
        "bins": [vars(each) | {"interval": list(each.interval)} for each in found.bins],
    }


def calibration(runs: Sequence[Run], groups: Array | None = None) -> Calibration | None:
    """Calibration of one regime's seeds on the same test rows; None if there are no probabilities, or too few rows.

    `groups`: int [n], if whole groups of test rows are resampled.
    """
    if not runs or len(runs[0].scores) < MIN_CALIBRATION_ROWS:
        return None
    if all("low" in run.predictions for run in runs):
        drawn = resample([_inside(run) for run in runs], groups=groups)
        return Calibration(coverage=drawn.mean, coverage_interval=drawn.interval)
    if not all("probability" in run.predictions for run in runs):
        return None
    said = [_said(run, "probability") for run in runs]
    if min(len(each.row) for each in said) < MIN_CALIBRATION_ROWS:
        return None
    temperatures = [run.calibration["temperature"] for run in runs if "temperature" in run.calibration]
    raw = all("raw_probability" in run.predictions for run in runs)
    return Calibration(
        fitted=run_calibration(said, groups),
        raw=run_calibration([_said(run, "raw_probability") for run in runs], groups) if raw else None,
        temperature=median(temperatures) if temperatures else None,
    )


def _said(run: Run, column: str) -> Probabilities:
    """The predicted class of each test row, or all its labels, with the probability in this column."""
    found, rows = run.predictions, len(run.scores)
    if not isinstance(found[column][0], list):
        return Probabilities(rows, np.arange(rows), np.array(found[column]), run.scores[:, 0], "rows")
    labels = list(zip(found["prediction"], found[column], found["target"], strict=True))
    row = np.repeat(np.arange(rows), [len(predicted) for predicted, _, _ in labels])
    probability = np.array([p for _, probabilities, _ in labels for p in probabilities], dtype=np.float64)
    right = np.array([label in true for predicted, _, true in labels for label in predicted], dtype=np.float64)
    return Probabilities(rows, row, probability, right, "labels")


def _inside(run: Run) -> Array:
    low, high, true = (np.asarray(run.predictions[name], dtype=np.float64) for name in ("low", "high", "target"))
    inside = ((low <= true) & (true <= high)).astype(np.float64)
    return np.stack([inside, np.ones_like(inside)], axis=1)


def run_calibration(runs: Sequence[Probabilities], groups: Array | None = None) -> RunCalibration:
    """Calibration of the predictions of a regime's seeds for the same test rows."""
    seeds = len(runs)
    edges = np.unique(np.quantile(np.concatenate([run.probability for run in runs]), np.linspace(0, 1, BINS + 1)))[1:-1]
    hot = [(np.searchsorted(edges, run.probability)[:, None] == np.arange(len(edges) + 1)) * 1.0 for run in runs]
    weight = [run.of_rows(np.ones((len(run.row), 1))) for run in runs]
    off = [run.of_rows((run.probability - run.right)[:, None] * each) for run, each in zip(runs, hot, strict=True)]
    columns = [np.column_stack(each) for each in zip(off, weight, strict=True)]
    drawn = np.stack([_errors(redrawn(each, groups)) for each in columns], axis=1)
    measured = np.concatenate([_errors(each.sum(axis=0, keepdims=True)) for each in columns])
    error = Resampled(
        measured=2 * measured - drawn.mean(axis=0),
        drawn=2 * measured - drawn,
        rows=runs[0].rows,
        unseen=0.0,
        bounds=Interval(0.0, 1.0),
    )
    beyond = [np.column_stack([each.sum(axis=1), ones]) for each, ones in zip(off, weight, strict=True)]
    surplus = resample(beyond, groups=groups)
    probability, right = (np.concatenate([getattr(run, name) for run in runs]) for name in ("probability", "right"))
    held = np.concatenate(hot)
    counts = held.sum(axis=0)
    bins = [
        Bin(
            rows=round(counts[place] / seeds),
            probability=float(probability @ held[:, place] / counts[place]),
            right=(share := float(right @ held[:, place] / counts[place])),
            interval=wilson(share, max(1, round(counts[place] / seeds))),
        )
        for place in np.flatnonzero(counts)
    ]
    low, high = error.interval
    if measured.mean() <= np.quantile(_by_chance(runs[0].probability, hot[0]), 0.95):
        low = 0.0
    return RunCalibration(
        error=min(max(error.mean, 0.0), 1.0),
        interval=Interval(low, max(low, high)),
        surplus=surplus.mean,
        surplus_interval=surplus.interval,
        bins=tuple(bins),
        unit=runs[0].unit,
    )


def _errors(sums: Array) -> Array:
    """Calibration errors [draws] from sums per bin [draws, bins] and the number of predictions."""
    errors: Array = np.abs(sums[:, :-1]).sum(axis=1) / np.maximum(sums[:, -1], 1.0)
    return errors


def _by_chance(probability: Array, hot: Array) -> Array:
    """Errors [cases] to expect if each row [n] is correct with its own probability; `hot` are its bins."""
    random = np.random.default_rng(0)
    right = random.random((CASES, len(probability))) < probability
    errors: Array = np.abs((probability - right) @ hot).sum(axis=1) / len(probability)
    return errors
