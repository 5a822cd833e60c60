"""Boosted: how do gradient-boosted trees read columns, and what a linear model predicts from the text?

Trees cannot read a text of 100,000 terms; a linear model can. So they read what it says of each row beside the raw
numbers, the categories and the parts of dates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from warmstart.baselines.baseline import save_baseline
from warmstart.baselines.linear import Linear
from warmstart.baselines.trees import Ensemble
from warmstart.data.features.reading import Reading
from warmstart.data.rows.values import NO_COLUMNS
from warmstart.data.schema.cell_values import Values
from warmstart.types import Array

MOST_SAID = 20  # of the linear model's outputs that trees read: of more classes each tree would take many times as long
MAX_TREE_CATEGORIES = 500  # of a column, the most common; rarer ones are read as missing


@dataclass(frozen=True)
class TreeTable:
    """How rows become a table of numbers for trees: categories by number, numbers as they are, NaN where missing."""

    reading: Reading
    categories: dict[str, tuple[str, ...]] = field(repr=False)

    @classmethod
    def fit(cls, reading: Reading, columns: Mapping[str, Values]) -> "TreeTable":
        """The most common categories of each column."""
        found = {}
        for name, values in reading.categories(columns).items():
            known, counts = np.unique([value for value in values if value] or [""], return_counts=True)
            most = np.argsort(-counts, kind="stable")[:MAX_TREE_CATEGORIES]
            found[name] = tuple(str(known[i]) for i in sorted(most) if known[i])
        return cls(reading, found)

    def encode(self, columns: Mapping[str, Values], said: Array) -> Array:
        """float64 [n, categories + numbers + outputs]; `said`: the outputs of the linear model, [n, outputs]."""
        parts: list[Array] = [said] if said.shape[1] <= MOST_SAID else [said[:, :0]]
        if self.reading.typed:
            parts.insert(0, self.reading.numbers(columns)[1])
            for name, values in reversed(self.reading.categories(columns).items()):
                place = {value: float(i) for i, value in enumerate(self.categories[name])}
                parts.insert(0, np.array([place.get(value, np.nan) for value in values])[:, None])
        table: Array = np.concatenate(parts, axis=1)
        return table

    @property
    def categorical(self) -> list[int]:
        """Which columns of the table hold category numbers."""
        return list(range(len(self.categories)))


@dataclass(frozen=True)
class Boosted:
    """A linear model with ensembles of trees, one for each fold: their mean is added to it, or stands alone, or both.

    Where both are there, what is given is halfway between the two.
    """

    linear: Linear
    table: TreeTable
    folds: int
    added: tuple[Ensemble, ...] = field(repr=False)  # to the linear model's outputs
    alone_: tuple[Ensemble, ...] = field(repr=False)

    writer = None

    @property
    def weights(self) -> int:
        """Of the linear model, and of each tree its leaves, and a column and a threshold for each split."""
        return self.linear.weights + sum(3 * each.leaves - 2 * each.trees for each in (*self.added, *self.alone_))

    def outputs(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> Array:
        said = self.linear.outputs(texts, columns).astype(np.float64)
        if not len(texts):
            return said.astype(np.float32)
        table = self.table.encode(columns, said)
        kinds = [(self.added, said), (self.alone_, np.zeros_like(said))]
        found = [raise_by(ensembles, self.folds, table, start) for ensembles, start in kinds if ensembles]
        return np.asarray(np.mean(found or [said], axis=0), dtype=np.float32)

    def flops(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> float:
        """Beside the linear model, a comparison at each depth of each tree."""
        depth = sum(each.trees * np.log2(max(2.0, each.leaves / each.trees)) for each in (*self.added, *self.alone_))
        return self.linear.flops(texts, columns) + float(len(texts) * depth)

    def alone(self) -> "Boosted":
        return self

    def save(self, folder: Path) -> None:
        """As every baseline, the trees as LightGBM's text inside the JSON."""
        facts, arrays = self.linear.features.to_json()
        facts |= {"baseline": "boosted", "folds": self.folds, "tree_categories": self.table.categories}
        facts |= {"added": [vars(each) for each in self.added], "alone": [vars(each) for each in self.alone_]}
        save_baseline(folder, facts, {"weight": self.linear.weight, "bias": self.linear.bias} | arrays)


def raise_by(ensembles: Sequence[Ensemble], folds: int, table: Array, start: Array) -> Array:
    """`start` [n, outputs] and the mean, over the folds, of what the trees add to it."""
    found = start.copy()
    for each in ensembles:
        added = each.predict(table) / folds
        found[:, each.first : each.first + added.shape[1]] += added
    return found


def boosted_from_json(facts: Mapping[str, Any], linear: Linear) -> Boosted:
    """What `save` wrote, around its linear model."""
    categories = {name: tuple(values) for name, values in facts["tree_categories"].items()}
    added, alone = (tuple(Ensemble(**each) for each in facts[name]) for name in ("added", "alone"))
    return Boosted(linear, TreeTable(linear.features.reading, categories), facts["folds"], added, alone)
