"""Reading: which columns of a row are read as words, which as numbers, and which as categories?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from warmstart.data.rows.split import Rows
from warmstart.data.schema.cell_values import Values
from warmstart.data.schema.columns import Column
from warmstart.data.tables.strings import Texts
from warmstart.errors import InputError
from warmstart.types import Array

DATE_PARTS = ("year", "month", "day", "weekday", "hour")


@dataclass(frozen=True)
class Reading:
    """The input columns by kind. Without any, or with a single text column, it is the row's text."""

    columns: tuple[Column, ...] = ()

    @classmethod
    def of(cls, columns: Sequence[Column]) -> "Reading":
        """A single column of words is read as text, whether or not its values recur."""
        lone = len(columns) == 1 and columns[0].kind in ("text", "category")
        return cls(() if lone else tuple(columns))

    @property
    def typed(self) -> bool:
        """Whether there are columns, not only a text."""
        return bool(self.columns)

    def named(self, *kinds: str) -> tuple[str, ...]:
        """The columns of these kinds."""
        return tuple(column.name for column in self.columns if column.kind in kinds)

    def words(self, texts: Sequence[str], columns: Mapping[str, Values]) -> Sequence[str]:
        """The text of each row; "" if it is empty."""
        if not self.typed:
            return texts
        self._require(columns)
        found = [columns[name] for name in self.named("text")]
        if not found:
            return [""] * len(texts)
        if len(found) == 1 and isinstance(found[0], Texts):
            return found[0]
        return ["\n".join(str(cell) for cell in cells if cell) for cells in zip(*found, strict=True)]

    def numbers(self, columns: Mapping[str, Values]) -> tuple[tuple[str, ...], Array]:
        """Numbers, 0 and 1 for false and true, seconds and parts of dates: names, float64 [n, names].

        NaN for missing or infinite values.
        """
        self._require(columns)
        names: list[str] = []
        found: list[Array] = []
        for column in self.columns:
            if column.kind in ("text", "category", "image"):
                continue
            values = np.asarray(columns[column.name], dtype=np.float64)
            values = np.where(np.isfinite(values), values, np.nan)
            names.append(column.name)
            found.append(values)
            if column.kind == "datetime":
                names += [f"{column.name} ({part})" for part in DATE_PARTS]
                found += _date_parts(values)
        return tuple(names), np.stack(found, axis=1) if found else np.zeros((_length(columns), 0))

    def categories(self, columns: Mapping[str, Values]) -> dict[str, list[str]]:
        """Values of each categorical column, "" if missing."""
        self._require(columns)
        return {name: [str(value) for value in columns[name]] for name in self.named("category")}

    def to_json(self) -> list[dict[str, Any]]:
        return [column.to_json() for column in self.columns]

    @classmethod
    def from_json(cls, known: Sequence[Mapping[str, Any]]) -> "Reading":
        return cls(tuple(map(Column.from_json, known)))

    def _require(self, columns: Mapping[str, Values]) -> None:
        """Raises InputError for rows that are a text alone."""
        missing = [column.name for column in self.columns if column.name not in columns]
        if missing:
            raise InputError(
                f"the model reads the columns of a table, and {missing[0]!r} was not given.",
                "give rows as mappings, a DataFrame or a table, not as texts",
            )


WORDS = Reading()  # a text alone


def columns_of(rows: Rows, columns: Sequence[Column]) -> Reading:
    """How a table's rows are read; as text if their typed values are not available."""
    return Reading.of(columns if all(column.name in rows.columns for column in columns) else ())


def _length(columns: Mapping[str, Values]) -> int:
    return next((len(values) for values in columns.values()), 0)


def _date_parts(seconds: Array) -> list[Array]:
    """Year, month, day of the month, day of the week (Monday is 0) and hour; NaN for missing dates."""
    missing = np.isnan(seconds)
    whole = np.where(missing, 0, seconds).astype("datetime64[s]")
    years, months, days = (whole.astype(f"datetime64[{unit}]") for unit in "YMD")
    parts = [
        years.astype(np.int64) + 1970,
        (months - years.astype("datetime64[M]")).astype(np.int64) + 1,
        (days - months.astype("datetime64[D]")).astype(np.int64) + 1,
        (days.astype(np.int64) + 3) % 7,
        (whole - days.astype("datetime64[s]")).astype(np.int64) // 3600,
    ]
    return [np.where(missing, np.nan, part.astype(np.float64)) for part in parts]
