"""Cell values: what does each cell of a column say, and how is it written in the texts that models read?"""

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from warmstart.data.schema.amounts import NumberFormat, read_amount
from warmstart.data.schema.columns import Column
from warmstart.data.schema.dates import seconds
from warmstart.data.tables.cells import as_numbers, each_text
from warmstart.data.tables.formats import NA_MARKS, NUMBER
from warmstart.data.tables.images import Images
from warmstart.data.tables.read import Table
from warmstart.data.tables.strings import BLOCK, ArrowColumn, Cells, Texts, cell_blocks, is_contiguous
from warmstart.types import Array

# number: float64 [n], NaN where missing; boolean: float64 [n], 0, 1 or NaN; datetime: float64 [n], seconds since 1970
# in UTC, NaN where missing; category and text: Texts, "" where missing; image: Images, named "" where missing
Values: TypeAlias = "Array | Texts | Images"

TRUE = frozenset({"true", "yes", "y", "t", "on"})
FALSE = frozenset({"false", "no", "n", "f", "off"})
EXACT = 2**53  # from here on float64 leaves whole numbers out
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
NO_TEXT = pa.scalar(None, pa.large_string())


def read_cells(cells: ArrowColumn, column: Column) -> tuple[Values, Array]:
    """(the values, bool [n]: which cells say something that cannot be read as the column's kind: they are missing).

    A cell's value depends on the cell and the column alone. Infinite numbers count as not readable.
    """
    if column.kind in ("number", "boolean", "datetime"):
        return _read(cells, column, column.kind)
    if column.written == "text":
        return read_text_cells(cells), np.zeros(len(cells), dtype=bool)
    values, unread = _read(cells, column, column.written)
    return Texts.of(_respelled(values, unread, cells, column)), np.zeros(len(cells), dtype=bool)


def cells_of(table: Table, column: Column) -> ArrowColumn:
    """The cells of a column from which `read_cells` reads it: as they are written where that matters."""
    typed = column.kind in ("number", "boolean", "datetime") and column.decimal_mark == "."
    return table.columns[column.name] if typed else table.as_written(column.name)


def read_numbers(table: Table, name: str, column: Column | None) -> tuple[Array, Array]:
    """(float64 [n], NaN where missing; bool [n], what is there but no number), written as `column` says."""
    if column is None:
        return as_numbers(table.columns[name])
    return _read(table.as_written(name), column, "number")


def _read(cells: ArrowColumn, column: Column, kind: str) -> tuple[Array, Array]:
    read = {"number": _numbers, "boolean": _booleans, "datetime": _moments}[kind]
    parts = [read(block, column) for block in cell_blocks(cells)]
    values = np.concatenate([np.empty(0), *(part[0] for part in parts)])
    return values, np.concatenate([np.empty(0, dtype=bool), *(part[1] for part in parts)])


def read_text_cells(cells: ArrowColumn) -> Texts:
    """The cells as they are written, "" where they are blank; not copied where nothing changes."""
    if is_contiguous(cells):
        texts = Texts(cells.chunks[0])
        if not (texts.blank() & (texts.sizes() > 0)).any():
            return texts
    return Texts.of(cell if cell is not None and cell.strip() else "" for cell in each_text(cells))


def _respelled(values: Array, unread: Array, cells: ArrowColumn, column: Column) -> Iterator[str]:
    for text, odd, cell in zip(spell(values, column), unread.tolist(), each_text(cells), strict=True):
        yield text if not odd else (cell or "").strip()


# --- numbers, true and false, moments --------------------------------------------------------------------------------


def filled(cells: Cells) -> Cells:
    """Texts without blank space around them, missing where they say so (NA, null, ...)."""
    trimmed = pc.utf8_trim_whitespace(cells)
    marks = pa.array(sorted(NA_MARKS), pa.large_string())
    found: Cells = pc.if_else(pc.is_in(pc.utf8_lower(trimmed), marks), NO_TEXT, trimmed)
    return found


def _numbers(cells: Cells, column: Column) -> tuple[Array, Array]:
    kind = cells.type
    unread = np.zeros(len(cells), dtype=bool)
    if pa.types.is_large_string(kind):
        return _written_numbers(filled(cells), column)
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return np.full(len(cells), np.nan), _there(cells)
    values = cells.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64)
    unread = np.isinf(values)
    return np.where(unread, np.nan, values), unread


