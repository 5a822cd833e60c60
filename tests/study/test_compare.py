"""Compare: a whole comparison, done once, and nothing lost when it is killed."""

import json
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from tests.run_factory import make_run
from tests.tiny import CLASSES, REGRESSION, tiny_problem
from warmstart.advice.advise import advice_for
from warmstart.data.encoding.inputs import Encoded
from warmstart.errors import TrainingError
from warmstart.inference.model_store import load_model
from warmstart.models.model import Model
from warmstart.models.pretrained.base import Base
from warmstart.planning.problem import Options, Problem
from warmstart.planning.run_plan import RunPlan, first_plan
from warmstart.planning.throughput import SHORT_MEASUREMENT_ROWS
from warmstart.regimes.regimes import PROMPTED, REGIMES, WITHOUT_TRAINING, suits
from warmstart.results.bootstrap import standard_error_share
from warmstart.results.comparison import Comparison
from warmstart.results.record import Run, load_run
from warmstart.study import begin
from warmstart.study.compare import run_comparison
from warmstart.study.fit import begin_fit, finish_fit
from warmstart.study.jobs import run_jobs
from warmstart.study.make_comparison import best_lengths, load_comparison
from warmstart.study.study import run_study
from warmstart.training import frozen_prefix
from warmstart.training.event import Event
from warmstart.types import Array

Value = TypeVar("Value")
EVERY = tuple(
    name
    for name in dict.fromkeys((*WITHOUT_TRAINING, *REGIMES))
    if suits(name, "regression") and name not in (*PROMPTED, "prompted-endpoint")
)
QUICK = Options(regimes=("constant", "full", "frozen"), seeds=2, trials=2, length=0.03)


def to_the_end(steps: Generator[Event, None, Value]) -> tuple[list[Event], Value]:
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as stop:
            return seen, stop.value


def compared(problem: Problem, options: Options, folder: Path) -> Comparison:
    return to_the_end(run_comparison(problem, options, folder))[1]


def times(folder: Path) -> dict[str, int]:
    found = {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("run.json")}
    assert found
    return found


def scores_of(comparison: Comparison) -> dict[str, list[list[float]]]:
    return {run.id: run.scores.tolist() for run in comparison.runs}


@pytest.mark.parametrize(("asked", "said"), [({"trials": 2}, True), ({"trials": 1}, False), ({"lr": 0.01}, False)])
def test_a_search_is_said_only_where_one_is_made(
    asked: dict[str, Any], said: bool, problem: Problem, folder: Path
) -> None:
    options = replace(QUICK, regimes=("constant", "frozen"), seeds=1, **asked)
    seen, _ = to_the_end(run_comparison(problem, options, folder))
    assert any("searching its learning rate" in progress.doing for progress in seen) == said


def test_what_planning_takes_is_part_of_the_budget(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly = begin.measure_throughput

    def slowly(*given: Any) -> Generator[Event, None, RunPlan]:
        time.sleep(0.5)
        return (yield from quickly(*given))

    monkeypatch.setattr(begin, "measure_throughput", slowly)

    def budget(given: float, folder: Path) -> float:
        folder.mkdir(exist_ok=True)
        return to_the_end(begin.begin_study(first_plan(problem, replace(QUICK, budget=given)), folder))[
            1
        ].plan.options.budget

    left = budget(100.0, tmp_path / "long")
    assert 50 < left <= 99.5
    assert budget(100.0, tmp_path / "long") == left, "resumed, it goes on with the same"
    assert budget(0.2, tmp_path / "short") == pytest.approx(0.02), "something is left for the work"


@pytest.fixture(scope="module")
def whole(base: Base, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event], Comparison]:
    """Every regime on the tiny base, one seed, two rates."""
    folder = tmp_path_factory.mktemp("whole")
    options = Options(regimes=EVERY, seeds=1, trials=2, length=0.03, dropout=0.1)
    return folder, *to_the_end(run_comparison(tiny_problem(REGRESSION, base), options, folder))


