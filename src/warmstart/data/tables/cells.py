"""Cells: what does a column contain, as text or as numbers?"""

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from warmstart.data.tables.formats import NA_MARKS, NUMBER
from warmstart.data.tables.strings import ArrowColumn, cell_blocks
from warmstart.types import Array

IDENTIFIER_SHARE = 0.98  # different values among the rows, from which on a short text names the row
SPACED_SHARE = 0.05  # of the cells of a column of names that may have blank space inside
SEPARATORS = (";", "|", ",")
SEVERAL_SHARE = 1 / 3  # of the different cells that are parted by one of these, from which on it may be meant to
AGAIN_SHARE = 3 / 4  # of the parts that must come again in another cell
PLAIN_NUMBER = re.compile(NUMBER, re.ASCII)
# Of the column in which a file keeps the index of a DataFrame: no name, and what programs call a column without one.
INDEX_NAME = re.compile(r"column 1|Unnamed: \d+(?:[._]\d+)*(?:_level_\d+)?|index|level_\d+|_c0|\.\.\.1", re.ASCII)
ID_NAME = re.compile(r"(?:^|[_\s-])(?:id|uuid|guid|key)$|[a-z](?:Id|ID)$", re.ASCII)


def as_text(column: ArrowColumn) -> list[str | None]:
    """Each cell as a person would write it: 12, 0.3, true, 'a, b' for a list; None where it is missing."""
    return list(each_text(column))


def each_text(column: ArrowColumn) -> Iterator[str | None]:
    """The same, as it comes: for columns of which not all cells are needed, or too many to hold."""
    for block in cell_blocks(column):
        if pa.types.is_integer(block.type):
            block = block.cast(pa.large_string())
        if pa.types.is_large_string(block.type):
            yield from block.to_numpy(zero_copy_only=False).tolist()  # six times as fast as `to_pylist`
        else:
            yield from map(plain_text, block.to_pylist())


def plain_text(cell: object) -> str | None:
    """One cell as a person would write it; None where it is missing."""
    if cell is None or cell != cell:  # NaN alone is not equal to itself
        return None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return f"{cell:.0f}" if cell.is_integer() and abs(cell) < 1e15 else f"{cell:.10g}"
    if isinstance(cell, list):
        return ", ".join(text for item in cell if (text := plain_text(item)) is not None)
    return str(cell)


def as_numbers(column: ArrowColumn) -> tuple[Array, Array]:
    """(float64 [n], bool [n]): the cells as numbers, NaN where missing or bad; and which are there but no numbers."""
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        whole = column.cast(pa.int64()) if pa.types.is_boolean(kind) else column
        return whole.cast(pa.float64(), safe=False).to_numpy().astype(np.float64), np.zeros(len(column), dtype=bool)
    numbers, bad = np.full(len(column), np.nan), np.zeros(len(column), dtype=bool)
    for i, cell in enumerate(each_text(column)):
        if cell is not None and PLAIN_NUMBER.match(cell.strip()):
            numbers[i] = float(cell)
        else:
            bad[i] = cell is not None and cell.strip().lower() not in NA_MARKS
    return numbers, bad


def likely_separator(cells: Iterable[str]) -> str | None:
    """What parts cells into labels that come again beside others: in a third of the different cells, at least four.

    >>> likely_separator(["Billing;calm", "Billing;angry", "Fault;calm", "Fault;angry"])
    ';'
    >>> likely_separator(["Paris, France", "Lyon, France", "Nice, France", "Lille, France"])
    """
    different = set(cells)
    for separator in SEPARATORS:
        several = [
            labels for cell in different if len(labels := {name.strip() for name in cell.split(separator)} - {""}) > 1
        ]
        beside = Counter(label for labels in several for label in labels)
        again = sum(count > 1 for count in beside.values())
        if len(several) >= max(4, SEVERAL_SHARE * len(different)) and again >= AGAIN_SHARE * len(beside):
            return separator
    return None


def _labels(names: Iterable[str]) -> set[str]:
    return {name.strip() for name in names if name.strip()}


def constant(column: ArrowColumn) -> bool:
    """Whether every cell is the same; a missing one is a value of its own."""
    first = next(each_text(column))
    return all(cell == first for cell in each_text(column))


def blank(column: ArrowColumn) -> bool:
    """Whether no cell says anything."""
    return next(present(column), None) is None


def is_identifier(name: str, column: ArrowColumn) -> bool:
    """Whether the values only name the rows: short, without spaces and nearly all different, or a running number."""
    if pa.types.is_floating(column.type):
        return INDEX_NAME.fullmatch(name) is not None and is_row_number(name, column)  # as 0.0, 1.0 ...
    if pa.types.is_integer(column.type):
        if is_row_number(name, column):
            return True
        steps = np.diff(as_numbers(column)[0])
        if not ((steps > 0).all() or (steps < 0).all() or ID_NAME.search(name)):
            return False
    elif not _without_spaces(column):
        return False
    distinct, rows = count_different(present(column))
    return distinct >= IDENTIFIER_SHARE * rows


def is_row_number(name: str, column: ArrowColumn) -> bool:
    """Whether whole numbers only count the rows: pandas' index as files keep it, or 0..n-1 or 1..n in any order.

    Under a name of pandas' index, also what is left of one when rows were chosen (all different, in any order) or
    tables were put together (rising, and again from the smallest).
    """
    if column.null_count or not len(column):
        return False
    numbers = as_numbers(column)[0]
    if not (np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all()):
        return False
    low, ordered = numbers.min(), np.sort(numbers)
    if low in (0, 1) and len(numbers) > 2 and (ordered == low + np.arange(len(numbers))).all():
        return True
    if not INDEX_NAME.fullmatch(name) or low < 0:
        return False
    again = numbers[1:][np.diff(numbers) <= 0]
    return bool((np.diff(ordered) > 0).all() or (len(again) <= len(numbers) / 5 and (again == low).all()))


def _without_spaces(column: ArrowColumn) -> bool:
    """Whether hardly any cell has blank space inside, and half of them are short."""
    lengths, spaced = array("q"), 0
    for cell in present(column):
        lengths.append(len(cell))
        spaced += len(cell.split(None, 1)) > 1
        if spaced > SPACED_SHARE * len(column):  # most columns are told by their first rows
            return False
    return spaced < SPACED_SHARE * len(lengths) and sorted(lengths)[len(lengths) // 2] <= 64


def present(column: ArrowColumn) -> Iterator[str]:
    """The cells that are not blank."""
    return (cell for cell in each_text(column) if cell is not None and cell.strip())


def count_different(cells: Iterable[str]) -> tuple[int, int]:
    """(different ones, all): by 64-bit hashes, as a set of millions of strings takes a gigabyte."""
    hashes = np.fromiter(map(hash, cells), dtype=np.int64)
    return len(np.unique(hashes)), len(hashes)
