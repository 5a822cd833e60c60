"""Baselines: are they tuned on training rows alone, saved to the bit, and quiet on poor data?"""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import CLASSES, tiny_draw
from warmstart.baselines import cross_validation, embedder, solvers
from warmstart.baselines import linear as linear_baseline
from warmstart.baselines.baseline import FitData
from warmstart.baselines.baselines import FIT_BASELINE, load_baseline
from warmstart.baselines.constant import Constant, fit_constant
from warmstart.baselines.embedder import Embedder
from warmstart.baselines.linear import Linear, fit_embedded, fit_linear
from warmstart.data.encoding.examples import Examples
from warmstart.data.features import terms
from warmstart.data.rows.split import Rows
from warmstart.errors import MissingError, UsageError
from warmstart.models.evaluate import outputs
from warmstart.models.model import Model
from warmstart.models.pretrained.base import Base
from warmstart.tasks.classification import Classification
from warmstart.tasks.regression import Regression
from warmstart.tasks.task import Task

COLORS = ("red", "green", "blue")
TASKS = ("number", "class", "labels")
FEATURES = ("constant", "linear", "boosted", "embedded")  # what learns from features; the others ask a base, or write


def rows_of(texts: list[str], targets: list[object], keys: list[str] | None = None) -> Rows:
    column = np.empty(len(targets), dtype=object)
    column[:] = targets
    if isinstance(targets[0], float):
        column = column.astype(np.float64)
    return Rows(tuple(texts), column, np.arange(1, len(texts) + 1), tuple(keys or map(str, range(len(texts)))))


def example(kind: str, n: int = 90) -> tuple[Task, Rows]:
    """Texts of three known words each, from which the target follows."""
    generator = np.random.default_rng(0)
    first, second = generator.integers(3, size=n), generator.integers(3, size=n)
    texts = [f"a {COLORS[i]} thing, no {j}{j}{j}, lot {k}" for k, (i, j) in enumerate(zip(first, second, strict=True))]
    if kind == "number":
        return Regression("price", "linear", 30.0, 14.0), rows_of(
            texts, [float(10 * i + 20 * j) for i, j in zip(first, second, strict=True)]
        )
    if kind == "class":
        return Classification("color", tuple(sorted(COLORS))), rows_of(texts, [COLORS[i] for i in first])
    labels = [tuple({COLORS[i], f"no {j}"}) for i, j in zip(first, second, strict=True)]
    names = tuple(sorted({*COLORS, "no 0", "no 1", "no 2"}))
    return Classification("tags", names, multi_label=True), rows_of(texts, labels)


def metric(task: Task, outputs: np.ndarray, rows: Rows) -> float:
    scores = task.score(outputs, task.targets(rows), {})
    return float(scores[:, 0].sum() / scores[:, 1].sum())


@pytest.mark.parametrize("kind", TASKS)
def test_linear_learns_what_the_words_say(kind: str) -> None:
    task, rows = example(kind)
    train, held = rows.take(np.arange(60)), rows.take(np.arange(60, 90))
    linear = fit_linear(FitData(task, train)).baseline.outputs(held.texts)
    constant = fit_constant(FitData(task, train)).baseline.outputs(held.texts)
    assert linear.shape == constant.shape and linear.dtype == constant.dtype == np.float32
    sign = 1 if task.higher_is_better else -1
    assert sign * metric(task, linear, held) > sign * metric(task, constant, held)
    if kind == "number":
        assert metric(task, linear, held) < 0.35 * metric(task, constant, held)
    else:
        assert metric(task, linear, held) > 0.9


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("name", FEATURES)
def test_saved_and_loaded_is_the_same_to_the_bit(kind: str, name: str, base: Base, tmp_path: Path) -> None:
    task, rows = example(kind)
    baseline = FIT_BASELINE[name](FitData(task, rows, embedder=Embedder(base))).baseline
    baseline.save(tmp_path / "model")
    loaded = load_baseline(tmp_path / "model")
    texts = [*rows.texts, "never seen", "Ünïcode £ — \u2603"]
    assert np.array_equal(loaded.outputs(texts), baseline.outputs(texts))
    assert loaded.weights == baseline.weights and loaded.flops(texts) == baseline.flops(texts)
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"baseline.json", "baseline.safetensors"}


def test_the_constant_is_the_median_or_the_shares() -> None:
    task, rows = example("number")
    assert fit_constant(FitData(task, rows)).baseline.outputs(["x"])[0, 0] == pytest.approx(
        np.median(task.targets(rows))
    )
    task, rows = example("class")
    probability = np.exp(fit_constant(FitData(task, rows)).baseline.outputs(["x", "y"]))
    shares = [list(rows.targets).count(name) / len(rows) for name in task.classes]
    assert probability == pytest.approx(np.array([shares, shares]), abs=1e-6)


