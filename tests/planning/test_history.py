"""Are runs noted, without their texts, and without ever failing one?"""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.run_factory import make_run, make_scores
from warmstart.planning import history

RUN = make_run("full", make_scores(np.ones(4)))


def test_a_run_is_noted_and_read_back() -> None:
    assert history.read_history() == []
    history.append(RUN, "a base", 12.5)
    history.append(RUN, "a base", None)
    first, second = history.read_history()
    known = {"task": "classification", "regime": "full", "base": "a base", "rows": 1000, "tokens": 12.5, "score": 1.0}
    assert {key: first[key] for key in known} == known and second["tokens"] is None
    assert first["seconds"] == RUN.cost.seconds and first["failed"] is False


def test_a_variable_switches_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(history.OFF, "0")
    history.append(RUN, "a base", 1.0)
    assert not history.history_path().exists()


def test_a_state_folder_that_cannot_be_written_fails_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    history.append(RUN, "a base", 1.0)
    assert history.read_history() == []


def test_damaged_lines_are_left_out() -> None:
    history.append(RUN, "a base", 1.0)
    with history.history_path().open("a") as file:
        file.write('{"task": "half a li\n7\n' + json.dumps({"task": "x"}) + "\n")
    history.append(RUN, "a base", 2.0)
    assert [entry["tokens"] for entry in history.read_history()] == [1.0, 2.0]
