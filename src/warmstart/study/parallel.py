"""Parallel: how do several workers run the jobs of a study, with the same results as one process?

A worker opens the study from its folder, as `resume` does, and runs a job as this process would. Everything that it
leaves is in that folder, which all workers must see under the same path: models, records, checkpoints and progress.
"""

import json
import math
import shutil
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from warmstart.errors import InputError
from warmstart.results.names import ENDPOINT_REGIME, regime_of
from warmstart.results.record import Evaluation
from warmstart.runs.execute import run
from warmstart.runs.job import Job
from warmstart.runtime import supervisor
from warmstart.runtime.lock import locked
from warmstart.study.jobs import StudyState, killed_too_often
from warmstart.training.event import Event, OutOfTime, Progress, Step

WORK_FOLDER = "workers"  # of a study: a folder for each job that a worker is running
EVENTS_FILE = "events.jsonl"
REPORT_INTERVAL = 1.0  # seconds between events that a worker reports; evaluations always are
POLL_INTERVAL = 1.0  # seconds between looks at what workers report
SHARED_FOLDER = "all machines must see the folder of the study under the same path"
SHARED_SECONDS = 30.0  # in which a file that another machine has written must be seen here


@dataclass(frozen=True)
class Ended:
    """A job that has ended on a worker."""

    job: str  # its id
    died: str = ""  # the signal that killed the worker, or what is known of it; empty: it was not killed
    error: Exception | None = None  # that ends the study
    late: bool = False  # whether it was stopped because the budget was spent


class Workers(Protocol):
    """Processes that run jobs, here or on other machines."""

    @property
    def count(self) -> int:
        """How many jobs they run at the same time."""
        ...

    def start(self, study: StudyState, job: Job, needs: Sequence[Job]) -> None:
        """Begin a job on an idle worker, where `run_job` is called with the same arguments."""
        ...

    def wait(self, seconds: float) -> Sequence[Ended]:
        """Wait until a job ends, at most so long; returns all that have ended, each once."""
        ...


def run_job(study: StudyState, job: Job, needs: Sequence[Job], seconds: float = math.inf) -> bool:
    """Run a job in a worker: its result is in its folder afterwards. One that was begun is continued.

    Returns whether it was finished: a network is stopped after so many `seconds`, and has saved a checkpoint.
    `needs`: all jobs that it depends on, in their order. While another worker is still at the same job, waits for it:
    one that lost the connection may go on for a while. Raises InputError where the results of `needs` cannot be seen.
    """
    place = study.folder / WORK_FOLDER / job.id
    place.mkdir(parents=True, exist_ok=True)
    study.deadline = time.perf_counter() + seconds
    with locked(place, wait=True):
        for need in needs:
            _read_back(study, need)
        study.progress = Progress(study.seconds_of(job))
        with (place / EVENTS_FILE).open("w", encoding="utf-8") as file:
            last = 0.0
            try:
                for event in run(job, study.context(job), study.folder_of(job)):
                    if event.evaluation or event.message or time.monotonic() - last > REPORT_INTERVAL:
                        last = time.monotonic()
                        print(_as_line(event), file=file, flush=True)
            except OutOfTime:
                return False
    return True


def _read_back(study: StudyState, job: Job) -> None:
    """Add the result of a finished job to those that a worker knows."""
    if job.id in study.results:
        return
    if not _appears(study, job):
        raise InputError(f"a worker sees no result of {job.id} in {study.folder}.", SHARED_FOLDER)
    steps = run(job, study.context(job), study.folder_of(job))
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            known: dict[str, Any] = study.results.searches if job.kind == "search" else study.results.runs
            known[job.id] = stop.value
            return


def _appears(study: StudyState, job: Job) -> bool:
    """Whether the result of a job is in its folder, or appears within moments: network file systems lag."""
    until = time.monotonic() + SHARED_SECONDS
    while not study.has_result(job):
        if time.monotonic() > until:
            return False
        time.sleep(SHARED_SECONDS / 100)
    return True


def _as_line(event: Event) -> str:
    facts: dict[str, Any] = {"done": event.done, "message": event.message}
    facts |= {"step": asdict(event.step)} if event.step else {}
    return json.dumps(facts | ({"evaluation": asdict(event.evaluation)} if event.evaluation else {}))


# --- in the process that decides --------------------------------------------------------------------------------------


@dataclass
class RunningJob:
    """A job that a worker is running, and its progress."""

    job: Job
    place: Path  # of what the worker reports
    read: int = 0  # bytes
    done: float = 0.0  # share of the job

    def reports(self) -> list[dict[str, Any]]:
        """What the worker has reported since the last call."""
        try:
            with (self.place / EVENTS_FILE).open("rb") as file:
                file.seek(self.read)
                new = file.read()
        except OSError:  # not there yet
            return []
        whole = new[: new.rfind(b"\n") + 1]
        self.read += len(whole)
        found = [json.loads(line) for line in whole.splitlines()]
        self.done = found[-1]["done"] if found else self.done
        return found


