"""Formats: how does one file become one table?"""

import codecs
import csv
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.feather as feather
import pyarrow.parquet as pq

from warmstart.data.tables.json_files import MAX_COLUMNS, read_json_table
from warmstart.data.tables.strings import ArrowColumn, gathered
from warmstart.errors import InputError, join_phrases

RowsType = TypeVar("RowsType", pa.RecordBatch, pa.Table)

MAX_CELL_BYTES = 1_000_000  # a longer cell is nearly always a broken quote or a file pasted into a table
BLOCK_BYTES = 64 << 20  # pyarrow refuses a CSV row longer than one block, so a block holds any cell we might name
SCANNED_BYTES = 4 << 20  # of a text file, at a time
DELIMITERS = (",", ";", "\t", "|")  # of CSV files
DELIMITER_ROWS = 21  # read with each of them, the header being one
UNPACKED_BYTES = 1 << 27  # of a Parquet file, whatever its size
UNPACKED_SHARE = 1_000  # times the file's bytes that it may unpack to
ARROW_BYTES = 1 << 30  # of strings in one array, above which 32 bits are too few to count them
BATCH_ROWS = 50_000  # of a Parquet file, at a time
TEXT_ENDINGS = (".txt", ".md")  # of files that are one text each
CUT_BY_DELIMITERS = (".csv", ".tsv", ".tab")
SPREADSHEETS = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers")
IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".svg")
UNREAD = {  # what to do instead
    SPREADSHEETS: "save the sheet as CSV (UTF-8) or Parquet",
    IMAGES: "images are not read by this version, only texts and tables",
}
NA_MARKS = frozenset({"", "na", "n/a", "#n/a", "<na>", "nan", "null", "none"})  # in numeric columns, any case
NUMBER = r"^[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[iI]nf(?:inity)?)$"
CODE = r"^[+-]?0\d"  # "007" is a name that happens to be written in digits


def read_file(path: Path) -> pa.Table:
    """The file as a table with unique column names, at least one row, and no giant cell."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path}: files ending in {path.suffix!r} cannot be read" if path.suffix else f"{path}: has no file ending",
            instead([path]) or f"known endings are {join_phrases([*READERS, *TEXT_ENDINGS], 13)}",
        )
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no regular file", "write the rows into a file, and name that")
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes)", "check how it was written")
        table = reader(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}", "check its permissions") from error
    _check_names(path, table.column_names)
    if table.num_rows == 0:
        raise InputError(
            f"{path} has columns ({join_phrases(table.column_names)}) but no rows", "check how it was written"
        )
    table = pa.table({name: usual_type(column) for name, column in zip(table.column_names, table.columns, strict=True)})
    check_cells(path, table)
    return table


def instead(files: Sequence[Path]) -> str:
    """What to do with files most of which are of a kind that many programs write and none is read; else ""."""
    endings = [file.suffix.lower() for file in files]
    for kind, hint in UNREAD.items():
        if 2 * sum(ending in kind for ending in endings) > len(endings):
            return hint
    return ""


def _check_names(path: Path, names: Sequence[str]) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(
            f"{path}: more than one column is called {join_phrases(twice, quote=True)}", "rename one of them"
        )


def check_cells(path: Path, table: pa.Table) -> None:
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not (pa.types.is_large_string(column.type) or pa.types.is_binary(column.type)):
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
    """The same values in one of the types that the rest of the program knows."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return usual_type(column.cast(kind.value_type))
    if pa.types.is_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.large_string())
    if pa.types.is_uint64(kind) and (pc.max(column).as_py() or 0) >= 2**63:
        return column.cast(pa.large_string())  # as text it stays exact
    if pa.types.is_integer(kind):
        return column.cast(pa.int64())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    if pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return column.cast(pa.list_(kind.value_type))
    return column


def _check_text(path: Path) -> bool:
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


def _first_line(path: Path) -> str:
    """The first line that is not blank."""
    with path.open(encoding="utf-8-sig") as file:
        return next(line for line in file if line.strip()).lstrip()


