"""Generate: how does a decoder continue a prompt token by token, alone or with an encoder that has read it?

Answers are generated in batches. A finished text leaves the batch; none grows beyond what the model can read.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from warmstart.errors import InputError
from warmstart.generation.kv_cache import TOKENS_AT_ONCE, KVCache, kv_cache
from warmstart.models.lm_head import LogitsHead
from warmstart.models.pretrained.locate import positions
from warmstart.types import Array

TEXTS_AT_ONCE = 64


class TokenConstraint(Protocol):
    """What one answer may consist of, token by token."""

    def mask(self) -> Tensor:
        """Which tokens may come next, bool [vocabulary]."""
        ...

    def take(self, token: int) -> None:
        """The token that was chosen."""
        ...

    def closed(self, most: int) -> list[int]:
        """The answer, complete in at most so many tokens: one that was cut off is shortened until it can be ended."""
        ...


def generate(
    body: nn.Module,
    head: LogitsHead,
    prompts: Sequence[Array],
    *,
    stop: set[int],
    most: int,
    allowed: Callable[[], TokenConstraint] | None = None,
    opening: Sequence[int] = (),
    never: Sequence[int] = (),
) -> list[list[int]]:
    """For each prompt the likeliest next token, again and again: token ids, without the one of `stop` that ended them.

    `body` is a decoder in evaluation mode as `AutoModel` gives it. An answer has at most `most` tokens, and with its
    prompt no more than the body can read. `allowed` gives a fresh guide for each answer. Or it is an encoder-decoder,
    which reads a prompt whole and writes an answer after the tokens of the `opening`. Tokens of `never` are not chosen.
    Raises InputError for a prompt that leaves no room for an answer.
    """
    assert not body.training, "with dropout every answer is another"
    rooms = [_room(body, prompt, i, most, opening) for i, prompt in enumerate(prompts)]
    answers: list[list[int]] = [[] for _ in prompts]
    for some in _batches([len(prompt) for prompt in prompts], rooms):
        guides = [allowed() for _ in some] if allowed else None
        reader = kv_cache(body, [prompts[i] for i in some], opening)
        found = _answers(reader, head, [rooms[i] for i in some], stop, guides, list(never))
        for i, answer in zip(some, found, strict=True):
            answers[i] = answer
    return answers


@torch.inference_mode()
def stream_tokens(
    body: nn.Module,
    head: LogitsHead,
    prompt: Array,
    *,
    stop: set[int],
    most: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    opening: Sequence[int] = (),
    never: Sequence[int] = (),
) -> Iterator[int]:
    """Token ids one by one, as they are chosen: drawn from the seed, at temperature 0 the likeliest.

    `top_p`: only the likeliest tokens that make up this share of the probability are drawn from (Holtzman et al. 2020).
    """
    assert not body.training, "with dropout every answer is another"
    room = _room(body, prompt, 0, most, opening)
    generator = torch.Generator().manual_seed(seed)
    reader = kv_cache(body, [prompt], opening)
    hidden = reader.start()
    for place in range(room):
        logits = _without(head.logits(hidden), list(never))
        token = _drawn(logits[0].float().cpu(), temperature, top_p, generator)
        if token in stop:
            return
        yield token
        if place + 1 < room:
            hidden = reader.read(torch.tensor([token], device=hidden.device))


def decode_stream(tokenizer: Any, tokens: Iterable[int], before: Sequence[int] = ()) -> Iterator[str]:
    """The text of tokens that come after those `before`, in pieces, each as soon as its last character is complete.

    `tokenizer` is a fast one of transformers. Joined, the pieces are what it decodes from all tokens at once, special
    tokens left out.
    """
    # What a token spells depends on the one before it (a space at the start of a text is dropped), never on many more:
    # decode from the last finished piece on, and give what goes beyond it.
    before = list(before)
    pending: list[int] = []
    for token in tokens:
        pending.append(token)
        old, new = (tokenizer.decode(ids, skip_special_tokens=True) for ids in (before, before + pending))
        if new.endswith("\N{REPLACEMENT CHARACTER}") and len(pending) < 4:  # four bytes at most make a character
            continue
        if new[len(old) :]:
            yield new[len(old) :]
            before, pending = pending, []
    if pending:
        old, new = (tokenizer.decode(ids, skip_special_tokens=True) for ids in (before, before + pending))
        yield new[len(old) :]


def cache_bytes(body: nn.Module, prompt: Array, opening: Sequence[int] = ()) -> float:
    """Bytes that stay of each token that is read until its answer is written: keys and values, an encoder's output."""
    reader = kv_cache(body, [prompt], opening)
    with torch.inference_mode():
        reader.start()
    return sum(tensor.nbytes for tensor in reader.kept()) / len(prompt)


