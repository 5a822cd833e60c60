"""Boosting: how are boosted trees fitted to a table: on what, in how many, and added to what?

Trees read what the linear model says of rows that it did not see (out of fold), so that it is as wrong there as on new
rows. They are tried in two ways and as the mean of both: added to the linear model, and alone. On a table with a
synopsis, a category and numbers the error of log10(size) was, at 1,000 and 4,000 rows (mean of four and three draws),
.1789 and .1560 added, .1836 and .1549 alone, .1790 and .1545 as the mean of both; the linear model's .1845 and .1656.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from warmstart.baselines.baseline import FitData, Fitted
from warmstart.baselines.boosted import MOST_SAID, Boosted, TreeTable, raise_by
from warmstart.baselines.linear import Chosen, Linear, choose_linear, fit_chosen, fit_nothing
from warmstart.baselines.trees import Ensemble, Target, fit_flops, fit_trees
from warmstart.results.metrics import SQUARED_ERRORS
from warmstart.results.record import Trial
from warmstart.types import Array

OUT_OF_FOLD_PARTS, FEWER_FOLDS, MANY_ROWS = 5, 3, 10_000
LEAVES = (15, 7, 63)  # tried in this order on one fold; another must do better
MOST_LABELS = 50  # of label sets, the most common: the others are as the linear model says
MIN_HELD_OUT_ROWS = 20  # below, nothing can be held out to say when to stop


def fit_boosted(data: FitData) -> Fitted:
    """A linear model and trees on these rows alone: features, strength, leaves and way by held-out rows.

    The linear model reads images with a base, where one is given.
    """
    chosen = choose_linear(data, data.embedder)
    if chosen is None:
        return fit_nothing(data)
    fitted = fit_chosen("linear", data, chosen)
    linear = fitted.baseline
    assert isinstance(linear, Linear)
    folds = fold_of_rows(data.rows.keys, data.seed)
    table = TreeTable.fit(data.reading, data.rows.columns)
    caveat = ""
    if len(folds) < MIN_HELD_OUT_ROWS or not folds.any():
        caveat = "no trees were fitted: too few rows, or groups, to hold some out"
    elif not data.reading.typed and linear.weight.shape[1] > MOST_SAID:
        caveat = f"no trees were fitted: beside the text there is no column, and more than {MOST_SAID} classes"
    if caveat:
        boosted = Boosted(linear, table, 1, (), ())
        return Fitted(boosted, fitted.trials, fitted.flops, fitted.tuning_flops, (*fitted.caveats, caveat))
    said, spent = said_out_of_fold(chosen, folds, data.seed)
    growing = _Growing(data, table.encode(data.rows.columns, said), table.categorical, folds, said, chosen)
    boosted = growing.best(linear, table)
    spent += fitted.flops + growing.flops
    return Fitted(boosted, (*fitted.trials, *growing.trials), spent, fitted.tuning_flops, fitted.caveats)


def fold_of_rows(keys: Sequence[str], seed: int) -> Array:
    """int64 [n]: rows with the same key (a group) are never parted."""
    hashed = [hashlib.sha256(f"boosted {seed}:{key}".encode()).digest() for key in keys]
    place = {digest: i for i, digest in enumerate(sorted(set(hashed)))}
    count = min(FEWER_FOLDS if len(keys) >= MANY_ROWS else OUT_OF_FOLD_PARTS, len(place))
    return np.array([place[digest] % count for digest in hashed], dtype=np.int64)


def said_out_of_fold(chosen: Chosen, folds: Array, seed: int) -> tuple[Array, float]:
    """The linear model's outputs for each row from fits that did not see it, float64 [n, outputs], and their FLOPs."""
    said, spent = np.zeros(chosen.problem.wanted.shape), 0.0
    for fold in range(folds.max() + 1):
        held = folds == fold
        found = chosen.solve(np.flatnonzero(~held), seed)
        said[held] = (chosen.matrix[held] @ found.weight + found.bias) * chosen.choice.scale
        spent += found.flops
    return said, spent


