"""Comparison: how do the regimes of a study compare, with every difference paired by example?"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from statistics import fmean, median
from typing import Any

import numpy as np
import pyarrow as pa

from warmstart.errors import UsageError, did_you_mean, join_phrases
from warmstart.results.bootstrap import Resampled, resample, resample_splits
from warmstart.results.calibration import Calibration, calibration
from warmstart.results.comparison_rows import Difference, Row
from warmstart.results.comparison_table import comparison_display, comparison_table
from warmstart.results.constraints import Excluded
from warmstart.results.display import Display, Tabular
from warmstart.results.forgetting_summary import summarize_forgetting
from warmstart.results.learning_curves import (
    MAX_EXTRAPOLATION,
    Crossover,
    CurveForecast,
    Law,
    Transfer,
    best_scratch,
    crossover,
    law,
    transfers,
)
from warmstart.results.metrics import HIGHEST
from warmstart.results.names import PREVIOUS
from warmstart.results.old_scores import OldScore, old_score
from warmstart.results.overfitting import Memorization, OverfittingGap, memorization, overfitting_gap
from warmstart.results.record import Interval, Run
from warmstart.results.refit_record import Refit
from warmstart.runtime.environment import version
from warmstart.types import Array

CONSTANT = "constant"
_UNKNOWN = Interval(math.nan, math.nan)


@dataclass(frozen=True, repr=False)
class Comparison(Tabular):
    """All runs of a study, and their evaluation."""

    runs: tuple[Run, ...]
    task: str
    metric: str
    higher_is_better: bool
    units: str  # of the metric: "log10(price)", "" for accuracy
    fingerprint: str
    rows: dict[str, int]  # {"train", "val", "test"}
    target: str
    min_effect: float  # smallest relative gain that matters, 0.01
    cuts: tuple[str, ...]  # what the budget cut, in words
    caveats: tuple[str, ...]  # of the study as a whole: dropped rows, truncation, rare classes
    noise_floor: float | None = None  # best reachable score, where it is known (the demo's catalog)
    excluded: tuple[Excluded, ...] = ()  # by the constraints: not trained, or trained and not to be chosen
    unranked_flops: float = 0.0  # of trainings that others of another length took the place of
    full_estimate: float | None = None  # seconds that it was estimated to take without the cuts; None: not cut
    # regime -> seconds that its search and one run on all rows were estimated to take
    estimates: Mapping[str, float] = field(default_factory=dict)
    available: int | None = None  # training rows that there were; None: not known
    command: str = ""  # what is typed to repeat the study
    mismatch: dict[str, Any] | None = None  # of the texts and the base: `Mismatch.to_json`; None: not measured
    refit: Refit | None = None  # of the winner on more rows; None: it was not trained again
    splits: int = 1  # how often the rows were split: of several, each seed has its own

    @cached_property
    def table(self) -> tuple[Row, ...]:
        """Every regime at its most training rows: best first, then regimes with fewer rows, failed ones last."""
        rows = (self._rows[name, self._sizes(name)[-1]] for name in self.names)
        return tuple(sorted(rows, key=self._rank))

    @cached_property
    def groups(self) -> Array | None:
        """int [n]: the group of each test row; None where rows were not grouped."""
        runs = [run for run in self.runs if self.splits == 1 or run.seed == self._first_seed]
        return next((run.test_groups for run in runs if run.test_groups is not None), None)

    @cached_property
    def partial(self) -> tuple[Row, ...]:
        """Table rows of regimes that were not run on all rows, though others were or should have been."""
        return tuple(row for row in self.table if row.failed is None and row.rows < self.rows["train"])

    @cached_property
    def predictions(self) -> dict[str, CurveForecast]:
        """Predicted scores on all rows for regimes that were run on parts of them, at two sizes or more."""
        whole = self.rows["train"]
        known = {row.name: self.laws[row.name] for row in self.partial if row.name in self.laws}
        return {name: law.at(whole) for name, law in known.items() if whole <= MAX_EXTRAPOLATION * law.line.rows[-1]}

    def row_at(self, name: str, rows: int) -> Row | None:
        """The regime at a number of training rows; None if it was not run on so many."""
        return self._rows.get((name, rows))

    @property
    def names(self) -> tuple[str, ...]:
        """The regimes in the order in which they were run."""
        return tuple(dict.fromkeys(run.regime for run in self.runs))

    def row(self, name: str) -> Row:
        """The table row of this name."""
        self._check(name)
        return next(row for row in self.table if row.name == name)

    def without(self, names: Collection[str]) -> "Comparison":
        """The same comparison without these regimes."""
        return replace(self, runs=tuple(run for run in self.runs if run.regime not in names))

    def difference(self, a: str, b: str, rows: int | None = None) -> Difference:
        """How much better `a` is than `b` on the seeds of both, at `rows` (default: the most that both have)."""
        if rows is None:
            sizes = self.common_rows(a, b)
            rows = sizes[-1] if sizes else self._sizes(a)[-1]
        paired = self.paired(a, b, rows)
        return Difference(a, b, rows, paired.mean, paired.interval, paired.p_above_zero)

    def common_rows(self, a: str, b: str) -> tuple[int, ...]:
        """Numbers of training rows at which both have a finished seed in common: those of `difference`."""
        return tuple(rows for rows in self._sizes(a) if self._common_seeds([(a, rows), (b, rows)]))

    def paired(self, a: str, b: str, rows: int) -> Resampled:
        """What `difference` is computed from: per common seed and resample of the test rows, how much better `a` is."""
        first, second = self._turned([(a, rows), (b, rows)])
        return first - second

    def paired_rows(self, a: Row, b: Row) -> Resampled:
        """The same of two rows of the table, which may have been trained on different numbers of rows.

        Raises UsageError if they have no seed in common.
        """
        first, second = self._turned([(a.name, a.rows), (b.name, b.rows)])
        return first - second

    def drawn(self, names: Sequence[str], rows: int) -> Array:
        """[draws, names]: each score in the same resamples of test rows and seeds, with the sign set so that more is
        better.
        """
        return np.stack([turned.draws for turned in self._turned([(name, rows) for name in names])], axis=1)

    def to_table(self) -> pa.Table:
        """One line for each regime, best first: its mean score over seeds with a 95 % interval, and its cost."""
        return comparison_table(self.table)

    def _display(self) -> Display:
        return comparison_display(self)

    def to_json(self) -> dict[str, Any]:
        """The public `comparison.json`."""
        ranked = [row for row in self.table if row.failed is None]
        return {
            "warmstart": version("warmstart"),
            "task": self.task,
            "metric": self.metric,
            "higher_is_better": self.higher_is_better,
            "units": self.units,
            "target": self.target,
            "fingerprint": self.fingerprint,
            "rows": dict(self.rows),
            "splits": self.splits,
            "worth": self.min_effect,
            "noise_floor": self.noise_floor,
            "available": self.available,
            "cuts": list(self.cuts),
            "uncut": self.full_estimate,
            "caveats": list(self.caveats),
            "excluded": [vars(each) for each in self.excluded],
            "mismatch": self.mismatch,
            "refit": self.refit.to_json() if self.refit else None,
            "regimes": [row.to_json() | self._inherited_json(row.name) for row in self.table],
            "differences": [
                self.difference(a.name, b.name).to_json()
                for a, b in combinations(ranked, 2)
                if self.common_rows(a.name, b.name)
            ],
            "curves": [self._curve_json(name) for name in self.names],
            "crossovers": [found.to_json() for found in self.crossovers],
            "transfers": [found.to_json() for found in self.transfers],
        }

    def curve(self, name: str) -> tuple[Row, ...]:
        """The regime at every number of training rows at which it did not fail, smallest first."""
        points = (self._rows[name, rows] for rows in self._sizes(name))
        return tuple(point for point in points if point.failed is None)

    @cached_property
    def calibrations(self) -> dict[str, Calibration]:
        """Calibration of each regime in the table; regimes without one are left out."""
        found = {name: calibration(runs, self.groups) for name, runs in self._judged.items()}
        return {name: each for name, each in found.items() if each}

    @cached_property
    def gaps(self) -> dict[str, OverfittingGap]:
        """How much worse each regime is on test rows than on training rows, where known."""
        found = {name: overfitting_gap(runs, self._resampled(runs)) for name, runs in self._judged.items()}
        return {name: each for name, each in found.items() if each}

    @cached_property
    def old_scores(self) -> dict[str, OldScore]:
        """Scores of each regime on the test rows of an earlier study; empty if there was none."""
        earlier = self._judged.get(PREVIOUS, [])
        found = {name: old_score(runs, earlier) for name, runs in self._judged.items()}
        return {name: each for name, each in found.items() if each}

    @cached_property
    def remembered(self) -> dict[str, Memorization]:
        """Scores of each regime on test rows with a copy among its training rows, if there are enough of them."""
        found = {name: memorization(runs, self.groups) for name, runs in self._judged.items()}
        return {name: each for name, each in found.items() if each}

    @cached_property
    def _judged(self) -> dict[str, list[Run]]:
        """The finished seeds of each table row that did not fail; of several splits, those of the first."""
        shown = [row for row in self.table if row.failed is None]
        seeds = {self._first_seed} if self.splits > 1 else {run.seed for run in self.runs}
        found = {
            row.name: [run for run in self._runs[row.name, row.rows] if _finished(run) and run.seed in seeds]
            for row in shown
        }
        return {name: runs for name, runs in found.items() if runs}

    @property
    def splits_run(self) -> int:
        """Splits that were run: the budget may have left fewer than `splits`. 1: the rows were split once."""
        return min(self.splits, len({run.seed for run in self.runs})) or 1

    @property
    def _first_seed(self) -> int:
        return min(run.seed for run in self.runs)

    def _inherited_json(self, name: str) -> dict[str, Any]:
        found = {
            "calibration": self.calibrations.get(name),
            "gap": self.gaps.get(name),
            "copies": self.remembered.get(name),
            "predicted": self.predictions.get(name),
            "old_rows": self.old_scores.get(name),
        }
        return {key: each.to_json() if each else None for key, each in found.items()}

    @cached_property
    def laws(self) -> dict[str, Law]:
        """How the error of each regime falls with rows; regimes measured at a single size are left out."""
        found = {name: self.laws_of([name]) for name in self.names}
        return {name: laws[0] for name, laws in found.items() if laws}

    @cached_property
    def crossovers(self) -> tuple[Crossover, ...]:
        """All pairs of regimes measured at two or more common sizes; without `constant`, which learns nothing.

        Pairs that cross come first, by the number of rows.
        """
        ranked = [row.name for row in self.table if row.failed is None and row.name != CONSTANT]
        pairs = [self.laws_of(pair) for pair in combinations(ranked, 2)]
        found = [crossover(*pair) for pair in pairs if pair]
        return tuple(sorted(found, key=lambda each: (each.rows is None, each.rows or 0)))

    @cached_property
    def transfers(self) -> tuple[Transfer, ...]:
        """What each pretrained start was worth in rows, at each size; empty if nothing was trained from scratch."""
        tuned = [name for name, each in self.laws.items() if each.family == "fine-tuned"]
        rivals = [(name, best_scratch(self.laws.values(), name)) for name in tuned]
        pairs = [self.laws_of([name, scratch.regime]) for name, scratch in rivals if scratch]
        return tuple(found for pair in pairs if pair for found in transfers(*pair))

    def laws_of(self, names: Sequence[str]) -> list[Law]:
        """Learning curves of these regimes on the sizes and seeds that all of them have; empty if one has none."""
        measured = [{point.rows for point in self.curve(name)} for name in names]
        sizes = sorted(set.intersection(*measured))
        each = [self._seeds(name, rows) for name in names for rows in sizes]
        seeds = [seed for seed in each[0] if all(seed in others for others in each)] if each else []
        if not seeds:
            return []
        found, top = [], HIGHEST.get(self.metric, 1.0)
        for name in names:
            own = [self._seeds(name, rows) for rows in sizes]
            scores = [
                self._drawn[name, rows].only([there.index(seed) for seed in seeds])
                for rows, there in zip(sizes, own, strict=True)
            ]
            family = self._runs[name, sizes[0]][0].family
            found.append(law(name, family, sizes, scores, self.higher_is_better, self.noise_floor, top))
        return [each for each in found if each] if all(found) else []

    def _curve_json(self, name: str) -> dict[str, Any]:
        found = self.laws.get(name)
        points = [point.point_to_json() for point in self.curve(name)]
        return {"regime": name, "points": points, "law": found.to_json() if found else None}

    @cached_property
    def _rows(self) -> dict[tuple[str, int], Row]:
        return {key: self._row(*key) for key in self._runs}

    def _row(self, name: str, rows: int) -> Row:
        runs = self._runs[name, rows]
        finished = [run for run in runs if _finished(run)]
        failed = [run for run in runs if not _finished(run)]
        lost = len(failed) > len(finished)
        scored = finished or [run for run in failed if _scored(run)]
        shown = scored or runs
        drawn = self._drawn[name, rows] if finished else self._resampled(scored) if scored else None
        rates = [run.lr for run in shown if run.lr is not None]
        seconds = [run.cost.seconds for run in shown]
        memory_peaks = [run.cost.peak_memory_bytes for run in shown if run.cost.peak_memory_bytes is not None]
        waits = [run.latency_ms for run in shown if run.latency_ms is not None]
        return Row(
            name=name,
            family=runs[0].family,
            rows=rows,
            score=drawn.mean if drawn else math.nan,
            interval=drawn.interval if drawn else _UNKNOWN,
            seeds=tuple(run.seed for run in scored),
            lr=median(rates) if rates else None,
            converged=all(run.converged for run in shown),
            failed=_why(failed, len(runs)) if lost else None,
            latency_ms=median(waits) if waits else None,
            disk_bytes=max(run.disk_bytes for run in shown),
            base_bytes=max(run.base_bytes for run in shown),
            flops=fmean(run.cost.flops for run in shown),
            seconds=fmean(seconds),
            seconds_range=(min(seconds), max(seconds)),
            peak_memory_bytes=max(memory_peaks) if memory_peaks else None,
            trainable=shown[0].cost.trainable,
            total=shown[0].cost.total,
            bytes_saved=max(run.cost.bytes_saved for run in shown),
            caveats=_once([caveat for run in runs for caveat in run.caveats])
            + ((_why(failed, len(runs)),) if failed and not lost else ()),
            retention=summarize_forgetting([run.retention for run in shown if run.retention is not None]),
            search=next((run.search for run in shown if run.search), None),
            start=runs[0].start,
        )

    def _rank(self, row: Row) -> tuple[bool, int, bool, float]:
        unknown = math.isnan(row.score)
        turned = 0.0 if unknown else -row.score if self.higher_is_better else row.score
        return row.failed is not None, -row.rows, unknown, turned

    @cached_property
    def _runs(self) -> dict[tuple[str, int], list[Run]]:
        runs: dict[tuple[str, int], list[Run]] = {}
        for run in sorted(self.runs, key=lambda run: run.seed):
            runs.setdefault((run.regime, run.rows), []).append(run)
        return runs

    @cached_property
    def _drawn(self) -> dict[tuple[str, int], Resampled]:
        """Resampled once per regime and size; every difference subtracts two of them."""
        finished = {key: [run for run in runs if _finished(run)] for key, runs in self._runs.items()}
        return {key: self._resampled(runs) for key, runs in finished.items() if runs}

    def _resampled(self, runs: Sequence[Run]) -> Resampled:
        scores, groups = [run.scores for run in runs], [run.test_groups for run in runs]
        if self.splits > 1:  # also one alone, so that it can be compared with the same of several
            found = resample_splits(scores, self.available or self.rows["train"], groups=groups)
        else:
            found = resample(scores, groups=self.groups)
        top = HIGHEST.get(self.metric, 1.0) if self.higher_is_better else found.bounds.high
        return replace(found, bounds=Interval(found.bounds.low, min(found.bounds.high, top)))

    def _turned(self, points: Sequence[tuple[str, int]]) -> list[Resampled]:
        """Regimes, each at a number of rows, on the seeds that all finished; the sign is set so that more is better."""
        shared = self._common_seeds(points)
        if not shared:
            names, sizes = zip(*points, strict=True)
            rows = join_phrases([f"{size:,}" for size in dict.fromkeys(sizes)])
            raise UsageError(
                f"{join_phrases(names, quote=True)} have no finished run on the same seed at {rows} training rows.",
                "look at `failed` in the table, or run them again with the same --seeds and --rows",
            )
        drawn = [
            self._drawn[point].only([own.index(seed) for seed in shared])
            for point, own in ((point, self._seeds(*point)) for point in points)
        ]
        return drawn if self.higher_is_better else [-each for each in drawn]

    def _sizes(self, name: str) -> list[int]:
        self._check(name)
        return sorted(rows for regime, rows in self._runs if regime == name)

    def _seeds(self, name: str, rows: int) -> list[int]:
        return [run.seed for run in self._runs.get((name, rows), ()) if _finished(run)]

    def _common_seeds(self, points: Iterable[tuple[str, int]]) -> list[int]:
        each = []
        for name, rows in points:
            self._check(name)
            each.append(self._seeds(name, rows))
        return [seed for seed in each[0] if all(seed in seeds for seeds in each)]

    def _check(self, name: str) -> None:
        if name not in self.names:
            raise UsageError(f"regime {name!r} is not in this comparison.", did_you_mean(name, self.names))


def _finished(run: Run) -> bool:
    return run.failed is None and _scored(run)


def _scored(run: Run) -> bool:
    return run.test is not None and math.isfinite(run.test)


def _why(failed: Sequence[Run], seeds: int) -> str:
    """'diverged at step 12', with the seeds unless all of them failed."""
    reasons = "; ".join(_once([run.failed or "came to no score" for run in failed]))
    if len(failed) == seeds:
        return reasons
    numbers = join_phrases([run.seed for run in failed])
    return f"failed on {len(failed)} of {seeds} seeds ({numbers}): {reasons}"


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
