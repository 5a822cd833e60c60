"""Token cache: how are the tokens of a corpus larger than memory kept on disk, so that an interrupted job can continue?

00003.ids        shard 3: all ids in one array, of the dtype that the reading names
00003.ids.sizes  int32: number of ids of each text; one such file for each column of the reading
00003.json       the number of texts; written last, so a shard that has it is complete
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from warmstart.data.tables.strings import BLOCK, Texts
from warmstart.errors import InputError
from warmstart.runtime.distributed import world
from warmstart.runtime.files import cache_folder, sync, write_json
from warmstart.runtime.lock import locked
from warmstart.types import Array

LARGE = 256 << 20  # bytes of text: from there on what is read is kept, and made once for all processes and runs
SHARD = 64 << 20  # bytes of text of a shard: what a kill loses, at most
BLOCK_CHARACTERS = 4 << 20  # characters that are Python objects at a time; their tokens take about ten times as much

DType: TypeAlias = "np.dtype[Any]"
TokenColumns: TypeAlias = Mapping[str, Sequence[Array]]  # by name, for each text some numbers


class Tokenization(Protocol):
    """What is made of each text: some numbers in each of one or several columns."""

    @property
    def kinds(self) -> Mapping[str, DType]:
        """The columns, and what holds a number of each."""
        ...

    @property
    def purpose(self) -> Mapping[str, Any]:
        """All that the numbers follow from beside the text, as JSON."""
        ...

    def read(self, first: int, block: Sequence[str]) -> TokenColumns:
        """The columns of some texts, of which the first has this number. May raise RowError with such a number."""
        ...


@dataclass(frozen=True)
class ShardedColumn:
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


def text_blocks(texts: Sequence[str], reading: Tokenization) -> Iterator[tuple[int, list[str], TokenColumns]]:
    """Some texts at a time, the number of the first, and their columns: those of a large corpus are kept on disk.

    Raises as `kept` does, and what the reading raises.
    """
    corpus = Texts.of(texts)
    made = cached_columns(corpus, reading) if is_large(corpus) else None
    for first in range(0, len(texts), BLOCK):
        block = list(texts[first : first + BLOCK])
        if made is None:
            yield first, block, reading.read(first, block)
        else:
            numbers = range(first, first + len(block))
            yield first, block, {name: [column.row(i) for i in numbers] for name, column in made.items()}


def is_large(texts: Texts) -> bool:
    """Whether what is read is kept."""
    return int(texts.sizes().sum()) >= LARGE


def cached_columns(texts: Texts, reading: Tokenization) -> dict[str, ShardedColumn]:
    """The columns of a large corpus: what is on disk already is not made again. Raises as `keeping` does."""
    for _ in write_cache(texts, reading):
        pass
    folder, shards = _place(texts, reading)
    return {name: _column(folder, shards, name, kind) for name, kind in reading.kinds.items()}


def write_cache(texts: Texts, reading: Tokenization) -> Iterator[float]:
    """Make the shards that are not there yet; before each of them, the share of the corpus that is done.

    They lie below `cache_folder()`, by the content of the texts and what the reading follows from. The main process
    makes them; the others wait for one shard at a time, however long all take. Memory does not grow with the corpus.
    Raises InputError where the disk is full.
    """
    folder, shards = _place(texts, reading)
    for shard in range(shards):
        if not world().on_main(partial(_whole, folder, shard, reading)):
            yield shard / shards
            rows = range(shard * len(texts) // shards, (shard + 1) * len(texts) // shards)
            world().on_main(partial(_make, texts, rows, reading, folder, shard))


def _place(texts: Texts, reading: Tokenization) -> tuple[Path, int]:
    """Where the shards of a corpus lie, and how many there are."""
    shards = max(1, int(texts.sizes().sum()) // SHARD)

    def name() -> str:
        purpose = {**reading.purpose, "texts": len(texts), "corpus": texts.digest, "shards": shards}
        return hashlib.sha256(json.dumps(purpose, sort_keys=True).encode()).hexdigest()[:16]

    return cache_folder() / "tokens" / world().on_main(name), shards


def _whole(folder: Path, shard: int, reading: Tokenization) -> bool:
    """Whether a shard is as it was written."""
    try:
        facts = json.loads(_end(folder, shard).read_text(encoding="utf-8"))
        return all(
            _path(folder, shard, name).stat().st_size == facts[name] * kind.itemsize
            and _sizes(_path(folder, shard, name)).stat().st_size == facts["texts"] * np.dtype(np.int32).itemsize
            for name, kind in reading.kinds.items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _make(texts: Texts, rows: range, reading: Tokenization, folder: Path, shard: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, wait=True):
            if not _whole(folder, shard, reading):  # another study of the same corpus may have made it meanwhile
                _write(texts, rows, reading, folder, shard)
    except OSError as error:
        raise InputError(
            f"the tokens could not be written to {folder}: {error}", "make room there; what is done is kept"
        ) from error


def _write(texts: Texts, rows: range, reading: Tokenization, folder: Path, shard: int) -> None:
    _end(folder, shard).unlink(missing_ok=True)
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


def _some(texts: Texts, rows: range) -> Iterator[tuple[int, Sequence[str]]]:
    block: list[str] = []
    held, first = 0, rows.start
    for i in rows:
        block.append(texts[i])
        held += len(block[-1])
        if held >= BLOCK_CHARACTERS:
            yield first, block
            block, held, first = [], 0, i + 1
    if block:
        yield first, block


def _column(folder: Path, shards: int, name: str, kind: DType) -> ShardedColumn:
    values, offsets = [], []
    for shard in range(shards):
        path = _path(folder, shard, name)
        offsets.append(np.cumsum(np.append(0, np.fromfile(_sizes(path), np.int32)), dtype=np.int64))
        values.append(np.asarray(np.memmap(path, kind, "r")) if offsets[-1][-1] else np.empty(0, kind))
    return ShardedColumn(tuple(values), tuple(offsets))


def _path(folder: Path, shard: int, name: str) -> Path:
    return folder / f"{shard:05d}.{name}"


def _sizes(path: Path) -> Path:
    return path.with_name(f"{path.name}.sizes")


def _end(folder: Path, shard: int) -> Path:
    return _path(folder, shard, "json")