@pytest.mark.parametrize("kind", TASKS)
def test_the_same_seed_gives_the_same_model(kind: str) -> None:
    task, rows = example(kind, 40)
    first, again = fit_linear(FitData(task, rows, 3)), fit_linear(FitData(task, rows, 3))
    assert (first.trials, first.flops, first.tuning_flops) == (again.trials, again.flops, again.tuning_flops)
    assert np.array_equal(first.baseline.outputs(rows.texts), again.baseline.outputs(rows.texts))


def test_the_strength_is_searched_and_the_search_is_paid_for() -> None:
    task, rows = example("number")
    fitted = fit_linear(FitData(task, rows))
    assert len(fitted.trials) >= 3 and {"alpha", "terms"} == set(fitted.trials[0].settings)
    assert {trial.settings["terms"] for trial in fitted.trials} == {"words", "words and characters"}
    assert fitted.tuning_flops > fitted.flops > fitted.baseline.flops(rows.texts) > 0


def test_noise_is_answered_with_a_strong_penalty() -> None:
    generator = np.random.default_rng(1)
    texts = [" ".join(map(str, generator.integers(50, size=6))) for _ in range(80)]
    rows = rows_of(texts, [float(v) for v in generator.normal(size=80)])
    task = Regression("noise", "linear", 0.0, 1.0)
    fresh = [" ".join(map(str, generator.integers(50, size=6))) for _ in range(80)]
    fitted = fit_linear(FitData(task, rows))
    assert max(trial.settings["alpha"] for trial in fitted.trials) > 9
    assert np.abs(fitted.baseline.outputs(fresh) - fitted.baseline.outputs(["zzz"])).mean() < 0.2


def test_folds_never_part_a_group_and_are_of_like_size() -> None:
    keys = [f"group {i // 4}" for i in range(120)]
    order, fold = cross_validation.tuning_folds(keys, 0)
    assert sorted(order) == list(range(120))
    assert all(len({f for i, f in zip(order, fold, strict=True) if i // 4 == group}) == 1 for group in range(30))
    assert np.bincount(fold).tolist() == [24] * 5
    assert not np.array_equal(order, cross_validation.tuning_folds(keys, 1)[0])


def test_many_rows_are_tuned_on_some_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_validation, "TUNING_ROWS", 30)
    task, rows = example("class")
    assert len(cross_validation.tuning_folds(rows.keys, 0)[0]) == 30
    assert metric(task, fit_linear(FitData(task, rows)).baseline.outputs(rows.texts), rows) > 0.9


@pytest.mark.parametrize("kind", ["class", "labels"])
def test_a_class_that_no_row_has_is_never_predicted(kind: str) -> None:
    task, rows = example(kind)
    wider = Classification(task.target, (*task.classes, "unseen"), task.multi_label)
    outputs = fit_linear(FitData(wider, rows)).baseline.outputs([*rows.texts, "unseen words altogether"])
    assert np.isfinite(outputs).all()
    assert (outputs[:, -1] < outputs[:, :-1].min(axis=1)).all() and (outputs[:, -1] < -4).all()


@pytest.mark.parametrize(
    ("texts", "targets", "keys"),
    [
        (["one"], ["a"], None),
        (["one", "two"], ["a", "b"], None),
        (["one", "two", "three"], ["a", "b", "c"], None),
        (["one", "two", "three"], ["a", "a", "b"], ["same", "same", "same"]),
        (["one", "two", "three", "four"], ["a", "a", "a", "a"], None),
        (["!!!", "???", "...", "—"], ["a", "b", "a", "b"], None),
        (["same", "same", "same", "same"], ["a", "b", "a", "b"], None),
        (["one"], [1.0], None),
        (["one", "two", "three"], [1.0, 2.0, 3.0], None),
        (["same", "same", "same"], [1.0, 1.0, 1.0], None),
        (["one", "two", "three"], [("a",), (), ("a", "b")], None),
        (["one", "two"], [("a", "b"), ("a", "b")], None),
    ],
)
def test_poor_data_neither_fails_nor_warns(texts: list[str], targets: list[object], keys: list[str] | None) -> None:
    rows = rows_of(texts, targets, keys)
    if isinstance(targets[0], float):
        task: Task = Regression("y", "linear", 1.0, 1.0)
    else:
        task = Classification("y", ("a", "b", "c"), multi_label=isinstance(targets[0], tuple))
    fitted = fit_linear(FitData(task, rows))
    outputs = fitted.baseline.outputs([*texts, "", "else"])
    assert outputs.shape == (len(texts) + 2, len(task.constant(task.targets(rows)))) and np.isfinite(outputs).all()
    assert all(trial.val is not None and np.isfinite(trial.val) for trial in fitted.trials)


def test_probabilities_of_noise_are_modest() -> None:
    generator = np.random.default_rng(2)
    texts = [" ".join(map(str, generator.integers(40, size=5))) for _ in range(120)]
    rows = rows_of(texts, [COLORS[i] for i in generator.integers(3, size=120)])
    task = Classification("color", tuple(sorted(COLORS)))
    fresh = [" ".join(map(str, generator.integers(40, size=5))) for _ in range(100)]
    probability = np.exp(outputs := fit_linear(FitData(task, rows)).baseline.outputs(fresh).astype(np.float64))
    probability /= np.exp(outputs).sum(1, keepdims=True)
    assert probability.max(1).mean() < 0.5


def test_a_solver_that_is_stopped_early_is_a_caveat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solvers, "PASSES", 1)
    monkeypatch.setattr(linear_baseline, "PASSES", 1)
    task, rows = example("class")
    assert fit_linear(FitData(task, rows)).caveats == ("the linear model was not solved after 1 passes",)


def test_long_texts_are_not_cut_into_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terms, "MOST_CHARACTERS", 5)
    task, rows = example("class", 30)
    fitted = fit_linear(FitData(task, rows))
    assert {trial.settings["terms"] for trial in fitted.trials} == {"words"}
    assert isinstance(fitted.baseline, Linear) and len(fitted.baseline.features.terms) == 1


