"""Supervise: does a study survive the death of its process, and is every stop that was asked for one?"""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from torture.faults import AtWork, Whom
from torture.processes import ENVIRONMENT, call, start_server
from torture.trials import FULL
from torture.workshop import Case, Workshop, digest, results, study
from warmstart.cli import process
from warmstart.cli.process import SAME_SIGNAL_SECONDS, Stop, Stopped
from warmstart.runtime import supervisor

STUDY = Case((*study("constant", "frozen", "full").words, "--trials", "2"))
SEARCHED = Case(tuple(word for word in STUDY.words if word not in ("--lr", "1e-3")))
TRAINING = "full, 84 rows, seed 0"
GOING_ON = "Continuing from saved work."


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    start_server()
    return Workshop(tmp_path_factory.mktemp("supervise"))


def regimes(out: Path) -> dict[str, dict[str, object]]:
    return {each["name"]: each for each in json.loads((out / "comparison.json").read_text())["regimes"]}


# --- deaths -----------------------------------------------------------------------------------------------------------


def test_killed_once_it_goes_on_to_the_same_result(shop: Workshop) -> None:
    out = shop.vacant()
    ended = shop.run_waited_for(STUDY, out, [AtWork(TRAINING, shop.folder / "once", steps=5)])
    assert ended.code == 0
    assert f"killed by SIGKILL (probably: out of memory) during: {TRAINING}. {GOING_ON}\n" in ended.printed
    assert ended.printed.count("killed") == 1 and ended.printed.count("report: ") == 1
    assert json.loads((out / supervisor.DEATHS_FILE).read_text()) == {TRAINING: ["SIGKILL"]}
    assert digest(out) == shop.reference(STUDY).digest


@pytest.mark.parametrize(
    ("case", "doing", "steps", "lost", "words"),
    [
        (STUDY, TRAINING, 5, "full", "training it"),
        (SEARCHED, "full, 84 rows: searching its learning rate", 2, "full", "searching its learning rate"),
        (STUDY, "measuring a few steps of frozen", 0, "frozen", "measuring a few of its steps"),
        (STUDY, "constant, 84 rows, seed 0", 0, "constant", "training it"),
    ],
    ids=["training", "searching", "measuring", "baseline"],
)
def test_killed_twice_at_the_same_work_it_is_given_up_and_the_rest_goes_on(
    shop: Workshop, case: Case, doing: str, steps: int, lost: str, words: str
) -> None:
    out = shop.vacant()
    times = 2 if lost == "constant" else 9  # whose result is told under the same words
    ended = shop.run_waited_for(case, out, [AtWork(doing, shop.folder / f"twice {doing}", steps, times)])
    assert ended.code == 0 and ended.printed.count(GOING_ON) == 2
    reason = f"the process was killed 2 times while {words} (SIGKILL): probably out of memory; "
    failed = {name: facts["failed"] for name, facts in regimes(out).items() if facts["failed"]}
    assert list(failed) == [lost] and str(failed[lost]).startswith(reason) and "--micro-batch" in str(failed[lost])
    assert reason in (out / "report.html").read_text() and re.search(rf"^{lost} +failed ", ended.printed, re.MULTILINE)
    mine, whole = results(out), results(shop.reference(case).folder)
    others = [path for path in whole if lost not in path and not path.startswith(("winner", "refit"))]
    assert others and all(mine[path] == whole[path] for path in others)
    again = call("command", "resume", str(out))
    assert again.code == 0 and "nothing is left to train" in again.printed


def test_a_fit_killed_twice_has_failed(shop: Workshop) -> None:
    out = shop.vacant()
    ended = shop.run_waited_for(FULL, out, [AtWork(TRAINING, shop.folder / "fit", steps=5, times=9)])
    assert ended.code == 1 and "failed: the process was killed 2 times" in ended.printed


def test_what_cannot_be_left_out_ends_at_the_third_death_and_may_be_resumed(shop: Workshop) -> None:
    out = shop.vacant()
    fault = AtWork("reading the rows", shop.folder / "thrice", times=3, number=signal.SIGSEGV)
    ended = shop.run_waited_for(STUDY, out, [fault])
    assert ended.code == 128 + signal.SIGSEGV and ended.printed.count(GOING_ON) == 2
    end = "killed by SIGSEGV, 3 times now, during: reading the rows.\nhint: to continue later: warmstart resume"
    assert f"{end} --quiet -- {out}\n" in ended.printed
    shop.expect_same(STUDY, out)


def light(code: str) -> subprocess.CompletedProcess[str]:
    """Python, with as little imported as possible."""
    return subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False)


