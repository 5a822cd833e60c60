"""KV cache: what has a model read so far of some texts, and of the answers to them?

Prompts of similar length are read together, padded on the left, for an encoder on the right. Keys and values are kept;
a model with recurrent layers reads everything again. What all prompts begin with, such as examples, is read once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from itertools import pairwise
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.types import Array

TOKENS_AT_ONCE = 16_384  # prompts and answers together: 750 MB of keys and values in a 135M decoder (fp32)
SHORTEST_TOGETHER = 0.8  # of the longest prompt that is read with it: padding costs as much as words do
PROMPT_CPU_TOKENS = 2048  # of prompts that a CPU reads together: 12,000 were no quicker, and took SmolLM2 0.6 GB more
MIN_SHARED_TOKENS = 64  # that all prompts begin with: fewer are read with each


class KVCache(Protocol):
    """What all of them do."""

    def start(self) -> Tensor: ...
    def read(self, tokens: Tensor) -> Tensor: ...
    def keep(self, rows: Sequence[int]) -> None: ...
    def kept(self) -> list[Tensor]: ...


def kv_cache(body: nn.Module, prompts: Sequence[Array], opening: Sequence[int]) -> KVCache:
    """One for some prompts, the longest first. `opening`: what a decoder writes first, beside an encoder."""
    if opening:
        return _PairReader(body, prompts, opening)
    return _Reader(body, prompts) if remembers_tokens(body) else _Rereader(body, prompts)


@dataclass(frozen=True, eq=False)
class ReadPrefix:
    """Tokens that prompts begin with, and what a body remembers of them."""

    tokens: Array  # int64 [t]
    cache: Any

    @classmethod
    @torch.inference_mode()
    def of(cls, body: nn.Module, tokens: Array) -> "ReadPrefix | None":
        """None where they are too few to be worth it, or where a body forgets what slides out of a window."""
        if len(tokens) < MIN_SHARED_TOKENS or not remembers_tokens(body) or any(_Reader(body, [tokens]).slides):
            return None
        return cls(tokens, _Reader(body, [tokens])._read_once(tokens))

    def begins(self, prompts: Sequence[Array]) -> bool:
        """Whether each prompt begins with these tokens, and goes on."""
        count = len(self.tokens)
        return all(len(prompt) > count and np.array_equal(prompt[:count], self.tokens) for prompt in prompts)


def read_branches(
    body: nn.Module, prompts: Sequence[Array], tokens: Array, sees: Array, prefix: ReadPrefix | None = None
) -> tuple[Tensor, Tensor]:
    """The hidden states of the last token of each prompt, [n, d], and of tokens that branch off after it, [n, m, d].

    `prompts` come with the longest first. `tokens` [m]; `sees` bool [m, m]: which of them each one comes after, itself
    included. `prefix`: what was read of them before. Not for a body with recurrent layers.
    """
    reader = _Reader(body, prompts, prefix if prefix and prefix.begins(prompts) else None)
    first = reader.start()
    return first, reader.branches(tokens, sees) if len(tokens) else first[:, None][:, :0]


def remembers_tokens(body: nn.Module) -> bool:
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

    def __init__(self, body: nn.Module, prompts: Sequence[Array], prefix: ReadPrefix | None = None):
        """`prompts` come with the longest first, each with the `prefix`, if that was read before."""
        self.body, self.config, self.prefix = body, cast(Any, body.config), prefix
        self.device = next(body.parameters()).device
        self.prompts = prompts
        lengths = np.array([len(prompt) for prompt in prompts])
        self.lengths = torch.from_numpy(lengths).to(self.device)  # of what was read
        self.mask = self._padding(lengths)

    def start(self) -> Tensor:
        """Reads the prompts: the hidden states of their last tokens, [n, d]."""
        shared = len(self.prefix.tokens) if self.prefix else self._shared_tokens()
        rests = [prompt[shared:] for prompt in self.prompts]
        parts = self._parts(rests)
        before = self.prefix.cache if self.prefix else self._read_once(self.prompts[0][:shared])
        read = [self._prompts(rests[part], before) for part in parts]
        self.cache = _joined([cache for _, cache in read])
        if shared:
            self.mask = self._around(shared, [len(rest) for rest in rests], parts)
        return torch.cat([hidden for hidden, _ in read])

    def read(self, tokens: Tensor) -> Tensor:
        """Reads one more token of each text, [n]: its hidden states, [n, d]."""
        positions = self.lengths[:, None]
        self.lengths = self.lengths + 1
        if self.mask is not None:
            self.mask = nn.functional.pad(self.mask, (0, 1), value=1)
        return self._hidden(tokens[:, None], positions, self.mask, self.cache)

    def branches(self, tokens: Array, sees: Array) -> Tensor:
        """Reads tokens [m] side by side after each text: their hidden states, [n, m, d]. Nothing can be read then."""
        count, read = len(self.prompts), self.cache.get_seq_length()
        ids = torch.from_numpy(tokens)[None].expand(count, -1).to(self.device)
        depths = torch.from_numpy(sees.sum(axis=1) - 1).to(self.device)
        mask = torch.ones((count, 1, len(tokens), read + len(tokens)), dtype=torch.bool, device=self.device)
        mask[..., read:] = torch.from_numpy(sees).to(self.device)
        if self.mask is not None:
            mask[..., :read] = self.mask.bool()[:, None, None]
        found = self.body(
            input_ids=ids,
            attention_mask=mask,
            position_ids=self.lengths[:, None] + depths[None],
            past_key_values=self.cache,
            use_cache=True,
        )
        states: Tensor = found.last_hidden_state
        return states

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

    def _parts(self, prompts: Sequence[Array]) -> list[slice]:
        """Runs of prompts that are read together."""
        if any(self.slides):  # what has slid out of a window can no longer be joined
            return [slice(0, len(prompts))]
        return _similar(prompts, self.device)

    @property
    def slides(self) -> list[bool]:
        """Of each layer, whether it forgets what slides out of a window."""
        return list(self._new_cache().is_sliding)

    def _shared_tokens(self) -> int:
        """How many tokens all prompts begin with, if they are worth to be read apart; each has more than these."""
        if len(self.prompts) < 2 or any(self.slides):
            return 0
        first, shared = self.prompts[0], min(map(len, self.prompts)) - 1
        for prompt in self.prompts[1:]:
            other = np.flatnonzero(prompt[:shared] != first[:shared])
            shared = int(other[0]) if len(other) else shared
        return shared if shared >= MIN_SHARED_TOKENS else 0

    def _read_once(self, tokens: Array) -> Any:
        """Keys and values of what all begin with; None where that is nothing."""
        if not len(tokens):
            return None
        cache = self._new_cache()
        ids = torch.from_numpy(tokens.astype(np.int64))[None].to(self.device)
        self._hidden(ids, torch.arange(len(tokens), device=self.device)[None], None, cache)
        return cache

    def _around(self, shared: int, lengths: Sequence[int], parts: Sequence[slice]) -> Tensor:
        """1 where a token is: in each part, padding lies between what is shared and the rest; others lie before it."""
        longest = max(lengths)
        seen = np.zeros((len(lengths), shared + longest), dtype=np.int64)
        for part in parts:
            before = longest - max(lengths[part])
            seen[part, before : before + shared] = 1
        for row, length in zip(seen, lengths, strict=True):
            row[len(row) - length :] = 1
        return torch.from_numpy(seen).to(self.device)

    def _prompts(self, prompts: Sequence[Array], before: Any) -> tuple[Tensor, Any]:
        """Reads these `before` which something has been read, or nothing; the longest comes first."""
        tokens = np.zeros((len(prompts), len(prompts[0])), dtype=np.int64)
        for row, prompt in zip(tokens, prompts, strict=True):
            row[len(row) - len(prompt) :] = prompt
        mask = self._padding(np.array([len(prompt) for prompt in prompts]))
        positions = torch.arange(tokens.shape[1], device=self.device)[None]
        if mask is not None:
            positions = (mask.cumsum(1) - 1).clamp(min=0)
        cache = self._new_cache()
        if before is not None:
            shared = before.get_seq_length()
            positions = positions + shared
            mask = None if mask is None else nn.functional.pad(mask, (shared, 0), value=1)
            repeat_cache(before, cache, len(prompts))
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


def repeat_cache(read: Any, cache: Any, times: int) -> None:
    """Put what one text has been read as into an empty cache, for so many texts that begin with it."""
    for number, layer in enumerate(read.layers):
        keys, values = (kept.expand(times, -1, -1, -1) for kept in (layer.keys, layer.values))
        cache.update(keys, values, number)


def _tensors(cache: Any) -> list[Tensor]:
    """Keys and values of each layer."""
    return [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]


def _similar(prompts: Sequence[Array], device: torch.device) -> list[slice]:
    """Runs of prompts, the longest first, that are nearly as long as each other; on a CPU few tokens in each."""
    most = PROMPT_CPU_TOKENS if device.type == "cpu" else TOKENS_AT_ONCE
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
