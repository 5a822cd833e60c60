"""Infer: which task is a table for, which columns are its inputs, and on which scale is its target?"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from warmstart.data.schema.amounts import CURRENCY, number_format, percent_beside_plain
from warmstart.data.schema.cell_values import read_numbers
from warmstart.data.schema.class_values import class_type, find_spellings
from warmstart.data.schema.class_weights import chosen_class_weights
from warmstart.data.schema.columns import Column, LabelNotation
from warmstart.data.schema.costs import chosen_costs, costs_note
from warmstart.data.schema.image_column import UNREADABLE_IMAGES, image_column, is_image_column, read_as_images
from warmstart.data.schema.infer_text import infer_text_schema, language_task
from warmstart.data.schema.kinds import column_of, count_cells, say_kinds, say_readers
from warmstart.data.schema.label_sets import PRINTED, SEPARATED, label_notation, vector_length
from warmstart.data.schema.named_columns import check_columns, no_target
from warmstart.data.schema.numbers import MANY_VALUES, are_merged, check_magnitude, check_moments, check_repeats
from warmstart.data.schema.scales import choose_scale
from warmstart.data.schema.schema import ColumnChoices, Scale, Schema, TaskName, check_meant, chosen_metric
from warmstart.data.tables.cells import (
    as_numbers,
    as_text,
    blank,
    constant,
    count_different,
    is_identifier,
    present,
)
from warmstart.data.tables.formats import CODE, NA_MARKS, numbers_if_all_are
from warmstart.data.tables.read import Table
from warmstart.data.tables.strings import ArrowColumn
from warmstart.errors import InputError, UsageError, shorten
from warmstart.types import Array

__all__ = ["ColumnChoices", "Scale", "Schema", "TaskName", "infer_schema"]

NUMERIC_SHARE = 0.95  # of a text column that must be numbers for it to be one with bad values
ROWS_PER_CLASS = 5  # fewer rows than this to a value, on average, are too few to call the values classes
MOST_CLASS_IDS = 2_000  # consecutive numbers up to this may be those of classes
ID_BALANCE = 10  # rows of the most common of them to one of the rarest: ages and scores have thinner tails
MONEY = rf"{CURRENCY}|[%‰]"  # with these a number is an amount, however often it recurs
PARTED = r"\d[,'\s]\d|\.\d+\."  # of a number with thousands separators or a decimal comma
FIRST_LOOK_ROWS = 500  # rows looked at first: most columns vary there, and do not follow the target


def infer_schema(table: Table, columns: ColumnChoices) -> Schema:
    """What the table is, from what the user said and from its values.

    The task: fractions are regression; whole numbers are classification where they take at most 20 values with at
    least 5 rows each on average, else regression; text that is numbers in at least 95 % of its cells is treated as
    numbers; any other text, and true/false, is classification; lists, or a separator, make it multi-label.
    Raises UsageError for a column that is not there, InputError for a target from which nothing can be learned.
    """
    if table.target and not columns.target and not columns.task:
        columns = replace(columns, target=table.target)
    check_columns(table, columns)
    pictures = image_column(table, columns)
    found = language_task(table, columns) if pictures is None else None
    if found:
        return infer_text_schema(table, columns, *found)
    if not columns.target:
        raise no_target(table)
    target = table.columns[columns.target]
    _check_varies(columns, target)
    notation = label_notation(target, columns.target, columns.separator)
    amounts = _amounts(table, columns) if notation is None else None
    numbers, bad = _numbers(table, columns, amounts, notation)
    task, multi_label, notes = _task(table, columns, notation, numbers, bad, amounts)
    scale: Scale = "linear"
    if task == "regression":
        check_magnitude(table, columns.target, numbers)
        scale, note = choose_scale(columns, numbers)
        notes.append(note)
    elif columns.scale not in (None, "linear"):
        raise UsageError(f"the scale {columns.scale!r} is for regression, but this is classification", "leave it out")
    check_meant(columns, task)
    classes = class_type(table, columns.target, notation) if task == "classification" else "text"
    image: Column | None = None
    if pictures is not None:
        image, said = read_as_images(table, pictures, columns)
        notes.append(said)
    text, labelled, ignored, read = _inputs(table, columns, task, image)
    costs = chosen_costs(columns, target, multi_label)
    if costs is not None:
        notes.append(costs_note(costs))
    if not columns.text:
        notes.append(_said_of_inputs(text, labelled and not say_readers(read), ignored))
    notes += [said for said in (say_kinds(read, columns.kinds), say_readers(read)) if said]
    return Schema(
        task=task,
        target=columns.target,
        text=text,
        labelled=labelled,
        group=columns.group,
        time=columns.time,
        ignored=ignored,
        scale=scale,
        multi_label=multi_label,
        separator=columns.separator,
        notes=tuple(notes),
        columns=read,
        notation=notation,
        class_type=classes,
        spellings=find_spellings(table, columns.target, classes) if notation is None else {},
        target_column=amounts if task == "regression" else None,
        metric=chosen_metric(columns, task, multi_label),
        class_weights=chosen_class_weights(columns, target, notation),
        costs=costs,
    )


# --- the target ----------------------------------------------------------------------------------------------------


def _check_varies(columns: ColumnChoices, target: ArrowColumn) -> None:
    name = columns.target
    if pa.types.is_nested(target.type) and not pa.types.is_list(target.type):
        raise InputError(f"column {name!r} holds {target.type}, expected numbers or classes", "write it as text")
    if pa.types.is_temporal(target.type) or pa.types.is_binary(target.type):
        raise InputError(
            f"column {name!r} holds {target.type}, expected numbers or classes",
            "write it as a number, for example days",
        )
    if all(cell.strip().lower() in NA_MARKS for cell in present(target)):
        raise InputError(
            f"column {name!r} has no value in any row, so there is nothing to learn", "choose another target"
        )
    only = next(present(target))
    if all(cell == only for cell in present(target)):
        raise InputError(
            f"column {name!r} is {shorten(only)} in every row, so there is nothing to learn", "choose another target"
        )


def _numbers(
    table: Table, columns: ColumnChoices, amounts: Column | None, notation: LabelNotation | None
) -> tuple[Array, Array]:
    """(the target's cells as numbers, which are there but no numbers); none is a number where there are lists."""
    target = table.columns[columns.target]
    if notation is not None:
        return np.full(len(target), np.nan), np.ones(len(target), dtype=bool)
    return read_numbers(table, columns.target, amounts)


def _amounts(table: Table, columns: ColumnChoices) -> Column | None:
    """How numbers are written in the target where not all of them are plain; None where it holds no amounts.

    Raises InputError where a point may part thousands, or be a decimal mark.
    """
    name, asked = columns.target, columns.kinds.get(columns.target)
    written = table.as_written(name)
    if not pa.types.is_large_string(written.type) or columns.task == "classification":
        return None
    how = asked.partition(":")[2] if asked else ""
    plain = not pa.types.is_large_string(table.columns[name].type)
    if how == "." or (plain and not how and not _may_part_thousands(written)):
        return None
    first = count_cells(written.slice(0, FIRST_LOOK_ROWS))
    if not plain and not number_format(first, NUMERIC_SHARE) and not percent_beside_plain(first):
        return None
    cells = count_cells(written)
    form = number_format(cells, NUMERIC_SHARE)
    if form is None:
        _check_percentages(name, cells)
        return None
    if form.ambiguous and not how:
        cell = next(cell for cell in present(written) if "." in cell)
        raise InputError(
            f"column {name!r} holds {cell!r} beside whole numbers below 1,000, and each fraction has three digits: a "
            "point may part thousands or be a decimal mark.",
            f"say which: --column {name}=number:, (points part thousands) or --column {name}=number:. (decimal points)",
        )
    if not how and not as_numbers(written)[1].any():
        return None  # plain numbers
    return Column(name, "number", decimal_mark="," if how == "," else form.decimal_mark, unit=form.unit)


def _check_percentages(name: str, cells: Mapping[str, int]) -> None:
    """Raises InputError for a column in which some numbers have a percent sign and others have none."""
    both = percent_beside_plain(cells)
    if both and number_format({cell.rstrip("%‰ "): count for cell, count in cells.items()}, NUMERIC_SHARE):
        raise InputError(
            f"column {name!r} holds {both[0]!r} beside {both[1]!r}, which may be a percentage or a fraction",
            "write all of them in one way, with % or without",
        )


def _may_part_thousands(written: ArrowColumn) -> bool:
    """Whether every number with a point has three digits after it, and some numbers have none."""
    points = pc.match_substring(written, ".")
    grouped = pc.match_substring_regex(written, r"^\s*[+-]?[1-9]\d{0,2}\.\d{3}\s*$")
    some, every = pc.any(points).as_py(), pc.all(points).as_py()
    return bool(some) and not every and points.equals(grouped)


def _task(
    table: Table,
    columns: ColumnChoices,
    notation: LabelNotation | None,
    numbers: Array,
    bad: Array,
    amounts: Column | None,
) -> tuple[TaskName, bool, list[str]]:
    """(task, multi-label?, why)"""
    name, target = repr(columns.target), table.columns[columns.target]
    if notation is not None:
        if columns.task == "regression":
            raise UsageError(f"column {name} holds several labels a row, which is not regression", "leave out --task")
        if columns.separator == "":
            raise UsageError(
                "the separator is empty", "name the character between two labels, for example --separator ','"
            )
        if notation == SEPARATED and not any(str(columns.separator) in cell for cell in present(target)):
            raise UsageError(
                f"no cell of column {name} contains the separator {columns.separator!r} (for example "
                f"{shorten(next(present(target)))})",
                "leave out --separator, or name the character between two labels",
            )
        how = _said_of_labels(target, notation)
        return "classification", True, [f"{name} {how}, so the task is multi-label classification."]
    if columns.task is not None:
        if columns.task == "regression" and not np.isfinite(numbers).any():
            raise UsageError(
                f"--task regression needs numbers, but column {columns.target!r} holds none", "leave out --task"
            )
        return columns.task, False, [f"The task is {columns.task}, as asked."]
    task, why = _guess(target, numbers, bad)
    written = table.as_written(columns.target)
    if amounts is not None and (
        re.fullmatch(MONEY, amounts.unit) or pc.any(pc.match_substring_regex(written, PARTED)).as_py()
    ):
        task, why = "regression", _said_of_amounts(written, amounts)
    if columns.target in columns.kinds:
        task = "regression"
    if class_type(table, columns.target, None) == "boolean":  # also as texts of a CSV file
        task, why = "classification", "is true or false"
    if task == "classification":
        check_moments(columns.target, target)
        check_repeats(table, columns.target, target)
    return task, False, [f"{name} {why}, so the task is {task}."]


def _said_of_labels(target: ArrowColumn, notation: LabelNotation) -> str:
    if length := vector_length(target, notation):
        return f"holds vectors of zeros and ones, whose places are labels, 0 to {length - 1}"
    return "holds several labels a row" + (", as printed lists" if notation == PRINTED else "")


def _said_of_amounts(target: ArrowColumn, amounts: Column) -> str:
    comma = amounts.decimal_mark == ","
    cell = next((cell for cell in present(target) if not comma or "," in cell), "")
    labels = " (if they are labels: --separator ',')" if comma and not amounts.unit else ""
    return f"holds amounts{' with decimal commas' if comma else ''}, such as {shorten(cell)}{labels}"


def _guess(target: ArrowColumn, numbers: Array, bad: Array) -> tuple[TaskName, str]:
    values = numbers[np.isfinite(numbers)]
    if pa.types.is_large_string(target.type):
        codes = pc.any(pc.match_substring_regex(target, CODE)).as_py()
        if codes or len(values) < NUMERIC_SHARE * (len(values) + bad.sum()):
            return "classification", f"holds text with {pc.count_distinct(target).as_py():,} different values"
    if are_merged(target):
        different = count_different(present(target))[0]
        return "classification", f"holds whole numbers too large to be told apart, {different:,} different ones"
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
    if whole and _are_ids(values):
        more = "which are consecutive and have many rows each (if they are quantities: --task regression)"
        return "classification", f"{said}, {more}"
    return "regression", said


def _are_ids(values: Array) -> bool:
    """Whether whole numbers are those of classes: consecutive from 0 or 1, and each with rows about as many."""
    if values.min() not in (0, 1) or values.max() > MOST_CLASS_IDS:
        return False
    counts = np.bincount(values.astype(np.int64))[int(values.min()) :]
    return bool(counts.min() >= ROWS_PER_CLASS and counts.max() <= ID_BALANCE * counts.min())


# --- the inputs ----------------------------------------------------------------------------------------------------


class _Inputs(NamedTuple):
    text: tuple[str, ...]  # columns that feed the model
    labelled: bool  # as 'column: value' lines?
    ignored: dict[str, str]  # why the others do not
    columns: tuple[Column, ...]  # how each of the first is read


def _inputs(table: Table, columns: ColumnChoices, task: TaskName, image: Column | None) -> _Inputs:
    """`image`: how the column of images is read, where there is one."""
    names = [name for name in table.columns.column_names if name not in columns.not_read]
    target = table.columns[columns.target]
    if columns.text:
        text = tuple(dict.fromkeys((*([image.name] if image else []), *columns.text)))
        ignored = {name: "not among the columns asked for" for name in names if name not in text}
        every = tuple(_read_column(table, name, columns, image) for name in text)
        return _Inputs(text, image is not None and len(text) > 1, ignored, every)
    ignored = {}
    read: dict[str, Column] = {}
    for name in names:
        if image is not None and image.name == name:
            read[name] = image
            continue
        why = _why_not_read(table.as_written(name) if name in columns.kinds else table.columns[name])
        if name not in columns.kinds and is_image_column(table, name):
            why = "holds images, and those of one other column are read" if image else UNREADABLE_IMAGES
        if why is None:
            read[name] = column_of(table, name, columns.kinds.get(name))
            why = _why_not(read[name], table.columns[name], target, task, name in columns.kinds)
        if why:
            ignored[name] = why
    text = tuple(name for name in names if name not in ignored)
    if not text:
        why = "; ".join(f"{name!r} {reason}" for name, reason in ignored.items()) or "there is only the target"
        raise InputError(f"no column is left to learn from: {why}", "name the columns to read with --text")
    alone = len(text) == 1 and read[text[0]].kind in ("text", "category", "image")
    labelled = not alone or pa.types.is_list(table.columns[text[0]].type)
    return _Inputs(text, labelled, ignored, tuple(read[name] for name in text))


def _read_column(table: Table, name: str, columns: ColumnChoices, image: Column | None) -> Column:
    if image is not None and image.name == name:
        return image
    return column_of(table, name, columns.kinds.get(name))


def _why_not_read(column: ArrowColumn) -> str | None:
    kind = column.type
    if (pa.types.is_nested(kind) and not pa.types.is_list(kind)) or pa.types.is_binary(kind):
        return f"is of type {kind}, which cannot be written as text"
    if blank(column):
        return "is empty in every row"
    if constant(column):
        return "is the same in every row"
    return None


def _why_not(column: Column, cells: ArrowColumn, target: ArrowColumn, task: TaskName, asked: bool) -> str | None:
    """`asked`: somebody said of which kind the column is, and so that it is more than a name of the row."""
    named = not asked and column.kind not in ("boolean", "datetime")
    if named and is_identifier(column.name, numbers_if_all_are(cells)):
        return "names the row (its values are nearly all different) and says nothing about others"
    return gives_away(cells, target, task)


def gives_away(column: ArrowColumn, target: ArrowColumn, task: TaskName) -> str | None:
    """Why the target follows from this column alone, or None: the same values, one for one, or rising with it."""
    if (
        len(column) > FIRST_LOOK_ROWS
        and gives_away(column.slice(0, FIRST_LOOK_ROWS), target.slice(0, FIRST_LOOK_ROWS), task) is None
    ):
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


def _monotone(column: ArrowColumn, target: ArrowColumn) -> bool:
    x, y = as_numbers(column)[0], as_numbers(target)[0]
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 3:
        return False
    steps = np.diff(y[both][np.argsort(x[both], kind="stable")])
    return bool((steps >= 0).all() or (steps <= 0).all())


def _said_of_inputs(text: tuple[str, ...], labelled: bool, ignored: dict[str, str]) -> str:
    said = ", ".join(repr(name) for name in text)
    how = ", written as 'column: value' lines" if labelled else ", read as it is" if len(text) == 1 else ""
    left_out = "".join(f"; {name!r} is left out: it {reason}" for name, reason in ignored.items())
    return f"The input is {said}{how}{left_out}."
