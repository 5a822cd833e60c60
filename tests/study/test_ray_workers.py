"""Ray workers: is a study on Ray the same as in one process, also where a worker is killed, or all is stopped?"""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

import warmstart
from tests.cli_base import call, products
from tests.study.test_parallel import comparison_of
from warmstart.api import compare_steps, start
from warmstart.errors import InputError, TrainingError, UsageError
from warmstart.models.pretrained.base import Base
from warmstart.request.launch import run_to_end
from warmstart.request.parse import read_yaml
from warmstart.request.request import Request, from_mapping
from warmstart.results.record import load_run
from warmstart.runtime.supervisor import deaths_during
from warmstart.study import ray_workers
from warmstart.study.ray_workers import _check_worker, _error, _versions, _work

SETTINGS: dict[str, Any] = {
    "regimes": ("constant", "frozen", "full"),
    "seeds": 2,
    "trials": 1,
    "epochs": 40.0,
    "compute": 1e15,
}
FLAGS = (
    "--regimes",
    "constant,frozen,full",
    "--seeds",
    "2",
    "--trials",
    "1",
    "--epochs",
    "40",
    "--no-log",
    "--compute",
    "1000TFLOP",
)
with_ray = [
    pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra [ray], which CI does not install"),
    pytest.mark.filterwarnings("ignore"),  # of Ray
    pytest.mark.timeout(600),  # a Ray takes up to 20 seconds to start
]


def asked(table: Path, base: Base, **more: Any) -> Request:
    named = {"data": (str(table),), "target": "price", "text": ("title",), "base": (base.location,), "log": False}
    return from_mapping(named | SETTINGS | more)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return products(tmp_path_factory.mktemp("table") / "products.csv")


@pytest.fixture(scope="module")
def in_one_process(table: Path, base: Base, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("one") / "study"
    run_to_end(compare_steps(start(asked(table, base), folder)))
    return comparison_of(folder)


class TestWithRay:
    """Needs Ray."""

    pytestmark = with_ray

    def test_a_killed_worker_changes_nothing(
        self, in_one_process: Any, table: Path, base: Base, tmp_path: Path
    ) -> None:
        folder, before = tmp_path / "study", signal.getsignal(signal.SIGTERM)
        said, killed, threads = [], "", set()
        for event in compare_steps(start(asked(table, base, on="ray", workers=2), folder)):
            said.append(event.message)
            if event.job.startswith("full") and not killed:
                killed = kill_worker(event.job)
        assert killed, "no worker was seen at work"
        assert comparison_of(folder) == in_one_process
        doing = f"full, 84 rows, seed {killed[-1]}"
        assert deaths_during(folder, doing) == ["worker lost"]
        assert any(line.startswith("a worker died (worker lost) during: full") for line in said)
        threads = {load_run(path.parent).environment.threads for path in folder.glob("runs/*/run.json")}
        assert threads == {1}, "recorded with each run"
        assert signal.getsignal(signal.SIGTERM) == before, "Ray has a handler of its own, which saves nothing"
        assert not any("ray::" in words for words in command_lines()), "nothing of Ray is left"

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
    def test_a_study_that_was_stopped_goes_on_to_the_same_result(
        self, number: int, in_one_process: Any, table: Path, base: Base, tmp_path: Path
    ) -> None:
        folder = tmp_path / "study"
        words = [str(table), "--target", "price", "--text", "title", "--base", base.location, *FLAGS]
        warmstart_ = [sys.executable, "-m", "warmstart"]
        surroundings = os.environ | {"WARMSTART_SUPERVISED": "1", "WARMSTART_SAVE_EVERY": "5"}
        on_ray = ["--on", "ray", "--workers", "2", "--out", str(folder)]
        with subprocess.Popen([*warmstart_, "compare", *words, *on_ray], env=surroundings) as process:
            wait_for(
                lambda: any('"step"' in path.read_text() for path in folder.glob("workers/full-*/*.jsonl")), process
            )
            process.send_signal(number)
            code = process.wait(120)
        assert code == (-number if number == signal.SIGKILL else 128 + number)
        assert not (folder / "study.json").exists()
        if number != signal.SIGKILL:
            assert not worker_of("full")
            assert [*folder.glob("runs/full-*/checkpoint/*/manifest.json")], "saved when it was stopped"
        assert subprocess.run([*warmstart_, "resume", str(folder)], env=surroundings).returncode == 0
        assert comparison_of(folder) == in_one_process

    def test_no_cluster_is_one_message_and_leaves_nothing(self, table: Path, tmp_path: Path) -> None:
        answer = call("compare", table, "--target", "price", "--on", "ray://127.0.0.1:9", "--out", tmp_path / "s")
        assert answer.code == 2 and answer.err.startswith("error: no Ray cluster can be used at ray://127.0.0.1:9: ")
        assert not (tmp_path / "s").exists()


def kill_worker(job: str) -> str:
    """Kill the worker that runs a job; gives the job, or nothing where it has ended already."""
    found = worker_of(job)
    for process in found:
        process.kill()
    return job if found else ""


def worker_of(job: str) -> list[psutil.Process]:
    """Workers of Ray are called by the names of their tasks."""
    return [
        each for each in psutil.process_iter(["cmdline"]) if (each.info["cmdline"] or [""])[0].startswith(f"ray::{job}")
    ]


def command_lines() -> list[str]:
    return [" ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"])]


