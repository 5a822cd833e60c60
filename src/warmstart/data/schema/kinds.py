"""Kinds: is a column text, a number, a category, true or false, or a date, by how its cells are written?"""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from warmstart.data.schema.amounts import CODE_PATTERN, number_format
from warmstart.data.schema.cell_values import EXACT, cells_of, filled, read_cells
from warmstart.data.schema.columns import KINDS, Column, ColumnKind, DateOrder, DecimalMark
from warmstart.data.schema.dates import DAY, date_orders
from warmstart.data.tables.cells import count_different, present
from warmstart.data.tables.read import Table
from warmstart.data.tables.strings import ArrowColumn, cell_blocks
from warmstart.errors import UsageError, join_phrases

FIRST_CELLS = 1000  # looked at first: what is prose there is not looked at again
READABLE_SHARE = 0.95  # of the cells, for numbers and dates; the others must have no digits ("unknown")
ROWS_PER_CATEGORY = 5  # on average, at least
MOST_CATEGORIES = 10_000
PROSE_WORDS, PROSE_LENGTH = 4, 64  # on average, of a cell: above these it is prose, however often it recurs
BOOLEAN_PAIRS = (("true", "false"), ("yes", "no"), ("y", "n"), ("t", "f"), ("on", "off"))


def column_of(table: Table, name: str, asked: str | None) -> Column:
    """How a column of the table is read; `asked`: the kind that a person named, as in `datetime:dmy`.

    Raises UsageError where no cell can be read as what was asked for.
    """
    found = infer_column(name, table.columns[name])
    if asked is None:
        return found
    base, _, how = asked.partition(":")
    kind: ColumnKind = next(each for each in KINDS if each == base)
    column = _as_asked(found, kind, how, table)
    if kind in ("number", "boolean", "datetime"):
        values, unread = read_cells(cells_of(table, column), column)
        if unread.any() and not np.isfinite(np.asarray(values)).any():
            shown = join_phrases([repr(cell) for cell in itertools.islice(present(table.as_written(name)), 3)])
            raise UsageError(f"no cell of column {name!r} can be read as {kind} (for example {shown})", "leave it out")
    return column


def _as_asked(found: Column, kind: ColumnKind, how: str, table: Table) -> Column:
    written = table.as_written(found.name)
    if kind in ("text", "category"):
        natural = found.kind if found.kind in ("number", "boolean", "datetime") else "text"
        if natural == "number" and pa.types.is_large_string(written.type) and _spelled_twice(written, found):
            natural = "text"  # as version 1.1 and version 1.10, which are not one number
        return replace(found, kind=kind, written=natural)
    if kind == found.kind and not how:
        return found
    if kind == "number":
        form = number_format(count_cells(written)) if pa.types.is_large_string(written.type) else None
        mark: DecimalMark = "," if how == "," or (not how and form and form.decimal_mark == ",") else "."
        return Column(found.name, "number", decimal_mark=mark, unit=form.unit if form else "")
    if kind == "datetime":
        orders = date_orders(count_cells(written), 0.0) if pa.types.is_large_string(written.type) else ()
        order: DateOrder = next((each for each in get_args(DateOrder) if each == how), (*orders, "ymd")[0])
        return _with_days(Column(found.name, "datetime", date_order=order), written)
    return Column(found.name, "boolean", spelling=("1", "0") if found.kind == "number" else ("true", "false"))


def _spelled_twice(written: ArrowColumn, column: Column) -> bool:
    """Whether two texts are one number."""
    texts = {cell.strip() for cell in present(written)}
    values, _ = read_cells(pa.chunked_array([pa.array(sorted(texts), pa.large_string())]), column)
    assert isinstance(values, np.ndarray)
    values = values[~np.isnan(values)]
    return len(np.unique(values)) < len(values)


def infer_column(name: str, cells: ArrowColumn) -> Column:
    """How a column is read, from its type where it has one, else from how all its cells are written."""
    kind = cells.type
    if pa.types.is_boolean(kind):
        return Column(name, "boolean")
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return _with_days(Column(name, "datetime"), cells)
    if pa.types.is_floating(kind):
        return Column(name, "number")
    if pa.types.is_integer(kind):
        bounds: Any = pc.min_max(cells).as_py()
        exact = bounds["min"] is None or max(-bounds["min"], bounds["max"]) < EXACT
        return Column(name, "number" if exact else _words(cells))
    if pa.types.is_large_string(kind):
        return _of_texts(name, cells)
    return Column(name, "text")