@dataclass
class Parallel:
    """Runs jobs on workers: the next job first; idle workers run jobs that will be needed in any case."""

    pool: Workers
    running: dict[str, RunningJob] = field(default_factory=dict)
    early: dict[str, Job] = field(default_factory=dict)  # that have a result before their turn
    late: set[str] = field(default_factory=set)  # ids of jobs that were stopped because the budget was spent

    @property
    def workers(self) -> int:
        return self.pool.count

    def finish(self, study: StudyState, job: Job, coming: Sequence[Job]) -> Generator[Event, None, None]:
        """Have a job run by a worker, and later ones beside it. Raises what a worker raised for people."""
        known = study.jobs | {each.id: each for each in (job, *coming)}
        while not self._needs_no_worker(study, job):
            for each in (job, *coming):
                if len(self.running) == self.pool.count:
                    break
                if self._can_begin(study, each, known):
                    yield from self._begin(study, each, known)
            yield from self._watch(study)
            assert self.running, "a job whose turn has come can begin"
            for ended in self.pool.wait(POLL_INTERVAL):
                yield from self._watch(study)
                yield from self._end(study, self.running.pop(ended.job), ended)

    def ahead(self, study: StudyState) -> float:
        """Of jobs that are running, and of those that have ended before their turn."""
        early = sum(study.seconds_of(job) for job in self.early.values() if job.id not in study.results)
        return early + sum(ran.done * study.seconds_of(ran.job) for ran in self.running.values())

    def _needs_no_worker(self, study: StudyState, job: Job) -> bool:
        """Whether it has a result, is given up or stopped, or is run in the deciding process: only that one counts the
        tokens that an endpoint gets.
        """
        if regime_of(job.regime) == ENDPOINT_REGIME or job.id in self.late:
            return True
        return job.id not in self.running and (study.has_result(job) or killed_too_often(study.folder, job) is not None)

    def _can_begin(self, study: StudyState, job: Job, known: Mapping[str, Job]) -> bool:
        if job.id in self.running or not all(self._is_done(study, known[need]) for need in job.needs):
            return False
        return not self._needs_no_worker(study, job)

    def _is_done(self, study: StudyState, job: Job) -> bool:
        return job.id in study.results or (job.id not in self.running and study.has_result(job))

    def _begin(self, study: StudyState, job: Job, known: Mapping[str, Job]) -> Generator[Event, None, None]:
        study.begun.add(job.id)
        place = study.folder / WORK_FOLDER / job.id
        (place / EVENTS_FILE).unlink(missing_ok=True)
        self.running[job.id] = RunningJob(job, place)
        self.pool.start(study, job, _all_needs(job, known))
        yield self._event(study)

    def _end(self, study: StudyState, ran: RunningJob, ended: Ended) -> Generator[Event, None, None]:
        job = ran.job
        if ended.error is not None:
            raise ended.error
        if ended.late:  # begins again, and ends at its first step, when its turn comes: then it is dropped
            self.late.add(job.id)
            study.begun.discard(job.id)
            shutil.rmtree(ran.place, ignore_errors=True)
            return
        if ended.died:
            supervisor.count_death(study.folder, job.doing, ended.died)
            lost = killed_too_often(study.folder, job)
            what = "it is given up" if lost else "another one does it again, from what was saved"
            yield self._event(study, message=f"a worker died ({ended.died}) during: {job.doing}; {what}.")
            return
        if not _appears(study, job):
            raise InputError(
                f"{study.folder_of(job)} has no result of a job that a worker has finished.", SHARED_FOLDER
            )
        self.early[job.id] = job
        shutil.rmtree(ran.place, ignore_errors=True)

    def _watch(self, study: StudyState) -> Generator[Event, None, None]:
        """What the workers have reported, as events of the study."""
        for ran in self.running.values():
            for report in ran.reports():
                step = Step(**report["step"]) if "step" in report else None
                seen = Evaluation(**report["evaluation"]) if "evaluation" in report else None
                yield self._event(study, ran.job, report["message"], step, seen)

    def _event(
        self,
        study: StudyState,
        job: Job | None = None,
        message: str = "",
        step: Step | None = None,
        seen: Evaluation | None = None,
    ) -> Event:
        """An event while jobs are running. `doing` names all of them, so that nobody counts a death for one of them."""
        said = "; ".join(ran.job.doing for ran in self.running.values())
        trained = job.id if job is not None and job.kind == "train" else ""
        return study.progress.event(
            f"{len(self.running)} of {self.pool.count} workers: {said}", self.ahead(study), message, step, seen, trained
        )


def _all_needs(job: Job, known: Mapping[str, Job]) -> list[Job]:
    """Searches and runs that a job depends on, directly or not, each after those that it depends on itself.

    An ensemble reads its members from their folders.
    """
    found: dict[str, Job] = {}
    for need in job.needs if job.kind != "combine" else ():
        for each in (*_all_needs(known[need], known), known[need]):
            found[each.id] = each
    return list(found.values())
