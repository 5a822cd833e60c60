"""Compare: regimes x seeds x rows, within a budget of time.

A comparison is an iterator of events, so that callers can show its progress; its return value is the Comparison.
Finished work stays in the folder and is not repeated.
"""

import shutil
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from warmstart.advice.advise import advice_for
from warmstart.advice.ranking import rank_regimes
from warmstart.errors import join_phrases
from warmstart.planning.estimates import (
    plan_summary,
    seconds_of_run,
    seconds_of_search,
)
from warmstart.planning.fit_budget import cuts_as_run
from warmstart.planning.problem import Options, Problem
from warmstart.planning.run_plan import RunPlan, first_plan
from warmstart.regimes.regimes import is_baseline
from warmstart.results.comparison import CONSTANT, Comparison
from warmstart.results.constraints import BUDGET, Excluded
from warmstart.results.names import ENSEMBLE, LENGTH_MULTIPLIERS, PREVIOUS, run_id
from warmstart.results.outputs import has_outputs
from warmstart.results.record import load_run
from warmstart.runs.execute import Results
from warmstart.runs.job import CombineJob, Job, RowSelection, SearchJob, TrainJob
from warmstart.runtime.distributed import world
from warmstart.runtime.files import read_json, write_json
from warmstart.study.begin import begin_study
from warmstart.study.first_model import first_model
from warmstart.study.jobs import (
    DROPPED_FILE,
    IN_THIS_PROCESS,
    Executor,
    FixedJobs,
    StudyState,
    dropped_jobs,
    run_jobs,
    search_job,
    train_job,
)
from warmstart.study.make_comparison import (
    best_lengths,
    make_comparison,
    mean_val_score,
    save_comparison,
    unlearned_regimes,
)
from warmstart.study.refit_winner import refit_winner
from warmstart.study.winner import keep_first_winner
from warmstart.tasks.tasks import task_for
from warmstart.training.event import Event

LENGTHS_FILE = "lengths.json"
LITTLE_TIME = 0.04  # of the budget: a network that takes no more is trained for longer at once, not in the end


