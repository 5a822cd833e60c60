"""Progress: is what is shown of a study what is known of it?"""

import io
from collections.abc import Generator

import pytest
from rich.console import Console

from warmstart.study import progress
from warmstart.study.progress import run_with_progress
from warmstart.training.event import Event, Progress


def steps() -> Generator[Event, None, str]:
    """Events of a study before and after it has a plan."""
    yield Event("reading the rows")
    yield Progress().event("linear, 80 rows, seed 0")
    yield Event("measuring a few steps of full")
    known = Progress(planned=10.0)
    yield known.event("planning", message="2 runs, about 10 s")
    yield known.event("full, 80 rows, seed 0")
    known.finished = 5.0
    yield known.event("lora, 80 rows, seed 0")
    yield Event("writing the report", 1.0, 0.0)
    return "done"


def test_no_share_is_shown_before_there_is_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_with_progress(steps(), quiet=False) == "done"
    lines = [line.partition(",")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "planning: reading the rows",
        "linear",
        "planning: measuring a few steps of full",
        "2 runs",
        "[  0%] planning",
        "[  0%] full",
        "[ 50%] lora",
        "[100%] writing the report",
    ]


def test_nor_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(progress, "stderr", Console(file=shown, force_terminal=True, width=100))
    bar = progress._bar(False)
    next(bar)
    for event in steps():
        bar.send(event)
        assert ("%" in shown.getvalue()) <= event.has_share
    bar.close()
    assert "%" in shown.getvalue()
