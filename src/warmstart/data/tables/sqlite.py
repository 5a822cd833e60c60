"""SQLite: how is a table of a SQLite database read?"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from warmstart.data.tables.formats import MAX_CELL_BYTES, check_names
from warmstart.data.tables.json_files import as_array
from warmstart.errors import InputError, UsageError, did_you_mean, join_phrases

HEADER = b"SQLite format 3\0"
MAX_SQLITE_STEPS = 50  # hundred million instructions of SQLite's machine: minutes
ROWS_AT_ONCE = 10_000
TABLES = (
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' "
    "AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
)


def read_sqlite(path: Path, name: str | None) -> pa.Table:
    """The table called `name`; without a name, the only one. Views are not read, and nothing is written.

    Raises UsageError where it must be named, InputError for a damaged file.
    """
    with path.open("rb") as file:
        if file.read(len(HEADER)) != HEADER:
            raise InputError(f"{path} is no SQLite database", "check how it was written")
    connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2 * MAX_CELL_BYTES)
        connection.execute("PRAGMA trusted_schema = OFF")  # no function of a stranger's schema is called
        steps = iter(range(MAX_SQLITE_STEPS))
        connection.set_progress_handler(lambda: next(steps, None) is None, 100_000_000)
        chosen = _chosen(path, connection, name)
        cursor = connection.execute('SELECT * FROM "{}"'.format(chosen.replace('"', '""')))
        names = [column[0] for column in cursor.description]
        check_names(path, names)
        columns: list[list[Any]] = [[] for _ in names]
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
                column += cells
    except (sqlite3.Error, UnicodeError, OverflowError) as error:
        raise InputError(f"{path} cannot be read: {error}", "write the table as CSV or Parquet") from error
    finally:
        connection.close()
    return pa.table({n: _array(path, n, column) for n, column in zip(names, columns, strict=True)})


def _chosen(path: Path, connection: sqlite3.Connection, name: str | None) -> str:
    there = [str(row[0]) for row in connection.execute(TABLES)]
    if name is not None:
        if name not in there:
            raise UsageError(f"{path} has no table {name!r}", did_you_mean(name, there))
        return name
    if len(there) != 1:
        found = f"{len(there)} tables: {join_phrases(there, quote=True)}" if there else "no table"
        raise UsageError(f"{path} holds {found}", "name one of them with --table" if there else "name another file")
    return there[0]


def _array(path: Path, name: str, cells: Sequence[Any]) -> "pa.Array[Any]":
    binary = next((row for row, cell in enumerate(cells, 1) if isinstance(cell, bytes)), None)
    if binary is None:
        return as_array(path, name, list(cells))
    if all(cell is None or isinstance(cell, bytes) for cell in cells):
        return pa.array(cells, pa.binary())
    raise InputError(f"{path}: row {binary}, column {name!r} holds bytes where others hold values", "correct that cell")
