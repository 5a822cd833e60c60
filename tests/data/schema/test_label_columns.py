"""Label columns: several columns of zeros and ones are one target, and everything else in them is refused in words."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import warmstart
from tests.cli_base import call
from warmstart.errors import InputError, UsageError, WarmstartError
from warmstart.models.pretrained.base import Base

WORDS = ("kettle", "mug", "chair", "lamp")


def frame(**changes: Any) -> pd.DataFrame:
    """A text says which of two labels it has: `hot` with a kettle, `soft` with a chair."""
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(WORDS, 3)) + f" {i}" for i in range(120)]
    columns = {"text": texts, "hot": ["kettle" in text for text in texts], "soft": ["chair" in text for text in texts]}
    made = pd.DataFrame(columns)
    return made.astype({"hot": int, "soft": int}).assign(**changes)


def test_the_labels_are_the_names_of_the_columns(base: Base, tmp_path: Path) -> None:
    data = frame()
    run = warmstart.fit(data, "hot,soft", "linear", tmp_path / "run", base=base.location, quiet=True, log=False)
    assert run.test is not None and run.test > 0.9
    found = warmstart.load(tmp_path / "run").predict(data[["text"]])
    expected = [[name for name in ("hot", "soft") if row[name]] for row in data.to_dict("records")]
    assert np.mean([row["prediction"] == labels for row, labels in zip(found, expected, strict=True)]) > 0.9


@pytest.mark.parametrize(
    "changes",
    [
        {"hot": lambda table: table.hot.astype(bool)},
        {"hot": lambda table: table.hot.astype(float)},
        {"hot": lambda table: table.hot.map({0: "False", 1: "TRUE"})},
    ],
)
def test_true_and_one_are_the_same(changes: dict[str, Any], base: Base) -> None:
    found = warmstart.check(frame(**changes), " hot, soft ", base=base.location)
    assert found.schema.multi_label and found.schema.text == ("text",) and found.usable
    assert not set(found.schema.ignored) & {"hot", "soft"}


def test_the_command_line_and_a_file(base: Base, tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "a.csv", index=False)
    words = (tmp_path / "a.csv", "--target", "soft,hot", "--base", base.location)
    assert "multi-label" in call("check", *words).out
    fitted = call("fit", *words, "--regime", "linear", "--out", tmp_path / "run", "--quiet")
    assert fitted.code == 0, fitted.err


@pytest.mark.parametrize(
    "changes, target, kind, words",
    [
        ({}, "hot,cold", UsageError, "there is no column 'cold', which --target names"),
        ({"hot": range(120)}, "hot,soft", InputError, "'hot', which --target names among others, holds '2'"),
        ({}, "no,such", UsageError, "there is no column 'no,such'"),
        ({}, "text,hot", InputError, "expected zeros and ones"),
    ],
)
def test_what_is_no_label_is_refused(
    changes: dict[str, Any], target: str, kind: type[WarmstartError], words: str, base: Base
) -> None:
    with pytest.raises(kind, match=words):
        warmstart.check(frame(**changes), target, base=base.location)


def test_a_missing_cell_is_a_row_without_a_target(base: Base) -> None:
    found = warmstart.check(frame(hot=[None, *frame().hot[1:]]), "hot,soft", base=base.location)
    (missing,) = [each for each in found.findings if each.kind == "missing-target"]
    assert missing.rows == (1,) and found.usable


def test_a_column_with_a_comma_in_its_name_is_that_column(base: Base) -> None:
    data = frame().rename(columns={"hot": "hot,soft"})
    assert not warmstart.check(data, "hot,soft", base=base.location).schema.multi_label
