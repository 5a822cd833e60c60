"""Tracking: do trackers see what happens, live, and can none of them stop a study?"""

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import warmstart
from tests.tiny import REGRESSION, tiny_rows
from warmstart.errors import MissingError, UsageError
from warmstart.models.pretrained.base import Base
from warmstart.request.launch import run_to_end
from warmstart.study import trackers
from warmstart.study.tracking import TRACKED_FILE, tracked
from warmstart.training.event import Event

ROWS = tiny_rows(REGRESSION)
DATA = {"title": list(ROWS.texts), "price": list(ROWS.targets)}
QUICK = {"regimes": ["linear", "frozen"], "seeds": 1, "trials": 1, "epochs": 4, "log": False, "quiet": True}


@dataclass
class Noted:
    """A tracker that remembers what it was told, and may fail."""

    fails_at: str = ""
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    name: str = "noted"

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        if call[0] == self.fails_at:
            raise OSError("the disk is full")

    def begin(self, study: str, settings: Mapping[str, Any], known: str | None) -> str:
        self._note("begin", study, dict(settings), known)
        return "parent"

    def begin_run(self, run: str, known: str | None) -> str:
        self._note("begin_run", run)
        return f"<{run}>"

    def log(self, run: str, metrics: Mapping[str, float], step: int) -> None:
        self._note("log", run, dict(metrics), step)

    def end_run(self, run: str, settings: Any, metrics: Mapping[str, float], failed: str | None) -> None:
        self._note("end_run", run, dict(settings), dict(metrics), failed)

    def end(self, metrics: Mapping[str, float], winner: Path | None) -> None:
        self._note("end", dict(metrics), winner)


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Noted:
    found = Noted()
    monkeypatch.setitem(trackers.TRACKERS, "noted", trackers.TrackerKind((), lambda place: found))
    return found


def test_a_tracker_sees_the_study_its_runs_and_the_winner(noted: Noted, base: Base, tmp_path: Path) -> None:
    done = warmstart.compare(DATA, "price", tmp_path / "s", base=base.location, track=["noted:x"], **QUICK)
    kinds = [call[0] for call in noted.calls]
    assert kinds[0] == "begin" and noted.calls[0][1] == "s" and noted.calls[0][2]["seeds"] == 1 and kinds[-1] == "end"
    begun = [call[1] for call in noted.calls if call[0] == "begin_run"]
    assert begun == [run.id for run in done.comparison.runs if run.regime != "ensemble"]
    logged = [call for call in noted.calls if call[0] == "log"]
    assert logged and {call[1] for call in logged} == {f"<{run}>" for run in begun if run.startswith("frozen")}
    assert any("val/score" in call[2] for call in logged) and any("train/loss" in call[2] for call in logged)
    assert [call[3] for call in logged if "val/score" in call[2]] == sorted(
        call[3] for call in logged if "val/score" in call[2]
    )
    ended = {call[1]: call for call in noted.calls if call[0] == "end_run"}
    for run in done.comparison.runs:
        assert ended[f"<{run.id}>"][3]["test/score"] == run.test
    winner = noted.calls[-1]
    assert winner[2] == tmp_path / "s" / "winner" and winner[1]["test/score"] > 0
    assert json.loads((tmp_path / "s" / TRACKED_FILE).read_text())["noted"]["names"][""] == "parent"


