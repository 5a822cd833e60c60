"""Same table: whatever file or frame it comes in, its schema, its findings and its predictions are the same."""

import datetime
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import hypothesis
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest
from hypothesis import settings
from hypothesis import strategies as st

import warmstart
from tests.tiny import COLORS, MATERIALS, THINGS
from tests.workbook import write_workbook
from warmstart.data.rows.check import CheckResult
from warmstart.errors import InputError

ROWS = 40
WRITERS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    "a.csv": lambda frame, path: frame.to_csv(path, index=False),
    "a.tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "semicolons.csv": lambda frame, path: frame.to_csv(path, index=False, sep=";"),
    "a.csv.gz": lambda frame, path: frame.to_csv(path, index=False),
    "a.csv.zip": lambda frame, path: frame.to_csv(path, index=False),
    "a.jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True, date_format="iso"),
    "array.json": lambda frame, path: frame.to_json(path, orient="records", date_format="iso"),
    "columns.json": lambda frame, path: frame.to_json(path, date_format="iso"),
    "a.parquet": lambda frame, path: frame.to_parquet(path),
    "a.arrow": lambda frame, path: pa.feather.write_feather(pa.Table.from_pandas(frame), str(path)),
    "a.xlsx": lambda frame, path: write_workbook(path, {"data": [list(frame), *map(_row, frame.values.tolist())]}),
}


def _row(cells: list[Any]) -> list[Any]:
    """NaN and NaT are empty cells, times are Python's."""
    plain = [cell.to_pydatetime() if isinstance(cell, pd.Timestamp) else cell for cell in cells]
    return [None if pd.isna(cell) else cell for cell in plain]


DAYS = st.dates(datetime.date(2001, 1, 1), datetime.date(2030, 12, 31)).map(pd.Timestamp)
PRICES = st.integers(1, 99_999).map(lambda cents: cents / 100)
# By name: the cells of an input column that may be there, missing ones in some of them.
COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "weight": st.one_of(st.none(), st.integers(0, 10_000).map(lambda n: n / 8)),
    "pieces": st.integers(0, 500),
    "bound": st.booleans(),
    "since": DAYS,
    "maker": st.sampled_from(["Ikea", "Møller & Søn", "=A1", "0x", "o'Neil"]),
    "note": st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=12).map(
        lambda text: text.strip() or None
    ),
}
TARGETS: dict[str, st.SearchStrategy[Any]] = {
    "price": PRICES,
    "kind": st.sampled_from(["tool", "toy", "Möbel"]),
    "grade": st.sampled_from([0, 1, 2]),
    "sold": st.booleans(),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[pd.DataFrame, str]:
    """A frame and the name of its target."""
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), unique=True, max_size=4))
    target = draw(st.sampled_from(sorted(TARGETS)))
    random = Random(draw(st.integers(0, 2**31)))
    rows = [
        {
            "title": f"{random.choice([*COLORS])} {random.choice([*MATERIALS])} {random.choice([*THINGS])} {i}",
            **dict.fromkeys(names),
            target: None,
        }
        for i in range(ROWS)
    ]
    frame = pd.DataFrame(rows)
    for name in (*names, target):
        frame[name] = draw(st.lists((COLUMNS | TARGETS)[name], min_size=ROWS, max_size=ROWS))
    return frame, target


def facts(found: CheckResult) -> dict[str, Any]:
    """What was recognized and found, but for what is said of the file itself."""
    schema = found.schema.to_json()
    return {
        "rows": found.rows,
        "schema": schema,
        "findings": [vars(each) for each in found.findings if "are written as" not in each.message],
    }


@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    phases=[hypothesis.Phase.generate],  # each example is read twelve times: a smaller one takes minutes to find
    suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(tables())
def test_schema_findings_and_predictions_are_the_same_in_every_format(
    tmp_path_factory: pytest.TempPathFactory, base: Any, drawn: tuple[pd.DataFrame, str]
) -> None:
    frame, target = drawn
    folder = tmp_path_factory.mktemp("same")
    options: dict[str, Any] = {"base": base.location}
    try:
        expected = warmstart.check(frame, target, **options)
    except InputError:  # such as a target that is the same in every row
        hypothesis.reject()
    hypothesis.assume(expected.usable)
    warmstart.fit(frame, target, "linear", folder / "run", quiet=True, log=False, **options)
    model = warmstart.load(folder / "run")
    predicted = model.predict(frame)
    for name, write in WRITERS.items():
        path = folder / name
        write(frame, path)
        found = warmstart.check(path, target, **options)
        for part, expected_part in facts(expected).items():
            assert facts(found)[part] == expected_part, name
        assert model.predict(path) == predicted, name
