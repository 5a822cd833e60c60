"""Does the command line keep its promises: output, exit codes, stopping and going on, an answer at once to --help?"""

import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from tests.cli_base import QUICK, Answer, call, products
from tests.run_factory import make_run
from warmstart.cli import print_results
from warmstart.errors import TrainingError
from warmstart.models.pretrained.base import Base
from warmstart.planning.forecast import PlanResult, RegimeForecast
from warmstart.study import progress as validation
from warmstart.training.event import Event

START = (sys.executable, "-m", "warmstart")
COMMANDS = (
    "demo",
    "check",
    "plan",
    "compare",
    "fit",
    "predict",
    "chat",
    "report",
    "runs",
    "resume",
    "init",
    "regimes",
    "doctor",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return products(tmp_path_factory.mktemp("data") / "products.csv")


@pytest.fixture(scope="module")
def usual(data: Path, base: Base) -> tuple[str, ...]:
    return (str(data), "--target", "price", "--text", "title", "--base", base.location)


@pytest.fixture(scope="module")
def compared(usual: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    out = tmp_path_factory.mktemp("studies") / "study"
    return out, call("compare", *usual, *QUICK, "--out", out)


@pytest.fixture
def environment() -> dict[str, str]:
    source = Path(__file__).parents[2] / "src"
    return os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def scores(folder: Path) -> dict[str, float]:
    return {each["name"]: each["score"] for each in json.loads((folder / "comparison.json").read_text())["regimes"]}


# --- what a person sees -----------------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy(environment: dict[str, str]) -> None:
    code = (
        "import sys; sys.argv = ['warmstart', '--help']\n"
        "from warmstart.__main__ import main\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'transformers', 'pyarrow', 'sklearn', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"  # how fast, benchmarks/start.py tells
    assert done.stdout.startswith("Usage: warmstart")
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    listed = done.stdout.partition("Commands:\n")[2].splitlines()[:-1]
    assert len(listed) >= len(COMMANDS) and all(line.endswith(".") and "..." not in line for line in listed)


def test_the_version_is_told() -> None:
    assert call("--version").out == f"warmstart {version('warmstart')}\n"


def test_a_comparison_prints_the_verdict_the_table_and_where_the_rest_is(compared: tuple[Path, Answer]) -> None:
    out, answer = compared
    assert answer.code == 0
    assert re.search(r"^linear +0\.\d{4} +0\.\d{4}\.\.0\.\d{4} +84 ", answer.out, re.MULTILINE)
    assert f"report: {out / 'report.html'}\n" in answer.out  # in one piece, however long
    assert f"(warmstart predict {out} NEW-ROWS)" in answer.out
    paths = [line for line in answer.out.splitlines() if str(out) not in line]
    assert max(map(len, paths)) <= 80
    assert not any(line.count("`") % 2 for line in answer.out.splitlines())  # no command is broken either
    assert "reading the rows" in answer.err and "constant-r84-s0: mean absolute error" in answer.err
    assert "reading the rows" not in answer.out


def test_json_is_one_document_on_stdout(usual: tuple[str, ...], tmp_path: Path, compared: tuple[Path, Answer]) -> None:
    done = call("compare", *usual, *QUICK, "--out", tmp_path / "s", "--json")
    document = json.loads(done.out)
    assert document["comparison"] == json.loads((tmp_path / "s" / "comparison.json").read_text())
    assert document["advice"]["verdict"] and scores(tmp_path / "s") == scores(compared[0])
    fitted = call("fit", *usual, "--regime", "linear", "--out", tmp_path / "f", "--json", "--quiet")
    assert json.loads(fitted.out)["regime"] == "linear" and fitted.err == ""
    assert [run["regime"] for run in json.loads(call("runs", tmp_path / "f", "--json").out)] == ["linear"]
    assert json.loads(call("check", *usual, "--json").out)["schema"]["target"] == "price"
    dry = json.loads(call("compare", *usual, "--out", tmp_path / "dry", "--dry-run", "--json").out)
    assert dry["checked"]["rows"] == 120 and dry["command"].startswith("warmstart compare")


def test_json_knows_no_infinity(capsys: pytest.CaptureFixture[str]) -> None:
    print_results.print_json({"a": [math.inf, -math.inf, math.nan, 0.5], Path("b"): Path("c")})
    assert json.loads(capsys.readouterr().out) == {"a": [None, None, None, 0.5], "b": "c"}


def test_a_dry_run_says_what_would_be_done_and_does_nothing(usual: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / ("a folder of a long name" * 5)
    answer = call("compare", *usual, *QUICK, "--out", out, "--dry-run")
    command = answer.out.splitlines()[-1]
    assert command.startswith("would run: warmstart compare") and command.endswith(f"--length 0.01 --out '{out}'")
    assert not out.exists()
    assert "did you mean 'full'" in call("compare", *usual, "--regimes", "ful", "--out", out, "--dry-run").err
    out.write_text("mine")
    assert "already exists" in call("compare", *usual, "--out", out, "--dry-run").err


def test_check_prints_findings_in_80_columns(usual: tuple[str, ...]) -> None:
    answer = call("check", *usual)
    assert answer.out.startswith("120 rows; task: regression of 'price' from 'title'\n")
    assert "split: 84 train, 12 val, 24 test" in answer.out and "\n  hint: " in answer.out
    assert all(len(line) <= 80 for line in answer.out.splitlines() if not line.startswith("  hint"))


def test_runs_report_and_the_lists(compared: tuple[Path, Answer]) -> None:
    out, _ = compared
    listed = call("runs", out)
    assert re.search(r"^linear-r84-s0 +0\.\d{4} +0\.\d{4} ", listed.out, re.MULTILINE)
    assert call("report", out, "--no-examples").out == f"{out / 'report.html'}\n"
    assert "discriminative" in call("regimes").out
    doctor = call("doctor")
    assert doctor.code == 0 and "torch" in doctor.out


def test_a_plan_shows_energy_in_80_columns_where_no_money_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    facts = (22_565_761, 23_229_313, 2.5e15, 1_069_957_120, 900.0, 90_988_535)
    made = [RegimeForecast(name, *facts, None, True, "", energy_kwh=0.00031) for name in ("discriminative", "lora")]
    notes = ("disk: computed", "energy: an estimate", "money: a price")
    print_results.show_plan(PlanResult(tuple(made), "cpu", None, notes))
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert "energy: an estimate" in said and ("disk: computed" in said) == (" disk " in said)
    assert re.search(r" kWh *\n", said) and "money" not in said and "total: 30.0 min, <0.001 kWh\n" in said


def test_what_is_looked_at_is_said_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def steps() -> Generator[Event, None, int]:
        yield from map(Event, map(str, range(20)))
        return 7

    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(validation.time, "monotonic", lambda: next(clock))
    assert validation.run_with_status(steps(), quiet=False) == 7
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "0" and 3 <= len(said) <= 10
    assert validation.run_with_status(steps(), quiet=True) == 7 and capsys.readouterr().err == ""


def test_runs_are_one_line_each_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    scores = np.ones((4, 2))
    slow = replace(make_run("discriminative-and-longer", scores, converged=False), predicted={"seconds": 9.0})
    lost = make_run(
        "full", scores, failed="diverged at step 12 of 300, and at a lower rate at step 40 again, as before"
    )
    written = replace(make_run("lora", scores), task="summarise", metric="rouge-L", val=-3.4341)
    print_results.show_runs([slow, lost, written], as_json=False)
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80 and "" not in said.splitlines()
    assert "discriminative-and-longer-r1000-s0 * 1.0000" in said and "\n* was still improving" in said
    assert "full-r1000-s0 failed: diverged at step 12" in said and "3.4341" not in said


def test_the_demo_begins_with_its_own_catalog_and_may_begin_again(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    with patch.object(
        validation, "run_with_progress", side_effect=OSError(28, "No space left on device", str(out))
    ) as progress:
        for _ in range(2):
            answer = call("demo", "--out", out)
            assert (answer.code, answer.err.splitlines()[-1]) == (1, f"error: {out}: No space left on device")
    assert progress.call_count == 2
    assert "no model can reach a mean absolute error below" in answer.err
    assert sorted(path.name for path in out.iterdir()) == ["catalogue.csv", "request.json"]
    (out / "plan.json").touch()
    assert "already exists" in call("demo", "--out", out).err


# --- stopping and going on --------------------------------------------------------------------------------------------


def test_sigterm_keeps_what_is_finished_and_resume_comes_to_the_same(
    usual: tuple[str, ...], compared: tuple[Path, Answer], tmp_path: Path
) -> None:
    out = tmp_path / "s"

    def stop_after_linear(text: str) -> None:
        if text.startswith("linear-r84-s0"):
            os.kill(os.getpid(), signal.SIGTERM)

    with patch.object(validation, "print_status", stop_after_linear):
        stopped = call("compare", *usual, *QUICK, "--out", out)
    assert stopped == Answer(143, "", f"stopped; finished work is kept.\nhint: to continue: warmstart resume {out}\n")
    finished = {path: path.stat().st_mtime_ns for path in (out / "runs").glob("*/run.json")}
    assert {path.parent.name for path in finished} == {"constant-r84-s0", "linear-r84-s0"}
    resumed = call("resume", out)
    assert resumed.code == 0 and "frozen-r84-s0" in resumed.err
    assert all(path.stat().st_mtime_ns == changed for path, changed in finished.items())
    assert scores(out) == scores(compared[0])
    again = call("resume", out, "--json")
    assert (again.code, again.err) == (0, f"{out} is finished: nothing is left to train.\n")
    assert json.loads(again.out)["comparison"] == json.loads((out / "comparison.json").read_text())


def test_a_fit_is_resumed_and_once_finished_left_alone(usual: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "f"
    words = (*usual, "--regime", "frozen", "--trials", "1", "--length", "0.01", "--out", out)

    def stop_while_training(text: str) -> None:
        if "frozen, 84 rows" in text:
            os.kill(os.getpid(), signal.SIGINT)

    with patch.object(validation, "print_status", stop_while_training):
        assert call("fit", *words).code == 130
    assert not (out / "run.json").exists()
    assert call("fit", *words).code == 2  # something is there: it is not overwritten
    done = call("resume", out)
    assert done.code == 0 and "frozen: " in done.out
    before = (out / "run.json").stat().st_mtime_ns
    again = call("resume", out)
    assert again.out == done.out and "nothing is left to train" in again.err
    assert (out / "run.json").stat().st_mtime_ns == before


def test_a_fit_that_leaves_no_model_has_failed(usual: tuple[str, ...], tmp_path: Path) -> None:
    with patch("warmstart.runs.run.train_stages", side_effect=TrainingError("no number at step 3.")):
        answer = call("fit", *usual, "--regime", "frozen", "--trials", "1", "--quiet", "--out", tmp_path / "f")
    assert answer.code == 1
    assert "failed: no number at step 3." in answer.out and "model:" not in answer.out
    assert call("resume", tmp_path / "f").code == 1


def test_ctrl_c_in_a_terminal(usual: tuple[str, ...], environment: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "s"
    words = [
        *START,
        "compare",
        *usual,
        "--regimes",
        "constant,full",
        "--seeds",
        "9",
        "--trials",
        "1",
        "--out",
        str(out),
    ]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None and process.stdout is not None
        for line in process.stderr:
            if line.startswith("constant-r84-s0"):
                os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the one that trains and to the other one
                break
        rest, printed = process.stderr.read(), process.stdout.read()
    assert process.returncode == 130
    assert rest.endswith(f"stopped; finished work is kept.\nhint: to continue: warmstart resume {out}\n")
    assert "Traceback" not in rest and printed == ""
    assert (out / "runs" / "constant-r84-s0" / "run.json").exists()
