"""Calibration: errors that are known, found again; a temperature; the share of rows inside an interval."""

from dataclasses import replace

import numpy as np
import pytest

from tests.run_factory import make_comparison, make_run, make_scores
from warmstart.results.calibration import calibration
from warmstart.results.record import Run
from warmstart.tasks.classification import Classification
from warmstart.types import Array

CLASSES = ("a", "b", "c")


def _run(probability: Array, right: Array, seed: int = 0, raw: Array | None = None) -> Run:
    columns = {"probability": probability.tolist()} | ({} if raw is None else {"raw_probability": raw.tolist()})
    fitted = {} if raw is None else {"temperature": 2.0}
    return replace(make_run("full", make_scores(right), seed), predictions=columns, calibration=fitted)


def _answers(rows: int, surplus: float, random: np.random.Generator) -> tuple[Array, Array]:
    """Probabilities, and answers that are right less often by `surplus`."""
    probability = random.uniform(0.4, 0.9, rows)
    return probability, (random.random(rows) < probability - surplus).astype(np.float64)


@pytest.mark.parametrize("surplus", [0.2, 0.1])
def test_finds_a_known_error(surplus: float) -> None:
    random = np.random.default_rng(0)
    found = calibration([_run(*_answers(2000, surplus, random), seed) for seed in range(3)])
    assert found is not None and found.fitted is not None
    assert found.fitted.error == pytest.approx(surplus, abs=0.03)
    assert found.fitted.interval.low < surplus < found.fitted.interval.high < surplus + 0.05
    assert found.fitted.surplus_interval.low < surplus < found.fitted.surplus_interval.high
    assert sum(each.rows for each in found.fitted.bins) == pytest.approx(2000, abs=10)
    assert all(each.right < each.probability for each in found.fitted.bins)


def test_chance_is_not_taken_for_an_error() -> None:
    random = np.random.default_rng(1)
    several = [calibration([_run(*_answers(200, 0.0, random))]) for _ in range(20)]
    lows = [found.fitted.interval.low for found in several if found and found.fitted]
    assert len(lows) == 20 and sum(low == 0 for low in lows) >= 18


def test_what_chance_adds_is_taken_off_the_error_and_its_interval() -> None:
    random = np.random.default_rng(7)
    found = [calibration([_run(*_answers(150, 0.12, random))]) for _ in range(20)]
    fitted = [each.fitted for each in found if each and each.fitted]
    assert np.mean([each.error for each in fitted]) == pytest.approx(0.12, abs=0.02)
    assert np.mean([sum(each.interval) / 2 for each in fitted]) == pytest.approx(0.12, abs=0.02)


def test_before_and_after_a_temperature() -> None:
    random = np.random.default_rng(2)
    probability, right = _answers(1000, 0.0, random)
    found = calibration([_run(probability, right, raw=np.minimum(probability + 0.15, 1.0))])
    assert found is not None and found.fitted and found.raw
    assert found.raw.interval.low > found.fitted.error
    written = found.to_json()
    assert written["temperature"] == 2.0 and written["uncalibrated"]["error"] == found.raw.error
    assert len(written["bins"]) == 10


def test_share_of_numbers_inside_their_interval() -> None:
    random = np.random.default_rng(3)
    true = random.normal(0, 1, 400)
    runs = [
        replace(
            make_run("full", make_scores(np.abs(true)), seed, higher_is_better=False),
            predictions={"target": true.tolist(), "low": [-1.28] * 400, "high": [1.28] * 400},
        )
        for seed in range(2)
    ]
    found = calibration(runs)
    assert found is not None and found.coverage is not None and found.coverage_interval is not None
    assert found.coverage_interval.low < 0.8 < found.coverage_interval.high
    assert make_comparison(runs).to_json()["regimes"][0]["calibration"]["nominal"] == 0.9


