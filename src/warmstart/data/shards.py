"""Shards: how does a corpus that no memory holds become tokens on disk, by all cores, going on where it was stopped?

tokens/00003.ids        shard 3: token numbers end to end, uint16 where the vocabulary allows it
tokens/00003.sizes      int32: tokens of each of its texts
tokens/00003.json       what came of it; written last: a shard that has it is complete
tokens/purpose.json     tokenizer, corpus and number of shards that the others belong to
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from warmstart.data.controls import plain
from warmstart.data.spool import cache_folder
from warmstart.data.texts import Texts
from warmstart.engine import world
from warmstart.errors import InputError
from warmstart.lock import locked
from warmstart.record import Array, sync, write_json

LARGE = 256 << 20  # bytes of text: from there on tokens are kept, and made once for all processes and runs
SHARD = 64 << 20  # bytes of text of a shard: what a kill loses, at most
AT_ONCE = 4 << 20  # characters that are Python objects at a time; their tokens take about ten times as much


class Corpus(Protocol):
    """Texts that are not all in memory: `data.texts.Texts`, or a list."""

    def __len__(self) -> int: ...
    def __getitem__(self, place: int) -> str: ...


@dataclass(frozen=True)
class Tokenised:
    """A corpus as tokens, mapped from its shards."""

    ids: tuple[Array, ...]  # uint16 or int32 [total of the shard]
    offsets: tuple[Array, ...]  # int64 [texts of the shard + 1]

    def __len__(self) -> int:
        return int(self._firsts()[-1])

    @property
    def tokens(self) -> int:
        return sum(map(len, self.ids))

    def sizes(self) -> Array:
        """Tokens of each text, int64 [n]."""
        return np.concatenate([np.diff(offsets) for offsets in self.offsets])

    def row(self, i: int) -> Array:
        """The tokens of text i."""
        firsts = self._firsts()
        shard = int(np.searchsorted(firsts, i, side="right")) - 1
        at = i - firsts[shard]
        return self.ids[shard][self.offsets[shard][at] : self.offsets[shard][at + 1]]

    def _firsts(self) -> Array:
        """Number of the first text of each shard, and how many there are."""
        return np.cumsum([0, *(len(offsets) - 1 for offsets in self.offsets)])


def kept(texts: Texts, tokenizer: Any) -> Tokenised:
    """The tokens of a large corpus, made by the main process where they are not there yet, mapped by all.

    Below `cache_folder()`, by the content of tokenizer and corpus. Raises as `tokenise` does.
    """
    shards = max(1, int(texts.sizes().sum()) // SHARD)

    def made() -> str:
        purpose = _purpose(texts, plain(tokenizer), shards)
        name = hashlib.sha256(json.dumps(purpose, sort_keys=True).encode()).hexdigest()[:16]
        _tokenise(texts, tokenizer, cache_folder() / "tokens" / name, purpose)
        return name

    return _opened(cache_folder() / "tokens" / world().by_main(made), shards, _kind(tokenizer))


def tokenise(texts: Corpus, tokenizer: Any, folder: Path, shards: int) -> Tokenised:
    """The tokens of each text, without special ones, on disk in `folder`; what is already there is not made again.

    `tokenizer` is one of transformers' fast ones; its library uses all cores. Memory does not grow with the corpus.
    Text that spells a special token is read as any other text. What another corpus, tokenizer or number of shards left
    in the folder is made anew. Raises InputError where the disk is full, UsageError where another process works there.
    """
    _tokenise(texts, tokenizer, folder, _purpose(texts, plain(tokenizer), shards))
    return _opened(folder, shards, _kind(tokenizer))


def _tokenise(texts: Corpus, tokenizer: Any, folder: Path, purpose: dict[str, Any]) -> None:
    backend, kind, shards = plain(tokenizer), _kind(tokenizer), purpose["shards"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            _keep_only(folder, purpose)
            for shard in range(shards):
                if not (folder / f"{shard:05d}.json").exists():
                    rows = range(shard * len(texts) // shards, (shard + 1) * len(texts) // shards)
                    _write(texts, rows, backend, folder / f"{shard:05d}", kind)
    except OSError as error:
        raise InputError(
            f"the tokens could not be written to {folder}: {error}", "make room there; what is done is kept"
        ) from error


def _kind(tokenizer: Any) -> "np.dtype[Any]":
    """What holds a number of its vocabulary."""
    return np.dtype(np.uint16 if len(tokenizer) <= 1 << 16 else np.int32)


def _purpose(texts: Corpus, backend: Any, shards: int) -> dict[str, Any]:
    """All that the tokens follow from; half a gigabyte of text takes a second."""
    corpus = hashlib.sha256()
    for place in range(len(texts)):
        text = texts[place].encode("utf-8", errors="surrogatepass")
        corpus.update(len(text).to_bytes(8) + text)
    tokenizer = hashlib.sha256(backend.to_str().encode()).hexdigest()
    return {"tokenizer": tokenizer, "texts": len(texts), "corpus": corpus.hexdigest(), "shards": shards}


def _keep_only(folder: Path, purpose: dict[str, Any]) -> None:
    """Clear away what was made for anything else."""
    said = folder / "purpose.json"
    try:
        same = json.loads(said.read_text()) == purpose
    except (OSError, ValueError):
        same = False
    if not same:
        for old in folder.glob("[0-9]*.*"):
            old.unlink()
        write_json(said, purpose)


def _write(texts: Corpus, rows: range, backend: Any, path: Path, kind: "np.dtype[Any]") -> None:
    sizes: list[Array] = []
    with path.with_suffix(".ids").open("wb") as file:
        for block in _blocks(texts, rows):
            found = [encoding.ids for encoding in backend.encode_batch_fast(block, add_special_tokens=False)]
            sizes.append(np.fromiter(map(len, found), np.int32, len(found)))
            file.write(np.concatenate([np.empty(0, kind), *(np.array(ids, kind) for ids in found)]).data)
        file.flush()
        os.fsync(file.fileno())
    np.concatenate([np.empty(0, np.int32), *sizes]).tofile(path.with_suffix(".sizes"))
    sync(path.with_suffix(".sizes"))
    write_json(path.with_suffix(".json"), {"texts": len(rows), "tokens": int(sum(part.sum() for part in sizes))})
    sync(path.parent)


def _blocks(texts: Corpus, rows: range) -> Iterator[Sequence[str]]:
    block: list[str] = []
    held = 0
    for i in rows:
        block.append(texts[i])
        held += len(block[-1])
        if held >= AT_ONCE:
            yield block
            block, held = [], 0
    if block:
        yield block


def _opened(folder: Path, shards: int, kind: "np.dtype[Any]") -> Tokenised:
    ids, offsets = [], []
    for shard in range(shards):
        path = folder / f"{shard:05d}"
        facts = json.loads(path.with_suffix(".json").read_text())
        sizes = np.fromfile(path.with_suffix(".sizes"), np.int32)
        offsets.append(np.cumsum(np.append(0, sizes), dtype=np.int64))
        whole = path.with_suffix(".ids")
        if len(sizes) != facts["texts"] or whole.stat().st_size != facts["tokens"] * kind.itemsize:
            raise InputError(f"{whole} is not as it was written.", f"delete {path.with_suffix('.json')} and go on")
        ids.append(np.memmap(whole, kind, "r") if facts["tokens"] else np.empty(0, kind))
    return Tokenised(tuple(ids), tuple(offsets))
