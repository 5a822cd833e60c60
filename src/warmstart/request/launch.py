"""Launch: how is a request started in a folder, carried out, and resumed after a stop?"""

import functools
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmstart.data.tables.read import MEMORY, Table
from warmstart.errors import InputError, UsageError, WarmstartError, join_phrases, shell_word
from warmstart.quantities import format_effort
from warmstart.request.prepare import options_of, prepare_problem
from warmstart.request.read_data import OwnRegimes, PreparedData, prepare_data
from warmstart.request.request import TABLE, Request, forget_place, holds_request, load_request, save_request
from warmstart.request.serialize import command_line
from warmstart.results.record import Run
from warmstart.runtime.distributed import world
from warmstart.runtime.files import TEMPORARY, write_json, write_parquet
from warmstart.runtime.lock import locked
from warmstart.settings.groups import SETTINGS
from warmstart.types import Value

if TYPE_CHECKING:
    from warmstart.data.rows.findings import Finding
    from warmstart.planning.forecast import PlanResult
    from warmstart.planning.problem import Options, Problem
    from warmstart.study.jobs import Executor
    from warmstart.study.study import Study
    from warmstart.training.event import Event


# What is in a folder before its request has been found to make sense.
NOT_STARTED = {"request.json", "lock", TABLE}
CATALOG = "catalogue.csv"  # the demo writes its table beside its request
# What is written after that, before the first measured step.
PREPARED = NOT_STARTED | {"findings.json", "examples.parquet"}


@dataclass(frozen=True)
class Started:
    """A request whose folder is claimed."""

    request: Request
    folder: Path
    understood: PreparedData
    fresh: bool  # False: it was begun before, and there may be something in the folder to go on from
    began: float = 0.0  # time.perf_counter() before the data were read


def start(request: Request, folder: Path, table: Table | None = None) -> Started:
    """Find what is wrong with folder and table; only then claim the folder: a typo leaves nothing behind.

    Rows that were given in memory are kept in the folder, unless no texts are to be kept (`examples`). Nothing slow is
    imported before the request is written down. Raises UsageError or InputError.
    """
    began = time.perf_counter()
    _check_processes(request)
    _check_trackers(request)
    _check_workers(request)
    world().on_main(lambda: check_vacant(folder))
    understood = prepare_data(request, table)
    if request.on and understood.table.files == (MEMORY,) and not request.examples:
        raise UsageError("workers read the rows from the folder, and with examples false none are kept.", "name a file")
    kept = understood.table.files == (MEMORY,) and request.examples
    if kept:
        request = replace(request, data=(str(folder / TABLE),))
    world().on_main(lambda: _claim(request, folder))
    if kept:
        world().on_main(lambda: _keep(understood.given, folder / TABLE))
    return Started(request, folder, understood, fresh=True, began=began)


def _claim(request: Request, folder: Path) -> None:
    """Write the request down, unless another process is at work in the folder and has only just begun."""
    with locked(folder) if folder.is_dir() else nullcontext():
        save_request(request, folder)


def restart(request: Request, folder: Path) -> Started:
    """Go on in a folder that was claimed before."""
    began = time.perf_counter()
    _check_processes(request)
    _check_trackers(request)
    _check_workers(request)
    if request.data == (MEMORY,):
        raise UsageError(
            "this was made of rows in memory, which were not kept.", "give them again, with another folder"
        )
    kept = folder / TABLE
    if [Path(name).name for name in request.data] == [TABLE] and kept.is_file():  # wherever the folder is now
        request = replace(request, data=(str(kept),))
    try:
        prepared = prepare_data(request)
    except InputError as error:
        gone = [name for name in request.data if not Path(name).exists()]
        if not gone:
            raise
        where = f"{str(folder)!r} was made of {join_phrases(gone, quote=True)}"
        raise InputError(error.message, f"{where}: put the data back, or run this in the folder where it is") from error
    return Started(request, folder, prepared, fresh=False, began=began)


def _keep(table: Table, path: Path) -> None:
    try:
        write_parquet(path, table.columns, compression="zstd")
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be written: {error.strerror}.", "choose another folder") from error


def _check_processes(request: Request) -> None:
    """Raises UsageError where many processes were started for what takes one."""
    if request.command != "fit" and world().size > 1:
        raise UsageError(
            f"{request.command} runs in one process, not in {world().size}.",
            "start it without torchrun; many processes are for fit",
        )


