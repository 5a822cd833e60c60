"""Tokenize: how does a text become tokens: all of them or up to a limit, with the bytes that each stands for?"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from warmstart.data.encoding.inputs import GrowingRagged, Ragged
from warmstart.data.encoding.special_tokens import as_plain_text
from warmstart.data.encoding.token_cache import DType, TokenColumns, text_blocks
from warmstart.data.tables.disk_array import DiskArray
from warmstart.errors import RowError, shorten
from warmstart.types import Array


@dataclass(frozen=True)
class TokenizeWhole:
    """All tokens of a text, without special ones. Names of special tokens are read as text.

    `tokenizer` is a fast one of transformers; its library uses all cores.
    """

    tokenizer: Any

    @property
    def kinds(self) -> Mapping[str, DType]:
        return {"ids": _kind(self.tokenizer)}

    @property
    def purpose(self) -> Mapping[str, Any]:
        return {"tokenizer": _known(self.tokenizer)}

    def read(self, first: int, block: Sequence[str]) -> TokenColumns:
        found = as_plain_text(self.tokenizer).encode_batch_fast(block, add_special_tokens=False)
        return {"ids": [np.array(each.ids, self.kinds["ids"]) for each in found]}


@dataclass(frozen=True)
class TokenizeCut:
    """At most so many tokens of a text, special ones included; the UTF-8 bytes that each spells, -1 for special ones;
    how many tokens are lost. Raises RowError for a text without a token of its own.
    """

    tokenizer: Any
    max_length: int

    @property
    def kinds(self) -> Mapping[str, DType]:
        return {"ids": _kind(self.tokenizer), "bytes": np.dtype(np.int32), "lost": np.dtype(np.int32)}

    @property
    def purpose(self) -> Mapping[str, Any]:
        side = self.tokenizer.truncation_side
        return {"tokenizer": _known(self.tokenizer), "max_length": self.max_length, "side": side}

    def read(self, first: int, block: Sequence[str]) -> TokenColumns:
        backend = as_plain_text(self.tokenizer)  # each time: others may use the tokenizer between two blocks
        backend.enable_truncation(self.max_length, direction=self.tokenizer.truncation_side)
        found = backend.encode_batch(block)
        special = [np.array(each.special_tokens_mask, dtype=bool) for each in found]
        for at, mask in enumerate(special):
            if mask.all():
                raise RowError(first + at, f"{shorten(block[at])} has no token to learn.", "leave it out")
        both = zip(block, found, special, strict=True)
        return {
            "ids": [np.array(each.ids, self.kinds["ids"]) for each in found],
            "bytes": [np.where(mask, -1, bytes_of(text, each.offsets, mask)) for text, each, mask in both],
            "lost": [np.array([sum(p.special_tokens_mask.count(0) for p in each.overflowing)]) for each in found],
        }


def pieces(texts: Sequence[str], reading: TokenizeCut) -> tuple[Ragged, Ragged, Array]:
    """Tokens of each text, bytes of each token, and number of tokens lost, int64 [n]."""
    tokens, spelled, lost = GrowingRagged(), GrowingRagged(), DiskArray(np.int64)
    for _, _, found in text_blocks(texts, reading):
        tokens.append(found["ids"])
        spelled.append(found["bytes"])
        lost.append(np.concatenate(found["lost"]))
    return tokens.ragged(), spelled.ragged(), lost.array()


def bytes_of(text: str, offsets: Sequence[tuple[int, int]], special: Array | None = None) -> Array:
    """UTF-8 bytes of each token, int64 [t], from the characters that it covers.

    Characters between two tokens (a space) belong to the second; a character of several tokens to the first. So the sum
    over all tokens is the text up to the end of the last one.
    """
    ends = np.array([end for _, end in offsets], dtype=np.int64)
    if special is not None:
        ends[special] = 0
    ends = np.maximum.accumulate(ends) if len(ends) else ends
    if not text.isascii():
        points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
        sizes = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
        ends = np.append(0, np.cumsum(sizes))[ends]
    return np.diff(ends, prepend=0)


def _kind(tokenizer: Any) -> DType:
    """The dtype for ids of its vocabulary."""
    return np.dtype(np.uint16 if len(tokenizer) <= 1 << 16 else np.int32)


def _known(tokenizer: Any) -> str:
    return hashlib.sha256(as_plain_text(tokenizer).to_str().encode()).hexdigest()
