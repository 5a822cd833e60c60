"""The contract of tasks: what every kind of problem keeps. A new task is one row in CASES."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.tiny import CLASSES, LABELS, REGRESSION, tiny_splits
from warmstart.data.encoding.batches import Batch
from warmstart.data.rows.split import Splits
from warmstart.data.schema.schema import Schema
from warmstart.results.bootstrap import mean_score
from warmstart.tasks.language import Language
from warmstart.tasks.task import Task
from warmstart.tasks.tasks import TASKS, task_for, task_from_json
from warmstart.types import Array

CASES = {
    "regression": replace(REGRESSION, scale="linear"),
    "regression-log10": REGRESSION,
    "regression-log10(1+x)": replace(REGRESSION, scale="log10(1+x)"),
    "classification": CLASSES,
    "classification-labels": LABELS,
}
every_task = pytest.mark.parametrize("schema", CASES.values(), ids=CASES)


def made(schema: Schema) -> tuple[Task, Splits]:
    splits = tiny_splits(schema, 300)
    return task_for(schema, splits), splits


def perfect(task: Task, targets: Array) -> Array:
    """Outputs that say the truth, and say it firmly."""
    if task.name == "regression":
        return targets[:, None].astype(np.float32)
    classes = task.constant(targets).shape[0]
    hot = targets if targets.ndim == 2 else np.eye(classes)[targets]
    return (20 * hot - 10).astype(np.float32)


def test_every_task_has_a_case() -> None:
    alone = {name for name, kind in TASKS.items() if kind is not Language}  # language: tests/test_writing.py
    assert {name.partition("-")[0] for name in CASES} == alone


@every_task
def test_a_perfect_output_beats_the_constant(schema: Schema) -> None:
    task, splits = made(schema)
    targets = task.targets(splits.test)
    best = perfect(task, targets)
    constant = np.tile(task.constant(task.targets(splits.train)), (len(targets), 1))
    found, floor = (mean_score(task.score(o, targets, task.calibrate(o, targets))) for o in (best, constant))
    assert found == pytest.approx(1.0 if task.higher_is_better else 0.0, abs=1e-6)
    assert found > floor if task.higher_is_better else found < floor


@every_task
def test_changes_are_between_predictions(schema: Schema) -> None:
    """Nothing between a row and itself; the same backwards, but for its sign."""
    task, splits = made(schema)
    targets = task.targets(splits.test)
    outputs = perfect(task, targets)
    between = task.changes(outputs, task.calibrate(outputs, targets))
    assert between is not None and not task.learns_language and task.generative is None and not task.writes
    here, other = np.arange(len(targets)), np.roll(np.arange(len(targets)), 1)
    assert all(not change.any() for change in between(here, here).values())
    there, back = between(here, other), between(other, here)
    assert there["moved"].any() and there.keys() == back.keys()
    for name, change in there.items():
        assert change == pytest.approx(-back[name] if name.startswith("shift") else back[name], abs=1e-6), name
    if "changed" in there:
        pairs = zip(task.truths(targets), task.truths(targets[other]), strict=True)
        assert there["changed"].tolist() == [float(a != b) for a, b in pairs]


@every_task
def test_the_constant_is_the_best_one(schema: Schema) -> None:
    """No other constant has a lower loss, which is what a network without inputs would learn."""
    task, splits = made(schema)
    targets = task.targets(splits.train)
    constant = torch.from_numpy(np.asarray(task.constant(targets), dtype=np.float32))
    least = task.output_loss(constant.expand(len(targets), -1), torch.from_numpy(targets))
    for direction in torch.randn(20, len(constant), generator=torch.Generator().manual_seed(0)):
        other = (constant + 0.3 * direction).expand(len(targets), -1)
        assert task.output_loss(other, torch.from_numpy(targets)) >= least - 1e-6


@every_task
def test_the_scores_of_the_examples_sum_to_the_metric(schema: Schema) -> None:
    """And that metric is the one that scikit-learn computes."""
    from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error

    task, splits = made(schema)
    targets = task.targets(splits.test)
    outputs = noisy(task, targets)
    calibration = task.calibrate(outputs, targets)
    scores = task.score(outputs, targets, calibration)
    assert scores.shape == (len(targets), 2) and np.isfinite(scores).all()
    truths, guesses = task.truths(targets), task.predictions(outputs, calibration)["prediction"]
    if schema.multi_label:
        classes = sorted({label for labels in [*truths, *guesses] for label in labels})
        hot = [[[name in labels for name in classes] for labels in rows] for rows in (truths, guesses)]
        expected = f1_score(*hot, average="micro")
    elif task.name == "classification":
        expected = accuracy_score(truths, guesses)
    else:
        to_scale = {"linear": lambda y: y, "log10": np.log10, "log10(1+x)": lambda y: np.log10(1 + y)}[schema.scale]
        expected = mean_absolute_error(to_scale(np.array(truths)), to_scale(np.array(guesses)))
    assert mean_score(scores) == pytest.approx(expected, abs=1e-5)


def noisy(task: Task, targets: Array) -> Array:
    outputs = perfect(task, targets)
    spread = 0.3 if task.name == "regression" else 12.0
    noise: Array = np.random.default_rng(1).normal(0, spread, outputs.shape).astype(np.float32)
    return outputs + noise


@every_task
def test_every_metric_is_a_finite_number_and_names_the_ranking_one(schema: Schema) -> None:
    task, splits = made(schema)
    targets = task.targets(splits.test)
    outputs = noisy(task, targets)
    calibration = task.calibrate(outputs, targets)
    found = task.metrics(outputs, targets, calibration)
    assert found and all(isinstance(value, float) and np.isfinite(value) for value in found.values())
    ranking = f"MAE ({task.units})" if task.name == "regression" else task.metric
    assert found[ranking] == pytest.approx(mean_score(task.score(outputs, targets, calibration)), abs=1e-6)


@every_task
def test_predictions_are_columns_for_people(schema: Schema) -> None:
    task, splits = made(schema)
    targets = task.targets(splits.val)
    outputs = noisy(task, targets)
    columns = task.predictions(outputs, task.calibrate(outputs, targets))
    sure = {"low", "high"} if task.name == "regression" else {"probability"}
    assert columns.keys() == {"prediction"} | sure
    assert all(len(column) == len(targets) for column in columns.values())
    json.dumps(columns)
    if task.name == "regression":
        assert all(
            low < guess < high
            for low, guess, high in zip(columns["low"], columns["prediction"], columns["high"], strict=True)
        )
    else:
        probabilities = np.concatenate([np.atleast_1d(p) for p in columns["probability"]])
        assert ((probabilities >= 0) & (probabilities <= 1)).all()


@every_task
def test_targets_come_back_as_people_wrote_them(schema: Schema) -> None:
    """The log scale is undone, class numbers are names again."""
    task, splits = made(schema)
    truths = task.truths(task.targets(splits.test))
    if task.name == "regression":
        assert truths == pytest.approx(splits.test.targets.tolist(), rel=1e-5, abs=1e-5)
        targets = task.targets(splits.train)
        assert targets.dtype == np.float32
        assert (float(targets.mean()), float(targets.std())) == pytest.approx((0, 1), abs=1e-5)
    elif schema.multi_label:
        assert [set(labels) for labels in truths] == [set(labels) for labels in splits.test.targets]
    else:
        assert truths == splits.test.targets.tolist()


@every_task
def test_a_task_comes_back_from_json(schema: Schema) -> None:
    task, _ = made(schema)
    assert task_from_json(json.loads(json.dumps(task.to_json()))) == task


@every_task
def test_the_head_is_drawn_from_the_seed_and_its_loss_can_be_learned(schema: Schema) -> None:
    task, splits = made(schema)
    first, again, other = (task.head(16, seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.get_parameter("1.weight"), other.get_parameter("1.weight"))
    features = torch.randn(len(splits.val), 16, generator=torch.Generator().manual_seed(0))
    targets = torch.from_numpy(task.targets(splits.val))

    class Fixed(nn.Module):
        def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
            found: torch.Tensor = first.eval()(inputs["features"])
            return found

    loss = task.loss(Fixed(), Batch({"features": features}, targets))
    torch.testing.assert_close(loss, task.output_loss(first.eval()(features), targets))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.ndim == 0 and all(p.grad is not None and p.grad.abs().sum() > 0 for p in first.parameters())


# --- prediction intervals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("validation", [20, 29, 200])
def test_the_interval_covers_nine_in_ten_new_rows(validation: int) -> None:
    """Over many draws the coverage of the k-th of n errors is k / (n + 1); k is the least that reaches 90 %."""
    task = task_from_json({"name": "regression", "target": "y", "scale": "linear", "mean": 5.0, "deviation": 2.0})
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(2000):
        errors = generator.standard_t(4, size=validation + 50).astype(np.float32)
        targets = np.zeros(len(errors), dtype=np.float32)
        calibration = task.calibrate(errors[:validation, None], targets[:validation])
        named = task.metrics(errors[validation:, None], targets[validation:], calibration)
        covered.append(named["coverage of the 90 % interval"])
    rank = np.ceil(0.9 * (validation + 1))
    assert np.mean(covered) == pytest.approx(rank / (validation + 1), abs=0.01)


def test_no_interval_under_twenty_validation_rows() -> None:
    task, splits = made(REGRESSION)
    few = task.targets(splits.val)[:19]
    assert task.calibrate(few[:, None] + 0.1, few) == {}
    assert "low" not in task.predictions(few[:, None], {})
    assert not any("coverage" in name for name in task.metrics(few[:, None], few, {}))


def test_a_wild_output_stays_a_finite_number() -> None:
    task, _ = made(REGRESSION)
    found = task.predictions(np.array([[1e6], [-1e6]], dtype=np.float32), {"quantile": 1.0})
    assert np.isfinite([found["prediction"], found["low"], found["high"]]).all()


def test_the_threshold_of_labels_is_the_one_with_the_best_f1() -> None:
    task, splits = made(LABELS)
    targets = task.targets(splits.val)
    shy = (targets * 2 - 2.5).astype(np.float32)  # right, but at most .38 sure
    assert mean_score(task.score(shy, targets, {})) == 0
    assert mean_score(task.score(shy, targets, task.calibrate(shy, targets))) == 1


def test_scores_are_those_of_the_targets_as_they_are_in_the_table() -> None:
    """Case 24: beside one 1e12 all others were the same number, and every error was 0."""
    schema = replace(REGRESSION, scale="linear")
    numbers = np.random.default_rng(0).normal(0, 50, 300).round(2)
    numbers[7] = 1e12
    splits = tiny_splits(schema, 300)
    whole = splits.train.targets.size
    train = replace(splits.train, targets=numbers[:whole])
    test = replace(splits.test, targets=numbers[whole : whole + len(splits.test)])
    task = task_for(schema, replace(splits, train=train, test=test))
    exact = task.exact_targets(test)
    assert task.truths(exact) == pytest.approx(test.targets.tolist(), rel=1e-12)
    constant = np.tile(task.constant(task.exact_targets(train)), (len(test), 1)).astype(np.float32)
    expected = np.abs(test.targets - np.median(train.targets)).mean()
    assert mean_score(task.score(constant, exact, {})) == pytest.approx(expected, rel=1e-4) and 20 < expected < 60
