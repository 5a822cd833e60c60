"""Does a plan say before what a run says afterwards, and what would make it fit?"""

from collections.abc import Generator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli_base import call
from tests.run_factory import make_run, make_scores
from tests.tiny import REGRESSION, tiny_problem
from warmstart.cli.print_results import prediction_error
from warmstart.errors import UsageError
from warmstart.models.pretrained.base import Base
from warmstart.planning import history as log
from warmstart.planning.forecast import MEASURED, PREDICTED, PlanResult, RegimeForecast, TargetMachine
from warmstart.planning.forecast_from_history import plan_from_history
from warmstart.planning.plan import forecast_regimes
from warmstart.planning.problem import Options, Problem
from warmstart.results.record import Run, load_run
from warmstart.runtime.hardware import PRICES, known_machine, price_here, watts_here
from warmstart.study.compare import run_comparison

plans = import_module("warmstart.planning.plan")  # its name in the package is that of the function
OPTIONS = Options(regimes=("constant", "scratch-dnn", "frozen", "full", "lora"), seeds=1, lr=1e-3, length=0.03)
H100 = TargetMachine(known_machine("H100"))
KEYS = {
    *("regime", "trainable", "total", "flops", "peak_memory_bytes", "seconds", "disk_bytes", "money", "fits", "advice"),
    *("runs", "seconds_of_run", "energy_kwh", "basis", "rows", "seeds", "trials"),
}


def to_the_end(steps: Generator[Any, None, Any]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def planned(
    problem: Problem, options: Options = OPTIONS, where: TargetMachine | None = None
) -> dict[str, RegimeForecast]:
    found: PlanResult = to_the_end(forecast_regimes(problem, options, where or TargetMachine()))
    return {one.regime: one for one in found.forecasts}


@pytest.fixture(scope="module")
def both(
    base: Base, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, RegimeForecast], dict[str, Run], Path]:
    """The plan of a comparison, and its runs."""
    problem, folder = tiny_problem(REGRESSION, base), tmp_path_factory.mktemp("both")
    found = planned(problem)
    to_the_end(run_comparison(problem, replace(OPTIONS, log=False), folder))
    return found, {name: load_run(folder / "runs" / f"{name}-r84-s0") for name in OPTIONS.regimes}, folder


@pytest.mark.parametrize("name", OPTIONS.regimes)
def test_a_plan_says_what_the_run_comes_to(
    name: str, both: tuple[dict[str, RegimeForecast], dict[str, Run], Path]
) -> None:
    forecasts, runs, folder = both
    said, run = forecasts[name], runs[name]
    assert (said.trainable, said.total) == (run.cost.trainable, run.cost.total)
    assert said.flops is not None
    if name == "constant" or run.steps == run.settings["steps"]:
        assert said.flops == pytest.approx(run.cost.flops, rel=0.05)
    else:  # it stopped early
        assert run.cost.flops < said.flops < 3 * run.cost.flops
    kept = sum(file.stat().st_size for file in (folder / "runs" / run.id).rglob("*") if file.is_file())
    assert said.disk_bytes is not None and abs(said.disk_bytes - kept) < 1.2e6
    assert said.seconds is not None and said.peak_memory_bytes is not None and said.fits
    assert said.basis == MEASURED and said.to_json().keys() == KEYS


def test_every_run_keeps_what_was_predicted_for_it(
    both: tuple[dict[str, RegimeForecast], dict[str, Run], Path],
) -> None:
    _, runs, folder = both
    assert runs["constant"].predicted is None
    run = runs["full"]
    assert run.predicted is not None and run.predicted.keys() == {"seconds", "peak_memory_bytes"}
    error = prediction_error(run, "peak_memory_bytes")
    assert error is not None and abs(error) < 0.15  # exactly 0 now and then
    (folder / "request.json").write_text('{"data": ["a.csv"], "target": "price"}')
    listed = call("runs", folder)
    assert listed.code == 0 and "peak memory predicted for " in listed.out


def test_runs_are_noted_once_and_not_where_it_is_switched_off(problem: Problem, folder: Path) -> None:
    options = replace(OPTIONS, regimes=("constant", "frozen"))
    to_the_end(run_comparison(problem, options, folder))
    to_the_end(run_comparison(problem, options, folder))
    assert [entry["regime"] for entry in log.read_history()] == ["constant", "frozen"]
    (folder / "again").mkdir()
    to_the_end(run_comparison(problem, replace(options, log=False), folder / "again"))
    assert len(log.read_history()) == 2


