"""Seq2seq: how does an encoder-decoder read a row: as a source and a target?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from warmstart.data.encoding.inputs import Answers, Encoded, GrowingRagged, Inputs, Ragged, Tokens, highest_of
from warmstart.data.encoding.packing import UNLABELED
from warmstart.data.encoding.special_tokens import as_plain_text
from warmstart.data.schema.conversations import Turn, read_turns
from warmstart.data.tables.disk_array import DiskArray
from warmstart.data.tables.strings import BLOCK
from warmstart.errors import InputError, RowError
from warmstart.types import Array


@dataclass(frozen=True)
class Seq2SeqRows(Encoded):
    """Rows of source and target tokens."""

    source: Ragged  # what is read
    answer: Ragged  # what is to be written, with the token that ends it
    bytes: Array  # float32 [n]: UTF-8 bytes that the answer spells
    lost: Array  # int64 [n]: tokens that did not fit
    begins: int  # what the first token of an answer comes after
    pad: int

    def __len__(self) -> int:
        return len(self.source)

    def sizes(self) -> Array:
        return self.source.lengths + self.answer.lengths

    def highest(self) -> tuple[int, int | None]:
        return highest_of(self.source, self.answer, beside=[self.begins, self.pad])

    def words(self, index: Array) -> list[int]:
        return [0] * len(index)  # leaving one out would change what is to be written

    def loss_weights(self) -> Array:
        return self.answer.lengths

    def batch(self, index: Array, kept: Sequence[Array] | None = None) -> dict[str, Tensor]:
        sources, answers = ([rows.row(i) for i in index] for rows in (self.source, self.answer))
        return batch_of(sources, answers, self.bytes[index], self.begins, self.pad)


def batch_of(
    sources: Sequence[Array], answers: Sequence[Array], sizes: Array, begins: int, pad: int
) -> dict[str, Tensor]:
    """Sources and targets as the body's keyword arguments, and `labels`, `rows` [n, t], `bytes` [n].

    `sizes` are the bytes of each answer. Targets need no mask: a token does not see what comes after it.
    """
    ids, mask = _padded(sources, pad)
    labels, _ = _padded(answers, UNLABELED)
    before, _ = _padded([np.append(begins, answer[:-1]) for answer in answers], pad)
    found = {"input_ids": ids, "decoder_input_ids": before, "labels": labels}
    if not mask.all():
        found["attention_mask"] = mask.astype(np.int64)
    found["rows"] = np.broadcast_to(np.arange(len(answers))[:, None], labels.shape).copy()
    tensors = {name: torch.from_numpy(array) for name, array in found.items()}
    return tensors | {"bytes": torch.from_numpy(sizes)}


def _padded(rows: Sequence[Array], with_: int) -> tuple[Array, Array]:
    """The rows padded on the right, int64 [n, longest], and their mask, bool."""
    lengths = np.array([len(row) for row in rows])
    ids = np.full((len(rows), lengths.max()), with_, dtype=np.int64)
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids[mask] = np.concatenate(rows)
    return ids, mask


@dataclass(frozen=True)
class Seq2Seq(Inputs):
    """Conversations as JSON turns: the last answer is the target, everything before it the source.

    Source and target have at most `max_length` tokens each. A single question is read as it is, without the words
    `without` at its beginning; several turns are labeled with their roles.
    """

    folder: str  # or hub id: what AutoTokenizer loads
    max_length: int
    answers: Answers
    without: str = ""

    @property
    def key(self) -> str:
        return f"pairs:{self.folder}:{self.max_length}:{self.without}"

    @property
    def tokens(self) -> Tokens:
        return Tokens(self.folder, self.max_length, self.answers)

    @property
    def prompts(self) -> "Seq2Seq":
        return self

    @property
    def chunks(self) -> None:
        return None

    @cached_property
    def tokenizer(self) -> Any:
        return self.tokens.tokenizer

    @cached_property
    def opening(self) -> tuple[int, ...]:
        """The first tokens of every answer: the model's start token, and those that its tokenizer puts first."""
        empty = self._tokens([""], target=True)[0]
        special = set(self.tokenizer.all_special_ids)
        return (self.answers.begins, *(token for token in empty[:-1] if token in special))

    @cached_property
    def ends(self) -> int:
        """The token that ends an answer. Raises InputError if the tokenizer has none."""
        last = self._tokens([""], target=True)[0][-1:]
        if not last:
            raise InputError(
                f"the tokenizer of {self.folder} ends no text with a token: an answer would never end.",
                "use another base",
            )
        return last[0]

    @property
    def stop(self) -> set[int]:
        return {self.ends}

    @property
    def never(self) -> tuple[int, ...]:
        return self.answers.never

    def encode(self, texts: Sequence[str]) -> Seq2SeqRows:
        """Raises RowError for a row without an answer to learn."""
        source, answer, sizes, lost = GrowingRagged(), GrowingRagged(), DiskArray(np.float32), DiskArray(np.int64)
        ends, pad = self.ends, self.tokenizer.pad_token_id
        for start in range(0, len(texts), BLOCK):
            rows = [read_turns(text) for text in texts[start : start + BLOCK]]
            for at, turns in enumerate(rows, start):
                if turns[-1].role != "assistant" or not turns[-1].content.strip():
                    raise RowError(at, "the last assistant turn has no token to learn.", "give it some words")
            asked = self._tokens([self._source(turns[:-1]) for turns in rows])
            words = [turns[-1].content.strip() for turns in rows]
            written = self._tokens(words, target=True)
            source.append([self._cut(ids) for ids in asked])
            answer.append([ids[: self.max_length] for ids in written])
            sizes.append(np.array([self._bytes(*pair) for pair in zip(words, written, strict=True)]))
            both = zip(asked, written, strict=True)
            lost.append(np.array([sum(max(0, len(ids) - self.max_length) for ids in pair) for pair in both]))
        pad = ends if pad is None else pad
        return Seq2SeqRows(source.ragged(), answer.ragged(), sizes.array(), lost.array(), self.answers.begins, pad)

    def prompt(self, text: str) -> list[int]:
        """The source tokens of an answer to generate: all turns, without the last one if it is an answer."""
        turns = read_turns(text)
        asked = turns[:-1] if turns[-1].role == "assistant" else turns
        return self._cut(self._tokens([self._source(asked)])[0])

    def answer(self, generated: str) -> str:
        return generated.strip()

    def save(self, folder: Path) -> None:
        """Beside the weights, for AutoTokenizer."""
        self.tokenizer.save_pretrained(folder)

    def to_json(self) -> dict[str, Any]:
        facts = {"answers": asdict(self.answers), "without": self.without}
        return {"kind": "pairs", "max_length": self.max_length, **facts}

    def _source(self, turns: Sequence[Turn]) -> str:
        spoken = [turn for turn in turns if turn.role != "system"]
        before = [turn.content.strip() for turn in turns if turn.role == "system"]
        if len(spoken) > 1:
            said = [f"{turn.role.capitalize()}: {turn.content.strip()}" for turn in spoken]
        else:
            said = [turn.content.removeprefix(self.without).strip() for turn in spoken]
        return "\n".join([*before, *said])

    def _tokens(self, texts: list[str], target: bool = False) -> list[list[int]]:
        """Tokens of a text, with names of control tokens read as text. Marian has separate source and target
        vocabularies.
        """
        if self.tokenizer.is_fast:
            return [encoding.ids for encoding in as_plain_text(self.tokenizer).encode_batch(texts)]
        found: list[list[int]] = self.tokenizer(**{"text_target" if target else "text": texts}, verbose=False)[
            "input_ids"
        ]
        return found

    def _cut(self, ids: list[int]) -> list[int]:
        """Remove the middle of a text that is too long: its beginning and end say most."""
        over = len(ids) - self.max_length
        if over <= 0:
            return ids
        first = (self.max_length + 1) // 2
        return ids[:first] + ids[first + over :]

    def _bytes(self, words: str, ids: list[int]) -> int:
        """UTF-8 bytes of the words that are learned."""
        if len(ids) > self.max_length:
            words = self.tokenizer.decode(ids[: self.max_length], skip_special_tokens=True)
        return len(words.encode())
