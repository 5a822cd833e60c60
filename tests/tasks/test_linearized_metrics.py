"""Linearized: do rows' values make up the metric, and is its uncertainty that of computing it anew for drawn rows?"""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, r2_score, root_mean_squared_error

from warmstart.results.bootstrap import mean_score, paired, resample
from warmstart.tasks.classification import Classification
from warmstart.tasks.linearized_metrics import explained, root_mean
from warmstart.tasks.regression import Regression
from warmstart.tasks.task import Task
from warmstart.types import Array

CLASSES = ("a", "b", "c")


def classes(n: int, seed: int) -> tuple[Array, Array]:
    """Logits that are right in two thirds of the rows, and the classes, one of them rare."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, n, p=(0.6, 0.3, 0.1))
    logits = rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[truth]
    return logits.astype(np.float32), truth


def macro_f1(logits: Array, truth: Array) -> float:
    return float(f1_score(truth, logits.argmax(1), average="macro", zero_division=0))


def balanced(logits: Array, truth: Array) -> float:
    return float(balanced_accuracy_score(truth, logits.argmax(1)))


def nats(logits: Array, truth: Array) -> float:
    shares = np.exp(logits - logits.max(1, keepdims=True)).astype(np.float64)
    return float(log_loss(truth, shares / shares.sum(1, keepdims=True), labels=[0, 1, 2]))


@pytest.mark.parametrize(
    ("name", "metric"), [("macro F1", macro_f1), ("balanced accuracy", balanced), ("log loss", nats)]
)
def test_classes_are_ranked_by_the_metric_itself(name: str, metric: Callable[[Array, Array], float]) -> None:
    task = Classification("kind", CLASSES, ranked_by=name)
    logits, truth = classes(600, 0)
    scores = task.score(logits, truth, {})
    assert mean_score(scores) == pytest.approx(metric(logits, truth), abs=1e-6)
    assert task.metric == name and task.higher_is_better == (name != "log loss")
    assert task.metrics(logits, truth, {})[name] == pytest.approx(mean_score(scores), abs=1e-6)
    rng = np.random.default_rng(1)
    draws = [metric(logits[i], truth[i]) for i in (rng.integers(600, size=600) for _ in range(400))]
    low, high = resample([scores]).interval
    assert high - low == pytest.approx(np.ptp(np.quantile(draws, [0.025, 0.975])), rel=0.15)


@pytest.mark.parametrize("name", ["root mean squared error", "R2"])
def test_numbers_are_ranked_by_the_metric_itself(name: str) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=500)
    guess = (truth + rng.normal(size=500) * 0.5).astype(np.float32)[:, None]
    task = Regression("price", "linear", 10.0, 4.0, ranked_by=name)

    def metric(rows: Array) -> float:
        measured = root_mean_squared_error if name != "R2" else r2_score
        return float(measured(4.0 * truth[rows], 4.0 * guess[rows, 0].astype(np.float64)))

    scores = task.score(guess, truth, {})
    assert mean_score(scores) == pytest.approx(metric(np.arange(500)), rel=1e-9)
    draws = [metric(rng.integers(500, size=500)) for _ in range(400)]
    low, high = resample([scores]).interval
    assert high - low == pytest.approx(np.ptp(np.quantile(draws, [0.025, 0.975])), rel=0.15)
    assert task.higher_is_better == (name == "R2")
    assert task.constant(np.array([0.0, 0.0, 3.0])) == 1.0, "the best constant is the mean"


def test_label_sets_are_ranked_by_macro_f1_or_exact_matches() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random((80, 3)) < (0.5, 0.2, 0.0)).astype(np.float32)
    logits = (4 * truth - 2 + rng.normal(size=(80, 3)) * 2).astype(np.float32)
    for name in ("macro F1", "exact match"):
        task = Classification("tags", CLASSES, multi_label=True, ranked_by=name)
        assert mean_score(task.score(logits, truth, {})) == pytest.approx(task.metrics(logits, truth, {})[name])
        assert 0 < task.calibrate(logits, truth)["threshold"] < 1


def test_differences_stay_paired_by_row() -> None:
    task = Classification("kind", CLASSES, ranked_by="macro F1")
    logits, truth = classes(300, 0)
    better = logits + np.eye(3, dtype=np.float32)[truth]
    a, b = (task.score(each, truth, {}) for each in (better, logits))
    difference, interval, _ = paired([a], [b])
    assert difference == pytest.approx(macro_f1(better, truth) - macro_f1(logits, truth))
    apart = [np.ptp(resample([each]).interval) for each in (a, b)]
    assert np.ptp(interval) < 0.9 * np.hypot(*apart), "what both get right does not count"


def test_rows_that_are_all_alike_have_a_metric() -> None:
    assert root_mean(np.zeros(3))[:, 0].tolist() == [0, 0, 0]
    assert explained(np.ones(3), np.ones(3))[:, 0].tolist() == [0, 0, 0]
    only = Classification("kind", ("a",), ranked_by="macro F1")
    assert mean_score(only.score(np.zeros((4, 1), np.float32), np.zeros(4, np.int64), {})) == 1.0
    some: Task = Classification("kind", CLASSES, ranked_by="balanced accuracy")
    assert mean_score(some.score(np.eye(3, dtype=np.float32)[[0, 0]], np.array([0, 0]), {})) == 1.0, "others are absent"
