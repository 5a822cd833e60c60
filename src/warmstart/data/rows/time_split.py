"""Time split: which rows are the latest, so that a model is tested on what came after the rows it learned from?"""

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from warmstart.data.schema.cell_values import read_cells
from warmstart.data.schema.columns import Column
from warmstart.data.schema.kinds import infer_column
from warmstart.data.schema.schema import Schema
from warmstart.data.tables.read import Table
from warmstart.errors import InputError, UsageError, count_phrase, join_phrases
from warmstart.quantities import format_number
from warmstart.types import Array

if TYPE_CHECKING:
    from warmstart.data.rows.split import Splits

TIMED_KINDS = ("number", "datetime")
SHIFT = 0.1  # in standard deviations of a target, or in share of rows whose class would have to change: worth a caveat


def times_of(table: Table, name: str) -> tuple[Array, Column]:
    """When each row is from: float64 [n] seconds, or whatever number is there; NaN where nothing can be read.

    Raises UsageError for a column of something else.
    """
    column = infer_column(name, table.columns[name])
    if column.kind not in TIMED_KINDS:
        raise UsageError(
            f"--time {name}: the column holds {column.kind} values, which have no order in time.",
            "name a column of dates or of numbers, such as years",
        )
    return np.asarray(read_cells(table.columns[name], column)[0], dtype=np.float64), column


def cut_by_time(times: Array, val_rows: int, test_rows: int) -> Array:
    """0 for training, 1 for validation, 2 for test: int64 [n]. The latest about `test_rows` rows are for testing, those
    before them for validation. Rows of the same time are in the same part.

    Raises InputError where there are fewer than three different times.
    """
    order = np.argsort(times, kind="stable")
    starts = np.flatnonzero(np.diff(times[order], prepend=-np.inf))  # of each time, among the ordered rows
    if len(starts) < 3:
        raise InputError(
            f"the column of --time has only {count_phrase(len(starts), 'time', 'different times')}, so its rows cannot "
            "be divided into earlier and later ones",
            "name a column with finer times, or leave out --time",
        )
    n = len(times)
    test = _nearest(starts[2:], n - test_rows)
    val = _nearest(starts[1:][starts[1:] < test], test - val_rows)
    part = np.zeros(n, dtype=np.int64)
    part[order[val:]] = 1
    part[order[test:]] = 2
    return part


def _nearest(places: Array, wanted: int) -> int:
    return int(places[np.abs(places - wanted).argmin()])


def time_notes(splits: "Splits", schema: Schema, column: Column) -> tuple[str, ...]:
    """What a person should know of a split by time: from when to when, what is new later on, and what has shifted."""
    when = [part.times for part in (splits.train, splits.val, splits.test) if part.times is not None]
    train, val, test = (f"{_said(each.min(), column)} to {_said(each.max(), column)}" for each in when)
    said = [f"Split by {schema.time!r}: training rows {train}, validation rows {val}, test rows {test}."]
    known = set(splits.train.keys)
    if schema.group and (again := sum(key in known for key in splits.test.keys)):
        said.append(
            f"{again:,} of {len(splits.test):,} test rows are of a group that training rows are of too: "
            f"with --time, the time alone divides."
        )
    if schema.task == "regression":
        said += _moved_number(splits, schema)
    elif schema.task == "classification" and not schema.multi_label:
        said += _moved_classes(splits)
    return tuple(said)


def _said(time: float, column: Column) -> str:
    if column.kind != "datetime":
        return format_number(time) if time % 1 else f"{time:.0f}"
    moment = datetime.fromtimestamp(time, UTC)
    return moment.strftime("%Y-%m-%d") if time % 86_400 == 0 else moment.strftime("%Y-%m-%d %H:%M")


def _moved_number(splits: "Splits", schema: Schema) -> list[str]:
    before, after = (np.asarray(part.targets, dtype=np.float64) for part in (splits.train, splits.test))
    first, then, spread = float(np.median(before)), float(np.median(after)), float(before.std())
    if not spread or abs(then - first) < SHIFT * spread:
        return []
    medians = f"{format_number(first)} in training rows and {format_number(then)} in test rows"
    return [f"The target has moved: its median is {medians}."]


def _moved_classes(splits: "Splits") -> list[str]:
    before, after = (Counter(part.targets.tolist()) for part in (splits.train, splits.test))
    said = []
    new = [name for name in after if name not in before]
    if new:
        count = sum(after[name] for name in new)
        said.append(
            f"{count:,} of {len(splits.test):,} test rows are of {count_phrase(len(new), 'class', 'classes')} that no "
            f"training row has: {join_phrases(sorted(map(str, new)), 5, quote=True)}."
        )
    share = {name: after[name] / len(splits.test) - before[name] / len(splits.train) for name in {*before, *after}}
    moved = sum(abs(each) for each in share.values()) / 2
    if moved >= SHIFT:
        most = max(share, key=lambda name: abs(share[name]))
        old, now = (counts[most] / counts.total() for counts in (before, after))
        said.append(
            f"Classes have shifted: their shares differ by {moved:.0%} between training and test rows; "
            f"{most!r} went from {old:.0%} to {now:.0%}."
        )
    return said