def wait_for(there: Any, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 400
    while not there():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.1)


def test_without_ray_one_message_names_the_extra(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_workers, "find_spec", lambda name: None)
    answer = call("compare", table, "--target", "price", "--on", "ray", "--out", tmp_path / "s")
    assert answer.code == 2 and not (tmp_path / "s").exists()
    assert answer.err == "error: --on needs the package ray.\nhint: pip install 'warmstart[ray]'\n"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"on": "dask"}, "on is 'dask'.\nhint: write ray, or ray://HOST:PORT of a cluster"),
        ({"on": "ray://host"}, "on is 'ray://host'"),
        ({"on": "ray", "command": "advise"}, "not for advise: each run of a race depends on the one before"),
        (
            {"on": "ray", "command": "fit", "regime": "auto"},
            "not for fit: each run of a race depends on the one before",
        ),
        ({"on": "ray", "command": "fit", "regime": "full"}, "not for fit: fit trains one model"),
        ({"workers": 2}, "workers says nothing without on"),
    ],
)
def test_what_cannot_run_on_workers_is_said(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        from_mapping({"data": ("a.csv",), "target": "price"} | settings)
    assert said in str(raised.value)


def test_rows_and_networks_in_memory_are_refused(tmp_path: Path, base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_workers, "find_spec", lambda name: True)
    rows = {"title": [f"lamp {i}" for i in range(40)], "price": [float(i + 1) for i in range(40)]}
    with pytest.raises(UsageError, match="workers read the rows from the folder"):
        warmstart.compare(rows, "price", tmp_path / "a", on="ray", examples=False)
    with pytest.raises(UsageError, match="workers cannot get an architecture from memory"):
        warmstart.compare(rows, "price", tmp_path / "b", on="ray", base=base.location, own={"mine": lambda size: None})
    assert not [*tmp_path.iterdir()]


def test_yaml_takes_the_key_on_for_true(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("on: ray\nworkers: 2\n")
    assert read_yaml(tmp_path / "s.yaml") == {"on": "ray", "workers": 2}


def test_a_worker_with_other_versions_or_another_disk_is_refused(tmp_path: Path) -> None:
    def refused(directory: Path, versions: dict[str, str]) -> Exception | None:
        return _error(_work(lambda: pytest.fail("opened"), {}, [], str(directory), 1, versions, 60.0))

    error = refused(tmp_path, _versions() | {"torch": "1.0"})
    assert isinstance(error, InputError) and " instead of 1.0." in error.message
    assert error.hint == "install the same versions on every machine"
    error = refused(tmp_path / "elsewhere", _versions())
    assert isinstance(error, InputError) and "cannot see" in error.message
    here = Path.cwd()
    try:
        _check_worker(str(tmp_path), _versions())
        assert Path.cwd() == tmp_path
    finally:
        os.chdir(here)


def test_what_a_worker_says_is_raised_with_its_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    for raised in (TrainingError("it diverged.", "try another --lr"), UsageError("no base.", "name one")):

        def failing(raised: Exception = raised) -> Any:
            raise raised

        error = _error(json.loads(json.dumps(_work(failing, {}, [], str(Path.cwd()), 1, _versions(), 60.0))))
        assert error is not None and str(error) == str(raised) and error.exit_code == raised.exit_code  # type: ignore[attr-defined]


def test_a_stop_while_ray_waits_is_still_a_stop() -> None:
    """Ray raises a SystemError instead of what a signal's handler raises."""

    class Waiting:
        def wait(self, *given: Any, **more: Any) -> Any:
            raise SystemError("returned a result with an exception set") from KeyboardInterrupt()

    pool = ray_workers.RayWorkers(Waiting(), 1, 1, lambda: pytest.fail("opened"))
    with pytest.raises(KeyboardInterrupt):
        pool.wait(1.0)