# --- CSV and TSV ------------------------------------------------------------------------------------------------------


def _read_csv(path: Path) -> pa.Table:
    quotes = _check_text(path)
    delimiter = _delimiter(path) if path.suffix.lower() == ".csv" else "\t"
    header = _csv_header(path, delimiter)
    check_width(path, len(header))
    names = [name.strip() or f"column {i}" for i, name in enumerate(header, 1)]
    _check_names(path, names)
    if quotes:  # pyarrow takes a quote that is never closed for one long cell, so the quotes are checked first
        _check_csv_rows(path, delimiter, len(header))
    try:
        with pacsv.open_csv(
            path,
            pacsv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
            pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=quotes),
            # As text: pyarrow's own guess turns 007 into 7, 0x10 into 16 and 20-digit ids into rounded numbers.
            pacsv.ConvertOptions(column_types=dict.fromkeys(header, pa.large_string())),
        ) as reader:
            table = gathered(reader.schema, reader)
    except pa.ArrowInvalid as error:
        _check_csv_rows(path, delimiter, len(header))
        raise InputError(f"{path} cannot be read as CSV: {error}", "check the row it names") from error
    return table.rename_columns(names)


def _delimiter(path: Path) -> str:
    """What cuts the header and the first rows into equally many cells, and into the most; a comma where two do.

    Where nothing does, a comma; or a semicolon where the header has only those, as spreadsheets write it in half of
    Europe.
    """
    cells = {delimiter: _cells_in_each(path, delimiter) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: cells[delimiter])
    header = _first_line(path)
    return best if cells[best] > 1 else ";" if ";" in header and "," not in header else ","


