"""Inputs: how does an architecture read a text: as token ids, or as hashed words?"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from warmstart.data.encoding.special_tokens import as_plain_text
from warmstart.data.encoding.token_cache import Tokenization
from warmstart.data.schema.cell_values import Values
from warmstart.data.tables.disk_array import DiskArray
from warmstart.data.tables.strings import BLOCK
from warmstart.runtime.load_pretrained import load_tokenizer
from warmstart.types import Array


class Encoded(Protocol):
    """Rows as arrays, ready to become a batch."""

    def __len__(self) -> int: ...
    def batch(self, index: Array, kept: Sequence[Array] | None = None) -> dict[str, Tensor]:
        """The body's keyword arguments for these rows. `kept`: per row a bool for each word; False drops it."""
        ...

    def words(self, index: Array) -> list[int]:
        """How many words (droppable pieces) each of these rows has."""
        ...

    def sizes(self) -> Array:
        """Cost of each row, int64 [n]: number of tokens or features."""
        ...

    @property
    def pads(self) -> bool:
        """Whether each row of a batch costs as much as the longest."""
        return True

    def loss_weights(self) -> Array:
        """Weight of each row in a batch's loss, int64 [n]: 1, or its number of predicted tokens."""
        return np.ones(len(self), dtype=np.int64)

    def highest(self) -> tuple[int, int | None]:
        """The highest token id that a body is given, and its row; -1 without tokens."""
        return -1, None

    def used_tokens(self) -> Array:
        """Every token in any row and in padding, or every hashed word: sorted, unique; empty if unknown."""
        return np.empty(0, dtype=np.int32)

    @property
    def flips(self) -> bool:
        """Whether these are images whose mirror images have the same targets."""
        return False

    def in_epoch(self, epoch: int) -> "Encoded":
        """The rows for this epoch of training, if something is drawn anew in each."""
        return self

    @property
    def of_body(self) -> "Encoded":
        """What a body reads of the rows; the rest is joined to what it makes of them."""
        return self

    def on_body(self, rows: "Encoded") -> "Encoded":
        """The same rows, with these instead as the part that the body reads."""
        return rows


class Inputs(Protocol):
    """The inputs of an architecture. `key` identifies them when encoded rows are shared.

    Capabilities of some inputs only are attributes, which are None for all others.
    """

    @property
    def key(self) -> str: ...
    @property
    def tokens(self) -> "Tokens | None":
        """The tokens that a text is read as; None for inputs without a tokenizer."""
        return None

    @property
    def reads_images(self) -> bool:
        """Whether an image of a row is read, and none of its texts."""
        return False

    @property
    def prompts(self) -> "PromptInputs | None":
        """These inputs if answers can be generated from them."""
        return None

    @property
    def continuation(self) -> "ContinuationInputs | None":
        """These inputs if texts can be continued, or their gaps filled."""
        return None

    @property
    def tokenization(self) -> Tokenization | None:
        """The first step of encoding, which is cached on disk for a large corpus; None: no cache."""
        return None

    @property
    def of_rows(self) -> bool:
        """Whether they depend on the training rows: other rows then have other inputs."""
        return False

    @property
    def of_body(self) -> "Inputs":
        """How the body reads its part of a row: the same for every draw of training rows."""
        return self

    def like(self, inputs: "Inputs") -> "Inputs":
        """Other inputs, on what these read as the text of a row."""
        return inputs

    def encode(self, texts: Sequence[str]) -> Encoded: ...
    def encode_rows(self, texts: Sequence[str], columns: Mapping[str, Values]) -> Encoded:
        """Encode rows of a table, for inputs that read typed columns; others read only the texts."""
        return self.encode(texts)

    def join(self, rows: Encoded, columns: Mapping[str, Values]) -> Encoded:
        """The same rows, whose part for the body is already encoded."""
        return rows

    def save(self, folder: Path) -> None:
        """Write what `to_json` does not contain, such as the tokenizer."""
        ...

    def to_json(self) -> dict[str, Any]: ...


