"""Time split: are the latest rows for testing, whatever the column is written as, and is what has shifted said?"""

import datetime
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli_base import call, write_csv
from warmstart.data.rows.findings import Finding
from warmstart.data.rows.split import Splits, held_out_counts, make_rows, split
from warmstart.data.rows.time_findings import time_findings
from warmstart.data.rows.times import cut_by_time, times_of
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import ColumnChoices, Schema
from warmstart.data.tables.in_memory import table_of
from warmstart.data.tables.read import Table, read_table
from warmstart.errors import InputError, UsageError

WORDS = ("oak", "elm", "pine", "steel", "glass", "lamp", "chair", "table")
FIRST = datetime.date(2024, 1, 1)


def written(folder: Path, days: list[int], price: float = 0.0, kind: str = "iso") -> Path:
    """A table of a title, a price that rises with the day, and the day."""
    dice = np.random.default_rng(0)
    dates = [FIRST + datetime.timedelta(day) for day in days]
    said = {
        "iso": [str(date) for date in dates],
        "german": [date.strftime("%d.%m.%Y") for date in dates],
        "number": list(map(str, days)),
    }[kind]
    rows = [
        (" ".join(dice.choice(WORDS, 3)), round(10 + price * day + dice.random(), 2), when)
        for day, when in zip(days, said, strict=True)
    ]
    return write_csv(folder / f"{kind}.csv", ("title", "price", "day"), rows)


def parts(path: Path) -> tuple[Table, tuple[Schema, Splits]]:
    table = read_table([str(path)])
    schema = infer_schema(table, ColumnChoices(target="price", time="day"))
    return table, (schema, split(make_rows(table, schema)[0], schema))


def said_of(table: Table, schema: Schema, found: Splits) -> tuple[Finding, ...]:
    rows = sum(len(part) for part in (found.train, found.val, found.test))
    return time_findings(found, schema, times_of(table, "day")[1], held_out_counts(rows))


@pytest.mark.parametrize("kind", ["iso", "german", "number"])
def test_the_latest_rows_are_for_testing_however_times_are_written(kind: str, tmp_path: Path) -> None:
    days = np.random.default_rng(1).permutation(200).tolist()
    _, (schema, found) = parts(written(tmp_path, days, kind=kind))
    assert "day" not in schema.text and schema.time == "day"
    when = dict(enumerate(days, 1))
    train, val, test = ([when[n] for n in part.numbers.tolist()] for part in (found.train, found.val, found.test))
    assert max(train) < min(val) and max(val) < min(test)
    assert (len(train), len(val), len(test)) == (140, 20, 40)


def test_parquet_and_csv_are_split_alike(tmp_path: Path) -> None:
    days = np.random.default_rng(1).permutation(100).tolist()
    path = written(tmp_path, days)
    columns = read_table([str(path)]).columns
    moments = pa.array([FIRST + datetime.timedelta(day) for day in days])
    pq.write_table(columns.set_column(2, "day", moments), tmp_path / "t.parquet")
    prints = {parts(each)[1][1].fingerprint for each in (path, tmp_path / "t.parquet")}
    assert len(prints) == 1


def test_rows_of_one_time_are_in_one_part() -> None:
    dice = np.random.default_rng(2)
    for _ in range(200):
        times = np.sort(dice.integers(0, dice.integers(3, 30), 100)).astype(float)
        if len(np.unique(times)) < 3:
            continue
        part = cut_by_time(times, 10, 20)
        assert set(part.tolist()) == {0, 1, 2}
        for time in np.unique(times):
            assert len(set(part[times == time].tolist())) == 1
        assert (np.diff(part[np.argsort(times, kind="stable")]) >= 0).all()


def test_two_times_cannot_be_divided() -> None:
    with pytest.raises(InputError, match="only 2 different times"):
        cut_by_time(np.array([1.0, 2.0, 2.0, 1.0]), 1, 1)


def test_what_has_moved_is_said(tmp_path: Path) -> None:
    table, (schema, found) = parts(written(tmp_path, list(range(200)), price=0.5))
    notes = said_of(table, schema, found)
    assert notes[0].message.startswith("Split by 'day': training rows 2024-01-01 to 2024-05-19")
    assert notes[1].message.startswith("The target has moved: its median is 45") and notes[1].severity == "warning"
    table, (schema, found) = parts(written(tmp_path, list(range(200))))
    still = said_of(table, schema, found)
    assert [each.severity for each in still] == ["note", "note"]
    assert still[1].kind == "time-drift" and still[1].message.startswith("Little or no drift")


def test_new_and_shifted_classes_are_said(tmp_path: Path) -> None:
    rows = [(f"lamp {n}", "old" if n < 150 else "new", n) for n in range(190)] + [("a", "mid", 3), ("b", "mid", 5)]
    table = read_table([str(write_csv(tmp_path / "t.csv", ("title", "kind", "day"), rows))])
    schema = infer_schema(table, ColumnChoices(target="kind", time="day"))
    found = split(make_rows(table, schema)[0], schema)
    said = " ".join(each.message for each in said_of(table, schema, found))
    assert "of 1 class that no training row has: 'new'" in said and "Classes have shifted" in said


