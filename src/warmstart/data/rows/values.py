"""Values: what do the cells of a column say, as numbers or as texts?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from warmstart.data.tables.strings import Texts
from warmstart.types import Array

# number: float64 [n], NaN where missing; boolean: float64 [n], 0, 1 or NaN; datetime: float64 [n], seconds since 1970
# in UTC, NaN where missing; category and text: Texts, "" where missing
Values: TypeAlias = "Array | Texts"


@dataclass(frozen=True)
class ColumnValues(Mapping[str, Values]):
    """The typed values of the columns that are read, by name. Rows are only picked out when a column is asked for.

    >>> import numpy as np
    >>> lamps = ColumnValues({"price": np.array([10.0, np.nan, 5.0]), "color": Texts.of(["red", "", "blue"])})
    >>> some = lamps.take(np.array([2, 0]))
    >>> some["price"].tolist(), list(some["color"])
    ([5.0, 10.0], ['blue', 'red'])
    """

    all_rows: Mapping[str, Values] = field(default_factory=dict)  # the values of all rows of the table
    index: Array | None = None  # int64 [n]: which of them these are; None: all

    def __getitem__(self, name: str) -> Values:
        values = self.all_rows[name]
        if self.index is None:
            return values
        return values.take(self.index)

    def __iter__(self) -> Iterator[str]:
        return iter(self.all_rows)

    def __len__(self) -> int:
        return len(self.all_rows)

    def take(self, index: Array) -> "ColumnValues":
        """The rows at these positions, in this order; they are not copied."""
        if not self.all_rows:
            return self
        return ColumnValues(self.all_rows, index if self.index is None else self.index[index])
