"""A cell means the same in every format, in training and later, and whatever rows stand beside it."""

import csv
import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from warmstart.baselines.baseline import FitData
from warmstart.baselines.linear import fit_linear
from warmstart.data.rows.check import find_problems
from warmstart.data.rows.read_columns import read_columns
from warmstart.data.rows.split import Rows, make_rows, split
from warmstart.data.rows.usable_rows import write_texts
from warmstart.data.schema.columns import parse_kinds
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import ColumnChoices, Schema
from warmstart.data.tables.in_memory import table_of
from warmstart.data.tables.read import Table, read_table
from warmstart.data.tables.strings import Texts
from warmstart.errors import UsageError
from warmstart.inference.model_store import StoredModel
from warmstart.inference.predict import TrainedModel
from warmstart.tasks.tasks import task_for

Columns = Mapping[str, Sequence[Any]]
FORMATS = ("csv", "tsv", "jsonl", "parquet", "frame")
N = 60
WORDS = ("red", "oak", "lamp", "big", "old", "desk")
TITLES = [" ".join(WORDS[i * step % 6] for step in (1, 2, 3)) + f" {i * i % 97}" for i in range(N)]
PRICES = [3.0 + i * 37 % 101 / 4 for i in range(N)]


def written(cell: Any) -> str:
    return "" if cell is None else str(cell)


def store(folder: Path, kind: str, columns: Columns) -> Table:
    """The columns through a file of this kind, or as they would come from Python."""
    path, names = folder / f"rows.{kind}", list(columns)
    rows = list(zip(*columns.values(), strict=True))
    if kind in ("csv", "tsv"):
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if kind == "tsv" else ",")
            writer.writerows([names, *(map(written, row) for row in rows)])
    elif kind == "jsonl":
        lines = (json.dumps(dict(zip(names, row, strict=True)), default=str) for row in rows)
        path.write_text("".join(f"{line}\n" for line in lines))
    elif kind == "parquet":
        pq.write_table(pa.table({name: pa.array(cells) for name, cells in columns.items()}), path)
    else:
        return table_of(frame(columns))
    return read_table(path)


def frame(columns: Columns) -> Any:
    """A DataFrame where pandas is installed."""
    try:
        import pandas as pd
    except ImportError:
        return pa.table({name: pa.array(cells) for name, cells in columns.items()})
    return pd.DataFrame({name: pd.array(list(cells), dtype=object) for name, cells in columns.items()}).convert_dtypes()


def table(**columns: Sequence[Any]) -> Table:
    return table_of({"title": TITLES, **columns, "price": PRICES})


def spelled(rows: Table, schema: Schema) -> list[str]:
    return list(write_texts(rows, schema))


def trained(rows: Table, schema: Schema) -> TrainedModel:
    splits = split(make_rows(rows, schema)[0], schema)
    task = task_for(schema, splits)
    fitted = fit_linear(FitData(task, splits.train, columns=schema.columns)).baseline
    again = Schema.from_json(json.loads(json.dumps(schema.to_json())))  # as it is stored
    return TrainedModel(StoredModel(fitted, None, task, again, {}, "linear"), Path())


DAYS = st.dates(date(1970, 1, 1), date(2100, 1, 1))
CELLS: dict[str, st.SearchStrategy[Any]] = {
    "whole": st.integers(-(2**40), 2**40),
    "few whole": st.integers(0, 5),
    "huge": st.integers(2**53, 2**62),
    "fraction": st.floats(allow_nan=False, allow_infinity=False, width=32),
    "boolean": st.booleans(),
    "day": DAYS,
    "moment": st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.replace(microsecond=0)),
    "number as text": st.decimals(-1000, 1000, places=2).map(lambda number: f"{number:.2f}"),
    "version": st.sampled_from(["1.10", "1.1", "2.0-beta", "2.20", "2.2"]),
    "yes or no": st.sampled_from(["Yes", "No"]),
    "true or false": st.sampled_from(["True", "False"]),
    "day as text": DAYS.map(lambda day: f"{day:%d.%m.%Y}"),
    "code": st.sampled_from(["007", "012", "7"]),
    "word": st.sampled_from(WORDS),
    "words": st.lists(st.sampled_from(WORDS), min_size=2, max_size=5).map(" ".join),
}


