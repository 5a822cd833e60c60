"""Bugs that were found once, each held down by the test that showed it."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.tiny import REGRESSION, Tower, a_batch, tiny_splits
from warmstart.data.batch import WordDropout
from warmstart.data.split import Splits
from warmstart.methods import Discriminative, LoRA
from warmstart.models.layers import layers
from warmstart.models.model import Model
from warmstart.prefix import Shared, Stream
from warmstart.regimes import HABITS, Regime, Stage
from warmstart.runs import Chosen, run
from warmstart.stages import Draw, training
from warmstart.starts import Architecture, Pretrained, Scratch
from warmstart.store import load_model
from warmstart.train import TrainConfig
from warmstart.weights import Base, find_base

SHORT = TrainConfig(steps=3, lr=1e-3, batch_size=8)


def finished(steps):  # type: ignore[no-untyped-def]
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


class WithToken(Tower):
    """A body with a parameter that no module inside it owns."""

    def __init__(self) -> None:
        super().__init__(50)
        self.token = nn.Parameter(torch.zeros(16))


def test_a_parameter_directly_on_the_body_belongs_to_the_embeddings() -> None:
    model = Model(WithToken(), nn.Linear(16, 1))
    assert "body.token" in layers(model)[0].parameters
    assert "body.token" in Discriminative().rates(model)


def test_adapters_on_random_weights_are_saved_merged(base: Base, regression: Draw, tmp_path: Path) -> None:
    start = Scratch(Architecture(base), base.inputs, base.pooling)
    regime = Regime("scratch-lora", start, (Stage(LoRA(rank=2)),), HABITS["scratch"])
    record = finished(run(Chosen(regime, replace(SHORT, lr=1e-2)), regression, tmp_path))
    stored = load_model(tmp_path)
    outputs = stored.predictor.outputs(regression.splits.test.texts)
    predicted = stored.task.predictions(outputs, stored.calibration)["prediction"]
    assert predicted == pytest.approx(record.predictions["prediction"], rel=1e-4)


def test_weights_written_anew_into_the_same_folder_are_read_anew(base: Base, tmp_path: Path) -> None:
    body = Pretrained(base).body(0)
    body.save_pretrained(tmp_path)  # type: ignore[operator]
    first = copy.deepcopy(Pretrained(find_base(str(tmp_path))).body(0).state_dict())
    with torch.no_grad():
        for parameter in body.parameters():
            parameter.add_(1.0)
    (tmp_path / "model.safetensors").unlink()
    body.save_pretrained(tmp_path)  # type: ignore[operator]
    second = Pretrained(find_base(str(tmp_path))).body(0).state_dict()
    assert all(torch.equal(second[name], first[name] + 1) for name in dict(body.named_parameters()))


def test_a_row_loses_the_same_words_whatever_other_rows_a_study_holds(base: Base) -> None:
    whole = tiny_splits(REGRESSION)
    fewer = Splits(whole.train.take(np.arange(40, 60)), whole.val, whole.test, "")
    targets = np.zeros(len(fewer.train), dtype=np.float32)
    seen = []
    for splits in (whole, fewer):
        examples = Shared(splits).examples(base.inputs, fewer.train, targets)
        order = type("InOrder", (), {"per_epoch": 1, "epoch": lambda self, _: [np.arange(len(targets))]})()
        seen.append(Stream(examples, order, WordDropout(0.5, 0)).at(0)[0].inputs["input_ids"])
    assert torch.equal(*seen)


def test_adapters_are_drawn_from_the_seed(base: Base, regression: Draw) -> None:
    regime = Regime("lora", Pretrained(base), (Stage(LoRA(rank=2)),), HABITS["lora"])
    weights = []
    for disturbance in (1, 2):
        torch.manual_seed(disturbance)
        trained = finished(training(regime, SHORT, regression, looks=1))
        weights.append(torch.cat([p.detach().flatten() for p in trained.model.parameters()]))
    assert torch.equal(*weights)


def test_the_best_weights_come_with_the_running_statistics_they_had(base: Base, regression: Draw) -> None:
    from warmstart.course import Keeper

    model = Model(Tower(200), regression.task.head(16, 0))
    keeper = Keeper(model, regression.task, looks=2)
    model.train()
    model(a_batch(regression, base).inputs)
    keeper.see(1.0, 1)
    best = copy.deepcopy(model.state_dict())
    model(a_batch(regression, base).inputs)
    keeper.see(2.0, 2)
    keeper.restore()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, best[name]), name
