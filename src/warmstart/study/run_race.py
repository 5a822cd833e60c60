"""Racing: a race carried out: each run that it asks for is searched, trained and recorded in a folder.

The same pieces as a comparison's, on fewer rows. All times that decide are written down with the runs, so that a race
that was stopped asks for the same runs again and finds them finished.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np

from warmstart.errors import UsageError
from warmstart.planning import run_plan as budget
from warmstart.planning.problem import Options, Problem
from warmstart.planning.run_plan import RunPlan
from warmstart.regimes.regimes import is_baseline
from warmstart.results.bootstrap import mean_score
from warmstart.results.comparison import Comparison
from warmstart.results.metrics import HIGHEST
from warmstart.results.race_outcome import RaceForecast, RaceOutcome
from warmstart.results.record import Interval, Run
from warmstart.runs import search as tune
from warmstart.runs.run import TunedRegime
from warmstart.runtime.files import write_json
from warmstart.study import jobs as work
from warmstart.study.compare import make_comparison, save_comparison
from warmstart.study.curve_model import NextRun
from warmstart.study.jobs import StudyState
from warmstart.study.progress import Progress
from warmstart.study.race import RaceArm, RaceRanking, Result, race, rungs
from warmstart.types import Array

UNTUNED = 120.0  # seconds: a comparison that takes less is simply made
LITTLE = 0.01  # of the whole comparison's time: what costs less is run on all rows at once
MAX_RACE_TEST_ROWS = 1_000  # test rows, at most: scoring more would cost more than training on few rows
DEFAULT_SHARE = 0.1  # of the whole comparison's time, where no budget is given


def worth_racing(plan: RunPlan) -> bool:
    """False where simply comparing everything is so quick that there is nothing to save."""
    return exhaustive(plan).seconds() >= UNTUNED


def exhaustive(plan: RunPlan) -> RunPlan:
    """The comparison that a race of this plan stands for."""
    return replace(plan, sizes=(max(plan.sizes),))


def measure_race(problem: Problem, options: Options, folder: Path) -> Generator[Progress, None, StudyState]:
    """The plan of a race, with the pace of every regime here. Raises UsageError for several numbers of rows."""
    if options.rows == "auto" or len(options.rows) > 1:
        raise UsageError("a race has rungs of its own.", "name at most one number of rows with --rows")
    asked = budget.first_plan(problem, options)
    plan = budget.first_plan(problem, replace(options, rows=rungs(max(asked.sizes))))
    plan = replace(plan, scored=min(1.0, MAX_RACE_TEST_ROWS / len(problem.splits.test)), total_rows=max(plan.sizes))
    yield Progress("reading the rows", 0.0, None)
    return (yield from work.measure_plan(plan, folder, cut=False))


def run_race(study: StudyState, part: float | None) -> Generator[Progress, None, tuple[Comparison, RaceOutcome]]:
    """Race the regimes of a measured plan. `part`: of the whole comparison's time; None: the budget of the options."""
    plan, whole = study.plan, max(study.plan.sizes)
    everything = exhaustive(plan).seconds()
    allowed = plan.options.budget if part is None else part * everything
    study.planned = allowed
    minutes = f"{allowed / 60:.0f} min" if allowed >= 90 else f"{allowed:.0f} s"
    said = f"a race of {len(plan.names)} regimes towards {whole:,} rows, within {minutes}; comparing all would take"
    yield study.progress("planning", message=f"{said} {everything / 60:.0f} min")
    chosen: dict[str, TunedRegime] = {}
    taken: dict[str, float] = {}
    arms = _arms(plan, everything, chosen, taken)
    higher = study.run_data(min(plan.sizes), plan.options.first_seed).task.higher_is_better
    options = plan.options
    going = race(arms, whole, allowed, min_effect=options.min_effect, higher_is_better=higher, seeds=options.seeds)
    runs: list[Run] = []
    spent = 0.0
    ask = next(going)
    while True:
        done, cost = yield from race_runs(study, ask, chosen)
        runs.append(done)
        taken.setdefault(ask.arm, cost)
        spent += cost
        study.finished = min(spent, allowed)
        yield study.told(done)
        try:
            ask = going.send(Result(ask, losses(done), cost))
        except StopIteration as stop:
            standing: RaceRanking = stop.value
            break
    comparison = replace(make_comparison(plan, runs, study.folder), excluded=plan.excluded)
    save_comparison(comparison, study.folder)
    found = _raced(plan, arms, standing, runs, everything, allowed, higher)
    write_json(study.folder / "race.json", found.to_json())
    return comparison, found


def _arms(
    plan: RunPlan, everything: float, chosen: Mapping[str, TunedRegime], taken: Mapping[str, float]
) -> list[RaceArm]:
    """Their costs as the plan foretells them, with the search where it is still to be made.

    No plan is made for baselines: another run of one takes what the first, on all rows, has `taken`, in seconds, or its
    share of that.
    """
    whole = max(plan.sizes)
    barred = {each.regime for each in plan.excluded}
    found = []
    for name in (name for name in plan.names if is_baseline(name) and name not in barred):

        def again(rows: int, name: str = name) -> float:
            return taken.get(name, 0.0) * rows / whole

        found.append(RaceArm(name, again, whole=True, flat=name == "constant"))
    for name in (name for name in plan.networks if name not in barred):

        def cost(rows: int, name: str = name) -> float:
            search = plan.seconds_of_search(name, searched_at(plan)) if _searches(plan, rows, name, chosen) else 0.0
            return search + plan.seconds_of_run(name, rows)

        little = cost(whole) < LITTLE * everything
        found.append(RaceArm(name, cost, whole=little))
    return found


