"""Record: does a run come back from its folder as it was, and is a half-written file ever seen?"""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.run_factory import make_retention, make_run
from warmstart.errors import InputError
from warmstart.results.record import Interval, load_run, save_run
from warmstart.runtime.files import write_json

SCORES = np.array([[0.5, 1.0], [0.25, 1.0]])


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    run = make_run("full", SCORES, caveats=("one", "two"))
    save_run(run, tmp_path)
    again = load_run(tmp_path)
    assert again == run and (again.scores == run.scores).all() and again.predictions == run.predictions
    assert json.loads((tmp_path / "run.json").read_text()) == run.to_json()
    assert not {"scores", "predictions"} & run.to_json().keys()


def test_what_was_forgotten_comes_back_and_older_runs_do_not_say(tmp_path: Path) -> None:
    run = make_run("full", SCORES, retention=make_retention(kl=np.array([[0.5, 10.0], [0.1, 20.0]])))
    save_run(run, tmp_path)
    assert load_run(tmp_path) == run and load_run(tmp_path).retention == run.retention
    facts = json.loads((tmp_path / "run.json").read_text())
    del facts["retention"]
    (tmp_path / "run.json").write_text(json.dumps(facts))
    assert load_run(tmp_path).retention is None


def test_a_failed_run_has_no_scores_and_comes_back(tmp_path: Path) -> None:
    run = make_run("full", np.zeros((0, 2)), failed="diverged")
    save_run(run, tmp_path)
    assert load_run(tmp_path) == run and load_run(tmp_path).scores.shape == (0, 2)


def test_a_run_from_before_predictions_were_kept_still_loads(tmp_path: Path) -> None:
    save_run(make_run("full", SCORES), tmp_path)
    facts = json.loads((tmp_path / "run.json").read_text())
    del facts["predicted"]
    write_json(tmp_path / "run.json", facts)
    assert load_run(tmp_path).predicted is None


def test_a_run_without_its_scores_is_refused(tmp_path: Path) -> None:
    save_run(make_run("full", SCORES), tmp_path)
    (tmp_path / "scores.parquet").unlink()
    with pytest.raises(InputError, match=r"scores.parquet is not there: the run is not whole.\nhint: .+"):
        load_run(tmp_path)


def test_the_record_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its presence means that the run is finished."""
    monkeypatch.setattr("pyarrow.parquet.write_table", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save_run(make_run("full", SCORES), tmp_path)
    assert not (tmp_path / "run.json").exists()


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    write_json(path, {"a": np.float32(0.5), "b": np.int64(3), "c": Path("x"), "d": Interval(1.0, 2.0)})
    assert json.loads(path.read_text()) == {"a": 0.5, "b": 3, "c": "x", "d": [1.0, 2.0]}
    for wrong, error in ((float("nan"), ValueError), ({1, 2}, TypeError)):
        with pytest.raises(error):
            write_json(path, {"a": 0, "z": wrong})
    assert json.loads(path.read_text())["a"] == 0.5
