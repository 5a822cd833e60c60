"""Run race: how is a race run? Each run that it requests is searched, trained and recorded in a folder.

The same jobs as in a comparison, on fewer rows. All times that affect decisions are saved with the runs, so that a
resumed race requests the same runs and finds them finished.
"""

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np

from warmstart.advice.race_advice import race_advice
from warmstart.errors import UsageError
from warmstart.planning.estimates import total_seconds
from warmstart.planning.problem import Options, Problem
from warmstart.planning.run_plan import RunPlan, first_plan
from warmstart.quantities import REFERENCE_FLOPS, format_effort
from warmstart.regimes.regimes import is_baseline
from warmstart.results.bootstrap import mean_score
from warmstart.results.comparison import Comparison
from warmstart.results.metrics import HIGHEST
from warmstart.results.race_outcome import RaceForecast, RaceOutcome
from warmstart.results.record import Interval, Run
from warmstart.runs.execute import Results
from warmstart.runs.job import Job
from warmstart.runs.run import TunedRegime
from warmstart.runs.search import trial_share
from warmstart.runtime.files import write_json
from warmstart.study.begin import begin_study
from warmstart.study.curve_model import NextRun
from warmstart.study.jobs import StudyState, run_jobs, search_job, train_job
from warmstart.study.make_comparison import make_comparison, save_comparison
from warmstart.study.race import RaceArm, RaceRanking, Result, race, rungs
from warmstart.study.refit_winner import refit_winner
from warmstart.training.event import Event
from warmstart.types import Array

UNTUNED = 120.0  # seconds: a comparison that takes less is simply made
LITTLE = 0.01  # of the whole comparison's time: what costs less is run on all rows at once
MAX_RACE_TEST_ROWS = 1_000  # test rows, at most: scoring more would cost more than training on few rows


def worth_racing(plan: RunPlan) -> bool:
    """False if comparing everything is so quick that a race saves nothing."""
    return exhaustive_seconds(plan) >= UNTUNED


def exhaustive_seconds(plan: RunPlan) -> float:
    """Time of the comparison on all rows that this race replaces."""
    return total_seconds(replace(plan, sizes=(max(plan.sizes),)))


def begin_race(problem: Problem, options: Options, folder: Path) -> Generator[Event, None, StudyState]:
    """The plan of a race, with the throughput of every regime. Raises UsageError for several numbers of rows."""
    if options.rows == "auto" or len(options.rows) > 1:
        raise UsageError("a race chooses its own numbers of rows.", "name at most one number of rows with --rows")
    asked = first_plan(problem, options)
    plan = first_plan(problem, replace(options, rows=rungs(max(asked.sizes))))
    plan = replace(plan, scored=min(1.0, MAX_RACE_TEST_ROWS / len(problem.splits.test)), total_rows=max(plan.sizes))
    return (yield from begin_study(plan, folder, cut=False))


