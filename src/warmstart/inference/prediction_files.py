"""Prediction files: how are predictions written so that other programs can read them?"""

import csv
import itertools
import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from warmstart.data.tables.formats import is_formula
from warmstart.errors import UsageError, printable
from warmstart.runtime.files import replacing

DIGITS = 6  # of a number in CSV, for people to read: all those before its point, as well
ENDINGS = (".csv", ".jsonl", ".parquet")


def check_ending(path: Path | None) -> None:
    """Raises UsageError where predictions cannot be written to a file of this name."""
    if path is not None and path.suffix not in ENDINGS:
        raise UsageError(f"{str(path)!r} has no ending that is known.", "end it in .csv, .jsonl or .parquet")


def check_apart(path: Path | None, read: Sequence[str]) -> None:
    """Raises UsageError where predictions would take the place of the rows that they are made of."""
    if path is not None and path.exists() and any(Path(file).exists() and path.samefile(file) for file in read):
        raise UsageError(f"{str(path)!r} holds the rows to predict from.", "name another file with --out")


def write_predictions(rows: Iterator[dict[str, Any]], path: Path, *, classes: bool = True) -> None:
    """All rows, in the format that the file's name ends with, or no file at all.

    Raises UsageError where it cannot be written.
    """
    try:
        with replacing(path) as temporary:
            _written(rows, temporary, path.suffix, classes)
    except OSError as error:
        raise UsageError(
            f"{str(path)!r} cannot be written: {error.strerror}.", "name another file with --out"
        ) from error


def _written(rows: Iterator[dict[str, Any]], path: Path, suffix: str, classes: bool) -> None:
    if suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(list(alike(rows))), path)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        if suffix == ".csv":
            as_csv(rows, file, classes=classes)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


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


def as_csv(rows: Iterable[dict[str, Any]], file: Any, *, classes: bool = True) -> None:
    """To a file or a pipe, row by row: what is read as it comes should come.

    `classes`: texts are classes of the user's own, which stay as they are; what a model writes follows from what it
    reads, which anybody may have written: where a spreadsheet would run it, a quote comes before it.
    """
    writer: csv.DictWriter[str] | None = None
    quoting: csv.DictWriter[str]
    flushed = 0.0
    for row in alike(rows):
        if writer is None:
            names = list(row)
            writer = csv.DictWriter(file, names, lineterminator="\n")
            quoting = csv.DictWriter(file, names, lineterminator="\n", quoting=csv.QUOTE_ALL)
            writer.writeheader()
        cells = {key: _cell(value if classes else neutral(value)) for key, value in row.items()}
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
