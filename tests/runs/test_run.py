"""Runs: one folder a run, whole or not there at all."""

import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny import CLASSES, LABELS, REGRESSION, tiny_draw, tiny_rows
from warmstart.data.encoding.examples import Examples
from warmstart.data.rows.split import split
from warmstart.data.schema.schema import Schema
from warmstart.models.model import Model
from warmstart.models.pretrained.base import Base
from warmstart.regimes.regimes import REGIMES, RegimeContext
from warmstart.results.record import Evaluation, Run, Trial, load_run
from warmstart.runs.baseline_run import run_baseline
from warmstart.runs.forgetting_measures import features
from warmstart.runs.run import TunedRegime, _converged, train_run
from warmstart.runtime.distributed import Distributed
from warmstart.training.config import TrainConfig
from warmstart.training.event import Event
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.run_data import RunData
from warmstart.training.stages import TrainedStages
from warmstart.types import Array

CONFIG = TrainConfig(steps=30, lr=1e-2, batch_size=16)


def done(steps: Generator[Event, None, Run]) -> Run:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            found: Run = stop.value
            return found


def chosen(base: Base, name: str = "full", **changes: object) -> TunedRegime:
    return TunedRegime(REGIMES[name](RegimeContext(base, 84)), replace(CONFIG, **changes))


@pytest.mark.parametrize("schema", [REGRESSION, CLASSES, LABELS], ids=["number", "class", "labels"])
def test_a_run_is_recorded_and_read_back(schema: Schema, base: Base, tmp_path: Path) -> None:
    run_data = tiny_draw(schema)
    record = done(train_run(chosen(base), run_data, tmp_path / "full"))
    assert load_run(tmp_path / "full").to_json() == record.to_json()
    assert (record.id, record.regime, record.rows, record.seed) == ("full", "full", 84, 0)
    assert len(record.scores) == len(record.predictions["row"]) == len(run_data.splits.test)
    assert record.predictions["target"] == run_data.task.truths(run_data.task.exact_targets(run_data.splits.test))
    assert record.val is not None and record.train is not None and record.points[-1].step == record.steps
    assert sorted(path.name for path in (tmp_path / "full").iterdir()) == sorted(
        [
            "body",
            "head.safetensors",
            "model.json",
            "outputs.safetensors",
            "run.json",
            "scores.parquet",
            "train_scores.parquet",
        ]
    )


def test_a_finished_run_is_not_trained_again(base: Base, regression: RunData, tmp_path: Path) -> None:
    first = done(train_run(chosen(base), regression, tmp_path))
    steps = train_run(chosen(base, lr=5.0), regression, tmp_path)
    with pytest.raises(StopIteration) as stop:
        next(steps)
    assert stop.value.value.scores.tolist() == first.scores.tolist()
    linear = done(run_baseline("linear", regression, tmp_path / "linear"))
    assert done(run_baseline("linear", regression, tmp_path / "linear")).to_json() == linear.to_json()


def test_a_run_that_was_interrupted_leaves_nothing_that_looks_finished(
    base: Base, regression: RunData, tmp_path: Path
) -> None:
    steps = train_run(chosen(base), regression, tmp_path / "full")
    for _ in range(10):
        next(steps)
    steps.close()
    assert [entry.name for entry in (tmp_path / "full").iterdir()] == ["checkpoint"]
    (tmp_path / "full" / "checkpoint" / "finished").mkdir()  # as a kill while writing the result would leave it
    (tmp_path / "full" / "checkpoint" / "finished" / "head.safetensors").write_bytes(b"half")
    again = done(train_run(chosen(base), regression, tmp_path / "full"))
    straight = done(train_run(chosen(base), regression, tmp_path / "straight"))
    assert again.scores.tolist() == straight.scores.tolist()
    assert not (tmp_path / "full" / "checkpoint").exists()


def test_a_run_that_diverges_is_recorded_without_a_score(base: Base, regression: RunData, tmp_path: Path) -> None:
    record = done(train_run(chosen(base, lr=1e20, optimizer="sgd", clip=1e30), regression, tmp_path))
    assert record.failed is not None and record.failed.startswith("diverged: 3 steps in a row had no finite loss")
    assert (record.test, record.val, record.converged, len(record.scores)) == (None, None, False, 0)
    assert load_run(tmp_path).to_json() == record.to_json()
    assert not (tmp_path / "model.json").exists()


def test_a_run_no_better_than_the_constant_on_its_own_rows_has_failed(
    base: Base, regression: RunData, tmp_path: Path
) -> None:
    record = done(train_run(chosen(base, lr=10.0, optimizer="sgd"), regression, tmp_path))
    assert record.failed is not None and load_run(tmp_path).failed == record.failed


def test_the_constant_s_score_is_the_error_of_the_median(regression: RunData, tmp_path: Path) -> None:
    record = done(run_baseline("constant", regression, tmp_path))
    train, test = (np.log10(part.targets) for part in (regression.splits.train, regression.splits.test))
    assert record.test == pytest.approx(np.abs(test - np.median(train)).mean(), rel=1e-5)
    assert set(np.round(record.predictions["prediction"], 6)) == {np.round(10 ** np.median(train), 6)}


