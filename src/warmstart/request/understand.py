"""Understand: which schema and rows does the data of a request have?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from warmstart.data.rows.split import Splits, held_out_counts, make_rows, split
from warmstart.data.rows.time_split import time_findings, times_of
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.label_columns import join_label_columns
from warmstart.data.schema.schema import Schema
from warmstart.data.tables.read import Table
from warmstart.data.tables.read import read_table as read_files
from warmstart.errors import WarmstartError
from warmstart.request import request as config
from warmstart.request.previous import (
    PreviousStudy,
    check_classes,
    columns_like,
    find_previous,
    schema_like,
    unseen_rows,
)

if TYPE_CHECKING:
    from torch import nn


OwnRegimes = Mapping[str, Callable[[int], "nn.Module"]]  # name -> a function of the vocabulary's size that gives a body


@dataclass(frozen=True)
class PreparedData:
    """A table that can be learned from: what it is, its parts, and what was left out."""

    table: Table
    schema: Schema
    splits: Splits
    dropped: tuple[str, ...]


def prepare_data(request: config.Request, table: Table | None = None) -> PreparedData:
    """Read, recognise and split: everything about the data that can be wrong, without torch."""
    table = table or read_files(request.data, offline=request.offline, table=request.table)
    table = join_label_columns(table, request.target)
    known = find_previous(request.previous) if request.previous else None
    columns = request.columns if known is None else columns_like(known, table, request.columns)
    schema = infer_schema(table, columns)
    schema = schema if known is None else schema_like(known, schema)
    rows, dropped = make_rows(table, schema, bad_rows=request.bad_rows)
    splits = split(rows, schema)
    if known is not None:
        notes = check_classes(known, splits)
        splits, left_out = unseen_rows(known, splits, _rows_before(known, request))
        dropped = (*notes, *([left_out] if left_out else []), *dropped)
    if schema.time:
        found = time_findings(splits, schema, times_of(table, schema.time)[1], held_out_counts(len(rows)))
        dropped = (*(each.message for each in found), *dropped)
    return PreparedData(table, schema, splits, dropped)


def _rows_before(known: PreviousStudy, request: config.Request) -> Splits | WarmstartError:
    """The rows of the earlier study as it divided them; or why they are not to be had."""
    try:
        before = config.load_request(known.folder)
        before = replace(before, data=request.previous_data or before.data, command="check", previous=None)
        return prepare_data(before).splits
    except WarmstartError as error:
        return error