def searched_at(plan: RunPlan) -> int:
    """The rows on which a rate is searched: a quarter of all, or the next more that the race has."""
    return next(rows for rows in sorted(plan.sizes) if 4 * rows >= max(plan.sizes))


def _searches(plan: RunPlan, rows: int, name: str, chosen: Mapping[str, TunedRegime]) -> bool:
    """Whether a search comes before a run on so many rows. On fewer, a trial would be a few steps that tell nothing."""
    return name not in chosen and rows >= searched_at(plan)


def race_runs(
    study: StudyState, ask: NextRun, chosen: dict[str, TunedRegime]
) -> Generator[Progress, None, tuple[Run, float]]:
    """The run with what it took in seconds: at the regime's usual rate, until one has been searched."""
    plan, seed = study.plan, study.plan.options.first_seed + ask.seed
    if is_baseline(ask.arm):
        done = yield from work.run_baseline_once(study, ask.arm, ask.rows, seed)
        return done, done.cost.seconds + done.tuning_seconds
    spent = 0.0
    if _searches(plan, ask.rows, ask.arm, chosen):
        dearest = max((each.flops for each in chosen.values()), default=0.0)
        chosen[ask.arm] = yield from work.search_once(study, ask.arm, searched_at(plan), dearest)
        spent = chosen[ask.arm].seconds
    used = work.search_from(plan, ask.arm, ask.rows, chosen.get(ask.arm), fresh=spent > 0)
    done = yield from work.train_once(study, used, ask.rows, seed)
    return done, done.cost.seconds + spent


def losses(done: Run) -> Array | None:
    """[n] for each test row, or each group of them: their mean is the error, 1 - score where higher is better.

    Metrics that are no mean over rows (F1) enter by what each row adds to them. None for a run without a score: one
    that was too short to beat the constant on few rows has one, and may win on all.
    """
    if done.test is None or not np.isfinite(done.test):
        return None
    value, weight = done.scores.T
    score = mean_score(done.scores)
    moves = len(value) * (value - score * weight) / max(float(weight.sum()), 1e-12)
    groups = np.asarray(done.predictions["group"]) if "group" in done.predictions else None
    if groups is not None and np.ptp(groups) > 0:
        numbers, place = np.unique(groups, return_inverse=True)
        moves = np.bincount(place, weights=moves) * len(numbers) / len(value)
    if not done.higher_is_better:
        return np.asarray(score + moves)
    top = HIGHEST.get(done.metric, 1.0)
    return np.asarray((top - score - moves) / top)


def _raced(
    plan: RunPlan,
    arms: Sequence[RaceArm],
    standing: RaceRanking,
    runs: Sequence[Run],
    everything: float,
    allowed: float,
    higher: bool,
) -> RaceOutcome:
    whole = max(plan.sizes)
    top = max((HIGHEST.get(run.metric, 1.0) for run in runs), default=1.0)

    def score(loss: float) -> float:
        return top * (1 - loss) if higher else loss

    outlooks = []
    ranks = {name: (-round(standing.chances[name], 2), found.value) for name, found in standing.predicted.items()}
    for name in sorted(ranks, key=ranks.__getitem__):
        seen = [run for run in runs if run.regime == name]
        most = max(run.rows for run in seen)
        found = standing.predicted[name]
        ends = sorted((score(found.low), score(found.high)))
        arm = next(arm for arm in arms if arm.name == name)
        outlooks.append(
            RaceForecast(
                regime=name,
                family=seen[0].family,
                rows=most,
                chance=standing.chances[name],
                score=score(found.value),
                interval=Interval(*ends),
                seconds=fmean(r.cost.seconds for r in seen if r.rows == most) if is_baseline(name) else arm.cost(whole),
            )
        )
    ask = standing.next_ask
    return RaceOutcome(
        whole=whole,
        choice=standing.choice,
        tie=standing.tie,
        confidence=standing.confidence,
        decided=standing.decided,
        outlooks=tuple(outlooks),
        spent=standing.spent,
        allowed=allowed,
        exhaustive=everything,
        exhaustive_flops=_exhaustive_flops(plan, runs),
        next_regime=ask.arm if ask else None,
        next_rows=ask.rows if ask else None,
        next_seconds=standing.next_cost,
        unseen=standing.unseen,
    )


def _exhaustive_flops(plan: RunPlan, runs: Sequence[Run]) -> float:
    """Of the whole comparison: each regime's largest run in proportion to its steps, and its search."""
    whole, total = max(plan.sizes), 0.0
    for name in plan.names:
        seen = [run for run in runs if run.regime == name]
        if not seen:
            continue
        largest = max(seen, key=lambda run: run.rows)
        times, search = 1.0, max(run.tuning_flops for run in seen)
        if name in plan.networks:
            times = _examples(plan, name, whole) / _examples(plan, name, largest.rows)
            search = tune.TRIAL_SHARE * (plan.options.trials + 0.5) * plan.searches * times * largest.cost.flops
        total += len(plan.seeds) * times * largest.cost.flops + search
    return total


def _examples(plan: RunPlan, name: str, rows: int) -> int:
    config = plan.config(plan.regime(name, rows), rows, 0)
    return config.steps * config.batch_size