def _check_trackers(request: Request) -> None:
    if request.track:
        from warmstart.study.trackers import check_trackers

        check_trackers(request.track)


def _check_workers(request: Request) -> None:
    if request.on:
        from warmstart.study.ray_workers import check_ray

        check_ray()


def resumable(folder: Path, model: str | None) -> Request:
    """The request to go on with. Code is only ever run when the person names it again."""
    request = load_request(folder)
    if request.model and not model:
        raise UsageError(f"this was made with --model {request.model}.", f"name it again: --model {request.model}")
    return replace(request, model=model or request.model)


def _amount(request: Request) -> tuple[bool, float]:
    """A budget as a number, and whether it is a share; else seconds."""
    return (True, request.part) if request.part is not None else (False, request.seconds)


def raise_budget(folder: Path, budget: float | str | None, compute: float | None = None) -> None:
    """Give a study more time, or compute: it is written down, and the study is no longer finished. As of a request.

    Raises UsageError where that is not more than it has, or where it has none.
    """
    from warmstart.study.compare import forget_refusals

    request = load_request(folder)
    if request.command == "fit":
        raise UsageError(
            f"{str(folder)!r} is a single run, which has no budget.", "leave --budget out; it is for studies"
        )
    has, given = ("compute" if each is not None else "budget" for each in (request.compute, compute))
    if has != given or (budget is not None and compute is not None):
        raise UsageError(f"the study in {str(folder)!r} is limited by --{has}.", f"raise its --{has}, and nothing else")
    longer = replace(request, **({"budget": budget} if compute is None else {"compute": compute}))  # checks it
    (shared, before), (shares, after) = _amount(request), _amount(longer)
    if shared == shares and after <= before:  # a share and a time cannot be compared
        now = request.budget if shared else format_effort(before, by_compute=compute is not None)
        raise UsageError(
            f"the study in {str(folder)!r} has a budget of {now} already.",
            f"give a larger --{has}: it is for all of the study, with what is finished",
        )
    with locked(folder):
        save_request(longer, folder)
        forget_refusals(folder)


def check_vacant(folder: Path) -> None:
    """Raises UsageError where the folder holds anything but a request that came to nothing."""
    try:
        names = {entry.name for entry in folder.iterdir() if entry.suffix != TEMPORARY} if folder.is_dir() else set()
        there = folder.exists() and not folder.is_dir()
    except OSError as error:
        raise UsageError(
            f"{str(folder)!r} cannot be used: {error.strerror}.", "name another folder with --out"
        ) from error
    if there or names - (NOT_STARTED | {CATALOG} if "request.json" in names else set()):
        other = "choose another folder with --out"
        hint = f"warmstart resume {shell_word(folder)}, or {other}" if holds_request(folder) else other
        raise UsageError(f"{str(folder)!r} already exists.", hint)


def _release(folder: Path) -> None:
    """Take a claim back, unless something in the folder has been measured."""
    if any(entry.name not in PREPARED and entry.suffix != TEMPORARY for entry in folder.iterdir()):
        return
    for entry in folder.iterdir():
        entry.unlink()
    folder.rmdir()


