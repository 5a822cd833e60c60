"""Recognise: which task is a table, which columns feed it, and on which scale?"""

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from warmstart.data.formats import CODE, NA_MARKS, NUMBER
from warmstart.data.read import Table
from warmstart.data.texts import Column, blocks
from warmstart.errors import InputError, UsageError, did_you_mean, shortened
from warmstart.record import Array

Scale = Literal["linear", "log10", "log10(1+x)"]
TaskName = Literal["regression", "classification"]

NUMERIC_SHARE = 0.95  # of a text column that must be numbers for it to be one with bad values
MANY_VALUES = 20  # whole numbers with more different values are quantities, with fewer they may be classes
ROWS_PER_CLASS = 5  # fewer rows than this to a value, on average, are too few to call the values classes
IDENTIFIER_SHARE = 0.98  # different values among the rows, from which on a short text names the row
SPACED_SHARE = 0.05  # of the cells of a column of names that may have blank space inside
GLANCE = 500  # rows looked at first: most columns vary there, and do not follow the target
PLAIN_NUMBER = re.compile(NUMBER, re.ASCII)
ID_NAME = re.compile(r"(?:^|[_\s-])(?:id|uuid|guid|key)$|[a-z](?:Id|ID)$", re.ASCII)


@dataclass(frozen=True)
class Columns:
    """What the user said about the columns; everything but the target may be left to `recognise`."""

    target: str
    text: tuple[str, ...] = ()
    group: str | None = None
    task: TaskName | None = None  # None: from the target's values
    separator: str | None = None  # splits a target cell into labels: multi-label classification
    scale: Scale | None = None  # None: log where the target is positive and skewed


@dataclass(frozen=True)
class Schema:
    """What was recognised. `notes` say why, one sentence each, for `check` and the report."""

    task: TaskName
    target: str
    text: tuple[str, ...]
    labelled: bool  # True: an input is written as "column: value" lines, False: the texts joined by newlines
    group: str | None
    ignored: dict[str, str]  # column -> why it does not feed the model
    scale: Scale  # "linear" for classification
    multi_label: bool
    separator: str | None
    notes: tuple[str, ...] = field(default=())


def recognise(table: Table, columns: Columns) -> Schema:
    """What the table is, from what the user said and from its values.

    The task: fractions are regression; whole numbers are classification where they take at most 20 values with at
    least 5 rows each on average, else regression; text that is numbers in at least 95 % of its cells is treated as
    numbers; any other text, and true/false, is classification; lists, or a separator, make it multi-label.
    Raises UsageError for a column that is not there, InputError for a target from which nothing can be learned.
    """
    for name in (columns.target, *columns.text, *([columns.group] if columns.group is not None else [])):
        _check_exists(table, name)
    if columns.target in columns.text or columns.target == columns.group:
        role = "--group" if columns.target == columns.group else "--text"
        raise UsageError(f"column {columns.target!r} is both --target and {role}", "choose two different columns")
    target = table.columns[columns.target]
    _check_varies(columns, target)
    task, multi_label, notes = _task(columns, target)
    scale: Scale = "linear"
    if task == "regression":
        scale, note = _scale(columns, as_numbers(target)[0])
        notes.append(note)
    elif columns.scale not in (None, "linear"):
        raise UsageError(f"the scale {columns.scale!r} is for regression, but this is classification", "leave it out")
    text, labelled, ignored = _inputs(table, columns, task)
    if not columns.text:
        notes.append(_said_of_inputs(text, labelled, ignored))
    return Schema(
        task=task,
        target=columns.target,
        text=text,
        labelled=labelled,
        group=columns.group,
        ignored=ignored,
        scale=scale,
        multi_label=multi_label,
        separator=columns.separator,
        notes=tuple(notes),
    )


# --- cells as text, numbers and labels -----------------------------------------------------------------------------


def as_text(column: Column) -> list[str | None]:
    """Each cell as a person would write it: 12, 0.3, true, 'a, b' for a list; None where it is missing."""
    return list(each_text(column))


def each_text(column: Column) -> Iterator[str | None]:
    """The same, as it comes: for columns of which not all cells are needed, or too many to hold."""
    for block in blocks(column):
        if pa.types.is_integer(block.type):
            block = block.cast(pa.large_string())
        if pa.types.is_large_string(block.type):
            yield from block.to_numpy(zero_copy_only=False).tolist()  # six times as fast as `to_pylist`
        else:
            yield from map(_plain, block.to_pylist())


