"""Delimited: how does a CSV or TSV file become a table? Its delimiter, quotes and header are recognized.

One convention for both (RFC 4180): a cell that begins with a quote ends with the next lone quote, and may hold
delimiters and line breaks; a quote anywhere else is a letter. Excel's first line `sep=;` names the delimiter.
"""

import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.csv as pacsv

from warmstart.data.tables.formats import NUMBER, FileContent, check_names, check_text, check_width
from warmstart.data.tables.strings import gathered
from warmstart.errors import InputError, join_phrases

BLOCK_BYTES = 64 << 20  # pyarrow refuses a CSV row longer than one block, so a block holds any cell we might name
PART_BYTES = 16 << 20  # the same where a file is read in parts: several blocks are held at once
DELIMITERS = (",", ";", "\t", "|")  # of CSV files
DELIMITER_ROWS = 21  # read with each of them, the header being one
TITLE_SHARE = 0.9  # of the rows with more cells than the first line, from which on that is no header
EXCEL_FIRST_LINE = re.compile(r'"?sep=(.)"?[ \r\n]*', re.IGNORECASE | re.DOTALL)
SWALLOWED_LINES = 3  # so many lines that look like rows are taken for rows even where no column tells
FEW_VALUES = 50  # different cells of a column that are kept, to tell whether a line's cell is one of them
NUMBER_START = re.compile(NUMBER, re.ASCII)


@dataclass(frozen=True)
class _Layout:
    """How a file is written."""

    path: Path
    delimiter: str
    skipped: int  # lines before the header: 1 where Excel's `sep=` stands there

    def rows(self, file: Iterator[str], strict: bool = False) -> "Iterator[list[str]]":
        """All rows that are not blank, the header among them."""
        return filter(None, csv.reader(file, delimiter=self.delimiter, strict=strict))

    def opened(self) -> IO[str]:
        """The file at the beginning of its header."""
        file = self.path.open(encoding="utf-8-sig", newline="")
        for _ in range(self.skipped):
            next(file)
        return file


def read_delimited(path: Path) -> FileContent:
    """The table in the file, every cell as the text that is written there.

    Raises InputError naming the row that cannot be read.
    """
    with _opened(path) as (reader, names):
        return FileContent(gathered(reader.schema, reader).rename_columns(names), untyped=True)


def delimited_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The same, some rows at a time."""
    with _opened(path, PART_BYTES) as (reader, names):
        for batch in reader:
            yield pa.RecordBatch.from_arrays(batch.columns, names)


@contextmanager
def _opened(path: Path, block: int = BLOCK_BYTES) -> Iterator[tuple[pacsv.CSVStreamingReader, list[str]]]:
    """The file's rows, and the names of its columns."""
    quotes = check_text(path)
    layout = _layout(path)
    header = _header(layout)
    check_width(path, len(header))
    names = [name.strip() or f"column {i}" for i, name in enumerate(header, 1)]
    check_names(path, names)
    if quotes:  # pyarrow takes a quote that is never closed for one long cell, so the quotes are checked first
        _check_rows(layout, len(header))
    try:
        with pacsv.open_csv(
            path,
            pacsv.ReadOptions(block_size=block, use_threads=False, skip_rows=layout.skipped),
            pacsv.ParseOptions(delimiter=layout.delimiter, newlines_in_values=quotes),
            # As text: pyarrow's own guess turns 007 into 7, 0x10 into 16 and 20-digit ids into rounded numbers.
            pacsv.ConvertOptions(column_types=dict.fromkeys(header, pa.large_string())),
        ) as reader:
            yield reader, names
    except pa.ArrowInvalid as error:
        _check_rows(layout, len(header))
        raise InputError(f"{path} cannot be read as CSV: {error}", "check the row it names") from error


# --- the layout -------------------------------------------------------------------------------------------------------


def _layout(path: Path) -> _Layout:
    with path.open(encoding="utf-8-sig", newline="") as file:
        said = EXCEL_FIRST_LINE.fullmatch(file.readline(16))
    if said:
        return _Layout(path, said[1], 1)
    return _Layout(path, _delimiter(path) if path.suffix.lower() == ".csv" else "\t", 0)


def _delimiter(path: Path) -> str:
    """What cuts the header and the first rows into equally many cells, and into the most; a comma where two do.

    Where nothing does, a comma; or a semicolon where the header has only those, as spreadsheets write it in half of
    Europe.
    """
    cells = {delimiter: _cells_in_each(_Layout(path, delimiter, 0)) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: cells[delimiter])
    with path.open(encoding="utf-8-sig") as file:
        header = next(line for line in file if line.strip())
    return best if cells[best] > 1 else ";" if ";" in header and "," not in header else ","


def _cells_in_each(layout: _Layout) -> int:
    """Of the first rows; 0 where they do not have equally many."""
    try:
        with layout.opened() as file:
            counts = {len(row) for row in itertools.islice(layout.rows(file), DELIMITER_ROWS)}
    except csv.Error:
        return 0
    return counts.pop() if len(counts) == 1 else 0


