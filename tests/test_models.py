"""Models: are the layers in order, the pooling right, the reference network the reference's size?"""

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import HashingVectorizer
from torch import nn

from tests.tiny import Tower
from warmstart.data.features.hashed_words import HashedWords
from warmstart.errors import UsageError
from warmstart.models.dnn import FirstLayer, HashedNet, Size
from warmstart.models.layers import layers
from warmstart.models.model import Model, body_width, pool
from warmstart.models.pretrained.base import Base
from warmstart.regimes.regimes import REGIMES, RegimeContext
from warmstart.regimes.starts import Pretrained
from warmstart.tasks.head import linear_head


def test_the_reference_network_has_the_reference_s_parameters(base: Base) -> None:
    with torch.device("meta"):
        body = REGIMES["scratch-dnn"](RegimeContext(base, 1000, numbers=True, size="reference")).start.build()
        model = Model(body, nn.Sequential(nn.Dropout(0.1), nn.Linear(4096, 1)))
    assert sum(p.numel() for p in model.parameters()) == 289_128_449


def test_the_first_layer_is_a_linear_layer_on_the_dense_row() -> None:
    texts = ["a small red lamp made of oak", "the of", "blue table table glass"]
    first = FirstLayer(Size(features=300, width=16)).eval()
    linear = nn.Linear(300, 16)
    with torch.no_grad():
        linear.weight.copy_(first.bag.weight.T)
        linear.bias.copy_(first.bias)
    dense = HashingVectorizer(n_features=300, stop_words="english", binary=True, norm="l2").transform(texts).toarray()
    expected = first.rest(linear(torch.from_numpy(dense).float()))
    found = first(**HashedWords(300).encode(texts).batch(np.arange(3)))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_the_first_layer_starts_as_a_linear_layer_would() -> None:
    first, linear = FirstLayer(Size(features=400, width=64)), nn.Linear(400, 64)
    assert first.bag.weight.std().item() == pytest.approx(linear.weight.std().item(), rel=0.02)
    assert first.bag.weight.abs().max() <= 400**-0.5


def test_layers_go_from_the_embeddings_to_the_head_and_name_every_parameter_once(base: Base) -> None:
    for body in (Pretrained(base).body(0), HashedNet(Size(features=50, width=16, depth=2))):
        model = Model(body, linear_head(16, 1, 0))
        found = layers(model)
        assert (found[0].name, found[-1].name, len(found)) == ("embeddings", "head", 4)
        named = [name for layer in found for name in layer.parameters]
        assert sorted(named) == sorted(name for name, _ in model.named_parameters())


def test_a_norm_after_the_blocks_belongs_to_the_last_one() -> None:
    class Normed(Tower):
        def __init__(self) -> None:
            super().__init__(10)
            self.norm = nn.LayerNorm(16)

    found = layers(Model(Normed(), linear_head(16, 1, 0)))
    assert [layer.name for layer in found] == ["embeddings", *(f"body.blocks.{i}" for i in range(3)), "head"]
    assert "body.norm.weight" in found[-2].parameters and "body.embed.weight" in found[0].parameters


def test_a_body_without_blocks_is_not_guessed_at() -> None:
    with pytest.raises(UsageError, match=r"layers of Sequential cannot be identified"):
        layers(Model(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), nn.Linear(2, 1)))


def test_pooling_reads_no_padding() -> None:
    hidden = torch.tensor([[[1.0], [2.0], [9.0]], [[4.0], [5.0], [6.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert pool(hidden, mask, "mean").tolist() == [[1.5], [5.0]]
    assert pool(hidden, mask, "cls").tolist() == [[1.0], [4.0]]
    assert pool(hidden, mask, "last").tolist() == [[2.0], [6.0]]
    assert pool(hidden, None, "mean").tolist() == [[4.0], [5.0]]
    assert pool(hidden, None, "last").tolist() == [[9.0], [6.0]]


def test_a_body_without_a_width_is_named() -> None:
    with pytest.raises(TypeError, match=r"Linear has neither `width` nor `config.hidden_size`"):
        body_width(nn.Linear(2, 2))
