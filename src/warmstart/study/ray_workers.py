"""Ray workers: how do jobs of a study run on Ray, on this machine or on a cluster?

Each job is one task of Ray, which opens the study from its folder once for each worker process. Ray never repeats a
task by itself: `parallel` decides that, and counts. No usage statistics are sent, and no dashboard is opened.
"""

import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from warmstart.errors import InputError, MissingError, TrainingError, UsageError
from warmstart.runs.job import Job, job_from_json
from warmstart.runtime.device import best_device, on_threads
from warmstart.runtime.environment import version
from warmstart.study.jobs import StudyState
from warmstart.study.parallel import SHARED_FOLDER, Ended, run_job

LOCAL = "ray"  # a Ray of this machine alone, which ends with the study
STORE_BYTES = 80 << 20  # for objects in memory: hardly any, since results are files. Ray's minimum is 75 MB
STOP_SECONDS = 60.0  # for workers to save a checkpoint, when the study is stopped
OF_RESULTS = ("warmstart", "torch", "transformers", "peft")  # packages whose versions results depend on
LATE: dict[str, Any] = {"late": True}  # what a job says that was stopped because the budget was spent
Opener = Callable[[], StudyState]


def check_ray() -> None:
    """Raises MissingError where Ray is not installed."""
    if find_spec("ray") is None:
        raise MissingError("--on needs the package ray.", "pip install 'warmstart[ray]'")


@dataclass
class RayWorkers:
    """Workers of a Ray that this process is connected to."""

    ray: Any  # the module
    count: int
    threads: int  # of each worker
    opener: Opener  # opens the study in a worker
    memory: float = 0.0  # bytes that the largest machine has for jobs
    references: dict[str, Any] = field(default_factory=dict)  # of running jobs

    def start(self, study: StudyState, job: Job, needs: Sequence[Job]) -> None:
        """Ask Ray for a worker with enough processors and memory, or a GPU where this process has one."""
        peak = study.plan.memory_peaks.get(job.regime)
        task = self.ray.remote(_work).options(
            name=job.id,
            num_cpus=self.threads,
            num_gpus=1 if best_device().type == "cuda" else 0,
            memory=min(float(peak.bytes), self.memory) if peak else None,
            max_retries=0,
        )
        asked = job.to_json(), [need.to_json() for need in needs]
        left = study.deadline - time.perf_counter()
        self.references[job.id] = task.remote(self.opener, *asked, str(Path.cwd()), self.threads, _versions(), left)

    def wait(self, seconds: float) -> list[Ended]:
        """Wait until a job ends, at most so long."""
        names = {reference: name for name, reference in self.references.items()}
        try:
            ready, _ = self.ray.wait(list(names), num_returns=1, timeout=seconds)
        except SystemError as error:  # by which Ray replaces what a signal's handler raises
            raise error.__cause__ or error from None
        return [self._ended(names[reference], self.references.pop(names[reference])) for reference in ready]

    def _ended(self, job: str, reference: Any) -> Ended:
        known = self.ray.exceptions
        try:
            said = self.ray.get(reference)
            return Ended(job, late=True) if said == LATE else Ended(job, error=_error(said))
        except known.OutOfMemoryError:
            return Ended(job, died="SIGKILL")
        except (known.WorkerCrashedError, known.NodeDiedError, known.LocalRayletDiedError):
            return Ended(job, died="worker lost")
        except known.RayTaskError as error:
            if "No module named 'warmstart" in str(error):
                return Ended(job, error=InputError("a worker of Ray has no warmstart.", SAME_VERSIONS))
            return Ended(job, error=error.cause or error)

    def stop(self) -> None:
        """Stop what is running: trainings save a checkpoint first."""
        for reference in self.references.values():
            self.ray.cancel(reference, force=False)
        self.ray.wait(list(self.references.values()), num_returns=len(self.references), timeout=STOP_SECONDS)


SAME_VERSIONS = "install the same versions on every machine"


@contextmanager
def ray_workers(on: str, workers: int | None, threads: int, opener: Opener) -> Iterator[RayWorkers]:
    """Workers of `threads` threads each, of a Ray of this machine or of a cluster, for as long as the context lasts.

    `on`: "ray", or "ray://HOST:PORT"; `workers`: how many; None: as many as there are processors for. Raises
    MissingError without the package, UsageError where no cluster answers or no machine has enough processors.
    """
    check_ray()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read by Ray when it is imported, and by what it starts
    if on == LOCAL:
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # nobody else may use it; else Ray warns that it is so
    import ray

    with _own_signals():
        _connect(ray, on, workers, threads)
    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpu = best_device().type == "cuda"
        fitting = sum(int(node.get("GPU", 0) if gpu else node.get("CPU", 0) // threads) for node in nodes)
        if not (workers or fitting):
            what = "a GPU" if gpu else f"{threads} processors"
            raise UsageError(f"no machine of {on} has {what} for a worker.", "ask for fewer --worker-threads")
        memory = max(node.get("memory", 0.0) for node in nodes)
        pool = RayWorkers(ray, workers or fitting, threads, opener, memory)
        try:
            yield pool
        finally:
            if pool.references:
                pool.stop()
    finally:
        ray.shutdown()


def _connect(ray: Any, on: str, workers: int | None, threads: int) -> None:
    """Start a Ray of this machine, or connect to a cluster."""
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if on == LOCAL:
        os.environ.setdefault(
            "RAY_worker_niceness", "0"
        )  # as in one process: at Ray's 15, whatever else runs comes first
        count = workers or max(1, len(os.sched_getaffinity(0)) // threads)
        limits = {"num_cpus": count * threads, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        ray.init("local", **limits, **quiet)
        return
    try:
        ray.init(on, **quiet)
    except (ConnectionError, RuntimeError, ImportError) as error:
        said = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"no Ray cluster can be used at {on}: {said}",
            "check the address, that it runs, and that RAY_AUTH_MODE is as there",
        ) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Context that keeps our handlers: Ray sets one for SIGTERM, which exits without saving anything."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in OF_RESULTS}


# --- in a worker ------------------------------------------------------------------------------------------------------


def _work(
    opener: Opener,
    job: dict[str, Any],
    needs: Sequence[dict[str, Any]],
    directory: str,
    threads: int,
    versions: Mapping[str, str],
    seconds: float,
) -> dict[str, Any] | None:
    """Run a job; returns an error for people as data, since exceptions with two arguments do not survive Ray."""
    try:
        _check_worker(directory, versions)
        with on_threads(threads):
            done = run_job(opener(), job_from_json(job), [job_from_json(need) for need in needs], seconds)
    except TrainingError as error:
        return {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}
    except (InputError, UsageError) as error:
        return {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}
    return None if done else LATE


def _check_worker(directory: str, versions: Mapping[str, str]) -> None:
    """Work in the directory of the deciding process. Raises InputError on a machine that would give other results."""
    differing = {name: found for name, found in _versions().items() if found != versions[name]}
    if differing:
        named = ", ".join(f"{name} {found} instead of {versions[name]}" for name, found in differing.items())
        raise InputError(f"a worker on {platform.node()} has {named}.", SAME_VERSIONS)
    try:
        os.chdir(directory)
    except OSError as error:
        raise InputError(f"a worker on {platform.node()} cannot see {directory!r}.", SHARED_FOLDER) from error


def _error(said: dict[str, Any] | None) -> Exception | None:
    """What `_work` returned, as an exception."""
    if said is None:
        return None
    kind = TrainingError if said["exit_code"] == TrainingError.exit_code else InputError
    return kind(said["message"], said["hint"])
