"""Formats: what do all file readers share: file endings, missing-value markers, text checks, types and cells?"""

import codecs
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from warmstart.data.tables.strings import ArrowColumn
from warmstart.errors import InputError, join_phrases

MAX_CELL_BYTES = 1_000_000  # a longer cell is nearly always a broken quote or a file pasted into a table
MAX_COLUMNS = 5_000  # of a table: beyond, the keys or the header are data, or features made by a machine
SCANNED_BYTES = 4 << 20  # of a text file, at a time
TEXT_ENDINGS = (".txt", ".md")  # of files that are one text each
CUT_BY_DELIMITERS = (".csv", ".tsv", ".tab")
SPREADSHEETS = (".xls", ".xlsb", ".ods", ".numbers")
ARCHIVES = (".tar", ".tgz", ".7z", ".rar", ".lz4")
IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".svg")
BINARY_STARTS = {  # what a file is that begins so, and how it should be called
    b"\x1f\x8b": ("compressed with gzip", "such as .csv.gz"),
    b"BZh": ("compressed with bzip2", "such as .csv.bz2"),
    b"\xfd7zXZ": ("compressed with xz", "such as .csv.xz"),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "such as .csv.zst"),
    b"PK\x03\x04": ("an Excel workbook or a zip archive", ".xlsx or .zip"),
    b"\xd0\xcf\x11\xe0": ("a workbook of an old Excel", ".xls, open it, and save it as .xlsx"),
    b"PAR1": ("a Parquet file", ".parquet"),
    b"ARROW1": ("an Arrow file", ".arrow"),
    b"SQLite format 3": ("a SQLite database", ".sqlite"),
}
UNREAD = {  # what to do instead
    SPREADSHEETS: "save the sheet as .xlsx, CSV (UTF-8) or Parquet",
    ARCHIVES: "unpack it, and name the file or folder that was in it",
    IMAGES: "of images, PNG, JPEG, GIF, WebP, BMP and TIFF are read: convert the others",
}
NA_MARKS = frozenset({"", "na", "n/a", "#n/a", "<na>", "nan", "null", "none"})  # in numeric columns, any case
NUMBER = r"^[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[iI]nf(?:inity)?)$"
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last four full-width
CODE = r"^[+-]?0\d"  # "007" is a name that happens to be written in digits


def is_formula(text: str) -> bool:
    """Whether a spreadsheet may run the cell: a number is none, whatever it begins with."""
    return text[:1] in FORMULA_STARTS and not re.match(NUMBER, text, re.ASCII)


@dataclass(frozen=True)
class FileContent:
    """The table in a file, and what a person should know of how it was read."""

    columns: pa.Table
    notes: tuple[str, ...] = ()  # sentences without the file's name
    untyped: bool = False  # all cells are texts, as in a CSV file; which columns are numbers is not decided yet


def instead(files: Sequence[Path]) -> str:
    """What to do with files most of which are of a kind that many programs write and none is read; else ""."""
    endings = [file.suffix.lower() for file in files]
    for kind, hint in UNREAD.items():
        if 2 * sum(ending in kind for ending in endings) > len(endings):
            return hint
    return ""


def check_names(path: Path, names: Sequence[str]) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(
            f"{path}: more than one column is called {join_phrases(twice, quote=True)}", "rename one of them"
        )


def check_width(path: Path, columns: int) -> None:
    """Raises InputError for a table with more columns than anybody means to be read."""
    if columns > MAX_COLUMNS:
        raise InputError(
            f"{path} has {columns:,} columns; at most {MAX_COLUMNS:,} are read",
            "keep the target and the columns that it is to be predicted from",
        )


def check_cells(path: Path, table: pa.Table) -> None:
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not pa.types.is_large_string(column.type):  # bytes are not read, or are images, and each image is checked
            continue
        lengths = pc.binary_length(column)
        longest = pc.max(lengths).as_py() or 0
        if longest > MAX_CELL_BYTES:
            row = pc.index(lengths, pa.scalar(longest, lengths.type)).as_py() + 1
            raise InputError(
                f"{path}: row {row}, column {name!r} holds {longest:,} bytes in one cell; "
                f"at most {MAX_CELL_BYTES:,} are accepted",
                "look for a quote that is never closed, or shorten the text",
            )


