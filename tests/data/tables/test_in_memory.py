"""Is whatever Python holds a table, or one sentence, and never the exception of another library?"""

import enum
import pathlib
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from warmstart.data.tables.in_memory import given, rows_of, table_of
from warmstart.data.tables.read import read_table
from warmstart.errors import InputError, WarmstartError

Y = ["a", "b"] * 3


class Color(enum.Enum):
    RED = "a"
    BLUE = "b"


class Dataset:
    """As `datasets.Dataset` gives itself."""

    def __init__(self, columns: dict[str, list[Any]]):
        self.table, self.column_names = pa.table(columns), list(columns)

    def __len__(self) -> int:
        return self.table.num_rows

    def with_format(self, kind: str) -> Any:
        return SimpleNamespace(__getitem__=None) if kind != "arrow" else _Whole(self.table)


class _Whole:
    def __init__(self, table: pa.Table):
        self.table = table

    def __getitem__(self, rows: slice) -> pa.Table:
        return self.table


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"text": list("uvwxyz"), **columns})


def twice() -> pd.DataFrame:
    made = frame(y=Y)
    made.insert(1, "text", made.text, allow_duplicates=True)
    return made


READ: dict[str, tuple[Callable[[], Any], list[Any]]] = {  # what the column q says
    "category": (lambda: frame(q=pd.Categorical(Y)), Y),
    "polars categorical": (lambda: pl.DataFrame({"q": pl.Series(Y, dtype=pl.Categorical)}), Y),
    "polars enum": (lambda: pl.DataFrame({"q": pl.Series(Y, dtype=pl.Enum(["a", "b"]))}), Y),
    "a polars column": (lambda: {"q": pl.Series(Y, dtype=pl.Categorical)}, Y),
    "a pandas column": (lambda: {"q": pd.Series(Y, dtype="category")}, Y),
    "pd.cut": (lambda: frame(q=pd.cut(np.arange(6), 2)), ["(-0.005, 2.5]"] * 3 + ["(2.5, 5.0]"] * 3),
    "intervals, left": (
        lambda: {"q": pd.arrays.IntervalArray.from_breaks([0, 1, 2], closed="left")},
        ["[0, 1)", "[1, 2)"],
    ),
    "periods": (lambda: frame(q=pd.period_range("2020", periods=6, freq="M")), [f"2020-0{i}" for i in range(1, 7)]),
    "sparse": (lambda: frame(q=pd.arrays.SparseArray([0, 0, 1] * 2)), [0, 0, 1] * 2),
    "Enum": (lambda: {"q": [Color.RED, Color.BLUE]}, ["a", "b"]),
    "paths": (lambda: {"q": [pathlib.Path("a"), None]}, ["a", None]),
    "UUIDs": (lambda: {"q": [uuid.UUID(int=1)]}, [str(uuid.UUID(int=1))]),
    "nothing": (lambda: {"q": ["a", None, float("nan"), pd.NA]}, ["a", None, None, None]),
    "large numbers": (lambda: {"q": [10**30, None]}, [str(10**30), None]),
    "half floats": (lambda: {"q": np.zeros(2, np.float16)}, [0.0, 0.0]),
    "nanoseconds": (
        lambda: {"q": np.array(["2020-01-01T00:00:00.000000001"], "datetime64[ns]")},
        [datetime(2020, 1, 1)],
    ),
    "strings of Arrow": (lambda: frame(q=pd.array(Y, dtype="string[pyarrow]")), Y),
    "run ends": (lambda: pa.table({"q": pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"])}), ["a", "a", "b"]),
    "rows": (lambda: [{"q": 1}, {"p": 2}], [1, None]),
    "a generator of rows": (lambda: ({"q": i} for i in range(2)), [0, 1]),
    "a batch of Arrow": (lambda: pa.record_batch({"q": [1]}), [1]),
    "a Dataset": (lambda: Dataset({"q": [1, 2]}), [1, 2]),
    "a pandas index": (lambda: frame(q=Y).set_index(pd.Index([3, 1, 2, 0, 5, 4])), Y),
}


@pytest.mark.parametrize("kind", READ)
def test_what_is_a_table_is_read(kind: str) -> None:
    """Case 27."""
    make, expected = READ[kind]
    table = given(make())[1]
    assert table is not None and table.columns["q"].to_pylist() == expected
    assert not any(name.startswith("__") for name in table.columns.column_names)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "complex": (lambda: frame(q=np.arange(6) * 1j), "column 'q' of the given rows cannot be read: it holds complex128"),
    "a column twice": (twice, "more than one column is called 'text'"),
    "no column": (lambda: {"text": None, "y": Y}, "column 'text' is None where a list was expected"),
    "one cell": (lambda: {"text": 3}, "column 'text' is 3 where a list was expected"),
    "one text": (lambda: {"text": "x"}, "column 'text' is one text where a list was expected"),
    "bytes": (lambda: {"text": b"x"}, "where a list was expected"),
    "several types": (lambda: frame(q=["a", 1, 2.5, "b", 0, 0]), "it holds str and int and float"),
    "objects": (lambda: {"q": [object()]}, "column 'q' of the given rows cannot be read"),
    "polars objects of 128 bits": (lambda: pl.DataFrame({"q": pl.Series([1], dtype=pl.Int128)}), "it holds Int128"),
    "half of a character": (lambda: {"q": ["\ud800"]}, "column 'q' of the given rows holds half of a character"),
    "two dimensions": (lambda: {"q": np.zeros((2, 2))}, "is an array of shape (2, 2)"),
    "unequal": (
        lambda: {"a": [1, 2], "b": [1]},
        "the columns have different numbers of rows: 'a' 2, 'b' 1",
    ),
    "a set": (lambda: {"q": {1, 2}}, "is a set"),
    "a DatasetDict": (
        lambda: {"train": Dataset({"q": [1]}), "test": Dataset({"q": [1]})},
        "several tables: 'train', 'test'",
    ),
    "a Series": (lambda: pd.Series(Y), "data is a Series, which is neither files nor columns"),
    "an array": (lambda: np.zeros((2, 2)), "data is a ndarray, which is neither files nor columns"),
    "numbers": (lambda: [1, 2], "data is a list, which is neither"),
    "None": (lambda: None, "data is a NoneType, which is neither"),
    "a lazy frame": (lambda: pl.LazyFrame({"a": [1]}), "data is a LazyFrame, which is neither"),
    "a generator that fails": (lambda: (1 / 0 for _ in range(1)), "the given rows cannot be read: division by zero"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_none_is_one_sentence(kind: str) -> None:
    make, said = REFUSED[kind]
    with pytest.raises(WarmstartError) as caught:
        given(make())
    assert said in caught.value.message and caught.value.hint and "\n" not in caught.value.message


class Broken:
    """What raises whatever it is asked."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        raise RuntimeError("out of order\nmore")


def test_no_exception_of_others_passes() -> None:
    with pytest.raises(InputError, match="the given rows cannot be read: out of order"):
        table_of(Broken())


def texts() -> Iterator[str]:
    yield from ("a", "b")


@pytest.mark.parametrize(
    ("given_rows", "expected"),
    [
        (pd.Series(["a", None, np.nan, pd.NA]), ["a", None, None, None]),
        (pl.Series(["a", None]), ["a", None]),
        (pd.Series(["a"], dtype="category"), ["a"]),
        (pd.Index(["a"]), ["a"]),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array([["a"], ["b"]], dtype=object), ["a", "b"]),
        (pa.array(["a", None]), ["a", None]),
        (texts(), ["a", "b"]),
        (["a", float("nan"), None, pd.NaT], ["a", None, None, None]),
    ],
)
def test_texts_in_whatever_holds_them(given_rows: Any, expected: list[Any]) -> None:
    found = rows_of(given_rows)
    assert found == expected and {type(item) for item in found} <= {str, type(None)}


def test_an_array_without_names_is_refused() -> None:
    with pytest.raises(InputError, match=r"shape \(2, 2\) has no column names"):
        rows_of(np.zeros((2, 2)))


def test_nanoseconds_and_intervals_of_a_file_are_read(tmp_path: pathlib.Path) -> None:
    """Case 29: pyarrow asked for pandas, and gave a traceback without it."""
    when = pa.array([1_600_000_000_123_456_789, None], pa.timestamp("ns"))
    pq.write_table(pa.table({"when": when, "time": pa.array([1001, 1], pa.time64("ns"))}), tmp_path / "a.parquet")
    found = read_table(tmp_path / "a.parquet").columns
    assert found.schema.types == [pa.timestamp("us"), pa.time64("us")]
    assert found["when"][0].as_py() == datetime(2020, 9, 13, 12, 26, 40, 123456)
    frame(q=pd.interval_range(0, 6)).to_parquet(tmp_path / "b.parquet", index=True)
    assert read_table(tmp_path / "b.parquet").columns["q"][0].as_py() == "(0, 1]"
