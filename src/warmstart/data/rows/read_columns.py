"""Read columns: what do the columns of a table contain, as numbers and texts, and which cells cannot be read?"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from warmstart.data.schema.cell_values import Values, cells_of, read_cells
from warmstart.data.schema.columns import Column, ColumnKind
from warmstart.data.schema.schema import Schema
from warmstart.data.tables.cells import each_text
from warmstart.data.tables.images import Images, read_images
from warmstart.data.tables.read import Table
from warmstart.data.tables.strings import Texts
from warmstart.errors import count_phrase, join_phrases, shorten
from warmstart.types import Array


@dataclass(frozen=True)
class ColumnValues(Mapping[str, Values]):
    """The typed values of the columns that are read, by name. Rows are only picked out when a column is asked for.

    >>> from warmstart.data.tables.strings import Texts
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

    @property
    def images(self) -> Images | None:
        """The images, if there are any."""
        names = [name for name, values in self.all_rows.items() if isinstance(values, Images)]
        found = self[names[0]] if names else None
        return found if isinstance(found, Images) else None

    def cells(self) -> dict[str, Any]:
        """By column the cells as Python has them; of images their pixels, uint8 [n, side, side, 3]."""
        return {
            name: values.at(np.arange(len(values))) if isinstance(values, Images) else list(values)
            for name, values in self.items()
        }

    @property
    def image_problems(self) -> dict[int, str]:
        """Why there is no image, by position, where other columns are read beside it or the image cannot be read."""
        images = self.images
        if images is None:
            return {}
        missing = {i: "there is no image" for i, name in enumerate(images) if not name} if len(self) > 1 else {}
        return missing | dict(images.problems)

    def take(self, index: Array) -> "ColumnValues":
        """The rows at these positions, in this order; they are not copied."""
        if not self.all_rows:
            return self
        return ColumnValues(self.all_rows, index if self.index is None else self.index[index])

    @classmethod
    def joined(cls, parts: "Sequence[ColumnValues]") -> "ColumnValues":
        """The rows of all parts, concatenated. Parts of one table are not copied."""
        first = parts[0]
        if all(part.all_rows is first.all_rows and part.index is not None for part in parts):
            return cls(first.all_rows, np.concatenate([part.index for part in parts if part.index is not None]))
        return cls({name: _joined([part[name] for part in parts]) for name in first})


NO_COLUMNS = ColumnValues()


def _joined(parts: Sequence[Values]) -> Values:
    if isinstance(parts[0], Texts):
        return Texts.joined([part for part in parts if isinstance(part, Texts)])
    if isinstance(parts[0], Images):
        return Images.joined([part for part in parts if isinstance(part, Images)])
    return np.concatenate([np.asarray(part) for part in parts])


CELLS_SHOWN = 3
EXPECTED: dict[ColumnKind, tuple[str, str]] = {
    "number": ("a number", "numbers"),
    "boolean": ("true or false", "true or false"),
    "datetime": ("a date", "dates"),
}


@dataclass(frozen=True)
class UnreadCells:
    """Cells with a value that is not of their column's kind: they are treated as missing."""

    column: Column
    rows: Array  # int64: row numbers, from 1
    shown: tuple[str, ...]  # the first of them, as they are written

    def problem(self, table: Table) -> str:
        """'column 'weight' has 2 cells that are not numbers (rows 17, 204: '?', 'heavy'); they are read as missing'."""
        one, several = EXPECTED[self.column.kind]
        few = len(self.rows) == 1
        cells = count_phrase(len(self.rows), f"cell that is not {one}", f"cells that are not {several}")
        where = table.rows(self.rows.tolist())
        said = join_phrases([shorten(cell) for cell in self.shown])
        they = "it is" if few else "they are"
        return f"column {self.column.name!r} has {cells} ({where}: {said}); {they} read as missing"


@dataclass(frozen=True)
class ReadColumns:
    """The values of a schema's columns in a table."""

    values: ColumnValues
    unread: tuple[UnreadCells, ...]


def read_columns(table: Table, schema: Schema) -> ReadColumns:
    """Typed values of the schema's columns, which must all exist; unreadable cells are reported as missing."""
    values: dict[str, Values] = {}
    unread: list[UnreadCells] = []
    for column in schema.columns:
        if column.kind == "image":  # what cannot be read is a bad row
            values[column.name] = read_images(table, column.name, column.image_size)
            continue
        cells = cells_of(table, column)
        values[column.name], odd = read_cells(cells, column)
        rows = np.flatnonzero(odd)
        if len(rows):
            first = cells.take(rows[:CELLS_SHOWN])
            shown = tuple(itertools.islice((cell or "" for cell in each_text(first)), CELLS_SHOWN))
            unread.append(UnreadCells(column, rows + 1, shown))
    return ReadColumns(ColumnValues(values), tuple(unread))
