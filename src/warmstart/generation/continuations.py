"""Continuations: how does a language model continue a text, or fill in masked words?

To show people what they have trained, next to its bits per byte. A few texts, a few tokens of each.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from warmstart.data.encoding.inputs import ContinuationInputs
from warmstart.data.encoding.special_tokens import as_plain_text
from warmstart.generation.answers import require_language_head, stops
from warmstart.generation.generate import decode_stream, generate
from warmstart.generation.generate import stream_tokens as generated
from warmstart.models.model import Model
from warmstart.types import Array

CONTINUATIONS_SHOWN = 10  # texts
READ, SAID = 48, 40  # tokens of each, before and after
GAP_WORDS = 5  # left out of a text
SEEN = 400  # characters of a text in which words are left out


def sample_continuations(model: Model, inputs: ContinuationInputs, texts: Sequence[str]) -> dict[str, list[Any]]:
    """Columns with a value for each text, None if it is too short.

    'read': characters of the prompt; 'written': the greedy continuation. For a bidirectional model, as JSON: the
    position of each masked word (first and last character), and its most likely replacement.
    """
    if inputs.causal:
        return _continued(model, inputs, texts)
    return {"written": [_filled(model, inputs, text) for text in texts]}


def _continued(model: Model, inputs: ContinuationInputs, texts: Sequence[str]) -> dict[str, list[Any]]:
    tokenizer, backend = inputs.tokenizer, as_plain_text(inputs.tokenizer)
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    first = [] if begin is None else [begin]
    read: list[int | None] = [None] * len(texts)
    prompts: dict[int, list[int]] = {}
    for i, text in enumerate(texts):
        found = backend.encode(text, add_special_tokens=False)
        count = min(READ, inputs.max_length // 2, len(found.ids) // 2)
        if count:
            read[i] = int(found.offsets[count - 1][1])
            prompts[i] = [*first, *found.ids[:count]]
    written: list[str | None] = [None] * len(texts)
    if prompts:
        given = [np.array(prompt) for prompt in prompts.values()]
        head, stop = require_language_head(model), stops(model, [tokenizer.eos_token_id])
        answers = generate(model.body, head, given, stop=stop, most=SAID)
        for i, answer in zip(prompts, answers, strict=True):
            # as it is spelled after the beginning: a space at the start of a text may be dropped
            said = tokenizer.decode([*prompts[i], *answer], skip_special_tokens=True)
            written[i] = said[len(tokenizer.decode(prompts[i], skip_special_tokens=True)) :]
    return {"read": read, "written": written}


def stream_continuation(
    model: Model, inputs: ContinuationInputs, text: str, most: int, temperature: float, top_p: float, seed: int
) -> Iterator[str]:
    """Pieces of the continuation of a text, as they are generated; only the end of a long text is read."""
    tokenizer = inputs.tokenizer
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    ids = as_plain_text(tokenizer).encode(text, add_special_tokens=False).ids
    prompt = [*([] if begin is None else [begin]), *ids[-max(1, inputs.max_length // 2) :]]
    stop = stops(model, [tokenizer.eos_token_id])
    tokens = generated(
        model.body,
        require_language_head(model),
        np.array(prompt),
        stop=stop,
        most=most,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
    )
    yield from decode_stream(tokenizer, tokens, prompt)


def _filled(model: Model, inputs: ContinuationInputs, text: str) -> str | None:
    backend = as_plain_text(inputs.tokenizer)
    backend.enable_truncation(inputs.max_length)
    found = backend.encode(text)
    places = _whole_words(text, found.offsets)
    if not len(places):
        return None
    tokens = np.array(found.ids)
    tokens[places] = inputs.tokenizer.mask_token_id
    device = next(model.parameters()).device
    with torch.inference_mode():
        hidden = model.features({"input_ids": torch.from_numpy(tokens)[None].to(device)})[0]
        likeliest = (
            require_language_head(model).logits(hidden[torch.from_numpy(places).to(device)]).argmax(dim=1).tolist()
        )
    words = [inputs.tokenizer.decode([token]).strip() for token in likeliest]
    return json.dumps([[*found.offsets[at], word] for at, word in zip(places, words, strict=True)], ensure_ascii=False)


def _whole_words(text: str, offsets: Sequence[tuple[int, int]]) -> Array:
    """Some tokens that are whole words, spread over the beginning of the text, int64 [words]."""
    found = []
    for at, (start, end) in enumerate(offsets):
        start += len(text[start:end]) - len(text[start:end].lstrip())
        alone = not text[max(0, start - 1) : start].isalnum() and not text[end : end + 1].isalnum()
        if end - start > 1 and end <= SEEN and text[start:end].isalpha() and alone:
            found.append(at)
    count = min(GAP_WORDS, (len(found) + 1) // 2)
    return np.array([found[(2 * i + 1) * len(found) // (2 * count)] for i in range(count)], dtype=np.int64)
