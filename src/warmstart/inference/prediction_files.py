"""Prediction files: how are predictions written so that other programs can read them?"""

import csv
import itertools
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from warmstart.data.tables.cells import each_text
from warmstart.data.tables.formats import is_formula
from warmstart.data.tables.read import Table
from warmstart.errors import MissingError, UsageError, printable
from warmstart.runtime.files import replacing

DIGITS = 6  # of a number in CSV, for people to read: all those before its point, as well
BATCH = 2_000  # rows of an input that are turned into objects at a time
ENDINGS = (".csv", ".jsonl", ".parquet", ".xlsx")
ROW_GROUP = 50_000  # rows of a Parquet file that are written at a time
SHEET_ROWS = 1_048_576  # of a sheet of Excel, with the header
SHEET_CELL = 32_767  # characters
EXACT_IN_EXCEL = 10**15  # Excel's numbers have 15 digits: a longer one is written as text


def check_ending(path: Path | None) -> None:
    """Raises UsageError if predictions cannot be written to a file with this ending."""
    if path is not None and path.suffix not in ENDINGS:
        raise UsageError(f"{str(path)!r} has no ending that is known.", "end it in .csv, .jsonl, .parquet or .xlsx")
    if path is not None and path.suffix == ".xlsx" and find_spec("xlsxwriter") is None:
        raise MissingError(
            "writing .xlsx needs the package xlsxwriter.", "pip install 'warmstart[excel]', or write .csv"
        )


def check_apart(path: Path | None, read: Sequence[str]) -> None:
    """Raises UsageError if predictions would overwrite the rows that they are made from."""
    if path is not None and path.exists() and any(Path(file).exists() and path.samefile(file) for file in read):
        raise UsageError(f"{str(path)!r} holds the rows to predict from.", "name another file with --out")


def write_predictions(
    rows: Iterator[dict[str, Any]], path: Path, kept: Iterable[Table] = (), *, written: bool = False
) -> None:
    """All rows, in the format that the file's name ends with, or no file at all.

    `kept`: columns to write before them, one row for each, in one table or several. `written`: the predictions are
    texts of a model. Raises UsageError where it cannot be written.
    """
    try:
        with replacing(path) as temporary:
            _written(rows, temporary, path.suffix, kept, written)
    except OSError as error:
        raise UsageError(
            f"{str(path)!r} cannot be written: {error.strerror}.", "name another file with --out"
        ) from error


def _written(rows: Iterator[dict[str, Any]], path: Path, suffix: str, kept: Iterable[Table], written: bool) -> None:
    if suffix == ".parquet":
        _write_parquet(with_same_keys(rows), path, kept)
        return
    if suffix == ".xlsx":
        _write_sheet(rows, path, kept, written)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        if suffix == ".csv":
            print_csv(rows, file, kept, written=written)
            return
        for first, row in zip(_cells(kept), rows, strict=False):
            file.write(json.dumps(first | row, ensure_ascii=False, default=str) + "\n")


def _cells(kept: Iterable[Table]) -> Iterator[dict[str, Any]]:
    """The rows of these tables as dicts; without tables, empty dicts forever."""
    return _rows_of(kept, lambda table: (row for batch in table.columns.to_batches(BATCH) for row in batch.to_pylist()))


