"""Shards: how does what is read from a corpus that no memory holds lie on disk, going on where it was stopped?

tokens/00003.ids        shard 3: numbers end to end, of a kind that the reading names
tokens/00003.ids.sizes  int32: how many numbers each of its texts has; so for each column of the reading
tokens/00003.json       how many there are; written last: a shard that has it is complete
tokens/purpose.json     reading, corpus and number of shards that the others belong to
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from warmstart.data.spool import cache_folder
from warmstart.data.texts import BLOCK, Texts
from warmstart.engine import world
from warmstart.errors import InputError
from warmstart.lock import locked
from warmstart.record import Array, sync, write_json

LARGE = 256 << 20  # bytes of text: from there on what is read is kept, and made once for all processes and runs
SHARD = 64 << 20  # bytes of text of a shard: what a kill loses, at most
AT_ONCE = 4 << 20  # characters that are Python objects at a time; their tokens take about ten times as much

Kind: TypeAlias = "np.dtype[Any]"
Columns: TypeAlias = Mapping[str, Sequence[Array]]  # by name, for each text some numbers


class Corpus(Protocol):
    """Texts that are not all in memory: `data.texts.Texts`, or a list."""

    def __len__(self) -> int: ...
    def __getitem__(self, place: int) -> str: ...


class Reading(Protocol):
    """What is made of each text: some numbers in each of one or several columns."""

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """The columns, and what holds a number of each."""
        ...

    @property
    def purpose(self) -> Mapping[str, Any]:
        """All that the numbers follow from beside the text, as JSON."""
        ...

    def read(self, first: int, block: Sequence[str]) -> Columns:
        """The columns of some texts, of which the first has this number. May raise RowError with such a number."""
        ...


@dataclass(frozen=True)
class Column:
    """Some numbers of each text of a corpus, mapped from its shards."""

    values: tuple[Array, ...]  # [total of the shard]
    offsets: tuple[Array, ...]  # int64 [texts of the shard + 1]

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def sizes(self) -> Array:
        """How many numbers each text has, int64 [n]."""
        return np.concatenate([np.diff(offsets) for offsets in self.offsets])

    def row(self, i: int) -> Array:
        """The numbers of text i."""
        shard = int(np.searchsorted(self._firsts, i, side="right")) - 1
        at = i - self._firsts[shard]
        return self.values[shard][self.offsets[shard][at] : self.offsets[shard][at + 1]]

    @cached_property
    def _firsts(self) -> Array:
        """Number of the first text of each shard, and how many there are."""
        return np.cumsum([0, *(len(offsets) - 1 for offsets in self.offsets)])


def blocks(texts: Sequence[str], reading: Reading) -> Iterator[tuple[int, list[str], Columns]]:
    """Some texts at a time, the number of the first, and their columns: those of a large corpus are kept on disk.

    There they lie below `cache_folder()`, made by the main process where they are not there yet, mapped by all. Raises
    as `kept` does, and what the reading raises.
    """
    corpus = Texts.of(texts)
    made = kept(corpus, reading) if int(corpus.sizes().sum()) >= LARGE else None
    for first in range(0, len(texts), BLOCK):
        block = list(texts[first : first + BLOCK])
        numbers = range(first, first + len(block))
        yield (
            first,
            block,
            (
                {name: list(map(column.row, numbers)) for name, column in made.items()}
                if made
                else reading.read(first, block)
            ),
        )


def kept(texts: Texts, reading: Reading) -> dict[str, Column]:
    """The columns of a large corpus, by the content of the texts and what the reading follows from."""
    shards = max(1, int(texts.sizes().sum()) // SHARD)

    def made() -> str:
        purpose = _purpose(texts, reading, shards)
        name = hashlib.sha256(json.dumps(purpose, sort_keys=True).encode()).hexdigest()[:16]
        _write_all(texts, reading, cache_folder() / "tokens" / name, purpose)
        return name

    return _opened(cache_folder() / "tokens" / world().by_main(made), shards, reading.kinds)


def written(texts: Corpus, reading: Reading, folder: Path, shards: int) -> dict[str, Column]:
    """The columns of each text, on disk in `folder`; what is already there is not made again.

    Memory does not grow with the corpus. What another corpus, reading or number of shards left in the folder is made
    anew. Raises InputError where the disk is full, UsageError where another process works there.
    """
    _write_all(texts, reading, folder, _purpose(texts, reading, shards))
    return _opened(folder, shards, reading.kinds)


def _write_all(texts: Corpus, reading: Reading, folder: Path, purpose: dict[str, Any]) -> None:
    shards = purpose["shards"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            _keep_only(folder, purpose)
            for shard in range(shards):
                if not _end(folder, shard).exists():
                    rows = range(shard * len(texts) // shards, (shard + 1) * len(texts) // shards)
                    _write(texts, rows, reading, folder, shard)
    except OSError as error:
        raise InputError(
            f"the tokens could not be written to {folder}: {error}", "make room there; what is done is kept"
        ) from error


def _purpose(texts: Corpus, reading: Reading, shards: int) -> dict[str, Any]:
    """All that the columns follow from; half a gigabyte of text takes a second."""
    corpus = hashlib.sha256()
    for place in range(len(texts)):
        text = texts[place].encode("utf-8", errors="surrogatepass")
        corpus.update(len(text).to_bytes(8) + text)
    return {**reading.purpose, "texts": len(texts), "corpus": corpus.hexdigest(), "shards": shards}


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


def _write(texts: Corpus, rows: range, reading: Reading, folder: Path, shard: int) -> None:
    sizes: dict[str, list[Array]] = {name: [np.empty(0, np.int32)] for name in reading.kinds}
    paths = {name: _path(folder, shard, name) for name in reading.kinds}
    for path in paths.values():
        path.write_bytes(b"")
    for first, block in _some(texts, rows):
        for name, column in reading.read(first, block).items():
            kind = reading.kinds[name]
            sizes[name].append(np.fromiter(map(len, column), np.int32, len(column)))
            with paths[name].open("ab") as file:
                file.write(np.concatenate([np.empty(0, kind), *column]).astype(kind, copy=False).data)
    for name, path in paths.items():
        np.concatenate(sizes[name]).tofile(_sizes(path))
        sync(path)
        sync(_sizes(path))
    totals = {name: int(sum(part.sum() for part in parts)) for name, parts in sizes.items()}
    write_json(_end(folder, shard), {"texts": len(rows)} | totals)
    sync(folder)


def _some(texts: Corpus, rows: range) -> Iterator[tuple[int, Sequence[str]]]:
    block: list[str] = []
    held, first = 0, rows.start
    for i in rows:
        block.append(texts[i])
        held += len(block[-1])
        if held >= AT_ONCE:
            yield first, block
            block, held, first = [], 0, i + 1
    if block:
        yield first, block


def _path(folder: Path, shard: int, name: str) -> Path:
    return folder / f"{shard:05d}.{name}"


def _sizes(path: Path) -> Path:
    return path.with_name(f"{path.name}.sizes")


def _end(folder: Path, shard: int) -> Path:
    return _path(folder, shard, "json")


def _opened(folder: Path, shards: int, kinds: Mapping[str, Kind]) -> dict[str, Column]:
    return {name: _column(folder, shards, name, kind) for name, kind in kinds.items()}


def _column(folder: Path, shards: int, name: str, kind: Kind) -> Column:
    values, offsets = [], []
    for shard in range(shards):
        path = _path(folder, shard, name)
        facts = json.loads(_end(folder, shard).read_text())
        sizes = np.fromfile(_sizes(path), np.int32)
        offsets.append(np.cumsum(np.append(0, sizes), dtype=np.int64))
        if len(sizes) != facts["texts"] or path.stat().st_size != facts[name] * kind.itemsize:
            raise InputError(f"{path} is not as it was written.", f"delete {_end(folder, shard)} and go on")
        values.append(np.asarray(np.memmap(path, kind, "r")) if facts[name] else np.empty(0, kind))
    return Column(tuple(values), tuple(offsets))
