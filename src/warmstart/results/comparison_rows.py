"""Comparison rows: what does a comparison say about one regime, and about the difference of two?"""

import math
from dataclasses import dataclass
from typing import Any

from warmstart.results.forgetting_summary import ForgettingSummary
from warmstart.results.record import Interval, SettingsSearch


@dataclass(frozen=True)
class Difference:
    """Score of `a` minus score of `b`, with the sign set so that positive means `a` is better."""

    a: str
    b: str
    rows: int
    difference: float
    interval: Interval
    p_a_better: float

    def to_json(self) -> dict[str, Any]:
        """An entry of `differences` in comparison.json."""
        return {
            "a": self.a,
            "b": self.b,
            "rows": self.rows,
            "difference": self.difference,
            "interval": list(self.interval),
            "p_a_better": self.p_a_better,
        }


@dataclass(frozen=True)
class Row:
    """One regime at one number of training rows: the mean over its seeds."""

    name: str
    family: str  # "baseline" | "scratch" | "fine-tuned"
    rows: int
    score: float  # not a number where no seed came to a score
    interval: Interval
    seeds: tuple[int, ...]  # that the score is the mean of
    lr: float | None  # the median, where seeds have their own
    converged: bool  # every seed
    failed: str | None  # why it cannot win: more than half of its seeds failed
    latency_ms: float | None
    disk_bytes: int
    flops: float
    seconds: float
    seconds_range: tuple[float, float]  # fastest and slowest seed
    peak_memory_bytes: int | None
    trainable: int
    total: int
    bytes_saved: int
    caveats: tuple[str, ...]
    retention: ForgettingSummary | None = None  # None: nothing to forget, or not measured
    search: SettingsSearch | None = None  # of its first seed; None: only rates were searched
    base_bytes: int = 0  # of the base that predict needs beside the saved model
    start: str = "-"  # the base, or what else it starts from

    def to_json(self) -> dict[str, Any]:
        """An entry of `regimes` in comparison.json."""
        return {
            "name": self.name,
            "family": self.family,
            "start": self.start,
            "score": _number(self.score),
            "interval": [_number(bound) for bound in self.interval],
            "seeds": list(self.seeds),
            "rows": self.rows,
            "lr": self.lr,
            "converged": self.converged,
            "failed": self.failed,
            "latency_ms": self.latency_ms,
            "disk_bytes": self.disk_bytes,
            "base_bytes": self.base_bytes,
            "cost": {
                "flops": self.flops,
                "seconds": self.seconds,
                "seconds_range": list(self.seconds_range),
                "peak_memory_bytes": self.peak_memory_bytes,
                "trainable": self.trainable,
                "total": self.total,
                "bytes_saved": self.bytes_saved,
            },
            "caveats": list(self.caveats),
            "retention": self.retention.to_json() if self.retention else None,
            "search": self.search.to_json() if self.search else None,
        }

    def point_to_json(self) -> dict[str, Any]:
        """An entry of the points of a learning curve."""
        return {"rows": self.rows, "score": _number(self.score), "interval": [_number(b) for b in self.interval]}


def _number(value: float) -> float | None:
    """JSON has no 'not a number'."""
    return value if math.isfinite(value) else None