def usual_type(column: ArrowColumn) -> ArrowColumn:
    """The same values in one of the types that the rest of the program knows.

    Nanoseconds become microseconds, as Python's own times have no finer unit. Raises ArrowException for values that
    fit no type.
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return usual_type(_from_extension(column))
    if pa.types.is_dictionary(kind):
        chunks = [cells for chunk in column.chunks if len(cells := _decoded(cast(Any, chunk)))]
        return usual_type(pa.chunked_array(chunks) if chunks else pa.chunked_array([], kind.value_type))
    if pa.types.is_run_end_encoded(kind):
        return usual_type(cast(Any, pc).run_end_decode(column))
    if pa.types.is_uint64(kind) and (pc.max(column).as_py() or 0) >= 2**63:
        return column.cast(pa.large_string())  # as text it stays exact
    if pa.types.is_nested(kind) and not _is_list(kind):
        return column
    wanted = _usual(kind)
    return column if wanted == kind else column.cast(wanted, safe=False)


def _decoded(chunk: Any) -> Any:
    """What a dictionary stands for. Of the strings that polars gives, Arrow can take none by their number."""
    values = chunk.dictionary
    if pa.types.is_string_view(values.type):
        values = values.cast(pa.large_string())
    return values.take(chunk.indices)


def _is_list(kind: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view)
    return any(is_one(kind) for is_one in (*lists, pa.types.is_large_list_view))


def _usual(kind: Any) -> Any:
    """The type that stands for this one."""
    if pa.types.is_string(kind) or pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind) or pa.types.is_large_binary(kind):
        return pa.binary()
    if pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return pa.float64()
    for is_one, coarser in COARSER.items():
        if is_one(kind) and kind.unit == "ns":
            return coarser(kind)
    if _is_list(kind):
        return pa.list_(_usual(kind.value_type) if not pa.types.is_dictionary(kind.value_type) else pa.large_string())
    return kind


COARSER: dict[Callable[[pa.DataType], bool], Callable[[Any], pa.DataType]] = {
    pa.types.is_timestamp: lambda kind: pa.timestamp("us", kind.tz),
    pa.types.is_duration: lambda kind: pa.duration("us"),
    pa.types.is_time64: lambda kind: pa.time64("us"),
}


def _from_extension(column: ArrowColumn) -> ArrowColumn:
    """What lies below a type that somebody added to Arrow's; an interval or a period of pandas as pandas writes it."""
    name, kind = column.type.extension_name, column.type.storage_type
    below: ArrowColumn = pa.chunked_array([cast(Any, chunk).storage for chunk in column.chunks], kind)
    if pa.types.is_struct(kind) and {field.name for field in kind} == {"left", "right"}:
        closed = _closed(column.type)
        start, end = "[" if closed in ("left", "both") else "(", "]" if closed in ("right", "both") else ")"
        between: list[Any] = below.to_pylist()
        cells = [None if each is None else f"{start}{each['left']}, {each['right']}{end}" for each in between]
        return pa.chunked_array([pa.array(cells, pa.large_string())])
    if name == "arrow.uuid":
        cells = [None if cell is None else str(cell) for cell in column.to_pylist()]
        return pa.chunked_array([pa.array(cells, pa.large_string())])
    if name == "pandas.period":
        raise pa.ArrowInvalid(f"it holds periods ({column.type}), which only pandas reads")
    return below.cast(pa.bool_()) if name == "arrow.bool8" else below


def _closed(kind: Any) -> str:
    """Which ends belong to an interval of pandas: 'right' where its type does not say."""
    try:
        said = json.loads(kind.__arrow_ext_serialize__()).get("closed", "right")
    except (ValueError, AttributeError):
        return "right"
    return str(said)


def check_text(path: Path) -> bool:
    """Whether the file holds a quote. Raises InputError where it is no UTF-8 text; holds little of it at a time."""
    decode = codecs.getincrementaldecoder("utf-8-sig")().decode
    blank, quotes, read = True, False, 0
    try:
        with path.open("rb") as file:
            while block := file.read(SCANNED_BYTES):
                read += len(block)
                text = decode(block)
                if "\0" in text:
                    raise not_text(path, read)
                blank = blank and not text.strip()
                quotes = quotes or '"' in text
        decode(b"", True)
    except UnicodeDecodeError as error:
        raise not_text(path, read) from error
    if blank:
        raise InputError(f"{path} holds nothing but blank space", "check how it was written")
    return quotes


def not_text(path: Path, read: int) -> InputError:
    """What is wrong with a file of which the first `read` bytes are no UTF-8 text, and in which line."""
    with path.open("rb") as file:
        data = file.read(read)
    known = next((kind for start, kind in BINARY_STARTS.items() if data.startswith(start)), None)
    if known:
        return InputError(f"{path} is {known[0]}, whatever its name says", f"give it the ending {known[1]}")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return InputError(f"{path} is written in UTF-16, not UTF-8", "save it as UTF-8")
    try:
        line = data.count(b"\n", 0, len(data.decode("utf-8-sig").partition("\0")[0].encode())) + 1
    except UnicodeDecodeError as error:
        bad = error.object[error.start]  # `start` counts from after a byte order mark, so the object is asked
        line = error.object.count(b"\n", 0, error.start) + 1
        return InputError(
            f"{path} is not UTF-8: byte {error.start:,} (line {line:,}) is 0x{bad:02x}",
            "convert it to UTF-8, for example with: iconv -f WINDOWS-1252 -t UTF-8 IN > OUT",
        )
    return InputError(f"{path} holds a NUL byte (line {line:,}), so it is not plain text", "save it as UTF-8 text")


# --- numbers that are written as text ---------------------------------------------------------------------------------


def with_numbers(table: pa.Table) -> pa.Table:
    """The same table; columns of texts that are all numbers, or missing, are columns of numbers."""
    return pa.table({name: numbers_if_all_are(table[name]) for name in table.column_names})


def numbers_if_all_are(column: ArrowColumn) -> ArrowColumn:
    """Text as whole numbers or fractions if every cell is one or missing; otherwise as it was."""
    if not pa.types.is_large_string(column.type):
        return column
    for rows in (min(1000, len(column)), len(column)):  # long texts are recognized by their first rows
        cells = pc.utf8_trim_whitespace(column.slice(0, rows))
        marks = pa.array(sorted(NA_MARKS), pa.large_string())
        cells = pc.if_else(pc.is_in(pc.utf8_lower(cells), marks), pa.scalar(None, pa.large_string()), cells)
        if cells.null_count < rows and not _all_match(cells, NUMBER):
            return column
    if cells.null_count == rows or pc.any(pc.match_substring_regex(cells, CODE)).as_py():
        return column
    if not _all_match(cells, r"^[+-]?\d+$"):
        return cells.cast(pa.float64())
    try:
        return pc.replace_substring_regex(cells, r"^\+", "").cast(pa.int64())
    except pa.ArrowInvalid:  # more than 64 bits: an id, exact only as text
        return column


def _all_match(cells: ArrowColumn, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(cells, pattern)).as_py())
