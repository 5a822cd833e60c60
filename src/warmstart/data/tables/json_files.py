"""JSON files: how does a file of JSON objects become a table? One object per line, or one array."""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from warmstart.data.tables.formats import MAX_COLUMNS, FileContent
from warmstart.data.tables.json_layouts import rows_of_object
from warmstart.data.tables.strings import Cells
from warmstart.errors import InputError, shorten


def read_json_table(path: Path) -> FileContent:
    """A file that is known to be UTF-8 text and not blank, read by Python's parser.

    Pyarrow's turns date-like text into dates and dies of deep nesting. A `.json` file that is one object may hold a
    whole table: see `json_layouts`.
    """
    if is_array(path):
        return FileContent(table_of_objects(path, _json_array(path)))
    known = rows_of_object(path, found) if path.suffix.lower() == ".json" and (found := _only_object(path)) else None
    if known is None:
        return FileContent(table_of_objects(path, json_line_rows(path)))
    rows, written = known
    placed = ((f"{path}: row {number}", row) for number, row in enumerate(rows, 1))
    return FileContent(table_of_objects(path, placed), (f"The rows are written as {written}.",))


def table_of_objects(path: Path, found: Iterable[tuple[str, object]]) -> pa.Table:
    """A table of objects, each with its place for messages. Raises InputError for what is no object."""
    columns: dict[str, list[object]] = {}  # by column, as objects of a million rows would take several times as much
    for before, (place, row) in enumerate(found):
        if not isinstance(row, dict):
            hint = 'write {"column": value, ...}'
            hint += ", for example by df.to_json(FILE, orient='records')" if isinstance(row, list) else ""
            raise InputError(f"{place} is {shorten(row, 40)}, expected an object", hint)
        for name in row:
            columns.setdefault(name, [None] * before)
        if len(columns) > MAX_COLUMNS:
            raise InputError(
                f"{place}: the objects so far have {len(columns):,} different keys; at most {MAX_COLUMNS:,} are read",
                "write what differs from row to row as values, not as keys",
            )
        for name, values in columns.items():
            values.append(row.get(name))
    return pa.table({name: as_array(path, name, values) for name, values in columns.items()})


def _only_object(path: Path) -> dict[str, object] | None:
    """The object that the file is, over however many lines; None where it is several, or broken."""
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        first = next(line for line in file if line.strip())
        alone = not any(line.strip() for line in file)
    try:
        found = DECODER.decode(first) if alone else None
    except (ValueError, RecursionError):
        return None  # what is wrong with it is said where its lines are read
    if alone:
        return found if isinstance(found, dict) else None
    with contextlib.suppress(ValueError, RecursionError):
        json.loads(first)
        return None  # one object a line
    with contextlib.suppress(ValueError, RecursionError):
        whole = DECODER.decode(path.read_text(encoding="utf-8-sig"))
        return whole if isinstance(whole, dict) else None
    return None


def is_array(path: Path) -> bool:
    """Whether the file is an array, and not an object a line."""
    with path.open(encoding="utf-8-sig") as file:
        return next(line for line in file if line.strip()).lstrip().startswith("[")


def json_line_rows(path: Path) -> Iterator[tuple[str, object]]:
    """Each line's value, with its place for messages."""
    rows = 0
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for line, content in enumerate(file, 1):
            if content.strip():
                rows += 1
                place = f"{path}: row {rows} (line {line})"
                hint = "expected one complete object a line; was the file cut off?"
                # leading blanks are kept: they count in the characters of messages
                yield place, _json_value(place, content.rstrip("\n"), 0, hint)[0]


def _json_array(path: Path) -> Iterator[tuple[str, object]]:
    """Each item of the array that the file is, with its place for messages."""
    text = path.read_text(encoding="utf-8-sig")
    position, line, rows = _after_blanks(text, text.index("[") + 1), 1, 0
    counted = 0  # characters whose line breaks are in `line`
    hint = "expected [{...}, {...}]; was the file cut off?"
    more = text[position : position + 1] != "]"
    while more:
        line += text.count("\n", counted, position)
        counted, rows = position, rows + 1
        place = f"{path}: row {rows} (line {line})"
        value, position = _json_value(place, text, position, hint)
        yield place, value
        position = _after_blanks(text, position)
        more = text[position : position + 1] == ","
        if more:
            position = _after_blanks(text, position + 1)
        elif text[position : position + 1] != "]":
            raise InputError(f"{place} is followed by neither a comma nor the end of the array", hint)
    rest = text[position + 1 :].strip()
    if rest:
        raise InputError(f"{path}: after the end of the array stands {shorten(rest, 40)}", "write one array a file")