def _written_numbers(cells: Cells, column: Column) -> tuple[Array, Array]:
    plain = _true(pc.match_substring_regex(cells, NUMBER))
    if column.decimal_mark == ",":
        plain &= ~_true(pc.match_substring(cells, "."))
    signless: Any = pc.replace_substring_regex(pc.if_else(pa.array(plain), cells, NO_TEXT), r"^\+", "")
    values = signless.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
    form = NumberFormat(column.decimal_mark, column.unit)
    rest = np.flatnonzero(_there(cells) & ~plain)
    for i, cell in zip(rest.tolist(), cells.take(rest).to_pylist(), strict=True):
        number = read_amount(str(cell), form)
        values[i] = np.nan if number is None else number
    unread = _there(cells) & ~np.isfinite(values)
    return np.where(unread, np.nan, values), unread


def _booleans(cells: Cells, column: Column) -> tuple[Array, Array]:
    kind = cells.type
    if not pa.types.is_large_string(kind):
        values, unread = _numbers(cells.cast(pa.int64()) if pa.types.is_boolean(kind) else cells, column)
    else:
        cells = filled(cells)
        words = pc.utf8_lower(cells)
        yes = pc.is_in(words, pa.array([*sorted(TRUE), "1", column.spelling[0].lower()], pa.large_string()))
        no = pc.is_in(words, pa.array([*sorted(FALSE), "0", column.spelling[1].lower()], pa.large_string()))
        values = np.full(len(cells), np.nan)
        values[_true(yes)] = 1.0
        values[_true(no)] = 0.0
        unread = _there(cells) & np.isnan(values)
    unread |= ~np.isnan(values) & (values != 0) & (values != 1)
    return np.where(unread, np.nan, values), unread


def _moments(cells: Cells, column: Column) -> tuple[Array, Array]:
    kind = cells.type
    if pa.types.is_date32(kind):
        return _floats(cells.cast(pa.int32())) * 86_400, np.zeros(len(cells), dtype=bool)
    if pa.types.is_date64(kind):
        return _floats(cells.cast(pa.int64())) / 1000, np.zeros(len(cells), dtype=bool)
    if pa.types.is_timestamp(kind):
        return _floats(cells.cast(pa.int64())) / PER_SECOND[kind.unit], np.zeros(len(cells), dtype=bool)
    if not pa.types.is_large_string(kind):
        return np.full(len(cells), np.nan), _there(cells)
    coded: Any = filled(cells).dictionary_encode()  # days recur, and each is parsed once
    known = [seconds(cell, column.date_order) for cell in coded.dictionary.to_pylist()]
    moments = np.array([np.nan if moment is None else moment for moment in known], dtype=np.float64)
    there = _there(coded.indices)
    values = np.full(len(cells), np.nan)
    values[there] = moments[coded.indices.drop_null().to_numpy()]
    return values, there & np.isnan(values)


def _floats(cells: Cells) -> Array:
    return np.asarray(cells.to_numpy(zero_copy_only=False), dtype=np.float64)


def _true(found: Any) -> Array:
    """Which of these are true; a missing one is not: bool [n]."""
    return np.asarray(found.fill_null(False).to_numpy(zero_copy_only=False), dtype=bool)


def _there(cells: Cells) -> Array:
    """Which cells are not missing: bool [n]."""
    there: Array = cells.is_valid().to_numpy(zero_copy_only=False)
    return there


# --- as texts ---------------------------------------------------------------------------------------------------------


def spell(values: Values, column: Column) -> Iterator[str]:
    """Each value as it stands in the texts, "" where it is missing: 12, 0.3, 2023-01-15, true."""
    if isinstance(values, Texts | Images):
        yield from values
        return
    kind = column.kind if column.kind not in ("text", "category") else column.written
    for start in range(0, len(values), BLOCK):
        some = values[start : start + BLOCK]
        if kind == "datetime":
            yield from _spelled_moments(some, column.day_only)
        elif kind == "boolean":
            yes, no = column.spelling
            yield from ("" if value != value else yes if value else no for value in some.tolist())
        else:
            yield from map(spell_number, some.tolist())


def spell_number(value: float) -> str:
    """A whole number without a fraction, any other with 10 significant digits; "" for NaN."""
    if value != value:
        return ""
    return str(int(value)) if value.is_integer() and abs(value) < EXACT else f"{value:.10g}"


def _spelled_moments(values: Array, day_only: bool) -> Iterator[str]:
    there = ~np.isnan(values)
    moments = np.where(there, np.floor(values), 0).astype("datetime64[s]")
    texts = np.datetime_as_string(moments, unit="D" if day_only else "s")
    return (text.replace("T", " ") if is_there else "" for text, is_there in zip(texts.tolist(), there, strict=True))
