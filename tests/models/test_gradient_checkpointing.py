"""Recomputed: is less kept between the passes, and nothing else changed?"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.tiny import Tower, carried_out, examples_of
from tests.tiny_language import SHAPES, language_model
from tests.tiny_pairs import KINDS, save_pair
from warmstart.errors import UsageError
from warmstart.models.gradient_checkpointing import gradient_checkpointing
from warmstart.models.layers import repeated_blocks
from warmstart.models.model import UNPOOLED, Model
from warmstart.models.pretrained.base import Base, find_base
from warmstart.planning.model_size import model_size, step_bytes
from warmstart.regimes.frozen import Frozen
from warmstart.regimes.full import Full
from warmstart.regimes.lora import LoRA
from warmstart.regimes.regimes import DEFAULTS, REGIMES, Regime, RegimeContext, Stage
from warmstart.regimes.starts import Pretrained, Scratch
from warmstart.request.request import Request
from warmstart.training.config import TrainConfig
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.run_data import RunData
from warmstart.training.stages import train_stages

CONFIG = TrainConfig(steps=4, lr=5e-3, batch_size=8)


@pytest.mark.parametrize("method", [Full(), LoRA(layers=1), Frozen()])
def test_the_same_is_learned_with_the_same_random_numbers(
    method: Full | LoRA | Frozen, base: Base, regression: RunData
) -> None:
    regime = Regime("some", Pretrained(base, dropout=0.3), (Stage(method),), DEFAULTS["full"])
    plain, again = (
        carried_out(
            train_stages(regime, config, replace(regression, shared=SharedData(regression.splits)), evaluations=2)
        )
        for config in (CONFIG, replace(CONFIG, gradient_checkpointing=True))
    )
    assert [step.loss for step in plain[0]] == [step.loss for step in again[0]]
    mine, other = (trained.model.state_dict() for _, trained in (plain, again))
    assert mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


def test_running_statistics_move_once_a_step(base: Base, regression: RunData) -> None:
    body = partial(Tower, len(base.inputs.tokenizer))
    regime = Regime("own", Scratch(body, base.inputs, base.pooling), (Stage(Full()),), DEFAULTS["full"])
    plain, again = (
        carried_out(
            train_stages(regime, config, replace(regression, shared=SharedData(regression.splits)), evaluations=2)
        )[1].model
        for config in (CONFIG, replace(CONFIG, gradient_checkpointing=True))
    )
    mine, other = plain.state_dict(), again.state_dict()
    assert all(torch.equal(mine[name], other[name]) for name in mine), "batch norm's mean and variance among them"


def _model(kind: str, folder: Path) -> tuple[Model, dict[str, Tensor]]:
    """A model in training mode, and a batch for it."""
    tokens = torch.arange(3, 35).reshape(2, 16)
    if kind in SHAPES:
        model = language_model(kind)
        return model.train(), {"input_ids": tokens}
    body = Pretrained(find_base(str(save_pair(folder, kind)))).body(0)
    inputs = {"input_ids": tokens, "decoder_input_ids": tokens[:, :5], "attention_mask": torch.ones_like(tokens)}
    return Model(body, nn.Identity(), UNPOOLED).train(), inputs


def _gradients(model: Model, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    model.zero_grad()
    model.features(inputs).square().sum().backward()  # type: ignore[no-untyped-call]
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("kind", [*SHAPES, *KINDS])
def test_each_block_is_computed_twice_and_gives_the_same_gradients(kind: str, tmp_path: Path) -> None:
    model, inputs = _model(kind, tmp_path)
    inside = [leaf for _, block in repeated_blocks(model.body) for leaf in block.modules() if not list(leaf.children())]
    calls: list[int] = []
    for module in inside:
        module.register_forward_hook(lambda *_: calls.append(1))
    expected, once = _gradients(model, inputs), len(calls)
    before = {name: getattr(found, "use_cache", None) for name, found in _configs(model).items()}
    with gradient_checkpointing(model):
        found = _gradients(model, inputs)
        # a second time, but for what no gradient needs: a last layer's output
        assert 2 * once + len(inside) // 2 <= len(calls) <= 3 * once
        scored = len(calls)
        with torch.no_grad():
            model.features(inputs)
        assert len(calls) == scored + once
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)
    assert {name: getattr(found, "use_cache", None) for name, found in _configs(model).items()} == before
    assert not any("forward" in vars(block) for _, block in repeated_blocks(model.body))


def _configs(model: Model) -> dict[str, Any]:
    return {name: module.config for name, module in model.named_modules() if hasattr(module, "config")}


def test_less_is_held_at_the_peak_of_a_step(base: Base, regression: RunData) -> None:
    batch = examples_of(regression, base).take(np.arange(8))

    def peak(name: str, again: bool) -> float:
        found = model_size(REGIMES[name](RegimeContext(base, 84)), regression.task)
        return step_bytes(found, regression.task, batch, "fp32", again) - found.held_bytes

    assert peak("full", True) < 0.8 * peak("full", False) and peak("lora", True) < 0.8 * peak("lora", False)
    assert peak("frozen", True) == peak("frozen", False)  # whose body keeps nothing


def test_it_does_not_go_with_compiled_blocks() -> None:
    with pytest.raises(UsageError, match=r"compile and gradient_checkpointing do not go together\.\nhint: leave one"):
        Request(("data.csv",), "price", compile=True, gradient_checkpointing=True)
