"""Label columns: how do several columns of 0 and 1 become one target, as in `--target toxic,insult`?"""

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa

from warmstart.data.tables.cells import as_text
from warmstart.data.tables.read import Table
from warmstart.data.tables.strings import ArrowColumn
from warmstart.errors import InputError, UsageError, did_you_mean, shorten

ONES = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


def join_label_columns(table: Table, target: str | None) -> Table:
    """The table with one column of lists, named like the target, in place of the columns that it names between commas.

    A row whose cell is missing in one of them has no list. The table itself where the target is a single column, or
    none. Raises UsageError for a name that is not there, InputError for a column of anything but zeros and ones.
    """
    known = table.columns.column_names
    if not target or target in known or "," not in target:
        return table
    names = list(dict.fromkeys(name.strip() for name in target.split(",") if name.strip()))
    if not any(name in known for name in names):
        return table  # it is said that there is no such column
    for name in names:
        if name not in known:
            raise UsageError(f"there is no column {name!r}, which --target names", did_you_mean(name, known))
    ones = [_ones(table.columns[name], name) for name in names]
    labels: Iterator[list[str] | None] = (
        None if None in row else [name for name, there in zip(names, row, strict=True) if there]
        for row in zip(*ones, strict=True)
    )
    others = table.columns.drop_columns(names)
    lists = pa.chunked_array([pa.array(labels, pa.list_(pa.large_string()))])
    return replace(table, columns=others.append_column(target, lists))


def _ones(column: ArrowColumn, name: str) -> list[bool | None]:
    """Whether each cell is one, or true; None where it is missing."""
    if pa.types.is_boolean(column.type):
        return column.to_pylist()
    cells = as_text(column)
    odd = next((cell for cell in cells if cell is not None and cell.strip() and cell.strip().lower() not in ONES), None)
    if odd is not None:
        raise InputError(
            f"column {name!r}, which --target names among others, holds {shorten(odd)}, expected zeros and ones",
            "several columns are one target where they are labels; predict numbers and classes one at a time",
        )
    return [None if cell is None else ONES.get(cell.strip().lower()) for cell in cells]