def _cells_in_each(path: Path, delimiter: str) -> int:
    """Of the first rows; 0 where they do not have equally many."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = filter(None, csv.reader(file, delimiter=delimiter))
            counts = {len(row) for row in itertools.islice(rows, DELIMITER_ROWS)}
    except csv.Error:
        return 0
    return counts.pop() if len(counts) == 1 else 0


def _csv_header(path: Path, delimiter: str) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return next(row for row in csv.reader(file, delimiter=delimiter) if row)
    except csv.Error as error:
        raise InputError(f"{path} cannot be read as CSV: line 1: {error}", "check its quotes") from error


def _check_csv_rows(path: Path, delimiter: str, columns: int) -> None:
    """Raise InputError for the first quote that is not closed properly, or for the rows with too many or few cells."""
    ragged: list[str] = []
    number, line = 0, 1  # of the row that is being read; row 0 is the header
    limit = csv.field_size_limit(path.stat().st_size + 1)  # a giant cell gets its own message later
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for row in reader:
                if row and len(row) != columns:
                    ragged.append(f"row {number} (line {line}) has {len(row)}")
                number += bool(row)
                line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}: the quoting of row {number} (line {line}) is broken: {error}",
            'close the quote; a quote inside a quoted cell is written twice: "a 5"" pipe"',
        ) from error
    finally:
        csv.field_size_limit(limit)
    if ragged:
        raise InputError(
            f"{path}: the header has {columns} columns, but {join_phrases(ragged, 5)}",
            "quote the cells that contain the delimiter or a line break",
        )


def cut_by_delimiters(path: Path) -> bool:
    """Whether it is a CSV or TSV file, whose cells are all texts."""
    return any(suffix.lower() in CUT_BY_DELIMITERS for suffix in path.suffixes[-2:])  # the last may be .gz


def with_numbers(table: pa.Table) -> pa.Table:
    """The same table; columns of texts that are all numbers, or missing, are columns of numbers."""
    return pa.table({name: numbers_if_all_are(table[name]) for name in table.column_names})


def numbers_if_all_are(column: ArrowColumn) -> ArrowColumn:
    """Text as whole numbers or fractions if every cell is one or missing; otherwise as it was."""
    if not pa.types.is_large_string(column.type):
        return column
    for rows in (min(1000, len(column)), len(column)):  # long texts are recognised by their first rows
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


def _read_json(path: Path) -> pa.Table:
    _check_text(path)
    return read_json_table(path)


# --- Parquet and Arrow ------------------------------------------------------------------------------------------------


def _read_parquet(path: Path) -> pa.Table:
    def load() -> pa.Table:
        with pq.ParquetFile(path, memory_map=False) as file:
            check_width(path, len(file.schema_arrow))
            return gathered(file.schema_arrow, _parquet_batches(path, file))

    return _from_arrow(path, "a Parquet", load)


def _read_arrow(path: Path) -> pa.Table:
    def load() -> pa.Table:
        with path.open("rb") as file:
            magic = file.read(6)
            file.seek(0)
            if magic.startswith(b"FEA1"):
                return _sound(feather.read_table(path, memory_map=False))
            if magic.startswith(b"ARROW1"):
                with pa.ipc.open_file(file) as whole:
                    batches = (whole.get_batch(i) for i in range(whole.num_record_batches))
                    return gathered(whole.schema, map(_sound, batches))
            with pa.ipc.open_stream(file) as stream:
                return gathered(stream.schema, map(_sound, stream))

    return _from_arrow(path, "an Arrow", load)


def _parquet_batches(path: Path, file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file, some at a time; raises InputError before more is unpacked than such a file may hold.

    A cell that stands in each of a million rows is in the file once. So the strings are read with their dictionaries,
    whose lengths are known before they are written out.
    """
    size = path.stat().st_size
    allowed = max(UNPACKED_BYTES, UNPACKED_SHARE * size)

    def check(unpacked: int) -> None:
        if unpacked > allowed:
            raise InputError(
                f"{path} has {size:,} bytes and would unpack to more than {allowed:,}",
                "keep the columns and rows that are needed, or write them as CSV or JSON Lines",
            )

    facts, schema = file.metadata, file.schema_arrow
    groups = [facts.row_group(i) for i in range(facts.num_row_groups)]
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    check(max(sum(chunk.total_uncompressed_size for chunk in chunks), 8 * sum(chunk.num_values for chunk in chunks)))
    texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    unpacked = 0
    with pq.ParquetFile(path, memory_map=False, read_dictionary=texts) as coded:
        for batch in coded.iter_batches(BATCH_ROWS):
            columns = []
            for field, column in zip(schema, _sound(batch).columns, strict=True):
                if isinstance(column, pa.DictionaryArray) and not pa.types.is_dictionary(field.type):
                    unpacked += _text_bytes(column)
                    check(unpacked)
                    column = column.cast(pa.large_string()) if unpacked > ARROW_BYTES else column.cast(field.type)
                columns.append(column)
            yield pa.RecordBatch.from_arrays(columns, names=schema.names)


def _text_bytes(column: Any) -> int:
    """Bytes of the strings of a dictionary column, written out."""
    return pc.sum(pc.binary_length(column.dictionary).take(column.indices)).as_py() or 0


def check_width(path: Path, columns: int) -> None:
    """Raises InputError for a table with more columns than anybody means to be read."""
    if columns > MAX_COLUMNS:
        raise InputError(
            f"{path} has {columns:,} columns; at most {MAX_COLUMNS:,} are read",
            "keep the target and the columns that it is to be predicted from",
        )


def _sound(rows: RowsType) -> RowsType:
    rows.validate(full=True)  # a damaged file may hold offsets that point outside it
    return rows


def _from_arrow(path: Path, name: str, load: Callable[[], pa.Table]) -> pa.Table:
    try:
        return load()
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        reason = str(error).split(". ")[0].splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is not {name} file that can be read: {reason}", "write it again") from error


READERS: dict[str, Callable[[Path], pa.Table]] = {
    **dict.fromkeys(CUT_BY_DELIMITERS, _read_csv),
    ".jsonl": _read_json,
    ".ndjson": _read_json,
    ".json": _read_json,
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".arrow": _read_arrow,
    ".feather": _read_arrow,
    ".ipc": _read_arrow,
}
