"""Strings: how is a column of strings kept in memory without one object per string?"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeAlias, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from warmstart.data.tables.disk_array import DiskArray
from warmstart.types import Array

# pyarrow's stubs are generic in the scalar, its classes are not; a column's type is only known once it is read.
ArrowColumn: TypeAlias = "pa.ChunkedArray[Any]"
Cells: TypeAlias = "pa.Array[Any]"

BLOCK = 10_000  # rows that are Python objects at a time


class Texts(Sequence[str]):
    """Strings that lie end to end in one buffer, which may be a file; Python sees a block of them at a time.

    >>> texts = Texts.of(["a lamp", "a desk", "a rug"])
    >>> texts[1], texts[:2], list(texts.take(np.array([2, 0])))
    ('a desk', ('a lamp', 'a desk'), ['a rug', 'a lamp'])
    """

    def __init__(self, cells: Cells, index: Array | None = None):
        self._cells = cells
        self._index = index  # int64 [n]: which of the cells these are; None: all

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Texts":
        if isinstance(texts, Texts):
            return texts
        rest = iter(texts)
        lists = iter(lambda: list(itertools.islice(rest, BLOCK)), [])
        return cls(contiguous(pa.array(some, pa.large_string()) for some in lists))

    @classmethod
    def joined(cls, parts: Sequence["Texts"]) -> "Texts":
        """The parts one after another; without a copy where they are parts of one."""
        if any(part._cells is not parts[0]._cells or part._index is None for part in parts):
            return cls(contiguous(cells for part in parts for cells in part.blocks()))
        return cls(parts[0]._cells, np.concatenate([part._rows() for part in parts]))

    def __len__(self) -> int:
        return len(self._cells) if self._index is None else len(self._index)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...
    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        if isinstance(place, slice):
            return tuple(self.take(np.arange(len(self))[place]))
        row = range(len(self))[place] if self._index is None else int(self._index[place])
        text: str = self._cells[row].as_py()
        return text

    def __iter__(self) -> Iterator[str]:
        for cells in self.blocks():
            yield from cells.to_numpy(zero_copy_only=False).tolist()  # six times as fast as `to_pylist`

    def blocks(self) -> Iterator[Cells]:
        """All texts, some thousands at a time."""
        for start in range(0, len(self), BLOCK):
            if self._index is None:
                yield self._cells.slice(start, BLOCK)
            else:
                yield self._cells.take(self._index[start : start + BLOCK])

    def take(self, index: Array) -> "Texts":
        """The texts at these positions, in this order; they are not copied."""
        return Texts(self._cells, np.asarray(index) if self._index is None else self._index[index])

    def sizes(self) -> Array:
        """Bytes of each text in UTF-8: int64 [n]."""
        sizes = np.diff(_offsets(self._cells))
        return sizes if self._index is None else sizes[self._index]

    def buffers(self) -> Iterator[memoryview]:
        """Each text in UTF-8, not copied."""
        places, content = _offsets(self._cells), memoryview(self._cells.buffers()[2] or b"")
        return (content[places[row] : places[row + 1]] for row in self._rows())

    @cached_property
    def digest(self) -> str:
        """Of what all texts say, in their order; half a gigabyte takes a second."""
        found = hashlib.sha256()
        for text in self.buffers():
            found.update(len(text).to_bytes(8))
            found.update(text)
        return found.hexdigest()

    def blank(self) -> Array:
        """Whether each text is empty or nothing but blank space: bool [n]."""
        found = [pc.utf8_is_space(cells).to_numpy(zero_copy_only=False) for cells in self.blocks()]
        blank: Array = np.concatenate([np.empty(0, dtype=bool), *found]) | (self.sizes() == 0)
        return blank

    def pieces(self, most: int) -> tuple["Texts", Array]:
        """Each text cut into pieces of at most `most` bytes that joined are the text again; and whose each piece is.

        The places are int64 [pieces]. The pieces are not copied. A cut comes after a blank line where the second half
        of a piece has one, else after a line, else after a space, else between two characters.
        """
        cells = self._cells if self._index is None else contiguous(self.blocks())
        buffer = cells.buffers()[2] or pa.py_buffer(b"")
        places, content = _offsets(cells), memoryview(buffer)
        ends, owners = DiskArray(np.int64), DiskArray(np.int64)
        for start in range(0, len(cells), BLOCK):
            some = places[start : start + BLOCK + 1].tolist()
            cuts = [_cuts(content, *between, most) for between in itertools.pairwise(some)]
            ends.append(np.fromiter(itertools.chain.from_iterable(cuts), np.int64))
            owners.append(np.repeat(np.arange(start, start + len(cuts)), [len(each) for each in cuts]))
        offsets = np.concatenate([places[:1], ends.array()])
        found = pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets.data), buffer)
        return Texts(found), owners.array()

    def _rows(self) -> Array:
        return np.arange(len(self)) if self._index is None else self._index


def contiguous(blocks: Iterable[Cells]) -> Cells:
    """One array of all strings (`large_string`) in these blocks; a large one lies in a file."""
    growing = GrowingTexts()
    for block in blocks:
        growing.append(block)
    return growing.array()


def cell_blocks(column: ArrowColumn) -> Iterator[Cells]:
    """The cells of a column, some thousands at a time."""
    for chunk in column.chunks:
        for start in range(0, len(chunk), BLOCK):
            yield chunk.slice(start, BLOCK)


def is_contiguous(column: ArrowColumn) -> bool:
    """Whether the column is strings end to end, none missing."""
    return pa.types.is_large_string(column.type) and column.num_chunks == 1 and not column.null_count


class GrowingTexts:
    """A column of strings (`large_string`, cells may be missing) that grows at its end."""

    def __init__(self) -> None:
        self._content, self._sizes, self._there = DiskArray(np.uint8), DiskArray(np.int64), DiskArray(np.bool_)
        self._missing = 0

    def append(self, cells: Cells) -> None:
        if not len(cells):
            return
        offsets = _offsets(cells)
        content = cells.buffers()[2]
        if content is not None:
            self._content.append(np.frombuffer(memoryview(content), dtype=np.uint8)[offsets[0] : offsets[-1]])
        self._sizes.append(np.diff(offsets))
        self._there.append(cells.is_valid().to_numpy(zero_copy_only=False))
        self._missing += cells.null_count

    def append_parts(self, parts: Iterable[bytes]) -> None:
        """One string, which comes in parts of UTF-8: it may be larger than what memory should hold."""
        size = 0
        for part in parts:
            self._content.append(np.frombuffer(part, dtype=np.uint8))
            size += len(part)
        self._sizes.append(np.array([size]))
        self._there.append(np.array([True]))

    def array(self) -> Cells:
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(self._sizes.array())])
        there = pa.py_buffer(np.packbits(self._there.array(), bitorder="little").data)
        return pa.LargeStringArray.from_buffers(
            len(offsets) - 1,
            pa.py_buffer(offsets.data),
            pa.py_buffer(self._content.array().data),
            there if self._missing else None,
            self._missing,
        )


def gathered(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """The batches as one table: strings end to end, in a file where they are many, so that no batch stays in memory."""
    texts = {i: GrowingTexts() for i, kind in enumerate(schema.types) if _is_text(kind)}
    others: dict[int, list[Cells]] = {i: [] for i in range(len(schema)) if i not in texts}
    for batch in batches:
        for i, cells in enumerate(batch.columns):
            if i in texts:
                texts[i].append(cells.cast(pa.large_string()))
            else:  # a copy: the columns of an Arrow batch share one buffer, texts included
                others[i].append(cells.take(np.arange(len(cells))))
    columns: list[Any] = [
        texts[i].array() if i in texts else pa.chunked_array(others[i], schema.types[i])  # type: ignore[call-overload]
        for i in range(len(schema))
    ]
    return pa.Table.from_arrays(columns, schema.names)


def _cuts(content: memoryview, start: int, end: int, most: int) -> list[int]:
    """Where the pieces of the string between these two places end."""
    found = []
    while end - start > most:
        half = start + most // 2
        window = bytes(content[half : start + most])
        cut = next((at + len(mark) for mark in (b"\n\n", b"\n", b" ") if (at := window.rfind(mark)) >= 0), None)
        if cut is None:
            cut = len(window)
            while content[half + cut] & 0xC0 == 0x80:  # inside a character of several bytes
                cut -= 1
        start = half + cut
        found.append(start)
    return [*found, end] if end > start else found


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _offsets(cells: Cells) -> Array:
    """Where each string of these starts in their buffer, and where the last one ends: int64 [n + 1]."""
    places = cells.buffers()[1] if len(cells) else None
    if places is None:
        return np.zeros(1, dtype=np.int64)
    return np.frombuffer(memoryview(places), dtype=np.int64)[cells.offset :][: len(cells) + 1]