@st.composite
def tables(draw: st.DrawFn) -> Columns:
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4))
    columns: dict[str, Sequence[Any]] = {"title": TITLES}
    for i, kind in enumerate(kinds):
        cells = CELLS[kind] if not draw(st.booleans()) else st.one_of(st.none(), CELLS[kind])
        columns[f"{kind} {i}"] = draw(st.lists(cells, min_size=N, max_size=N))
    return {**columns, "price": PRICES}


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(tables(), st.integers(0, N - 1))
def test_a_table_means_the_same_in_every_format_and_a_row_the_same_alone(
    tmp_path_factory: pytest.TempPathFactory, columns: Columns, row: int
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    read = {kind: store(folder, kind, columns) for kind in FORMATS}
    schema = infer_schema(read["csv"], ColumnChoices("price"))
    expected = read_columns(read["csv"], schema)
    assert not expected.unread
    for kind, found in read.items():
        assert infer_schema(found, ColumnChoices("price")) == schema, kind
        again = read_columns(found, schema)
        for name, values in expected.values.items():
            assert list(map(repr, values)) == list(map(repr, again.values[name])), (kind, name)
        alone = store(folder, kind, {name: cells[row : row + 1] for name, cells in columns.items() if name != "price"})
        assert spelled(alone, schema) == spelled(found, schema)[row : row + 1], kind


@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(tables(), st.integers(0, N - 1))
def test_predictions_are_the_same_in_every_format_and_for_a_row_alone(
    tmp_path_factory: pytest.TempPathFactory, columns: Columns, row: int
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    read = {kind: store(folder, kind, columns) for kind in FORMATS}
    model = trained(read["parquet"], infer_schema(read["parquet"], ColumnChoices("price")))
    predicted = model.predict(read["parquet"])
    for kind, found in read.items():
        assert model.predict(found) == predicted, kind
        alone = store(folder, kind, {name: cells[row : row + 1] for name, cells in columns.items() if name != "price"})
        assert model.predict(alone)[0]["prediction"] == pytest.approx(predicted[row]["prediction"], rel=1e-5), kind


# --- the two reports that this comes from -----------------------------------------------------------------------------


def test_a_version_is_the_same_whatever_stands_below_it(tmp_path: Path) -> None:
    versions = ["1.10", "1.1", "2.0-beta", "2.20", "2.2"]
    columns = {
        "name": TITLES,
        "version": [versions[i % 5] for i in range(N)],
        "days": [(1.0, 9.0, 5.0, 2.0, 14.0)[i % 5] + i / 100 for i in range(N)],
    }
    rows = store(tmp_path, "csv", columns)
    model = trained(rows, infer_schema(rows, ColumnChoices("days")))
    some = {"name": ["red lamp"] * 4, "version": ["1.10", "1.1", "2.20", "2.2"]}
    more = {name: [*cells, last] for (name, cells), last in zip(some.items(), ("red lamp", "2.0-beta"), strict=True)}
    few, many = (model.predict(store(tmp_path, "csv", each)) for each in (some, more))
    assert few == many[:4]
    assert abs(few[0]["prediction"] - few[1]["prediction"]) > 5  # they are two versions


def test_days_and_truths_are_the_same_in_csv_and_parquet(tmp_path: Path) -> None:
    first = datetime(2023, 1, 1)
    days = [first + timedelta(days=i * i % 40) for i in range(N)]
    columns = {"name": TITLES, "day": days, "sale": [i % 3 == 0 for i in range(N)], "price": PRICES}
    as_csv = store(tmp_path, "csv", {**columns, "day": [day.date() for day in days]})
    as_parquet = store(tmp_path, "parquet", columns)
    schema = infer_schema(as_csv, ColumnChoices("price"))
    assert infer_schema(as_parquet, ColumnChoices("price")) == schema
    assert spelled(as_csv, schema)[1] == f"name: {TITLES[1]}\nday: 2023-01-02\nsale: false"
    model = trained(as_csv, schema)
    assert model.predict(as_csv) == model.predict(as_parquet)


# --- how kinds are told -----------------------------------------------------------------------------------------------

KINDS: dict[str, tuple[Sequence[Any], str, Any]] = {  # cells that recur, kind, value of the first
    "whole": ([3, 1, 2], "number", 3.0),
    "written numbers": (["3.50", "1", "NA"], "number", 3.5),
    "dollars": (["$1,299.00", "$5", "$24,269"], "number", 1299.0),
    "euros": (["1.299,00 €", "5,50 €"], "number", 1299.0),
    "percent": (["33%", "7.5%"], "number", 33.0),
    "thousands": (["24,269", "980"], "number", 24269.0),
    "many thousands": (["1.200.000", "980"], "number", 1200000.0),
    "spaces": (["1 234,5", "980"], "number", 1234.5),
    "mixed units": (["5 kg", "3 lb"], "category", "5 kg"),
    "mixed marks": (["1,5", "2.5"], "category", "1,5"),
    "quarters": (["Q1", "Q2"], "category", "Q1"),
    "addresses": (["10.0.0.1", "10.0.0.2"], "category", "10.0.0.1"),
    "codes": (["007", "8"], "category", "007"),
    "versions": (["1.10", "2.0-beta"], "category", "1.10"),
    "long ids": (["12345678901234567890", "7"], "category", "12345678901234567890"),
    "booleans": ([True, False], "boolean", 1.0),
    "true": (["TRUE", "false", None], "boolean", 1.0),
    "yes": (["yes", "no"], "boolean", 1.0),
    "yes, no, perhaps": (["yes", "no", "perhaps"], "category", "yes"),
    "days": ([date(1970, 1, 2), date(1970, 1, 3)], "datetime", 86400.0),
    "iso": (["1970-01-02", "1970-01-01 00:00:05"], "datetime", 86400.0),
    "zones": (["1970-01-01T01:00:00+01:00", "1970-01-01T00:00:00Z"], "datetime", 0.0),
    "german days": (["02.01.1970", "03.01.1970"], "datetime", 86400.0),
    "american days": (["1/2/1970", "01/31/1970"], "datetime", 86400.0),
    "british days": (["2/1/1970", "31/01/1970"], "datetime", 86400.0),
    "named months": (["2 Jan 1970", "January 3, 1970"], "datetime", 86400.0),
    "no days": (["32.01.1970", "02.13.1970"], "category", "32.01.1970"),
    "words": (["red", "blue"], "category", "red"),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_kind_of_a_column_follows_from_how_its_cells_are_written(name: str) -> None:
    cells, kind, first = KINDS[name]
    rows = table(x=[cells[i % len(cells)] for i in range(N)])
    schema = infer_schema(rows, ColumnChoices("price"))
    read = read_columns(rows, schema)
    assert schema.column("x").kind == kind and read.values["x"][0] == first and not read.unread
    assert any(f"{kind} 'x'" in note for note in schema.notes)


def test_prose_and_what_seldom_recurs_is_text() -> None:
    rows = table(prose=["a fine old thing, made by hand"] * 30 + ["quite a new one, of the best kind"] * 30)
    schema = infer_schema(rows, ColumnChoices("price"))
    assert [column.kind for column in schema.columns] == ["text", "text"]
    assert read_columns(rows, schema).values["prose"][0] == rows.columns["prose"][0].as_py()


def test_a_person_has_the_last_word(tmp_path: Path) -> None:
    columns = {
        "title": TITLES,
        "zip": [f"{10115 + i % 4}" for i in range(N)],
        "version": [("1.10", "1.1")[i % 2] for i in range(N)],
        "day": [("1/2/1970", "3/4/1970")[i % 2] for i in range(N)],
        "sold": [i % 2 for i in range(N)],
        "amount": [("1.200", "980")[i % 2] for i in range(N)],
        "price": PRICES,
    }
    asked = {"zip": "category", "version": "category", "day": "datetime:dmy", "sold": "boolean", "amount": "number:,"}
    rows = store(tmp_path, "csv", columns)
    schema = infer_schema(rows, ColumnChoices("price", kinds=asked))
    read = read_columns(rows, schema)
    values = {name: cells[0] for name, cells in read.values.items()}
    assert values == {
        "title": TITLES[0], "zip": "10115", "version": "1.10", "day": 31 * 86400.0, "sold": 0.0, "amount": 1200.0,
    }  # fmt: skip
    assert spelled(rows, schema)[0].split("\n")[1:] == [
        "zip: 10115", "version: 1.10", "day: 1970-02-01", "sold: 0", "amount: 1200",
    ]  # fmt: skip
    one = {"title": ["x"], "zip": [10115.0], "version": ["1.10"], "day": ["2/1/1970"], "sold": [1], "amount": ["1.200"]}
    for kind in FORMATS:  # a ZIP code is the same category, whichever way its number is written
        assert spelled(store(tmp_path, kind, one), schema) == [
            "title: x\nzip: 10115\nversion: 1.10\nday: 1970-01-02\nsold: 1\namount: 1200"
        ]


def test_cells_that_do_not_fit_are_missing_and_are_told() -> None:
    weights: list[Any] = [f"{i % 7}" for i in range(N)]
    weights[3], weights[40], weights[50] = "unknown", "n/a", None
    rows = table(weight=weights)
    schema = infer_schema(rows, ColumnChoices("price"))
    problem = "olumn 'weight' has 1 cell that is not a number (row 4: 'unknown'); it is read as missing"
    made, caveats = make_rows(rows, schema)
    values = made.columns["weight"]
    assert isinstance(values, np.ndarray) and np.flatnonzero(np.isnan(values)).tolist() == [3, 40, 50]
    assert caveats == (f"C{problem}.",)
    found = [finding.message for finding in find_problems(rows, schema).findings if finding.kind == "unread-cells"]
    assert found == [f"C{problem}."]
    new = table_of({"title": ["a", "b"], "weight": ["5", "heavy"]})
    assert spelled(new, schema) == ["title: a\nweight: 5", "title: b"]
    with pytest.warns(UserWarning, match=r"column 'weight' has 1 cell that is not a number \(row 2: 'heavy'\)"):
        assert len(trained(rows, schema).predict(new)) == 2
    true = read_columns(table_of({"title": ["a", "b"], "weight": [True, None]}), schema)
    assert true.unread[0].shown == ("true",)
    assert np.isnan(np.asarray(true.values["weight"])).all()


def test_values_follow_their_rows() -> None:
    rows = table(weight=[float(i) for i in range(N)], shop=["a", "b", ""] * 20)
    schema = infer_schema(rows, ColumnChoices("price"))
    made = make_rows(rows, schema)[0]
    splits = split(made, schema).subset(20, 1)
    part: Rows
    for part in (made, splits.train, splits.val, splits.test):
        weights, shops = part.columns["weight"], part.columns["shop"]
        assert isinstance(weights, np.ndarray) and isinstance(shops, Texts)
        assert weights.tolist() == (part.numbers - 1.0).tolist()
        assert list(shops) == [("a", "b", "")[(number - 1) % 3] for number in part.numbers.tolist()]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("shop=categry", "'categry' is no kind of column"),
        ("shop", "--column shop names no kind"),
        ("shop=datetime:xyz", "'xyz' is not known"),
        ("shup=category", "there is no column 'shup'"),
        ("price=category", "--column says how 'price' is read, but it is not an input"),
        ("shop=number", "no cell of column 'shop' can be read as number"),
    ],
)
def test_a_kind_that_cannot_be_is_refused(asked: str, said: str) -> None:
    rows = table(shop=["a", "b"] * (N // 2))
    with pytest.raises(UsageError) as raised:
        infer_schema(rows, ColumnChoices("price", kinds=parse_kinds([asked])))
    assert said in raised.value.message and raised.value.hint