def _after_blanks(text: str, position: int) -> int:
    match = BLANKS.match(text, position)
    return match.end() if match else position


def _json_value(place: str, text: str, position: int, hint: str) -> tuple[object, int]:
    """The value that begins there, and where it ends. On a line of its own nothing may follow it."""
    try:
        if position:
            found: tuple[object, int] = DECODER.raw_decode(text, position)
            return found
        return DECODER.decode(text), len(text)
    except RecursionError as error:
        raise InputError(f"{place} is nested too deeply", "flatten it to one object of plain values") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{place} is not valid JSON: {json_error_message(error)}", hint) from error
    except ValueError as error:  # a key twice, or an integer of thousands of digits
        raise InputError(f"{place}: {error}", "correct that line") from error


def _json_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = Counter(name for name, _ in pairs)
        raise ValueError(f"the key {next(name for name, count in names.items() if count > 1)!r} occurs twice")
    return row


DECODER = json.JSONDecoder(object_pairs_hook=_json_object)
BLANKS = re.compile(r"[ \t\r\n]*")


def as_array(path: Path, name: str, values: list[object]) -> Cells:
    """A column of Python's values as JSON has them. Raises InputError for lists and single values in one column."""
    kinds = {type(value) for value in values} - {type(None)}
    if list in kinds and len(kinds) > 1:
        lists = [isinstance(value, list) for value in values if value is not None]
        mostly = 2 * sum(lists) >= len(lists)
        row = next(i for i, v in enumerate(values, 1) if v is not None and isinstance(v, list) is not mostly)
        what = "lists" if mostly else "single values"
        raise InputError(
            f"{path}: column {name!r} holds {what}, but row {row} has {shorten(values[row - 1])}",
            "write a list in every row, also around a single value" if mostly else "write a single value there too",
        )
    try:
        return _array(kinds, values)
    except UnicodeEncodeError as error:
        row = next(i for i, value in enumerate(values, 1) if _has_lone_surrogate(value))
        raise InputError(
            f"{path}: row {row}, column {name!r} holds half of a character ({error.reason})", "correct that cell"
        ) from error
    except RecursionError as error:
        raise InputError(f"{path}: column {name!r} is nested too deeply", "flatten it to plain values") from error


def _array(kinds: set[type], values: list[object]) -> Cells:
    if list in kinds:
        return _lists([value if isinstance(value, list) else None for value in values])
    try:
        if kinds == {int}:
            return pa.array(values, pa.int64())
        if kinds and kinds <= {int, float}:
            return pa.array([None if v is None else float(v) for v in values], pa.float64())  # type: ignore[arg-type]
    except OverflowError:  # more than 64 bits: an id, exact only as text
        pass
    if kinds == {bool} or not kinds:
        return pa.array(values, pa.bool_() if kinds else pa.null())
    return pa.array([_json_text(value) for value in values], pa.large_string())


def _lists(values: list[list[object] | None]) -> Cells:
    """Lists of numbers or of truth values as they are, all others as lists of text."""
    kinds = {type(item) for value in values for item in value or ()} - {type(None)}
    known_kinds: tuple[tuple[set[type], Any], ...] = (
        (set(), pa.null()),
        ({bool}, pa.bool_()),
        ({int}, pa.int64()),
        ({int, float}, pa.float64()),
    )
    for known, kind in known_kinds:
        if kinds <= known:
            try:
                return pa.array(values, pa.list_(kind))
            except (OverflowError, pa.ArrowInvalid):  # an integer of more digits than fit: exact only as text
                break
    lists = [None if value is None else [_json_text(item) for item in value] for value in values]
    return pa.array(lists, pa.list_(pa.large_string()))


def _json_text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _has_lone_surrogate(value: object) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in _json_text(value) or "")


def json_error_message(error: json.JSONDecodeError) -> str:
    """What is wrong, and where in the line."""
    return f"{error.msg.removesuffix(' at')} at character {error.colno}"
