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
from warmstart.baselines.lightgbm_trees import Ensemble
from warmstart.baselines.linear import Linear
from warmstart.baselines.linear_features import features_from_json
from warmstart.data.features.reading import Reading
from warmstart.data.rows.read_columns import NO_COLUMNS
from warmstart.data.schema.cell_values import Values
from warmstart.types import Array

MOST_SAID = 20  # of the linear model's outputs that trees read: of more classes each tree would take many times as long
WORDS_PREFIX = "words."  # of the arrays of the linear model on the text alone
MAX_TREE_CATEGORIES = 500  # of a column, the most common; rarer ones are read as missing


@dataclass(frozen=True)
class TreeTable:
    """How rows become a table of numbers for trees: categories by number, numbers as they are, NaN where missing."""

    reading: Reading
    categories: dict[str, tuple[str, ...]] = field(repr=False)
    reads_linear: bool = True  # whether the linear model's outputs are columns, too

    @classmethod
    def fit(cls, reading: Reading, columns: Mapping[str, Values], reads_linear: bool = True) -> "TreeTable":
        """The most common categories of each column."""
        found = {}
        for name, values in reading.categories(columns).items():
            known, counts = np.unique([value for value in values if value] or [""], return_counts=True)
            most = np.argsort(-counts, kind="stable")[:MAX_TREE_CATEGORIES]
            found[name] = tuple(str(known[i]) for i in sorted(most) if known[i])
        return cls(reading, found, reads_linear)

    def encode(self, columns: Mapping[str, Values], said: Array) -> Array:
        """float64 [n, categories + numbers + outputs]; `said`: the outputs of the linear model, [n, outputs]."""
        parts: list[Array] = [said] if self.reads_linear and said.shape[1] <= MOST_SAID else [said[:, :0]]
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

    Where both are there, what is given is halfway between the two. Trees that are added read what the linear model says
    of a row beside its columns, those that stand alone what a linear model says that reads the text alone.
    """

    linear: Linear
    words: Linear | None  # of the columns of text alone; trees that stand alone read what it says instead
    table: TreeTable
    folds: int
    added: tuple[Ensemble, ...] = field(repr=False)  # to the linear model's outputs
    alone_: tuple[Ensemble, ...] = field(repr=False)

    writer = None

    @property
    def weights(self) -> int:
        """Of the linear models, and of each tree its leaves, and a column and a threshold for each split."""
        of_trees = sum(3 * each.leaves - 2 * each.trees for each in (*self.added, *self.alone_))
        return self.linear.weights + (self.words.weights if self.words else 0) + of_trees

    def outputs(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> Array:
        said = self.linear.outputs(texts, columns).astype(np.float64)
        if not len(texts):
            return said.astype(np.float32)
        of_words = self.words.outputs(texts, columns).astype(np.float64) if self.words else said
        kinds = [(self.added, said, said), (self.alone_, of_words, np.zeros_like(said))]
        found = [
            raise_by(ensembles, self.folds, self.table.encode(columns, read), start)
            for ensembles, read, start in kinds
            if ensembles
        ]
        return np.asarray(np.mean(found or [said], axis=0), dtype=np.float32)

    def flops(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> float:
        """Beside the linear model, a comparison at each depth of each tree."""
        depth = sum(each.trees * np.log2(max(2.0, each.leaves / each.trees)) for each in (*self.added, *self.alone_))
        words = self.words.flops(texts, columns) if self.words else 0.0
        return self.linear.flops(texts, columns) + words + float(len(texts) * depth)

    def alone(self) -> "Boosted":
        return self

    def save(self, folder: Path) -> None:
        """As every baseline, the trees as LightGBM's text inside the JSON."""
        facts, arrays = self.linear.features.to_json()
        facts |= {"baseline": "boosted", "folds": self.folds, "tree_categories": self.table.categories}
        facts |= {"reads_linear": self.table.reads_linear}
        facts |= {"added": [vars(each) for each in self.added], "alone": [vars(each) for each in self.alone_]}
        arrays |= {"weight": self.linear.weight, "bias": self.linear.bias}
        if self.words:
            facts["words"], more = self.words.features.to_json()
            more |= {"weight": self.words.weight, "bias": self.words.bias}
            arrays |= {WORDS_PREFIX + name: array for name, array in more.items()}
        save_baseline(folder, facts, arrays)


def raise_by(ensembles: Sequence[Ensemble], folds: int, table: Array, start: Array) -> Array:
    """`start` [n, outputs] and the mean, over the folds, of what the trees add to it."""
    found = start.copy()
    for each in ensembles:
        added = each.predict(table) / folds
        found[:, each.first : each.first + added.shape[1]] += added
    return found


def boosted_from_json(facts: Mapping[str, Any], arrays: Mapping[str, Array], linear: Linear) -> Boosted:
    """What `save` wrote, around its linear model."""
    categories = {name: tuple(values) for name, values in facts["tree_categories"].items()}
    added, alone = (tuple(Ensemble(**each) for each in facts[name]) for name in ("added", "alone"))
    table = TreeTable(linear.features.reading, categories, facts.get("reads_linear", True))
    words = None
    if "words" in facts:
        mine = {n.removeprefix(WORDS_PREFIX): array for n, array in arrays.items() if n.startswith(WORDS_PREFIX)}
        words = Linear("linear", features_from_json(facts["words"], mine), mine["weight"], mine["bias"])
    return Boosted(linear, words, table, facts["folds"], added, alone)