class RaceJobs:
    """The strategy of a race: the run that it requests next, after a search if the regime needs one."""

    def __init__(self, study: StudyState, allowed: float):
        """`allowed`: seconds."""
        plan = study.plan
        self.study, self.allowed = study, allowed
        self.costs: dict[str, float] = {}  # of each run, in seconds
        self.first_cost: dict[str, float] = {}  # regime -> of its first run
        self.arms = self._arms()
        self.higher = plan.run_data(min(plan.sizes), plan.options.first_seed, study.shared).task.higher_is_better
        self.ranking: RaceRanking | None = None  # None: the race goes on
        self._race = race(
            self.arms,
            max(plan.sizes),
            allowed,
            min_effect=plan.options.min_effect,
            higher_is_better=self.higher,
            seeds=plan.options.seeds,
        )
        self._asked: tuple[NextRun, list[Job]] | None = None

    def next_jobs(self, results: Results) -> Sequence[Job]:
        """One run and its search; none once the race is decided or its time is spent."""
        try:
            if self._asked is None:
                ask = next(self._race)
            else:
                ask = self._race.send(self._result(results, *self._asked))
        except StopIteration as stop:
            self.ranking = stop.value
            return []
        jobs = race_jobs(self.study.plan, ask, results)
        self._asked = ask, jobs
        return jobs

    def certain_jobs(self) -> Sequence[Job]:
        """None: each depends on the result before it."""
        return []

    def _result(self, results: Results, ask: NextRun, jobs: Sequence[Job]) -> Result:
        """The result of the requested run. Its search counts as part of its cost."""
        done = results.runs[jobs[-1].id]
        searches = [results.searches[job.id] for job in jobs[:-1]]
        cost = race_cost(done, searches, by_compute=self.study.plan.options.by_compute)
        self.first_cost.setdefault(ask.arm, cost)
        self.costs[done.id] = cost
        self.study.progress.finished = min(sum(self.costs.values()), self.allowed)
        return Result(ask, losses(done), cost)

    def _arms(self) -> list[RaceArm]:
        """Costs of the arms as estimated by the plan, including searches that are still needed.

        Baselines are not planned: another run of one is assumed to take what the first, on all rows, took, or a
        proportional share.
        """
        study, plan = self.study, self.study.plan
        whole, everything = max(plan.sizes), exhaustive_seconds(plan)
        barred = {each.regime for each in plan.excluded}
        found = []
        for name in (name for name in plan.names if is_baseline(name) and name not in barred):

            def again(rows: int, name: str = name) -> float:
                return self.first_cost.get(name, 0.0) * rows / whole

            found.append(RaceArm(name, again, whole=True, flat=name == "constant"))
        for name in (name for name in plan.networks if name not in barred):

            def cost(rows: int, name: str = name) -> float:
                jobs = race_jobs(plan, NextRun(name, rows, 0), study.results)
                return sum(map(study.seconds_of, jobs))

            found.append(RaceArm(name, cost, whole=cost(whole) < LITTLE * everything))
        return found


def race_jobs(plan: RunPlan, ask: NextRun, results: Results) -> list[Job]:
    """The run that a race requests, after the search for its rate if there was none yet.

    On few rows a trial would be too short to tell rates apart: there a run has the regime's default rate, until one has
    been searched on more rows.
    """
    job = train_job(plan, ask.arm, ask.rows, plan.options.first_seed + ask.seed)
    if is_baseline(ask.arm):
        return [job]
    search = search_job(plan, ask.arm, searched_at(plan), [*results.searches])
    if search.id in results:
        return [replace(job, search=search.id, charged=False)]
    return [search, replace(job, search=search.id)] if ask.rows >= searched_at(plan) else [job]


def race_cost(done: Run, searches: Sequence[TunedRegime], *, by_compute: bool = False) -> float:
    """Seconds that a run took, including its searches; with `by_compute`, those of the reference device."""
    if by_compute:
        found = done.tuning_flops if is_baseline(done.regime) else sum(each.flops for each in searches)
        return (done.cost.flops + found) / REFERENCE_FLOPS
    tuning = done.tuning_seconds if is_baseline(done.regime) else sum(each.seconds for each in searches)
    return done.cost.seconds + tuning


def run_race(study: StudyState, part: float | None) -> Generator[Event, None, tuple[Comparison, RaceOutcome]]:
    """Race the regimes of a measured plan. `part`: share of the full comparison's time; None: the budget of the
    options.
    """
    plan, whole = study.plan, max(study.plan.sizes)
    everything = exhaustive_seconds(plan)
    allowed = plan.options.budget if part is None else part * everything
    study.progress.planned = allowed
    by_compute = plan.options.by_compute
    minutes = f"{allowed / 60:.0f} min" if allowed >= 90 else f"{allowed:.0f} s"
    within = format_effort(allowed, by_compute=True) if by_compute else minutes
    said = f"a race of {len(plan.names)} regimes toward {whole:,} rows, within {within}; comparing all would take"
    whole_study = format_effort(everything, by_compute=True) if by_compute else f"{everything / 60:.0f} min"
    yield study.progress.event("planning", message=f"{said} {whole_study}")
    strategy = RaceJobs(study, allowed)
    yield from run_jobs(study, strategy)
    runs = list(study.results.runs.values())
    comparison = replace(make_comparison(plan, runs), excluded=plan.excluded)
    save_comparison(comparison, study.folder)
    found = _raced(plan, strategy, runs, everything)
    write_json(study.folder / "race.json", found.to_json())
    yield from refit_winner(study, comparison, race_advice(comparison, found))
    return comparison, found


