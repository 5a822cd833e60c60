"""Columns: does a linear model read numbers, dates and categories, and the loss that counts?"""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.baselines.tables import COLUMNS, table_rows, task_of
from warmstart.baselines.baseline import FitData
from warmstart.baselines.baselines import load_baseline
from warmstart.baselines.linear import BELOW_CONSTANT, Linear, fit_linear
from warmstart.data.features.column_features import ColumnFeatures
from warmstart.data.features.reading import Reading
from warmstart.data.rows.read_columns import ColumnValues
from warmstart.data.rows.split import Rows
from warmstart.data.schema.columns import Column
from warmstart.data.tables.strings import Texts
from warmstart.tasks.regression import Regression


def rows_of(values: dict[str, np.ndarray | Texts], targets: np.ndarray) -> Rows:
    n = len(targets)
    texts = Texts.of(f"row {i}" for i in range(n))
    return Rows(texts, targets, np.arange(1, n + 1), Texts.of(map(str, range(n))), ColumnValues(values))


def test_numbers_are_standardized_and_heavy_tails_logged() -> None:
    generator = np.random.default_rng(0)
    size, weight = np.exp(generator.normal(5, 3, 200)), generator.normal(50, 4, 200)
    reading = Reading((Column("size", "number"), Column("weight", "number")))
    columns = {"size": size, "weight": np.where(np.arange(200) == 7, np.nan, weight)}
    features = ColumnFeatures.fit(reading, columns)
    found = features.encode(columns).toarray()
    assert features.logs == (0,) and found.shape == (200, features.width) == (200, 5)
    assert np.corrcoef(found[:, 2], np.log1p(size))[0, 1] > 0.999 and np.abs(found).max() <= 5
    assert found[7, 1] == 0 and found[7, 4] == 1 and found[:, 4].sum() == 1
    assert abs(found[:, 1].mean()) < 0.01 and abs(found[:, 1].std() - 1) < 0.02


def test_a_date_is_its_parts() -> None:
    reading = Reading((Column("sold", "datetime"),))
    seconds = np.array([np.datetime64("2024-02-29T13:05:00", "s").astype(np.int64), np.nan])
    names, values = reading.numbers({"sold": seconds})
    assert [name.rpartition("(")[2].rstrip(")") for name in names[1:]] == ["year", "month", "day", "weekday", "hour"]
    assert values[0, 1:].tolist() == [2024, 2, 29, 3, 13] and np.isnan(values[1]).all()


def test_a_column_of_one_value_or_none_says_nothing() -> None:
    reading = Reading((Column("a", "number"), Column("b", "number"), Column("c", "category")))
    columns = {"a": np.full(9, 3.0), "b": np.full(9, np.inf), "c": Texts.of([""] * 9)}
    assert not ColumnFeatures.fit(reading, columns).says
    assert np.isfinite(ColumnFeatures.fit(reading, columns).encode(columns).toarray()).all()


@pytest.mark.parametrize("kind", ["number", "class", "labels"])
def test_columns_are_read_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    rows, task = table_rows(kind), task_of(kind)
    fitted = fit_linear(FitData(task, rows, columns=COLUMNS))
    baseline = fitted.baseline
    assert isinstance(baseline, Linear) and baseline.features.columns is not None
    assert {trial.settings["columns"] for trial in fitted.trials} > {1.0}
    baseline.save(tmp_path)
    outputs = baseline.outputs(rows.texts, rows.columns)
    assert np.array_equal(load_baseline(tmp_path).outputs(rows.texts, rows.columns), outputs)


def test_numbers_in_columns_are_worth_more_than_their_words() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=200)
    rows = rows_of({"x": x}, 3 * x + 0.1 * generator.normal(size=200))
    task = Regression("y", "linear", 0.0, 3.0)
    train, held = rows.take(np.arange(150)), rows.take(np.arange(150, 200))
    outputs = fit_linear(FitData(task, train, columns=(Column("x", "number"),))).baseline.outputs(
        held.texts, held.columns
    )
    assert np.abs(outputs[:, 0] * 3 - held.targets).mean() < 0.2


def test_the_absolute_error_is_minimized_where_the_target_has_a_heavy_tail() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=300)
    noise = np.where(generator.random(300) < 0.15, 40 * generator.random(300), 0.1 * generator.normal(size=300))
    rows = rows_of({"x": x}, x + noise)
    task = Regression("y", "linear", float(rows.targets.mean()), float(rows.targets.std()))
    fitted = fit_linear(FitData(task, rows, columns=(Column("x", "number"),)))
    best = min(fitted.trials, key=lambda trial: trial.val or np.inf)
    assert best.settings["loss"] == "absolute" and not fitted.caveats


def test_no_better_than_the_constant_is_a_caveat() -> None:
    generator = np.random.default_rng(0)
    rows = rows_of({"x": generator.normal(size=100)}, generator.normal(size=100))
    fitted = fit_linear(FitData(Regression("y", "linear", 0.0, 1.0), rows, columns=(Column("x", "number"),)))
    assert fitted.caveats == (BELOW_CONSTANT,)


def test_pieces_between_quantiles_say_how_much_of_each_lies_below() -> None:
    reading = Reading((Column("weight", "number"), Column("flag", "boolean"), Column("none", "number")))
    columns = {
        "weight": np.array([0.0, 1.0, 2.0, 3.0, 4.0, np.nan]),
        "flag": np.array([0.0, 1.0, 1.0, 0.0, 1.0, np.nan]),
        "none": np.full(6, np.nan),
    }
    features = ColumnFeatures.fit(reading, columns, unseen=True, pieces=4)
    assert [len(edges) for edges in features.edges] == [5, 1, 1]  # a flag and nothing need none
    found = features.encode(columns).toarray()[:, -4:]
    assert found[1].tolist() == [1.0, 0.0, 0.0, 0.0] and found[5].tolist() == [0.0] * 4
    between = features.encode({**columns, "weight": np.array([1.5, -9.0, 99.0, 0, 0, 0])}).toarray()[:3, -4:]
    assert between.tolist() == [[1.0, 0.5, 0.0, 0.0], [0.0] * 4, [1.0] * 4]
    assert features.width == features.encode(columns).shape[1]
    assert features.most >= features.encode(columns).getnnz(axis=1).max()
    facts, arrays = features.to_json()
    again = ColumnFeatures.from_json(json.loads(json.dumps(facts)), arrays, reading)
    assert (again.encode(columns) != features.encode(columns)).nnz == 0
