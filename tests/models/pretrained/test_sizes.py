"""Sized: is an architecture as large as it was asked to be?"""

import pytest
import torch
from transformers import AutoModel

from warmstart.data.encoding.train_tokenizer import vocabulary_size
from warmstart.errors import UsageError
from warmstart.models.pretrained.sizes import SizedConfig, SpecialTokens, config_of_size


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
@pytest.mark.parametrize("parameters", [1, 3, 10, 30, 124, 350, 1000])
def test_the_count_is_within_5_percent(kind: str, parameters: int) -> None:
    wanted = SizedConfig(kind, parameters * 10**6, vocabulary_size(10**10, parameters * 10**6))  # type: ignore[arg-type]
    config = config_of_size(wanted)
    with torch.device("meta"):
        body = AutoModel.from_config(config)
    body.pooler = None
    count = sum(parameter.numel() for parameter in body.parameters())
    assert count == pytest.approx(wanted.parameters, rel=0.05)
    assert config.hidden_size == 64 * config.num_attention_heads and config.num_hidden_layers >= 4
    assert 20 <= config.hidden_size / config.num_hidden_layers <= 80
    assert config.tie_word_embeddings


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_it_is_built_and_reads(kind: str) -> None:
    wanted = SizedConfig(kind, 400_000, 512, 32, SpecialTokens(pad=None, begin=5, end=6))  # type: ignore[arg-type]
    body = wanted()
    assert sum(p.numel() for p in body.parameters()) == pytest.approx(400_000, rel=0.05)
    assert body(input_ids=torch.arange(32)[None]).last_hidden_state.shape == (1, 32, 64)
    assert (body.config.bos_token_id, body.config.eos_token_id, body.config.pad_token_id) == (5, 6, None)


def test_a_vocabulary_that_leaves_nothing_for_blocks_is_refused() -> None:
    with pytest.raises(UsageError, match=r"1,000,000 weights are too few: a vocabulary of 32,000 takes 2,080,768"):
        config_of_size(SizedConfig("decoder", 1_000_000, 32_000))
