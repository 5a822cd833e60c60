"""Forgetting summary: what did a regime forget, over all its seeds?"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from warmstart.results.bootstrap import resample
from warmstart.results.record import Interval

FrontierPoint = dict[str, float]


@dataclass(frozen=True)
class ForgettingSummary:
    """What a regime with pretrained weights forgot: means over its seeds; None if not measured."""

    nats: float | None  # rise of the cross-entropy on general text, nats a token
    kl: float | None  # KL(base || tuned) on the task's inputs, nats a token
    progress_lost: float | None  # share of what pre-training had gained
    drift: float | None  # of the representations: mean of 1 - cosine over texts
    drift_cka: float | None  # the same by 1 - linear CKA
    intervals: dict[str, Interval]  # of those of the first four that are known
    frontier: tuple[dict[str, float], ...]  # "mix", "score" (validation), "forgotten": means over its seeds
    matched: dict[str, float] | None  # the mix that each seed took of it: means
    frontier_by: dict[str, str] | None  # the metric of "score", the measure of "forgotten"

    def to_json(self) -> dict[str, Any]:
        intervals = {name: list(interval) for name, interval in self.intervals.items()}
        return vars(self) | {"intervals": intervals, "frontier": list(self.frontier)}


def summarize_forgetting(kept: Sequence[dict[str, Any]]) -> ForgettingSummary | None:
    """Means over seeds that were measured on the same texts; measures that some seeds lack are left out."""
    if not kept:
        return None
    drawn = {}
    for name in ("nats", "kl", "progress_lost", "drift"):
        columns = [each["by_text"][name] for each in kept if name in each["by_text"]]
        values = [np.stack([column["value"], column["weight"]], axis=1) for column in columns]
        if len({len(pairs) for pairs in values}) == 1 and len(values) == len(kept):
            drawn[name] = resample(values)
    shapes = [each["drift_cka"] for each in kept if each["drift_cka"] is not None]
    nats, kl, lost, drift = (drawn[n].mean if n in drawn else None for n in ("nats", "kl", "progress_lost", "drift"))
    # where the body never moved nothing is uncertain
    intervals = {name: found.interval for name, found in drawn.items() if found.mean != 0}
    shape = fmean(shapes) if len(shapes) == len(kept) else None
    return ForgettingSummary(nats, kl, lost, drift, shape, intervals, *_swept(kept))


def _swept(
    kept: Sequence[dict[str, Any]],
) -> tuple[tuple[FrontierPoint, ...], FrontierPoint | None, dict[str, str] | None]:
    """The frontier, the chosen mix, their measures: over seeds that tried the same mixes, else of the first seed."""
    swept = [each for each in kept if each["frontier"]]
    if not swept:
        return (), None, None
    tried = [[point["mix"] for point in each["frontier"]] for each in swept]
    swept = swept if all(mixes == tried[0] for mixes in tried) else swept[:1]
    points = zip(*(each["frontier"] for each in swept), strict=True)
    return tuple(map(_mean, points)), _mean([each["matched"] for each in swept]), swept[0].get("frontier_by")


def _mean(points: Sequence[FrontierPoint]) -> FrontierPoint:
    return {key: fmean(point[key] for point in points) for key in points[0]}
