"""Lines: how rows of tokens are laid out for a model, several short ones in a line where it can tell them apart."""

import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from warmstart.record import Array

UNLABELLED = -100  # what torch's cross entropy ignores

# Kinds of models that are seen by a test to give a row in a shared line what they give it alone: they take positions
# and a mask of who sees whom. Others (recurrent, relative positions, a window that the mask would override) are padded.
_CAUSAL = {
    "gemma",
    "gpt2",
    "gpt_neox",
    "granite",
    "llama",
    "mistral",
    "olmo2",
    "phi",
    "phi3",
    "qwen2",
    "qwen3",
    "smollm3",
}
_MASKED = {"bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"}
PACKED = frozenset(_CAUSAL | _MASKED)
AFTER_PADDING = frozenset({"roberta", "xlm-roberta", "camembert"})  # number positions from padding_idx + 1


# A token costs a layer about 24 x width² for its weights and 4 x width x line for attention, which runs slower: at
# width 576, lines of 512 and 1,024 masked tokens took 1.19 and 1.43 times the time of as many tokens in short rows.
ATTENTION = 4


@dataclass(frozen=True)
class Line:
    """A row as it stands in a line: what is read, and what is to be said, at each of its positions."""

    tokens: Array  # int [t]
    labels: Array  # int [t]: the token to be predicted here, UNLABELLED where none is
    bytes: float  # UTF-8 bytes that the labelled tokens spell


@dataclass(frozen=True)
class Layout:
    """How a kind of model reads the rows of a batch."""

    folder: str  # or hub id: what AutoConfig loads
    causal: bool
    pad: int
    max_length: int

    @cached_property
    def _config(self) -> dict[str, Any]:
        path = Path(self.folder) / "config.json"
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found
        if Path(self.folder).is_dir():  # a tokenizer alone
            return {}
        from transformers import AutoConfig

        return dict(AutoConfig.from_pretrained(self.folder).to_dict())

    @cached_property
    def _width(self) -> int:
        names = ("hidden_size", "n_embd", "dim")
        return int(next(self._config[name] for name in names if name in self._config))

    @cached_property
    def packs(self) -> bool:
        """Whether several rows may share a line."""
        window = self._config.get("sliding_window")
        return self._config.get("model_type") in PACKED and (window is None or window >= self.max_length)

    @cached_property
    def first_position(self) -> int:
        return self.pad + 1 if self._config.get("model_type") in AFTER_PADDING else 0

    def batch(self, rows: Sequence[Line]) -> dict[str, Tensor]:
        """The body's keyword arguments, and `labels`, `rows` [lines, t] and `bytes` [n] for the head.

        Where sharing lines saves nothing, each row has its own, in the order given. Then a causal model needs no mask:
        what stands after a row does not reach it.
        """
        lengths = np.array([len(row.tokens) for row in rows])
        lines = [[i] for i in range(len(rows))]
        if self.packs:
            lines = fitted(lengths, self.max_length, self._width)
        shape = (len(lines), max(int(lengths[line].sum()) for line in lines))
        ids, labels = np.full(shape, self.pad, dtype=np.int64), np.full(shape, UNLABELLED, dtype=np.int64)
        positions, owner = np.zeros(shape, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
        for number, line in enumerate(lines):
            at = 0
            for i in line:
                here = (number, slice(at, at + lengths[i]))
                ids[here], labels[here], owner[here] = rows[i].tokens, rows[i].labels, i
                positions[here] = np.arange(self.first_position, self.first_position + lengths[i])
                at += lengths[i]
        found = {"input_ids": ids, "labels": labels, "rows": owner.clip(0)}
        if len(lines) < len(rows):
            seen = owner[:, None, :, None] == owner[:, None, None, :]
            found |= {"position_ids": positions, "attention_mask": np.tril(seen) if self.causal else seen}
        elif not self.causal and lengths.min() < shape[1]:
            found["attention_mask"] = (owner >= 0).astype(np.int64)
        tensors = {name: torch.from_numpy(array) for name, array in found.items()}
        return tensors | {"bytes": torch.tensor([row.bytes for row in rows], dtype=torch.float32)}


def fitted(lengths: Array, widest: int, width: int) -> list[list[int]]:
    """Which rows share a line of at most `widest` tokens, for a model of that width.

    What costs least to compute of all numbers of lines, each filled evenly, the longest rows first: long lines waste
    little, short ones need little attention. A line each, in the order given, where sharing saves nothing.

    >>> fitted(np.array([2, 5, 3]), 5, 16)
    [[1], [2, 0]]
    >>> fitted(np.array([4, 5, 3]), 5, 16)
    [[0], [1], [2]]
    """
    longest = int(lengths.max())
    best, lowest = [[i] for i in range(len(lengths))], _cost(len(lengths), longest, width)
    order = np.argsort(-lengths, kind="stable").tolist()
    for count in range(-(-int(lengths.sum()) // widest), len(lengths)):
        lines: list[list[int]] = [[] for _ in range(count)]
        loads = [(0, number) for number in range(count)]
        for i in order:
            load, number = heapq.heappop(loads)
            lines[number].append(i)
            heapq.heappush(loads, (load + int(lengths[i]), number))
        length = max(load for load, _ in loads)
        if length <= widest and (cost := _cost(count, length, width)) < lowest:
            best, lowest = lines, cost
        if length == longest:  # more lines would be no shorter
            break
    return best


def _cost(lines: int, length: int, width: int) -> float:
    """Of computing lines of so many tokens, relative to that of a token's weights."""
    return lines * length * (1 + length / (ATTENTION * width))
