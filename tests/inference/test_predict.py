"""Are predictions the same however they are asked for, in the target's own units, and safe to open?"""

import csv
import io
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

import warmstart
from tests.cli_base import QUICK, call, products, write_csv
from tests.tiny import REGRESSION, tiny_rows
from warmstart.errors import InputError, WarmstartError
from warmstart.inference.predict import TrainedModel, model_folder
from warmstart.inference.prediction_files import _cell, escape_formula, print_csv
from warmstart.models.pretrained.base import Base
from warmstart.results.record import load_run
from warmstart.study import progress

ROWS = 210
REASON = "there is nothing to read in 'title'"
ONE = ("--trials", "1", "--length", "0.01", "--quiet")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough rows that 20 of them are for validation: fewer make no interval."""
    return products(tmp_path_factory.mktemp("data") / "products.csv", ROWS)


@pytest.fixture(scope="module")
def priced(data: Path, base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fit of the price, by training all weights for a few steps."""
    out = tmp_path_factory.mktemp("fits") / "priced"
    words = ("--target", "price", "--text", "title", "--scale", "log10", "--regime", "full", "--base", base.location)
    assert call("fit", data, *words, *ONE, "--out", out).code == 0
    return out


@pytest.fixture(scope="module")
def placed(data: Path, base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fit of the room, from title and price."""
    out = tmp_path_factory.mktemp("fits") / "placed"
    words = ("--target", "room", "--text", "title", "--text", "price", "--regime", "linear", "--base", base.location)
    assert call("fit", data, *words, *ONE, "--out", out).code == 0
    return out


def of_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_model_of_numbers_answers_nobody(priced: Path) -> None:
    answer = call("chat", priced)
    assert answer.code == 2 and "was trained for regression: it answers nobody" in answer.err


def test_the_command_and_python_give_the_same_numbers(priced: Path, data: Path, tmp_path: Path) -> None:
    texts = tiny_rows(REGRESSION, ROWS).texts
    expected = warmstart.load(priced).predict(texts)
    answer = call("predict", priced, data)
    told = [{k: float(v) for k, v in row.items() if k != "row"} for row in of_csv(answer.out)]
    assert told == [pytest.approx(row, rel=5e-6) for row in expected], "six digits, in CSV alone"
    assert answer.err.startswith(f"predicting with `full` ({priced})\n")
    assert [row["row"] for row in of_csv(answer.out)] == [str(i) for i in range(1, ROWS + 1)]
    assert warmstart.load(priced).predict(warmstart.read(data)) == expected
    assert warmstart.load(priced).predict([{"title": text} for text in texts]) == expected
    for suffix in ("csv", "jsonl", "parquet"):
        assert f"\n{ROWS} predictions in " in call("predict", priced, data, "--out", tmp_path / f"new.{suffix}").err
    rows = [{"row": i} | row for i, row in enumerate(expected, 1)]
    assert [json.loads(line) for line in (tmp_path / "new.jsonl").read_text().splitlines()] == rows
    assert pq.read_table(tmp_path / "new.parquet").to_pylist() == rows
    assert (tmp_path / "new.csv").read_text() == answer.out
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".jsonl", ".parquet"]


def test_the_numbers_are_those_that_the_fit_was_scored_by(priced: Path, placed: Path, data: Path) -> None:
    texts = tiny_rows(REGRESSION, ROWS).texts
    scored, trained = load_run(priced).predictions, warmstart.load(priced)
    for row, prediction, target in zip(scored["row"], scored["prediction"], scored["target"], strict=True):
        found = trained.predict([texts[row - 1]])[0]
        assert found["prediction"] == pytest.approx(prediction, rel=1e-5)  # other rows beside it in the batch
        assert tiny_rows(REGRESSION, ROWS).targets[row - 1] == pytest.approx(target, rel=1e-5)  # the target's own units
        assert found["low"] < found["prediction"] < found["high"]
    by_row = {int(row["row"]): row for row in of_csv(call("predict", placed, data).out)}
    scored = load_run(placed).predictions
    for row, room, probability in zip(scored["row"], scored["prediction"], scored["probability"], strict=True):
        assert by_row[row]["prediction"] == room
        assert float(by_row[row]["probability"]) == pytest.approx(probability, rel=5e-6)
        assert 0 < probability <= 1


def test_only_the_columns_that_the_model_reads_are_needed(placed: Path, priced: Path, tmp_path: Path) -> None:
    new = write_csv(tmp_path / "new.csv", ("id", "title", "stock"), [(1, "small red lamp", "x"), (2, "", "y")])
    answer = call("predict", priced, new)
    assert answer.code == 0 and len(of_csv(answer.out)) == 2
    assert answer.err.endswith("\nrow 2: there is nothing to read in 'title', so there is no prediction.\n")
    first, second = of_csv(answer.out)
    assert first["reason"] == "" and float(first["low"]) < float(first["prediction"])
    assert second == {"row": "2", "prediction": "", "low": "", "high": "", "reason": REASON}
    assert call("predict", priced, new, "--out", tmp_path / "new.parquet").code == 0
    assert pq.read_table(tmp_path / "new.parquet").to_pylist()[1]["reason"] == REASON
    assert call("predict", priced, new, "--quiet").err == ""
    missing = call("predict", placed, new)
    assert (missing.code, missing.out) == (2, "")
    assert (
        missing.err
        == f"error: {new}: the model reads column 'price', which is not there.\nhint: there are: id, title, stock\n"
    )
    other = write_csv(tmp_path / "other.csv", ("Title",), [("small red lamp",)])
    assert "did you mean 'Title'?" in call("predict", priced, other).err
    with pytest.raises(InputError, match="the given rows: the model reads column 'price'"):
        warmstart.load(placed).predict([{"title": "small red lamp"}])


def test_every_row_has_a_prediction_or_a_reason(priced: Path, tmp_path: Path) -> None:
    """Case 26: None, NaN, an array, a Series, a Path and a generator ended in tracebacks."""
    trained = warmstart.load(priced)
    one, other = trained.predict(["small red lamp", "large oak table"])
    none = {"prediction": None, "reason": "there is no text"}
    frame = pd.DataFrame({"title": ["small red lamp", "large oak table"]})
    assert trained.predict(["small red lamp", None, float("nan")]) == [pytest.approx(one), none, none]  # type: ignore[list-item]
    assert trained.predict([None])[0]["prediction"] is None and trained.predict(["\ud800", " "])[1]["reason"]
    write_csv(tmp_path / "new.csv", ("title",), [("small red lamp",), ("large oak table",)])
    texts = frame.title.to_list()
    asked: list[object] = [frame, frame.title, frame.values, frame.title.to_numpy(), iter(texts)]
    asked += [pl.DataFrame({"title": texts}), pl.Series(texts), tmp_path / "new.csv"]
    for data in asked:
        assert trained.predict(data) == [pytest.approx(one), pytest.approx(other)], type(data)  # type: ignore[arg-type]
    for wrong, said in (
        (3, "a int was given where a list of texts was expected"),
        ([3, "x"], "row 1 is a int: 3, expected a text"),
        ([("a", "b")], "row 1 is a tuple"),
        (np.zeros((2, 2)), "has no column names"),
        (pd.DataFrame({"Title": ["x"]}), "the model reads column 'title'"),
        (tmp_path / "no.csv", "there is no file"),
    ):
        with pytest.raises(WarmstartError, match=re.escape(said)):
            trained.predict(wrong)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, warmstart.TrainedModel]:
    """A model of a text, a number, a date and true or false, and one of a number alone."""
    folder = tmp_path_factory.mktemp("typed")
    rows = {
        "title": [f"lamp number {i} of {i % 7}" for i in range(60)],
        "size": [i % 11 + 0.5 for i in range(60)],
        "day": [f"2023-01-{i % 28 + 1:02d}" for i in range(60)],
        "sold": [i % 2 == 0 for i in range(60)],
        "price": [float(i % 11) * 3 + 0.25 + i / 100 for i in range(60)],
    }
    warmstart.fit(rows, "price", "linear", folder / "all", quiet=True)
    warmstart.fit(rows, "price", "linear", folder / "size", text=("size",), quiet=True)
    return {name: warmstart.load(folder / name) for name in ("all", "size")}


GOOD = {"title": "lamp number 3 of 3", "size": 3.5, "day": "2023-01-04", "sold": False}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (["a lamp"], "texts alone were given, but the model reads the columns 'title', 'size', 'day', 'sold'"),
        ([None], "texts alone were given"),
        (pd.Series(["a lamp"]), "texts alone were given"),
        (np.array(["a lamp"]), "texts alone were given"),
        ([{name: cell for name, cell in GOOD.items() if name != "size"}], "reads column 'size', which is not there"),
        ([{"title": "a lamp", "day": "2023-01-04"}], "reads columns 'size', 'sold', which are not there"),
        ([{"Size" if name == "size" else name: cell for name, cell in GOOD.items()}], "reads column 'size'"),
        ([GOOD | {"size": 1j}], "column 'size'"),
        ([GOOD, None], "given together"),
        ([[1, 2]], "row 1 is a list"),
        ({"title": None}, "column 'title' is None"),
        (None, "a NoneType was given"),
        (3.5, "a float was given"),
    ],
)
def test_a_model_of_typed_columns_says_what_it_needs(typed: dict[str, Any], data: Any, said: str) -> None:
    """A list of texts ended in a KeyError."""
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        typed["all"].predict(data)
    assert caught.value.hint


@pytest.mark.parametrize("cell", [None, float("nan"), "", "NA"])
@pytest.mark.parametrize("column", ["size", "day", "sold", "title"])
def test_a_missing_cell_is_no_error(typed: dict[str, Any], column: str, cell: Any) -> None:
    (found,) = typed["all"].predict([GOOD | {column: cell}])
    assert isinstance(found["prediction"], float)


@pytest.mark.parametrize(
    ("column", "cell"), [("size", "heavy"), ("size", [1, 2]), ("size", {"a": 1}), ("day", "soon"), ("sold", "perhaps")]
)
def test_a_cell_of_another_type_counts_as_missing_and_is_said(typed: dict[str, Any], column: str, cell: Any) -> None:
    missing = typed["all"].predict([GOOD | {column: None}])
    with pytest.warns(UserWarning, match=f"column '{column}' has 1 cell"):
        assert typed["all"].predict([GOOD | {column: cell}]) == missing


def test_a_model_of_one_number_takes_no_texts(typed: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="reads the column 'size'"):
        typed["size"].predict(["3.5"])
    assert typed["size"].predict([{"size": 3.5}])[0]["prediction"]


def test_python_is_told_what_it_gave_wrongly(placed: Path) -> None:
    trained = warmstart.load(placed)
    assert trained.regime == "linear"
    assert trained.predict([]) == []
    with pytest.raises(InputError, match=r"predict\(\[text\]\)"):
        trained.predict("one text")
    with pytest.raises(InputError, match="texts alone were given"):
        trained.predict(["a text"])
    with pytest.raises(InputError, match="given together"):
        trained.predict(["a text", {"title": "b", "price": 3}])  # type: ignore[list-item]
    with pytest.raises(InputError, match="column 'price' of the given rows"):
        trained.predict([{"title": "a", "price": 3}, {"title": "b", "price": "dear"}])
    later = trained.predict([{"title": "a lamp"}, {"title": "b", "price": 3}])  # a column that the first row lacks
    assert later == trained.predict([{"title": "a lamp", "price": None}, {"title": "b", "price": 3}])


def test_a_study_predicts_by_its_winner(data: Path, base: Base, tmp_path: Path) -> None:
    words = ("--target", "price", "--text", "title", "--base", base.location, "--out", tmp_path / "study", "--quiet")
    assert call("compare", data, *words, *QUICK).code == 0
    winner: TrainedModel = warmstart.load(tmp_path / "study" / "winner")
    rows = of_csv(call("predict", tmp_path / "study", data).out)
    expected = [row["prediction"] for row in winner.predict(warmstart.read(data))]
    assert [float(row["prediction"]) for row in rows] == pytest.approx(expected, rel=5e-6)


def test_what_left_no_model_is_not_to_be_gone_on_with(priced: Path, data: Path, tmp_path: Path) -> None:
    failed = tmp_path / "failed"
    shutil.copytree(priced, failed)
    (failed / "model.json").unlink()
    answer = call("predict", failed, data)
    assert answer.code == 2 and "is finished, but left no model: what was trained failed." in answer.err
    assert f"hint: see why with: warmstart runs {failed}" in answer.err


def test_a_study_without_its_winner_says_how_to_write_it_again(tmp_path: Path) -> None:
    for name in ("request.json", "study.json", "runs/linear-r84-s0/model.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=r"is finished, but its model, .*winner', is not there.\n.*warmstart resume"):
        model_folder(tmp_path)


def test_a_row_with_an_object_in_a_column_of_texts_is_refused(priced: Path) -> None:
    model = warmstart.load(priced)
    column = model.stored.schema.text[0]
    with pytest.raises(InputError, match=f"column '{column}' holds objects"):
        model.predict([{column: {"a": 1}}])


def test_what_a_spreadsheet_would_run_is_made_text_and_numbers_stay_numbers() -> None:
    for text in ("=1+1", "+SUM(A1)", "-2+3", "@x", "\t=1", "-", "=-3", "\uff1d1"):
        assert escape_formula(text) == "'" + text
    for value in (-3.5, 7, "-3.5", "+4", "-1e-5", "plain", "a=b", "", None):
        assert _cell(value) == value == escape_formula(value)
    assert _cell(["a", "b"]) == "a|b" and json.loads(_cell(["a|b", "c"])) == ["a|b", "c"]


@pytest.mark.parametrize(
    "classes", [("=1+1", "-pos", "'quoted"), ("@home", "+1 day", "nan"), ("a,b", 'say "no"', "x\ny")]
)
def test_a_predicted_class_is_spelled_as_in_the_training_table(
    classes: tuple[str, ...], base: Base, tmp_path: Path
) -> None:
    """Escaping of formulas must not change a class: what is read back joins with the labels."""
    words = ("oak", "pine", "elm")
    rows = [(f"{words[i % 3]} {words[i % 3]} number {i}", classes[i % 3]) for i in range(120)]
    data = write_csv(tmp_path / "data.csv", ("text", "label"), rows)
    fit = ("--target", "label", "--regime", "linear", "--base", base.location)
    assert call("fit", data, *fit, *ONE, "--out", tmp_path / "run").code == 0
    assert call("predict", tmp_path / "run", data, "--out", tmp_path / "new.csv").code == 0
    with (tmp_path / "new.csv").open(newline="") as file:
        assert [row["prediction"] for row in csv.DictReader(file)] == [label for _, label in rows]
    found = [row["prediction"] for row in warmstart.load(tmp_path / "run").predict([text for text, _ in rows])]
    assert found == [label for _, label in rows]


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (5.226071834180334, "5.22607"), (0.1 + 0.2, "0.3"), (12345678.9, "12345679.0"), (-0.0001234567, "-0.000123457"),
        (1e-300, "1e-300"), (0.0, "0.0"), (-math.inf, "-inf"), (math.nan, "nan"), (99999.96, "100000.0"), (7, "7"),
    ],
)  # fmt: skip
def test_numbers_have_six_digits_or_all_before_the_point(number: float, written: str) -> None:
    assert str(_cell(number)) == written


def test_rows_are_flushed_as_they_come_and_how_far_it_is_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    kept: list[int] = []

    class Pipe(io.StringIO):
        def flush(self) -> None:
            kept.append(len(of_csv(self.getvalue())))

    print_csv(progress.count_rows(({"prediction": str(i)} for i in range(6)), 6), Pipe())
    assert kept == [1, 2, 3, 4, 5, 6]
    said = capsys.readouterr().err.splitlines()
    assert said and all("of 6 rows" in line and line.endswith(" left") for line in said)


def test_no_time_is_predicted_from_the_first_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    list(progress.count_rows(({"prediction": i} for i in range(40)), 40))
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert first == "[  2%] 1 of 40 rows" and second.endswith(" left")


def test_what_stands_beside_a_prediction(data: Path, base: Base, tmp_path: Path) -> None:
    fit = ("--target", "room", "--text", "title", "--regime", "linear", "--base", base.location, "--quiet")
    assert call("fit", data, *fit, *ONE, "--out", tmp_path / "run").code == 0
    shares = [f"probability of {room}" for room in ("hall", "kitchen", "office")]
    rows = [("007", "1.10", "old lamp", "=1+1"), ("008", "", "", "b\nc"), ("009", "2.5", "large table", "d")]
    new = write_csv(tmp_path / "new.csv", ("code", "weight", "title", "note"), rows)
    plain = of_csv(call("predict", tmp_path / "run", new).out)
    assert list(plain[0]) == ["row", "prediction", "probability", "reason"] and [row["row"] for row in plain] == [
        *"123"
    ]

    found = of_csv(call("predict", tmp_path / "run", new, "--id", "code", "--probabilities").out)
    assert list(found[0]) == ["code", "prediction", "probability", *shares, "reason"]
    assert [row["code"] for row in found] == ["007", "008", "009"]
    assert sum(float(found[0][name]) for name in shares) == pytest.approx(1, abs=1e-4)
    assert max(float(found[0][name]) for name in shares) == float(found[0]["probability"])
    assert found[1]["prediction"] == found[1][shares[0]] == "" and "nothing to read" in found[1]["reason"]

    kept = of_csv(call("predict", tmp_path / "run", new, "--keep-columns", "--id", "note").out)
    assert list(kept[0]) == ["note", "code", "weight", "title", "prediction", "probability", "reason"]
    assert [(row["code"], row["weight"], row["title"], row["note"]) for row in kept] == rows
    for ending, read in (("jsonl", pl.read_ndjson), ("parquet", pl.read_parquet)):
        file = tmp_path / f"out.{ending}"
        assert call("predict", tmp_path / "run", new, "--keep-columns", "--out", file).code == 0
        table = read(file)
        assert table.columns[:4] == ["code", "weight", "title", "note"]
        assert {*table.columns[4:]} == {"prediction", "probability", "reason"}
        assert table["weight"].to_list() == [1.1, None, 2.5] and table["prediction"][0] == plain[0]["prediction"]

    for words, says in (
        (("--id", "cod"), "did you mean 'code'"),
        (("--id", "prediction"), "no column of that name"),
    ):
        answer = call("predict", tmp_path / "run", new, *words)
        assert answer.code == 2 and says in answer.err
    named = write_csv(tmp_path / "named.csv", ("title", "high"), [("old lamp", "x")])
    answer = call("predict", tmp_path / "run", named, "--id", "high")
    assert answer.code == 0 and answer.out.startswith("high,prediction,probability")
    again = write_csv(tmp_path / "again.csv", ("title", "prediction"), [("old lamp", "hall")])
    answer = call("predict", tmp_path / "run", again, "--keep-columns")
    assert answer.code == 2 and "both the rows and the predictions have a column 'prediction'" in answer.err


def test_probabilities_are_for_classes(priced: Path, data: Path) -> None:
    answer = call("predict", priced, data, "--probabilities")
    assert answer.code == 2 and "--probabilities is for classes, and this model predicts regression" in answer.err
