"""Linearized metrics: how do metrics that are no mean of rows become one value for each row?

Each row gets the metric plus n times what the metric changes by, per unit of the row's weight (its empirical influence,
Efron 1982): the mean of these values is the metric, and drawing rows from them gives, to first order, what drawing the
rows and computing the metric anew gives. So differences stay paired by row, and groups and seeds are drawn as for every
other metric. It is exact for means; for others it gets better with the number of rows (of each class, for macro means).
"""

import numpy as np

from warmstart.types import Array


def macro_ratio(numerators: Array, denominators: Array, absent: float | None = None) -> Array:
    """Of the mean over classes of sum / sum: numerators and denominators [n, classes]; gives [n, 2].

    A class whose denominators sum to 0 counts as `absent`; None: it is left out of the mean.
    """
    below = denominators.sum(axis=0).astype(np.float64)
    there = below > 0
    ratios = np.divide(numerators.sum(axis=0), below, out=np.full(len(below), absent or 0.0), where=there)
    counted = there if absent is None else np.ones_like(there)
    many = max(int(counted.sum()), 1)
    moves = (numerators - ratios * denominators)[:, there] / below[there]
    return _per_row(float(ratios[counted].sum() / many), len(numerators) * moves.sum(axis=1) / many)


def root_mean(squares: Array) -> Array:
    """Of the root of the mean of these squares [n]; gives [n, 2]."""
    mean = float(squares.mean()) if len(squares) else 0.0
    root = mean**0.5
    return _per_row(root, (squares - mean) / (2 * root) if root > 0 else np.zeros(len(squares)))


def explained(squares: Array, truth: Array) -> Array:
    """Of R2, from the squared errors [n] and what is true [n]; gives [n, 2]. 0 where all that is true is the same."""
    spreads = (truth - truth.mean()) ** 2 if len(truth) else truth
    error, spread = (float(each.mean()) if len(each) else 0.0 for each in (squares, spreads))
    if spread <= 0:
        return _per_row(0.0, np.zeros(len(truth)))
    return _per_row(1 - error / spread, error * spreads / spread**2 - squares / spread)


def _per_row(metric: float, moves: Array) -> Array:
    """[n, 2]: values whose mean is the metric, and weights of 1."""
    return np.stack([metric + moves - (moves.mean() if len(moves) else 0.0), np.ones(len(moves))], axis=1)
