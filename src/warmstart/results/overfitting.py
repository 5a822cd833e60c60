"""Overfitting: what has a regime learned, and what has it only memorized?

The gap between its training rows and the test rows and, among test rows, the gap between those that are a copy or near
copy of a training row and the others.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from warmstart.results.bootstrap import Resampled, resample
from warmstart.results.record import Interval, Run
from warmstart.types import Array

MIN_COPIES = 20  # test rows with copies, and without: below, nothing is said of them


@dataclass(frozen=True)
class OverfittingGap:
    """How much worse a regime is on test rows than on rows that it was trained on, over seeds."""

    train: float  # the metric on some of the training rows
    test: float
    gap: float  # turned: positive is worse on test rows
    interval: Interval
    rows: int  # training rows that were scored

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"interval": list(self.interval)}


@dataclass(frozen=True)
class Memorization:
    """The metric on test rows with a copy among the training rows, and on the others, over seeds."""

    copied: float
    others: float
    difference: float  # turned: positive is better on copies
    interval: Interval
    rows: int  # test rows with a copy: the fewest of any seed

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"interval": list(self.interval)}


def overfitting_gap(runs: Sequence[Run], test: Resampled) -> OverfittingGap | None:
    """`test`: the same seeds on the test rows. None if training rows were not scored like the test rows."""
    scores = [run.train_scores for run in runs if run.train_scores is not None]
    if not scores or len(scores) < len(runs) or len({len(each) for each in scores}) > 1:
        return None
    train = _learned(scores, [run.train_groups for run in runs])
    difference = Resampled(
        measured=train.measured - test.measured,
        drawn=train.drawn[::-1] - test.drawn,  # other rows: so other draws, even where there are as many
        rows=min(train.rows, test.rows),
        unseen=train.unseen + test.unseen,
        bounds=Interval(-math.inf, math.inf),
    )
    turned = difference if runs[0].higher_is_better else -difference
    return OverfittingGap(train.mean, test.mean, turned.mean, turned.interval, train.rows)


def _learned(scores: Sequence[Array], groups: Sequence[Array | None]) -> Resampled:
    """The metric on training rows: each seed has its own rows and groups."""
    seeds = [resample([each], groups=group) for each, group in zip(scores, groups, strict=True)]
    measured = np.concatenate([seed.measured for seed in seeds])
    drawn = np.concatenate([seed.drawn for seed in seeds], axis=1)
    return replace(seeds[0], measured=measured, drawn=drawn, unseen=max(seed.unseen for seed in seeds))


def memorization(runs: Sequence[Run], groups: Array | None = None) -> Memorization | None:
    """Paired within the resamples of test rows. None if copies were not searched, or if one side has few rows."""
    if not runs or not all("copied" in run.predictions for run in runs):
        return None
    copied = [np.asarray(run.predictions["copied"], dtype=np.float64)[:, None] for run in runs]
    fewest = min(int(each.sum()) for each in copied)
    if fewest < MIN_COPIES or min(int((1 - each).sum()) for each in copied) < MIN_COPIES:
        return None
    pairs = list(zip(runs, copied, strict=True))
    of_copies = resample([run.scores * each for run, each in pairs], groups=groups)
    of_others = resample([run.scores * (1 - each) for run, each in pairs], groups=groups)
    difference = of_copies - of_others
    turned = difference if runs[0].higher_is_better else -difference
    return Memorization(of_copies.mean, of_others.mean, turned.mean, turned.interval, fewest)
