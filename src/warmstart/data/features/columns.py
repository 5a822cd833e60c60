"""Columns: how does a linear model read numbers and categories? Standardized, and one-hot."""

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


@dataclass(frozen=True)
class ColumnFeatures:
    """Standardized numbers, with log(1 + x) of heavy-tailed ones, and one-hot categories."""

    reading: Reading
    logs: tuple[int, ...]  # which numbers
    mean: Array = field(repr=False)  # float64 [numbers + logs]
    deviation: Array = field(repr=False)  # float64 [numbers + logs]; 0 where all training rows have the same
    categories: dict[str, tuple[str, ...]] = field(repr=False)
    unseen: bool = False  # whether a category that is not among them, rare or never seen, has a feature as well

    @classmethod
    def fit(cls, reading: Reading, columns: Mapping[str, Values], *, unseen: bool = False) -> "ColumnFeatures":
        """Means and deviations, without outliers, and the categories of these rows."""
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
        return cls(reading, logs, mean, deviation, categories, unseen)

    @property
    def width(self) -> int:
        """Number of features: each number's value and whether it is missing."""
        numbers = len(self.mean) - len(self.logs)
        return len(self.mean) + numbers + sum(len(known) + self.unseen for known in self.categories.values())

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
        matrix: csr_matrix = hstack(parts, format="csr")
        return matrix

    def read(self, words: Sequence[str], columns: Mapping[str, Values]) -> "csr_matrix":
        """Features of the columns of rows."""
        return self.encode(columns)

    def to_json(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """(facts, arrays) for `from_json`."""
        facts = {"logs": self.logs, "categories": self.categories, "unseen": self.unseen}
        return facts, {"mean": self.mean, "deviation": self.deviation}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any], arrays: Mapping[str, Array], reading: Reading) -> "ColumnFeatures":
        categories = {name: tuple(values) for name, values in facts["categories"].items()}
        return cls(
            reading, tuple(facts["logs"]), arrays["mean"], arrays["deviation"], categories, bool(facts.get("unseen"))
        )


def _with_logs(numbers: Array, logs: tuple[int, ...]) -> Array:
    """[n, numbers + logs]"""
    logged = np.log1p(np.maximum(numbers[:, list(logs)], 0.0))
    return np.concatenate([numbers, logged], axis=1)


def _heavy(values: Array) -> bool:
    """Whether these numbers are positive with a heavy upper tail."""
    known = values[~np.isnan(values)]
    return bool(len(known) and known.min() >= 0 and known.mean() > HEAVY * np.median(known) and known.max() > 10)
