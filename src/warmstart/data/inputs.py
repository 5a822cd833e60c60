"""Inputs: how an architecture sees a text: as token numbers, or as hashed words."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from warmstart.record import Array


class Encoded(Protocol):
    """Rows as arrays, ready to become a batch."""

    def __len__(self) -> int: ...
    def batch(self, index: Array, kept: Sequence[Array] | None = None) -> dict[str, Tensor]:
        """The body's keyword arguments for these rows. `kept`: for each row a bool for each word, False drops it."""
        ...

    def words(self, index: Array) -> list[int]:
        """How many words (droppable pieces) each of these rows has."""
        ...

    def sizes(self) -> Array:
        """What a row costs to compute, int64 [n]: tokens, or features."""
        ...


class Inputs(Protocol):
    """Belongs to an architecture. `key` tells two inputs apart when encoded rows are shared."""

    @property
    def key(self) -> str: ...
    def encode(self, texts: Sequence[str]) -> Encoded: ...
    def to_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths, end to end in one array."""

    values: Array  # int32 [total]
    offsets: Array  # int64 [n + 1]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, i: int) -> Array:
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    @cached_property
    def lengths(self) -> Array:
        return np.diff(self.offsets)

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "Ragged":
        lengths = np.fromiter((len(r) for r in rows), dtype=np.int64, count=len(rows))
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        values = np.empty(int(offsets[-1]), dtype=np.int32)
        for row, start, end in zip(rows, offsets[:-1], offsets[1:], strict=True):
            values[start:end] = row
        return cls(values, offsets)


@dataclass(frozen=True)
class TokenRows:
    """Token numbers, padded to the longest row of a batch; no mask where all are equally long."""

    tokens: Ragged
    word_of: Ragged  # the word that each token belongs to, -1 for special tokens
    pad: int
    lost: Array  # int64 [n]: tokens cut off at the end

    def __len__(self) -> int:
        return len(self.tokens)

    def sizes(self) -> Array:
        return self.tokens.lengths

    def words(self, index: Array) -> list[int]:
        return [int(self.word_of.row(i).max(initial=-1)) + 1 for i in index]

    def batch(self, index: Array, kept: Sequence[Array] | None = None) -> dict[str, Tensor]:
        rows = [self.tokens.row(i) for i in index]
        if kept is not None:
            rows = [row[_spread(self.word_of.row(i), keep)] for row, i, keep in zip(rows, index, kept, strict=True)]
        lengths = [len(row) for row in rows]
        longest = max(lengths)
        ids = np.full((len(rows), longest), self.pad, dtype=np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
        batch = {"input_ids": torch.from_numpy(ids)}
        if min(lengths) < longest:
            batch["attention_mask"] = torch.from_numpy(
                (np.arange(longest) < np.array(lengths)[:, None]).astype(np.int64)
            )
        return batch


def _spread(word_of: Array, keep: Array) -> Array:
    """A word's fate for each of its tokens; special tokens always stay."""
    return np.append(keep, True)[word_of]


@dataclass(frozen=True)
class WordRows:
    """Hashed words with weights: one EmbeddingBag row each."""

    features: Ragged
    weights: Array  # float32 [total]

    def __len__(self) -> int:
        return len(self.features)

    def sizes(self) -> Array:
        return self.features.lengths

    def words(self, index: Array) -> list[int]:
        return [int(self.features.lengths[i]) for i in index]

    def batch(self, index: Array, kept: Sequence[Array] | None = None) -> dict[str, Tensor]:
        offsets = self.features.offsets
        parts = [np.arange(offsets[i], offsets[i + 1]) for i in index]
        if kept is not None:
            parts = [part[keep] for part, keep in zip(parts, kept, strict=True)]
        chosen = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
        starts = np.cumsum([0, *(len(part) for part in parts[:-1])], dtype=np.int64)
        return {
            "features": torch.from_numpy(self.features.values[chosen].astype(np.int64)),
            "offsets": torch.from_numpy(starts),
            "weights": torch.from_numpy(self.weights[chosen]),
        }


@dataclass(frozen=True)
class Tokens:
    """The tokens of a pretrained tokenizer, at most `max_length` of them, special tokens included."""

    folder: str  # or hub id: what AutoTokenizer loads
    max_length: int

    @property
    def key(self) -> str:
        return f"tokens:{self.folder}:{self.max_length}"

    @cached_property
    def tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.folder)
        if tokenizer.pad_token is None:  # GPT kinds: the padding is masked, so that any token will do
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text before any is cut off, special tokens included."""
        encoded = self.tokenizer(list(texts), truncation=False, verbose=False)
        return [len(ids) for ids in encoded["input_ids"]]

    def encode(self, texts: Sequence[str]) -> TokenRows:
        encoded = self.tokenizer(
            list(texts), truncation=True, max_length=self.max_length, return_overflowing_tokens=True, verbose=False
        )
        encodings = encoded.encodings
        first = [e for e in encodings if True] if len(encodings) == len(texts) else _firsts(encodings, encoded)
        lost = [sum(len(o.ids) - sum(o.special_tokens_mask) for o in e.overflowing) for e in first]
        return TokenRows(
            tokens=Ragged.of([e.ids for e in first]),
            word_of=Ragged.of([[-1 if w is None else w for w in e.word_ids] for e in first]),
            pad=self.tokenizer.pad_token_id,
            lost=np.asarray(lost, dtype=np.int64),
        )

    def save(self, folder: Path) -> None:
        """Beside the weights, for AutoTokenizer."""
        self.tokenizer.save_pretrained(folder)

    def to_json(self) -> dict[str, Any]:
        return {"kind": "tokens", "max_length": self.max_length}


def _firsts(encodings: Sequence[Any], encoded: Any) -> list[Any]:
    """The first piece of each text, of pieces that name the text they come from."""
    sample = encoded["overflow_to_sample_mapping"]
    return [e for i, e in enumerate(encodings) if i == 0 or sample[i] != sample[i - 1]]


@dataclass(frozen=True)
class HashedWords:
    """scikit-learn's HashingVectorizer: lower-case words of two letters and more, English stop words left out.

    Binary, l2-normalised: a text of n different words has n features of weight 1 / sqrt(n).
    """

    features: int = 5000

    @property
    def key(self) -> str:
        return f"hashed:{self.features}"

    def encode(self, texts: Sequence[str]) -> WordRows:
        from sklearn.feature_extraction.text import HashingVectorizer

        vectorizer = HashingVectorizer(n_features=self.features, stop_words="english", binary=True, norm="l2")
        matrix = vectorizer.transform(texts)
        ragged = Ragged(matrix.indices.astype(np.int32), matrix.indptr.astype(np.int64))
        return WordRows(ragged, matrix.data.astype(np.float32))

    def to_json(self) -> dict[str, Any]:
        return {"kind": "hashed words", "features": self.features}
