"""Read data: which schema and rows does the data of a request have?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from warmstart.data.rows.old_rows import OldRows, join_old_rows
from warmstart.data.rows.split import Splits, held_out_counts, make_rows, split
from warmstart.data.rows.time_findings import time_findings
from warmstart.data.rows.times import times_of
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.label_columns import join_label_columns
from warmstart.data.schema.schema import Schema
from warmstart.data.tables.read import Table
from warmstart.data.tables.read import read_table as read_files
from warmstart.errors import UsageError, WarmstartError
from warmstart.request.earlier_study import (
    TABLE_TASKS,
    WITHOUT_OLD_ROWS,
    EarlierStudy,
    check_classes,
    columns_like,
    find_earlier_study,
    require_recorded,
    schema_like,
    unseen_rows,
)
from warmstart.request.renamed_columns import parse_renames, rename_choices, rename_columns
from warmstart.request.request import Request, load_request

if TYPE_CHECKING:
    from torch import nn


NO_OLD_ROWS = "none"  # instead of files: --previous-data none
OwnRegimes = Mapping[str, Callable[[int], "nn.Module"]]  # name -> a function of the vocabulary's size that gives a body


@dataclass(frozen=True)
class PreparedData:
    """A table that can be learned from: what it is, its parts, and what was left out."""

    given: Table  # with the names of columns that it came with
    table: Table
    schema: Schema
    splits: Splits
    dropped: tuple[str, ...]
    old: OldRows | None = None  # of --previous, some of them among the training rows
    more_splits: tuple[Splits, ...] = ()  # of the same rows, with --splits


def prepare_data(request: Request, table: Table | None = None) -> PreparedData:
    """Read, recognize and split: everything about the data that can be wrong, without torch."""
    table = table or read_files(request.data, offline=request.offline, table=request.table)
    table = join_label_columns(table, request.target)
    known = find_earlier_study(request.previous) if request.previous else None
    given, columns, renames = table, request.columns, {}
    if known is not None:
        renames = known.schema.renames_for(table.columns.column_names) | parse_renames(request.rename)
        table = rename_columns(table, renames, known.schema)
        columns = columns_like(known, table, rename_choices(columns, renames))
    schema = infer_schema(table, columns)
    schema = schema if known is None else schema_like(known, schema, renames)
    rows, dropped = make_rows(table, schema, bad_rows=request.bad_rows)
    splits, old = split(rows, schema), None
    if request.splits > 1 and schema.task not in TABLE_TASKS:
        raise UsageError(f"splits is for classes and numbers; the task is {schema.task}.", "leave --splits out")
    more = tuple(split(rows, schema, number) for number in range(1, request.splits))
    before = _rows_before(known, request) if known is not None else None
    if known is not None:
        notes = check_classes(known, splits)
        splits, left_out = unseen_rows(known, splits, before)
        dropped = (*notes, *([left_out] if left_out else []), *dropped)
    if schema.time:
        found = time_findings(splits, schema, times_of(table, schema.time)[1], held_out_counts(len(rows)))
        dropped = (*(each.message for each in found), *dropped)
    if before is not None:
        splits, old, notes = join_old_rows(splits, before)
        dropped = (*notes, *dropped)
    return PreparedData(given, table, schema, splits, dropped, old, more)


def _rows_before(known: EarlierStudy, request: Request) -> Splits | None:
    """The rows of the earlier study as it divided them; None with --previous-data none.

    Raises UsageError where they are not to be had, or are no longer what they were.
    """
    if request.previous_data == (NO_OLD_ROWS,):
        return None
    # A winner or a run may be named by its own folder, below that of the study.
    places = (known.folder, known.folder.parent, known.folder.parent.parent)
    place = next((each for each in places if (each / "request.json").is_file()), known.folder)
    try:
        before = load_request(place)
        found = prepare_data(replace(before, data=request.previous_data or before.data)).splits
    except WarmstartError as error:
        raise UsageError(
            f"--previous {known.folder}: its rows cannot be read: {error.message.rstrip('.')}.",
            f"if they were moved, name them: --previous-data FILE. {WITHOUT_OLD_ROWS}",
        ) from error
    require_recorded(known, place, found)
    return found
