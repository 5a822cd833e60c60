"""Times: when is each row from, and where does a split by time divide the rows?"""

import re

import numpy as np
import pyarrow as pa

from warmstart.data.schema.cell_values import read_cells
from warmstart.data.schema.columns import Column
from warmstart.data.schema.kinds import infer_column
from warmstart.data.tables.cells import each_text, present
from warmstart.data.tables.read import Table
from warmstart.errors import InputError, UsageError, count_phrase
from warmstart.types import Array

TIMED_KINDS = ("number", "datetime")
MONTH = re.compile(r"\d{4}-\d{2}", re.ASCII)


def times_of(table: Table, name: str) -> tuple[Array, Column]:
    """When each row is from: float64 [n] seconds, or whatever number is there; NaN where nothing can be read.

    Months without a day, such as 2024-03, count as their first day. Raises UsageError for a column of something else.
    """
    cells = table.columns[name]
    if pa.types.is_large_string(cells.type) and all(MONTH.fullmatch(cell.strip()) for cell in present(cells)):
        days = [f"{cell.strip()}-01" if cell and cell.strip() else None for cell in each_text(cells)]
        cells = pa.chunked_array([days], pa.large_string())
    column = infer_column(name, cells)
    if column.kind not in TIMED_KINDS:
        raise UsageError(
            f"--time {name}: the column holds {column.kind} values, which have no order in time.",
            "name a column of dates or of numbers, such as years",
        )
    return np.asarray(read_cells(cells, column)[0], dtype=np.float64), column


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