def test_a_frozen_base_reads_every_row_once_from_the_measuring_to_the_last_score(
    problem: Problem, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    activations = frozen_prefix.activations

    def counting(
        model: Model, depth: int | None, encoded: Encoded, positions: Array, *more: float
    ) -> frozen_prefix.PrefixCache:
        computed.append(len(positions))
        return activations(model, depth, encoded, positions, *more)

    monkeypatch.setattr(frozen_prefix, "activations", counting)
    compared(problem, replace(QUICK, regimes=("frozen",)), folder)
    few = SHORT_MEASUREMENT_ROWS + 12 + 24  # training, validation and test rows
    longest = 32 + 12 + 24  # rows of the most expensive batch, whose memory is measured, and the longest to score
    tried = frozen_prefix.CHECK_ROWS
    assert computed == [tried, few, tried, longest, tried, 120]


def test_every_regime_is_trained_scored_and_saved(whole: tuple[Path, list[Event], Comparison]) -> None:
    folder, _, comparison = whole
    assert {run.regime for run in comparison.runs} == set(EVERY)
    rows = comparison.runs[0].predictions["row"]
    for run in comparison.runs:
        assert run.test is not None and np.isfinite(run.scores).all()
        assert run.predictions["row"] == rows  # paired: the same test rows in the same order
        assert run.test == pytest.approx(run.scores[:, 0].sum() / run.scores[:, 1].sum())
        assert run.cost.trainable <= run.cost.total and (run.cost.flops > 0 or run.regime == "constant")
        assert run.disk_bytes > 0 and run.latency_ms is not None and run.latency_ms > 0
        where = folder / "runs" / run.id
        assert not (where / "checkpoint").exists()
        found = load_model(where).predictor.outputs(["small red lamp, oak"])
        assert found.shape == (1, 1) and np.isfinite(found).all()
    advice_for(comparison)


def test_what_is_saved_predicts_what_was_scored(whole: tuple[Path, list[Event], Comparison], base: Base) -> None:
    folder, _, comparison = whole
    texts = tiny_problem(REGRESSION, base).splits.test.texts
    for run in comparison.runs:
        stored = load_model(folder / "runs" / run.id)
        again = stored.task.predictions(stored.predictor.outputs(texts), stored.calibration)
        np.testing.assert_allclose(again["prediction"], run.predictions["prediction"], rtol=1e-4)


def test_each_regime_learned_what_its_method_says(whole: tuple[Path, list[Event], Comparison]) -> None:
    runs = {run.regime: run for run in whole[2].runs}
    assert runs["frozen"].cost.trainable == 17
    assert runs["full"].cost.trainable == runs["full"].cost.total == runs["discriminative"].cost.trainable
    assert 17 < runs["lora"].cost.trainable == runs["qlora"].cost.trainable
    assert runs["lora"].cost.total == runs["qlora"].cost.total > runs["full"].cost.total
    assert {run.regime for run in runs.values() if run.family == "scratch"} == {
        "scratch",
        "scratch-dnn",
        "self-pretrained",
    }


def test_what_a_solver_fits_learned_weights_and_chose_among_trials(
    whole: tuple[Path, list[Event], Comparison],
) -> None:
    """`embedded` once went through the training loop, as a network without stages: it learned nothing, silently."""
    runs = {run.regime: run for run in whole[2].runs}
    for name in ("linear", "embedded"):
        assert runs[name].trials and runs[name].cost.trainable > 0 and runs[name].lr is None, name
    scores = {name: runs[name].val or 0.0 for name in ("constant", "linear", "embedded")}
    assert scores["embedded"] != scores["constant"]


def test_the_base_that_a_saved_model_needs_is_counted_with_it(whole: tuple[Path, list[Event], Comparison]) -> None:
    comparison = whole[2]
    known = {row.name: row.base_bytes for row in comparison.table if row.failed is None}
    assert known["embedded"] > 0 and known["linear"] == 0
    assert all((known[name] > 0) == (name in ("lora", "qlora")) for name in ("full", "frozen", "lora") if name in known)
    entry = next(each for each in comparison.to_json()["regimes"] if each["name"] == "embedded")
    assert entry["base_bytes"] == known["embedded"]


def test_progress_goes_from_nothing_to_all_and_says_every_result(
    whole: tuple[Path, list[Event], Comparison],
) -> None:
    _, seen, comparison = whole
    shares = [progress.done for progress in seen]
    lengthened = next((i for i, p in enumerate(seen) if "times as long" in p.doing), None)  # more work than was planned
    assert shares[:lengthened] == sorted(shares[:lengthened]) and shares[0] == 0 and max(shares) <= 1
    said = " ".join(progress.message for progress in seen)
    assert all(run.id in said for run in comparison.runs)
    count = len(set(EVERY) - set(WITHOUT_TRAINING))
    assert any(f"{count} runs of {count} regimes" in progress.message for progress in seen)


def test_each_regime_had_the_same_number_of_trials(whole: tuple[Path, list[Event], Comparison]) -> None:
    for run in whole[2].runs:
        rates = {trial.settings["lr"] for trial in run.trials if "lr" in trial.settings}
        if run.family not in ("baseline", "ensemble"):
            assert len(rates) in (2, 3), run.regime  # a third where an edge won
            assert run.lr in rates
            best = min(t.val for t in run.trials if t.val is not None)
            kept = min(t.val for t in run.trials if t.val is not None and t.settings["lr"] == run.lr)
            assert (
                kept - best <= 2 * standard_error_share(whole[2].rows["val"]) * kept
            )  # else another rate would have won


def test_a_second_call_trains_nothing_and_says_the_same(
    whole: tuple[Path, list[Event], Comparison], base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, comparison = whole
    before = times(folder)
    monkeypatch.setattr("warmstart.training.stages.train", lambda *_: pytest.fail("something was trained"))
    options = Options(regimes=EVERY, seeds=1, trials=2, length=0.03, dropout=0.1)
    again = compared(tiny_problem(REGRESSION, base), options, folder)
    assert times(folder) == before
    assert again.to_json() == comparison.to_json() == load_comparison(folder).to_json()


def test_killed_in_the_middle_and_taken_up_again_it_gives_identical_scores(base: Base, tmp_path: Path) -> None:
    problem = tiny_problem(CLASSES, base)
    for name in ("straight", "killed"):
        (tmp_path / name).mkdir()
    straight = compared(problem, QUICK, tmp_path / "straight")
    stops = ("searching", "full, 84 rows, seed 0", "frozen, 84 rows, seed 1")
    for stop in stops:  # three kills, each some steps into a piece of work
        steps = run_comparison(problem, QUICK, tmp_path / "killed")
        into = 0
        for progress in steps:
            into += stop in progress.doing
            if into == 4:
                break
        steps.close()
    finished = times(tmp_path / "killed")
    assert "runs/full-r84-s0/run.json" in finished and "runs/frozen-r84-s1/run.json" not in finished
    resumed = compared(problem, QUICK, tmp_path / "killed")
    assert scores_of(resumed) == scores_of(straight)
    assert finished.items() <= times(tmp_path / "killed").items()


def test_rows_and_seeds_make_a_run_each_on_the_same_test_rows(problem: Problem, folder: Path) -> None:
    comparison = compared(problem, replace(QUICK, regimes=("constant", "frozen"), rows=(40, 80), trials=1), folder)
    assert {(run.regime, run.rows, run.seed) for run in comparison.runs} == {
        (regime, rows, seed) for regime in ("constant", "frozen") for rows in (40, 80) for seed in (0, 1)
    }
    assert len({tuple(run.predictions["row"]) for run in comparison.runs}) == 1
    assert comparison.rows["train"] == 80


def diverging(problem: Problem) -> Options:
    return Options(
        regimes=("constant", "linear", "full"), seeds=1, lr=1e4, length=0.2, training={"optimizer": "sgd", "clip": 1e9}
    )


def test_a_regime_that_diverges_is_recorded_and_never_wins(problem: Problem, folder: Path) -> None:
    comparison = compared(problem, diverging(problem), folder)
    run = next(run for run in comparison.runs if run.regime == "full")
    assert run.failed is not None and not run.converged
    assert load_run(folder / "runs" / run.id).failed == run.failed
    assert advice_for(comparison).choice == "linear"


def test_a_huge_rate_that_stays_finite_is_recorded_as_failed(problem: Problem, folder: Path) -> None:
    options = replace(diverging(problem), training={"optimizer": "sgd", "schedule": "constant"})
    comparison = compared(problem, options, folder)
    run = next(run for run in comparison.runs if run.regime == "full")
    assert run.failed is not None
    assert advice_for(comparison).choice == "linear"


def test_a_length_at_which_seeds_failed_does_not_take_the_place_of_one_without(problem: Problem) -> None:
    plan = first_plan(problem, replace(QUICK, seeds=3))

    def run(seed: int, val: float, failed: str | None = None) -> Run:
        return replace(make_run("full", np.ones((5, 2)), seed, failed=failed, higher_is_better=False), val=val)

    short = [run(seed, 0.5) for seed in range(3)]
    longer = [run(0, 0.4, "diverged"), run(1, 0.4), run(2, 0.4, "diverged")]
    better = [run(seed, 0.45) for seed in range(3)]
    for lengths, expected in (([short, longer], short), ([longer, short], short), ([short, better], better)):
        assert best_lengths(plan, [run for each in lengths for run in each]) == expected


def test_when_nothing_can_be_trained_an_error_says_so(problem: Problem, folder: Path) -> None:
    with pytest.raises(TrainingError, match=r"no regime could be trained: full: .+\nhint: see "):
        to_the_end(run_study(problem, replace(diverging(problem), regimes=("full",)), folder))
    page = (folder / "report.html").read_text()
    assert "No usable result" in page
    assert json.loads((folder / "advice.json").read_text())["choice"] is None and not (folder / "winner").exists()


def test_a_study_that_is_not_finished_is_not_remembered(folder: Path) -> None:
    with pytest.raises(TrainingError, match=r"not a finished study\.\nhint: warmstart resume"):
        load_comparison(folder)


@pytest.mark.parametrize("name", ["linear", "lora"])
def test_one_regime_alone_has_its_run_in_the_folder_itself(name: str, problem: Problem, folder: Path) -> None:
    def fitted() -> Run:
        study, jobs = to_the_end(begin_fit(problem, replace(QUICK, regimes=(name,)), folder))[1]
        to_the_end(run_jobs(study, jobs))
        return finish_fit(study)

    run = fitted()
    assert run.seed == 0 and run.regime == name
    assert load_run(folder).scores.tolist() == run.scores.tolist()
    assert load_model(folder).regime == name
    assert fitted().to_json() == run.to_json()
