"""LightGBM trees: how are boosted trees fitted, bounded and kept as text? LightGBM, the same every time.

Of an output there is a sequence of trees, whose leaves add to what a linear model says, or to nothing. Each ensemble
is fitted on all rows but one fold, which says when to stop.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from warmstart.types import Array

if TYPE_CHECKING:
    import lightgbm

ROUNDS = 2_000  # at most, of a number or a pair of classes
MOST_TREES = 3_000  # of one fit: rounds times classes
TREE_PATIENCE = 50  # rounds without a gain on the held-out rows
RATE, FAST_RATE = 0.05, 0.15  # the second where the bound on trees leaves fewer than `SLOW_ROUNDS`
SLOW_ROUNDS = 300
# Of these and more rows, trees learn faster, and stop where 50 of them gain less than this share of the targets'
# standard deviation. On 37,500 diamonds trees of 127 leaves at .05 and at .1 had errors of .0578 and .0576 in 6.5 and
# 4.2 s; half of the trees were within .5 % of that, three quarters within .25 %.
MANY_ROWS, MANY_ROWS_RATE, LEAST_GAIN_OF_TREES = 10_000, 0.1, 2e-5
LEAST_IN_LEAF = 20
# Of OpenMP, whose threads wait for each other at full speed: beside other work two took five times as long as one, for
# a table of 1,000 rows. The same number everywhere, so that the same trees grow everywhere.
THREADS = 1
FIND_SPLIT = 8  # operations to put one value of one row into a histogram and to look through it


@dataclass(frozen=True)
class TreeSettings:
    """How trees are grown."""

    leaves: int
    rate: float | None = None  # None: `RATE`, `MANY_ROWS_RATE` or `FAST_RATE`
    least_in_leaf: int = LEAST_IN_LEAF  # rows; fewer where there are few
    l2: float = 0.0
    columns: float = 1.0  # share of the columns that a tree reads


@dataclass(frozen=True)
class Ensemble:
    """Boosted trees as LightGBM writes them: text, which holds numbers and no code."""

    model: str
    first: int  # the first output that it adds to
    trees: int
    leaves: int

    def predict(self, table: Array) -> Array:
        """What the leaves add up to, float64 [n, outputs]; `table` as it was for training."""
        if not self.trees:
            return np.zeros((len(table), 1))
        found = _booster(self.model).predict(table, raw_score=True, num_threads=THREADS)
        return np.asarray(found, dtype=np.float64).reshape(len(table), -1)


@dataclass(frozen=True)
class Target:
    """What trees learn: of one kind of task, on top of `start`."""

    objective: str  # LightGBM's name
    values: Array  # [n]: numbers, class numbers, or 0 and 1
    start: Array  # float64 [n, outputs]: what is added to; zeros where there is nothing
    weights: Array | None = None  # float64 [n]: what each row counts; None: all count alike

    @property
    def outputs(self) -> int:
        return int(self.start.shape[1])

    @property
    def rounds(self) -> int:
        return max(10, min(ROUNDS, MOST_TREES // self.outputs))


def fit_trees(
    table: Array, categories: Sequence[int], target: Target, held: Array, grown: TreeSettings, seed: int, first: int = 0
) -> Ensemble:
    """Trees on the rows that are not `held`, as many as do best on those that are.

    `table`: float64 [n, columns] with NaN for what is missing; `categories`: the columns that hold category numbers;
    `first`: the first of the outputs that the target is of.
    """
    import lightgbm as lgb

    learning, many = np.flatnonzero(~held), len(held) >= MANY_ROWS
    usual = (MANY_ROWS_RATE if many else RATE) if target.rounds >= SLOW_ROUNDS else FAST_RATE
    settings: dict[str, Any] = {
        "objective": target.objective,
        "num_leaves": grown.leaves,
        "learning_rate": grown.rate or usual,
        "min_data_in_leaf": max(1, min(grown.least_in_leaf, len(learning) // 20)),
        "lambda_l2": grown.l2,
        "feature_fraction": grown.columns,
        "max_cat_to_onehot": 1,
        "num_threads": THREADS,
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed,
        "verbosity": -1,
    }
    if target.outputs > 1:
        settings["num_class"] = target.outputs

    def rows(index: Array, reference: "lightgbm.Dataset | None" = None) -> "lightgbm.Dataset":
        start = target.start[index].ravel(order="F")  # class by class
        return lgb.Dataset(
            table[index],
            target.values[index],
            weight=None if target.weights is None else target.weights[index],
            init_score=start if start.any() else None,
            categorical_feature=list(categories),
            reference=reference,
            params={"verbosity": -1, "max_bin": 255},
            free_raw_data=False,
        )

    train = rows(learning)
    enough = LEAST_GAIN_OF_TREES if many and target.values.dtype.kind == "f" and target.objective != "binary" else 0.0
    stop = lgb.early_stopping(TREE_PATIENCE, verbose=False, min_delta=enough)
    watched = [rows(np.flatnonzero(held), train)] if held.any() else []
    booster = lgb.train(settings, train, target.rounds, valid_sets=watched, callbacks=[stop] if watched else [])
    model = booster.model_to_string(num_iteration=booster.best_iteration or -1)
    found = [int(line.partition("=")[2]) for line in model.splitlines() if line.startswith("num_leaves=")]
    return Ensemble(model, first, len(found), sum(found))


def fit_flops(rows: int, columns: int, trees: int, leaves: int) -> float:
    """Every row is put into a histogram of each column once at each depth of a tree."""
    return float(rows * columns * trees * np.log2(leaves) * FIND_SPLIT)


def _booster(model: str) -> "lightgbm.Booster":
    import lightgbm as lgb

    found = _LOADED.get(model)
    if found is None:
        found = lgb.Booster(model_str=model)
        while len(_LOADED) >= MOST_LOADED:
            del _LOADED[next(iter(_LOADED))]
        _LOADED[model] = found
    return found


MOST_LOADED = 200  # ensembles that are kept as LightGBM reads them; a model of many labels has hundreds
_LOADED: dict[str, Any] = {}
