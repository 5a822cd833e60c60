"""Column features: how do models read numbers and categories? Standardized, in bins between quantiles, and one-hot."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from warmstart.data.features.reading import Reading
from warmstart.data.schema.cell_values import Values
from warmstart.data.schema.numbers import outliers
from warmstart.types import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MOST_DEVIATIONS = 5.0  # from the mean: one wild value must not bend a weight
HEAVY = 3.0  # a positive column whose mean is so many times its median is heavy-tailed
MAX_ONE_HOT = 10_000  # of a column, the most frequent
MIN_CATEGORY_ROWS = 2  # that a category has: of a single row nothing is learned for others
NUMBER_PIECES = 8  # of a number that a network reads, between its quantiles: a line is learned for each


@dataclass(frozen=True, eq=False)
class ColumnFeatures:
    """Numbers in deviations from their mean, of heavy-tailed ones log(1 + x) as well; a 1 for each category.

    With `edges` how much of each piece of a number lies below its value, too (Gorishniy et al. 2022): what is linear
    in these may bend at every edge.
    """

    reading: Reading
    logs: tuple[int, ...]  # which numbers
    mean: Array = field(repr=False)  # float64 [numbers + logs]
    deviation: Array = field(repr=False)  # float64 [numbers + logs]; 0 where all training rows have the same
    categories: dict[str, tuple[str, ...]] = field(repr=False)
    unseen: bool = False  # whether a category that is not among them, rare or never seen, has a feature as well
    edges: tuple[Array, ...] = field(default=(), repr=False)  # float64 [pieces + 1] of each number; (): no pieces

    @classmethod
    def fit(
        cls, reading: Reading, columns: Mapping[str, Values], *, unseen: bool = False, pieces: int = 0
    ) -> "ColumnFeatures":
        """Means and deviations, without outliers, categories, and quantiles, of these rows."""
        _, numbers = reading.numbers(columns)
        logs = tuple(i for i in range(numbers.shape[1]) if _heavy(numbers[:, i]))
        values = _with_logs(numbers, logs)
        known = ~np.isnan(values)
        for i in range(values.shape[1]):
            known[:, i] &= ~outliers(values[:, i])
        count = np.maximum(known.sum(0), 1)
        mean = np.where(known, values, 0.0).sum(0) / count
        deviation = np.sqrt(np.where(known, (np.nan_to_num(values) - mean) ** 2, 0.0).sum(0) / count)
        deviation = np.where(deviation > 1e-9 * np.abs(mean), deviation, 0.0)
        categories = {
            name: tuple(
                value
                for value, rows in Counter(filter(None, values)).most_common(MAX_ONE_HOT)
                if rows >= MIN_CATEGORY_ROWS
            )
            for name, values in reading.categories(columns).items()
        }
        edges = tuple(_edges(each, pieces) for each in numbers.T) if pieces else ()
        return cls(reading, logs, mean, deviation, categories, unseen, edges)

    @property
    def width(self) -> int:
        """Features: of each number its value, whether it is missing, and its pieces."""
        categories = sum(len(known) + self.unseen for known in self.categories.values())
        return len(self.mean) + self.number_count + categories + sum(map(len, self.edges)) - len(self.edges)

    @property
    def number_count(self) -> int:
        return len(self.mean) - len(self.logs)

    @property
    def most(self) -> int:
        """Features that a row has at most: one of each category's."""
        pieces = sum(map(len, self.edges)) - len(self.edges)
        return len(self.mean) + self.number_count + pieces + len(self.categories)

    @property
    def says(self) -> bool:
        """Whether any of these features differs between rows."""
        return bool((self.deviation > 0).any() or any(self.categories.values()))

    def encode(self, columns: Mapping[str, Values]) -> "csr_matrix":
        """Sparse float32 [n, width]."""
        from scipy.sparse import csr_matrix, hstack

        _, numbers = self.reading.numbers(columns)
        values = (_with_logs(numbers, self.logs) - self.mean) / np.where(self.deviation > 0, self.deviation, 1.0)
        values = np.where(self.deviation > 0, np.clip(np.nan_to_num(values), -MOST_DEVIATIONS, MOST_DEVIATIONS), 0.0)
        parts = [csr_matrix(values.astype(np.float32)), csr_matrix(np.isnan(numbers).astype(np.float32))]
        for name, cells in self.reading.categories(columns).items():
            place = {value: i for i, value in enumerate(self.categories[name])}
            other = len(place) if self.unseen else None
            each = [(row, place.get(cell, other)) for row, cell in enumerate(cells) if cell]
            found = [(row, at) for row, at in each if at is not None]
            rows, places = zip(*found, strict=True) if found else ((), ())
            ones = np.ones(len(found), dtype=np.float32)
            parts.append(csr_matrix((ones, (rows, places)), shape=(len(cells), len(place) + self.unseen)))
        parts += [csr_matrix(_in_pieces(numbers[:, i], edges)) for i, edges in enumerate(self.edges)]
        matrix: csr_matrix = hstack(parts, format="csr")
        return matrix

    def read(self, words: Sequence[str], columns: Mapping[str, Values]) -> "csr_matrix":
        """Features of the columns of rows."""
        return self.encode(columns)

    def to_json(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """(facts, arrays) for `from_json`."""
        facts = {"logs": self.logs, "categories": self.categories, "unseen": self.unseen, "pieces": len(self.edges)}
        edges = {f"edges.{i}": each for i, each in enumerate(self.edges)}
        return facts, {"mean": self.mean, "deviation": self.deviation, **edges}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any], arrays: Mapping[str, Array], reading: Reading) -> "ColumnFeatures":
        categories = {name: tuple(values) for name, values in facts["categories"].items()}
        edges = tuple(arrays[f"edges.{i}"] for i in range(facts.get("pieces", 0)))
        logs, unseen = tuple(facts["logs"]), bool(facts.get("unseen"))
        return cls(reading, logs, arrays["mean"], arrays["deviation"], categories, unseen, edges)


def _with_logs(numbers: Array, logs: tuple[int, ...]) -> Array:
    """[n, numbers + logs]"""
    logged = np.log1p(np.maximum(numbers[:, list(logs)], 0.0))
    return np.concatenate([numbers, logged], axis=1)


def _heavy(values: Array) -> bool:
    """Whether these numbers are positive with a heavy upper tail."""
    known = values[~np.isnan(values)]
    return bool(len(known) and known.min() >= 0 and known.mean() > HEAVY * np.median(known) and known.max() > 10)


def _edges(values: Array, pieces: int) -> Array:
    """Quantiles that divide the known values into so many pieces, or fewer where values recur; one: no piece."""
    known = values[~np.isnan(values)]
    found: Array = np.unique(np.quantile(known, np.linspace(0, 1, pieces + 1))) if len(known) else np.zeros(1)
    return found if len(found) > 2 else found[:1]


def _in_pieces(values: Array, edges: Array) -> Array:
    """How much of each piece lies below the value, 0 to 1; nothing of any where it is missing. float32 [n, pieces]"""
    share = (values[:, None] - edges[:-1]) / np.diff(edges)
    return np.clip(np.nan_to_num(share), 0.0, 1.0).astype(np.float32)
