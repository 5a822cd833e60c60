"""Prediction files: how are predictions written so that other programs can read them?"""

import csv
import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from warmstart.data.tables.cells import PLAIN_NUMBER
from warmstart.errors import UsageError, printable
from warmstart.runtime.files import replacing

DIGITS = 6  # of a number in CSV, for people to read: all those before its point, as well
FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # begin one in some spreadsheet, full-width or not
ENDINGS = (".csv", ".jsonl", ".parquet")


def check_ending(path: Path | None) -> None:
    """Raises UsageError where predictions cannot be written to a file of this name."""
    if path is not None and path.suffix not in ENDINGS:
        raise UsageError(f"{str(path)!r} has no ending that is known.", "end it in .csv, .jsonl or .parquet")


def check_apart(path: Path | None, read: Sequence[str]) -> None:
    """Raises UsageError where predictions would take the place of the rows that they are made of."""
    if path is not None and path.exists() and any(Path(file).exists() and path.samefile(file) for file in read):
        raise UsageError(f"{str(path)!r} holds the rows to predict from.", "name another file with --out")


def write_predictions(rows: Iterator[dict[str, Any]], path: Path) -> None:
    """All rows, in the format that the file's name ends with, or no file at all.

    Raises UsageError where it cannot be written.
    """
    try:
        with replacing(path) as temporary:
            _written(rows, temporary, path.suffix)
    except OSError as error:
        raise UsageError(
            f"{str(path)!r} cannot be written: {error.strerror}.", "name another file with --out"
        ) from error


def _written(rows: Iterator[dict[str, Any]], path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(list(rows)), path)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        if suffix == ".csv":
            as_csv(rows, file)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_csv(rows: Iterable[dict[str, Any]], file: Any) -> None:
    """To a file or a pipe, row by row: what is read as it comes should come."""
    writer: csv.DictWriter[str] | None = None
    quoting: csv.DictWriter[str]
    flushed = 0.0
    for row in rows:
        if writer is None:
            names = list(row)
            writer = csv.DictWriter(file, names, lineterminator="\n")
            quoting = csv.DictWriter(file, names, lineterminator="\n", quoting=csv.QUOTE_ALL)
            writer.writeheader()
        cells = {key: _cell(value) for key, value in row.items()}
        if file.isatty():
            cells = {key: printable(cell) if isinstance(cell, str) else cell for key, cell in cells.items()}
        # A lone carriage return ends a row for most readers, but the library quotes only for what it ends rows with.
        returns = any(isinstance(cell, str) and "\r" in cell for cell in cells.values())
        (quoting if returns else writer).writerow(cells)
        if time.monotonic() - flushed > 1:
            file.flush()
            flushed = time.monotonic()


def _cell(value: Any) -> Any:
    """Labels joined by '|'; a quote before text that a spreadsheet would run as a formula, but not before a number."""
    if isinstance(value, float) and value and math.isfinite(value):
        return round(value, max(0, DIGITS - 1 - math.floor(math.log10(abs(value)))))
    if isinstance(value, list):
        value = "|".join(str(part) for part in value)
    if isinstance(value, str) and value[:1] in FORMULA and not PLAIN_NUMBER.match(value):
        return "'" + value
    return value
