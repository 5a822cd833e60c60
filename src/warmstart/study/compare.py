"""Compare: regimes x seeds x rows, within a budget of time.

A comparison is an iterator of events, so that who runs it can show how far it is; its value is the Comparison.
What is finished stays in the folder, and is not done again.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from warmstart.errors import TrainingError, shell_word
from warmstart.planning.estimates import plan_summary, rows_ranked, seconds_of_search
from warmstart.planning.problem import Options, Problem
from warmstart.planning.requirements import constraints_after_training
from warmstart.planning.run_plan import RunPlan, first_plan
from warmstart.regimes.regimes import is_baseline
from warmstart.results.comparison import Comparison
from warmstart.results.names import LENGTH_MULTIPLIERS, run_id
from warmstart.results.record import Run, load_run
from warmstart.runs.execute import Results
from warmstart.runs.job import Job, SearchJob, TrainJob
from warmstart.runtime.files import read_fields, read_json, reading_ours, require_plain_name, write_json
from warmstart.study.begin import begin_study
from warmstart.study.jobs import StudyState, carry_out, search_job, train_job
from warmstart.tasks.tasks import task_for
from warmstart.training.event import Event

LENGTHS_FILE = "lengths.json"


@dataclass(frozen=True)
class ComparisonJobs:
    """The strategy of a comparison: search, train, and give more steps to what still improves, within the budget."""

    study: StudyState

    def next_jobs(self, results: Results) -> Sequence[Job]:
        """Those that are missing of the first group that is not finished."""
        groups = (group for rows in self.study.plan.sizes for group in self._groups(results, rows))
        return next((missing for group in groups if (missing := [job for job in group if job.id not in results])), [])

    def _groups(self, results: Results, rows: int) -> Iterator[Sequence[Job]]:
        """On so many rows; each group is asked for when those before it are finished."""
        plan = self.study.plan
        yield [train_job(plan, name, rows, seed) for name in plan.names if is_baseline(name) for seed in plan.seeds]
        searches: dict[str, SearchJob] = {}
        for name in sorted(plan.networks, key=lambda name: -seconds_of_search(plan, name, rows)):
            # the dearest is searched first: others may spend as much
            searches[name] = search_job(plan, name, rows, [job.id for job in searches.values()])
        yield [*searches.values()]
        yield [train_job(plan, name, rows, seed, searches[name].id) for seed in plan.seeds for name in plan.networks]
        for length in LENGTH_MULTIPLIERS:
            for name in plan.networks:
                yield self._longer(results, searches[name], length)

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
        """Whether there is time for these runs. Written down, so that it is decided once."""
        path, first = self.study.folder / LENGTHS_FILE, jobs[0].id
        decided = read_json(path, dict[str, bool]) if path.exists() else {}
        if first not in decided:
            there = (self.study.folder / "runs" / first / "run.json").exists()  # by a version that wrote nothing down
            seconds = sum(map(self.study.seconds_of, jobs))
            elapsed = time.perf_counter() - self.study.progress.began
            decided[first] = there or elapsed + seconds <= self.study.plan.options.budget
            write_json(path, decided)
        return decided[first]


def run_comparison(problem: Problem, options: Options, folder: Path) -> Generator[Event, None, Comparison]:
    """Run every regime with every seed at every number of rows, and record it in `folder`.

    A run that diverges is recorded as failed. Raises TrainingError if nothing at all could be trained.
    """
    study = yield from begin_study(first_plan(problem, options), folder)
    if study.plan.networks:
        yield study.progress.event("planning", message=plan_summary(study.plan))
    yield from carry_out(study, ComparisonJobs(study))
    runs = list(study.results.runs.values())
    best = best_lengths(study.plan, runs)
    more = sum(done.cost.flops for done in runs) - sum(done.cost.flops for done in best)
    comparison = replace(make_comparison(study.plan, best, folder), unranked_flops=more)
    save_comparison(comparison, folder)
    return comparison


def load_comparison(folder: Path) -> Comparison:
    """The comparison that a study made, from its finished runs. Raises TrainingError if it is not finished."""
    path = folder / "study.json"
    if not path.exists():
        raise TrainingError(f"{folder} is no finished study.", f"warmstart resume {shell_word(folder)}")
    remedy = f"delete it, and go on with: warmstart resume {shell_word(folder)}"
    known = read_fields(path, Comparison, remedy, without=("runs",))
    with reading_ours(path):
        runs = tuple(load_run(folder / "runs" / require_plain_name(path, name)) for name in known.pop("runs"))
    return Comparison(runs, **known)


def save_comparison(comparison: Comparison, folder: Path) -> None:
    """Into `study.json`: what `remembered` reads, with the names of the runs."""
    facts = {entry.name: getattr(comparison, entry.name) for entry in fields(comparison)}
    facts["excluded"] = [vars(each) for each in comparison.excluded]
    write_json(folder / "study.json", facts | {"runs": [run.id for run in comparison.runs]})


def make_comparison(plan: RunPlan, runs: Sequence[Run], folder: Path) -> Comparison:
    """What these runs of a plan say together. Raises TrainingError where all of them failed."""
    splits = plan.splits
    task = task_for(plan.problem.schema, splits)
    if all(run.failed for run in runs):
        why = "; ".join(dict.fromkeys(f"{run.regime}: {run.failed}" for run in runs))
        raise TrainingError(f"no regime could be trained: {why}", f"see {folder / 'runs'}; try another --lr")
    return Comparison(
        runs=tuple(runs),
        task=task.name,
        metric=task.metric,
        higher_is_better=task.higher_is_better,
        units=task.units,
        fingerprint=splits.fingerprint,
        rows={"train": max(plan.sizes), "val": len(splits.val), "test": rows_ranked(plan)},
        target=plan.problem.schema.target,
        min_effect=plan.options.min_effect,
        cuts=plan.cuts,
        full_estimate=plan.full_estimate,
        available=len(splits.train),
        caveats=(*plan.problem.caveats, *plan.fewer_rows),
        noise_floor=plan.problem.noise_floor,
        excluded=constraints_after_training(plan, runs) if plan.options.constraints.given else (),
    )


def best_lengths(plan: RunPlan, runs: Sequence[Run]) -> list[Run]:
    """Of the lengths tried, each regime's best by validation counts; of equals the longest, tried for good reason.

    One at which more seeds failed than at another counts in no case: it would take the others' runs away.
    """
    higher = task_for(plan.problem.schema, plan.splits).higher_is_better
    tried: dict[tuple[str, int], dict[int, list[Run]]] = {}  # regime, rows: seed: its runs, from short to long
    for run in runs:
        tried.setdefault((run.regime, run.rows), {}).setdefault(run.seed, []).append(run)
    found: list[Run] = []
    for by_seed in tried.values():
        each = list(zip(*by_seed.values(), strict=False))  # a length that not every seed has is left out
        numbered = enumerate(each)
        _, best = max(numbered, key=lambda n: (sum(not r.failed for r in n[1]), _mean_val(n[1], higher), n[0]))
        found += best
    return found


def _mean_val(runs: Sequence[Run], higher: bool) -> float:
    values = [r.val for r in runs if r.val is not None and not r.failed]
    if not values:
        return -np.inf
    return float(np.mean(values)) * (1 if higher else -1)
