"""The contract of starts: where weights come from, they come from there alone. A new start is one row in STARTS."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from tests.tiny import CLASSES, Tower, tiny_draw
from warmstart.models.dnn import Size
from warmstart.models.model import Model, body_width
from warmstart.models.pretrained.base import Base
from warmstart.regimes.starts import INITS, Architecture, Init, Pretrained, Scratch, Start, dnn

STARTS: dict[str, Callable[[Base], Start]] = {
    "pretrained": Pretrained,
    "scratch": lambda base: Scratch(Architecture(base), base.inputs, base.pooling),
    "scratch-dnn": lambda base: dnn(Size(features=200, width=16, depth=2)),
    "own": lambda base: Scratch(partial(Tower, len(base.inputs.tokenizer)), base.inputs, base.pooling),
}
every_start = pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)


def weights_of(body: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in body.parameters()])


@every_start
def test_same_seed_same_weights(start: Callable[[Base], Start], base: Base) -> None:
    made = start(base)
    first, again, other = (weights_of(made.body(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (made.family == "fine-tuned")


@every_start
def test_build_has_the_structure_of_the_body(start: Callable[[Base], Start], base: Base) -> None:
    made = start(base)
    assert (made.base == base) == (made.family == "fine-tuned")
    built, body = (dict(module.named_parameters()) for module in (made.build(), made.body(0)))
    assert {name: p.shape for name, p in built.items()} == {name: p.shape for name, p in body.items()}


@every_start
def test_a_start_changes_its_size_and_length_where_it_has_them(start: Callable[[Base], Start], base: Base) -> None:
    made, size = start(base), Size(features=200, width=8, depth=1)
    assert made.resized(size).size == (None if made.size is None else size)
    assert (made.resized(size) == made) == (made.size is None)
    tokens = made.shortened(7).inputs.tokens
    assert (made.inputs.tokens is None) if tokens is None else tokens.max_length == 7
    assert made.shortened(10_000).inputs == made.inputs or made.base is not None


@every_start
def test_the_global_random_state_is_untouched(start: Callable[[Base], Start], base: Base) -> None:
    before = torch.get_rng_state()
    start(base).body(3)
    assert torch.equal(torch.get_rng_state(), before)


@every_start
def test_each_body_is_a_copy_of_its_own_with_every_weight_free(start: Callable[[Base], Start], base: Base) -> None:
    made = start(base)
    first, expected = made.body(0), weights_of(made.body(0))
    assert all(p.requires_grad and p.dtype == torch.float32 for p in first.parameters())
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.zero_()
            parameter.requires_grad_(False)
    assert torch.equal(weights_of(made.body(0)), expected)


@every_start
def test_the_body_reads_what_the_inputs_make(start: Callable[[Base], Start], base: Base) -> None:
    made = start(base)
    encoded = made.inputs.encode(tiny_draw(CLASSES).splits.test.texts)
    body = made.body(0)
    width = body_width(body)
    model = Model(body, nn.Linear(width, 3), made.pooling).eval()
    features = model.features(encoded.batch(np.arange(5)))
    assert features.shape == (5, width) and features.isfinite().all()
    assert features.std(0).max() > 1e-3  # other texts, other features
    alone = torch.cat([model.features(encoded.batch(np.array([i]))) for i in range(5)])
    torch.testing.assert_close(alone, features, atol=1e-5, rtol=0)  # padding and company change nothing


@every_start
def test_a_start_says_its_family(start: Callable[[Base], Start], base: Base) -> None:
    made = start(base)
    assert made.family in ("scratch", "fine-tuned")
    assert made.name == (base.name if made.family == "fine-tuned" else "random weights")


def spread(init: Init, weight: torch.Tensor) -> float:
    """The deviation that each paper asks for."""
    fan_out, fan_in = weight.shape
    return {"xavier": math.sqrt(2 / (fan_in + fan_out)), "he": math.sqrt(2 / fan_in), "normal": 0.02}[init]


@pytest.mark.parametrize("init", [init for init in INITS if init != "default"])
def test_an_init_draws_matrices_with_its_spread_and_leaves_vectors(init: Init, base: Base) -> None:
    usual = Scratch(Architecture(base), base.inputs, base.pooling).body(0)
    body = Scratch(Architecture(base), base.inputs, base.pooling, init).body(0)
    for (name, weight), before in zip(body.named_parameters(), usual.parameters(), strict=True):
        if weight.ndim == 1:
            assert torch.equal(weight, before), name
        else:
            assert not torch.equal(weight, before), name
            # deviation of a sample deviation: about 1 / sqrt(2 n)
            assert weight.std().item() == pytest.approx(spread(init, weight), rel=5 / math.sqrt(2 * weight.numel())), (
                name
            )


@pytest.mark.parametrize("init", INITS)
def test_every_init_follows_the_seed(init: Init, base: Base) -> None:
    start = Scratch(Architecture(base), base.inputs, base.pooling, init)
    assert torch.equal(weights_of(start.body(0)), weights_of(start.body(0)))
    assert not torch.equal(weights_of(start.body(0)), weights_of(start.body(1)))
