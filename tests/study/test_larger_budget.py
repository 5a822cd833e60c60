"""Larger budget: a study that is given more time trains what is missing, keeps what is finished; its report so far."""

import json
from pathlib import Path
from typing import Any

import pytest

import warmstart
from tests.cli_base import call, products
from warmstart import api
from warmstart.baselines.baseline import FitData, Fitted
from warmstart.baselines.baselines import FIT_BASELINE
from warmstart.errors import UsageError
from warmstart.models.pretrained.base import Base
from warmstart.request.request import load_request
from warmstart.study import first_model
from warmstart.study.compare import LENGTHS_FILE, ComparisonJobs
from warmstart.study.jobs import DROPPED_FILE
from warmstart.training.event import OutOfTime

QUICK: dict[str, Any] = {"regimes": ("constant", "linear", "full"), "seeds": 1, "trials": 1, "length": 0.03}
NAMES = {"constant", "linear", "full"}


@pytest.fixture
def dropped(base: Base, tmp_path: Path) -> Path:
    """A study of a busy machine: there was no time for `full`."""
    out, data = tmp_path / "study", products(tmp_path / "products.csv")
    late = pytest.MonkeyPatch()
    late.setattr(ComparisonJobs, "_too_late", _note_as_too_late)
    warmstart.compare(data, "price", out, base=base.location, budget=60, log=False, quiet=True, **QUICK)
    late.undo()
    assert {run.regime for run in api.finished(out)} == {"constant", "linear"}
    return out


def _note_as_too_late(self: ComparisonJobs, jobs: Any) -> bool:
    if any(job.regime == "full" for job in jobs):
        (self.study.folder / DROPPED_FILE).write_text(json.dumps([job.id for job in jobs]))
        return True
    return False


def _written(folder: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("runs/*/run.json")}


def test_what_there_was_no_time_for_is_trained_and_nothing_else(dropped: Path) -> None:
    before = _written(dropped)
    (dropped / LENGTHS_FILE).write_text('{"a": false, "b": true}')
    again = warmstart.resume(dropped, quiet=True)
    assert {run.regime for run in api.finished(dropped)} == {"constant", "linear"}, "the budget is what it was"
    done = warmstart.resume(dropped, budget="1h", quiet=True)
    assert isinstance(done, type(again)) and set(done.comparison.names) == NAMES
    assert before.items() <= _written(dropped).items() and not done.comparison.cuts
    assert json.loads((dropped / LENGTHS_FILE).read_text())["b"] and not (dropped / DROPPED_FILE).exists()
    request = load_request(dropped)
    assert request.budget == 3600 and json.loads((dropped / "plan.json").read_text())["asked_budget"] == 3600


def test_a_baseline_that_runs_out_of_time_is_dropped_and_the_others_run(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `prompted` does, which asks a base: it is not begun again and again."""
    began: list[int] = []

    def late(data: FitData) -> Fitted:
        began.append(data.seed)
        assert len(began) < 5, "it is begun without end"
        raise OutOfTime

    monkeypatch.setitem(FIT_BASELINE, "embedded", late)
    monkeypatch.setattr(first_model, "WITHOUT_NETWORK", {"constant", "linear"})  # nor is `prompted` fitted before
    regimes = ("embedded", "constant", "linear", "full")
    data, out = products(tmp_path / "products.csv"), tmp_path / "study"
    wanted: dict[str, Any] = QUICK | {"regimes": regimes, "base": base.location, "budget": 600}
    study = warmstart.compare(data, "price", out, log=False, quiet=True, **wanted)
    assert len(began) == 1 and {run.regime for run in api.finished(out)} == {"constant", "linear"}
    assert "embedded" in " ".join(study.comparison.cuts) and "full" in " ".join(study.comparison.cuts)
    assert {"embedded", "full"} <= {each.regime for each in study.comparison.excluded}
    monkeypatch.undo()
    again = warmstart.resume(out, budget="1h", quiet=True)
    assert isinstance(again, type(study)) and {"embedded", "full"} <= set(again.comparison.names)


def test_a_kill_between_the_two_loses_nothing(dropped: Path) -> None:
    """The budget is written down before anything is planned anew: a plain `resume` goes on with it."""
    api.raise_budget(dropped, 3600.0)
    assert api.finished_study(dropped) is None
    done = warmstart.resume(dropped, quiet=True)
    assert {run.regime for run in api.finished(dropped)} == NAMES and done is not None


@pytest.mark.parametrize("budget", ["60s", "1s", 60])
def test_a_budget_that_is_not_larger_is_refused(dropped: Path, budget: str | float) -> None:
    with pytest.raises(UsageError, match="has a budget of 1 min already"):
        warmstart.resume(dropped, budget=budget)
    assert (dropped / "study.json").exists()


def test_a_share_is_for_races_and_a_fit_has_no_budget(dropped: Path, base: Base, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a share is for advise"):
        warmstart.resume(dropped, budget="50%")
    data = dropped.parent / "products.csv"
    warmstart.fit(data, "price", "constant", tmp_path / "fit", base=base.location, log=False, quiet=True)
    with pytest.raises(UsageError, match="a single run, which has no budget"):
        warmstart.resume(tmp_path / "fit", budget="1h")


def test_the_command_line(dropped: Path) -> None:
    assert call("resume", dropped, "--budget", "soon").code == 2
    done = call("resume", dropped, "--budget", "1h", "--quiet")
    assert done.code == 0, done.err
    assert {run.regime for run in api.finished(dropped)} == NAMES


def test_the_report_of_a_study_that_was_stopped_says_so(dropped: Path) -> None:
    api.raise_budget(dropped, 3600.0)
    before = {path: path.stat().st_mtime_ns for path in dropped.rglob("*") if path.is_file()}
    page = warmstart.report(dropped).read_text(encoding="utf-8")
    assert "This study is not finished" in page and "No run of <code>full</code> is finished yet" in page
    assert "<h1>So far: " in page
    changed = {path.name for path, when in before.items() if path.stat().st_mtime_ns != when}
    assert changed == {"report.html"}, "nothing else is written"
    warmstart.resume(dropped, quiet=True)
    assert "not finished" not in (dropped / "report.html").read_text(encoding="utf-8")


def test_there_is_no_report_before_the_first_run(dropped: Path) -> None:
    api.raise_budget(dropped, 3600.0)
    for path in dropped.glob("runs/*/run.json"):
        path.unlink()
    with pytest.raises(UsageError, match="no run of the study in"):
        warmstart.report(dropped)