class ChunkInputs(Protocol):
    """How a long document is split into chunks."""

    @property
    def room(self) -> int:
        """Tokens left for a chunk after the instruction. Raises InputError if hardly any are left."""
        ...

    def ends(self, text: str) -> Array:
        """End of each token in the text, int64 [t], in characters."""
        ...


class PromptInputs(Inputs, Protocol):
    """Inputs that answers are generated from."""

    @property
    def tokenizer(self) -> Any: ...
    @property
    def stop(self) -> set[int]:
        """Tokens that end an answer. Raises InputError if the tokenizer has none."""
        ...

    @property
    def opening(self) -> tuple[int, ...]:
        """Tokens that every answer begins with, before any is generated."""
        ...

    @property
    def never(self) -> tuple[int, ...]:
        """Tokens that no answer contains."""
        ...

    @property
    def chunks(self) -> ChunkInputs | None:
        """How long documents are split; None: they are not."""
        ...

    def prompt(self, text: str) -> list[int]:
        """The tokens that an answer is generated after, for turns as JSON. Raises InputError for unusable turns."""
        ...

    def answer(self, generated: str) -> str:
        """The answer in decoded tokens: stripped, and without a thought before it."""
        ...


class ContinuationInputs(Inputs, Protocol):
    """Inputs from which a language model learns plain text."""

    @property
    def tokenizer(self) -> Any: ...
    @property
    def max_length(self) -> int: ...
    @property
    def causal(self) -> bool:
        """Whether each token is predicted from those before it; otherwise masked tokens, from both sides."""
        ...


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths, concatenated in one array."""

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
        growing = GrowingRagged()
        growing.append(rows)
        return growing.ragged()


def highest_of(*parts: Ragged, beside: Sequence[int] = ()) -> tuple[int, int | None]:
    """The highest value of these rows, and its row; None if one of those `beside` is higher."""
    found: tuple[int, int | None] = max(beside, default=-1), None
    for part in parts:
        at = int(part.values.argmax()) if len(part.values) else 0
        if len(part.values) and part.values[at] > found[0]:
            found = int(part.values[at]), int(np.searchsorted(part.offsets, at, side="right")) - 1
    return found


class GrowingRagged:
    """Appendable rows of different lengths, stored in a file once they are large, and never as Python objects."""

    def __init__(self) -> None:
        self._values, self._lengths = DiskArray(np.int32), DiskArray(np.int64)

    def append(self, rows: Sequence[Sequence[int] | Array]) -> None:
        self._lengths.append(np.fromiter(map(len, rows), np.int64, len(rows)))
        if len(rows) and all(isinstance(row, np.ndarray) for row in rows):  # forty times as fast as their numbers
            self._values.append(np.concatenate(rows, dtype=np.int32, casting="same_kind"))
        else:
            self._values.append(np.fromiter(itertools.chain.from_iterable(rows), np.int32))

    def ragged(self) -> Ragged:
        return Ragged(self._values.array(), np.cumsum(np.append(0, self._lengths.array())))


@dataclass(frozen=True)
class TokenRows(Encoded):
    """Token ids, padded to the longest row of a batch; without a mask if all have the same length."""

    tokens: Ragged
    spell: Callable[[], Ragged]  # gives `word_of`, which only dropping words asks for
    pad: int
    lost: Array  # int64 [n]: tokens cut off at the end

    @cached_property
    def word_of(self) -> Ragged:
        """The word that each token belongs to, -1 for special tokens."""
        return self.spell()

    def __len__(self) -> int:
        return len(self.tokens)

    def sizes(self) -> Array:
        return self.tokens.lengths

    def highest(self) -> tuple[int, int | None]:
        return highest_of(self.tokens)

    def used_tokens(self) -> Array:
        return np.union1d(self.tokens.values, self.pad)

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
    """Expand the drop decisions of words to their tokens; special tokens are always kept."""
    return np.append(keep, True)[word_of]


@dataclass(frozen=True)
class WordRows(Encoded):
    """Hashed words with weights, for an EmbeddingBag."""

    features: Ragged
    weights: Array  # float32 [total]

    def __len__(self) -> int:
        return len(self.features)

    def sizes(self) -> Array:
        return self.features.lengths

    def used_tokens(self) -> Array:
        return np.unique(self.features.values)

    def words(self, index: Array) -> list[int]:
        return [int(self.features.lengths[i]) for i in index]

    def batch(self, index: Array, kept: Sequence[Array] | None = None) -> dict[str, Tensor]:
        offsets = self.features.offsets
        lengths = offsets[index + 1] - offsets[index]
        starts = np.cumsum(lengths) - lengths
        chosen = np.arange(lengths.sum()) + np.repeat(offsets[index] - starts, lengths)
        if kept is not None:
            chosen = chosen[np.concatenate(kept)]
            lengths = np.array([keep.sum() for keep in kept])
            starts = np.cumsum(lengths) - lengths
        return {
            "features": torch.from_numpy(self.features.values[chosen].astype(np.int64)),
            "offsets": torch.from_numpy(starts),
            "weights": torch.from_numpy(self.weights[chosen]),
        }

    @property
    def pads(self) -> bool:
        return False


@dataclass(frozen=True)
class Answers:
    """How an encoder-decoder writes answers."""

    begins: int  # the token that it goes on from
    never: tuple[int, ...] = ()  # tokens that no answer has
    instructed: bool = False  # whether it was trained to follow instructions


@dataclass(frozen=True)
class Tokens(Inputs):
    """Tokens of a pretrained tokenizer, at most `max_length`, special tokens included."""

    folder: str  # or hub id: what AutoTokenizer loads
    max_length: int
    answers: Answers | None = None  # where an encoder-decoder reads them

    @property
    def key(self) -> str:
        return f"tokens:{self.folder}:{self.max_length}"

    @property
    def tokens(self) -> "Tokens":
        return self

    @cached_property
    def tokenizer(self) -> Any:
        tokenizer = load_tokenizer(self.folder)
        if tokenizer.pad_token is None:  # GPT kinds: the padding is masked, so that any token will do
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text before any is cut off, special tokens included."""
        if not hasattr(self.tokenizer, "backend_tokenizer"):
            return [len(ids) for ids in self.tokenizer(list(texts), verbose=False)["input_ids"]]
        return [len(e.ids) for encodings in self._encodings(texts, None) for e in encodings]

    def encode(self, texts: Sequence[str]) -> TokenRows:
        tokens, lost = GrowingRagged(), DiskArray(np.int64)
        for encodings in self._encodings(texts, self.max_length):
            tokens.append([e.ids or [self.tokenizer.pad_token_id] for e in encodings])  # a body reads something
            lost.append(np.fromiter((sum(map(_plain_tokens, e.overflowing)) for e in encodings), np.int64))
        return TokenRows(tokens.ragged(), partial(self._spell, texts), self.tokenizer.pad_token_id, lost.array())

    def _spell(self, texts: Sequence[str]) -> Ragged:
        words = GrowingRagged()
        for encodings in self._encodings(texts, self.max_length, words=True):
            words.append([[-1 if word is None else word for word in e.word_ids] or [-1] for e in encodings])
        return words.ragged()

    def _encodings(self, texts: Sequence[str], longest: int | None, words: bool = False) -> Iterator[list[Any]]:
        """Encodings of the tokenizer's own library for some texts at a time, which avoids a list for each mask."""
        for start in range(0, len(texts), BLOCK):
            backend = as_plain_text(self.tokenizer)  # each time: others may use the tokenizer between two blocks
            if longest is not None:
                backend.enable_truncation(longest, direction=self.tokenizer.truncation_side)
            some = list(texts[start : start + BLOCK])
            yield backend.encode_batch(some) if words else backend.encode_batch_fast(some)  # without words: faster

    def save(self, folder: Path) -> None:
        """Write the tokenizer, for AutoTokenizer."""
        self.tokenizer.save_pretrained(folder)

    def to_json(self) -> dict[str, Any]:
        return {"kind": "tokens", "max_length": self.max_length}


def _plain_tokens(encoding: Any) -> int:
    plain: int = len(encoding.ids) - sum(encoding.special_tokens_mask)
    return plain
