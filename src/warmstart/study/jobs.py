"""Jobs: how are the jobs of a study run, each at most once, in the order that its strategy requests?

Finished jobs stay in the folder and are read back; a job that killed the process too often is recorded as failed.
Workers may run later jobs earlier. Their results are read back in the order of one process all the same, and a strategy
sees no others: so it decides as in one process, whichever job finishes first.
"""

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from warmstart.errors import join_phrases
from warmstart.planning import history
from warmstart.planning.estimates import (
    measuring,
    predicted_cost,
    seconds_of_baseline,
    seconds_of_reading_more,
    seconds_of_run,
    seconds_of_search,
    seconds_of_step,
    tokens_per_text,
)
from warmstart.planning.run_plan import RunPlan
from warmstart.quantities import format_exact
from warmstart.regimes.regimes import UNTRAINED_BASES, is_baseline, is_solved
from warmstart.results.names import PREVIOUS, regime_of
from warmstart.results.record import Run, Trial
from warmstart.runs.execute import JobContext, Results, run
from warmstart.runs.job import Job, RowSelection, SearchJob, TrainJob
from warmstart.runs.run import TunedRegime, failed_run, tried_settings
from warmstart.runs.search import transfer
from warmstart.runtime import supervisor
from warmstart.runtime.distributed import world
from warmstart.runtime.files import read_json, write_json
from warmstart.training.event import Event, Expected, JobProgress, OutOfTime, Progress
from warmstart.training.frozen_prefix import SharedData

BUDGET_TOLERANCE = 0.05  # of the budget: when it is exceeded by more, no network is trained any longer
DROPPED_FILE = "dropped.json"  # what there was no time for, and with it all that would have come after
ENDPOINT_JOURNAL = "endpoint.jsonl"  # the answers of a chat model elsewhere


class Strategy(Protocol):
    """Decides which jobs come next."""

    def next_jobs(self, results: Results) -> Sequence[Job]:
        """The next jobs given the results so far; each may depend on those before it. None: the study is finished."""
        ...

    def certain_jobs(self) -> Sequence[Job]:
        """Jobs that are requested sooner or later, whatever the results, in their order."""
        ...


@dataclass(frozen=True)
class FixedJobs:
    """A strategy with a fixed list of jobs, in this order."""

    jobs: Sequence[Job]
    later: Sequence[Job] = ()  # that another strategy will request

    def next_jobs(self, results: Results) -> Sequence[Job]:
        """All that are not finished."""
        return [job for job in self.jobs if job.id not in results]

    def certain_jobs(self) -> Sequence[Job]:
        """All of them, and those that follow."""
        return [*self.jobs, *self.later]


class Executor(Protocol):
    """Where the jobs of a study are run."""

    @property
    def workers(self) -> int:
        """How many jobs are run at the same time."""
        ...

    def finish(self, study: "StudyState", job: Job, coming: Sequence[Job]) -> Generator[Event, None, None]:
        """Have a job run by a worker, until its result is in its folder or it has killed too many workers.

        Idle workers may begin jobs that are `coming`. Leaves a job alone that is to be run in this process.
        """
        ...

    def ahead(self, study: "StudyState") -> float:
        """Planned seconds already done of jobs whose results have not been read back."""
        ...


@dataclass(frozen=True)
class InThisProcess:
    """Every job is run in this process, when its turn comes."""

    workers: int = 1

    def finish(self, study: "StudyState", job: Job, coming: Sequence[Job]) -> Generator[Event, None, None]:
        """Leaves all jobs to this process."""
        yield from ()

    def ahead(self, study: "StudyState") -> float:
        """Nothing: no job is done before its turn."""
        return 0.0


IN_THIS_PROCESS = InThisProcess()


