"""Does a model without its numbers come to what the real one comes to?"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.tiny import STEPS, carried_out, examples_of
from warmstart.models.pretrained.base import Base
from warmstart.planning.model_size import FOUR_BITS, model_size, step_bytes
from warmstart.regimes.lora import linear_names
from warmstart.regimes.regimes import REGIMES, WITHOUT_TRAINING, RegimeContext
from warmstart.training.run_data import RunData
from warmstart.training.stages import train_stages


@pytest.mark.parametrize("name", [name for name in REGIMES if name not in ("qlora", "scratch-cnn", *WITHOUT_TRAINING)])
def test_weights_and_arithmetic_are_those_of_the_real_training(name: str, base: Base, regression: RunData) -> None:
    regime = regression.fitted(REGIMES[name](RegimeContext(base, 84)))
    found = model_size(regime, regression.task)
    _, trained = carried_out(train_stages(regime, replace(STEPS, steps=1), regression, evaluations=1))
    assert (found.trainable, found.total) == (trained.trainable, trained.total)
    assert found.cost == trained.cost
    assert found.saved_bytes == (trained.bytes_learned if name == "lora" else 4 * trained.total)
    assert all(parameter.device.type == "meta" for parameter in found.model.body.parameters())


def test_four_bits_hold_the_linear_layers_in_an_eighth(base: Base, regression: RunData) -> None:
    lora, qlora = (model_size(REGIMES[name](RegimeContext(base, 84)), regression.task) for name in ("lora", "qlora"))
    linear = sum(
        qlora.model.body.get_parameter(f"{name.replace('.base_layer', '')}.base_layer.weight").numel()
        for name in {n.rpartition(".lora_")[0].rpartition(".base_layer")[0] or n for n in linear_names(lora.model.body)}
        if not name.endswith(("lora_A.default", "lora_B.default"))
    )
    assert lora.total == qlora.total
    assert lora.frozen_bytes - qlora.frozen_bytes == pytest.approx((4 - FOUR_BITS) * linear)


def test_a_step_of_more_rows_takes_more_and_a_frozen_body_less(base: Base, regression: RunData) -> None:
    batch = examples_of(regression, base).take(np.arange(8))
    half = examples_of(regression, base).take(np.arange(4))

    def peak(name: str, of: object) -> tuple[float, float]:
        found = model_size(REGIMES[name](RegimeContext(base, 84)), regression.task)
        return step_bytes(found, regression.task, of, "fp32"), found.held_bytes  # type: ignore[arg-type]

    (full, held), (few, _), (frozen, held_by_frozen) = peak("full", batch), peak("full", half), peak("frozen", batch)
    assert full > few > held > held_by_frozen and full > frozen
    width = max(tensor.shape[1] for tensor in batch.inputs.values())
    assert full - held > 8 * width * 16 * 4 * 2  # at the very least: what comes out of both blocks, in fp32
    assert torch.zeros(1).device.type == "cpu"  # nothing of the fake world is left