def test_what_does_not_fit_gets_advice(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    options = replace(OPTIONS, regimes=("full",))
    peak = planned(problem, options)["full"].peak_memory_bytes
    assert peak is not None
    monkeypatch.setattr(plans, "memory_room", lambda: 100_000)
    said = planned(problem, options)["full"]
    assert said.fits is False and said.seconds is None and said.basis == "computed from shapes"
    assert said.advice.startswith("does not fit")


def test_a_smaller_micro_batch_comes_before_another_regime(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(H100.machine, memory_bytes=1e9) if H100.machine else None
    whole = planned(problem, replace(OPTIONS, regimes=("full",)), TargetMachine(small))["full"]
    assert whole.fits and whole.peak_memory_bytes is not None
    little = replace(small, memory_bytes=0.8 * whole.peak_memory_bytes / plans.USABLE) if small else None
    said = planned(problem, replace(OPTIONS, regimes=("full",)), TargetMachine(little))["full"]
    assert said.fits is False
    micro = int(said.advice.partition("--micro-batch ")[2].partition(",")[0])
    assert 1 <= micro < 16
    training = {"micro_batch": micro}
    again = planned(problem, replace(OPTIONS, regimes=("full",), training=training), TargetMachine(little))["full"]
    assert again.fits


def test_where_not_even_one_row_fits_less_is_kept_of_it(problem: Problem) -> None:
    def of(memory: float, **training: object) -> RegimeForecast:
        there = replace(H100.machine, memory_bytes=memory / plans.USABLE) if H100.machine else None
        return planned(problem, replace(OPTIONS, regimes=("full",), training=training), TargetMachine(there))["full"]

    one = of(1e9, micro_batch=1)
    least = of(1e9, micro_batch=1, gradient_checkpointing=True)
    assert one.peak_memory_bytes and least.peak_memory_bytes and least.peak_memory_bytes < one.peak_memory_bytes
    assert one.seconds and least.seconds and one.seconds <= least.seconds
    between = (one.peak_memory_bytes + least.peak_memory_bytes) / 2
    advised = "does not fit; use --micro-batch 1 --gradient-checkpointing, with the same result"
    assert of(between, micro_batch=1).advice == advised
    assert of(between, micro_batch=1, gradient_checkpointing=True).fits


def test_another_device_is_predicted_from_its_figures(problem: Problem) -> None:
    one = planned(problem, OPTIONS, H100)["full"]
    assert one.basis == PREDICTED and one.fits and one.seconds is not None and one.money is not None
    assert one.money == pytest.approx(one.seconds / 3600 * 4.0)
    assert one.energy_kwh == pytest.approx(one.seconds * 700 / 3.6e6)
    many = planned(problem, OPTIONS, replace(H100, devices=64, price_per_hour=1.0))["full"]
    assert many.money is not None and many.seconds is not None
    assert many.money == pytest.approx(many.seconds / 3600 * 64)
    assert many.peak_memory_bytes is not None and one.peak_memory_bytes is not None
    assert many.peak_memory_bytes < one.peak_memory_bytes
    assert "a step has 16 rows: more devices than that would be idle" in many.advice


def test_searches_and_seeds_count(problem: Problem) -> None:
    one, more = (planned(problem, replace(OPTIONS, lr=lr, seeds=n), H100)["full"] for lr, n in ((1e-3, 1), (None, 3)))
    assert more.runs == 3 and more.seconds_of_run == one.seconds_of_run
    assert one.seconds is not None and more.seconds is not None and 3 * one.seconds < more.seconds
    assert one.flops is not None and more.flops is not None and 3 * one.flops < more.flops < 6 * one.flops


def test_without_data_the_log_speaks_in_proportion_to_the_rows() -> None:
    with pytest.raises(UsageError, match=r"the log of earlier runs has none of task 'regression'.*\nhint: name DATA"):
        plan_from_history("regression", (), 2_000, (), TargetMachine())
    for seconds_seed in (0, 2):
        log.append(make_run("full", make_scores(np.ones(4)), seed=seconds_seed, higher_is_better=False), "tiny", 8.0)
    found = plan_from_history("regression", ("full", "lora"), 2_000, (), TargetMachine())
    full, lora = found.forecasts
    assert full.seconds == pytest.approx(2 * 11.0) and full.trainable == 1000 and full.basis == "from earlier runs"
    assert lora.seconds is None and lora.advice == "no run of it in the log"
    assert "base tiny" in found.notes[0] and not any("measured here" in note for note in found.notes)
    with pytest.raises(UsageError, match="with base 'other'"):
        plan_from_history("regression", (), 2_000, ("other",), TargetMachine())


def test_without_data_and_base_runs_of_one_base_are_told_not_a_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of a toy and of a large model gave one median."""
    slow, quick = (make_run("full", make_scores(np.ones(4)), seed=s, higher_is_better=False) for s in (0, 1))
    log.append(replace(slow, cost=replace(slow.cost, seconds=1000.0)), "large", 8.0)
    for _ in range(3):
        log.append(quick, "toy", 8.0)

    def seconds() -> float | None:
        return plan_from_history("regression", ("full",), slow.rows, (), TargetMachine()).forecasts[0].seconds

    assert seconds() == pytest.approx(quick.cost.seconds)  # the last one used
    monkeypatch.setattr("warmstart.planning.forecast_from_history.usual", lambda task: "large")
    assert seconds() == pytest.approx(1000.0)


def test_devices_are_known_by_name_and_their_prices_by_date() -> None:
    assert known_machine("RTX 4090").memory_bytes == 24e9
    with pytest.raises(UsageError, match=r"device 'h10' is not in the table of devices.\nhint: did you mean 'h100'"):
        known_machine("h10")
    assert watts_here("cuda: NVIDIA H100 80GB HBM3") == 700 and price_here("cuda: NVIDIA L4") == 0.7
    assert watts_here(None) > 0 and "20" in PRICES


def test_the_command_without_data_and_its_errors() -> None:
    empty = call("plan", "--task", "regression", "--rows", "2000")
    assert empty.code == 2 and "name DATA" in empty.err
    log.append(make_run("full", make_scores(np.ones(4)), higher_is_better=False), "tiny", 8.0)
    answer = call("plan", "--task", "regression", "--rows", "2000", "--regimes", "full")
    assert answer.code == 0 and "20 s" in answer.out and max(map(len, answer.out.splitlines())) <= 80
    assert call("plan", "--rows", "2000").code == 2
    assert "name it, e.g." in call("plan", "a.csv", "--target", "p", "--devices", "8").err
