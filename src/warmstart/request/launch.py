"""Launch: how is a request carried out, as an iterator of events?"""

import functools
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmstart.data.tables.read import Table
from warmstart.errors import UsageError
from warmstart.request.prepare import options_of, prepare_problem
from warmstart.request.read_data import OwnRegimes, prepare_data
from warmstart.request.request import Request, forget_place
from warmstart.request.serialize import command_line
from warmstart.request.start import Started, alone_in
from warmstart.results.record import Run
from warmstart.runtime.distributed import world
from warmstart.runtime.files import write_json
from warmstart.settings.groups import SETTINGS
from warmstart.types import Value

if TYPE_CHECKING:
    from warmstart.data.rows.findings import Finding
    from warmstart.planning.forecast import PlanResult
    from warmstart.planning.problem import Options, Problem
    from warmstart.study.jobs import Executor
    from warmstart.study.study import Study
    from warmstart.training.event import Event


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
    with alone_in(begun), _executor(request, out, own) as executor:
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
    with alone_in(begun):
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
