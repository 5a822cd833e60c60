"""Boosted: do trees read what a table's columns say, the same every time, and within bounds?"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.baselines.tables import COLUMNS, KINDS, table_rows, task_of
from warmstart.baselines import boosted_fit, lightgbm_trees
from warmstart.baselines.baseline import FitData
from warmstart.baselines.baselines import load_baseline
from warmstart.baselines.boosted import Boosted
from warmstart.baselines.boosted_fit import fit_boosted, fold_of_rows
from warmstart.baselines.linear import fit_linear
from warmstart.data.rows.read_columns import ColumnValues
from warmstart.data.rows.split import Rows
from warmstart.data.tables.strings import Texts
from warmstart.errors import InputError
from warmstart.tasks.classification import Classification
from warmstart.tasks.regression import Regression
from warmstart.tasks.task import Task


def score(task: Task, outputs: np.ndarray, rows: Rows) -> float:
    found = task.score(outputs, task.targets(rows), {})
    return float(found[:, 0].sum() / found[:, 1].sum())


@pytest.mark.parametrize("kind", KINDS)
def test_trees_learn_what_no_line_can(kind: str) -> None:
    rows, task = table_rows(kind), task_of(kind)
    train, held = rows.take(np.arange(300)), rows.take(np.arange(300, 400))
    data = FitData(task, train, columns=COLUMNS)
    boosted, linear = fit_boosted(data), fit_linear(data)
    sign = 1 if task.higher_is_better else -1
    scores = [score(task, each.baseline.outputs(held.texts, held.columns), held) for each in (boosted, linear)]
    assert sign * scores[0] > sign * scores[1]
    assert {"trees", "leaves"} <= set(boosted.trials[-1].settings)
    assert boosted.flops > linear.flops > 0 and boosted.baseline.weights > linear.baseline.weights
    assert boosted.baseline.flops(held.texts, held.columns) > linear.baseline.flops(held.texts, held.columns)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_is_the_same_to_the_bit(kind: str, tmp_path: Path) -> None:
    rows = table_rows(kind).take(np.arange(120))
    baseline = fit_boosted(FitData(task_of(kind), rows, columns=COLUMNS)).baseline
    baseline.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"baseline.json", "baseline.safetensors"}
    loaded = load_baseline(tmp_path)
    assert isinstance(loaded, Boosted) and (loaded.added or loaded.alone_)
    assert np.array_equal(loaded.outputs(rows.texts, rows.columns), baseline.outputs(rows.texts, rows.columns))
    assert loaded.weights == baseline.weights
    assert loaded.flops(rows.texts, rows.columns) == baseline.flops(rows.texts, rows.columns)


def test_the_same_seed_gives_the_same_trees() -> None:
    rows = table_rows("number").take(np.arange(120))
    first, again = (fit_boosted(FitData(task_of("number"), rows, 3, columns=COLUMNS)) for _ in range(2))
    assert first.trials == again.trials and first.flops == again.flops
    assert np.array_equal(
        first.baseline.outputs(rows.texts, rows.columns), again.baseline.outputs(rows.texts, rows.columns)
    )


def test_what_is_missing_infinite_or_unseen_is_read() -> None:
    rows = table_rows("number").take(np.arange(200))
    baseline = fit_boosted(FitData(task_of("number"), rows, columns=COLUMNS)).baseline
    odd = ColumnValues(
        {
            "title": Texts.of(["", "never seen"]),
            "brand": Texts.of(["", "a brand of no row"]),
            "weight": np.array([np.nan, np.inf]),
            "sold": np.array([np.nan, 4e12]),
            "in stock": np.array([np.nan, 1.0]),
        }
    )
    assert np.isfinite(baseline.outputs(["", "x"], odd)).all()
    assert baseline.outputs([], odd.take(np.array([], dtype=np.int64))).shape == (0, 1)


def test_texts_alone_are_no_rows_of_a_table() -> None:
    rows = table_rows("number").take(np.arange(60))
    baseline = fit_boosted(FitData(task_of("number"), rows, columns=COLUMNS)).baseline
    with pytest.raises(InputError, match="reads the columns of a table, and 'title' was not given"):
        baseline.outputs(["a lamp"])


def test_columns_that_say_nothing_leave_the_constant() -> None:
    rows = table_rows("number").take(np.arange(50))
    nothing = ColumnValues({"weight": np.full(50, np.nan), "brand": Texts.of([""] * 50)})
    silent = Rows(rows.texts, rows.targets, rows.numbers, rows.keys, nothing)
    columns = tuple(column for column in COLUMNS if column.name in nothing)
    fitted = fit_boosted(FitData(task_of("number"), silent, columns=columns))
    assert fitted.caveats == ("no column says anything: all values are missing, or the same",)
    assert np.ptp(fitted.baseline.outputs(silent.texts, nothing)) == 0


@pytest.mark.parametrize(
    ("targets", "task"),
    [
        (np.array([1.0, 2.0, 3.0]), Regression("y", "linear", 1.0, 1.0)),
        (np.array(["a", "b", "a"], dtype=object), Classification("y", ("a", "b", "c"))),
    ],
)
def test_few_rows_have_no_trees_and_a_caveat(targets: np.ndarray, task: Task) -> None:
    rows = table_rows("number").take(np.arange(3))
    few = Rows(rows.texts, targets, rows.numbers, rows.keys, rows.columns)
    fitted = fit_boosted(FitData(task, few, columns=COLUMNS))
    assert "no trees were fitted" in fitted.caveats[-1]
    assert np.isfinite(fitted.baseline.outputs(rows.texts, rows.columns)).all()


def test_many_classes_bound_the_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightgbm_trees, "MOST_TREES", 300)
    names = tuple(f"class {i:02}" for i in range(30))
    rows = table_rows("number")
    weight = np.asarray(rows.columns["weight"])
    targets = np.array([names[int(3 * (w if w == w else 0)) % 30] for w in weight], dtype=object)
    rows = Rows(rows.texts, targets, rows.numbers, rows.keys, rows.columns)
    task = Classification("y", names)
    boosted = fit_boosted(FitData(task, rows, columns=COLUMNS)).baseline
    assert isinstance(boosted, Boosted) and not boosted.alone_
    assert 0 < sum(each.trees for each in boosted.added) <= 5 * 300
    text = fit_boosted(FitData(task, rows))
    assert "more than 20 classes" in text.caveats[-1]


def test_groups_are_never_parted() -> None:
    folds = fold_of_rows([f"group {i // 4}" for i in range(120)], 0)
    assert all(len(set(folds[4 * i : 4 * i + 4])) == 1 for i in range(30)) and set(folds) == set(range(5))
    assert set(fold_of_rows([str(i) for i in range(boosted_fit.MANY_ROWS)], 0)) == set(range(boosted_fit.SMALLER_PARTS))


def test_many_rows_hold_out_less_and_grow_fewer_ensembles(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (boosted_fit, lightgbm_trees):
        monkeypatch.setattr(module, "MANY_ROWS", 300)
    rows, task = table_rows("number"), task_of("number")
    train, held = rows.take(np.arange(300)), rows.take(np.arange(300, 400))
    data = FitData(task, train, columns=COLUMNS)
    fitted, linear = fit_boosted(data), fit_linear(data).baseline
    boosted = fitted.baseline
    assert isinstance(boosted, Boosted) and boosted.folds == boosted_fit.MOST_GROWN
    assert all(len(each) in (0, boosted_fit.MOST_GROWN) for each in (boosted.added, boosted.alone_))
    tried = [trial.settings for trial in fitted.trials if trial.settings.get("folds") == 1]
    assert {"trees": "mean"}.items() <= tried[-1].items()  # the ways were compared on one fold
    assert any(each.get("columns") == boosted_fit.FEWER_COLUMNS for each in tried)
    errors = [score(task, each.outputs(held.texts, held.columns), held) for each in (boosted, linear)]
    assert errors[0] < 0.8 * errors[1]


def test_trees_that_stand_alone_read_what_the_text_alone_says(tmp_path: Path) -> None:
    rows = table_rows("number").take(np.arange(150))
    found = fit_boosted(FitData(task_of("number"), rows, columns=COLUMNS))
    boosted = found.baseline
    assert isinstance(boosted, Boosted) and boosted.alone_ and boosted.words is not None
    assert boosted.words.features.columns is None and boosted.words.features.terms
    assert any(trial.settings.get("of") == "the text" for trial in found.trials)
    boosted.save(tmp_path)
    loaded = load_baseline(tmp_path)
    other = table_rows("number").take(np.arange(150, 200))
    assert np.array_equal(loaded.outputs(other.texts, other.columns), boosted.outputs(other.texts, other.columns))
    assert not np.array_equal(
        boosted.words.outputs(other.texts, other.columns), boosted.linear.outputs(other.texts, other.columns)
    )


def test_no_trees_are_grown_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, seen = table_rows("number").take(np.arange(200)), []
    grow = lightgbm_trees.fit_trees

    def counted(
        table: np.ndarray, categories: list[int], target: lightgbm_trees.Target, held: np.ndarray, *more: Any
    ) -> Any:
        seen.append((target.start.tobytes(), held.tobytes(), more[0]))
        return grow(table, categories, target, held, *more)

    monkeypatch.setattr(boosted_fit, "fit_trees", counted)
    fit_boosted(FitData(task_of("number"), rows, columns=COLUMNS))
    assert len(seen) == len(set(seen)) > 5


def test_of_many_rows_trees_stop_where_they_hardly_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    table = generator.normal(size=(400, 2))
    values, held = table[:, 0] + 0.3 * generator.normal(size=400), np.arange(400) < 80
    target = lightgbm_trees.Target("regression_l1", values, np.zeros((400, 1)))
    usual = lightgbm_trees.fit_trees(table, [], target, held, lightgbm_trees.TreeSettings(7, rate=0.02), 0).trees
    monkeypatch.setattr(lightgbm_trees, "MANY_ROWS", 400)
    monkeypatch.setattr(lightgbm_trees, "LEAST_GAIN_OF_TREES", 0.05)
    assert lightgbm_trees.fit_trees(table, [], target, held, lightgbm_trees.TreeSettings(7, rate=0.02), 0).trees < usual


def test_lightgbm_is_only_imported_to_be_used() -> None:
    code = "import sys, warmstart.baselines.baselines; print('lightgbm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_the_trees_are_text(tmp_path: Path) -> None:
    rows = table_rows("number").take(np.arange(100))
    fit_boosted(FitData(task_of("number"), rows, columns=COLUMNS)).baseline.save(tmp_path)
    facts = json.loads((tmp_path / "baseline.json").read_text())
    assert all(each["model"].startswith("tree\nversion=") for each in (*facts["added"], *facts["alone"]))


def test_trees_learn_what_is_left_of_what_they_start_from() -> None:
    table = np.random.default_rng(0).normal(size=(200, 1))
    values, held = 5.0 * table[:, 0], np.arange(200) < 40
    for start, least, most in ((np.zeros((200, 1)), 2.0, 9.0), (values[:, None], 0.0, 0.01)):
        found = lightgbm_trees.fit_trees(
            table, [], lightgbm_trees.Target("regression_l1", values, start), held, lightgbm_trees.TreeSettings(7), 0
        ).predict(table)
        assert least <= np.abs(found).mean() <= most
