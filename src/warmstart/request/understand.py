"""Understand: which schema and rows does the data of a request have?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from warmstart.data.rows.split import Splits, held_out_counts, make_rows, split
from warmstart.data.rows.time_split import time_findings, times_of
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.label_columns import join_label_columns
from warmstart.data.schema.schema import Schema
from warmstart.data.tables.read import Table
from warmstart.data.tables.read import read_table as read_files
from warmstart.request import request as config

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
    schema = infer_schema(table, request.columns)
    rows, dropped = make_rows(table, schema, bad_rows=request.bad_rows)
    splits = split(rows, schema)
    if schema.time:
        found = time_findings(splits, schema, times_of(table, schema.time)[1], held_out_counts(len(rows)))
        dropped = (*(each.message for each in found), *dropped)
    return PreparedData(table, schema, splits, dropped)
