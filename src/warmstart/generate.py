"""Generate: how does a decoder go on from a prompt, token by token, alone or beside an encoder that has read it?

Prompts of about the same length are read together, padded on the left, for an encoder on the right. What was read is
kept (keys and values), a text that has ended leaves the batch, and none grows beyond what the body can read.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from inspect import signature
from itertools import pairwise
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.bases import positions
from warmstart.errors import InputError
from warmstart.record import Array

TOKENS_AT_ONCE = 16_384  # prompts and answers together: 750 MB of keys and values in a 135M decoder (fp32)
TEXTS_AT_ONCE = 64
SHORTEST_TOGETHER = 0.8  # of the longest prompt that is read with it: padding costs as much as words do
CPU_TOKENS = 2048  # of prompts that a CPU reads together: 12,000 were no quicker, and took SmolLM2 0.6 GB more


class Head(Protocol):
    """What turns hidden states [n, d] into logits [n, vocabulary]."""

    def logits(self, hidden: Tensor) -> Tensor: ...


class Guide(Protocol):
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
    head: Head,
    prompts: Sequence[Array],
    *,
    stop: set[int],
    most: int,
    allowed: Callable[[], Guide] | None = None,
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
        reader = _reader(body, [prompts[i] for i in some], opening)
        found = _answers(reader, head, [rooms[i] for i in some], stop, guides, list(never))
        for i, answer in zip(some, found, strict=True):
            answers[i] = answer
    return answers


@torch.inference_mode()
def stream(
    body: nn.Module,
    head: Head,
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
    dice = torch.Generator().manual_seed(seed)
    reader = _reader(body, [prompt], opening)
    hidden = reader.start()
    for place in range(room):
        logits = _without(head.logits(hidden), list(never))
        token = _drawn(logits[0].float().cpu(), temperature, top_p, dice)
        if token in stop:
            return
        yield token
        if place + 1 < room:
            hidden = reader.read(torch.tensor([token], device=hidden.device))


def spelled(tokenizer: Any, tokens: Iterable[int], before: Sequence[int] = ()) -> Iterator[str]:
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


def kept_bytes(body: nn.Module, prompt: Array, opening: Sequence[int] = ()) -> float:
    """Bytes that stay of each token that is read until its answer is written: keys and values, an encoder's output."""
    reader = _reader(body, [prompt], opening)
    with torch.inference_mode():
        reader.start()
    return sum(tensor.nbytes for tensor in reader.kept()) / len(prompt)


