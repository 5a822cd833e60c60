"""Token cache: how are the tokens of a corpus larger than memory kept on disk, so that an interrupted job can continue?

`00003.arrow` is shard 3, an Arrow file with one list column for each column of the tokenization. It gets this name once
it is complete, and is read from a memory map.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
import pyarrow as pa

from warmstart.data.tables.strings import BLOCK, Texts
from warmstart.errors import InputError
from warmstart.runtime.distributed import world
from warmstart.runtime.files import TEMPORARY, cache_folder, replacing
from warmstart.runtime.lock import locked
from warmstart.types import Array

LARGE = 256 << 20  # bytes of text: from there on what is read is kept, and made once for all processes and runs
SHARD = 64 << 20  # bytes of text of a shard: what a kill loses, at most
BLOCK_CHARACTERS = 4 << 20  # characters that are Python objects at a time; their tokens take about ten times as much

DType: TypeAlias = "np.dtype[Any]"
TokenColumns: TypeAlias = Mapping[str, Sequence[Array]]  # by name, for each text some numbers


class Tokenization(Protocol):
    """From texts to one or several columns with an array of numbers for each text."""

    @property
    def kinds(self) -> Mapping[str, DType]:
        """The columns and their dtypes."""
        ...

    @property
    def purpose(self) -> Mapping[str, Any]:
        """Everything besides the text that determines the numbers, as JSON."""
        ...

    def read(self, first: int, block: Sequence[str]) -> TokenColumns:
        """The columns of some texts, numbered from `first`. May raise RowError with such a number."""
        ...


@dataclass(frozen=True)
class ShardedColumn:
    """One column of a corpus, memory-mapped: an array of numbers for each text."""

    values: tuple[Array, ...]  # [numbers of the piece]
    offsets: tuple[Array, ...]  # int32 [texts of the piece + 1]

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def sizes(self) -> Array:
        """How many numbers each text has, int64 [n]."""
        return np.concatenate([np.empty(0, np.int64), *map(np.diff, self.offsets)])

    def row(self, i: int) -> Array:
        """The numbers of text i."""
        piece = int(np.searchsorted(self._firsts, i, side="right")) - 1
        at = i - self._firsts[piece]
        return self.values[piece][self.offsets[piece][at] : self.offsets[piece][at + 1]]

    @cached_property
    def _firsts(self) -> Array:
        """Number of the first text of each piece, and of all texts."""
        return np.cumsum([0, *(len(offsets) - 1 for offsets in self.offsets)])


def text_blocks(texts: Sequence[str], reading: Tokenization) -> Iterator[tuple[int, list[str], TokenColumns]]:
    """Some texts at a time: the number of the first, the texts, and their columns, which are cached for a large corpus.

    Raises as `cached_columns` does, and what the tokenization raises.
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
    """Whether the tokens of these texts are cached."""
    return int(texts.sizes().sum()) >= LARGE


def cached_columns(texts: Texts, reading: Tokenization) -> dict[str, ShardedColumn]:
    """The columns of a large corpus, read from the cache or written to it first. Raises as `write_cache` does."""
    for _ in write_cache(texts, reading):
        pass
    folder, shards = _place(texts, reading)
    read = [pa.ipc.open_file(pa.memory_map(str(_path(folder, shard)))) for shard in range(shards)]
    pieces = [file.get_batch(i) for file in read for i in range(file.num_record_batches)]
    return {name: _column([piece.column(name) for piece in pieces]) for name in reading.kinds}


def write_cache(texts: Texts, reading: Tokenization) -> Iterator[float]:
    """Write the missing shards; before each one, yield the share of the corpus that is done.

    They are below `cache_folder()`, by the content of the texts and the purpose of the tokenization. The main process
    writes them; the others wait for one shard at a time, however long all take. Memory does not grow with the corpus.
    Raises InputError if the disk is full.
    """
    folder, shards = _place(texts, reading)
    for shard in range(shards):
        if not world().on_main(partial(_complete, folder, shard)):
            yield shard / shards
            rows = range(shard * len(texts) // shards, (shard + 1) * len(texts) // shards)
            world().on_main(partial(_make, texts, rows, reading, folder, shard))


def _place(texts: Texts, reading: Tokenization) -> tuple[Path, int]:
    """Folder of the shards of a corpus, and their number."""
    shards = max(1, int(texts.sizes().sum()) // SHARD)

    def name() -> str:
        purpose = {**reading.purpose, "texts": len(texts), "corpus": texts.digest, "shards": shards}
        return hashlib.sha256(json.dumps(purpose, sort_keys=True).encode()).hexdigest()[:16]

    return cache_folder() / "tokens" / world().on_main(name), shards


def _complete(folder: Path, shard: int) -> bool:
    """Whether a shard is there, undamaged."""
    try:
        with pa.memory_map(str(_path(folder, shard))) as file:
            pa.ipc.open_file(file)
        return True
    except (OSError, pa.ArrowInvalid):
        return False


def _make(texts: Texts, rows: range, reading: Tokenization, folder: Path, shard: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, wait=True):
            if not _complete(folder, shard):  # another study of the same corpus may have made it meanwhile
                for left in folder.glob(f".*{TEMPORARY}"):  # by a kill; nobody else writes here now
                    left.unlink()
                _write(texts, rows, reading, folder, shard)
    except OSError as error:
        raise InputError(
            f"the tokens could not be written to {folder}: {error}", "make room there; what is done is kept"
        ) from error


def _write(texts: Texts, rows: range, reading: Tokenization, folder: Path, shard: int) -> None:
    kinds = {name: pa.list_(pa.from_numpy_dtype(kind)) for name, kind in reading.kinds.items()}
    with replacing(_path(folder, shard)) as path, pa.ipc.new_file(str(path), pa.schema(kinds)) as file:
        for first, block in _some(texts, rows):
            columns = reading.read(first, block)
            file.write_batch(pa.record_batch([_lists(columns[name], reading.kinds[name]) for name in kinds], [*kinds]))


def _lists(column: Sequence[Array], kind: DType) -> "pa.ListArray[Any]":
    values = np.concatenate([np.empty(0, kind), *column]).astype(kind, copy=False)
    offsets: Any = np.cumsum([0, *map(len, column)], dtype=np.int32)
    lists: pa.ListArray[Any] = pa.ListArray.from_arrays(offsets, cast(Any, values))
    return lists


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


def _column(pieces: Sequence[Any]) -> ShardedColumn:
    values, offsets = ([getattr(piece, part).to_numpy() for piece in pieces] for part in ("values", "offsets"))
    return ShardedColumn(tuple(values), tuple(offsets))


def _path(folder: Path, shard: int) -> Path:
    return folder / f"{shard:05d}.arrow"