def _of_texts(name: str, cells: ArrowColumn) -> Column:
    first = count_cells(cells.slice(0, FIRST_CELLS))
    if first:
        for find in (_boolean, _number, _date):
            if find(name, first) and (found := find(name, count_cells(cells))):
                return _with_days(found, cells) if found.kind == "datetime" else found
    return Column(name, _words(cells))


def count_cells(cells: ArrowColumn) -> Counter[str]:
    """How often each text occurs, without blank space around it and without marks for missing cells."""
    counts: Counter[str] = Counter()
    for block in cell_blocks(cells):
        counts.update(map(str, filled(block).drop_null().to_pylist()))
    return counts


def _boolean(name: str, cells: Mapping[str, int]) -> Column | None:
    words = {cell.lower() for cell in cells}
    family = next((pair for pair in BOOLEAN_PAIRS if words <= set(pair)), None)
    if family is None:
        return None
    if family == BOOLEAN_PAIRS[0]:
        return Column(name, "boolean")
    usual = max(sorted(cells), key=lambda cell: cells[cell])  # yes, Yes or YES
    case = str.upper if usual.isupper() else str.capitalize if usual[0].isupper() else str.lower
    return Column(name, "boolean", spelling=(case(family[0]), case(family[1])))


def _number(name: str, cells: Mapping[str, int]) -> Column | None:
    form = number_format(cells, READABLE_SHARE)
    if form is None or any(map(_is_code, cells)):
        return None
    return Column(name, "number", decimal_mark=form.decimal_mark, unit=form.unit)


def _is_code(cell: str) -> bool:
    """Whether it is a name that is written in digits: 007, or a whole number too long to be kept exactly."""
    digits = cell.lstrip("+-")
    return CODE_PATTERN.match(cell) is not None or (digits.isdecimal() and (len(digits) > 16 or int(digits) >= EXACT))


def _date(name: str, cells: Mapping[str, int]) -> Column | None:
    orders = date_orders(cells, READABLE_SHARE)
    return Column(name, "datetime", date_order=orders[0]) if orders else None


def _with_days(column: Column, cells: ArrowColumn) -> Column:
    values, _ = read_cells(cells, column)
    assert isinstance(values, np.ndarray)
    return replace(column, day_only=bool((values[~np.isnan(values)] % DAY == 0).all()))


def _words(cells: ArrowColumn) -> ColumnKind:
    """Category where few different cells come again and again and are no prose, else text."""
    first = list(itertools.islice(present(cells), FIRST_CELLS))
    if not first:
        return "text"
    if np.mean([len(cell) for cell in first]) > PROSE_LENGTH or np.mean([len(c.split()) for c in first]) > PROSE_WORDS:
        return "text"
    different, rows = count_different(present(cells))
    few = different <= MOST_CATEGORIES and rows >= ROWS_PER_CATEGORY * different
    return "category" if few else "text"


def say_kinds(columns: Sequence[Column], asked: Mapping[str, str]) -> str:
    """What a person should know of how columns are read; "" where all are read as the text that they are."""
    if all(column.kind == "text" and column.name not in asked for column in columns):
        return ""
    names = {kind: [_said(column, asked) for column in columns if column.kind == kind] for kind in KINDS}
    said = "; ".join(f"{kind} {join_phrases(each, 12)}" for kind, each in names.items() if each)
    return f"Column kinds: {said}. Change one with --column NAME=KIND."


def say_readers(columns: Sequence[Column]) -> str:
    """What networks that start from a base read of a table; "" where it is all text, or one column."""
    texts = [column.name for column in columns if column.kind == "text"]
    images = [column.name for column in columns if column.kind == "image"]
    if len(columns) < 2 or len(texts) == len(columns):
        return ""
    if images:
        return f"Networks read {images[0]!r} as images; the other columns are joined to them before the answer."
    if not texts:
        return (
            "No column is text: regimes that need a base are compared only if --base or --regimes names them, and "
            f"read each row as words ('{columns[0].name}: ...')."
        )
    return (
        f"Networks with a base's architecture read {join_phrases(texts, 12, quote=True)} as text; the other columns "
        "are joined to it before the answer."
    )


def _said(column: Column, asked: Mapping[str, str]) -> str:
    more = []
    if column.kind == "datetime" and column.date_order != "ymd":
        more.append("day before month" if column.date_order == "dmy" else "month before day")
    if column.kind == "number" and column.decimal_mark == ",":
        more.append("with decimal commas")
    if column.name in asked:
        more.append("as asked")
    return f"{column.name!r} ({', '.join(more)})" if more else repr(column.name)
