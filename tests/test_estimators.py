"""Do the estimators keep scikit-learn's promises, and give what `warmstart.load` gives?"""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

import warmstart
from tests.tiny import CLASSES, REGRESSION, tiny_rows
from warmstart import WarmstartClassifier, WarmstartRegressor
from warmstart.errors import InputError
from warmstart.estimators import EXPECTED_FAILED_CHECKS, _class_names
from warmstart.models.pretrained.base import Base

UNLOGGED = {"log": False}
TITLES, ROOMS = list(tiny_rows(CLASSES).texts), list(tiny_rows(CLASSES).targets)
PRICES = tiny_rows(REGRESSION).targets
ALL_CHECKS = "WARMSTART_ALL_CHECKS" in os.environ  # without it, a classifier takes only those that fit little
QUICK_CHECKS = {
    "check_classifiers_classes",
    "check_classifiers_one_label",
    "check_dict_unchanged",
    "check_fit_idempotent",
    "check_do_not_raise_errors_in_init_or_set_param",
    "check_estimators_unfitted",
    "check_fit2d_1sample",
    "check_get_params_invariance",
    "check_n_features_in_after_fitting",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
}
AGAIN = (
    "check_classifiers_train",
    "check_regressors_train",
    "check_estimators_pickle",
)  # three times, with memory maps


@pytest.mark.filterwarnings("ignore:left out:UserWarning", "ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize("kind", [WarmstartClassifier, WarmstartRegressor])
def test_scikit_learns_own_checks_pass(kind: type) -> None:
    done, failed = set(), []
    checks = estimator_checks_generator(kind(settings=UNLOGGED), expected_failed_checks={})
    for estimator, check in checks:
        name = getattr(check, "func", check).__name__
        shared = kind is WarmstartRegressor and "regressor" not in name and "y" not in name.split("_")
        if name == "check_array_api_input" or (name in AGAIN and name in done) or shared:
            continue
        if kind is WarmstartClassifier and not ALL_CHECKS and name not in QUICK_CHECKS:
            continue
        done.add(name)
        try:
            check(estimator)
        except (AssertionError, ValueError, TypeError):
            failed.append(name)
    assert set(failed) == set(EXPECTED_FAILED_CHECKS) & done
    assert len(done) >= (5 if kind is WarmstartRegressor else 45 if ALL_CHECKS else 8)


@pytest.fixture(scope="module")
def rooms() -> WarmstartClassifier:
    return WarmstartClassifier(settings=UNLOGGED).fit(TITLES, ROOMS)


def test_every_form_of_texts_gives_the_same_model(rooms: WarmstartClassifier) -> None:
    expected = rooms.predict_proba(TITLES[:9])
    assert list(rooms.classes_) == ["hall", "kitchen", "office"] and rooms.score(TITLES, ROOMS) > 0.9
    assert np.allclose(expected.sum(axis=1), 1)
    forms: list[Any] = [np.array(TITLES), pd.Series(TITLES), tuple(TITLES), np.array(TITLES, dtype=object)]
    for texts in forms:
        assert np.array_equal(rooms.predict_proba(texts[:9]), expected)
    again = WarmstartClassifier(settings=UNLOGGED).fit(forms[1], pd.Series(ROOMS, name="room"))
    assert np.array_equal(again.predict_proba(TITLES[:9]), expected)
    assert warmstart.load(again.folder_).stored.task.to_json()["target"] == "room"


def test_predictions_are_those_of_the_loaded_run(rooms: WarmstartClassifier) -> None:
    loaded = warmstart.load(rooms.folder_).predict(TITLES[:5])
    assert [row["prediction"] for row in loaded] == list(rooms.predict(TITLES[:5]))
    assert [row["probability"] for row in loaded] == pytest.approx(rooms.predict_proba(TITLES[:5]).max(axis=1))
    assert rooms.run_.test is not None


def test_columns_come_as_a_frame_a_mapping_or_an_array() -> None:
    columns = {"title": TITLES, "size": list(np.arange(len(TITLES)) % 7 + 0.5)}
    frame = pd.DataFrame(columns)
    model = WarmstartRegressor(settings=UNLOGGED).fit(frame, PRICES)
    assert list(model.feature_names_in_) == ["title", "size"] and model.n_features_in_ == 2
    expected = model.predict(frame)
    assert np.array_equal(model.predict({name: values[:] for name, values in columns.items()}), expected)
    by_mapping = WarmstartRegressor(settings=UNLOGGED).fit(columns, PRICES)
    assert np.array_equal(by_mapping.predict(frame), expected)
    array = frame.to_numpy(dtype=object)
    by_place = WarmstartRegressor(settings=UNLOGGED).fit(array, PRICES)
    assert np.array_equal(by_place.predict(array[:3]), by_place.predict(array)[:3])
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns={"size": "weight"}))
    with pytest.raises(ValueError, match="lacks the column 'size'"):
        model.predict({"title": TITLES})
    with pytest.raises(ValueError, match="trained on 2 columns"):
        model.predict(TITLES)