@dataclass(frozen=True)
class ComparisonJobs:
    """The strategy of a comparison: search, train, and give more steps to regimes that still improve, within the
    budget.

    If the budget does not allow all rows for all regimes: cheap regimes on all rows first, then parts of the rows,
    the cheapest run first, then the most promising of the expensive regimes on all rows. The order depends only on the
    plan and the results; a machine that is slower than measured drops the end of the list.
    """

    study: StudyState

    def next_jobs(self, results: Results) -> Sequence[Job]:
        """The missing jobs of the first group that is not finished; at the end an ensemble per seed."""
        # A baseline that asks a base and ran out of time is not begun again; the others take next to none.
        dropped = {job.id for job in baseline_jobs(self.study.plan)} & set(dropped_jobs(self.study.folder))
        for group in self._groups(results):
            missing = [job for job in group if job.id not in results and job.id not in dropped]
            if missing and self._too_late(missing):
                break
            if missing:
                return missing
        # What a worker had begun before it became too late is kept.
        begun = [job for job in self.certain_jobs() if job.id not in results and self._is_begun(job)]
        last = combine_jobs(self.study.plan, results, self.study.folder)
        return begun or [job for job in last if job.id not in results]

    def certain_jobs(self) -> Sequence[Job]:
        """All jobs but longer trainings, those of promising regimes, and ensembles."""
        return [job for group in self._groups(Results()) for job in group]

    def _is_begun(self, job: Job) -> bool:
        """Whether a worker has begun it, or finished it in an earlier session."""
        return job.id in self.study.begun or self.study.has_result(job)

    def _groups(self, results: Results) -> Iterator[Sequence[Job]]:
        """Groups of jobs; each is requested once those before it are finished."""
        plan = self.study.plan
        yield baseline_jobs(plan)
        if plan.regime_sizes:
            yield from self._within_budget(results)
            return
        for rows in plan.sizes:
            searches: dict[str, SearchJob] = {}
            for name in sorted(plan.networks, key=lambda name: -seconds_of_search(plan, name, rows)):
                # the most expensive is searched first: others may spend as much
                searches[name] = search_job(plan, name, rows, [job.id for job in searches.values()])
            yield [*searches.values()]
            for seed in plan.seeds:  # the cheapest is trained first: what there is no time for is one, not several
                for name in sorted(plan.networks, key=lambda name: seconds_of_run(plan, name, rows)):
                    yield [train_job(plan, name, rows, seed, searches[name].id)]
                    if seed == plan.seeds[-1]:
                        yield from self._quickly_longer(results, searches[name])
            for length in LENGTH_MULTIPLIERS:
                for name in self._best_first(results, plan.networks):
                    yield self._longer(results, searches[name], length)

    def _within_budget(self, results: Results) -> Iterator[Sequence[Job]]:
        """Cheap regimes on all rows, all on parts of them, promising ones on all, and cheap ones for longer."""
        plan, whole = self.study.plan, max(self.study.plan.sizes)
        order = sorted(plan.networks, key=lambda name: self.study.seconds_of(train_job(plan, name, whole, 0)))
        cheap = [name for name in order if name not in plan.regime_sizes]
        searches: dict[str, SearchJob] = {}
        for name in order:
            for rows in plan.searched_at(name):
                searches[name] = search_job(plan, name, rows, [job.id for job in searches.values()])

        def training(name: str, rows: int) -> list[Job]:
            search = searches.get(name)
            jobs: list[Job] = [search] if search else []
            for seed in plan.seeds:
                job = train_job(plan, name, rows, seed, search.id if search else None)
                jobs.append(replace(job, charged=search is not None and search.data.rows == rows))
            return jobs

        for name in cheap:
            yield training(name, whole)
            if name in searches:
                yield from self._quickly_longer(results, searches[name])
        for name, rows in self._parts(order, searches):
            yield training(name, rows)
        while promising := self._promising(results):
            yield training(promising, whole)
        for length in LENGTH_MULTIPLIERS:
            for name in self._best_first(results, cheap):
                if name in searches:
                    yield self._longer(results, searches[name], length)

    def _parts(self, names: Sequence[str], searches: Mapping[str, SearchJob]) -> list[tuple[str, int]]:
        """Each network with each part of the rows that it is run on: as in the plan the cheapest first, of one network
        the smallest first.
        """
        plan, found = self.study.plan, []
        for name in names:
            most = 0.0
            for rows in (rows for rows in plan.sizes_of(name) if rows < max(plan.sizes)):
                seconds = sum(self.study.seconds_of(train_job(plan, name, rows, seed)) for seed in plan.seeds)
                if name in searches and name in plan.regime_sizes and not most:
                    seconds += self.study.seconds_of(searches[name])
                most = max(most, seconds)
                found.append((most, rows, name))
        return [(name, rows) for _, rows, name in sorted(found, key=lambda part: part[:2])]

    def _promising(self, results: Results) -> str | None:
        """The most likely winner among regimes not yet run on all rows, if the budget has room for it."""
        plan, whole = self.study.plan, max(self.study.plan.sizes)
        runs = best_lengths(plan, list(results.runs.values()))
        if all(run.failed for run in runs):
            return None
        ranking = rank_regimes(make_comparison(plan, runs))
        beyond = [row.name for row in ranking.reaching] if ranking else []
        if ranking and ranking.best.rows < whole:
            beyond = [ranking.best.name, *beyond]
        beyond += unlearned_regimes(plan, runs)
        for name in beyond:
            jobs = [train_job(plan, name, whole, seed) for seed in plan.seeds]
            if not any(job.id in results for job in jobs) and self._has_room(jobs):
                return name
        return None

    def _has_room(self, jobs: Sequence[Job]) -> bool:
        """Whether the budget has room for these jobs after everything that is finished, by the measured estimates."""
        seconds = sum(map(self.study.seconds_of, jobs))
        return self.study.progress.finished + seconds <= self.study.plan.for_jobs

    def _quickly_longer(self, results: Results, search: SearchJob) -> Iterator[Sequence[Job]]:
        """Longer trainings of cheap regimes: after the expensive ones there may be no time left for them."""
        plan, name, rows = self.study.plan, search.regime, search.data.rows
        for length in LENGTH_MULTIPLIERS:
            jobs = [replace(train_job(plan, name, rows, seed), length=length) for seed in plan.seeds]
            if sum(map(self.study.seconds_of, jobs)) <= LITTLE_TIME * plan.options.budget:
                yield self._longer(results, search, length)

    def _best_first(self, results: Results, names: Sequence[str]) -> list[str]:
        """By validation scores on all rows: more steps for these may change the answer."""
        plan = self.study.plan
        higher, whole = task_for(plan.problem.schema, plan.splits).higher_is_better, max(plan.sizes)
        runs = [run for run in results.runs.values() if run.rows == whole]
        return sorted(names, key=lambda name: -mean_val_score([run for run in runs if run.regime == name], higher))

    def _longer(self, results: Results, search: SearchJob, length: int) -> Sequence[Job]:
        """A regime that has not converged, trained for longer with every seed, if there is time."""
        plan, name, rows = self.study.plan, search.regime, search.data.rows
        jobs = [replace(train_job(plan, name, rows, seed, search.id), length=length) for seed in plan.seeds]
        jobs = [replace(job, shorter=run_id(name, rows, job.data.seed, length // 2)) for job in jobs]
        before = [results.runs[job.shorter] for job in jobs if job.shorter in results.runs]
        if len(before) < len(jobs) or all(run.converged or run.failed for run in before):
            return []
        return jobs if self._affordable(jobs) else []

    def _affordable(self, jobs: Sequence[TrainJob]) -> bool:
        """Whether there is time for these runs. Recorded, so that it is decided once."""
        path, first = self.study.folder / LENGTHS_FILE, jobs[0].id
        decided = read_json(path, dict[str, bool]) if path.exists() else {}
        if first not in decided:
            there = (self.study.folder / "runs" / first / "run.json").exists()  # by a version that wrote nothing down
            decided[first] = there or self._has_room(jobs)
            write_json(path, decided)
        return decided[first]

    def _too_late(self, jobs: Sequence[Job]) -> bool:
        """Whether these runs would end well after the budget because the machine was busy. Recorded, so that it is
        decided once.
        """
        if self.study.plan.options.by_compute or all(is_baseline(job.regime) for job in jobs):
            return False
        left = [job for job in jobs if not self._is_begun(job)]
        if not left:
            return False
        path = self.study.folder / DROPPED_FILE
        if not path.exists() and self.study.late(sum(map(self.study.seconds_of, left))):
            write_json(path, [job.id for job in jobs if job.kind == "train"])
        return path.exists()


def baseline_jobs(plan: RunPlan) -> list[TrainJob]:
    """Jobs of all regimes without a network, on all rows first: these are never cut."""
    names = [name for name in plan.names if is_baseline(name)]
    return [train_job(plan, name, rows, seed) for rows in reversed(plan.sizes) for name in names for seed in plan.seeds]


def combine_jobs(plan: RunPlan, results: Results, folder: Path) -> list[CombineJob]:
    """An ensemble per seed of all regimes that beat the constant on validation rows, on all rows, if there are two.

    A regime counts once, at its best length.
    """
    if not plan.combines:
        return []
    # Neither an earlier model, which has outputs of its own, nor those whose code is not stored with a model.
    others = {ENSEMBLE, PREVIOUS, *(regime.name for regime in plan.problem.own)}
    best = best_lengths(plan, [run for run in results.runs.values() if run.regime not in others])
    whole, found = max(plan.sizes), []
    for seed in plan.seeds:
        runs = [run for run in best if (run.rows, run.seed) == (whole, seed) and not run.failed and run.val is not None]
        turned = {run.id: (run.val or 0.0) * (1 if run.higher_is_better else -1) for run in runs}
        floor = max((turned[run.id] for run in runs if run.regime == CONSTANT), default=-np.inf)
        better = [run.id for run in runs if run.regime != CONSTANT and turned[run.id] > floor]
        members = tuple(name for name in better if has_outputs(folder / "runs" / name))
        if len(members) > 1:
            found.append(CombineJob(ENSEMBLE, RowSelection(plan.splits.fingerprint, whole, seed), members))
    return found


def run_comparison(
    problem: Problem, options: Options, folder: Path, executor: Executor = IN_THIS_PROCESS
) -> Generator[Event, None, Comparison]:
    """Run every regime with every seed at every number of rows, and record it in `folder`.

    A run that diverges is recorded as failed.
    """
    began = time.perf_counter()
    asked = first_plan(problem, options)
    fits = yield from first_model(asked, folder)
    known = replace(asked, fit_seconds=fits)
    study = yield from begin_study(known, folder, began=began, workers=executor.workers)
    study.executor, study.deadline = executor, study.end_of_budget
    if study.plan.scored < 1.0:
        world().on_main(lambda: _forget(study))
    if problem.floors:
        yield study.progress.event("planning", message=problem.floors_note)
    if study.plan.networks:
        yield study.progress.event("planning", message=plan_summary(study.plan))
    strategy = ComparisonJobs(study)
    yield from run_jobs(study, FixedJobs(baseline_jobs(study.plan), later=strategy.certain_jobs()))
    world().on_main(lambda: keep_first_winner(list(study.results.runs.values()), folder))
    yield from run_jobs(study, strategy)
    runs = list(study.results.runs.values())
    best = best_lengths(study.plan, runs)
    more = sum(done.cost.flops for done in runs) - sum(done.cost.flops for done in best)
    comparison = _without_single(replace(make_comparison(study.plan, best), unranked_flops=more))
    comparison = _without_dropped(comparison, study)
    save_comparison(comparison, folder)
    yield from refit_winner(study, comparison, advice_for(comparison))
    return comparison


def forget_refusals(folder: Path) -> None:
    """What a study had no time for is decided again, when it is resumed with a larger budget; it is not finished now.

    What was trained stays.
    """
    (folder / "study.json").unlink(missing_ok=True)
    (folder / DROPPED_FILE).unlink(missing_ok=True)
    path = folder / LENGTHS_FILE
    if path.exists():
        write_json(path, {name: True for name, there in read_json(path, dict[str, bool]).items() if there})


def _forget(study: StudyState) -> None:
    """Delete fits of `first_model` that were scored on more rows than the plan has; they are repeated."""
    test = len(study.plan.splits.test)
    for path in study.folder.glob("runs/*/run.json"):
        if len(load_run(path.parent).scores) > test:
            shutil.rmtree(path.parent)


def _without_single(comparison: Comparison) -> Comparison:
    """Without the ensemble if it has one member, whichever the seed: it is that regime under another name."""
    members = [set(run.settings["weights"]) for run in comparison.runs if run.regime == ENSEMBLE and not run.failed]
    if not members or any(len(each) > 1 for each in members):
        return comparison
    ids = set.union(*members)
    names = [f"`{name}`" for name in dict.fromkeys(run.regime for run in comparison.runs if run.id in ids)]
    said = f"`ensemble` is not listed: on validation rows no mean of several regimes does better than {names[0]} alone."
    runs = tuple(run for run in comparison.runs if run.regime != ENSEMBLE)
    return replace(comparison, runs=runs, caveats=(*comparison.caveats, said))


def _without_dropped(comparison: Comparison, study: StudyState) -> Comparison:
    """The plan with runs that a busy machine left no time for among its cuts; regimes without any run are excluded."""
    plan = study.plan
    if not world().on_main((study.folder / DROPPED_FILE).exists):
        return comparison
    runs = {(run.regime, run.rows, run.seed) for run in comparison.runs}
    wanted = [(name, rows) for name in plan.networks for rows in plan.sizes_of(name)]
    late = set(dropped_jobs(study.folder))
    baselines = [job for job in baseline_jobs(plan) if job.id in late]
    wanted += dict.fromkeys((job.regime, job.data.rows) for job in baselines)
    lacking = [f"`{n}` on {rows:,} rows" for n, rows in wanted if any((n, rows, s) not in runs for s in plan.seeds)]
    if not lacking:
        return comparison
    said = f"dropped, because the machine was slower than measured: {join_phrases(lacking)}"
    unseen = [name for name in dict(wanted) if name not in comparison.names]
    reason = "the machine was too slow to run it within the budget"
    out = tuple(Excluded(name, BUDGET, reason) for name in unseen)
    cuts = (said, *cuts_as_run(plan, {run[:2] for run in runs}))
    return replace(comparison, cuts=cuts, excluded=(*comparison.excluded, *out))
