"""Language inputs: how does a language model read a row: which tokens are inputs, and which are predicted?"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from warmstart.data.encoding.chat_template import PLAIN, Template
from warmstart.data.encoding.inputs import Encoded, GrowingRagged, Inputs, Ragged, Tokens, highest_of
from warmstart.data.encoding.packing import UNLABELED, PackedLine, PackingLayout
from warmstart.data.encoding.special_tokens import as_plain_text
from warmstart.data.encoding.token_cache import text_blocks
from warmstart.data.encoding.tokenize import TokenizeCut, TokenizeWhole, bytes_of, pieces
from warmstart.data.schema.conversations import write_prompt
from warmstart.data.tables.disk_array import DiskArray
from warmstart.data.tables.strings import BLOCK
from warmstart.errors import InputError, RowError, shorten
from warmstart.types import Array

MIN_CHUNK_TOKENS = 32  # tokens of a part of a document: summaries of shorter ones are longer than they
LANGUAGE_KEYS = ("labels", "rows", "bytes")  # of a batch: read by the head alone
MASKED = 0.15  # of the tokens are to be predicted: as BERT was trained
MASK_SHARE, RANDOM_SHARE = 0.8, 0.1  # of these: shown as the mask, as any token; the others as they are


@dataclass(frozen=True)
class CausalRows(Encoded):
    """Rows for causal language modeling."""

    tokens: Ragged  # what is read
    labels: Ragged  # what is to be said after each
    bytes: Array  # float32 [n]: UTF-8 bytes that the labeled tokens spell
    lost: Array  # int64 [n]: tokens that did not fit
    layout: PackingLayout

    def __len__(self) -> int:
        return len(self.tokens)

    def sizes(self) -> Array:
        return self.tokens.lengths

    def highest(self) -> tuple[int, int | None]:
        return highest_of(self.tokens, self.labels)

    def words(self, index: Array) -> list[int]:
        return [0] * len(index)  # leaving one out would change what comes after it

    @property
    def pads(self) -> bool:
        return not self.layout.packs

    def loss_weights(self) -> Array:
        """Number of labeled tokens of each row."""
        return self._loss_weights

    @cached_property
    def _loss_weights(self) -> Array:
        return np.add.reduceat(self.labels.values != UNLABELED, self.labels.offsets[:-1], dtype=np.int64)

    def batch(self, index: Array, kept: Sequence[Array] | None = None) -> dict[str, Tensor]:
        return self.layout.batch([PackedLine(self.tokens.row(i), self.labels.row(i), self.bytes[i]) for i in index])


@dataclass(frozen=True)
class MaskedRows(Encoded):
    """Rows for masked language modeling.

    Which tokens are masked depends only on the row's own tokens, so that scores are repeatable; in training also on the
    seed and the epoch. How many does not, so that a row always has the same weight.
    """

    tokens: Ragged
    spelled: Ragged  # UTF-8 bytes that each token spells; -1: a special one, never hidden
    lost: Array  # int64 [n]
    mask: int
    vocabulary: Array  # int64: all but the special tokens
    layout: PackingLayout
    seed: int
    epoch: int | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def sizes(self) -> Array:
        return self.tokens.lengths

    def highest(self) -> tuple[int, int | None]:
        return highest_of(self.tokens, beside=[self.mask])

    def words(self, index: Array) -> list[int]:
        return [0] * len(index)

    @property
    def pads(self) -> bool:
        return not self.layout.packs

    def loss_weights(self) -> Array:
        return self._loss_weights

    @cached_property
    def _loss_weights(self) -> Array:
        own: Array = np.add.reduceat(self.spelled.values >= 0, self.spelled.offsets[:-1], dtype=np.int64)
        return to_predict(own, MASKED)

    def in_epoch(self, epoch: int) -> "MaskedRows":
        return replace(self, epoch=epoch)

    def batch(self, index: Array, kept: Sequence[Array] | None = None) -> dict[str, Tensor]:
        return self.layout.batch([self._drawn(self.tokens.row(i), self.spelled.row(i)) for i in index])

    def _drawn(self, tokens: Array, spelled: Array) -> PackedLine:
        drawn = row_generator(tokens, self.seed, self.epoch)
        own = np.flatnonzero(spelled >= 0)
        chosen = drawn.permutation(own)[: int(to_predict(np.array(len(own)), MASKED))]
        fate, other = drawn.random(len(chosen)), drawn.choice(self.vocabulary, len(chosen))
        labels, shown = np.full(len(tokens), UNLABELED), tokens.copy()
        labels[chosen] = tokens[chosen]
        shown[chosen] = np.where(
            fate < MASK_SHARE, self.mask, np.where(fate < MASK_SHARE + RANDOM_SHARE, other, tokens[chosen])
        )
        return PackedLine(shown, labels, float(spelled[chosen].sum()))


def to_predict(tokens: Array, share: float) -> Array:
    """How many of so many tokens [n] are predicted, int64 [n]: that share, but at least one."""
    return np.maximum(np.minimum(tokens, 1), np.rint(share * tokens)).astype(np.int64)


def row_generator(tokens: Array, seed: int, epoch: int | None) -> np.random.Generator:
    """The random generator of a row, seeded by its tokens, in training also by the seed and the epoch."""
    drawn_by = (zlib.crc32(tokens.tobytes()),)
    return np.random.default_rng(drawn_by if epoch is None else (seed, epoch, *drawn_by))


@dataclass(frozen=True)
class _Language(Inputs):
    folder: str  # or hub id: what AutoTokenizer loads
    max_length: int

    @property
    def tokens(self) -> Tokens:
        return Tokens(self.folder, self.max_length)

    @cached_property
    def tokenizer(self) -> Any:
        return self.tokens.tokenizer

    def save(self, folder: Path) -> None:
        """Beside the weights, for AutoTokenizer."""
        self.tokenizer.save_pretrained(folder)

    def _layout(self, causal: bool) -> PackingLayout:
        return PackingLayout(self.folder, causal, self.tokenizer.pad_token_id, self.max_length)

    def _backend(self) -> Any:
        """The tokenizer's own library, reading everything as text, without truncation and padding."""
        return as_plain_text(self.tokenizer)


