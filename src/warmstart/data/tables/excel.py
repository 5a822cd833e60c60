"""Excel: how does the first filled sheet of a workbook become a table?"""

import datetime
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from warmstart.data.tables.compressed import check_unpacked
from warmstart.data.tables.formats import FileContent, check_names
from warmstart.errors import InputError, MissingError, join_phrases

MOST_CELLS = 20_000_000  # between the first and the last one used, empty ones too: they take 1 GB in memory
PLACE = re.compile(rb'<(?:\w+:)?(row|c)\b(?:[^>]*?\br="([A-Z]{0,4})(\d{1,9})")?')  # a row or a cell, and where it is
SHEET = re.compile(r"xl/worksheets/[^/]+\.xml")
PART = 1 << 20  # bytes of a sheet that are looked at at a time


def read_excel(path: Path) -> FileContent:
    """The first sheet that holds more than a line; its first filled row is the header.

    A column is numbers, truth values or times where all of its cells are; else text. Raises MissingError without the
    package python-calamine, InputError for a file that is damaged, too large, or without a table.
    """
    try:
        import python_calamine
    except ImportError as error:
        raise MissingError(
            f"{path}: reading .xlsx needs the package python-calamine",
            "pip install 'warmstart[excel]', or save the sheet as CSV (UTF-8)",
        ) from error
    check_unpacked(path)
    _check_cells(path)
    try:
        book = python_calamine.CalamineWorkbook.from_path(str(path))
        sheets = {name: book.get_sheet_by_name(name).to_python(skip_empty_area=True) for name in book.sheet_names}
    except Exception as error:  # calamine has a dozen errors of its own, for each kind of file
        raise InputError(f"{path} is not a workbook that can be read: {error}", "save it again, or as CSV") from error
    filled = {name: rows for name, rows in sheets.items() if any(any(cell != "" for cell in row) for row in rows)}
    if not filled:
        raise InputError(f"{path} holds no sheet with anything in it", "check how it was saved")
    name = next((name for name, rows in filled.items() if _has_rows(rows)), next(iter(filled)))
    others = [other for other in filled if other != name]
    note = f"The sheet {name!r} is read; not read: {join_phrases(others, quote=True)}."
    return FileContent(_table(path, name, filled[name]), (note,) if others else ())


def _has_rows(rows: Sequence[Sequence[Any]]) -> bool:
    """Whether there is anything below a header: a sheet of one line is a title, or a remark."""
    return sum(any(cell != "" for cell in row) for row in rows) > 1


def _check_cells(path: Path) -> None:
    """Raises InputError for a sheet that is too wide and long: its reader holds all cells between the used ones."""
    with zipfile.ZipFile(path) as archive:
        for member in filter(lambda name: SHEET.fullmatch(name), archive.namelist()):
            rows, columns, column, rest = 1, 1, 0, b""
            with archive.open(member) as file:
                while part := file.read(PART):
                    cut = (rest + part).rfind(b"<")  # what begins there may not end before the next part
                    for kind, letters, row in PLACE.findall((rest + part)[:cut]):
                        column = 0 if kind == b"row" else _number(letters) if letters else column + 1
                        rows = max(rows, int(row or 0)) if row or kind == b"c" else rows + 1
                        columns = max(columns, column)
                    rest = (rest + part)[cut:][:PART]
            if rows * columns > MOST_CELLS:
                raise InputError(
                    f"{path}: a sheet spans {rows:,} rows and {columns:,} columns; "
                    f"at most {MOST_CELLS:,} cells are read",
                    "remove what stands far from the table, or save it as CSV",
                )


def _number(letters: bytes) -> int:
    """27 for AA"""
    number = 0
    for letter in letters:
        number = 26 * number + letter - ord("A") + 1
    return number


def _table(path: Path, sheet: str, rows: Sequence[Sequence[Any]]) -> pa.Table:
    first = next(i for i, row in enumerate(rows) if any(cell != "" for cell in row))
    used = [i for i in range(len(rows[first])) if any(row[i] != "" for row in rows[first:])]
    names = [str(_text(rows[first][i]) or "").strip() or f"column {i + 1}" for i in used]
    check_names(Path(f"{path} (sheet {sheet!r})"), names)
    below = [row for row in rows[first + 1 :] if any(cell != "" for cell in row)]
    return pa.table({name: _column([row[i] for row in below]) for name, i in zip(names, used, strict=True)})


def _column(cells: Sequence[Any]) -> "pa.Array[Any]":
    values = [None if cell == "" else cell for cell in cells]
    kinds = {type(value) for value in values if value is not None}
    if kinds and kinds <= {int, float}:
        if all(value is None or (float(value).is_integer() and abs(value) < 2**53) for value in values):
            return pa.array([None if value is None else int(value) for value in values], pa.int64())
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {datetime.datetime} or kinds == {datetime.date, datetime.datetime}:
        return pa.array(values, pa.timestamp("us"))
    if kinds == {datetime.date}:
        return pa.array(values, pa.date32())
    return pa.array([_text(value) for value in values], pa.large_string())


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
