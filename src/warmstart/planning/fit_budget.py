"""Fit budget: which regimes run on how many rows, so that a comparison fits its budget?

Cheap regimes are never cut: baselines, and networks that take a small share of the budget, run on all rows. Expensive
ones run on parts of the rows that all have in common, so that differences stay paired; their scores on all rows are
predicted from those.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from warmstart.errors import join_phrases
from warmstart.planning.estimates import (
    seconds_of_embedding,
    seconds_of_regime,
    seconds_of_run,
    seconds_of_scoring,
    seconds_of_untrained,
    seconds_without_training,
    total_seconds,
)
from warmstart.planning.run_plan import RunPlan, budget_sizes, shorter_limits, token_limit
from warmstart.quantities import REFERENCE_FLOPS, format_effort
from warmstart.regimes.regimes import UNTRAINED_BASES
from warmstart.results.constraints import BUDGET, Excluded, not_run
from warmstart.results.names import regime_of

FLOOR_SHARE = 0.15  # of the budget, for a base as it is that nobody named
ASKED_SHARE = 0.6  # the same where it was named
CHEAP_SHARE = 0.3  # of the budget: a network whose search and one run on all rows take less is never cut
RESERVE = 0.2  # of the budget, kept for training the most promising regime on all rows, if that is enough for any
WORTHWHILE = 0.9  # of the work for a row, at most, or texts are not read less far
ENOUGH_ROWS = 1_000  # for training: before fewer are taken, texts are read less far
BUDGET_MARGIN = 1.25  # of a budget that is said to do: estimates were too low at times
MEASURING = 60.0  # seconds of a larger budget that planning takes, at least
FEWEST_TRIALS = 8  # of a search over more settings than the rate
MIN_SCORED_ROWS = 500  # test rows; an accuracy on them is known to about 4 points


def fit_to_budget(plan: RunPlan) -> RunPlan:
    """The plan with fewer trials and seeds, if that fits; otherwise with expensive regimes on a part of the rows.

    A network that cannot be trained for the minimum of steps on the minimum of rows is excluded.
    """
    plan = _without_slow_bases(plan)
    lighter = [plan, *_lighter(plan)]
    fitted = next((each for each in lighter if total_seconds(each) <= plan.for_jobs), None)
    if fitted is None:
        searching = [each for each in lighter if each.searches]
        fitted = _best_climb((searching or lighter)[-1])
    return _with_cuts(plan, _with_slow_bases(fitted))


def _with_cuts(asked: RunPlan, plan: RunPlan) -> RunPlan:
    """The plan with a description of each cut."""
    cuts = _said(asked, plan)
    return replace(plan, cuts=cuts, full_estimate=total_seconds(asked) if cuts else None)


def fit_to_larger_budget(asked: RunPlan, saved: RunPlan) -> RunPlan:
    """The saved plan with as much as the larger budget of `asked` allows: more regimes, more rows, more seeds.

    Learning rates that were tried, the tokens read of a text and the test rows that are scored stay as they were: with
    others, nothing that is finished could be compared with what comes.
    """
    options = replace(saved.options, seeds=asked.options.seeds, budget=asked.options.budget)
    lost = tuple(each for each in saved.excluded if each.constraint != BUDGET)
    plan = replace(
        saved, options=options, sizes=asked.sizes, regime_sizes={}, excluded=lost, cuts=(), full_estimate=None
    )
    seeds = range(asked.options.seeds, saved.options.seeds - 1, -1)
    lighter = [replace(plan, options=replace(options, seeds=n)) for n in seeds]
    fitted = next((each for each in lighter if total_seconds(each) <= each.for_jobs), None)
    measured = replace(
        asked, seconds_per_row=saved.seconds_per_row, prefix_seconds=saved.prefix_seconds, tokens=saved.tokens
    )
    return _with_cuts(measured, fitted or _climb(lighter[-1]).plan)


def _without_slow_bases(plan: RunPlan) -> RunPlan:
    """Without bases as they are whose answers would take too much of the budget, more so where nobody named them, and
    without linear models on what a base makes of all rows, where reading them would."""
    found = []
    for name in plan.names:
        seconds = len(plan.seeds) * len(plan.sizes) * seconds_of_untrained(plan, name)
        unnamed = regime_of(name) in plan.problem.unnamed
        share = FLOOR_SHARE if unnamed else ASKED_SHARE
        if regime_of(name) in UNTRAINED_BASES and seconds > share * plan.options.budget:
            enough = _as_flag(plan, seconds / share)
            took = format_effort(seconds, by_compute=plan.options.by_compute)
            reason = f"scoring the base without training would take {took}"
            ways = f"name it in --regimes, or use {enough}" if unnamed else f"{enough} would be enough"
            found.append(Excluded(name, BUDGET, f"{reason}; {ways}"))
        reading = seconds_of_embedding(plan, name) if regime_of(name) == "embedded" else 0.0
        if reading > ASKED_SHARE * plan.options.budget:
            took = format_effort(reading, by_compute=plan.options.by_compute)
            enough = _as_flag(plan, reading / ASKED_SHARE)
            reason = f"reading all rows with the base would take {took}"
            found.append(Excluded(name, BUDGET, f"{reason}; {enough} would be enough"))
    return replace(plan, excluded=(*plan.excluded, *found))


def _with_slow_bases(plan: RunPlan) -> RunPlan:
    """Bases as they are that were left out come back, the quickest first, where nothing else takes their time."""
    known = {
        each.regime: len(plan.seeds) * len(plan.sizes) * seconds_of_untrained(plan, each.regime)
        for each in plan.excluded
        if each.constraint == BUDGET and regime_of(each.regime) in UNTRAINED_BASES
    }
    kept = _reserve(plan, tuple(plan.regime_sizes))
    for name in sorted(known, key=known.__getitem__):
        if total_seconds(plan) + known[name] <= plan.for_jobs - kept:
            plan = replace(plan, excluded=tuple(each for each in plan.excluded if each.regime != name))
    return plan


def _lighter(plan: RunPlan) -> Iterator[RunPlan]:
    """The plan with two trials, then with one seed, then without a search, which is cut for all regimes alike.

    Of a search over more settings, half the trials are given up first, again and again.
    """
    while plan.effort.seconds is None and plan.effort.trials > FEWEST_TRIALS:
        plan = replace(plan, options=replace(plan.options, search=plan.effort.trials // 2))
        yield plan
    while plan.searches and plan.options.trials > 2:
        plan = replace(plan, options=replace(plan.options, trials=plan.options.trials - 1))
        yield plan
    while plan.options.seeds > 1:
        plan = replace(plan, options=replace(plan.options, seeds=plan.options.seeds - 1))
        yield plan
    if plan.searches:
        yield replace(plan, options=replace(plan.options, trials=1, search=0))


# --- which regime on how many rows ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Climb:
    """A plan whose expensive networks run on as many rows as the budget allows."""

    plan: RunPlan
    lost: int  # networks that cannot be run at all
    most: int  # rows of the network that runs on the fewest

    @property
    def enough(self) -> bool:
        """Whether scoring or reading less would gain nothing."""
        return self.lost == 0 and self.most >= min(ENOUGH_ROWS, max(self.plan.sizes) // 4)


def _best_climb(plan: RunPlan) -> RunPlan:
    """The first plan that is good enough, scoring and reading less and less; otherwise the best of them."""
    seen: list[_Climb] = []
    for lighter in _lighter_rows(plan):
        seen.append(_climb(lighter))
        if seen[-1].enough:
            return seen[-1].plan
    return max(seen, key=lambda each: (-each.lost, each.most)).plan


def _climb(plan: RunPlan) -> _Climb:
    """Every cheap network on all rows, then the expensive ones on more and more rows: always the cheapest run next.

    Networks of about the same cost climb together. One that costs a hundredth of another per row climbs first: on
    190,000 rows, 46,500 of them say more than what another learns from 181. Order and sizes depend only on the
    measured estimates.
    """
    whole, budget = max(plan.sizes), plan.for_jobs
    wanted = plan.sizes if len(plan.sizes) > 1 else (whole,)  # several were asked for
    rungs = plan.sizes if len(plan.sizes) > 1 else budget_sizes(whole)
    plan = replace(plan, total_rows=whole, sizes=rungs)
    allowed = (1 - RESERVE) * budget - seconds_without_training(plan)  # for what is cheap
    alone = {name: _seconds(plan, name, wanted) for name in plan.networks}
    order = sorted(plan.networks, key=alone.__getitem__)
    cheap: list[str] = []
    spent = 0.0
    for name in order:
        if alone[name] < CHEAP_SHARE * budget and spent + alone[name] <= allowed:
            cheap.append(name)
            spent += alone[name]
    climbing = [name for name in order if name not in cheap]
    given: dict[str, tuple[int, ...]] = {}
    lost: list[Excluded] = []
    beside = cheap if len(wanted) == 1 else []  # of sizes that were asked for, these run on all in any case
    allowed = budget - _reserve(plan, climbing) - seconds_without_training(plan)
    able = climbing if len(rungs) > 1 else []
    while able:  # the cheapest run next, whichever regime it is of
        more = {name: _seconds_of_next(plan, name, given, rungs, beside) for name in able}
        name = min(able, key=more.__getitem__)
        if spent + more[name] > allowed:
            break
        spent += more[name]
        given[name] = rungs[: len(given.get(name, ())) + 1]
        able = [name for name in able if len(given.get(name, ())) < len(rungs) - 1]
    needed = spent
    for name in climbing if len(rungs) > 1 else ():
        if name not in given:
            needed += _seconds_of_next(plan, name, given, rungs, beside)
            lost.append(_not_run(plan, name, rungs[0], needed))
    if len(rungs) == 1:  # too few rows to take a part of them
        lost += [_not_run(plan, name, whole, spent + alone[name]) for name in climbing]
    used = {*wanted, *(rows for sizes in given.values() for rows in sizes)}
    plan = replace(
        plan, sizes=tuple(sorted(used)), regime_sizes=given, excluded=(*plan.excluded, *lost), total_rows=whole
    )
    return _Climb(plan, len(lost), min((max(sizes) for sizes in given.values()), default=whole))


def _reserve(plan: RunPlan, climbing: Sequence[str]) -> float:
    """Seconds kept for training the most promising of these on all rows: none if that is too little for any."""
    kept, whole = RESERVE * plan.for_jobs, max(plan.sizes)
    return kept if any(seconds_of_run(plan, name, whole) <= kept for name in climbing) else 0.0


def _seconds(plan: RunPlan, name: str, sizes: tuple[int, ...]) -> float:
    """Time of a network on these numbers of rows, with its search."""
    return seconds_of_regime(replace(plan, regime_sizes={name: sizes}), name)


def _seconds_of_next(
    plan: RunPlan, name: str, given: Mapping[str, tuple[int, ...]], rungs: tuple[int, ...], cheap: Sequence[str]
) -> float:
    """Time of a network on the next larger part of the rows, with the cheap ones if none was run on it yet."""
    before = given.get(name, ())
    rung = rungs[len(before)]
    first = not any(rung in sizes for sizes in given.values())
    beside = sum(len(plan.seeds) * seconds_of_run(plan, each, rung) for each in cheap) if first else 0.0
    return beside + _seconds(plan, name, (*before, rung)) - (_seconds(plan, name, before) if before else 0.0)


def _not_run(plan: RunPlan, name: str, rows: int, seconds: float) -> Excluded:
    """Why a regime does not run, and the budget it needs, if it and all cheaper ones take so many seconds."""
    steps = plan.config(plan.regime(name, rows), rows, 0).steps
    share = (1 - RESERVE) * plan.for_jobs / plan.options.budget
    enough = _as_flag(plan, (BUDGET_MARGIN * seconds + seconds_without_training(plan)) / share)
    lacking = "compute" if plan.options.by_compute else "time"
    reason = f"there was no {lacking} for {steps:,} steps on {rows:,} rows; {enough} would be enough"
    return Excluded(name, BUDGET, reason)


def _as_flag(plan: RunPlan, seconds: float) -> str:
    """A budget as it is typed, rounded up: for so many seconds after planning, which takes a part of it too."""
    if plan.options.by_compute:
        return f"--compute {math.ceil(seconds * REFERENCE_FLOPS / 1e12)}TFLOP"
    return f"--budget {math.ceil((seconds + max(plan.spent, MEASURING)) / 60)}m"


def _lighter_rows(plan: RunPlan) -> Iterator[RunPlan]:
    """Plans with less and less work per row.

    First half the rows to score, if they take more time than training. Then shorter texts, unless a length was
    requested: the beginning of a text says the most, and half the tokens take half the time.
    """
    yield plan
    whole = max(plan.sizes)
    while True:
        climbed = _climb(plan).plan
        out = not_run(climbed.excluded)
        expensive = [name for name in plan.networks if name in climbed.regime_sizes or name in out]
        runs = [(name, rows) for name in expensive for rows in climbed.regime_sizes.get(name, budget_sizes(whole)[:1])]
        scoring = sum(seconds_of_scoring(climbed, *run) for run in runs)
        if (
            2 * scoring > sum(seconds_of_run(climbed, *run) for run in runs)
            and len(plan.splits.test) >= 2 * MIN_SCORED_ROWS
        ):
            plan = replace(plan, scored=plan.scored / 2)
        elif not plan.options.read_so_far and (fewer := _shortened(plan)):
            plan = fewer
        else:
            return
        yield plan


# --- what is read and scored ------------------------------------------------------------------------------------------


def _shortened(plan: RunPlan) -> RunPlan | None:
    """The plan with so many tokens per text that it saves enough; None if that would leave too few."""
    for fewer in shorter_limits(_limit(plan)):
        shares = _shares(plan, fewer)
        if shares and fmean(shares.values()) <= WORTHWHILE:
            seconds_per_row, prefix_seconds = (
                {name: seconds * shares.get(name, 1.0) for name, seconds in known.items()}
                for known in (plan.seconds_per_row, plan.prefix_seconds)
            )
            return replace(
                plan,
                problem=plan.problem.reading(fewer),
                seconds_per_row=seconds_per_row,
                prefix_seconds=prefix_seconds,
            )
    return None


def _limit(plan: RunPlan) -> int:
    """The most tokens that any base reads of a text."""
    return max(base.inputs.max_length for base in plan.problem.bases)


def _shares(plan: RunPlan, fewer: int) -> dict[str, float]:
    """Share of the work per row that remains for each regime that would read shorter texts, if it was measured."""
    limits = {name: token_limit(plan.regime(name, max(plan.sizes))) for name in plan.networks if name in plan.tokens}
    known = {name: (plan.tokens[name], limit) for name, limit in limits.items() if limit is not None and limit > fewer}
    return {n: found[fewer] / found[limit] for n, (found, limit) in known.items() if fewer in found and limit in found}


def _said(asked: RunPlan, plan: RunPlan) -> tuple[str, ...]:
    """What was cut, the most important first, phrased so that it holds before and after the runs."""
    cuts = []
    out = [each.regime for each in plan.excluded if each.constraint == BUDGET]
    if out:
        cuts.append(f"{_names(out)} not run")
    cuts += _part_cuts(plan.regime_sizes, max(plan.sizes))
    limit, before = (_limit(p) for p in (plan, asked))
    if limit < before:
        share = fmean(_shares(asked, limit).values())
        cuts.append(f"at most {limit} tokens per text instead of {before}: {share:.0%} of the work per text")
    if plan.scored < 1.0:
        cuts.append(f"{len(plan.splits.test):,} test rows scored instead of {len(asked.splits.test):,}")
    if plan.options.seeds < asked.options.seeds:
        what = "split" if asked.problem.more_splits else "seed"
        cuts.append(f"{plan.options.seeds} {what}{'s' * (plan.options.seeds > 1)} instead of {asked.options.seeds}")
    if plan.searches and plan.options.trials < asked.options.trials:
        cuts.append(
            f"each learning-rate search starts with {plan.options.trials} rates instead of {asked.options.trials}"
        )
    if asked.searches and not plan.searches:
        cuts.append("no learning-rate search: each regime uses its usual rate")
    if plan.effort.trials < asked.effort.trials:
        few = f"{plan.effort.trials} trials of other settings for each regime" if plan.effort.trials else "no search"
        cuts.append(f"{few} instead of --search {asked.options.search}")
    return tuple(cuts)


def cuts_as_run(plan: RunPlan, ran: Collection[tuple[str, int]]) -> tuple[str, ...]:
    """The cuts of a plan if only these regimes and rows were run."""
    planned, whole = _part_cuts(plan.regime_sizes, max(plan.sizes)), max(plan.sizes)
    parts = {name: tuple(n for n in sizes if (name, n) in ran) for name, sizes in plan.regime_sizes.items()}
    first = next((place for place, cut in enumerate(plan.cuts) if cut in planned), 0)
    cuts = [cut for cut in plan.cuts if cut not in planned]
    cuts[first:first] = _part_cuts({name: sizes for name, sizes in parts.items() if sizes}, whole)
    return tuple(cuts)


def _part_cuts(regime_sizes: Mapping[str, tuple[int, ...]], whole: int) -> list[str]:
    """Which regimes run on which parts of the rows."""
    alike: dict[tuple[int, ...], list[str]] = {}
    for name, sizes in regime_sizes.items():
        alike.setdefault(sizes, []).append(name)
    found = []
    for sizes, names in sorted(alike.items()):
        rows = join_phrases([f"{n:,}" for n in sizes])
        found.append(f"{_names(names)} on {rows} of {whole:,} training rows, with proportionally fewer steps")
    return found


def _names(names: Sequence[str]) -> str:
    return join_phrases([f"`{name}`" for name in names])