@dataclass(frozen=True)
class Conversations(_Language):
    """Conversations as JSON turns, in the base's own chat template; the assistant's words are learned.

    A base without a template gets a plain one ("User: ...", "Assistant: ..."), which is saved with its tokenizer.
    """

    instruction: str = ""  # that questions begin with: never cut away where they are too long
    examples: tuple[str, ...] = ()  # answered conversations that stand before each one; the oldest go where it is long

    @property
    def key(self) -> str:
        shown = f":{self.examples}" if self.examples else ""
        return f"conversations:{self.folder}:{self.max_length}:{self.instruction}{shown}"

    @property
    def prompts(self) -> "Conversations":
        return self

    @property
    def chunks(self) -> "Conversations":
        return self

    @property
    def opening(self) -> tuple[int, ...]:
        """None: the prompt ends with what an answer begins with."""
        return ()

    @property
    def never(self) -> tuple[int, ...]:
        return ()

    @cached_property
    def tokenizer(self) -> Any:
        tokenizer = self.tokens.tokenizer
        if tokenizer.chat_template is None:
            tokenizer.chat_template = PLAIN
        return tokenizer

    @cached_property
    def template(self) -> Template:
        return Template(self.tokenizer, self.max_length, self.instruction)

    def encode(self, texts: Sequence[str]) -> CausalRows:
        """Raises RowError for turns that the template rejects, or that have nothing to learn."""
        tokens, labels, sizes, lost = GrowingRagged(), GrowingRagged(), DiskArray(np.float32), DiskArray(np.int64)
        for start in range(0, len(texts), BLOCK):
            block = texts[start : start + BLOCK]
            rows = []
            for at, text in enumerate(block, start):
                try:
                    rows.append(self.template.spoken(self._after_examples(text)))
                except InputError as error:
                    raise RowError(at, error.message, error.hint) from error
            tokens.append([row.tokens for row in rows])
            labels.append([row.labels for row in rows])
            sizes.append(np.array([row.bytes for row in rows]))
            lost.append(np.array([row.lost for row in rows]))
        return CausalRows(tokens.ragged(), labels.ragged(), sizes.array(), lost.array(), self._layout(causal=True))

    def prompt(self, text: str) -> list[int]:
        """The tokens that an answer is generated after.

        Those of all turns, or of all before the last one if that is the assistant's. Raises InputError.
        """
        found: list[int] = self.template.prompt(self._after_examples(text)).tokens.tolist()
        return found

    def _after_examples(self, text: str) -> list[dict[str, Any]]:
        """The turns of a conversation after those of the examples, which are read and never learned."""
        turns = _turns(text)
        shown = [turn | {"weight": 0} for example in self.examples for turn in _turns(example)]
        system = [turn for turn in turns[:1] if turn["role"] == "system"]
        return [*system, *shown, *turns[len(system) :]]

    def answer(self, generated: str) -> str:
        return self.template.words(generated)

    @cached_property
    def stop(self) -> set[int]:
        """Tokens that end an answer: the template's, which is learned, and the tokenizer's."""
        known = (self.template.closing, self.tokenizer.eos_token_id)
        return {token for token in known if token is not None}

    @cached_property
    def room(self) -> int:
        """Tokens that a document may have after the instruction. Raises InputError where hardly any are left."""
        around = self.template.size(_turns(write_prompt(self.instruction, "."))) - 1
        room = self.template.room(0) - around
        if room < MIN_CHUNK_TOKENS:
            raise InputError(
                f"--max-length {self.max_length:,} leaves {max(0, room):,} tokens for a part of a document.",
                f"raise it by at least {MIN_CHUNK_TOKENS - room:,}, or shorten --instruction",
            )
        return room

    def ends(self, text: str) -> Array:
        """Where each token of a text ends, int64 [t], in characters."""
        offsets = self._backend().encode(text, add_special_tokens=False).offsets
        return np.array([end for _, end in offsets], dtype=np.int64)

    def to_json(self) -> dict[str, Any]:
        return {"kind": "conversations", "max_length": self.max_length, "instruction": self.instruction}


