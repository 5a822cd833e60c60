"""Label sets: how are several labels written in one cell, and which labels are these?

- a list, as Parquet and JSON have it;
- a printed list, as CSV has it: `['a', 'b']`, `["a", "b"]`, `{'a'}`, `('a',)`, `[a, b]`, and as numpy prints them:
  `['a' 'b']` and `array(['a'], dtype=object)`;
- a vector of zeros and ones, as list or printed, equally long in all rows: its labels are the places of the ones,
  from 0;
- texts between separators.
"""

import ast
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from warmstart.data.schema.columns import LabelNotation
from warmstart.data.tables.cells import each_text, plain_text
from warmstart.data.tables.formats import NA_MARKS
from warmstart.data.tables.strings import ArrowColumn, cell_blocks
from warmstart.errors import InputError, shorten

SEPARATED: LabelNotation = "separated"
LIST: LabelNotation = "list"
PRINTED: LabelNotation = "printed"
MULTI_HOT: LabelNotation = "multi-hot"
PRINTED_MULTI_HOT: LabelNotation = "printed multi-hot"
NAMES_ALONE = 'write the names of the labels alone, as in ["action", "comedy"]'

PRINTED_SHARE = 0.5  # of the cells, from which on printed lists are meant; the other cells are bad rows
VECTOR_SHARE = 0.95  # of the lists that must be zeros and ones, equally many; the others are bad rows
REPEATED_SHARE = 0.5  # of the lists in which an item comes twice, from which on they are sequences, not sets
MAX_LIST_BYTES = 100_000  # of a printed list: longer ones are not parsed
MAX_PLACES = 10_000  # of a vector of zeros and ones
WRAPPED = re.compile(r"\s*(?:array|set|frozenset)\((.*?)(?:,\s*dtype=[^()]*)?\)\s*", re.DOTALL)
ADJACENT = re.compile(r"\A(?:'[^'\\,]*'|\"[^\"\\,]*\")\s+['\"]")  # ['a' 'b']
QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"", re.DOTALL)


@dataclass(frozen=True)
class LabelSets:
    """The labels of each row."""

    labels: list[tuple[str, ...] | None]  # sorted, once each; None where the cell is missing or unread
    unread: dict[int, str]  # cells that are no list, by their place from 0


def label_notation(column: ArrowColumn, name: str, separator: str | None) -> LabelNotation | None:
    """How several labels are written in a target's cells; None where each cell is one label, or a number.

    Raises InputError for lists that are no sets of labels: of objects, lists or fractions, and sequences.
    """
    lists: Sequence[Sequence[Any]] | None
    if pa.types.is_list(column.type):
        kind = column.type.value_type
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_temporal(kind):
            raise InputError(f"column {name!r} holds lists of {kind}, expected lists of labels", NAMES_ALONE)
        lists, plain, hot = [items for items in _lists(column) if items is not None], LIST, MULTI_HOT
    else:
        lists, plain, hot = _printed(column), PRINTED, PRINTED_MULTI_HOT
    if lists is None:
        return SEPARATED if separator is not None else None
    if _is_multi_hot(lists):
        return hot
    _check_sets(lists, name)
    return plain


def read_label_sets(column: ArrowColumn, notation: LabelNotation, separator: str | None) -> LabelSets:
    """The labels of each cell. An empty list has no labels; the labels of a vector are the places of its ones."""
    unread: dict[int, str] = {}
    lists: Iterable[Sequence[Any] | None]
    if notation == SEPARATED:
        texts = each_text(column)
        lists = (text.split(separator) if text is not None and text.strip() else None for text in texts)
    elif notation in (LIST, MULTI_HOT):
        lists = _lists(column)
    else:
        lists = _parsed(column, unread)
    if notation not in (MULTI_HOT, PRINTED_MULTI_HOT):
        return LabelSets([None if items is None else _set(map(plain_text, items)) for items in lists], unread)
    rows = list(lists)
    length = _length(rows)
    found: list[tuple[str, ...] | None] = []
    for i, items in enumerate(rows):
        if items is not None and (len(items) != length or not _zeros_and_ones(items)):
            unread[i], items = str(items), None
        found.append(None if items is None else _set(str(place) for place, item in enumerate(items) if item))
    return LabelSets(found, unread)


def vector_length(column: ArrowColumn, notation: LabelNotation | None) -> int:
    """Of vectors of zeros and ones: how long they are; else 0."""
    lists = _lists(column) if notation == MULTI_HOT else _parsed(column, {}) if notation == PRINTED_MULTI_HOT else ()
    return _length(lists)


def holds_whole_numbers(column: ArrowColumn, notation: LabelNotation) -> bool:
    """Whether the labels are whole numbers, and no texts of digits."""
    if notation in (MULTI_HOT, PRINTED_MULTI_HOT):
        return True
    if notation == LIST:
        return pa.types.is_integer(column.type.value_type)
    if notation == SEPARATED:
        return False
    items = [item for items in _parsed(column, {}) if items for item in items]
    return bool(items) and all(isinstance(item, int) and not isinstance(item, bool) for item in items)