def test_killed_before_anything_was_begun_it_ends_and_who_waits_has_imported_nothing() -> None:
    done = light(
        "import os, sys\n"
        "from warmstart.runtime.supervisor import run_supervised\n"
        "try: run_supervised(lambda: os.kill(os.getpid(), 9))\n"
        "finally: print([m for m in ('torch', 'numpy', 'typer', 'pyarrow', 'ctypes') if m in sys.modules])"
    )
    assert (done.returncode, done.stdout) == (137, "[]\n")
    assert done.stderr == "killed by SIGKILL (probably: out of memory) before there was anything to resume.\n"


def test_killed_after_a_stop_was_asked_for_nothing_goes_on() -> None:
    done = light(
        "import os, signal\n"
        "from warmstart.runtime import supervisor\n"
        "def command():\n"
        "    supervisor.resume_with(['resume', '/nowhere'])\n"
        "    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), 9))\n"
        "    os.kill(os.getppid(), signal.SIGTERM)\n"
        "    signal.pause()\n"
        "supervisor.run_supervised(command)"
    )
    assert (done.returncode, done.stdout, done.stderr) == (137, "", "")


# --- everything else as without it ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("whom", "number"), [("itself", signal.SIGTERM), ("who waits", signal.SIGTERM), ("all", signal.SIGINT)]
)
def test_a_stop_is_passed_on_once_and_saved(shop: Workshop, whom: Whom, number: signal.Signals) -> None:
    out = shop.vacant()
    fault = AtWork(TRAINING, shop.folder / whom, steps=5, number=number, whom=whom)
    ended = shop.run_waited_for(FULL, out, [fault])
    assert ended.code == 128 + number
    assert ended.printed == f"stopped; finished work is kept.\nhint: to continue: warmstart resume {out}\n"
    assert any((out / "checkpoint").iterdir())
    shop.expect_same(FULL, out)


def test_a_hang_up_is_passed_on_and_nothing_goes_on(shop: Workshop) -> None:
    fault = AtWork(TRAINING, shop.folder / "hang up", steps=1, number=signal.SIGHUP, whom="who waits")
    ended = shop.run_waited_for(FULL, shop.vacant(), [fault])
    assert (ended.code, ended.printed) == (128 + signal.SIGHUP, "")


def test_wrong_use_is_said_once(shop: Workshop, tmp_path: Path) -> None:
    words = ("compare", str(tmp_path / "none.csv"), "--target", "price", "--out", str(tmp_path / "out"))
    plain, waited_for = call("command", *words), call("waited_for", *words)
    assert waited_for.code == plain.code == 2
    assert waited_for.printed == plain.printed and plain.printed.count("error: ") == 1


@pytest.mark.parametrize("name", [supervisor.SUPERVISED_VARIABLE, "TORCHELASTIC_RUN_ID"])
def test_a_process_waits_for_no_other_where_one_waits_for_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(supervisor.SUPERVISED_VARIABLE, raising=False)
    assert supervisor.can_supervise()
    monkeypatch.setenv(name, "1")
    assert not supervisor.can_supervise()


def test_a_stop_that_arrives_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(process.time, "monotonic", lambda: now)
    stop = Stop()
    with pytest.raises(Stopped):
        stop(signal.SIGINT, None)
    stop(signal.SIGINT, None)
    now += SAME_SIGNAL_SECONDS
    with pytest.raises(Stopped):  # it was asked for again
        stop(signal.SIGINT, None)


LATE = """
import atexit, signal, sys, time
from warmstart.cli import process

class Last:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.1)

def command():
    if sys.argv[1] == "finalizing":
        Last()
        for _ in range(100):
            time.sleep(0.01)
        print("not stopped")
    else:
        atexit.register(lambda: Last() and None)

process.run_command(command)
"""


@pytest.mark.parametrize("when", ["finalizing", "at the end"])
def test_a_stop_that_python_cannot_pass_on_is_no_traceback(when: str) -> None:
    """Hostile case 37: SIGTERM while an object was finalized printed a traceback, and did not stop anything."""
    done = subprocess.run([sys.executable, "-c", LATE, when], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr and done.returncode == 143, done.stderr
    assert done.stderr == ("stopped.\n" if when == "finalizing" else "") and not done.stdout


def test_of_many_processes_the_main_one_speaks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun ends all when one has ended: the message of the main one was lost at times."""
    waited: list[float] = []
    monkeypatch.setattr(process.time, "sleep", waited.append)
    for rank, expected in ((0, []), (1, [process.MAIN_FIRST_SECONDS])):
        monkeypatch.setattr(process, "started", lambda rank=rank: (rank, 2))
        assert process._complain("error: there is no file", 2) == 2 and waited == expected