def searched_at(plan: RunPlan) -> int:
    """The number of rows at which rates are searched: a quarter of all, or the next larger one of the race."""
    return next(rows for rows in sorted(plan.sizes) if 4 * rows >= max(plan.sizes))


def losses(done: Run) -> Array | None:
    """[n] for each test row, or each group of them: their mean is the error, 1 - score if higher is better.

    Metrics that are not means over rows (F1) contribute by row. None for a run without a score: a run that was too
    short to beat the constant on few rows has one, and may win on all.
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


def _raced(plan: RunPlan, strategy: RaceJobs, runs: Sequence[Run], everything: float) -> RaceOutcome:
    whole, ranking = max(plan.sizes), strategy.ranking
    assert ranking is not None
    top = max((HIGHEST.get(run.metric, 1.0) for run in runs), default=1.0)

    def score(loss: float) -> float:
        return top * (1 - loss) if strategy.higher else loss

    outlooks = []
    ranks = {name: (-round(ranking.chances[name], 2), found.value) for name, found in ranking.predicted.items()}
    for name in sorted(ranks, key=ranks.__getitem__):
        seen = [run for run in runs if run.regime == name]
        most = max(run.rows for run in seen)
        found = ranking.predicted[name]
        ends = sorted((score(found.low), score(found.high)))
        arm = next(arm for arm in strategy.arms if arm.name == name)
        outlooks.append(
            RaceForecast(
                regime=name,
                family=seen[0].family,
                rows=most,
                chance=ranking.chances[name],
                score=score(found.value),
                interval=Interval(*ends),
                seconds=arm.cost(whole)
                if name in plan.networks
                else fmean(_seconds(plan, r) for r in seen if r.rows == most),
            )
        )
    ask = ranking.next_ask
    return RaceOutcome(
        whole=whole,
        choice=ranking.choice,
        tie=ranking.tie,
        confidence=ranking.confidence,
        decided=ranking.decided,
        outlooks=tuple(outlooks),
        spent=ranking.spent,
        allowed=strategy.allowed,
        exhaustive=everything,
        exhaustive_flops=_exhaustive_flops(plan, runs),
        next_regime=ask.arm if ask else None,
        next_rows=ask.rows if ask else None,
        next_seconds=ranking.next_cost,
        unseen=ranking.unseen,
        by_compute=plan.options.by_compute,
    )


def _seconds(plan: RunPlan, done: Run) -> float:
    return done.cost.flops / REFERENCE_FLOPS if plan.options.by_compute else done.cost.seconds


def _exhaustive_flops(plan: RunPlan, runs: Sequence[Run]) -> float:
    """FLOPs of the full comparison: each regime's largest run in proportion to its steps, and its search."""
    whole, total = max(plan.sizes), 0.0
    for name in plan.names:
        seen = [run for run in runs if run.regime == name]
        if not seen:
            continue
        largest = max(seen, key=lambda run: run.rows)
        times, search = 1.0, max(run.tuning_flops for run in seen)
        if name in plan.networks:
            times = _examples(plan, name, whole) / _examples(plan, name, largest.rows)
            config = plan.config(plan.regime(name, whole), whole, 0)
            search = trial_share(config) * (plan.options.trials + 0.5) * plan.searches * times * largest.cost.flops
        total += len(plan.seeds) * times * largest.cost.flops + search
    return total


def _examples(plan: RunPlan, name: str, rows: int) -> int:
    config = plan.config(plan.regime(name, rows), rows, 0)
    return config.steps * config.batch_size