def parse_list(cell: str) -> list[Any] | None:
    """The items of a printed list, texts, numbers, true and false; None where the cell is none.

    >>> parse_list("['billing', 'crash']"), parse_list('["a"]'), parse_list("[]"), parse_list("['a' 'b']")
    (['billing', 'crash'], ['a'], [], ['a', 'b'])
    >>> parse_list("[0 1 0]"), parse_list("array(['a'], dtype=object)"), parse_list("[red, blue]"), parse_list("red")
    ([0, 1, 0], ['a'], ['red', 'blue'], None)
    """
    text = cell.strip()
    if len(text) > MAX_LIST_BYTES:
        return None
    if text in ("set()", "frozenset()"):
        return []
    if wrapped := WRAPPED.fullmatch(text):
        text = wrapped[1].strip()
    if len(text) < 2 or text[0] + text[-1] not in ("[]", "()", "{}"):
        return None
    if text[0] == "(" and not QUOTED.search(text):
        return None  # (1,200) is how accountants write a negative number
    inside = text[1:-1].strip()
    if not inside:
        return [] if text[0] != "{" else None  # an empty object
    if ADJACENT.search(inside):
        return _unquoted(inside)  # Python would join them to one text
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list | tuple | set | frozenset):
            return sorted(found, key=str) if isinstance(found, set | frozenset) else list(found)
        if isinstance(found, dict):
            return None
        break
    return _unquoted(inside) if text[0] == "[" else None


def _unquoted(inside: str) -> list[Any] | None:
    """What stands between brackets as numpy prints it, or without quotes."""
    if inside[0] in "'\"":
        quoted = [single or double for single, double in QUOTED.findall(inside)]
        return quoted if not QUOTED.sub("", inside).strip(" \t\r\n,") else None
    if any(bracket in inside for bracket in "[]{}()\"'"):
        return None
    if "," not in inside:
        words = inside.split()
        numbers = [_number(word) for word in words]
        if None in numbers:
            return list(words) if len(words) == 1 else None
        return numbers
    items = [item.strip() for item in inside.split(",")]
    return items if all(items) else None


def _number(word: str) -> float | int | bool | None:
    if word in ("True", "False"):
        return word == "True"
    try:
        return int(word) if word.lstrip("+-").isdigit() else float(word)
    except ValueError:
        return None


# --- what a column holds ----------------------------------------------------------------------------------------------


def _printed(column: ArrowColumn) -> list[list[Any]] | None:
    """The lists that are printed in the cells; None where most cells are none, or only words in brackets: [URGENT]."""
    if not pa.types.is_large_string(column.type):
        return None
    lists: list[list[Any]] = []
    odd = 0
    plainly = False  # whether one of them is certainly a list
    for cell in each_text(column):
        if cell is None or is_missing(cell):
            continue
        items = parse_list(cell)
        if items is None:
            odd += 1
            if odd > (1 - PRINTED_SHARE) * len(column):
                return None
            continue
        plainly = plainly or cell.strip() != f"[{items[0] if items else None}]" or not isinstance(items[0], str)
        lists.append(items)
    return lists if plainly and len(lists) >= PRINTED_SHARE * (len(lists) + odd) else None


def _is_multi_hot(lists: Sequence[Sequence[Any]]) -> bool:
    """Whether these are vectors of zeros and ones, equally long: as sets they would all be the same."""
    length = _length(lists)
    vectors = sum(len(items) == length and _zeros_and_ones(items) for items in lists)
    return 2 <= length <= MAX_PLACES and vectors >= VECTOR_SHARE * len(lists)


def _length(lists: Iterable[Sequence[Any] | None]) -> int:
    """The most common length."""
    counts = Counter(len(items) for items in lists if items is not None)
    return counts.most_common(1)[0][0] if counts else 0


def _zeros_and_ones(items: Sequence[Any]) -> bool:
    return all(isinstance(item, bool | int | float) and item in (0, 1) for item in items)


def _check_sets(lists: Sequence[Sequence[Any]], name: str) -> None:
    for items in lists:
        odd = next((item for item in items if isinstance(item, dict | list | tuple | set | complex | bytes)), None)
        if odd is not None:
            raise InputError(
                f"column {name!r} holds lists of other things than labels, such as {shorten(odd)}",
                NAMES_ALONE,
            )
        part = next(
            (item for item in items if isinstance(item, float) and item == item and not item.is_integer()), None
        )
        if part is not None:
            raise InputError(
                f"column {name!r} holds lists of fractions, such as {part:g}, expected lists of labels",
                "predict one number at a time: write each into a column of its own",
            )
    several = [items for items in lists if len(items) > 1]
    again = [items for items in several if len(set(map(plain_text, items))) < len(items)]
    if len(again) > max(1, REPEATED_SHARE * len(several)):
        raise InputError(
            f"column {name!r} holds sequences in which items come again, such as {shorten(list(again[0]))}: as sets of "
            "labels they would lose their order and number",
            "write each label once; a label for each word of a text is nothing that can be learned here",
        )


def _lists(column: ArrowColumn) -> Iterator[list[Any] | None]:
    return (cell for block in cell_blocks(column) for cell in block.to_pylist())


def _parsed(column: ArrowColumn, unread: dict[int, str]) -> Iterator[list[Any] | None]:
    """The printed lists, None where there is none; what says something else goes into `unread`."""
    for i, cell in enumerate(each_text(column)):
        items = None if cell is None or is_missing(cell) else parse_list(cell)
        if items is None and cell is not None and not is_missing(cell):
            unread[i] = cell
        yield items


def is_missing(cell: str) -> bool:
    return cell.strip().lower() in NA_MARKS


def _set(names: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({name.strip() for name in names if name is not None and name.strip()}))