def _turns(text: str) -> list[dict[str, Any]]:
    try:
        turns: list[dict[str, Any]] = json.loads(text)
    except ValueError as error:
        raise InputError(f"{shorten(text)} is no conversation: {error}.", "give a list of turns") from error
    return turns


@dataclass(frozen=True)
class Documents(_Language):
    """Pieces of documents, each between the tokenizer's tokens that begin and end a text, if it has them.

    If it has only an end token (Qwen), pieces begin with that one, as between concatenated documents.
    """

    causal = True

    @property
    def continuation(self) -> "Documents":
        return self

    @property
    def tokenization(self) -> TokenizeWhole:
        return TokenizeWhole(self.tokenizer)

    @property
    def key(self) -> str:
        return f"documents:{self.folder}:{self.max_length}"

    def encode(self, texts: Sequence[str]) -> CausalRows:
        """Raises RowError for a text without two tokens."""
        begin, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        before, after = _present(begin if begin is not None else end), _present(end)
        tokens, labels, sizes, lost = GrowingRagged(), GrowingRagged(), DiskArray(np.float32), DiskArray(np.int64)
        for start, block, columns in text_blocks(texts, self.tokenization):
            found = columns["ids"]
            rows = [np.concatenate((before, ids, after))[: self.max_length + 1] for ids in found]
            for at, row in enumerate(rows):
                if len(row) < 2:
                    raise RowError(start + at, f"{shorten(block[at])} has no token to learn.", "leave it out")
            tokens.append([row[:-1] for row in rows])
            labels.append([row[1:] for row in rows])
            left = [min(len(ids), self.max_length + 1 - len(before)) for ids in found]
            lost.append(np.array([len(ids) - n for ids, n in zip(found, left, strict=True)]))
            spelled = zip(block, found, left, strict=True)
            sizes.append(np.array([self._bytes(text, len(ids), n, len(before) > 0) for text, ids, n in spelled]))
        return CausalRows(tokens.ragged(), labels.ragged(), sizes.array(), lost.array(), self._layout(causal=True))

    def _bytes(self, text: str, count: int, left: int, begun: bool) -> int:
        """UTF-8 bytes of a text of `count` tokens whose first `left` are predicted, the very first only if `begun`."""
        if left == count and begun:
            return len(text.encode())
        each = bytes_of(text, self._backend().encode(text, add_special_tokens=False).offsets)
        return int(each[:left].sum() if left < count else len(text.encode())) - (0 if begun else int(each[0]))

    def to_json(self) -> dict[str, Any]:
        return {"kind": "documents", "max_length": self.max_length}


def _present(token: int | None) -> Array:
    """A list of the token, or an empty one if the tokenizer lacks it."""
    return np.array([] if token is None else [token], np.int32)


@dataclass(frozen=True)
class Masked(_Language):
    """Pieces of documents; 15 % of the tokens are masked and predicted from both sides."""

    seed: int

    causal = False

    @property
    def continuation(self) -> "Masked":
        return self

    @property
    def tokenization(self) -> TokenizeCut:
        return TokenizeCut(self.tokenizer, self.max_length)

    @property
    def key(self) -> str:
        return f"masked:{self.folder}:{self.max_length}:{self.seed}"

    def encode(self, texts: Sequence[str]) -> MaskedRows:
        """Raises RowError for a text without tokens, InputError for a tokenizer without a mask token."""
        tokenizer = self.tokenizer
        if tokenizer.mask_token_id is None:
            raise InputError(
                f"the tokenizer of {self.folder} has no mask token: its model does not read from both sides.",
                "use --task causal-lm, or another base",
            )
        tokens, spelled, lost = pieces(texts, self.tokenization)
        vocabulary = np.setdiff1d(np.arange(len(tokenizer)), tokenizer.all_special_ids)
        layout = self._layout(causal=False)
        return MaskedRows(tokens, spelled, lost, tokenizer.mask_token_id, vocabulary, layout, self.seed)

    def to_json(self) -> dict[str, Any]:
        return {"kind": "masked", "max_length": self.max_length, "seed": self.seed}
