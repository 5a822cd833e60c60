"""Progress: how far is a study? Shown on stderr: a bar in a terminal, elsewhere a line now and then."""

import math
import sys
import time
import warnings
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from warmstart.errors import printable
from warmstart.runtime import supervisor
from warmstart.runtime.distributed import world
from warmstart.training.event import Event
from warmstart.types import Value

stderr = Console(stderr=True, highlight=False, markup=False, emoji=False)
MIN_SHARE_FOR_FORECAST = 0.05  # of the rows: before that, the time left is not estimated
NOTEBOOK_INTERVAL = 0.5  # seconds between updates of the line in a notebook
LINE_INTERVAL = 15.0  # seconds between lines where there is no terminal to draw a bar on


def print_status(text: str) -> None:
    """Print a line for people, on stderr."""
    stderr.print(printable(text), soft_wrap=True)


def run_with_progress(steps: Generator[Event, None, Value], quiet: bool) -> Value:
    """Run to the end; the main process shows the current job, the progress and the remaining time.

    The supervising process, if there is one, is told the current job.
    """
    quiet = quiet or not world().main
    watch = (
        (_notebook if in_notebook() else _bar if sys.stderr.isatty() else _lines)(quiet) if not quiet else _lines(True)
    )
    next(watch)
    doing = ""
    try:
        while True:
            event = next(steps)
            if event.doing != doing:
                doing = event.doing
                supervisor.note_job(doing)
            watch.send(event)
    except StopIteration as stop:
        value: Value = stop.value
        return value
    finally:
        watch.close()


def run_with_status(steps: Generator[Event, None, Value], quiet: bool) -> Value:
    """Run to the end and show the current activity: in a terminal, each replaces the one before."""
    with stderr.status("") if sys.stderr.isatty() and not quiet else nullcontext() as status:
        last = -math.inf
        while True:
            try:
                doing = next(steps).doing
            except StopIteration as stop:
                value: Value = stop.value
                return value
            if status is not None:
                status.update(printable(doing))
            elif not quiet and time.monotonic() - last > LINE_INTERVAL:
                print_status(doing)
                last = time.monotonic()


def count_rows(rows: Iterator[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    """The same rows; the count is shown now and then."""
    began = last = time.monotonic()
    for done, row in enumerate(rows, 1):
        yield row
        now = time.monotonic()
        if now - last > LINE_INTERVAL and done < count:
            timed = done >= MIN_SHARE_FOR_FORECAST * count  # the first rows wait for the model, and for a batch
            left = f", {_clock((now - began) / done * (count - done))} left" if timed else ""
            print_status(f"[{done / count:4.0%}] {done:,} of {count:,} rows{left}")
            last = now


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook, whose output can be replaced."""
    shell = sys.modules.get("IPython")
    found = shell.get_ipython() if shell else None
    return found is not None and hasattr(found, "kernel")


def _notebook(quiet: bool) -> Generator[None, Event, None]:
    """One line below the cell, replaced as the work goes on and gone in the end; messages stay above it."""
    from IPython.display import Markdown, display

    warnings.filterwarnings("ignore", message="IProgress not found")  # of tqdm, which has nothing to show here
    line = display(Markdown("starting"), display_id=True)
    last = 0.0
    try:
        while True:
            now = yield
            if now.message:
                print(printable(now.message))
            if time.monotonic() - last > NOTEBOOK_INTERVAL:
                share = f"{now.done:4.0%}  " if now.has_share else ""
                line.update(Markdown(f"`{share}{printable(now.phrase)}{_left(now)}`"))
                last = time.monotonic()
    finally:
        line.update(Markdown(""))


def _bar(quiet: bool) -> Generator[None, Event, None]:
    words, left = TextColumn("{task.description}"), TextColumn("{task.fields[left]}")
    columns = (words, BarColumn(24), TaskProgressColumn(), TimeElapsedColumn(), left)
    with Bars(*columns, console=stderr, transient=True) as bars:
        task = bars.add_task("starting", total=None, left="")  # the bar moves to and fro until there is a plan
        while True:
            now = yield
            if now.message:
                bars.console.print(printable(now.message))
            whole = 1.0 if now.has_share else None
            bars.update(task, description=printable(now.phrase), total=whole, completed=now.done, left=_left(now))


def _lines(quiet: bool) -> Generator[None, Event, None]:
    said, last = "", 0.0
    while True:
        now = yield
        if quiet:
            continue
        if now.message:
            print_status(now.message)
        if now.phrase != said or time.monotonic() - last > LINE_INTERVAL:
            share = f"[{now.done:4.0%}] " if now.has_share else ""
            print_status(f"{share}{now.phrase}{_left(now)}")
            said, last = now.phrase, time.monotonic()


def _left(now: Event) -> str:
    return "" if now.seconds_left is None else f", {_clock(now.seconds_left)} left"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
