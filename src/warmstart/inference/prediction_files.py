"""Prediction files: how are predictions written so that other programs can read them?"""

import csv
import itertools
import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from warmstart.data.tables.cells import each_text
from warmstart.data.tables.formats import is_formula
from warmstart.data.tables.read import Table
from warmstart.errors import UsageError, printable
from warmstart.runtime.files import replacing

DIGITS = 6  # of a number in CSV, for people to read: all those before its point, as well
BATCH = 2_000  # rows of an input that are turned into objects at a time
ENDINGS = (".csv", ".jsonl", ".parquet")


def check_ending(path: Path | None) -> None:
    """Raises UsageError where predictions cannot be written to a file of this name."""
    if path is not None and path.suffix not in ENDINGS:
        raise UsageError(f"{str(path)!r} has no ending that is known.", "end it in .csv, .jsonl or .parquet")


def check_apart(path: Path | None, read: Sequence[str]) -> None:
    """Raises UsageError where predictions would take the place of the rows that they are made of."""
    if path is not None and path.exists() and any(Path(file).exists() and path.samefile(file) for file in read):
        raise UsageError(f"{str(path)!r} holds the rows to predict from.", "name another file with --out")


def write_predictions(
    rows: Iterator[dict[str, Any]], path: Path, kept: Table | None = None, *, written: bool = False
) -> None:
    """All rows, in the format that the file's name ends with, or no file at all.

    `kept`: columns to write before them, one row for each. `written`: the predictions are texts of a model.
    Raises UsageError where it cannot be written.
    """
    try:
        with replacing(path) as temporary:
            _written(rows, temporary, path.suffix, kept, written)
    except OSError as error:
        raise UsageError(
            f"{str(path)!r} cannot be written: {error.strerror}.", "name another file with --out"
        ) from error


def _written(rows: Iterator[dict[str, Any]], path: Path, suffix: str, kept: Table | None, written: bool) -> None:
    if suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        found = pa.Table.from_pylist(list(alike(rows)))
        for name in reversed(kept.columns.column_names if kept else ()):
            found = found.add_column(0, name, kept.columns[name])  # type: ignore[union-attr]
        pq.write_table(found, path)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        if suffix == ".csv":
            print_csv(rows, file, kept, written=written)
            return
        before: Iterator[dict[str, Any]] = itertools.repeat({})
        if kept is not None:
            before = (row for batch in kept.columns.to_batches(BATCH) for row in batch.to_pylist())
        for first, row in zip(before, rows, strict=False):
            file.write(json.dumps(first | row, ensure_ascii=False, default=str) + "\n")


def alike(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
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


def print_csv(rows: Iterable[dict[str, Any]], file: Any, kept: Table | None = None, *, written: bool = False) -> None:
    """To a file or a pipe, row by row: what is read as it comes should come.

    `kept`: columns to write before them, as they are written where they come from. `written`: predictions are texts of
    a model, which follow from what it reads, which anybody may have written: where a spreadsheet would run one, a quote
    comes before it. Classes are the user's own, and stay as they are.
    """
    writer: csv.DictWriter[str] | None = None
    quoting: csv.DictWriter[str]
    flushed = 0.0
    names = kept.columns.column_names if kept else []
    before: Iterator[tuple[str | None, ...]] = itertools.repeat(())
    if kept is not None:
        before = zip(*(each_text(kept.as_written(name)) for name in names), strict=True)
    for first, row in zip(before, alike(rows), strict=False):
        if writer is None:
            columns = [*names, *row]
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            quoting = csv.DictWriter(file, columns, lineterminator="\n", quoting=csv.QUOTE_ALL)
            writer.writeheader()
        cells: dict[str, Any] = dict(zip(names, first, strict=True))
        cells |= {key: _cell(neutral(value) if written else value) for key, value in row.items()}
        if file.isatty():
            cells = {key: printable(cell) if isinstance(cell, str) else cell for key, cell in cells.items()}
        # A lone carriage return ends a row for most readers, but the library quotes only for what it ends rows with.
        returns = any(isinstance(cell, str) and "\r" in cell for cell in cells.values())
        (quoting if returns else writer).writerow(cells)
        if time.monotonic() - flushed > 1:
            file.flush()
            flushed = time.monotonic()


def _cell(value: Any) -> Any:
    """A number in digits to read; labels joined by '|', or as JSON where one of them holds that.

    Text that a spreadsheet would run as a formula stays as it is: a class that is predicted equals the one in the
    training table. What a model writes itself comes here neutralised, by `neutral`.
    """
    if isinstance(value, float) and value and math.isfinite(value):
        return round(value, max(0, DIGITS - 1 - math.floor(math.log10(abs(value)))))
    if isinstance(value, list):
        parts = [str(part) for part in value]
        return json.dumps(parts, ensure_ascii=False) if any("|" in part for part in parts) else "|".join(parts)
    return value


def neutral(text: Any) -> Any:
    """A quote before text that a spreadsheet would run as a formula."""
    return "'" + text if isinstance(text, str) and is_formula(text) else text