def _plain(cell: object) -> str | None:
    if cell is None or cell != cell:  # NaN alone is not equal to itself
        return None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return f"{cell:.0f}" if cell.is_integer() and abs(cell) < 1e15 else f"{cell:.10g}"
    if isinstance(cell, list):
        return ", ".join(text for item in cell if (text := _plain(item)) is not None)
    return str(cell)


def as_numbers(column: Column) -> tuple[Array, Array]:
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


def as_labels(column: Column, separator: str | None) -> list[tuple[str, ...] | None]:
    """The labels of each cell, sorted, once each; None where the cell is missing. An empty list has no labels."""
    if pa.types.is_list(column.type):
        cells = (cell for block in blocks(column) for cell in block.to_pylist())
        return [None if cell is None else _labels([_plain(item) for item in cell]) for cell in cells]
    texts = each_text(column)
    return [_labels(text.split(separator)) if text is not None and text.strip() else None for text in texts]


def _labels(names: Sequence[str | None]) -> tuple[str, ...]:
    return tuple(sorted({name.strip() for name in names if name is not None and name.strip()}))


# --- the target ----------------------------------------------------------------------------------------------------


def _check_exists(table: Table, name: str) -> None:
    known = table.columns.column_names
    if name not in known:
        raise UsageError(f"there is no column {name!r} in {_named(table)}", did_you_mean(name, known))


def _named(table: Table) -> str:
    return table.files[0] if len(table.files) == 1 else f"these {len(table.files)} files"


def _check_varies(columns: Columns, target: Column) -> None:
    name = columns.target
    if pa.types.is_nested(target.type) and not pa.types.is_list(target.type):
        raise InputError(f"column {name!r} holds {target.type}, expected numbers or classes", "write it as text")
    if pa.types.is_temporal(target.type) or pa.types.is_binary(target.type):
        raise InputError(
            f"column {name!r} holds {target.type}, expected numbers or classes",
            "write it as a number, for example days",
        )
    if all(cell.strip().lower() in NA_MARKS for cell in _present(target)):
        raise InputError(
            f"column {name!r} has no value in any row, so there is nothing to learn", "choose another target"
        )
    only = next(_present(target))
    if all(cell == only for cell in _present(target)):
        raise InputError(
            f"column {name!r} is {shortened(only)} in every row, so there is nothing to learn", "choose another target"
        )


def _task(columns: Columns, target: Column) -> tuple[TaskName, bool, list[str]]:
    """(task, multi-label?, why)"""
    name = repr(columns.target)
    if columns.separator is not None or pa.types.is_list(target.type):
        if columns.task == "regression":
            raise UsageError(f"column {name} holds several labels a row, which is not regression", "leave out --task")
        if columns.separator == "":
            raise UsageError(
                "the separator is empty", "name the character between two labels, for example --separator ','"
            )
        return (
            "classification",
            True,
            [f"{name} holds several labels a row, so the task is multi-label classification."],
        )
    if columns.task is not None:
        _check_task(columns, target)
        return columns.task, False, [f"The task is {columns.task}, as asked."]
    task, why = _guess(target)
    if task == "classification":
        _check_repeats(columns.target, target)
    return task, False, [f"{name} {why}, so the task is {task}."]


def _check_task(columns: Columns, target: Column) -> None:
    if columns.task == "regression" and not np.isfinite(as_numbers(target)[0]).any():
        raise UsageError(
            f"--task regression needs numbers, but column {columns.target!r} holds none", "leave out --task"
        )


