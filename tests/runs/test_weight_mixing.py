"""Mixing: are weights taken back as far as validation rows bear it, and is what is scored and saved that mix?"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.decoders import language_draw, save_decoder
from warmstart.inference.model_store import load_model
from warmstart.models.pretrained.base import Base, find_base
from warmstart.regimes.frozen import Frozen
from warmstart.regimes.full import Full
from warmstart.regimes.lora import LoRA
from warmstart.regimes.method import Method
from warmstart.regimes.regimes import DEFAULTS, METHODS, Regime, Stage
from warmstart.regimes.starts import Pretrained
from warmstart.request.launch import run_to_end
from warmstart.results.record import Run, load_run
from warmstart.runs.run import TunedRegime, train_run
from warmstart.training.build_model import start_model
from warmstart.training.config import TrainConfig
from warmstart.training.run_data import RunData

CONFIG = TrainConfig(steps=20, lr=1e-2, batch_size=8)


def carried_out(base: Base, run_data: RunData, folder: Path, method: Method, min_effect: float = 0.01) -> Run:
    regime = Regime("full", Pretrained(base), (Stage(method),), DEFAULTS["full"])
    found: Run = run_to_end(
        train_run(TunedRegime(regime, CONFIG), replace(run_data, interpolate=True, min_effect=min_effect), folder)
    )
    return found


def kept(found: Run) -> dict[str, Any]:
    assert found.retention is not None
    return found.retention


@pytest.mark.parametrize("method", [Full(), LoRA(rank=2), Frozen(1)], ids=["full", "lora", "top-layers"])
def test_what_is_scored_and_saved_is_the_mix_taken(
    method: Method, base: Base, classes: RunData, tmp_path: Path
) -> None:
    found = carried_out(base, classes, tmp_path, method, min_effect=0.3)
    frontier, matched = kept(found)["frontier"], kept(found)["matched"]
    assert [point["mix"] for point in frontier] == [i / 10 for i in range(11)] and matched in frontier
    assert kept(found)["frontier_by"] == {"score": found.metric, "forgotten": "drift"}
    assert frontier[0]["forgotten"] == pytest.approx(0, abs=1e-6) and frontier[-1]["forgotten"] > 1e-4
    least = min(point["forgotten"] for point in frontier if point["score"] >= 0.7 * frontier[-1]["score"])
    assert matched["mix"] < 1 and matched["forgotten"] == least
    assert found.val == pytest.approx(matched["score"]), "the validation rows are those of the frontier"
    assert 0 <= kept(found)["drift"] < frontier[-1]["forgotten"]
    val = classes.splits.val
    outputs = load_model(tmp_path).predictor.outputs(list(val.texts))
    targets = classes.task.targets(val)
    scores = classes.task.score(outputs, targets, classes.task.calibrate(outputs, targets))
    assert scores[:, 0].sum() / scores[:, 1].sum() == pytest.approx(matched["score"])


def test_at_any_price_the_base_comes_back_and_that_is_said(base: Base, classes: RunData, tmp_path: Path) -> None:
    found = carried_out(base, classes, tmp_path, Full(), min_effect=1.0)
    assert kept(found)["matched"]["mix"] == 0 and (kept(found)["drift"], kept(found)["drift_cka"]) == (0, 0)
    assert any("the base's own weights do as well" in caveat for caveat in found.caveats)
    body = load_model(tmp_path).predictor.model.body.state_dict()
    assert all(torch.equal(body[name], tensor) for name, tensor in Pretrained(base).body(0).state_dict().items())


def test_a_frozen_base_is_not_mixed_and_costs_nothing_more(base: Base, classes: RunData, tmp_path: Path) -> None:
    found = carried_out(base, classes, tmp_path / "mixed", METHODS["frozen"])
    assert kept(found)["frontier"] == [] and kept(found)["matched"] is None and found.caveats == ()


def test_the_sweep_is_charged_and_choosing_looks_at_no_test_row(
    base: Base, classes: RunData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpolate = carried_out(base, classes, tmp_path / "mixed", Full())
    splits = classes.splits
    other = replace(splits, test=splits.test.take(np.arange(1)))
    fewer = carried_out(base, replace(classes, splits=other), tmp_path / "fewer", Full())
    assert kept(interpolate)["frontier"] == kept(fewer)["frontier"]
    monkeypatch.setattr("warmstart.runs.run.interpolate_run", lambda *_: None)
    alone = carried_out(base, classes, tmp_path / "alone", Full())
    assert interpolate.cost.flops > alone.cost.flops and interpolate.steps == alone.steps


def test_a_language_model_is_swept_by_the_nats_that_it_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    decoder = find_base(save_decoder(tmp_path / "base", scale=1.0), max_length=64)
    run_data = replace(language_draw(), general=tuple(f"quick brown fox number {i}" for i in range(6)))
    found = carried_out(decoder, run_data, tmp_path / "run", Full(), min_effect=0.2)
    frontier, matched = kept(found)["frontier"], kept(found)["matched"]
    assert kept(found)["frontier_by"] == {"score": "bits per byte", "forgotten": "nats"}
    assert frontier[0]["score"] > frontier[-1]["score"], "fewer bits once it is tuned"
    assert 0 < matched["mix"] < 1 and kept(found)["nats"] == pytest.approx(matched["forgotten"], rel=1e-4)
    assert matched["score"] <= 1.2 * frontier[-1]["score"]
    assert load_run(tmp_path / "run").retention == found.retention


@pytest.mark.parametrize("method", [Full(), LoRA(rank=2)], ids=["full", "lora"])
def test_what_a_base_without_an_output_layer_forgot_is_how_far_its_features_moved(
    method: Method, base: Base, tmp_path: Path
) -> None:
    """Its random output layer says nothing that could be lost, and is no weight to go back to."""
    plain = language_draw()
    run_data = replace(plain, schema=replace(plain.schema, task="masked-lm"))
    found = carried_out(base, run_data, tmp_path, method, min_effect=1.0)
    assert kept(found)["kl"] is None and kept(found)["drift"] == pytest.approx(0, abs=1e-6)
    assert kept(found)["frontier_by"] == {"score": "bits per byte", "forgotten": "drift"}
    head = load_model(tmp_path).predictor.model.head.state_dict()
    regime = Regime("full", Pretrained(base), (Stage(method),), DEFAULTS["full"])
    drawn = start_model(regime, run_data.task, 0).head.state_dict()
    assert not any(torch.equal(head[name], drawn[name]) for name in drawn)
