"""Watch: how far a long piece of work is, said on stderr: a bar in a terminal, elsewhere a line now and then."""

import math
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from warmstart.engine import world

if TYPE_CHECKING:
    from warmstart.work import Progress

Value = TypeVar("Value")
err = Console(stderr=True, highlight=False, markup=False, emoji=False)
TELLING = 0.05  # of the rows: before that, the time left is not foretold
EVERY = 15.0  # seconds between lines where there is no terminal to draw a bar on


def say(text: str) -> None:
    """A line for the person, not for the next program."""
    err.print(text, soft_wrap=True)


def watched(steps: "Generator[Progress, None, Value]", quiet: bool) -> Value:
    """Run to the end; meanwhile the main process says what runs, how far it is and how long it will take."""
    quiet = quiet or not world().main
    watch = (_bar if sys.stderr.isatty() and not quiet else _lines)(quiet)
    next(watch)
    try:
        while True:
            watch.send(next(steps))
    except StopIteration as stop:
        value: Value = stop.value
        return value
    finally:
        watch.close()


def looking(steps: "Generator[str, None, Value]", quiet: bool) -> Value:
    """Run to the end; meanwhile say what is looked at: in a terminal one in the place of the other."""
    with err.status("") if sys.stderr.isatty() and not quiet else nullcontext() as status:
        last = -math.inf
        while True:
            try:
                doing = next(steps)
            except StopIteration as stop:
                value: Value = stop.value
                return value
            if status is not None:
                status.update(doing)
            elif not quiet and time.monotonic() - last > EVERY:
                say(doing)
                last = time.monotonic()


def counted(rows: Iterator[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    """The same rows; how far it is, now and then."""
    began = last = time.monotonic()
    for done, row in enumerate(rows, 1):
        yield row
        now = time.monotonic()
        if now - last > EVERY and done < count:
            told = done >= TELLING * count  # the first rows wait for the model, and for a batch
            left = f", {_clock((now - began) / done * (count - done))} left" if told else ""
            say(f"[{done / count:4.0%}] {done:,} of {count:,} rows{left}")
            last = now


def _bar(quiet: bool) -> "Generator[None, Progress, None]":
    words, left = TextColumn("{task.description}"), TextColumn("{task.fields[left]}")
    columns = (words, BarColumn(24), TaskProgressColumn(), TimeElapsedColumn(), left)
    with Bars(*columns, console=err, transient=True) as bars:
        task = bars.add_task("starting", total=1.0, left="")
        while True:
            now = yield
            if now.message:
                bars.console.print(now.message)
            bars.update(task, description=now.doing, completed=now.done, left=_left(now))


def _lines(quiet: bool) -> "Generator[None, Progress, None]":
    said, last = "", 0.0
    while True:
        now = yield
        if quiet:
            continue
        if now.message:
            say(now.message)
        if now.doing != said or time.monotonic() - last > EVERY:
            say(f"[{now.done:4.0%}] {now.doing}{_left(now)}")
            said, last = now.doing, time.monotonic()


def _left(now: "Progress") -> str:
    return "" if now.seconds_left is None else f", {_clock(now.seconds_left)} left"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
