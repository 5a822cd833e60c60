"""Solvers: how are the weights of a linear model found, and what scale turns its margins into logits?

Ridge regression, plain or reweighted (numbers), or one linear support-vector machine for each class (classes and
labels), of scikit-learn. Margins become logits by one scale, learned where the rows were held out. On 57 classes and
4,000 short texts this reached .650 in 1.2 s a fit, one-vs-rest logistic regression on the same features .648 in 6.0 s.
Numbers are judged by their absolute error. Ridge minimizes squares, and on a heavy-tailed target it was worse than the
median (.892 against .831); reweighted .841. On other data reweighting hurt (.583 to .629), so both are tried.
"""

import functools
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from warmstart.data.rows.split import Rows
from warmstart.tasks.task import Task
from warmstart.types import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from threadpoolctl import ThreadpoolController

PASSES = 5_000  # most passes of a solver over the rows; a fit that needs more gets a caveat
REWEIGHTED, SMALL_ERROR = 8, 0.1  # times, and the error, in deviations, below which a row counts no more
NEVER = -10.0  # margin of a class that no training row has; margins that were learned stay within about -3..3
# Accuracy or F1 for which a next strength is tried, and the largest C. Passes grow with it: on 57 classes, 4,000 rows,
# C of 1, 9 and 27 took 34, 257 and 761, and test rows of other groups scored .663, .654 and .653.
LEAST_GAIN, LARGEST_C = 0.002, 10.0
SHARPEST, BLUNTEST = 20.0, 0.5  # bounds for the scale from margin to logit

# Arithmetic on one stored number: a solver's pass multiplies and adds it twice for each output (row times weights, then
# weights plus row); predicting does so once.
LEARNING, PREDICTING = 4, 2


@dataclass(frozen=True)
class Solution:
    weight: Array  # [terms, k]
    bias: Array  # [k]
    passes: int
    flops: float


OUTLYING = 500.0  # deviations: a target this far away decides everything where errors are squared
CLIPPED = 20.0  # deviations: then no target is farther away for the solver; scores count it as it is

Solver = Callable[["csr_matrix", Array, float, int], Solution]


@dataclass(frozen=True)
class LinearProblem:
    """What is to be learned, as columns, and by which solver."""

    targets: Array  # as the task gives them
    wanted: Array  # [n, k]: the value, or 0/1 for each class
    parameter: str  # scikit-learn's name for the strength
    solve: Solver
    scale: Callable[[Array, Array], float]  # held-out margins and their targets -> logits per margin
    least_gain: float = 0.0  # of a score, for which the next strength is tried
    largest: float = 1000.0  # strength
    reweighted: Solver | None = None  # the same for the absolute error, where that is what counts


def linear_problem(task: Task, rows: Rows) -> LinearProblem:
    """Told by the targets: numbers, class numbers, or 0/1 for each label."""
    targets = task.targets(rows)
    if targets.ndim == 2:
        label_weights = task.row_weights(np.ones((1, targets.shape[1])))
        labels: Solver = (
            _separate if label_weights is None else functools.partial(_separate, label_weights=label_weights[0])
        )
        return LinearProblem(targets, targets, "C", labels, _label_scale, LEAST_GAIN, LARGEST_C)
    if targets.dtype.kind == "f":
        wanted = np.clip(targets, -CLIPPED, CLIPPED) if np.abs(targets).max(initial=0) > OUTLYING else targets
        return LinearProblem(
            targets, wanted[:, None], "alpha", _ridge, lambda margins, targets: 1.0, reweighted=_reweighted
        )
    classes = len(task.constant(targets))
    solve: Solver = _separate
    if task.row_weights(targets[:1]) is not None:
        solve = functools.partial(_separate, class_weights=task.row_weights(np.arange(classes)))
    return LinearProblem(
        targets, np.eye(classes, dtype=np.float32)[targets], "C", solve, _class_scale, LEAST_GAIN, LARGEST_C
    )