@pytest.mark.parametrize("name", ["frozen", "top-layers", "lora", "full", "scratch"])
def test_how_far_the_features_moved_is_recorded(
    name: str, base: Base, classes: RunData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warmstart.runs.measure_forgetting.MAX_RETENTION_TEXTS", 10)
    if name == "frozen":
        monkeypatch.setattr(
            "warmstart.runs.measure_forgetting.features", lambda *_: pytest.fail("computed what is known")
        )
    found = done(train_run(chosen(base, name), classes, tmp_path)).retention
    assert load_run(tmp_path).retention == found
    if name == "scratch":
        assert found is None
        return
    assert found is not None and (found["nats"], found["kl"], found["progress_lost"]) == (None, None, None)
    assert len(found["by_text"]["drift"]["value"]) == 10
    assert (found["drift"], found["drift_cka"]) == (0, 0) if name == "frozen" else found["drift"] > 1e-4


def test_the_base_is_asked_once_and_nobody_pays_for_it(
    base: Base, regression: RunData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measuring what was forgotten takes an hour here, and all the memory there is."""
    asked, clock, memory = [], [0.0], [1]
    measured = features

    def slow(body: torch.nn.Module, pooling: str, examples: Examples, world: Distributed) -> Array:
        asked.append(body)
        clock[0] += 3600
        memory[0] = 1 << 50
        return measured(body, pooling, examples, world)

    monkeypatch.setattr("warmstart.runs.measure_forgetting.features", slow)
    monkeypatch.setattr("warmstart.runs.run.peak_memory", lambda: memory[0])
    now = time.perf_counter
    monkeypatch.setattr("time.perf_counter", lambda: now() + clock[0])
    run_data = replace(regression, shared=SharedData(regression.splits))
    first = done(train_run(chosen(base), run_data, tmp_path / "one"))
    assert len(asked) == 2 and first.cost.seconds < 600 and first.cost.peak_memory_bytes == 1
    done(train_run(chosen(base, lr=5e-3), replace(run_data, seed=1), tmp_path / "two"))
    assert len(asked) == 3


def test_the_groups_of_the_test_rows_are_kept(tmp_path: Path) -> None:
    schema = replace(REGRESSION, group="maker")
    rows = tiny_rows(schema)
    keys = tuple(f"group {number % 30}" for number in range(len(rows)))
    splits = split(replace(rows, keys=keys), schema)
    record = done(run_baseline("constant", RunData(splits, schema, SharedData(splits), 0), tmp_path))
    same = {(a == b, c == d) for a, c in zip(splits.test.keys, record.predictions["group"], strict=True)
            for b, d in zip(splits.test.keys, record.predictions["group"], strict=True)}  # fmt: skip
    assert same == {(True, True), (False, False)}
    assert load_run(tmp_path).predictions["group"] == record.predictions["group"]


@pytest.mark.parametrize(
    "best_step, shorter, two_thirds, expected",
    [
        (100, 0.50, 0.30, False),
        (50, 0.50, 0.30, True),
        (100, 0.301, 0.50, True),
        (100, None, 0.305, True),
        (100, None, 0.50, False),
        (100, None, None, True),
    ],
    ids=[
        "still improving",
        "best before its end",
        "no gain from the length",
        "no trial, level at the end",
        "no trial, improving at the end",
        "nothing to compare with",
    ],
)
def test_converged_means_that_twice_the_length_would_gain_nothing_that_matters(
    best_step: int, shorter: float | None, two_thirds: float | None, expected: bool, base: Base, regression: RunData
) -> None:
    trials = (Trial({"lr": 1e-2}, 25, shorter),)
    trained = TrainedStages.__new__(TrainedStages)
    trained.best_step, trained.steps = best_step, 100
    trained.points = [] if two_thirds is None else [Evaluation(66, 1.0, 0.0, 0.0, two_thirds, 1.0)]
    assert _converged(trained, replace(chosen(base), trials=trials), 0.30, regression) == expected


def test_what_a_kill_just_before_the_end_left_is_cleared_away(base: Base, regression: RunData, tmp_path: Path) -> None:
    record = done(train_run(chosen(base), regression, tmp_path / "full"))
    (tmp_path / "full" / "checkpoint" / "finished").mkdir(parents=True)
    assert done(train_run(chosen(base), regression, tmp_path / "full")).to_json() == record.to_json()
    assert not (tmp_path / "full" / "checkpoint").exists()


def test_a_step_that_does_not_fit_is_no_divergence(
    base: Base, regression: RunData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scarce(self: Model, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        raise MemoryError

    monkeypatch.setattr(Model, "forward", scarce)
    record = done(train_run(chosen(base), regression, tmp_path / "full"))
    assert record.failed is not None and record.failed.startswith("step 0 does not fit into memory")