def _guess(target: Column) -> tuple[TaskName, str]:
    if pa.types.is_boolean(target.type):
        return "classification", "is true or false"
    numbers, bad = as_numbers(target)
    values = numbers[np.isfinite(numbers)]
    if pa.types.is_large_string(target.type):
        codes = pc.any(pc.match_substring_regex(target, CODE)).as_py()
        if codes or len(values) < NUMERIC_SHARE * (len(values) + bad.sum()):
            return "classification", f"holds text with {pc.count_distinct(target).as_py():,} different values"
    distinct = len(np.unique(values))
    whole = bool((values == np.floor(values)).all())
    # Whole numbers stored as fractions are meant as such, unless a missing value has forced them to be.
    if pa.types.is_floating(target.type) and distinct > 2 and not np.isnan(numbers).any():
        whole = False
    kind = "whole numbers" if whole else "numbers"
    some_bad = f" (and {bad.sum():,} cells that are not)" if bad.any() else ""
    said = f"holds {kind} with {distinct:,} different values{some_bad}"
    if distinct <= 2 or (whole and distinct <= MANY_VALUES and len(values) >= ROWS_PER_CLASS * distinct):
        return "classification", said
    return "regression", said


def _check_repeats(name: str, target: Column) -> None:
    distinct, rows = _count(_present(target))
    if distinct > MANY_VALUES and distinct > rows / 2:
        raise InputError(
            f"column {name!r} has {distinct:,} different values in {rows:,} rows "
            f"(for example {shortened(next(_present(target)))}): neither numbers nor classes",
            "choose another target; for numbers, remove currency signs and thousands separators; "
            "for several labels a cell, pass --separator",
        )


def _scale(columns: Columns, numbers: Array) -> tuple[Scale, str]:
    """Logarithm where the target is never negative, leans far to small values, and leans half as much or less as one.

    It leans where the middle of its 10th and 90th percentile lies far above the median (by a third of their half
    distance), or where it has a heavy tail: the 99th percentile above 10 times the median and a skewness above 2.
    """
    values = numbers[np.isfinite(numbers)]
    low, high, name = values.min(), values.max(), repr(columns.target)
    if columns.scale is not None:
        if (columns.scale == "log10" and low <= 0) or (columns.scale == "log10(1+x)" and low < 0):
            needed = "positive" if columns.scale == "log10" else "no negative"
            raise UsageError(
                f"the scale {columns.scale!r} needs {needed} values, but the smallest of {name} is {low:g}",
                "choose another scale",
            )
        return columns.scale, f"{name} is learned on the scale {columns.scale}, as asked."
    spread = f"{name} lies between {_short(low)} and {_short(high)} with a median of {_short(np.median(values))}"
    if low >= 0:
        scale: Scale = "log10" if low > 0 else "log10(1+x)"
        logarithms = np.log10(values) if low > 0 else np.log10(1 + values)
        leans = _lean(values) > 1 / 3 and abs(_lean(logarithms)) <= _lean(values) / 2
        heavy = np.percentile(values, 99) > 10 * np.median(values) and _skewness(values) > 2
        if leans or (heavy and abs(_skewness(logarithms)) <= _skewness(values) / 2):
            return scale, f"{spread}: it is learned as {scale}, which is undone in predictions."
    return "linear", f"{spread}: it is learned as it is."


def _short(number: float) -> str:
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e15 else f"{number:g}"


def _lean(values: Array) -> float:
    """Between -1 and 1 (Kelly's skewness): 0 where the 10th and 90th percentile are equally far from the median."""
    low, middle, high = np.percentile(values, (10, 50, 90))
    return float(((high - middle) - (middle - low)) / (high - low)) if high > low else 0.0


def _skewness(values: Array) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        centred = values / (np.abs(values).max() or 1.0)  # powers of large values would overflow
        centred = centred - centred.mean()
        deviation = centred.std()
        return float((centred**3).mean() / deviation**3) if deviation > 0 else 0.0


# --- the inputs ----------------------------------------------------------------------------------------------------


def _inputs(table: Table, columns: Columns, task: TaskName) -> tuple[tuple[str, ...], bool, dict[str, str]]:
    """(columns that feed the model, as 'column: value' lines?, why the others do not)"""
    names = [name for name in table.columns.column_names if name not in (columns.target, columns.group)]
    target = table.columns[columns.target]
    if columns.text:
        text = tuple(dict.fromkeys(columns.text))
        for name in text:
            if all(a == b for a, b in zip(each_text(table.columns[name]), each_text(target), strict=True)):
                raise UsageError(
                    f"the text column {name!r} is the target {columns.target!r} itself", "choose other text columns"
                )
        return text, False, {name: "not among the text columns asked for" for name in names if name not in text}
    ignored: dict[str, str] = {}
    for name in names:
        why = _why_not(name, table.columns[name], target, task)
        if why:
            ignored[name] = why
    text = tuple(name for name in names if name not in ignored)
    if not text:
        why = "; ".join(f"{name!r} {reason}" for name, reason in ignored.items()) or "there is only the target"
        raise InputError(f"no column is left to learn from: {why}", "name the columns to read with --text")
    return text, len(text) > 1 or not pa.types.is_large_string(table.columns[text[0]].type), ignored