def one_thread() -> AbstractContextManager[object]:
    """Inside, BLAS works alone. The solvers give it short vectors, which no second thread makes faster; beside other
    work, threads that wait for each other took 25 times the processor time (4,000 rows: 9 s, then over 200)."""
    limit: AbstractContextManager[object] = _blas().limit(limits=1, user_api="blas")
    return limit


@functools.cache
def _blas() -> "ThreadpoolController":
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _reweighted(counts: "csr_matrix", wanted: Array, alpha: float, seed: int) -> Solution:
    """Iteratively reweighted least squares: a row counts by one over its last error, so that errors are summed as they
    are and not squared. The targets must be standardized."""
    found, spent = _ridge(counts, wanted, alpha, seed), 0.0
    for _ in range(REWEIGHTED):
        spent += found.flops
        errors = np.abs(counts @ found.weight + found.bias - wanted)[:, 0]
        weights = 1 / np.maximum(errors, SMALL_ERROR)
        found = _ridge(counts, wanted, alpha, seed, weights / weights.mean())
    return replace(found, flops=found.flops + spent)


def _ridge(counts: "csr_matrix", wanted: Array, alpha: float, seed: int, row_weights: Array | None = None) -> Solution:
    from sklearn.linear_model import Ridge

    with one_thread():
        model = Ridge(alpha=alpha, solver="lsqr", tol=1e-5, max_iter=PASSES).fit(counts, wanted, row_weights)
    passes = int(np.max(model.n_iter_))
    weight = np.reshape(model.coef_, (wanted.shape[1], -1)).T
    return Solution(weight, np.atleast_1d(model.intercept_), passes, float(passes * LEARNING * counts.nnz))


def _separate(
    counts: "csr_matrix",
    wanted: Array,
    strength: float,
    seed: int,
    class_weights: Array | None = None,
    label_weights: Array | None = None,
) -> Solution:
    """Each class against all others. A class that no row has, or every row, has a margin and no weights."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    weight = np.zeros((counts.shape[1], wanted.shape[1]))
    bias = np.where(wanted.any(0), -NEVER, NEVER)
    passes = []
    weights = None if class_weights is None else wanted @ class_weights
    counts = counts.astype(np.float64)  # what the solver works in: converted once, not once for each class
    for j in np.flatnonzero(wanted.any(0) & ~wanted.all(0)):
        if label_weights is not None:
            weights = np.where(wanted[:, j] > 0, label_weights[j], 1.0)
        model = LinearSVC(C=strength, tol=1e-2, max_iter=PASSES, random_state=seed)
        with warnings.catch_warnings(), one_thread():
            warnings.simplefilter("ignore", ConvergenceWarning)  # reported by the number of passes, as a caveat
            model.fit(counts, wanted[:, j] > 0, sample_weight=weights)
        weight[:, j], bias[j] = model.coef_[0], model.intercept_[0]
        passes.append(int(model.n_iter_))
    return Solution(weight, bias, max(passes, default=0), float(sum(passes) * LEARNING * counts.nnz))


def _class_scale(margins: Array, targets: Array) -> float:
    """The scale whose softmax gives held-out rows the best log loss; rows of classes unseen in training say nothing."""
    from scipy.special import log_softmax

    own = np.arange(len(targets))
    seen = margins[own, targets] != NEVER
    kept, truth = margins[seen], targets[seen]
    return _best_scale(lambda scale: -float(log_softmax(scale * kept, axis=1)[own[: len(kept)], truth].sum()))


def _label_scale(margins: Array, targets: Array) -> float:
    """The scale whose sigmoid gives held-out rows the best log loss; labels unseen in training say nothing."""
    seen = np.abs(margins) != -NEVER
    signed = np.where(targets > 0, margins, -margins)[seen]
    return _best_scale(lambda scale: float(np.logaddexp(0, -scale * signed).sum()))


def _best_scale(loss: Callable[[float], float]) -> float:
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(loss, bounds=(BLUNTEST, SHARPEST), method="bounded", options={"xatol": 0.05})
    return float(found.x)
