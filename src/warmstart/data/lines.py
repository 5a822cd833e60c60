"""Lines: how rows of tokens are laid out for a model, several short ones in a line where it can tell them apart."""

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
    def packs(self) -> bool:
        """Whether several rows may share a line."""
        window = self._config.get("sliding_window")
        return self._config.get("model_type") in PACKED and (window is None or window >= self.max_length)

    @cached_property
    def first_position(self) -> int:
        return self.pad + 1 if self._config.get("model_type") in AFTER_PADDING else 0

    def batch(self, rows: Sequence[Line]) -> dict[str, Tensor]:
        """The body's keyword arguments, and `labels`, `rows` [lines, t] and `bytes` [n] for the head.

        Lines are as long as the longest row. Where no two rows fit into one, each has its own, in the order given,
        and a causal model needs no mask: what stands after a row does not reach it.
        """
        lengths = np.array([len(row.tokens) for row in rows])
        lines = fitted(lengths) if self.packs else [[i] for i in range(len(rows))]
        shape = (len(lines), int(lengths.max()))
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


def fitted(lengths: Array) -> list[list[int]]:
    """Which rows share a line as long as the longest: the longest first, each where least room is left after it.

    In the order given, a line each, where no two fit together.

    >>> fitted(np.array([2, 5, 3]))
    [[1], [2, 0]]
    >>> fitted(np.array([4, 5, 3]))
    [[0], [1], [2]]
    """
    lines: list[list[int]] = []
    rooms: list[int] = []
    for i in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[i])
        left, line = min(((room, n) for n, room in enumerate(rooms) if room >= length), default=(0, -1))
        if line < 0:
            lines.append([i])
            rooms.append(int(lengths.max()) - length)
        else:
            lines[line].append(i)
            rooms[line] = left - length
    return lines if len(lines) < len(lengths) else [[i] for i in range(len(lengths))]
