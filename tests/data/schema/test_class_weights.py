"""Class weights: are they read as they are written, and what does a class count then?"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.baselines.test_linear import rows_of
from warmstart.baselines.baseline import FitData
from warmstart.baselines.boosted_fit import fit_boosted
from warmstart.baselines.linear import fit_linear
from warmstart.data.schema.class_weights import label_weights, read_class_weights, weights_of
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import ColumnChoices
from warmstart.data.tables.read import Table
from warmstart.errors import UsageError
from warmstart.tasks.classification import Classification
from warmstart.tasks.margins import SquaredHinge

CLASSES = ("no", "yes")


def test_a_file_gives_each_class_its_weight(tmp_path: Path) -> None:
    path = tmp_path / "weights.yaml"
    path.write_text("no: 1\nyes: 4.5\n")
    assert read_class_weights(str(path), CLASSES) == {"no": 1.0, "yes": 4.5}
    path.write_text('{"yes": 3}')
    assert read_class_weights(str(path), CLASSES) == {"yes": 3.0}
    assert read_class_weights("balanced", CLASSES) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- no\n- yes", "gives no weight to any class"),
        ("", "gives no weight to any class"),
        ("yes: -1", "the weight of class 'yes' is -1"),
        ("yes: many", "the weight of class 'yes' is 'many'"),
        ("yes: .inf", "the weight of class 'yes' is"),
        ("yse: 2", "weighs class 'yse', which no row has"),
        ("yes: [", "cannot be read"),
        ("a: &x 1\nyes: *x", "gives no weight to any class"),
    ],
)
def test_what_is_no_weight_is_one_message(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_class_weights(str(path), CLASSES)
    with pytest.raises(UsageError, match="there is no such file"):
        read_class_weights(str(tmp_path / "other.yaml"), CLASSES)


def test_weights_are_one_on_average_over_the_training_rows() -> None:
    counts = np.array([90, 10, 0])
    for known in ({}, {"b": 9.0}):
        weights = np.array(weights_of(known, ("a", "b", "c"), counts))
        assert (weights * counts).sum() == pytest.approx(100)
    assert weights_of({}, ("a", "b"), np.array([90, 10])) == pytest.approx((100 / 180, 5.0))
    assert weights_of(None, ("a", "b"), counts[:2]) == ()


def test_a_heavy_class_counts_more_in_every_loss() -> None:
    plain, heavy = Classification("y", CLASSES), Classification("y", CLASSES, class_weights=(0.5, 5.0))
    outputs, targets = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1])
    each = [float(plain.output_loss(outputs[i : i + 1], targets[i : i + 1])) for i in (0, 1)]
    assert float(heavy.output_loss(outputs, targets)) == pytest.approx((0.5 * each[0] + 5.0 * each[1]) / 2)
    assert heavy.margins == SquaredHinge((0.5, 5.0)) and plain.row_weights(np.array([0])) is None


@pytest.mark.parametrize("fit", [fit_linear, fit_boosted])
def test_a_balanced_model_finds_more_of_a_rare_class(fit) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    truth = rng.random(300) < 0.1
    words = [f"{'rare' if rare == (rng.random() < 0.7) else 'usual'} w{rng.integers(40)}" for rare in truth]
    rows = rows_of(words, [CLASSES[int(rare)] for rare in truth])
    found = {}
    for weights in ((), weights_of({}, CLASSES, np.bincount(truth.astype(int)))):
        said = fit(FitData(Classification("y", CLASSES, class_weights=weights), rows)).baseline.outputs(words)
        found[bool(weights)] = int((said.argmax(1)[truth] == 1).sum())
    assert found[True] > found[False] + 5


LABELS = Classification("y", ("rare", "usual"), multi_label=True)


def test_a_label_weighs_the_rows_that_have_it() -> None:
    assert label_weights(None, LABELS.classes, np.array([1, 9]), 10) == ()
    assert label_weights({}, LABELS.classes, np.array([1, 9]), 10) == pytest.approx((9.0, 1 / 9))
    assert label_weights({}, ("never", "once"), np.array([0, 1]), 1000) == (50.0, 50.0), "no label outweighs all others"
    assert label_weights({"rare": 3.0}, LABELS.classes, np.array([1, 9]), 10) == (3.0, 1.0)
    heavy = replace(LABELS, class_weights=(9.0, 1.0))
    outputs, targets = torch.tensor([[0.5, -0.5], [0.5, -0.5]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    each = [[float(heavy.output_loss(outputs[i : i + 1], targets[i : i + 1])) for i in (0, 1)]]
    each.append([float(LABELS.output_loss(outputs[i : i + 1], targets[i : i + 1])) for i in (0, 1)])
    assert each[0][1] == pytest.approx(each[1][1]) and each[0][0] > each[1][0] + 3
    assert heavy.row_weights(np.array([[1, 0], [0, 1]])).tolist() == [[9.0, 1.0], [1.0, 1.0]]  # type: ignore[union-attr]


def test_the_labels_of_a_table_are_weighed_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.yaml"
    path.write_text("b: 2\n")
    made = pa.table({"text": ["x", "y", "z"], "y": [["a", "b"], ["b"], []]})
    table = Table(made, ("made",), (3,))
    assert infer_schema(table, ColumnChoices("y", text=("text",), class_weights=str(path))).class_weights == {"b": 2.0}
    path.write_text("c: 2\n")
    with pytest.raises(UsageError, match="weighs class 'c', which no row has"):
        infer_schema(table, ColumnChoices("y", text=("text",), class_weights=str(path)))


@pytest.mark.parametrize("fit", [fit_linear, fit_boosted])
def test_balanced_labels_are_found_more_often(fit) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    truth = rng.random(300) < 0.1
    words = [f"{'rare' if rare == (rng.random() < 0.7) else 'usual'} w{rng.integers(40)}" for rare in truth]
    rows = rows_of(words, [("rare",) if rare else ("usual",) for rare in truth])
    found = {}
    for weights in ((), (9.0, 1.0)):
        said = fit(FitData(replace(LABELS, class_weights=weights), rows)).baseline.outputs(words)
        found[bool(weights)] = int((said[truth, 0] > 0).sum())
    assert found[True] > found[False] + 5
