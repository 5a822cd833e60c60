"""Ensemble: is the mean of predictions what is scored, saved and predicted, and is it chosen only for a real gain?"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.run_factory import make_comparison, make_runs
from tests.tiny import CLASSES, LABELS, REGRESSION, tiny_problem, tiny_rows, tiny_splits
from warmstart.advice.advise import advice_for
from warmstart.data.schema.schema import Schema
from warmstart.errors import InputError, UsageError
from warmstart.inference.model_store import load_model
from warmstart.models.pretrained.base import Base
from warmstart.planning.problem import Options
from warmstart.results.bootstrap import mean_score
from warmstart.results.comparison import Comparison
from warmstart.results.outputs import load_outputs
from warmstart.runs.ensemble_run import choose_weights
from warmstart.study.compare import _without_single, run_comparison
from warmstart.tasks.classification import Classification
from warmstart.tasks.regression import Regression
from warmstart.tasks.tasks import task_for
from warmstart.types import Array

NAMES = ("constant", "linear", "scratch-dnn", "ensemble")
ERRORS = {"constant": 0.9, "linear": 0.5, "scratch": 0.6, "full": 0.47}


def compared(schema: Schema, base: Base, folder: Path, seeds: int = 2) -> Comparison:
    options = Options(regimes=NAMES, seeds=seeds, trials=1, length=0.15, budget=1e6)
    steps = run_comparison(tiny_problem(schema, base), options, folder)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            found: Comparison = stop.value
            return found


@pytest.mark.parametrize("schema", [REGRESSION, CLASSES, LABELS], ids=["numbers", "classes", "labels"])
def test_one_is_made_for_each_seed_and_predicts_as_it_was_scored(schema: Schema, base: Base, tmp_path: Path) -> None:
    comparison = compared(schema, base, tmp_path)
    runs = {run.id: run for run in comparison.runs}
    made = [run for run in comparison.runs if run.regime == "ensemble"]
    assert [run.seed for run in made] == [0, 1]
    test = tiny_problem(schema, base).splits.test
    for run in made:
        members = [runs[name] for name in run.settings["weights"]]
        assert {member.regime for member in members} <= {"linear", "scratch-dnn"}
        assert {member.seed for member in members} == {run.seed}
        assert run.cost.flops == sum(member.cost.flops for member in members)
        stored = load_model(tmp_path / "runs" / run.id)
        again = stored.task.predictions(stored.predictor.outputs(test.texts), stored.calibration)
        if schema.task == "regression":
            np.testing.assert_allclose(again["prediction"], run.predictions["prediction"], rtol=1e-4)
            each = [load_outputs(tmp_path / "runs" / member.id)["test"] for member in members]
            mean = sum(w * part for w, part in zip(run.settings["weights"].values(), each, strict=True))
            np.testing.assert_allclose(load_outputs(tmp_path / "runs" / run.id)["test"], mean, rtol=1e-5)
        else:
            assert again["prediction"] == run.predictions["prediction"]
    assert advice_for(comparison).compute["spent_flops"] == pytest.approx(
        sum(run.cost.flops + run.tuning_flops for run in comparison.runs if run.regime != "ensemble")
    ), "what its members cost is counted once"


def test_an_ensemble_whose_member_was_changed_is_refused(base: Base, tmp_path: Path) -> None:
    compared(REGRESSION, base, tmp_path, seeds=1)
    folder = next(path for path in (tmp_path / "runs").iterdir() if path.name.startswith("ensemble"))
    facts = json.loads((folder / "model.json").read_text())
    for odd in ("../linear-r84-s0", "/tmp", "nothing-here"):
        (folder / "model.json").write_text(json.dumps(facts | {"members": {odd: 1.0}}))
        with pytest.raises(InputError):
            load_model(folder)
    (folder / "model.json").write_text(json.dumps(facts))
    load_model(folder)
    member = next(iter(facts["members"]))
    (folder / "members" / member / "members").mkdir()
    with pytest.raises(InputError, match="an ensemble in an ensemble"):
        load_model(folder)


@pytest.mark.parametrize(("second", "listed"), [(["full"], False), (["full", "linear"], True)])
def test_a_mean_of_one_regime_is_not_listed_beside_it(second: list[str], listed: bool) -> None:
    runs = make_runs(ERRORS | {"ensemble": 0.47}, seeds=2, higher_is_better=False)
    members = {0: ["full"], 1: second}
    ids = {(run.regime, run.seed): run.id for run in runs}
    made = [
        replace(run, settings={"weights": {ids[name, run.seed]: 1.0 for name in members[run.seed]}})
        if run.regime == "ensemble"
        else run
        for run in runs
    ]
    found = _without_single(make_comparison(made))
    assert ("ensemble" in found.names) == listed and len(found.caveats) == (not listed)
    if not listed:
        assert "no mean of several regimes does better than `full` alone" in found.caveats[0]


def outputs_with_noise(task: Regression, targets: Array, deviations: tuple[float, ...]) -> list[Array]:
    generator = np.random.default_rng(0)
    return [(targets + generator.normal(0, spread, len(targets)))[:, None].astype(np.float32) for spread in deviations]


def test_a_useless_member_gets_no_weight_and_equal_ones_share() -> None:
    task = task_for(REGRESSION, tiny_splits(REGRESSION))
    assert isinstance(task, Regression)
    targets = np.random.default_rng(1).normal(size=400).astype(np.float32)
    weights, words = choose_weights(task, outputs_with_noise(task, targets, (0.3, 0.3, 8.0)), [{}] * 3, targets)
    assert words == "greedy weights" and weights[2] <= 0.05 and sum(weights) == pytest.approx(1)
    weights, words = choose_weights(task, outputs_with_noise(task, targets[:60], (0.3, 8.0)), [{}] * 2, targets[:60])
    assert (weights, words) == ([0.5, 0.5], "equal weights"), "60 rows are too few to choose by"


def test_the_mean_of_probabilities_is_that_of_the_calibrated_ones() -> None:
    task = task_for(CLASSES, tiny_splits(CLASSES))
    assert isinstance(task, Classification)
    first, second = np.array([[2.0, 0.0, 0.0]]), np.array([[0.0, 0.0, 4.0]])
    calibrations: list[dict[str, float]] = [{"temperature": 2.0}, {}]
    expected = 0.25 * task.probabilities(first, calibrations[0]) + 0.75 * task.probabilities(second, calibrations[1])
    mean = task.average([first, second], calibrations, [0.25, 0.75])
    np.testing.assert_allclose(task.probabilities(mean, {}), expected, rtol=1e-5)


def test_averaging_independent_errors_is_better_than_either() -> None:
    task = task_for(REGRESSION, tiny_splits(REGRESSION))
    targets = np.random.default_rng(1).normal(size=400).astype(np.float32)
    each = outputs_with_noise(task, targets, (0.3, 0.3))  # type: ignore[arg-type]
    mean = task.average(each, [{}, {}], [0.5, 0.5])
    alone = [mean_score(task.score(one, targets, {})) for one in each]
    assert mean_score(task.score(mean, targets, {})) < 0.8 * min(alone)


def test_it_is_chosen_for_a_clear_gain_and_left_out_of_the_choice_for_a_small_one() -> None:
    clear = advice_for(make_comparison(make_runs(ERRORS | {"ensemble": 0.40}, higher_is_better=False)))
    assert (clear.choice, clear.verdict) == ("ensemble", "combine several models")
    assert "than the best fine-tuned model (`full`)" in clear.reason
    alone = make_runs(ERRORS, higher_is_better=False)
    noise = np.random.default_rng(0).normal(0, 0.05, len(alone[0].scores))
    gain = np.stack([noise - noise.mean() - 0.004, np.zeros(len(noise))], axis=1)  # clear of zero, and less than 1 %
    made = []
    for run in alone:
        if run.regime == "full":
            scores = run.scores + gain
            facts = {"id": f"ensemble-r1000-s{run.seed}", "regime": "ensemble", "family": "ensemble"}
            made.append(replace(run, **facts, scores=scores, test=float(scores[:, 0].mean())))
    small = make_comparison([*alone, *made])
    assert small.difference("ensemble", "full").interval.low > 0
    assert advice_for(small).choice == "full"
    assert "ensemble" in small.names, "it stays a row of the table"


def test_alone_it_cannot_be_fitted(base: Base, tmp_path: Path) -> None:
    from warmstart import fit

    with pytest.raises(UsageError, match="made of other regimes"):
        rows = tiny_rows(REGRESSION)
        table = {"title": [*rows.texts], "price": rows.targets.tolist()}
        fit(table, target="price", text=["title"], regime="ensemble", base=base.location, out=tmp_path / "x")
