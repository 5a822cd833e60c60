"""Generate: what transformers gives, in fewer steps; streamed texts are whole characters."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.decoders import CONTEXT, TEXT, byte_tokenizer, own_head, prompts, tiny_decoder
from warmstart.errors import InputError
from warmstart.generation import generate as module
from warmstart.generation import kv_cache
from warmstart.generation.generate import cache_bytes, decode_stream, generate, stream_tokens
from warmstart.models.causal_lm import new_output_layer
from warmstart.models.encoder_decoder import EncoderDecoder
from warmstart.models.lm_head import LanguageHead
from warmstart.types import Array

LENGTHS = [3, 17, 5, 16, 3, 30, 9, 29]


def theirs(model: Any, prompt: Array, stop: set[int], most: int) -> list[int]:
    """transformers' own greedy answer to one prompt, without padding."""
    ids = torch.from_numpy(prompt.astype(np.int64))[None]
    found = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=most,
        eos_token_id=sorted(stop),
        pad_token_id=0,
    )
    answer: list[int] = found[0, len(prompt) :].tolist()
    return answer[:-1] if answer[-1] in stop else answer


@pytest.fixture(params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> Any:
    return tiny_decoder(request.param)


@pytest.mark.parametrize("at_once", [64, 3])
def test_greedy_answers_are_those_of_transformers(model: Any, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TEXTS_AT_ONCE", at_once)
    asked, stop = prompts(LENGTHS), {7, 21, 40, 55, 60, 80}
    found = generate(model.base_model, own_head(model), asked, stop=stop, most=18)
    assert found == [theirs(model, prompt, stop, 18) for prompt in asked]
    assert len({len(answer) for answer in found}) > 2  # some ended before others


def test_a_cpu_reads_few_tokens_of_prompts_at_once(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    body, head, asked = model.base_model, own_head(model), prompts([20, 19, 19, 18, 17])
    whole = generate(body, head, asked, stop=set(), most=6)
    monkeypatch.setattr(kv_cache, "PROMPT_CPU_TOKENS", 40)
    body.get_input_embeddings().register_forward_pre_hook(lambda _, given: read.append(tuple(given[0].shape)))
    assert generate(body, head, asked, stop=set(), most=6) == whole
    assert read == [(2, 19), (2, 18), (1, 16), *[(5, 1)] * 6]
    monkeypatch.setattr(kv_cache, "PROMPT_CPU_TOKENS", 10)  # fewer than one of them has
    assert generate(body, head, asked, stop=set(), most=6) == whole


def test_a_prompt_is_padded_only_to_what_is_nearly_as_long(model: Any) -> None:
    read = []
    body, head = model.base_model, own_head(model)
    body.get_input_embeddings().register_forward_pre_hook(lambda _, given: read.append(tuple(given[0].shape)))
    generate(body, head, prompts([20, 5, 19, 5, 1]), stop=set(), most=2)
    assert read == [(2, 19), (3, 4), (5, 1), (5, 1)]


def test_a_text_that_has_ended_is_no_longer_computed(model: Any) -> None:
    read = []
    body, head, asked = model.base_model, own_head(model), prompts([9, 7, 5])
    answers = generate(body, head, asked, stop=set(), most=9)
    stop = {answers[0][2]}
    ended = sorted(next((i for i, token in enumerate(answer) if token in stop), 9) for answer in answers)
    body.get_input_embeddings().register_forward_pre_hook(lambda _, given: read.append(given[0].numel()))
    generate(body, head, asked, stop=stop, most=9)
    steps = [number for number in read if number <= 3]
    assert steps == [3, *(sum(end > step for end in ended) for step in range(8) if ended[-1] > step)]
    assert len(set(read)) > 2


def test_what_a_model_says_of_sampling_is_not_followed(model: Any) -> None:
    """A folder's generation_config.json may sample, force tokens or forbid them."""
    asked, head = prompts([9, 7]), own_head(model)
    expected = generate(model.base_model, head, asked, stop=set(), most=6)
    strange = {
        "do_sample": True,
        "temperature": 9.0,
        "forced_bos_token_id": 3,
        "repetition_penalty": 9.0,
        "num_beams": 3,
    }
    for config in (model.config, model.generation_config):
        for name, value in strange.items():
            setattr(config, name, value)
    assert generate(model.base_model, head, asked, stop=set(), most=6) == expected
    assert list(stream_tokens(model.base_model, head, asked[0], stop=set(), most=6)) == expected[0]


def test_answers_end_where_the_model_can_read_no_more(model: Any) -> None:
    long, short = generate(model.base_model, own_head(model), prompts([CONTEXT - 4, 10]), stop=set(), most=9)
    assert (len(long), len(short)) == (4, 9)


@pytest.mark.parametrize("kind", ["lfm2", "mamba", "openai-gpt"])
def test_a_body_that_remembers_in_another_way_answers_too(kind: str) -> None:
    """Recurrent and mixed ones ended in a traceback, after they had been trained."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes: dict[str, Any] = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2}
    if kind == "lfm2":
        sizes |= {"intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
        sizes |= {"layer_types": ["conv", "full_attention"]}
    if kind == "openai-gpt":
        sizes |= {"n_positions": CONTEXT, "num_attention_heads": 4}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes)).eval()
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.data.normal_(std=0.3)
    asked, expected = prompts([12, 9, 12, 5]), []
    for prompt in asked:
        ids = torch.from_numpy(prompt.astype(np.int64))[None]
        for _ in range(7):
            with torch.no_grad():
                ids = torch.cat([ids, model(input_ids=ids).logits[:, -1:].argmax(-1)], dim=1)
        expected.append(ids[0, len(prompt) :].tolist())
    assert generate(model.base_model, own_head(model), asked, stop=set(), most=7) == expected
    assert list(stream_tokens(model.base_model, own_head(model), asked[1], stop=set(), most=7)) == expected[1]
    stop = {expected[0][3]}
    cut = [list(itertools.takewhile(lambda token: token not in stop, answer)) for answer in expected]
    assert generate(model.base_model, own_head(model), asked, stop=stop, most=7) == cut
    assert cache_bytes(model.base_model, own_head(model), asked[0]) == 0


def test_a_decoder_that_was_an_encoder_ends_where_its_positions_do() -> None:
    """RoBERTa has two positions that no token is given."""
    from transformers import RobertaConfig, RobertaModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    encoder = RobertaModel(RobertaConfig(vocab_size=50, max_position_embeddings=20, **sizes), add_pooling_layer=False)
    body = EncoderDecoder.tied(encoder, {"decoder_start_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}).eval()
    head = LanguageHead.of(body, new_output_layer(body.config))
    answers = generate(body, head, prompts([9], 50), stop=set(), most=99, opening=(0,))
    assert len(answers[0]) == 17


@pytest.mark.parametrize("length", [0, CONTEXT, CONTEXT + 9])
def test_a_prompt_that_leaves_no_room_is_named(model: Any, length: int) -> None:
    with pytest.raises(InputError, match=f"prompt 2 has {length} tokens: the model reads 1 to {CONTEXT - 1}"):
        generate(model.base_model, own_head(model), prompts([3, length]), stop=set(), most=5)


def test_a_sliding_window_forgets_as_in_transformers() -> None:
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    sizes = MistralConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        sliding_window=6,
        initializer_range=0.3,
    )
    model = MistralForCausalLM(sizes).eval()
    asked = prompts([20, 4, 9])
    found = generate(model.model, own_head(model), asked, stop={5}, most=12)
    assert found == [theirs(model, prompt, {5}, 12) for prompt in asked]


class Only:
    """A guide that lets through what it is told, then ends."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def mask(self) -> Tensor:
        may = torch.zeros(90, dtype=torch.bool)
        may[[[10, 11], [20, 21], [5]][min(len(self.taken), 2)]] = True
        return may

    def take(self, token: int) -> None:
        self.taken.append(token)

    def closed(self, most: int) -> list[int]:
        return [*self.taken, most]


def test_a_guide_decides_what_may_come(model: Any) -> None:
    found = generate(model.base_model, own_head(model), prompts([4, 9]), stop={5}, most=6, allowed=Only)
    for first, second, most in found:
        assert first in (10, 11)
        assert second in (20, 21)
        assert most == 6


def test_a_stream_at_temperature_zero_is_the_greedy_answer(model: Any) -> None:
    prompt, stop = prompts([6])[0], {7, 21, 40}
    found = list(stream_tokens(model.base_model, own_head(model), prompt, stop=stop, most=20))
    assert [found] == generate(model.base_model, own_head(model), [prompt], stop=stop, most=20)


def test_a_stream_is_drawn_from_its_seed(model: Any) -> None:
    def drawn(seed: int, **how: float) -> list[int]:
        return list(
            stream_tokens(model.base_model, own_head(model), prompts([6])[0], stop=set(), most=20, seed=seed, **how)
        )

    assert drawn(0, temperature=1.0) == drawn(0, temperature=1.0)
    assert drawn(0, temperature=1.0) != drawn(1, temperature=1.0)
    assert drawn(0, temperature=1.0, top_p=1e-9) == drawn(0)


def test_top_p_leaves_out_the_unlikely(model: Any) -> None:
    prompt, head = prompts([6])[0], own_head(model)
    logits = model(input_ids=torch.from_numpy(prompt.astype(np.int64))[None]).logits[0, -1] / 5
    chances, tokens = logits.softmax(0).sort(descending=True)
    likely = set(tokens[chances.cumsum(0) - chances < 0.3].tolist())

    def first(seed: int, top_p: float) -> int:
        how: dict[str, Any] = {"temperature": 5.0, "top_p": top_p, "seed": seed}
        return next(stream_tokens(model.base_model, head, prompt, stop=set(), most=1, **how))

    drawn = {first(seed, 0.3) for seed in range(40)}
    assert drawn <= likely and len(drawn) > 1
    assert not {first(seed, 1.0) for seed in range(40)} <= likely


def test_a_stream_leaves_the_random_state_as_it_was(model: Any) -> None:
    before = torch.get_rng_state()
    list(stream_tokens(model.base_model, own_head(model), prompts([6])[0], stop=set(), most=3, temperature=1.0))
    assert torch.equal(before, torch.get_rng_state())


def test_streamed_pieces_are_whole_characters_and_together_the_text() -> None:
    tokenizer = byte_tokenizer()
    pieces = list(decode_stream(tokenizer, tokenizer.encode(TEXT)))
    assert "".join(pieces) == TEXT
    assert len(pieces) > 50
    assert all("\N{REPLACEMENT CHARACTER}" not in piece for piece in pieces)


def test_bytes_that_are_no_text_are_replaced_as_the_tokenizer_does() -> None:
    tokenizer = byte_tokenizer()
    generator = np.random.default_rng(0)
    for _ in range(50):
        ids = generator.integers(0, len(tokenizer), 40).tolist()
        assert "".join(decode_stream(tokenizer, ids)) == tokenizer.decode(ids, skip_special_tokens=True)


def test_a_piece_comes_as_soon_as_it_is_spelled() -> None:
    tokenizer = byte_tokenizer()
    asked = 0

    def tokens() -> Iterator[int]:
        nonlocal asked
        for token in tokenizer.encode("dog fox"):
            asked += 1
            yield token

    next(decode_stream(tokenizer, tokens()))
    assert asked == 1


def test_a_space_between_sentencepieces_is_kept() -> None:
    """Their decoders drop the space at the start of what they are given."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = {"<unk>": 0, "▁the": 1, "▁fox": 2, "es": 3}
    words = Tokenizer(models.WordLevel(pieces, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    assert list(decode_stream(tokenizer, [1, 2, 3, 1])) == ["the", " fox", "es", " the"]
