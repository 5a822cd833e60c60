"""Logged: a problem with all the runs that `measure.py` wrote down, and what choosing a regime would have cost."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np

from measure import read_log, size_of_grid
from problems import PROBLEMS, Problem
from warmstart.study.curve_model import NextRun
from warmstart.study.race import rungs
from warmstart.types import Array

WORTH = 0.01
COMPARED = 3  # seeds of comparing everything: what `compare` runs unless told otherwise
Unit = Literal["seconds", "flops"]
UNITS: tuple[Unit, ...] = ("seconds", "flops")


@dataclass(frozen=True)
class Logged:
    """A problem with every run of it: [n] losses of the same test rows each time."""

    name: str
    whole: int
    higher_is_better: bool
    losses: Mapping[NextRun, Array]
    costs: Mapping[tuple[str, int], float]  # of a run of a regime on so many rows
    searches: Mapping[str, tuple[float, float]]  # of its rate, as a race and as a comparison do it

    @property
    def problem(self) -> Problem:
        """What was asked."""
        return PROBLEMS[self.name]

    @cached_property
    def truth(self) -> dict[str, Array]:
        """[n] losses with all rows, the mean of the seeds."""
        return {
            name: np.mean([lost for _, lost in sorted(self._whole(name).items())], axis=0)
            for name in dict.fromkeys(ask.arm for ask in self.losses)
        }

    def _whole(self, name: str) -> dict[int, Array]:
        """The losses on all rows, by seed."""
        return {ask.seed: lost for ask, lost in self.losses.items() if ask.arm == name and ask.rows == self.whole}

    @cached_property
    def best(self) -> str:
        return min(self.truth, key=lambda name: float(self.truth[name].mean()))

    def score(self, name: str) -> float:
        """1 - loss where higher is better, else the loss."""
        loss = float(self.truth[name].mean())
        return 1 - loss if self.higher_is_better else loss

    def regret(self, name: str) -> float:
        """How far a regime falls short of the best, as a share of the best one's score."""
        return float(self.truth[name].mean() - self.truth[self.best].mean()) / max(abs(self.score(self.best)), 1e-9)

    def as_good(self, name: str) -> bool:
        """Short of the best by no more than matters, or by no more than the test rows and seeds can tell (95 %)."""
        if self.regret(name) <= WORTH:
            return True
        return self.short_of(name, self.best) <= 0

    def short_of(self, name: str, other: str) -> float:
        """By how much a regime is surely worse than another: the lower bound (95 %) of the difference of their losses,
        over test rows and seeds.
        """
        apart = self.truth[name] - self.truth[other]
        ones, others = self._whole(name), self._whole(other)
        by_seed = [float((ones[seed] - others[seed]).mean()) for seed in ones if seed in others]
        error = math.hypot(apart.std(ddof=1) / math.sqrt(len(apart)), np.std(by_seed, ddof=1) / math.sqrt(len(by_seed)))
        return float(apart.mean()) - 1.96 * error

    @cached_property
    def everything(self) -> float:
        """What comparing all regimes with several seeds takes."""
        return sum(COMPARED * self.costs[name, self.whole] + self.searches[name][1] for name in self.truth)

    @property
    def searched_at(self) -> int:
        """The number of rows at which a race searches rates."""
        return next(rows for rows in rungs(self.whole) if 4 * rows >= self.whole)

    def cost(self, name: str, rows: int, searched: set[str]) -> float:
        """Of a run, with its search unless the regime's rate `searched` is known; infinite where no run is logged."""
        search = self.searches[name][0] if rows >= self.searched_at and name not in searched else 0.0
        return self.costs.get((name, rows), math.inf) + search


def whole_ones(log: Path, unit: Unit) -> list[Logged]:
    """The problems whose grid is complete, sorted by name, with costs in one unit."""
    found = {name: read_log(log / f"{name}.parquet") for name in sorted(PROBLEMS)}
    return [
        _logged(rows, unit)
        for name, rows in found.items()
        if len(rows) == size_of_grid(PROBLEMS[name]) and not any(row["losses"] is None for row in rows)
    ]


def _logged(rows: Sequence[Mapping[str, Any]], unit: Unit) -> Logged:
    whole = rows[0]["whole"]
    runs: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        cost = row["planned"] if unit == "seconds" else row["flops"]
        runs.setdefault((row["regime"], row["rows"]), []).append(cost)
    searches = dict.fromkeys((row["regime"] for row in rows), (0.0, 0.0))
    for row in rows:
        if unit == "seconds":
            searches[row["regime"]] = row["planned_search"], row["planned_whole_search"]
        elif row["search_flops"]:
            searches[row["regime"]] = row["search_flops"], row["search_flops"] * whole / row["rows"]
    return Logged(
        name=rows[0]["problem"],
        whole=whole,
        higher_is_better=rows[0]["higher_is_better"],
        losses={NextRun(row["regime"], row["rows"], row["seed"]): np.asarray(row["losses"], float) for row in rows},
        costs={run: fmean(costs) for run, costs in runs.items()},
        searches=searches,
    )