def _why_not(name: str, column: Column, target: Column, task: TaskName) -> str | None:
    kind = column.type
    if (pa.types.is_nested(kind) and not pa.types.is_list(kind)) or pa.types.is_binary(kind):
        return f"is of type {kind}, which cannot be written as text"
    if next(_present(column), None) is None:
        return "is empty in every row"
    if constant(column):
        return "is the same in every row"
    if is_identifier(name, column):
        return "names the row (its values are nearly all different) and says nothing about others"
    return gives_away(column, target, task)


def constant(column: Column) -> bool:
    """Whether every cell is the same; a missing one is a value of its own."""
    first = next(each_text(column))
    return all(cell == first for cell in each_text(column))


def is_identifier(name: str, column: Column) -> bool:
    """Whether the values only name the rows: short, without spaces and nearly all different, or a running number."""
    if pa.types.is_floating(column.type):
        return False
    if pa.types.is_integer(column.type):
        steps = np.diff(as_numbers(column)[0])
        if not ((steps > 0).all() or (steps < 0).all() or ID_NAME.search(name)):
            return False
    elif not _without_spaces(column):
        return False
    distinct, rows = _count(_present(column))
    return distinct >= IDENTIFIER_SHARE * rows


def _without_spaces(column: Column) -> bool:
    """Whether hardly any cell has blank space inside, and half of them are short."""
    lengths, spaced = array("q"), 0
    for cell in _present(column):
        lengths.append(len(cell))
        spaced += len(cell.split(None, 1)) > 1
        if spaced > SPACED_SHARE * len(column):  # most columns are told by their first rows
            return False
    return spaced < SPACED_SHARE * len(lengths) and sorted(lengths)[len(lengths) // 2] <= 64


def _present(column: Column) -> Iterator[str]:
    """The cells that are not blank."""
    return (cell for cell in each_text(column) if cell is not None and cell.strip())


def _count(cells: Iterable[str]) -> tuple[int, int]:
    """(different ones, all): by 64-bit hashes, as a set of millions of strings takes a gigabyte."""
    hashes = np.fromiter(map(hash, cells), dtype=np.int64)
    return len(np.unique(hashes)), len(hashes)


def gives_away(column: Column, target: Column, task: TaskName) -> str | None:
    """Why the target follows from this column alone, or None: the same values, one for one, or rising with it."""
    if len(column) > GLANCE and gives_away(column.slice(0, GLANCE), target.slice(0, GLANCE), task) is None:
        return None  # whatever holds for all rows holds for the first ones, and seldom does
    mine, theirs = as_text(column), as_text(target)
    both = [(a, b) for a, b in zip(mine, theirs, strict=True) if a is not None and b is not None]
    if not both:
        return None
    if all(a == b for a, b in both):
        return "is the target itself"
    pairs, values, targets = len(set(both)), len({a for a, _ in both}), len({b for _, b in both})
    if not pairs == values == targets:
        return None
    if task == "classification":
        return "stands for the target one to one" if targets <= len(both) / 2 else None
    return "rises or falls exactly with the target" if _monotone(column, target) else None


def _monotone(column: Column, target: Column) -> bool:
    x, y = as_numbers(column)[0], as_numbers(target)[0]
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 3:
        return False
    steps = np.diff(y[both][np.argsort(x[both], kind="stable")])
    return bool((steps >= 0).all() or (steps <= 0).all())


def _said_of_inputs(text: tuple[str, ...], labelled: bool, ignored: dict[str, str]) -> str:
    said = ", ".join(repr(name) for name in text)
    how = "written as 'column: value' lines" if labelled else "read as it is"
    left_out = "".join(f"; {name!r} is left out: it {reason}" for name, reason in ignored.items())
    return f"The input is {said}, {how}{left_out}."