def _header(layout: _Layout) -> list[str]:
    try:
        with layout.opened() as file:
            return next(layout.rows(file), None) or _no_header(layout)
    except csv.Error as error:
        raise InputError(f"{layout.path} cannot be read as CSV: line 1: {error}", "check its quotes") from error


def _no_header(layout: _Layout) -> list[str]:
    raise InputError(f"{layout.path} holds nothing after its first line", "check how it was written")


# --- broken rows ------------------------------------------------------------------------------------------------------


@dataclass
class _Lines:
    """The lines of a file, of which those of the present row can be asked for."""

    file: Iterator[str]
    number: int  # lines that were read
    row: list[str] = field(default_factory=list)

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self.file)
        self.number += 1
        self.row.append(line)
        return line


@dataclass
class _Column:
    """What the cells of a column look like, of rows that are one line each."""

    numbers: bool = True
    values: set[str] | None = field(default_factory=set)  # None: too many to tell a row by

    def add(self, cell: str) -> None:
        self.numbers = self.numbers and NUMBER_START.match(cell.strip()) is not None
        if self.values is not None:
            self.values.add(cell)
            self.values = self.values if len(self.values) <= FEW_VALUES else None

    def fits(self, cell: str) -> bool | None:
        """Whether the cell could be one of this column; None where its kind is unknown."""
        bare = cell.strip().strip('"')
        if self.numbers:
            return NUMBER_START.match(bare) is not None
        return None if self.values is None else cell in self.values or bare in self.values


def _check_rows(layout: _Layout, columns: int) -> None:
    """Raise InputError for the first quote that is not closed properly, for one that takes rows for words of its cell,
    or for the rows with too many or few cells."""
    path, ragged, several = layout.path, list[str](), list[tuple[int, int, list[list[str]]]]()
    number, line = 0, layout.skipped + 1  # of the row that is being read; row 0 is the header
    seen, alone = [_Column() for _ in range(columns)], 0
    limit = csv.field_size_limit(path.stat().st_size + 1)  # a giant cell gets its own message later
    try:
        with layout.opened() as file:
            lines = _Lines(file, layout.skipped)
            for row in csv.reader(lines, delimiter=layout.delimiter, strict=True):
                if row and len(row) != columns:
                    ragged.append(f"row {number} (line {line}) has {len(row)}")
                elif row and number and len(lines.row) == 1:
                    alone += 1
                    for column, cell in zip(seen, row, strict=True):
                        column.add(cell)
                elif row and number and (cut := _as_rows(lines.row, layout.delimiter, columns)):
                    several.append((number, line, cut))
                number += bool(row)
                line = lines.number + 1
                lines.row.clear()
    except csv.Error as error:
        raise InputError(
            f"{path}: the quoting of row {number} (line {line}) is broken: {error}", _quote_hint(layout)
        ) from error
    finally:
        csv.field_size_limit(limit)
    if ragged:
        hint = "quote the cells that contain the delimiter or a line break"
        if columns == 1 and len(ragged) >= TITLE_SHARE * (number - 1):
            hint = "the table begins further down: remove the title or the remarks above its header"
        raise InputError(f"{path}: the header has {columns} columns, but {join_phrases(ragged, 5)}", hint)
    swallowed = [f"row {n} (line {at})" for n, at, cut in several if _are_rows(cut, seen if alone else [])]
    if swallowed:
        raise InputError(
            f"{path}: the quote in {join_phrases(swallowed, 5)} takes lines that look like rows for one cell",
            f"{_quote_hint(layout)}; if these lines are one cell, save the table as Parquet or JSON Lines",
        )


def _quote_hint(layout: _Layout) -> str:
    inside = 'a quote inside a quoted cell is written twice: "a 5"" pipe"'
    if layout.delimiter == "\t":
        again = f"pandas.read_csv({layout.path.name!r}, sep='\\t', quoting=3).to_csv('new.csv', index=False)"
        return f"close the quote; {inside}; where quotes are letters, write the file again: {again}"
    return f"close the quote; {inside}"


def _as_rows(lines: Sequence[str], delimiter: str, columns: int) -> list[list[str]]:
    """The lines of one row cut where the delimiter stands, if each could be a row of its own; else []."""
    cut = [line.rstrip("\r\n").split(delimiter) for line in lines]
    return cut if columns > 1 and all(len(cells) == columns for cells in cut) else []


def _are_rows(lines: Sequence[Sequence[str]], seen: Sequence[_Column]) -> bool:
    """Whether lines cut like rows are rows: what their columns hold elsewhere tells, else how many there are."""
    fitting = [column.fits(cell) for cells in lines for column, cell in zip(seen, cells, strict=False)]
    known = [fits for fits in fitting if fits is not None]
    return all(known) if known else len(lines) >= SWALLOWED_LINES
