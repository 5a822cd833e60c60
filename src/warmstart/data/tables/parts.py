"""Parts: how is a file that is larger than memory read, some rows at a time, as `read_table` would read it whole?

A column has one type in all parts: a first pass over CSV and JSON lines finds it.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from warmstart.data.tables.arrow_files import parquet_batches
from warmstart.data.tables.delimited import delimited_batches
from warmstart.data.tables.formats import CUT_BY_DELIMITERS, check_cells, check_text, numbers_if_all_are, usual_type
from warmstart.data.tables.json_files import is_array, json_line_rows, table_of_objects
from warmstart.data.tables.read import Table, common_type
from warmstart.data.tables.read_file import PANDAS_INDEX
from warmstart.data.tables.strings import ArrowColumn
from warmstart.errors import InputError

LARGE_FILE = 128 << 20  # bytes: files from here on are read in parts
PART_ROWS = 20_000
LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")


@dataclass(frozen=True)
class TableParts:
    """The rows of one file, a table for every `PART_ROWS` of them; reads the file anew each time."""

    path: Path

    def __iter__(self) -> Iterator[Table]:
        before = 0
        for part in self._raw():
            columns = {name: self._typed(part, name) for name in self.types}
            table = pa.table(columns)
            check_cells(self.path, table)
            written = {
                n: part[n] for n in part.column_names if self._untyped and not table[n].type.equals(part[n].type)
            }
            yield Table(table, (str(self.path),), (before + table.num_rows,), written=written, before=before)
            before += table.num_rows

    @property
    def names(self) -> list[str]:
        """Of the columns."""
        return list(self.types)

    @cached_property
    def types(self) -> dict[str, pa.DataType]:
        """Of the columns, over all rows. Raises InputError where there are none."""
        found: dict[str, pa.DataType] = {}
        rows = 0
        if self.path.suffix.lower() in PARQUET:  # the file says it
            part = next(self._raw(), None)
            if part is None:
                raise self._empty()
            return dict(zip(part.column_names, part.schema.types, strict=True))
        for part in self._raw():
            rows += part.num_rows
            for name in part.column_names:
                kind = _kind(part[name], self._untyped)
                found[name] = common_type(name, [found.get(name, pa.null()), kind], [str(self.path)] * 2)
        if not rows:
            raise self._empty()
        nothing = pa.large_string() if self._untyped else pa.null()
        return {name: nothing if pa.types.is_null(kind) else kind for name, kind in found.items()}

    def _empty(self) -> InputError:
        return InputError(f"{self.path} has no rows", "check how it was written")

    @property
    def _untyped(self) -> bool:
        return self.path.suffix.lower() in CUT_BY_DELIMITERS

    def _typed(self, part: pa.Table, name: str) -> ArrowColumn:
        kind = self.types[name]
        if name not in part.column_names:
            return _missing(part.num_rows, kind)
        column = part[name]
        if self._untyped and not pa.types.is_large_string(kind):
            column = numbers_if_all_are(column)
            if pa.types.is_large_string(column.type):  # nothing but marks for what is missing
                return _missing(part.num_rows, kind)
        if pa.types.is_floating(column.type) and pa.types.is_large_string(kind):  # as JSON writes a number
            return pa.chunked_array([[None if x is None else json.dumps(x) for x in column.to_pylist()]], kind)
        return column if column.type.equals(kind) else column.cast(kind)

    def _raw(self) -> Iterator[pa.Table]:
        """Some rows at a time, each column with the type that these rows alone have."""
        ending = self.path.suffix.lower()
        if ending in PARQUET:
            with pq.ParquetFile(self.path, memory_map=False) as file:
                yield from (
                    _of_parquet(batch) for whole in parquet_batches(self.path, file) for batch in _slices(whole)
                )
        elif ending in LINES:
            rows: list[tuple[str, object]] = []
            for row in json_line_rows(self.path):
                rows.append(row)
                if len(rows) == PART_ROWS:
                    yield table_of_objects(self.path, rows)
                    rows = []
            if rows:
                yield table_of_objects(self.path, rows)
        else:
            for whole in delimited_batches(self.path):
                yield from map(_large, _slices(whole))


def parts_of(data: Sequence[str]) -> TableParts | None:
    """The file in parts, if it is one large file that can be read so; None: read it whole."""
    path = Path(data[0]).expanduser() if len(data) == 1 else None
    if path is None or path.suffix.lower() not in (*CUT_BY_DELIMITERS, *LINES, *PARQUET):
        return None
    if not path.is_file() or path.stat().st_size < LARGE_FILE:
        return None
    if path.suffix.lower() in LINES:
        check_text(path)
        if is_array(path):
            return None
    return TableParts(path)


def _kind(column: ArrowColumn, untyped: bool) -> pa.DataType:
    """Its type, as far as these rows tell: null where they say nothing."""
    if column.null_count == len(column):
        return pa.null()
    found: pa.DataType = column.type
    if untyped:
        found = numbers_if_all_are(column).type
        with_one = pa.chunked_array([*column.chunks, pa.array(["1"], column.type)])
        if pa.types.is_large_string(found) and pa.types.is_int64(numbers_if_all_are(with_one).type):
            return pa.null()  # nothing but marks for what is missing
    return found


def _missing(count: int, kind: Any) -> ArrowColumn:
    return pa.chunked_array([pa.nulls(count, kind)])


def _slices(batch: Any) -> Iterator[pa.Table]:
    for start in range(0, batch.num_rows, PART_ROWS):
        yield pa.Table.from_batches([batch.slice(start, PART_ROWS)])


def _of_parquet(part: pa.Table) -> pa.Table:
    names = [name for name in part.column_names if not name.startswith(PANDAS_INDEX)]
    return pa.table({name: usual_type(part[name]) for name in names})


def _large(part: pa.Table) -> pa.Table:
    return pa.table({name: part[name].cast(pa.large_string()) for name in part.column_names})
