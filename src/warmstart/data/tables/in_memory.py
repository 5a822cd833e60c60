"""In memory: how do Python columns, rows or data frames become one table?

The one door for what other libraries made: whatever goes wrong in them becomes an InputError.
"""

import enum
import itertools
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import pyarrow as pa

from warmstart.data.tables.formats import usual_type
from warmstart.data.tables.read import MEMORY, Table
from warmstart.data.tables.read_file import PANDAS_INDEX
from warmstart.data.tables.strings import ArrowColumn
from warmstart.errors import InputError, UsageError, WarmstartError, join_phrases, shorten

if TYPE_CHECKING:
    from typing_extensions import TypeIs

MIXED = "give each column as many rows, all of one type, or text"
AS_TEXT = ("Interval", "Period")  # of pandas, which need not be installed


class Arrow(Protocol):
    """A DataFrame of pandas or polars, a table of pyarrow: whatever gives its columns as Arrow does."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


InMemory = Mapping[str, Sequence[Any]] | Arrow | Table


def is_in_memory(data: object) -> "TypeIs[InMemory]":
    """Whether `table_of` takes it: columns by their names, a DataFrame, a `datasets.Dataset`, or a table."""
    return isinstance(data, Mapping | Table) or _is_frame(data)


def _is_frame(data: object) -> bool:
    if isinstance(data, pa.ChunkedArray | pa.Array | np.ndarray) or _is_series(data):
        return False
    return hasattr(data, "__arrow_c_stream__") or (hasattr(data, "column_names") and hasattr(data, "with_format"))


def _is_series(data: object) -> bool:
    """Whether it is one column of pandas or polars."""
    return hasattr(data, "to_list") and hasattr(data, "dtype") and not hasattr(data, "columns")


def table_of(data: InMemory) -> Table:
    """A table from columns that are already in memory: by their names, as a DataFrame, or a `datasets.Dataset`.

    A table stays as it is. Raises InputError for what is no table, and for a column of several types.
    """
    if isinstance(data, Table):
        return data
    try:
        columns = _columns(data)
    except WarmstartError:
        raise
    except Exception as error:  # whatever the library that made it raises
        raise InputError(f"{MEMORY} cannot be read: {_first_line(error)}.", MIXED) from error
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        said = join_phrases([f"{name!r} {rows:,}" for name, rows in lengths.items()])
        raise InputError(f"{MEMORY} cannot be read: the columns have different numbers of rows: {said}.", MIXED)
    return Table(pa.table(columns), (MEMORY,), (next(iter(lengths.values()), 0),))


def rows_of(data: Iterable[Any]) -> list[Any]:
    """Items as Python has them: of a list, an array, a Series, an iterator; NaN and other marks of nothing are None.

    Raises InputError for what has more than one dimension, and for what cannot be gone through.
    """
    try:
        if isinstance(data, np.ndarray) and data.ndim != 1:
            if data.ndim != 2 or data.shape[1] != 1:
                what = f"an array of shape {data.shape}"
                raise InputError(f"{what} has no column names.", "give a DataFrame or a mapping of names to columns")
            data = data[:, 0]
        if _is_series(data):
            given = cast(Any, data).to_list()
        else:
            given = data.to_pylist() if isinstance(data, ARROW) else list(data)
    except WarmstartError:
        raise
    except Exception as error:  # of a generator, or of the library that made it
        raise InputError(f"{MEMORY} cannot be read: {_first_line(error)}.", "give a list of texts") from error
    return [None if _is_nothing(item) else str(item) if isinstance(item, np.str_) else item for item in given]


ARROW = (pa.Array, pa.ChunkedArray)


def by_column(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows as columns; a cell that a row lacks is missing."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


# --- columns ----------------------------------------------------------------------------------------------------------


def _columns(data: Any) -> dict[str, ArrowColumn]:
    if isinstance(data, Mapping):
        if any(_is_frame(value) for value in data.values()):
            splits = join_phrases([str(name) for name in data], quote=True)
            raise InputError(f"the data holds several tables: {splits}.", "give one of them, for example data['train']")
        return {str(name): _column(str(name), values) for name, values in data.items()}
    if hasattr(data, "with_format"):
        if not hasattr(data, "__len__"):
            what = f"data of type {type(data).__name__}"
            raise InputError(f"{what} has no known number of rows.", "give Dataset.from_list(list(data))")
        data = data.with_format("arrow")[:]
    names = data.column_names if isinstance(data, pa.Table) else [str(name) for name in getattr(data, "columns", ())]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(
            f"{MEMORY}: more than one column is called {join_phrases(twice, quote=True)}.", "rename one of them"
        )
    try:
        table = pa.table(data)
        names = [name for name in table.column_names if not name.startswith(PANDAS_INDEX)]
        return {name: _usual(name, table[name]) for name in names}
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError):
        if not hasattr(data, "columns"):
            raise
    return {str(name): _column(str(name), data[name]) for name in data.columns}  # to name the one that is wrong


def _column(name: str, values: Any) -> ArrowColumn:
    if isinstance(values, str | bytes) or values is None or not isinstance(values, Iterable):
        what = "one text" if isinstance(values, str) else shorten(values, 40)
        raise InputError(f"column {name!r} is {what} where a list was expected.", f"write {{{name!r}: [text]}}")
    if isinstance(values, set | frozenset):
        raise InputError(f"column {name!r} is a set, whose order is no row's.", "give a list")
    if isinstance(values, np.ndarray) and values.ndim != 1:
        raise InputError(f"column {name!r} is an array of shape {values.shape}, expected one dimension.", MIXED)
    try:
        if isinstance(values, ARROW):
            return _usual(name, values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values]))
        if _is_series(values) and type(values).__module__.startswith("polars"):
            return _usual(name, pa.chunked_array(cast(Any, values)))
        cells = np.asarray(values) if hasattr(values, "dtype") else list(values)
        if isinstance(cells, list) or cells.dtype == object:
            cells = [_cell(cell) for cell in cells]
        return _usual(name, pa.chunked_array([_array(cells)]))
    except WarmstartError:
        raise
    except UnicodeEncodeError as error:
        raise InputError(f"column {name!r} of {MEMORY} holds half of a character.", "correct that cell") from error
    except Exception as error:  # of Arrow, or of the library that made the column
        held = _types(values)
        why = f"it holds {held}" if " and " in held or "128" in held else _first_line(error)
        raise InputError(f"column {name!r} of {MEMORY} cannot be read: {why}.", MIXED) from error


def _array(cells: Any) -> Any:
    try:
        return pa.array(cells, from_pandas=True)
    except OverflowError:  # more than 64 bits: an id, exact only as text
        if not all(cell is None or isinstance(cell, int) for cell in cells):
            raise
        return pa.array([None if cell is None else str(cell) for cell in cells], pa.large_string())


def _usual(name: str, column: ArrowColumn) -> ArrowColumn:
    try:
        return usual_type(column)
    except (pa.ArrowException, NotImplementedError, ValueError) as error:
        raise InputError(f"column {name!r} of {MEMORY} cannot be read: {_first_line(error)}.", MIXED) from error


def _cell(cell: Any) -> Any:
    """What Arrow has no type for as the text that names it: members of an Enum, intervals, paths, UUIDs."""
    if isinstance(cell, enum.Enum):
        return cell.value
    if isinstance(cell, PurePath | uuid.UUID) or type(cell).__name__ in AS_TEXT:
        return str(cell)
    return cell


def _types(values: Iterable[Any]) -> str:
    """'int and str': what a column is made of, as far as it can be seen."""
    kind = getattr(values, "dtype", None)
    if kind is not None and str(kind) != "object":
        return str(kind)
    seen = dict.fromkeys(type(value).__name__ for value in itertools.islice(values, 1000) if value is not None)
    return " and ".join(list(seen)[:4]) or "nothing that is known"


def _is_nothing(item: object) -> bool:
    """None, NaN, pandas' NA and NaT."""
    if item is None or type(item).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(item, float | np.floating) and item != item


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


# --- what was given ---------------------------------------------------------------------------------------------------


def given(data: Any) -> tuple[tuple[str, ...], Table | None]:
    """Names of files, and the table where it was given itself. Raises UsageError for what is neither."""
    if isinstance(data, str | Path):
        return (str(data),), None
    if is_in_memory(data):
        table = table_of(data)
        return table.files, table
    if isinstance(data, Iterator) or (isinstance(data, Sequence) and not isinstance(data, bytes)):
        items = rows_of(data)
        if all(isinstance(each, str | Path) for each in items):
            return tuple(map(str, items)), None
        if all(isinstance(each, Mapping) for each in items):
            return given(by_column(items))
    raise UsageError(
        f"data is a {type(data).__name__}, which is neither files nor columns.",
        "give a path, several paths, a DataFrame, or a mapping of column names to lists",
    )