def padded_batch(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Which prompts of these lengths go together, where an answer has at most so many tokens; the longest first."""
    return list(_batches(lengths, [most] * len(lengths)))


def context_length(body: nn.Module) -> int:
    """Tokens that the body can read, prompt and answer together."""
    parts: Any = [getattr(body.config, name, None) for name in ("encoder", "decoder")]
    known = (body.config, *parts) if all(parts) else (body.config,)
    return min(
        positions(config.model_type, int(getattr(config, "max_position_embeddings", None) or 1_000_000))
        for config in known
    )


@torch.inference_mode()
def _answers(
    reader: KVCache,
    head: LogitsHead,
    rooms: Sequence[int],
    stop: set[int],
    guides: Sequence[TokenConstraint] | None,
    never: list[int],
) -> list[list[int]]:
    """One batch, until every text has ended."""
    answers: list[list[int]] = [[] for _ in rooms]
    hidden = reader.start()
    growing = list(range(len(rooms)))
    while True:
        logits = _without(head.logits(hidden), never)
        if guides:
            may = torch.stack([guides[i].mask() for i in growing]).to(logits.device)
            may = nn.functional.pad(may, (0, logits.shape[1] - may.shape[1]))  # vocabularies are padded to round sizes
            logits = logits.masked_fill(~may, -torch.inf)
        tokens = logits.argmax(dim=1)
        going = []
        for place, (i, token) in enumerate(zip(growing, tokens.tolist(), strict=True)):
            if token in stop:
                continue
            answers[i].append(token)
            if guides:
                guides[i].take(token)
            if len(answers[i]) < rooms[i]:
                going.append(place)
        if not going:
            break
        if len(going) < len(growing):
            reader.keep(going)
            growing, tokens = [growing[place] for place in going], tokens[going]
        hidden = reader.read(tokens)
    return [guide.closed(room) for guide, room in zip(guides, rooms, strict=True)] if guides else answers


def _without(logits: Tensor, never: list[int]) -> Tensor:
    """[n, vocabulary]: as they are, but for what may not be chosen."""
    if never:
        logits[:, never] = -torch.inf
    return logits


def _room(body: nn.Module, prompt: Array, i: int, most: int, opening: Sequence[int]) -> int:
    """Tokens that the answer may have."""
    reads = context_length(body)
    if opening:  # what is read takes no room from what is written
        return min(most, reads - len(opening))
    if not 0 < len(prompt) < reads:
        raise InputError(
            f"prompt {i + 1} has {len(prompt):,} tokens: the model reads 1 to {reads - 1:,} and needs room to answer.",
            "shorten the text, or let long documents be cut",
        )
    return min(most, reads - len(prompt))


def _batches(lengths: Sequence[int], rooms: Sequence[int]) -> Iterator[list[int]]:
    """Which texts go together: the longest prompts first, at most so many texts and so many tokens at once."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    while order:
        room = max(rooms[i] for i in order[:TEXTS_AT_ONCE])
        count = min(TEXTS_AT_ONCE, max(1, TOKENS_AT_ONCE // (lengths[order[0]] + room)))
        yield order[:count]
        order = order[count:]


def _drawn(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    chances, tokens = torch.softmax(logits / temperature, dim=0).sort(descending=True)
    chances[chances.cumsum(0) - chances >= top_p] = 0
    return int(tokens[torch.multinomial(chances, 1, generator=generator)])
