"""The command line in this process, and small tables to try it on: a subprocess imports torch for seconds."""

import contextlib
import csv
import io
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from tests.tiny import CLASSES, REGRESSION, tiny_rows
from warmstart.cli.app import run_cli

# Seconds of training at most: a few steps of each, one rate, no search.
QUICK = ("--regimes", "constant,linear,frozen", "--seeds", "1", "--trials", "1", "--length", "0.01")


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str


def call(*words: str | Path) -> Answer:
    """Run `warmstart WORDS` here."""
    out, err = io.StringIO(), io.StringIO()
    hook = sys.unraisablehook
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with (
        patch.object(sys, "argv", ["warmstart", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            run_cli()
        except SystemExit as exit_:
            code = exit_.code
        finally:
            sys.unraisablehook = hook
            for number, handler in handlers.items():
                signal.signal(number, handler)
    assert isinstance(code, int)
    return Answer(code, out.getvalue(), err.getvalue())


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def products(path: Path, n: int = 120) -> Path:
    """Titles with prices and rooms."""
    prices, rooms = tiny_rows(REGRESSION, n), tiny_rows(CLASSES, n)
    return write_csv(
        path, ("title", "price", "room"), list(zip(prices.texts, prices.targets, rooms.targets, strict=True))
    )