@pytest.mark.parametrize("fails_at", ["begin", "begin_run", "log", "end_run", "end"])
def test_a_tracker_that_fails_warns_once_and_the_study_goes_on(
    fails_at: str, noted: Noted, base: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noted.fails_at = fails_at
    quick = QUICK | {"quiet": False, "regimes": ["frozen"]}
    done = warmstart.compare(DATA, "price", tmp_path / "s", base=base.location, track=["noted:x"], **quick)
    assert done.comparison.runs and (tmp_path / "s" / "winner").is_dir()
    assert capsys.readouterr().err.count("warning: tracking with noted stopped") == 1
    assert noted.calls[-1][0] == fails_at


def test_what_is_tracked_changes_nothing(noted: Noted, tmp_path: Path) -> None:
    quick = {"log": False, "epochs": 2, "trials": 1, "quiet": True}
    plain = warmstart.fit(DATA, "price", "scratch-dnn", tmp_path / "plain", **quick)
    seen = warmstart.fit(DATA, "price", "scratch-dnn", tmp_path / "seen", track=["noted:x"], **quick)
    assert plain.test == seen.test and plain.points[0].train_loss == seen.points[0].train_loss
    assert noted.calls[-1] == ("end", {"test/score": seen.test}, tmp_path / "seen")


def test_a_resumed_study_goes_on_where_it_was(tmp_path: Path) -> None:
    first, again = Noted(), Noted()

    def events() -> Generator[Event, None, int]:
        for index in range(3):
            yield Event("training", job="a-s0", step=None, evaluation=None, done=index / 3)
        return 7

    assert run_to_end(tracked(events(), [first], tmp_path, tmp_path, {})) == 7
    run_to_end(tracked(events(), [again], tmp_path, tmp_path, {}))
    assert first.calls[0][3] is None and again.calls[0][3] == "parent"


def test_a_tracker_that_cannot_be_used_is_said_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="tracker 'mlfow' is not known"):
        warmstart.fit(DATA, "price", "linear", tmp_path / "a", track=["mlfow:x"])
    with pytest.raises(UsageError, match="names no folder"):
        warmstart.fit(DATA, "price", "linear", tmp_path / "a", track=["mlflow"])
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"needs the package wandb") as error:
        warmstart.fit(DATA, "price", "linear", tmp_path / "a", track=["wandb:x"])
    assert error.value.hint == "pip install 'warmstart[wandb]'" and not (tmp_path / "a").exists()


@pytest.mark.filterwarnings("ignore")
def test_mlflow_holds_the_study_its_runs_and_a_model(base: Base, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    import mlflow
    import pandas as pd

    store = tmp_path / "store"
    done = warmstart.compare(
        DATA, "price", tmp_path / "s", base=base.location, track=[f"mlflow:{store}"], **QUICK | {"quiet": False}
    )
    client = mlflow.MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    (experiment,) = [each for each in client.search_experiments() if each.name == trackers.EXPERIMENT]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    parent = runs.pop("s")
    assert set(runs) == {run.id for run in done.comparison.runs}
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert {run.info.status for run in [parent, *runs.values()]} == {"FINISHED"}
    (frozen,) = [run for run in done.comparison.runs if run.regime == "frozen"]
    history = client.get_metric_history(runs[frozen.id].info.run_id, "val/score")
    assert len(history) >= 3 and runs[frozen.id].data.metrics["test/score"] == frozen.test
    mlflow.set_tracking_uri(f"sqlite:///{store / 'mlflow.db'}")
    model = mlflow.pyfunc.load_model(f"runs:/{parent.info.run_id}/winner")
    asked = DATA["title"][:3]
    assert list(model.predict(pd.DataFrame({"title": asked}))) == list(warmstart.load(tmp_path / "s").predict(asked))
    files = {path.suffix for path in (store / "artifacts").rglob("*") if path.is_file()}
    assert not files & {".pkl", ".pickle"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_files_are_written(name: str, tmp_path: Path) -> None:
    pytest.importorskip(name)
    quick = {"log": False, "epochs": 2, "trials": 1, "quiet": True}
    warmstart.fit(DATA, "price", "scratch-dnn", tmp_path / "run", track=[f"{name}:{tmp_path / 'store'}"], **quick)
    pattern = "run/run/events.out.tfevents.*" if name == "tensorboard" else "wandb/offline-run-*/*.wandb"
    found = list((tmp_path / "store").glob(pattern))
    assert found and all(path.stat().st_size for path in found)
