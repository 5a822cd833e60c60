"""Entries: which runs are behind each row of the comparison?"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from warmstart.errors import join_phrases
from warmstart.reporting.formatting import format_rate, is_number
from warmstart.results.comparison import Comparison
from warmstart.results.comparison_rows import Difference, Row
from warmstart.results.names import HEAD_ONLY, TRAIN_BASE_WEIGHTS, regime_of
from warmstart.results.record import Run, Trial


@dataclass(frozen=True)
class Entry:
    """One regime at one number of training rows, with its runs in the order of their seeds."""

    row: Row
    runs: tuple[Run, ...]
    against_best: Difference | None  # at the same number of rows; None for the best itself and the failed
    key: str  # names the entry inside the page; never made from a name that a user chose

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def failed(self) -> bool:
        return self.row.failed is not None or not is_number(self.row.score)

    @property
    def usable(self) -> tuple[Run, ...]:
        """The runs that reached a score."""
        return tuple(run for run in self.runs if run.failed is None and run.test is not None)

    @property
    def shown(self) -> Run | None:
        """The run that stands for the others in examples and curves: the first seed that reached a score."""
        return next(iter(self.usable or self.runs), None)

    @property
    def trials_phrase(self) -> str:
        """'best of 3 trials', or why the best of them was not taken."""
        run = self.shown
        if run is None or not run.trials:
            return ""
        many = f"{len(run.trials)} trial{'s' if len(run.trials) > 1 else ''}"
        taken, scored = taken_trial(run), [trial for trial in run.trials if trial.val is not None]
        if taken is None or taken.val is None or not scored:
            return many if run.lr is not None else f"best of {many}"
        turned = 1 if run.higher_is_better else -1
        best = max(scored, key=lambda trial: turned * (trial.val or 0.0))
        if turned * ((best.val or 0.0) - taken.val) <= 0:
            return f"best of {many}"
        rate, usual = (format_rate(trial.settings.get("lr")) for trial in (best, taken))
        which = rate if rate != usual else "another setting"
        return f"{many}; {which} was better by less than noise, so {usual} was kept"


def entries_of(comparison: Comparison) -> tuple[Entry, ...]:
    """The comparison's table with its runs, in its order: best first, failed ones last."""
    best: dict[int, Row] = {}
    for row in comparison.table:
        if row.failed is None:
            best.setdefault(row.rows, row)
    return tuple(
        Entry(row, _runs(comparison.runs, row), _against(comparison, row, best.get(row.rows)), f"entry-{index}")
        for index, row in enumerate(comparison.table)
    )


def of_most_rows(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """What the verdict is about: the entries at the largest number of training rows, and whatever failed."""
    most = max((entry.row.rows for entry in entries if not entry.failed), default=0)
    return tuple(entry for entry in entries if entry.failed or entry.row.rows == most)


def on_all_rows(entry: Entry, comparison: Comparison) -> Entry:
    """An entry of a part of the rows, as it is predicted for all of them, at the compute that they would take."""
    whole, found = comparison.rows["train"], comparison.predictions[entry.name]
    flops = entry.row.flops * whole / entry.row.rows
    return replace(entry, row=replace(entry.row, rows=whole, score=found.score, interval=found.interval, flops=flops))


def best_of(entries: Iterable[Entry], family: str | None = None) -> Entry | None:
    """The first that did not fail: entries come best first."""
    return next((e for e in entries if not e.failed and (family is None or e.row.family == family)), None)


def only_heads_sentence(main: Sequence[Entry], comparison: Comparison) -> str:
    """What the scores say of fine-tuning if no regime that trains weights of its base has one; else ''."""
    tuned = [entry for entry in main if entry.row.family == "fine-tuned"]
    ran = [entry.name for entry in tuned if not entry.failed]
    if not ran or any(regime_of(name) != HEAD_ONLY for name in ran):
        return ""
    missing = {each.regime for each in comparison.excluded if regime_of(each.regime) in TRAIN_BASE_WEIGHTS}
    every = {entry.name for entry in tuned} | {row.name for row in comparison.partial if row.family == "fine-tuned"}
    names, many = join_phrases([f"`{name}`" for name in ran]), len(every | missing)
    on_parts = any(row.family == "fine-tuned" for row in comparison.partial if row.name not in ran)
    which = f"Only {names} was fine-tuned."
    if many > len(ran):
        which = f"Of the {many} fine-tuning regimes, only {names} ran{' on all rows' if on_parts else ''}."
    return f"{which} It trains only the head, so this says nothing about training the weights of the base."


def searches(runs: Iterable[Run]) -> tuple[Run, ...]:
    """One run for each search that was made: runs whose trials are the same share one search."""
    distinct = {(run.regime, run.rows, repr(run.trials)): run for run in reversed(list(runs)) if run.trials}
    return tuple(reversed(distinct.values()))


def taken_trial(run: Run) -> Trial | None:
    """The trial whose settings a run has; None if it has those of no trial. A trial names only what it tried."""

    def matches(trial: Trial) -> bool:
        lr, others = trial.settings.get("lr"), {name: each for name, each in trial.settings.items() if name != "lr"}
        same_rate = lr is not None and run.lr is not None and math.isclose(lr, run.lr, rel_tol=1e-6)
        return same_rate and all(run.settings.get(name) == value for name, value in others.items())

    return max(filter(matches, run.trials), key=lambda trial: len(trial.settings), default=None)


def _runs(runs: Iterable[Run], row: Row) -> tuple[Run, ...]:
    return tuple(sorted((r for r in runs if r.regime == row.name and r.rows == row.rows), key=lambda run: run.seed))


def difference(comparison: Comparison, a: Row, b: Row) -> Difference | None:
    """How much better `a` is than `b`; None where they have no seed in common and cannot be paired."""
    return comparison.difference(a.name, b.name, a.rows) if set(a.seeds) & set(b.seeds) else None


def _against(comparison: Comparison, row: Row, best: Row | None) -> Difference | None:
    if best is None or row.failed is not None or row.name == best.name:
        return None
    return difference(comparison, row, best)
