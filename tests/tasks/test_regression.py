"""Regression: are scores those of the targets as they were written, to the last digit?"""

import numpy as np

from warmstart.data.rows.split import Rows
from warmstart.tasks.regression import Regression


def test_a_large_target_is_scored_to_the_last_digit() -> None:
    """In float32 a million millions and one are a million millions: an error of 1 would be none."""
    task = Regression("y", "linear", mean=0.0, deviation=1.0)
    numbers = np.array([1e12, 1e12 + 1, 3.0])
    rows = Rows(("a", "b", "c"), numbers, np.arange(1, 4), ("a", "b", "c"))
    targets = task.exact_targets(rows)
    predicted = np.array([[1e12], [1e12], [3.0]])
    assert task.score(predicted, targets, {})[:, 0].tolist() == [0.0, 1.0, 0.0]
    assert task.truths(targets) == numbers.tolist()
    assert task.targets(rows).dtype == np.float32, "which is what is trained on"
