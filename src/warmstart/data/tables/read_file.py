"""Read a file: how does one file become one table, by its ending?"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from warmstart.data.tables.arrow_files import read_arrow, read_parquet_table
from warmstart.data.tables.compressed import COMPRESSED, inner_name, unpacked
from warmstart.data.tables.delimited import read_delimited
from warmstart.data.tables.excel import read_excel
from warmstart.data.tables.formats import (
    CUT_BY_DELIMITERS,
    TEXT_ENDINGS,
    FileContent,
    check_cells,
    check_names,
    check_text,
    check_width,
    instead,
    usual_type,
)
from warmstart.data.tables.json_files import read_json_table
from warmstart.data.tables.sqlite import read_sqlite
from warmstart.errors import InputError, UsageError, join_phrases

PANDAS_INDEX = "__index_level_"  # begins the name of the column in which pandas gives a DataFrame's index
DATABASES = (".sqlite", ".sqlite3", ".db")


def _json(path: Path) -> FileContent:
    check_text(path)
    return read_json_table(path)


READERS: dict[str, Callable[[Path], FileContent]] = {
    **dict.fromkeys(CUT_BY_DELIMITERS, read_delimited),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), _json),
    **dict.fromkeys((".parquet", ".pq"), lambda path: FileContent(read_parquet_table(path))),
    **dict.fromkeys((".arrow", ".feather", ".ipc"), lambda path: FileContent(read_arrow(path))),
    **dict.fromkeys((".xlsx", ".xlsm"), read_excel),
}
KNOWN = (*READERS, *DATABASES)


def is_table(path: Path) -> bool:
    """Whether the file is a table, by its ending; a compressed one is not, whatever is in it."""
    return path.suffix.lower() in KNOWN


def is_compressed_table(path: Path) -> bool:
    """Whether it is a compressed table, by its endings: .csv.gz, or .zip, of which only its content tells."""
    ending, inner = path.suffix.lower(), Path(inner_name(path)).suffix.lower() if path.suffix else ""
    return ending == ".zip" or (ending in COMPRESSED and inner in READERS)


def read_file(path: Path, table: str | None = None) -> FileContent:
    """The file as a table with unique column names, at least one row, and no giant cell.

    `table`: which one, of a database. Raises InputError for what cannot be read, UsageError for a `table` of a file
    that has but one.
    """
    if table is not None and path.suffix.lower() not in DATABASES:
        raise UsageError(f"{path} is no database, so --table {table} means nothing", "leave it out")
    if not (is_table(path) or is_compressed_table(path)):
        inner = [path.with_name(inner_name(path))] if path.suffix.lower() in COMPRESSED else []
        raise InputError(
            f"{path}: files ending in {''.join(path.suffixes[-2:] if inner else [path.suffix])!r} cannot be read"
            if path.suffix
            else f"{path}: has no file ending",
            ("unpack it, and name the file that was in it" if inner else instead([path]))
            or f"known endings are {join_phrases([*KNOWN, *TEXT_ENDINGS], 20)}; "
            f"of compressed tables, one of them before {join_phrases(COMPRESSED)}",
        )
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no regular file", "write the rows into a file, and name that")
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes)", "check how it was written")
        if path.suffix.lower() in DATABASES:
            content = FileContent(read_sqlite(path, table))
        elif is_table(path):
            content = READERS[path.suffix.lower()](path)
        else:
            with unpacked(path, tuple(READERS)) as file:
                return _checked(path, READERS[file.suffix](file))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}", "check its permissions") from error
    return _checked(path, content)


def _checked(path: Path, content: FileContent) -> FileContent:
    """The same with types that the rest of the program knows, without the index of pandas."""
    columns = content.columns
    check_width(path, columns.num_columns)
    check_names(path, columns.column_names)
    if columns.num_rows == 0:
        raise InputError(
            f"{path} has columns ({join_phrases(columns.column_names)}) but no rows", "check how it was written"
        )
    kept = {}
    for name, column in zip(columns.column_names, columns.columns, strict=True):
        if name.startswith(PANDAS_INDEX):
            continue
        try:
            kept[name] = usual_type(column)
        except (pa.ArrowException, ValueError) as error:
            raise InputError(f"{path}: column {name!r} cannot be read: {error}", "write it as text") from error
    table = pa.table(kept)
    check_cells(path, table)
    return replace(content, columns=table)
