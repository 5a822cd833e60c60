"""Packing: how are several short rows put into one line, for models that can keep them separate?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from warmstart.runtime.load_pretrained import load_config, read_object
from warmstart.types import Array

UNLABELED = -100  # what torch's cross entropy ignores

# Kinds of models that are seen by a test to give a row in a shared line what they give it alone: they take positions
# and know where rows end. Others (recurrent, relative positions, a window that the mask would override) are padded.
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
class PackedLine:
    """A row within a line: the input and the label at each of its positions."""

    tokens: Array  # int [t]
    labels: Array  # int [t]: the token to be predicted here, UNLABELED where none is
    bytes: float  # UTF-8 bytes that the labeled tokens spell


@dataclass(frozen=True)
class PackingLayout:
    """How a kind of model reads the rows of a batch."""

    folder: str  # or hub id: what AutoConfig loads
    causal: bool
    pad: int
    max_length: int

    @cached_property
    def _config(self) -> dict[str, Any]:
        path = Path(self.folder) / "config.json"
        if path.exists():
            return read_object(path)
        if Path(self.folder).is_dir():  # a tokenizer alone
            return {}
        return dict(load_config(self.folder).to_dict())

    @cached_property
    def packs(self) -> bool:
        """Whether several rows may share a line."""
        window = self._config.get("sliding_window")
        return self._config.get("model_type") in PACKED and (window is None or window >= self.max_length)

    @cached_property
    def first_position(self) -> int:
        return self.pad + 1 if self._config.get("model_type") in AFTER_PADDING else 0

    def batch(self, rows: Sequence[PackedLine]) -> dict[str, Tensor]:
        """The body's keyword arguments, and `labels`, `rows` [lines, t] and `bytes` [n] for the head.

        Rows of different lengths share one line, without padding; their start positions replace a mask: see
        `models.attention`. Rows of one length have a line each, as do those of a model that cannot keep them separate.
        A causal model then needs no mask: a row does not see what comes after it.
        """
        lengths = np.array([len(row.tokens) for row in rows])
        shared = self.packs and lengths.min() < lengths.max()
        lines = [range(len(rows))] if shared else [range(i, i + 1) for i in range(len(rows))]
        shape = (len(lines), int(lengths.sum() if shared else lengths.max()))
        ids, labels = np.full(shape, self.pad, dtype=np.int64), np.full(shape, UNLABELED, dtype=np.int64)
        positions, owner = np.zeros(shape, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
        for number, line in enumerate(lines):
            at = 0
            for i in line:
                here = (number, slice(at, at + lengths[i]))
                ids[here], labels[here], owner[here] = rows[i].tokens, rows[i].labels, i
                positions[here] = np.arange(self.first_position, self.first_position + lengths[i])
                at += lengths[i]
        found = {"input_ids": ids, "labels": labels, "rows": owner.clip(0)}
        if shared:
            begins = np.append(0, np.cumsum(lengths)).astype(np.int32)
            found |= {"position_ids": positions, "attention_mask": np.tile(begins, (1, 1, int(lengths.max()), 1))}
        elif not self.causal and lengths.min() < shape[1]:
            found["attention_mask"] = (owner >= 0).astype(np.int64)
        tensors = {name: torch.from_numpy(array) for name, array in found.items()}
        return tensors | {"bytes": torch.tensor([row.bytes for row in rows], dtype=torch.float32)}
