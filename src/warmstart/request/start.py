"""Start: how does a request claim a folder, and how does it go on there after a stop?"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from warmstart.data.tables.read import MEMORY, Table
from warmstart.errors import InputError, UsageError, WarmstartError, join_phrases, shell_word
from warmstart.quantities import format_effort
from warmstart.request.read_data import PreparedData, prepare_data
from warmstart.request.request import TABLE, Request, holds_request, load_request, save_request
from warmstart.runtime.distributed import world
from warmstart.runtime.files import TEMPORARY, write_parquet
from warmstart.runtime.lock import locked

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


@contextmanager
def alone_in(begun: Started) -> Iterator[None]:
    """Alone in the folder. A base or regime that is not there is found inside: the corrected command may use it."""
    with ExitStack() as stack:
        world().on_main(lambda: stack.enter_context(locked(begun.folder)))
        try:
            yield
        except WarmstartError:
            if begun.fresh and world().main:
                _release(begun.folder)
            raise