@dataclass
class StudyState:
    """The state of a running study."""

    plan: RunPlan
    folder: Path
    shared: SharedData
    progress: Progress
    results: Results = field(default_factory=Results)
    jobs: dict[str, Job] = field(default_factory=dict)  # those carried out, by their ids
    single: bool = False  # whether its one run is the folder itself
    parts: dict[int, SharedData] = field(default_factory=dict)  # rows -> those that regimes on a part of them share
    expected: tuple[Run, float] | None = None  # a run on fewer rows, than which its runs should be no worse: by a band
    executor: Executor = IN_THIS_PROCESS
    deadline: float = math.inf  # by time.perf_counter(): a network that is still training then is stopped
    begun: set[str] = field(default_factory=set)  # ids of the jobs that workers have begun

    def late(self, seconds: float = 0.0) -> bool:
        """Whether the budget is spent, or would be after so many more seconds."""
        return time.perf_counter() + seconds > self.end_of_budget

    @property
    def end_of_budget(self) -> float:
        """When the budget is spent, by time.perf_counter(). Never where compute limits the study."""
        options = self.plan.options
        return math.inf if options.by_compute else self.progress.began + (1 + BUDGET_TOLERANCE) * options.budget

    def folder_of(self, job: Job) -> Path:
        """The folder of a job's result."""
        if job.kind == "search":
            return self.folder / "tuning" / job.id
        return self.folder if self.single else self.folder / "runs" / job.id

    def has_result(self, job: Job) -> bool:
        """Whether a job's result is in its folder."""
        folder = self.folder_of(job)
        return (folder.with_name(f"{folder.name}.json") if job.kind == "search" else folder / "run.json").exists()

    def seconds_of(self, job: Job) -> float:
        """Seconds that the job is expected to take."""
        if job.kind == "combine":
            return 0.0
        if is_baseline(job.regime):
            return seconds_of_baseline(self.plan, job.regime, job.data.rows, job.data.seed)
        if job.kind == "search":
            return seconds_of_search(self.plan, job.regime, job.data.rows)
        seconds = seconds_of_run(self.plan, job.regime, job.data.rows, job.length)
        return seconds + seconds_of_reading_more(self.plan, job.regime, job.data.rows)

    def shared_by(self, job: Job) -> SharedData:
        """The encoded rows of a job and of similar ones: a regime that runs on a part of the rows reads no others."""
        most = max(self.plan.sizes_of(job.regime))
        if most == max(self.plan.sizes) or job.data.rows > most:
            return self.shared
        if most not in self.parts:
            self.parts[most] = self.plan.shared(most)
        return self.parts[most]

    def context(self, job: Job) -> JobContext:
        """Everything that the job needs, from the plan and from the results of the jobs it depends on."""
        plan, name, rows = self.plan, job.regime, job.data.rows
        baseline, shared = is_baseline(name), self.shared_by(job)
        shared.deadline = self.deadline if regime_of(name) in UNTRAINED_BASES or not baseline else math.inf
        run_data = plan.learned_by(name, plan.run_data(rows, job.data.seed, shared))
        if run_data.endpoint is not None:
            run_data = replace(run_data, endpoint=run_data.endpoint.at(self.folder / ENDPOINT_JOURNAL))
        progress = JobProgress(
            job.doing,
            job.id if job.kind == "train" else "",
            self.seconds_of(job),
            0.0 if baseline else seconds_of_step(plan, name, rows),
            self.progress,
        )
        progress.deadline = shared.deadline
        if job.kind == "combine":
            return JobContext(None, run_data, progress, members=tuple(self.folder / "runs" / id for id in job.members))
        if is_solved(name):
            earlier = plan.problem.earlier if name == PREVIOUS else None
            base = plan.frozen_base(name)
            return JobContext(None, run_data, progress, base=base, effort=plan.effort, earlier=earlier)
        regime = plan.regime(name, rows)
        config = plan.config(regime, rows, job.data.seed)
        if job.kind == "search":
            spent = (self.results.searches[need].flops for need in job.needs)
            return JobContext(TunedRegime(regime, config), run_data, progress, max(spent, default=0.0))
        tuned = TunedRegime(regime, config)
        if job.search:
            tuned = transfer(self.results.searches[job.search], regime, config, charged=job.charged)
        tuned = replace(tuned, config=replace(tuned.config, steps=config.steps * job.length))
        if job.shorter:
            done = self.results.runs[job.shorter]
            known = Trial(tried_settings(tuned.regime, tuned.config), done.settings["steps"], done.val)
            tuned = replace(tuned, shorter=known)
        if self.expected:
            before, band = self.expected
            progress.expected = Expected(before, tuned.config.steps, band)
        return JobContext(
            tuned, run_data, progress, predicted=predicted_cost(plan, name, rows, job.data.seed, job.length)
        )