def test_no_texts_give_no_outputs(base: Base) -> None:
    task, rows = example("class", 30)
    for name in FEATURES:
        assert FIT_BASELINE[name](FitData(task, rows, embedder=Embedder(base))).baseline.outputs([]).shape == (0, 3)


def test_a_folder_without_a_baseline_says_so(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"holds no baseline: baseline\.json"):
        load_baseline(tmp_path)
    Constant(np.zeros(1, dtype=np.float32)).save(tmp_path)
    (tmp_path / "baseline.safetensors").unlink()
    with pytest.raises(MissingError, match=r"baseline\.safetensors is not there"):
        load_baseline(tmp_path)


@pytest.mark.parametrize("kind", TASKS)
def test_embedded_reads_the_base_beside_the_words(kind: str, base: Base) -> None:
    task, rows = example(kind)
    train, held = rows.take(np.arange(60)), rows.take(np.arange(60, 90))
    fitted = fit_embedded(FitData(task, train, embedder=Embedder(base)))
    baseline, words = fitted.baseline, fit_linear(FitData(task, train)).baseline
    assert isinstance(baseline, Linear) and isinstance(words, Linear)
    assert {0.5, 1.0, 2.0} == {trial.settings["embedding"] for trial in fitted.trials}
    assert baseline.flops(held.texts) > Embedder(base).flops(held.texts) > 100 * words.flops(held.texts)
    assert fitted.flops > Embedder(base).flops(train.texts)
    sign = 1 if task.higher_is_better else -1
    constant = fit_constant(FitData(task, train)).baseline
    score = metric(task, baseline.outputs(held.texts), held)
    assert sign * score > sign * metric(task, constant.outputs(held.texts), held)


def test_a_study_reads_each_text_once_with_the_base_and_a_saved_model_reads_it_anew(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_data = tiny_draw(CLASSES)
    shared = Embedder(base, run_data.shared)
    train = run_data.splits.train
    vectors = shared.vectors(train.texts)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(train)), abs=1e-6)
    assert np.abs(vectors - Embedder(base).vectors(train.texts)).max() < 1e-6
    read: list[int] = []

    def counted(model: Model, examples: Examples) -> np.ndarray:
        read.append(len(examples))
        return outputs(model, examples)

    monkeypatch.setattr(embedder, "outputs", counted)
    baseline = fit_embedded(FitData(run_data.task, train, embedder=shared)).baseline
    known = baseline.outputs(run_data.splits.test.texts)
    assert read == []
    assert np.abs(baseline.alone().outputs(run_data.splits.test.texts) - known).max() < 1e-4
    assert read == [len(run_data.splits.test)]
    assert np.isfinite(baseline.outputs(["a text of no row"])).all() and read[-1] == 1


def test_without_a_base_embedded_says_so() -> None:
    task, rows = example("class")
    with pytest.raises(UsageError, match="reads texts with a base"):
        fit_embedded(FitData(task, rows))


def test_a_base_that_is_gone_is_named(base: Base, tmp_path: Path) -> None:
    task, rows = example("class")
    fit_embedded(FitData(task, rows, embedder=Embedder(base))).baseline.save(tmp_path)
    facts = json.loads((tmp_path / "baseline.json").read_text())
    facts["embedding"]["base"] = str(tmp_path / "gone")
    (tmp_path / "baseline.json").write_text(json.dumps(facts))
    with pytest.raises(MissingError, match=r"reads texts with the base '.*gone', which is not here"):
        load_baseline(tmp_path)


def test_the_strength_of_a_support_vector_machine_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solvers, "LEAST_GAIN", -1.0)  # every gain, and every loss, is followed
    monkeypatch.setattr(
        cross_validation.StrengthSearch, "_score", lambda self, outputs, targets: float(len(self.trials))
    )
    task, rows = example("class")
    strengths = [trial.settings["C"] for trial in fit_linear(FitData(task, rows)).trials]
    assert max(strengths) == 9.0 and min(strengths) >= 0.1
