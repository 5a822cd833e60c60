"""Costs: is the cost matrix read or refused with one message, and does it decide, rank and reach every use?"""

from pathlib import Path

import numpy as np
import pytest

from warmstart.data.schema.costs import costs_note, read_costs
from warmstart.errors import UsageError
from warmstart.tasks.classification import Classification
from warmstart.tasks.tasks import task_from_json

CLASSES = ("ham", "spam")
SQUARE = "true,ham,spam\nham,0,5\nspam,1,0\n"


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "costs.csv"
    path.write_text(text)
    return str(path)


def test_costs_are_typed_or_read_from_a_file(tmp_path: Path) -> None:
    typed = read_costs("ham>spam=5", CLASSES)
    assert typed == {"ham": {"ham": 0.0, "spam": 5.0}, "spam": {"ham": 1.0, "spam": 0.0}}
    assert read_costs(written(tmp_path, SQUARE), CLASSES) == typed
    assert read_costs(" ham > spam = 5 ,spam>ham=0.5", CLASSES)["spam"]["ham"] == 0.5


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("ham>eggs=5", "names class 'eggs', which no row has"),
        ("ham>spam=-1", "predicting 'spam' where 'ham' is true is '-1'"),
        ("ham>spam=much", "is 'much'"),
        ("ham>spam=inf", "is 'inf'"),
        ("ham>spam", "is no cost of a mistake"),
        (">spam=1", "is no cost of a mistake"),
        ("ham>spam=0,spam>ham=0", "no mistake costs more than being right"),
        ("nothing.csv", "there is no such file"),
    ],
)
def test_wrong_costs_are_one_message(said: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_costs(said, CLASSES)
    assert message in raised.value.message and raised.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("true,ham,spam\nham,0,5\n", "class 'spam' has no row"),
        ("true,ham\nham,0\nspam,1\n", "class 'spam' has no column"),
        ("true,ham,spam\nham,0\nspam,1,0\n", "row 'ham' has 1 costs for 2 columns"),
        ("true,ham,spam\nham,0,5\nham,0,5\nspam,1,0\n", "a class is there twice"),
        ("true,ham,eggs\nham,0,5\neggs,1,0\n", "names class 'eggs'"),
        ("true,ham,spam\nham,0,-5\nspam,1,0\n", "is '-5'"),
        ("", "class 'ham' has no column"),
    ],
)
def test_a_wrong_file_is_one_message(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        read_costs(written(tmp_path, text), CLASSES)
    assert message in raised.value.message


def test_the_lowest_expected_cost_is_predicted_and_scored() -> None:
    plain = Classification("y", CLASSES)
    task = Classification("y", CLASSES, ranked_by="mean cost", costs=((0.0, 5.0), (1.0, 0.0)))
    shares = np.array([[0.2, 0.8], [0.1, 0.9], [0.9, 0.1]])
    outputs, targets = np.log(shares), np.array([1, 0, 1])
    assert plain.predictions(outputs, {})["prediction"] == ["spam", "spam", "ham"]
    found = task.predictions(outputs, {})
    # 'spam' from 5 / 6 on: a false one costs five times a missed one
    assert found["prediction"] == ["ham", "spam", "ham"] and found["probability"] == pytest.approx([0.2, 0.9, 0.9])
    assert found["expected_cost"] == pytest.approx([0.8, 0.5, 0.1])
    assert task.score(outputs, targets, {}).tolist() == [[1.0, 1.0], [5.0, 1.0], [1.0, 1.0]]
    assert task.metrics(outputs, targets, {})["mean cost"] == pytest.approx(7 / 3)
    assert not task.higher_is_better and task.metric == "mean cost"
    again = task_from_json(task.to_json())
    assert again.predictions(outputs, {}) == found
    hot = task.predictions(outputs, {"temperature": 3.0})
    assert hot["prediction"] == ["ham", "ham", "ham"], "a temperature moves probabilities, and so the decision"


def test_two_classes_are_told_their_threshold() -> None:
    assert costs_note(read_costs("ham>spam=5", CLASSES)) == (
        "By --costs, 'ham' is predicted from a probability of 0.167 on."
    )
    assert "'ham' never costs more" in costs_note(read_costs("spam>ham=0", CLASSES))
    assert "which need not be the most likely one" in costs_note(read_costs("a>b=2", ("a", "b", "c")))