def search_job(plan: RunPlan, name: str, rows: int, after: Sequence[str] = ()) -> SearchJob:
    """The search for a regime on so many rows; one for its size may spend as many FLOPs as the searches `after` which
    it comes.
    """
    regime = plan.regime(name, rows)
    sizes = regime.start.size is not None and regime.search_size and not plan.effort.trials
    data = RowSelection(plan.splits.fingerprint, rows, plan.options.first_seed)
    return SearchJob(
        name, data, plan.options.trials if plan.searches_rates else 1, tuple(after) if sizes else (), plan.effort
    )


def train_job(plan: RunPlan, name: str, rows: int, seed: int, search: str | None = None) -> TrainJob:
    """The run of a regime on so many rows, at the rate of a search."""
    return TrainJob(name, RowSelection(plan.splits.fingerprint, rows, seed), search=search)


def run_jobs(study: StudyState, strategy: Strategy) -> Generator[Event, None, None]:
    """Run the jobs that the strategy requests until it requests no more; returns the study's results."""
    late: set[str] = set()  # that ran out of time: not begun again
    while jobs := [job for job in strategy.next_jobs(study.results) if job.id not in late]:
        study.progress.planned += sum(study.seconds_of(job) for job in jobs if job.kind == "train" and job.length > 1)
        later = strategy.certain_jobs() if study.executor.workers > 1 else ()
        for place, job in enumerate(jobs, 1):
            study.jobs[job.id] = job
            before = world().on_main(partial(study.has_result, job)) and job.id not in study.begun
            yield from study.executor.finish(study, job, [*jobs[place:], *later])
            context, folder = study.context(job), study.folder_of(job)
            lost = killed_too_often(study.folder, job)
            try:
                if job.kind == "search":
                    found = context.tuned if lost else (yield from run(job, context, folder))
                    assert found is not None
                    study.results.searches[job.id] = found
                    study.progress.finished += context.progress.seconds
                    continue
                if lost:
                    done = failed_run(job.regime, context.run_data, folder, lost, context.tuned)
                else:
                    done = yield from run(job, context, folder)
            except OutOfTime:  # what it has saved stays, for a study that gets more time
                late.add(job.id)
                write_json(study.folder / DROPPED_FILE, [*dropped_jobs(study.folder), job.id])
                break
            finally:
                context.run_data.shared.deadline = math.inf  # for whoever reads the rows after the jobs
            study.results.runs[job.id] = done
            study.progress.finished += context.progress.seconds
            if not before:
                _note(study.plan, done)
            ahead = study.executor.ahead(study)
            said = "" if before else _summary(done)  # it was said when it ended
            yield study.progress.event(job.doing, ahead, message=said, finished=done)


def dropped_jobs(folder: Path) -> list[str]:
    """Ids of the jobs of a study that there was no time for."""
    path = folder / DROPPED_FILE
    return read_json(path, list[str]) if path.exists() else []


def _summary(done: Run) -> str:
    """One line about a finished run."""
    if done.failed or done.test is None:
        return f"{done.id}: failed: {done.failed}"
    return f"{done.id}: {done.metric} {format_exact(done.test)} in {done.cost.seconds:.0f} s"


def _note(plan: RunPlan, done: Run) -> None:
    """Append the cost of a finished run to the history."""
    if plan.options.log and world().main:
        tokens = None if is_baseline(done.regime) else tokens_per_text(plan, done.regime)
        history.append(done, plan.base_of(done.regime).name, tokens)


# --- what killed the process ------------------------------------------------------------------------------------------


def killed_too_often(folder: Path, job: Job) -> str | None:
    """Why a job is not retried: it, or a job it depends on, killed the process too often."""
    search = f"{job.regime}, {job.data.rows:,} rows: searching its learning rate"
    before = {measuring(job.regime): "measuring a few of its steps", search: "searching its learning rate"}
    for doing, words in (before | {job.doing: before.get(job.doing, "training it")}).items():
        killed = kill_signals(folder, doing)
        if killed:
            signals = join_phrases(list(dict.fromkeys(killed)))
            reason = f"the process was killed {len(killed)} times while {words} ({signals})"
            less = "a smaller --micro-batch or --max-length, fewer --rows or --gradient-checkpointing need less"
            return f"{reason}: probably out of memory; {less}" if "SIGKILL" in killed else reason
    return None


def kill_signals(folder: Path, doing: str) -> list[str]:
    """The signals that killed the process during this job; none if they are few enough to retry it."""
    killed = world().on_main(lambda: supervisor.deaths_during(folder, doing))
    return killed if len(killed) >= supervisor.MAX_DEATHS else []
