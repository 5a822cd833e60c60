"""FLOPs: the arithmetic, against numbers worked out by hand and against torch's own counter."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.tiny import REGRESSION, model_of, tiny_draw
from warmstart.models.dnn import HashedNet, Size
from warmstart.models.pretrained.base import Base
from warmstart.regimes.discriminative import Discriminative
from warmstart.regimes.frozen import Frozen
from warmstart.regimes.full import Full
from warmstart.regimes.lora import LoRA
from warmstart.regimes.method import Method
from warmstart.regimes.starts import Pretrained
from warmstart.training.flops import flops

BLOCK = 4 * 16 * 16 + 2 * 16 * 32  # weights of query, key, value, output and the feed-forward part
TASK = tiny_draw(REGRESSION).task


def test_a_transformer_s_forward_pass_by_hand(base: Base) -> None:
    cost = flops(*model_of(Full(), Pretrained(base).body(0), TASK))
    tokens = np.array([10, 20])
    expected = 2 * 2 * BLOCK * tokens + 2 * 4 * 16 * tokens**2 + 2 * 16
    assert cost.forward(tokens).tolist() == expected.tolist()
    assert (cost.training(tokens) == 3 * cost.forward(tokens)).all()


def test_torch_counts_the_same_without_attention_s_fused_kernel(base: Base) -> None:
    model, rates = model_of(Full(), Pretrained(base).body(0), TASK)
    model.body.set_attn_implementation("eager")
    ids = torch.randint(5, 50, (3, 10))
    with FlopCounterMode(display=False) as counter:
        model({"input_ids": ids})
    assert flops(model, rates).forward(np.array([10] * 3)).sum() == pytest.approx(counter.get_total_flops(), rel=1e-3)


def test_a_hashed_network_costs_its_words_and_its_blocks() -> None:
    model, rates = model_of(Full(), HashedNet(Size(features=500, width=16, depth=2)), TASK)
    assert flops(model, rates).forward(np.array([7])).tolist() == [2 * 16 * 7 + 2 * (4 * 16 * 16 + 16)]


@pytest.mark.parametrize(
    "method, backward, weights",
    [(Frozen(), 0.0, 0.005), (Frozen(1), 0.5, 0.5), (Frozen(2), 1.0, 1.0), (Discriminative(), 1.0, 1.0)],
)
def test_only_what_must_be_differentiated_is_paid_for(
    method: Method, backward: float, weights: float, base: Base
) -> None:
    cost = flops(*model_of(method, Pretrained(base).body(0), TASK))
    assert (cost.backward, cost.weights) == pytest.approx((backward, weights), abs=0.01)


def test_adapters_pay_for_activations_and_for_little_else(base: Base) -> None:
    full = flops(*model_of(Full(), Pretrained(base).body(0), TASK))
    cost = flops(*model_of(LoRA(rank=1), Pretrained(base).body(0), TASK))
    assert cost.backward == pytest.approx(1.0, abs=0.01) and 0 < cost.weights < 0.2
    assert full.per_token < cost.per_token < 1.2 * full.per_token


def test_four_bits_cost_what_the_weights_in_them_cost(base: Base) -> None:
    costs = [flops(*model_of(LoRA(quantize=q), Pretrained(base).body(0), TASK)) for q in (None, "nf4")]
    assert costs[0] == costs[1]