def test_the_command_says_it_and_names_wrong_columns(tmp_path: Path) -> None:
    path = written(tmp_path, list(range(200)), price=0.2)
    words = ("--target", "price", "--regimes", "constant,linear", "--seeds", "1", "--quiet")
    answer = call("compare", path, *words, "--time", "day", "--out", tmp_path / "study")
    assert answer.code == 0, answer.err
    caveats = json.loads((tmp_path / "study" / "comparison.json").read_text())["caveats"]
    assert any("Split by 'day'" in said for said in caveats) and any("The target has moved" in said for said in caveats)
    assert call("resume", tmp_path / "study").code == 0
    checked = call("check", path, "--target", "price", "--time", "day")
    assert "Split by 'day'" in " ".join(checked.out.split())
    for wrong, said in (("title", "which have no order in time"), ("dya", "did you mean 'day'"), ("price", "both")):
        answer = call("check", path, "--target", "price", "--time", wrong)
        assert answer.code == 2 and said in " ".join(answer.err.split()), answer.err


def test_rows_without_a_time_are_left_out_where_they_are_few(tmp_path: Path) -> None:
    path = written(tmp_path, list(range(100)))
    lines = path.read_text().splitlines()
    lines[7] = lines[7].rsplit(",", 1)[0] + ","
    path.write_text("\n".join(lines) + "\n")
    table = read_table([str(path)])
    schema = infer_schema(table, ColumnChoices(target="price", time="day"))
    rows, said = make_rows(table, schema)
    assert len(rows) == 99 and "column 'day' has 1 cell that is no time (row 7)" in said[0]
    with pytest.raises(UsageError, match="have no order in time"):
        times_of(table, "title")


def classified(path: Path, group: str | None = None) -> tuple[Table, Schema, Splits]:
    table = read_table([str(path)])
    schema = infer_schema(table, ColumnChoices(target="kind", time="day", group=group))
    return table, schema, split(make_rows(table, schema)[0], schema)


def test_drift_of_what_is_read_is_measured(tmp_path: Path) -> None:
    """All later rows have a new word, so that a classifier tells every one of them."""
    dice = np.random.default_rng(0)
    rows = [
        (" ".join([*dice.choice(WORDS, 3), "carbon" if n > 230 else "oak"]), ("a", "b")[n % 2], n) for n in range(300)
    ]
    found = said_of(*classified(write_csv(tmp_path / "t.csv", ("title", "kind", "day"), rows)))
    (drift,) = (each for each in found if each.kind == "time-drift")
    assert drift.severity == "warning" and drift.message.startswith("What is read has drifted: a linear classifier")
    assert "in 99% of cases" in drift.message and drift.hint


def test_chance_does_not_count_as_a_shift(tmp_path: Path) -> None:
    """Forty classes in 200 rows shift by a fifth and more in any split, and a median of 40 rows moves."""
    dice = np.random.default_rng(3)
    rows = [(f"{dice.choice(WORDS)} {n}", f"class {dice.integers(40)}", n) for n in range(200)]
    rows += [(f"lamp {c} {n}", f"class {c}", n) for c in range(40) for n in (7, 8)]
    found = said_of(*classified(write_csv(tmp_path / "t.csv", ("title", "kind", "day"), rows)))
    assert not any("Classes have shifted" in each.message for each in found)
    days = np.random.default_rng(1).permutation(60).tolist()
    moved = 0
    for seed in range(10):
        numbers = np.random.default_rng(seed).normal(size=60)
        priced = [(f"lamp {day}", round(float(number), 3), day) for day, number in zip(days, numbers, strict=True)]
        table, (schema, drawn) = parts(write_csv(tmp_path / f"{seed}.csv", ("title", "price", "day"), priced))
        moved += any("The target has moved" in each.message for each in said_of(table, schema, drawn))
    assert moved <= 2


def test_ties_that_change_the_size_of_a_part_are_said(tmp_path: Path) -> None:
    rows = [(f"lamp {n}", ("a", "b")[n % 2], min(n // 40, 3)) for n in range(200)]
    found = said_of(*classified(write_csv(tmp_path / "t.csv", ("title", "kind", "day"), rows)))
    said = " ".join(each.message for each in found)
    assert "'day' has 4 different times: 40 rows are for validation and 80 for testing, instead of 20 and 40." in said


def test_groups_that_span_the_cut_are_counted(tmp_path: Path) -> None:
    """Three test rows are of two groups with earlier rows: one in training, one in validation."""
    groups = [f"g{n}" for n in range(200)]
    groups[199] = groups[198] = "g5"
    groups[197] = "g150"
    rows = [(f"lamp {n}", ("a", "b")[n % 2], n, group) for n, group in enumerate(groups)]
    path = write_csv(tmp_path / "t.csv", ("title", "kind", "day", "owner"), rows)
    said = " ".join(each.message for each in said_of(*classified(path, "owner")))
    assert "3 of 40 test rows are of 2 groups that earlier rows are of too" in said


def test_months_without_a_day_are_times() -> None:
    months = [f"{year}-{month:02d}" for year in (2022, 2023) for month in range(1, 13)]
    table = table_of({"month": [*months, None, " "], "title": [f"lamp {i}" for i in range(26)]})
    times, column = times_of(table, "month")
    assert column.kind == "datetime" and np.isnan(times[-2:]).all()
    assert (np.diff(times[:24]) > 27 * 86_400).all()