def test_it_works_in_pipelines_and_searches() -> None:
    assert cross_val_score(WarmstartClassifier(settings=UNLOGGED), TITLES, ROOMS, cv=2).mean() > 0.8
    steps = Pipeline([("model", WarmstartClassifier(settings=UNLOGGED))])
    search = GridSearchCV(steps, {"model__regime": ["constant", "linear"]}, cv=2).fit(TITLES, ROOMS)
    assert search.best_params_ == {"model__regime": "linear"}


def test_a_pickle_holds_the_model_or_names_its_folder(rooms: WarmstartClassifier, tmp_path: Path) -> None:
    expected = rooms.predict_proba(TITLES[:5])
    passing = clone(rooms).fit(TITLES, ROOMS)
    kept, folder = pickle.dumps(passing), passing.folder_
    del passing
    assert not os.path.exists(folder), "a temporary folder goes with its estimator"
    copy = pickle.loads(kept)
    assert np.array_equal(copy.predict_proba(TITLES[:5]), expected) and copy.folder_ != folder
    named = WarmstartClassifier(settings=UNLOGGED, folder=tmp_path / "models").fit(TITLES, ROOMS)
    again = clone(named).fit(TITLES, ROOMS)
    assert Path(named.folder_).parent == tmp_path / "models" != again.folder_ != named.folder_
    kept = pickle.dumps(named)
    assert len(kept) < 100_000 and not hasattr(clone(named), "folder_")
    folder = named.folder_
    del named
    assert pickle.loads(kept).folder_ == folder
    assert np.array_equal(pickle.loads(kept).predict_proba(TITLES[:5]), expected)


def test_a_network_is_trained_too(base: Base) -> None:
    quick = {"log": False, "trials": 1, "length": 0.01}
    model = WarmstartRegressor("full", base=base.location, max_length=32, settings=quick).fit(TITLES, PRICES)
    assert model.run_.regime == "full" and np.isfinite(model.predict(TITLES[:3])).all()


def test_no_rows_have_no_predictions() -> None:
    rows = pd.DataFrame({"title": TITLES, "size": range(120)})
    model = WarmstartRegressor(settings=UNLOGGED).fit(rows, np.arange(120) % 17 + 0.5)
    assert model.predict(rows.iloc[:0]).shape == (0,)


@pytest.mark.filterwarnings("ignore:The number of unique classes")
def test_what_cannot_be_used_is_said(rooms: WarmstartClassifier) -> None:
    model = WarmstartClassifier(settings=UNLOGGED)
    for given, wanted, error, says in (
        ("a text", ROOMS, ValueError, "write \\[text\\]"),
        (TITLES[:9], ["hall", "office", "hall"] * 3, InputError, "9 rows were given .* at least 20"),
        (TITLES, ["hall"] * 120, InputError, "y has only 1 class, 'hall'"),
        (TITLES, None, ValueError, "the target y is None"),
        (TITLES[:50], ROOMS, ValueError, "inconsistent numbers of samples"),
        ([None] * 60 + TITLES[60:], ROOMS, InputError, "nothing to read"),
        (TITLES, [None, *ROOMS[1:]], ValueError, "Input y contains NaN or None in 1 row, first in row 1"),
        (TITLES, [*map(str, range(len(TITLES)))], InputError, "120 classes of y have a single row: 0 rows are left"),
        (pd.DataFrame([["a", "b"]] * 120, columns=["t", "t"]), ROOMS, InputError, "more than one column .* 't'"),
    ):
        with pytest.raises(error, match=says):
            model.fit(given, wanted)
    with pytest.warns(UserWarning, match="left out: classes of y with a single row \\(attic\\)"):
        rare = model.fit(TITLES, ["attic", *ROOMS[1:]])
    assert list(rare.classes_) == ["attic", "hall", "kitchen", "office"]
    assert not rare.predict_proba(TITLES)[:, 0].any()
    with pytest.raises(ValueError, match="trained on a list of texts"):
        rooms.predict(pd.DataFrame({"a": [1.0]}).to_numpy())


@pytest.mark.parametrize("classes", [[False, True], ["FALSE", "true"], ["['a', 'b']", "['b']"], ["(a)", "b"]])
def test_classes_that_a_table_would_read_otherwise_have_names_of_their_own(classes: list[object]) -> None:
    assert _class_names(np.array(classes)) == ["class 0", "class 1"]
    y = [classes[i % 2] for i in range(40)]
    texts = [f"{'good' if i % 2 else 'bad'} lamp {i}" for i in range(40)]
    found = WarmstartClassifier(settings=UNLOGGED).fit(texts, y).predict(["good lamp", "bad lamp"])
    assert found.tolist() == [classes[1], classes[0]]
