"""Span corruption: how does an encoder-decoder learn a language from plain text? By writing what is missing.

If the tokenizer has sentinel tokens, like T5's, only the missing 15 % of the tokens are targets (span corruption,
Raffel et al. 2020). Otherwise the full text is the target, and 70 % of it the source (text infilling, Lewis et al.
2020): each gap is one mask token, or nothing if the tokenizer has none.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from warmstart.data.encoding.inputs import Answers, Encoded, Inputs, Ragged, Tokens, highest_of
from warmstart.data.encoding.language_inputs import row_generator, to_predict
from warmstart.data.encoding.seq2seq import batch_of
from warmstart.data.encoding.tokenize import TokenizeCut, pieces
from warmstart.types import Array

NAMED, UNNAMED = 0.15, 0.3  # of the tokens are missing, where gaps have names and where they have none
MEAN_GAP_TOKENS = 3  # tokens, on average


@dataclass(frozen=True)
class MaskedSpans:
    """How missing tokens are marked."""

    names: Array  # int64: tokens, the first gap's first; one more than there can be gaps
    mask: int | None = None  # where gaps have no names

    @property
    def used(self) -> list[int]:
        """Tokens that stand for missing ones."""
        masks = [] if len(self.names) or self.mask is None else [self.mask]
        return [*map(int, self.names), *masks]

    def counts(self, tokens: Array) -> tuple[Array, Array]:
        """For so many tokens [n], at least one each: how many are missing, and in how many gaps, int64 [n]."""
        missing = to_predict(tokens, NAMED if len(self.names) else UNNAMED)
        most = tokens - missing + 1  # two gaps have a token between them
        if len(self.names):
            most = np.minimum(most, len(self.names) - 1)
        return missing, np.clip(np.rint(missing / MEAN_GAP_TOKENS).astype(np.int64), 1, most)


@dataclass(frozen=True)
class SpanCorruptionRows(Encoded):
    """Rows with missing tokens. Which ones is random as in `MaskedRows`; how many is not."""

    tokens: Ragged
    spelled: Ragged  # UTF-8 bytes that each token spells; -1: a special one, never missing
    lost: Array  # int64 [n]: tokens that did not fit
    gaps: MaskedSpans
    begins: int  # what the first token of an answer comes after
    pad: int
    seed: int
    epoch: int | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def sizes(self) -> Array:
        return self._sizes[0]

    def highest(self) -> tuple[int, int | None]:
        return highest_of(self.tokens, beside=[self.begins, self.pad, *self.gaps.used])

    def words(self, index: Array) -> list[int]:
        return [0] * len(index)

    def loss_weights(self) -> Array:
        return self._sizes[1]

    @cached_property
    def _sizes(self) -> tuple[Array, Array]:
        """Number of source and target tokens together, and of target tokens."""
        whole = self.tokens.lengths
        own = np.add.reduceat(self.spelled.values >= 0, self.spelled.offsets[:-1], dtype=np.int64)
        missing, gaps = self.gaps.counts(own)
        named = len(self.gaps.names) > 0
        read = whole - missing + (gaps if named or self.gaps.mask is not None else 0)
        written = whole - own + missing + gaps + 1 if named else whole
        return read + written, written

    def in_epoch(self, epoch: int) -> "SpanCorruptionRows":
        return replace(self, epoch=epoch)

    def batch(self, index: Array, kept: Sequence[Array] | None = None) -> dict[str, Tensor]:
        drawn = [self._drawn(self.tokens.row(i), self.spelled.row(i)) for i in index]
        sizes = np.array([size for _, _, size in drawn], dtype=np.float32)
        return batch_of([read for read, _, _ in drawn], [said for _, said, _ in drawn], sizes, self.begins, self.pad)

    def _drawn(self, tokens: Array, spelled: Array) -> tuple[Array, Array, int]:
        """The source, the target, and the target's bytes of text."""
        own = np.flatnonzero(spelled >= 0)
        missing, gaps = (int(count[0]) for count in self.gaps.counts(np.array([len(own)])))
        gap_of = np.full(len(tokens), -1)
        gap_of[own] = draw_spans(row_generator(tokens, self.seed, self.epoch), len(own), missing, gaps)
        gone = gap_of >= 0
        opens = np.append(True, gap_of[1:] != gap_of[:-1]) & gone
        names = self.gaps.names
        if not len(names):
            shown = tokens[~gone] if self.gaps.mask is None else np.where(gone, self.gaps.mask, tokens)[~gone | opens]
            return shown, tokens, int(spelled[own].sum())
        shown = tokens.copy()
        shown[opens] = names[:gaps]
        said = np.insert(tokens[gone], np.flatnonzero(opens[gone]), names[:gaps])
        answer = np.concatenate([tokens[: own[0]], said, names[gaps : gaps + 1], tokens[own[-1] + 1 :]])
        return shown[~gone | opens], answer, int(spelled[gone].sum())


def draw_spans(random: np.random.Generator, tokens: int, missing: int, gaps: int) -> Array:
    """The gap of each of so many tokens, -1 for none, int64 [tokens]; uniform over all choices of gaps."""
    stay = tokens - missing
    cuts = np.sort(random.choice(missing - 1, gaps - 1, replace=False)) + 1
    lengths = np.diff(cuts, prepend=0, append=missing)
    places = np.sort(random.choice(stay + 1, gaps, replace=False))
    found: Array = np.insert(np.full(stay, -1), np.repeat(places, lengths), np.repeat(np.arange(gaps), lengths))
    return found


@dataclass(frozen=True)
class SpanCorruption(Inputs):
    """Texts for span corruption, at most `max_length` tokens of each."""

    folder: str  # or hub id: what AutoTokenizer loads
    max_length: int
    seed: int
    answers: Answers

    @property
    def tokens(self) -> Tokens:
        return Tokens(self.folder, self.max_length, self.answers)

    @property
    def tokenization(self) -> TokenizeCut:
        return TokenizeCut(self.tokenizer, self.max_length)

    @property
    def key(self) -> str:
        return f"infilled:{self.folder}:{self.max_length}:{self.seed}"

    @cached_property
    def tokenizer(self) -> Any:
        return self.tokens.tokenizer

    def encode(self, texts: Sequence[str]) -> SpanCorruptionRows:
        """Raises RowError for a text without tokens."""
        tokens, spelled, lost = pieces(texts, self.tokenization)
        pad = self.tokenizer.pad_token_id
        begins = self.answers.begins
        return SpanCorruptionRows(
            tokens, spelled, lost, self._gaps(), begins, begins if pad is None else int(pad), self.seed
        )

    def _gaps(self) -> MaskedSpans:
        known = (self.tokenizer.backend_tokenizer.token_to_id(f"<extra_id_{n}>") for n in itertools.count())
        names = np.array(list(itertools.takewhile(lambda token: token is not None, known)), dtype=np.int64)
        return MaskedSpans(names if len(names) > 1 else names[:0], self.tokenizer.mask_token_id)

    def save(self, folder: Path) -> None:
        """Beside the weights, for AutoTokenizer."""
        self.tokenizer.save_pretrained(folder)

    def to_json(self) -> dict[str, Any]:
        return {"kind": "infilled", "max_length": self.max_length, "seed": self.seed}
