"""KV cache: how are prompts read before something is written after them?

Prompts of similar length are read together, padded on the left, and their keys and values joined. What all prompts
begin with, such as examples, is read once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.types import Array

TOKENS_AT_ONCE = 16_384  # prompts and answers together: 750 MB of keys and values in a 135M decoder (fp32)
SHORTEST_TOGETHER = 0.8  # of the longest prompt that is read with it: padding costs as much as words do
PROMPT_CPU_TOKENS = 2048  # of prompts that a CPU reads together: 12,000 were no quicker, and took SmolLM2 0.6 GB more
MIN_SHARED_TOKENS = 64  # that all prompts begin with: fewer are read with each


def remembers_tokens(body: nn.Module) -> bool:
    """Whether its cache is keys and values alone: what recurrent layers remember cannot be padded or joined."""
    layers = _new_cache(body).layers
    return "past_key_values" in signature(body.forward).parameters and all(hasattr(one, "keys") for one in layers)


@dataclass(frozen=True, eq=False)
class ReadPrefix:
    """Tokens that prompts begin with, and the keys and values of a body that has read them."""

    tokens: Array  # int64 [t]
    cache: Any

    @classmethod
    @torch.inference_mode()
    def of(cls, body: nn.Module, tokens: Array) -> "ReadPrefix | None":
        """None if they are too few to be worth it, or if a body forgets what slides out of a window."""
        if len(tokens) < MIN_SHARED_TOKENS or not remembers_tokens(body) or any(_new_cache(body).is_sliding):
            return None
        return cls(tokens, _read_once(body, tokens))

    def begins(self, prompts: Sequence[Array]) -> bool:
        """Whether each prompt begins with these tokens, and goes on."""
        count = len(self.tokens)
        return all(len(prompt) > count and np.array_equal(prompt[:count], self.tokens) for prompt in prompts)


def shared_beginning(one: Array, other: Array) -> Array:
    """The tokens that both prompts begin with."""
    shorter = min(len(one), len(other))
    apart = np.flatnonzero(one[:shorter] != other[:shorter])
    return one[: int(apart[0]) if len(apart) else shorter]


def read_prompts(body: nn.Module, prompts: Sequence[Array], prefix: ReadPrefix | None = None) -> tuple[Any, Tensor]:
    """The cache after all tokens but the last of each prompt, and the mask of its positions, int64 [n, positions].

    `prompts` come with the longest first. `prefix`: what was read of them before. The cache is None if they have one
    token each.
    """
    device = next(body.parameters()).device
    heads = [prompt[:-1] for prompt in prompts]
    if not len(heads[0]):
        return None, torch.zeros((len(heads), 0), dtype=torch.int64, device=device)
    sliding = any(_new_cache(body).is_sliding)  # what has slid out of a window can no longer be joined
    if prefix is not None and not sliding and prefix.begins(heads):
        shared, before = len(prefix.tokens), prefix.cache
    else:
        shared = 0 if sliding else _shared_tokens(heads)
        before = _read_once(body, heads[0][:shared]) if shared else None
    rests = [head[shared:] for head in heads]
    lengths = [len(rest) for rest in rests]
    parts = [slice(0, len(rests))] if sliding else similar(lengths, device)
    caches, mask = [], np.zeros((len(rests), shared + lengths[0]), dtype=np.int64)
    for part in parts:
        longest = lengths[part.start]
        tokens, seen = np.zeros((2, len(rests[part]), longest), dtype=np.int64)
        for i, rest in enumerate(rests[part]):
            tokens[i, longest - len(rest) :], seen[i, longest - len(rest) :] = rest, 1
        seen = np.pad(seen, ((0, 0), (shared, 0)), constant_values=1)
        mask[part, lengths[0] - longest :] = seen
        cache = _new_cache(body)
        if before is not None:
            _repeat(before, cache, len(tokens))
        _read(body, tokens, seen, cache)
        caches.append(cache)
    return _joined(caches), torch.from_numpy(mask).to(device)


def read_branches(
    body: nn.Module, prompts: Sequence[Array], tokens: Array, sees: Array, prefix: ReadPrefix | None = None
) -> Tensor:
    """Hidden states of the last token of each prompt, and of tokens that branch off after it, [n, 1 + m, d].

    `prompts` come with the longest first. `tokens` [m]; `sees` bool [m, m]: which of them each one comes after, itself
    included. `prefix`: what was read of the prompts before. Not for a body with recurrent layers.
    """
    cache, read = read_prompts(body, prompts, prefix)
    last = np.array([prompt[-1] for prompt in prompts], dtype=np.int64)
    ids = np.concatenate([last[:, None], np.tile(tokens.astype(np.int64), (len(prompts), 1))], axis=1)
    tree = np.pad(sees, ((1, 0), (1, 0)), constant_values=True)  # all come after the prompt's last token
    tree[0, 1:] = False
    depths = torch.from_numpy(tree.sum(axis=1) - 1).to(read.device)
    mask = torch.ones((len(prompts), 1, len(tree), read.shape[1] + len(tree)), dtype=torch.bool, device=read.device)
    mask[..., : read.shape[1]] = read.bool()[:, None, None]
    mask[..., read.shape[1] :] = torch.from_numpy(tree).to(read.device)
    found = body(
        input_ids=torch.from_numpy(ids).to(read.device),
        attention_mask=mask,
        position_ids=read.sum(dim=1)[:, None] + depths[None],
        past_key_values=cache,
        use_cache=True,
    )
    states: Tensor = found.last_hidden_state
    return states


def similar(lengths: Sequence[int], device: torch.device) -> list[slice]:
    """Runs of prompts, the longest first, that are nearly as long as each other; on a CPU few tokens in each."""
    most = PROMPT_CPU_TOKENS if device.type == "cpu" else TOKENS_AT_ONCE
    starts = [0]
    for i, length in enumerate(lengths):
        longest = lengths[starts[-1]]
        if 0 < length < SHORTEST_TOGETHER * longest or (i + 1 - starts[-1]) * longest > max(most, longest):
            starts.append(i)
    return [slice(start, end) for start, end in pairwise([*starts, len(lengths)])]


def _new_cache(body: Any) -> Any:
    from transformers import DynamicCache

    return DynamicCache(config=body.config)


def _read(body: Any, tokens: Array, seen: Array, cache: Any) -> None:
    """Reads tokens [n, t] into the cache. `seen` [n, positions]: 1 for a token, also for those that the cache has."""
    device = next(body.parameters()).device
    mask = torch.from_numpy(seen).to(device)
    body(
        input_ids=torch.from_numpy(tokens.astype(np.int64)).to(device),
        attention_mask=None if seen.all() else mask,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :],
        past_key_values=cache,
        use_cache=True,
    )


def _read_once(body: nn.Module, tokens: Array) -> Any:
    """A cache of these tokens [t]."""
    cache = _new_cache(body)
    _read(body, tokens[None], np.ones((1, len(tokens)), dtype=np.int64), cache)
    return cache


def _shared_tokens(prompts: Sequence[Array]) -> int:
    """How many tokens all prompts begin with, if reading them once is worthwhile; each has more than these."""
    if len(prompts) < 2:
        return 0
    first, shared = prompts[0], min(map(len, prompts)) - 1
    for prompt in prompts[1:]:
        other = np.flatnonzero(prompt[: max(0, shared)] != first[: max(0, shared)])
        shared = int(other[0]) if len(other) else shared
    return shared if shared >= MIN_SHARED_TOKENS else 0


def _repeat(read: Any, cache: Any, times: int) -> None:
    """Fill an empty cache with what one text was read as, for so many texts that begin with it."""
    for number, layer in enumerate(read.layers):
        keys, values = (kept.expand(times, -1, -1, -1) for kept in (layer.keys, layer.values))
        cache.update(keys, values, number)


def _joined(caches: Sequence[Any]) -> Any:
    """Keys and values of several runs of prompts as those of one, padded on the left."""
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