def test_says_nothing_where_there_is_nothing_to_say() -> None:
    random = np.random.default_rng(4)
    assert calibration([]) is None
    assert calibration([_run(*_answers(49, 0.0, random))]) is None  # too few
    assert calibration([make_run("full", make_scores(np.ones(100)))]) is None  # no probabilities: texts
    assert calibration([_labeled([[0.9]] * 40 + [[]] * 60, [[1]] * 40 + [[]] * 60)]) is None  # too few labels


def _labeled(probability: list[list[float]], right: list[list[int]]) -> Run:
    """Of each row the labels 0, 1 ... were predicted; those that are right are among its own."""
    columns = {
        "probability": probability,
        "prediction": [[str(i) for i in range(len(row))] for row in probability],
        "target": [[str(i) for i, each in enumerate(row) if each] for row in right],
    }
    return replace(make_run("full", make_scores(np.ones(len(right)))), predictions=columns)


def test_finds_a_known_error_of_sets_of_labels() -> None:
    random = np.random.default_rng(5)
    counts = random.integers(0, 5, 1500)
    probability = [random.uniform(0.4, 0.9, count).tolist() for count in counts]
    right = [[int(random.random() < p - 0.15) for p in row] for row in probability]
    found = calibration([_labeled(probability, right)])
    assert found is not None and found.fitted is not None and found.raw is None and found.temperature is None
    assert found.fitted.error == pytest.approx(0.15, abs=0.03)
    assert found.fitted.interval.low < 0.15 < found.fitted.interval.high < 0.22
    assert sum(each.rows for each in found.fitted.bins) == counts.sum()


def test_labels_of_a_row_are_drawn_together() -> None:
    """Ten labels of a row that stand or fall together tell no more than one of them does."""
    random = np.random.default_rng(6)
    probability = random.uniform(0.4, 0.9, 300)
    right = (random.random(300) < probability - 0.2).astype(int)
    once, tenfold = (
        calibration([_labeled([[p] * n for p in probability.tolist()], [[r] * n for r in right.tolist()])])
        for n in (1, 10)
    )
    assert once and tenfold and once.fitted and tenfold.fitted
    assert tenfold.fitted.surplus_interval == pytest.approx(once.fitted.surplus_interval, abs=1e-9)


@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
def test_temperature_undoes_what_the_logits_were_multiplied_by(factor: float) -> None:
    random = np.random.default_rng(5)
    logits = random.normal(0, 2, (2000, 3))
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = np.array([random.choice(3, p=row) for row in chances])
    task = Classification("y", CLASSES)
    fitted = task.calibrate(factor * logits, targets)
    assert fitted["temperature"] == pytest.approx(factor, rel=0.1)
    before, after = (task.metrics(factor * logits, targets, each)["log loss"] for each in ({}, fitted))
    assert after <= before + 1e-9
    undone = task.predictions(factor * logits, {"temperature": factor})["probability"]
    assert undone == pytest.approx(task.predictions(logits, {})["probability"])
    predicted = task.predictions(factor * logits, fitted)
    assert predicted["prediction"] == task.predictions(factor * logits, {})["prediction"]


def test_rows_of_a_class_that_was_never_trained_on_do_not_decide() -> None:
    """Their log loss is huge, whatever the temperature does for all others."""
    random = np.random.default_rng(6)
    logits = np.concatenate([random.normal(0, 2, (1000, 2)), np.full((1000, 1), -14.0)], axis=1)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = np.array([random.choice(3, p=row) for row in chances])
    targets[:20] = 2
    assert Classification("y", CLASSES).calibrate(logits, targets)["temperature"] == pytest.approx(1, abs=0.25)


def test_few_validation_rows_say_little_about_a_temperature() -> None:
    task = Classification("y", CLASSES)
    sure = np.eye(3)[np.arange(19) % 3] * 3.0
    assert task.calibrate(sure, np.arange(19) % 3) == {}
    sure = np.eye(3)[np.arange(21) % 3] * 3.0  # all right: without restraint it would be as cold as it may be
    assert 0.3 < task.calibrate(sure, np.arange(21) % 3)["temperature"] < 1
    several = Classification("y", CLASSES, multi_label=True)
    assert set(several.calibrate(sure, (sure > 0).astype(np.float32))) == {"threshold"}