@dataclass
class _Growing:
    """Fits trees, and keeps what was tried and spent."""

    data: FitData
    table: Array
    categorical: list[int]
    folds: Array
    said: Array  # by the linear model, out of fold
    chosen: Chosen

    def __post_init__(self) -> None:
        self.trials: list[Trial] = []
        self.flops = 0.0

    def best(self, linear: Linear, table: TreeTable) -> Boosted:
        """The way that does best on held-out rows."""
        starts = {"added": self.said}
        if self.said.shape[1] <= MOST_SAID and not self._labels:
            starts["alone"] = np.zeros_like(self.said)
        leaves = self._leaves(self.said)
        count = int(self.folds.max()) + 1
        grown = {way: self._every_fold(start, leaves) for way, start in starts.items()}
        held = {way: self._held_out(grown[way], start) for way, start in starts.items()}
        if len(held) > 1:
            held["mean"] = np.mean(list(held.values()), axis=0)
        way = max(held, key=lambda each: self._note({"trees": each, "leaves": leaves}, held[each]))
        ways = ("added", "alone") if way == "mean" else (way,)
        kept = {each: tuple(tree for fold in grown[each] for tree in fold) for each in ways}
        return Boosted(linear, table, count, kept.get("added", ()), kept.get("alone", ()))

    @property
    def _labels(self) -> bool:
        return self.chosen.problem.targets.ndim == 2

    def _leaves(self, start: Array) -> int:
        """How large trees do best on the first fold."""
        held = self.folds == 0
        best, score = LEAVES[0], -np.inf
        for leaves in LEAVES:
            if leaves > max(LEAVES[0], int((~held).sum()) // 20) or (start.shape[1] > MOST_SAID and leaves != best):
                continue
            outputs = raise_by(self._grow(start, held, leaves), 1, self.table[held], start[held])
            found = self._note({"trees": "added", "leaves": leaves, "folds": 1}, outputs, held)
            if found > score:
                best, score = leaves, found
        return best

    def _every_fold(self, start: Array, leaves: int) -> list[tuple[Ensemble, ...]]:
        return [self._grow(start, self.folds == fold, leaves) for fold in range(int(self.folds.max()) + 1)]

    def _held_out(self, grown: Sequence[tuple[Ensemble, ...]], start: Array) -> Array:
        outputs = np.zeros_like(start)
        for fold, ensembles in enumerate(grown):
            held = self.folds == fold
            outputs[held] = raise_by(ensembles, 1, self.table[held], start[held])
        return outputs

    def _grow(self, start: Array, held: Array, leaves: int) -> tuple[Ensemble, ...]:
        """Trees for every output, or for the most common labels, from the rows that are not held out."""
        found = []
        for first, target in self._targets(start, held):
            found.append(fit_trees(self.table, self.categorical, target, held, leaves, self.data.seed, first))
            rows, columns = int((~held).sum()), self.table.shape[1]
            self.flops += fit_flops(rows, columns, found[-1].trees, leaves)
        return tuple(found)

    def _targets(self, start: Array, held: Array) -> list[tuple[int, Target]]:
        """What is learned, each with the first output that it is for."""
        targets = self.chosen.problem.targets
        if self._labels:
            counts = targets[~held].sum(0)
            commonest = np.argsort(-counts, kind="stable")[:MOST_LABELS]
            both = [int(j) for j in sorted(commonest) if 0 < counts[j] < (~held).sum()]
            weights = self.data.task.row_weights(targets)
            each = {j: None if weights is None else weights[:, j] for j in both}
            return [(j, Target("binary", targets[:, j], start[:, j : j + 1], each[j])) for j in both]
        squared = self.data.task.metric in SQUARED_ERRORS
        kind = ("regression" if squared else "regression_l1") if targets.dtype.kind == "f" else "multiclass"
        return [(0, Target(kind, targets, start, self.data.task.row_weights(targets)))]

    def _note(self, settings: dict[str, object], outputs: Array, rows: Array | None = None) -> float:
        """The score of these outputs, higher is better; recorded as a trial."""
        task = self.data.task
        targets = self.chosen.problem.targets if rows is None else self.chosen.problem.targets[rows]
        scores = task.score(outputs, targets, task.calibrate(outputs, targets))
        score = float(scores[:, 0].sum() / max(scores[:, 1].sum(), 1.0))
        self.trials.append(Trial(settings, 0, score))
        return score if task.higher_is_better else -score
