"""Explain: are the words and columns named that a prediction follows from?"""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import warmstart
from tests.cli_base import call, write_csv
from tests.oak_prices import WORDS, oak_prices
from tests.pictures import encoded
from warmstart.errors import UsageError
from warmstart.inference import explain as module
from warmstart.inference.explain import MAX_SPANS, explain


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain")
    data = oak_prices(folder / "t.csv", 400)
    answer = call("fit", data, "--target", "price", "--regime", "linear", "--scale", "linear", "--out", folder / "run")
    assert answer.code == 0, answer.err
    return folder / "run"


def test_the_word_and_the_column_that_matter_come_first(run: Path) -> None:
    trained = warmstart.load(run)
    rows = [{"text": "pine lamp oak bowl elm", "weight": 35.0}, {"text": "pine lamp ash bowl elm", "weight": None}]
    found = list(explain(trained, trained.new_rows(rows), 2))
    assert {each.column: each.part for each in found[0]} == {"weight": "35", "text": "oak"}
    by_column = {each.column: each.effect for each in found[0]}
    assert by_column["text"] == pytest.approx(40, rel=0.5) and by_column["weight"] > 20
    assert found[1][0].part == "ash" and found[1][0].effect < 0
    assert all(each.column == "text" for each in found[1]), "a value that is missing moves nothing"


def test_the_effect_is_the_difference_of_two_predictions(run: Path) -> None:
    trained = warmstart.load(run)
    whole, without = (
        trained.predict([{"text": text, "weight": 20.0}])[0]["prediction"]
        for text in ("glass oak chair", "glass chair")
    )
    (found,) = explain(trained, trained.new_rows([{"text": "glass oak chair", "weight": 20.0}]))
    assert next(each.effect for each in found if each.part == "oak") == pytest.approx(whole - without, rel=1e-6)


def test_of_a_long_text_several_words_are_left_out_at_a_time(run: Path) -> None:
    trained = warmstart.load(run)
    text = " ".join(["glass"] * 300 + ["oak"] + ["glass"] * 300)
    (found,) = explain(trained, trained.new_rows([{"text": text, "weight": 20.0}]), MAX_SPANS + 1)
    assert "oak" in found[0].part or "oak" in found[1].part
    assert len(found) <= MAX_SPANS + 1 and max(len(each.part.split()) for each in found if each.column) <= 16


def test_the_command_writes_them(run: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "new.csv", ("text", "weight"), [("pine oak lamp", 35), ("", ""), ("ash bowl", 2)])
    answer = call("predict", run, data, "--explain", "2", "--quiet")
    assert answer.code == 0, answer.err
    rows = list(csv.DictReader(io.StringIO(answer.out)))
    assert "text 'oak' (+" in rows[0]["because"] or "oak" in rows[0]["because"]
    assert rows[1]["because"] == "" and rows[1]["reason"] and rows[2]["because"]
    out = tmp_path / "p.jsonl"
    assert call("predict", run, data, "--explain", "1", "--out", out, "--quiet").code == 0
    first = json.loads(out.read_text().splitlines()[0])["because"]
    assert len(first) == 1 and set(first[0]) == {"column", "part", "effect"}


def test_classes_are_explained_by_their_probability(tmp_path: Path) -> None:
    dice = np.random.default_rng(2)
    texts = [" ".join([*dice.choice(WORDS, 3), "oak" if i % 2 else "ash"]) for i in range(200)]
    rows = [(text, "hard" if "oak" in text else "soft") for text in texts]
    data = write_csv(tmp_path / "t.csv", ("text", "kind"), rows)
    assert call("fit", data, "--target", "kind", "--regime", "linear", "--out", tmp_path / "run").code == 0
    trained = warmstart.load(tmp_path / "run")
    (found,) = explain(trained, trained.new_rows(["lamp oak chair"]), 1)
    assert found[0].part == "oak" and 0.1 < found[0].effect <= 1


def test_sets_of_labels_are_refused(tmp_path: Path) -> None:
    rows = [(f"{word} {i}", "a|b" if i % 2 else "b") for i, word in enumerate(WORDS * 8)]
    data = write_csv(tmp_path / "t.csv", ("text", "tags"), rows)
    words = ("--target", "tags", "--separator", "|", "--regime", "linear", "--out", tmp_path / "run")
    assert call("fit", data, *words).code == 0
    trained = warmstart.load(tmp_path / "run")
    with pytest.raises(UsageError, match="only a predicted number or class can be explained"):
        next(explain(trained, trained.new_rows(["elm"])))
    answer = call("predict", tmp_path / "run", data, "--explain", "2")
    assert answer.code == 2 and "Traceback" not in answer.err


def test_the_part_of_an_image_that_matters_comes_first(tmp_path: Path) -> None:
    """Of photos whose class is the corner that is light, beside a number that says nothing."""
    dice = np.random.default_rng(3)
    rows = []
    for i in range(120):
        pixels = dice.integers(0, 40, (12, 12, 3)).astype(np.uint8)
        corner = "left" if i % 2 else "right"
        pixels[:4, :4] = 230 if corner == "left" else pixels[:4, :4]
        pixels[:4, 8:] = 230 if corner == "right" else pixels[:4, 8:]
        rows.append((pixels, float(dice.normal()), corner))
    table = pa.table({
        "photo": pa.array([encoded(pixels) for pixels, _, _ in rows], pa.binary()),
        "noise": [noise for _, noise, _ in rows],
        "corner": [corner for _, _, corner in rows],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "t.parquet")
    words = ("--target", "corner", "--regime", "linear", "--out", tmp_path / "run")
    answer = call("fit", tmp_path / "t.parquet", *words)
    assert answer.code == 0, answer.err
    trained = warmstart.load(tmp_path / "run")
    some = table.slice(0, 2).drop_columns(["corner"])
    found = list(explain(trained, trained.new_rows(some), 1))
    assert [(each[0].column, each[0].part) for each in found] == [("photo", "top right"), ("photo", "top left")]
    assert all(each[0].effect > 0 for each in found)


def test_marks_are_no_words_and_effects_that_round_to_nothing_are_left_out(run: Path) -> None:
    trained = warmstart.load(run)
    (found,) = explain(trained, trained.new_rows([{"text": "lamp - oak -- chair", "weight": 20.0}]), 9)
    assert {each.part for each in found} <= {"lamp", "oak", "chair", "20"}
    assert found and min(abs(each.effect) for each in found) >= 0.01 * abs(found[0].effect)


def test_rounding_errors_are_no_reasons(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = warmstart.load(run)
    monkeypatch.setattr(module, "_predicted", lambda stored, rows, counts: 1.0 - 1e-9 * np.arange(len(rows)))
    assert list(explain(trained, trained.new_rows([{"text": "glass oak chair", "weight": 20.0}]))) == [[]]
