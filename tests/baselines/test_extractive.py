"""Extractive: is the floor of tasks that write what it says, chosen on validation rows, and saved as it is?"""

import json
from pathlib import Path

import numpy as np
import pytest

from warmstart.baselines.baseline import FitData
from warmstart.baselines.baselines import load_baseline
from warmstart.baselines.extractive import MOST_SENTENCES, Extractive, commonest_object, fit_extractive
from warmstart.baselines.extractive import leading_sentences as leading
from warmstart.data.rows.split import Rows
from warmstart.data.schema.conversations import Turn, write_prompt
from warmstart.data.schema.structured import infer_json_schema
from warmstart.tasks.language import Language

SUM_UP = "Sum up."
SUMMARIES = Language("summarise", "summary", instruction=SUM_UP)


def rows_of(pairs: list[tuple[str, str]], instruction: str = SUM_UP) -> Rows:
    texts = tuple(write_prompt(instruction, source, answer) for source, answer in pairs)
    answers = np.array([answer for _, answer in pairs], dtype=object)
    return Rows(texts, answers, np.arange(1, len(pairs) + 1), tuple(map(str, range(len(pairs)))))


@pytest.mark.parametrize(
    ("text", "count", "found"),
    [
        ("One. Two! Three?", 2, "One. Two!"),
        ("One. Two! Three?", 9, "One. Two! Three?"),
        ("Dr. No meets e.g. Mr. Bean at 2.50 today. He leaves.", 1, "Dr. No meets e.g. Mr. Bean at 2.50 today."),
        ('He said "stop." Then he left.', 1, 'He said "stop."'),
        ("A heading\n\nThe text. More.", 1, "A heading"),
        ("これは文です。次の文です。", 1, "これは文です。"),
        ("version 2. of it goes on. End.", 1, "version 2. of it goes on."),
        ("", 1, ""),
        ("...", 3, "..."),
    ],
)
def test_sentences_end_where_a_reader_sees_an_end(text: str, count: int, found: str) -> None:
    assert leading(text, count) == found


@pytest.mark.parametrize("count", [1, 3])
def test_the_number_of_sentences_is_chosen_on_validation_rows(count: int) -> None:
    source = " ".join(f"Sentence number {word} stands here." for word in ("one", "two", "three", "four", "five"))
    learned = rows_of([(source, "Sentence number one stands here.")] * 5)
    held = rows_of([(source, leading(source, count))] * 5)
    fitted = fit_extractive(FitData(SUMMARIES, learned, validation=held))
    assert [trial.settings["sentences"] for trial in fitted.trials] == list(range(1, MOST_SENTENCES + 1))
    assert fitted.baseline == Extractive(count, instruction=SUM_UP)
    assert fitted.baseline.writer.answers(held.texts, SUMMARIES) == [leading(source, count)] * 5


def test_a_translation_is_the_source_itself_with_or_without_an_answer() -> None:
    task = Language("translate", "de", instruction="Translate.")
    rows = rows_of([("Hello there. Goodbye.", "Hallo.")], "Translate.")
    writer = fit_extractive(FitData(task, rows)).baseline.writer
    assert writer is not None
    assert writer.answers(rows.texts, task) == ["Hello there. Goodbye."]
    assert writer.answers([write_prompt("Translate.", " New. ")], task) == ["New."]
    assert "".join(writer.stream([Turn("user", "Translate.\n\nNew.")], 9, 0.0, 1.0, 0)) == "New."


def test_an_object_has_the_commonest_value_of_each_field_that_most_objects_have() -> None:
    objects = [
        {"kind": "a", "tags": ["x", "y"], "size": {"w": 1}},
        {"kind": "a", "tags": ["x"], "size": {"w": 2}},
        {"kind": "b", "tags": ["x"], "size": {"w": 2}, "rare": 1},
    ]
    schema = infer_json_schema(objects)
    assert json.loads(commonest_object(objects, schema)) == {"kind": "a", "tags": ["x"], "size": {"w": 2}}
    task = Language("structured", json_schema=schema)
    rows = rows_of([("text", json.dumps(each)) for each in objects], "")
    fitted = fit_extractive(FitData(task, rows))
    assert fitted.baseline.weights == 3
    judged = task.judge(fitted.baseline.writer.answers(rows.texts, task), rows)
    assert judged.metrics["validity"] == 1.0 and judged.metrics["accuracy of kind"] == pytest.approx(2 / 3)


def test_where_the_commonest_values_are_no_valid_object_the_commonest_object_is() -> None:
    pairs = [{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 2, "b": 1}, {"a": 3, "b": 1}, {"a": 2, "b": 1}]
    assert json.loads(commonest_object([*pairs, {"a": 1, "b": 4}], {})) == {"a": 1, "b": 1}
    known = {"anyOf": [{"const": pair} for pair in pairs]}
    assert json.loads(commonest_object([*pairs, {"a": 1, "b": 4}], known)) == {"a": 2, "b": 1}


def test_texts_without_a_sentence_and_one_row_are_enough() -> None:
    rows = rows_of([("x", "y")])
    assert fit_extractive(FitData(SUMMARIES, rows)).baseline.writer.answers(rows.texts, SUMMARIES) == ["x"]


@pytest.mark.parametrize(
    "baseline", [Extractive(2, instruction="Sum up."), Extractive(answer='{"a": 1}'), Extractive(instruction="T")]
)
def test_it_comes_back_as_it_was_saved(baseline: Extractive, tmp_path: Path) -> None:
    baseline.save(tmp_path)
    assert load_baseline(tmp_path) == baseline