def together(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Which prompts of these lengths go together, where an answer has at most so many tokens; the longest first."""
    return list(_batches(lengths, [most] * len(lengths)))


def context(body: nn.Module) -> int:
    """Tokens that the body can read, prompt and answer together."""
    parts: Any = [getattr(body.config, name, None) for name in ("encoder", "decoder")]
    known = (body.config, *parts) if all(parts) else (body.config,)
    return min(
        positions(config.model_type, int(getattr(config, "max_position_embeddings", None) or 1_000_000))
        for config in known
    )


class _Reads(Protocol):
    """What both readers do."""

    def start(self) -> Tensor: ...
    def read(self, tokens: Tensor) -> Tensor: ...
    def keep(self, rows: Sequence[int]) -> None: ...
    def kept(self) -> list[Tensor]: ...


def _reader(body: nn.Module, prompts: Sequence[Array], opening: Sequence[int]) -> _Reads:
    if opening:
        return _PairReader(body, prompts, opening)
    return _Reader(body, prompts) if _keeps_all(body) else _Rereader(body, prompts)


def _keeps_all(body: nn.Module) -> bool:
    """Whether its memory is keys and values alone: what recurrent layers remember cannot be padded or joined."""
    from transformers import DynamicCache

    layers = DynamicCache(config=cast(Any, body.config)).layers
    return "past_key_values" in signature(body.forward).parameters and all(hasattr(one, "keys") for one in layers)


class _PairReader:
    """An encoder that has read some texts whole, and a decoder on its way through the answers to them."""

    def __init__(self, body: nn.Module, prompts: Sequence[Array], opening: Sequence[int]):
        """`prompts` come with the longest first."""
        self.body: Any = body
        self.device = next(body.parameters()).device
        self.prompts, self.opening = prompts, opening

    def start(self) -> Tensor:
        """Reads the prompts and the opening: the hidden states of its last token, [n, d]."""
        from transformers import DynamicCache, EncoderDecoderCache

        longest = len(self.prompts[0])
        parts = [self._encoded(self.prompts[part]) for part in _similar(self.prompts, self.device)]
        self.source = torch.cat([nn.functional.pad(part, (0, 0, 0, longest - part.shape[1])) for part in parts])
        lengths = torch.tensor([len(prompt) for prompt in self.prompts], device=self.device)
        self.mask = (torch.arange(longest, device=self.device) < lengths[:, None]).long()
        self.cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        opening = torch.tensor(self.opening, device=self.device)
        return self._hidden(opening.expand(len(self.prompts), -1))

    def read(self, tokens: Tensor) -> Tensor:
        """Writes one more token of each answer, [n]: its hidden states, [n, d]."""
        return self._hidden(tokens[:, None])

    def keep(self, rows: Sequence[int]) -> None:
        """Forgets all texts but these."""
        index = torch.tensor(rows, device=self.device)
        self.cache.batch_select_indices(index)
        self.source, self.mask = self.source[index], self.mask[index]

    def kept(self) -> list[Tensor]:
        """What was read, as it is remembered."""
        parts = (self.cache.self_attention_cache, self.cache.cross_attention_cache)
        return [self.source, *(tensor for part in parts for tensor in _tensors(part))]

    def _encoded(self, prompts: Sequence[Array]) -> Tensor:
        """Hidden states of what is read, [n, longest, d]."""
        tokens = np.zeros((len(prompts), len(prompts[0])), dtype=np.int64)
        for row, prompt in zip(tokens, prompts, strict=True):
            row[: len(prompt)] = prompt
        lengths = np.array([len(prompt) for prompt in prompts])
        mask = torch.from_numpy((np.arange(tokens.shape[1]) < lengths[:, None]).astype(np.int64)).to(self.device)
        ids = torch.from_numpy(tokens).to(self.device)
        read: Tensor = self.body.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        bridge = getattr(self.body, "enc_to_dec_proj", None)
        return read if bridge is None else bridge(read)

    def _hidden(self, tokens: Tensor) -> Tensor:
        found = self.body.decoder(
            input_ids=tokens,
            encoder_hidden_states=self.source,
            encoder_attention_mask=self.mask,
            past_key_values=self.cache,
            use_cache=True,
        )
        hidden: Tensor = found.last_hidden_state[:, -1]
        return hidden


class _Reader:
    """A body on its way through some texts: it reads further tokens of each and remembers those before."""

    def __init__(self, body: nn.Module, prompts: Sequence[Array]):
        """`prompts` come with the longest first."""
        self.body, self.config = body, cast(Any, body.config)
        self.device = next(body.parameters()).device
        self.prompts = prompts
        lengths = np.array([len(prompt) for prompt in prompts])
        self.lengths = torch.from_numpy(lengths).to(self.device)  # of what was read
        self.mask = self._padding(lengths)

    def start(self) -> Tensor:
        """Reads the prompts: the hidden states of their last tokens, [n, d]."""
        read = [self._prompts(self.prompts[part]) for part in self._parts()]
        self.cache = _joined([cache for _, cache in read])
        return torch.cat([hidden for hidden, _ in read])

    def read(self, tokens: Tensor) -> Tensor:
        """Reads one more token of each text, [n]: its hidden states, [n, d]."""
        positions = self.lengths[:, None]
        self.lengths = self.lengths + 1
        if self.mask is not None:
            self.mask = nn.functional.pad(self.mask, (0, 1), value=1)
        return self._hidden(tokens[:, None], positions, self.mask, self.cache)

    def keep(self, rows: Sequence[int]) -> None:
        """Forgets all texts but these."""
        index = torch.tensor(rows, device=self.device)
        self.cache.batch_select_indices(index)
        self.lengths = self.lengths[index]
        if self.mask is not None:
            self.mask = self.mask[index]

    def kept(self) -> list[Tensor]:
        """What was read, as it is remembered."""
        return _tensors(self.cache)

    def _parts(self) -> list[slice]:
        """Runs of prompts that are read together."""
        if any(self._new_cache().is_sliding):  # what has slid out of a window can no longer be joined
            return [slice(0, len(self.prompts))]
        return _similar(self.prompts, self.device)

    def _prompts(self, prompts: Sequence[Array]) -> tuple[Tensor, Any]:
        tokens = np.zeros((len(prompts), len(prompts[0])), dtype=np.int64)
        for row, prompt in zip(tokens, prompts, strict=True):
            row[len(row) - len(prompt) :] = prompt
        mask = self._padding(np.array([len(prompt) for prompt in prompts]))
        positions = torch.arange(tokens.shape[1], device=self.device)[None]
        if mask is not None:
            positions = (mask.cumsum(1) - 1).clamp(min=0)
        cache = self._new_cache()
        return self._hidden(torch.from_numpy(tokens).to(self.device), positions, mask, cache), cache

    def _padding(self, lengths: Array) -> Tensor | None:
        """1 where a token is, 0 to the left of it; None where all texts are equally long."""
        seen = np.arange(lengths[0]) >= lengths[0] - lengths[:, None]
        return None if seen.all() else torch.from_numpy(seen.astype(np.int64)).to(self.device)

    def _new_cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache(config=self.config)

    def _hidden(self, tokens: Tensor, positions: Tensor, mask: Tensor | None, cache: Any) -> Tensor:
        found = self.body(
            input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        hidden: Tensor = found.last_hidden_state[:, -1]
        return hidden


class _Rereader:
    """A body that is given all tokens of each text again for every new one."""

    def __init__(self, body: nn.Module, prompts: Sequence[Array]):
        """`prompts` come with the longest first."""
        self.body = body
        self.device = next(body.parameters()).device
        self.texts = list(prompts)

    def start(self) -> Tensor:
        """Reads the prompts: the hidden states of their last tokens, [n, d]."""
        return torch.cat([self._hidden(self.texts[part]) for part in _similar(self.texts, self.device)])

    def read(self, tokens: Tensor) -> Tensor:
        """Reads one more token of each text, [n]: its hidden states, [n, d]."""
        self.texts = [np.append(text, token) for text, token in zip(self.texts, tokens.tolist(), strict=True)]
        return self.start()

    def keep(self, rows: Sequence[int]) -> None:
        """Forgets all texts but these."""
        self.texts = [self.texts[row] for row in rows]

    def kept(self) -> list[Tensor]:
        """Nothing is remembered."""
        return []

    def _hidden(self, texts: Sequence[Array]) -> Tensor:
        """No mask: what stands after a text does not reach it."""
        tokens = np.zeros((len(texts), len(texts[0])), dtype=np.int64)
        for row, text in zip(tokens, texts, strict=True):
            row[: len(text)] = text
        states: Tensor = self.body(input_ids=torch.from_numpy(tokens).to(self.device)).last_hidden_state
        return states[torch.arange(len(texts)), torch.tensor([len(text) - 1 for text in texts])]


def _tensors(cache: Any) -> list[Tensor]:
    """Keys and values of each layer."""
    return [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]


def _similar(prompts: Sequence[Array], device: torch.device) -> list[slice]:
    """Runs of prompts, the longest first, that are nearly as long as each other; on a CPU few tokens in each."""
    most = CPU_TOKENS if device.type == "cpu" else TOKENS_AT_ONCE
    starts = [0]
    for i, prompt in enumerate(prompts):
        longest = len(prompts[starts[-1]])
        if len(prompt) < SHORTEST_TOGETHER * longest or (i + 1 - starts[-1]) * longest > max(most, longest):
            starts.append(i)
    return [slice(start, end) for start, end in pairwise([*starts, len(prompts)])]


def _joined(caches: Sequence[Any]) -> Any:
    """Keys and values of several runs of texts as those of one, padded on the left."""
    joined, *others = caches
    if others:
        longest = joined.get_seq_length()
        for layer, *more in zip(*(cache.layers for cache in caches), strict=True):
            for kept in ("keys", "values"):
                parts = [getattr(one, kept) for one in (layer, *more)]
                padded = [nn.functional.pad(part, (0, 0, longest - part.shape[2], 0)) for part in parts]
                setattr(layer, kept, torch.cat(padded))
                for one in more:
                    setattr(one, kept, None)  # else all layers are held twice in the end
    return joined


@torch.inference_mode()
def _answers(
    reader: _Reads,
    head: Head,
    rooms: Sequence[int],
    stop: set[int],
    guides: Sequence[Guide] | None,
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
    reads = context(body)
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


def _drawn(logits: Tensor, temperature: float, top_p: float, dice: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    chances, tokens = torch.softmax(logits / temperature, dim=0).sort(descending=True)
    chances[chances.cumsum(0) - chances >= top_p] = 0
    return int(tokens[torch.multinomial(chances, 1, generator=dice)])