def _rows_of(kept: Iterable[Table], rows: Callable[[Table], Iterable[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    tables = iter(kept)
    first = next(tables, None)
    if first is None:
        return itertools.repeat({})
    return itertools.chain.from_iterable(map(rows, itertools.chain([first], tables)))


def _write_parquet(rows: Iterator[dict[str, Any]], path: Path, kept: Iterable[Table]) -> None:
    """In row groups, so that not all rows are held at once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    before: Iterator[pa.Table] = _blocks(kept)
    writer: pq.ParquetWriter | None = None
    schema = pa.schema([])
    try:
        while some := list(itertools.islice(rows, ROW_GROUP)):
            found = pa.Table.from_pylist(some)
            for beside in itertools.islice(before, 1):
                for name in reversed(beside.column_names):
                    found = found.add_column(0, name, beside[name])
            if writer is None:
                schema = pa.schema([_known(field) for field in found.schema])
                writer = pq.ParquetWriter(path, schema)
            writer.write_table(found.cast(schema))
        if writer is None:
            pq.write_table(pa.table({}), path)
    finally:
        if writer is not None:
            writer.close()


def _known(field: Any) -> Any:
    """A field that holds nothing so far may hold texts later: `reason` is one."""
    import pyarrow as pa

    return field.with_type(pa.string()) if pa.types.is_null(field.type) else field


def _blocks(kept: Iterable[Table]) -> "Iterator[Any]":
    """The columns of these tables, `ROW_GROUP` rows at a time."""
    import pyarrow as pa

    held: list[Any] = []
    for table in kept:
        held.append(table.columns)
        while sum(each.num_rows for each in held) >= ROW_GROUP:
            whole = pa.concat_tables(held)
            yield whole.slice(0, ROW_GROUP)
            held = [whole.slice(ROW_GROUP)]
    if held:
        yield pa.concat_tables(held)


def _write_sheet(rows: Iterator[dict[str, Any]], path: Path, kept: Iterable[Table], written: bool) -> None:
    """One sheet of Excel, row by row. Texts are texts: none is taken for a formula or a link."""
    import xlsxwriter

    plain = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "in_memory": False}
    with xlsxwriter.Workbook(str(path), plain | {"tmpdir": str(path.parent)}) as book:
        sheet = book.add_worksheet("predictions")
        for number, (first, row) in enumerate(zip(_cells(kept), with_same_keys(rows), strict=False), 1):
            cells = first | row
            if number == SHEET_ROWS:
                raise UsageError(f"a sheet holds at most {SHEET_ROWS - 1:,} rows.", "write .csv or .parquet")
            if number == 1:
                sheet.write_row(0, 0, list(map(str, cells)))
            for column, (name, value) in enumerate(cells.items()):
                cell = _cell(escape_formula(value) if written and name in row else value)
                if isinstance(cell, bool):
                    sheet.write_boolean(number, column, cell)
                elif isinstance(cell, int | float) and math.isfinite(cell) and abs(cell) < EXACT_IN_EXCEL:
                    sheet.write_number(number, column, value if isinstance(value, float) else cell)
                elif cell is not None:
                    sheet.write_string(number, column, str(cell)[:SHEET_CELL])


def with_same_keys(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The same rows, all with the keys of the first that has a prediction, in its order; after that, as they come."""
    rest, early = iter(rows), list[dict[str, Any]]()
    for row in rest:
        early.append(row)
        if row.get("reason") is None:
            break
    last = {"reason"} & set(early[-1] if early else ())
    columns = [*(key for key in early[-1] if key not in last), *last] if early else []
    for row in itertools.chain(early, rest):
        yield {key: row.get(key) for key in columns}


def print_csv(rows: Iterable[dict[str, Any]], file: Any, kept: Iterable[Table] = (), *, written: bool = False) -> None:
    """Write CSV to a file or a pipe row by row, so that a reader sees each row at once.

    `kept`: columns to write before them, as they are written where they come from. `written`: predictions are texts of
    a model, which follow from what it reads, which anybody may have written: where a spreadsheet would run one, a quote
    comes before it. Classes are the user's own, and stay as they are.
    """
    writer: csv.DictWriter[str] | None = None
    quoting: csv.DictWriter[str]
    flushed = 0.0
    for first, row in zip(_as_written(kept), with_same_keys(rows), strict=False):
        if writer is None:
            columns = [*first, *row]
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            quoting = csv.DictWriter(file, columns, lineterminator="\n", quoting=csv.QUOTE_ALL)
            writer.writeheader()
        cells: dict[str, Any] = first | {
            key: _cell(escape_formula(value) if written else value) for key, value in row.items()
        }
        if file.isatty():
            cells = {key: printable(cell) if isinstance(cell, str) else cell for key, cell in cells.items()}
        # A lone carriage return ends a row for most readers, but the library quotes only for what it ends rows with.
        returns = any(isinstance(cell, str) and "\r" in cell for cell in cells.values())
        (quoting if returns else writer).writerow(cells)
        if time.monotonic() - flushed > 1:
            file.flush()
            flushed = time.monotonic()


def _as_written(kept: Iterable[Table]) -> Iterator[dict[str, Any]]:
    """The same as `_cells`, as texts that are written like those in the file."""

    def rows(table: Table) -> Iterator[dict[str, Any]]:
        names = table.columns.column_names
        for cells in zip(*(each_text(table.as_written(name)) for name in names), strict=True):
            yield dict(zip(names, cells, strict=True))

    return _rows_of(kept, rows)


def _cell(value: Any) -> Any:
    """A number in digits to read; labels joined by '|', or as JSON where one of them holds that.

    Text that a spreadsheet would run as a formula stays as it is: a class that is predicted equals the one in the
    training table. What a model writes itself comes here escaped, by `escape_formula`.
    """
    if isinstance(value, float) and value and math.isfinite(value):
        return round(value, max(0, DIGITS - 1 - math.floor(math.log10(abs(value)))))
    if isinstance(value, list):
        parts = [str(part) for part in value]
        return json.dumps(parts, ensure_ascii=False) if any("|" in part for part in parts) else "|".join(parts)
    return value


def escape_formula(text: Any) -> Any:
    """Put a quote before text that a spreadsheet would run as a formula."""
    return "'" + text if isinstance(text, str) and is_formula(text) else text
