"""Does a predicted class equal the one in the training table, in type, value and spelling?"""

import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import warmstart
from tests.cli_base import call
from warmstart.data.rows.usable_rows import find_usable_rows
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import ColumnChoices
from warmstart.data.tables.in_memory import table_of
from warmstart.data.tables.read import read_table

N = 40
TEXTS = [f"{'great' if i % 2 else 'awful'} lamp number {i}" for i in range(N)]
TABLES: dict[str, tuple[Any, Any]] = {  # the two classes
    "integers": (0, 1),
    "large integers": (9_007_199_254_740_993, 2),
    "booleans": (False, True),
    "fractions": (0.5, 1.5),
    "whole fractions": (0.0, 1.0),
    "texts": ("no", "yes"),
    "codes": ("007", "008"),
}


def frame_of(classes: tuple[Any, Any]) -> pd.DataFrame:
    return pd.DataFrame({"text": TEXTS, "label": [classes[i % 2] for i in range(N)]})


@pytest.mark.parametrize("name", TABLES)
def test_a_prediction_equals_its_class_in_type_and_value(name: str, tmp_path: Path) -> None:
    """Case 16: 0 was predicted as "0", which equals no label."""
    frame = frame_of(TABLES[name])
    model = warmstart.fit(frame, "label", "linear", tmp_path / "run", quiet=True)
    assert model
    found = [row["prediction"] for row in warmstart.load(tmp_path / "run").predict(frame)]
    labels = frame.label.tolist()
    assert found == labels and [*map(type, found)] == [*map(type, labels)]


@pytest.mark.parametrize(
    "spelled", [("0", "1"), ("0.0", "1.0"), ("TRUE", "FALSE"), ("true", "false"), ("1.50", "2.50"), ("+1", "-1")]
)
def test_a_prediction_in_csv_is_spelled_as_its_class(spelled: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"{text},{spelled[i % 2]}\n" for i, text in enumerate(TEXTS)))
    words = ("--target", "label", "--regime", "linear", "--task", "classification", "--out", tmp_path / "run")
    answer = call("fit", path, *words)
    assert answer.code == 0, answer.err
    printed = call("predict", tmp_path / "run", path)
    assert [row["prediction"] for row in csv.DictReader(io.StringIO(printed.out))] == [spelled[i % 2] for i in range(N)]
    typed = pd.read_csv(path).label.tolist()
    assert [row["prediction"] for row in warmstart.load(tmp_path / "run").predict(warmstart.read(path))] == typed
    for ending, read in (("jsonl", lambda file: pd.read_json(file, lines=True)), ("parquet", pd.read_parquet)):
        assert call("predict", tmp_path / "run", path, "--out", tmp_path / f"p.{ending}").code == 0
        assert read(tmp_path / f"p.{ending}").prediction.tolist() == typed


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_the_classes_are_the_same_in_every_format(name: str, ending: str, tmp_path: Path) -> None:
    frame, path = frame_of(TABLES[name]), tmp_path / f"a.{ending}"
    if ending == "csv":
        frame.to_csv(path, index=False)
    elif ending == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    choices = ColumnChoices("label", ("text",), task="classification")
    found = []
    for table in (read_table(path), table_of(frame)):
        schema = infer_schema(table, choices)
        found.append((schema.class_type, schema.spellings, find_usable_rows(table, schema).targets.tolist()))
    if (name, ending) != ("whole fractions", "jsonl"):  # in which pandas writes 0.0 as 0
        assert found[0] == found[1]
    assert found[0][2] == found[1][2]


def test_labels_of_lists_keep_their_type(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": TEXTS, "label": [[3, 7] if i % 2 else [7] for i in range(N)]})
    warmstart.fit(frame, "label", "linear", tmp_path / "run", quiet=True)
    found = [row["prediction"] for row in warmstart.load(tmp_path / "run").predict(frame)]
    assert found == frame.label.tolist() and {type(label) for labels in found for label in labels} == {int}