def run_to_end(steps: Generator[Any, None, Value]) -> Value:
    """Run a generator to its end; give its value."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            value: Value = stop.value
            return value


def plan_steps(request: Request, table: Table | None = None) -> "Generator[Event, None, PlanResult]":
    """A plan as an iterator of events. Writes nothing."""
    from warmstart.planning.forecast import TargetMachine
    from warmstart.planning.forecast_from_history import plan_from_history
    from warmstart.planning.plan import forecast_regimes
    from warmstart.runtime.hardware import known_machine

    machine = None if request.device in (None, "cpu", "here") else known_machine(str(request.device))
    if machine is None and request.devices > 1:
        raise UsageError(
            f"devices is {request.devices}, but which device is not said.", "name it, e.g. --device h100 --devices 8"
        )
    where = TargetMachine(machine, request.devices, request.price_per_hour)
    if not request.data and table is None:
        if machine is not None:
            raise UsageError("a plan for another device needs the data.", "name DATA and --target")
        if request.rows == "auto":
            raise UsageError("rows is auto, but without data no number of rows is known.", "name one, e.g. --rows 2000")
        rows = max(request.rows)
        return plan_from_history(str(request.task), request.regimes, rows, request.base, where)
    with tempfile.TemporaryDirectory() as folder:
        problem = prepare_problem(request, prepare_data(request, table), {}, Path(folder)).problem
        return (yield from forecast_regimes(problem, options_of(request, problem), where))


def steps_of(begun: Started) -> "Generator[Event, None, Study] | Generator[Event, None, Run]":
    """Whatever was begun, as an iterator of events."""
    return fit_steps(begun) if begun.request.command == "fit" else compare_steps(begun)


def compare_steps(begun: Started, own: OwnRegimes | None = None) -> "Generator[Event, None, Study]":
    """A comparison, or a race, as an iterator of events."""
    from warmstart.study.study import race_study, run_study

    request, out = begun.request, begun.folder
    with _alone_in(begun), _executor(request, out, own) as executor:
        problem, options, findings = _prepared(begun, own)
        write_json(out / "findings.json", [vars(finding) for finding in findings])
        command = command_line(request, str(out))
        if request.races:
            steps = race_study(problem, options, out, request.part, findings, command)
        else:
            steps = run_study(problem, options, out, findings, command, executor)
        study = yield from _tracked(steps, request, out, out / "winner")
        forget_place(out)
        return study


@contextmanager
def _executor(request: Request, folder: Path, own: OwnRegimes | None) -> "Iterator[Executor]":
    """Where the jobs of a study are run: here, or on workers for as long as the context lasts."""
    from warmstart.study.jobs import IN_THIS_PROCESS

    if request.on is None:
        yield IN_THIS_PROCESS
        return
    from warmstart.request.open_study import open_study
    from warmstart.runtime.device import on_threads
    from warmstart.study.parallel import Parallel
    from warmstart.study.ray_workers import ray_workers

    if own:
        raise UsageError(
            "workers cannot get an architecture from memory.", "write it into a file, and name it as model"
        )
    opener = functools.partial(open_study, folder.resolve(), request.model)
    threads = request.worker_threads
    with on_threads(threads), ray_workers(request.on, request.workers, threads, opener) as pool:
        yield Parallel(pool)


def fit_steps(begun: Started, own: OwnRegimes | None = None) -> "Generator[Event, None, Run]":
    """One regime, searched and trained, as an iterator of events; first a race for it where none is named."""
    from warmstart.study.fit import advise_fit, begin_fit, finish_fit
    from warmstart.study.jobs import run_jobs

    request, out = begun.request, begun.folder
    with _alone_in(begun):
        problem, options, findings = _prepared(begun, own)
        advised = None
        if request.races:
            command = command_line(request, str(out))
            advised = yield from advise_fit(problem, options, out / "advice", request.part, findings, command)
        study, jobs = yield from begin_fit(problem, options, out, advised)
        yield from _tracked(run_jobs(study, jobs), request, out, out)
        world().on_main(lambda: forget_place(out))
        return finish_fit(study, advised)


def _tracked(
    steps: "Generator[Event, None, Value]", request: Request, folder: Path, winner: Path
) -> "Generator[Event, None, Value]":
    """The same, seen by the trackers that were asked for."""
    if not request.track:
        return steps
    from warmstart.study.trackers import make_trackers
    from warmstart.study.tracking import tracked

    known = ((name, getattr(request, name)) for name in SETTINGS)
    settings = {name: value for name, value in known if value not in (None, (), "")}
    return tracked(steps, make_trackers(request.track) if world().main else (), folder, winner, settings)


def _prepared(begun: Started, own: OwnRegimes | None) -> "tuple[Problem, Options, tuple[Finding, ...]]":
    made = prepare_problem(begun.request, begun.understood, own or {}, begun.folder)
    options = options_of(begun.request, made.problem)
    return made.problem, replace(options, spent=time.perf_counter() - begun.began), made.checked.findings


@contextmanager
def _alone_in(begun: Started) -> Iterator[None]:
    """Alone in the folder. A base or regime that is not there is found inside: the corrected command may use it."""
    with ExitStack() as stack:
        world().on_main(lambda: stack.enter_context(locked(begun.folder)))
        try:
            yield
        except WarmstartError:
            if begun.fresh and world().main:
                _release(begun.folder)
            raise
