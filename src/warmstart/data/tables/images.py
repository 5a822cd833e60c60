"""Images: how are the images of a column decoded once and cached, even if they exceed memory?"""

import base64
import hashlib
import io
import itertools
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from warmstart.data.tables.decode_image import ImageError, decode_image, image_size
from warmstart.data.tables.disk_array import DiskArray
from warmstart.data.tables.read import Table
from warmstart.data.tables.strings import ArrowColumn, cell_blocks
from warmstart.errors import shorten
from warmstart.types import Array

MOST_SIDE = 256  # pixels that are kept of an image, each way: a base reads 224, networks of ours at most 64
SIZES_READ = 200  # images whose headers are read to know how large they are
THUMBNAIL_SIDE = 64  # pixels, at most
DOWN, ACROSS = ("top", "", "bottom"), ("left", "", "right")  # nine parts of an image
DATA_URI = "data:image/"
PNG_URI = f"{DATA_URI}png;base64,"
DECODED_TOGETHER = 256  # images, before what they are goes to disk


@dataclass(frozen=True, eq=False)
class Images:
    """The images of some rows, all of one size.

    As a sequence it gives a name for each: `image` and a digest of its pixels, so that the same image has the same
    name; "" where there is none.
    """

    pixels: Array = field(repr=False)  # uint8 [all, side, side, 3]; in a file without a name where it is large
    names: Array = field(repr=False)  # object [all]
    problems: Mapping[int, str] = field(default_factory=dict, repr=False)  # by place among all rows: why there is none
    index: Array | None = field(default=None, repr=False)  # int64 [n]: which of all rows these are; None: all

    def __len__(self) -> int:
        return len(self.names) if self.index is None else len(self.index)

    def __iter__(self) -> Iterator[str]:
        return iter((self.names if self.index is None else self.names[self.index]).tolist())

    @property
    def side(self) -> int:
        """Pixels of each side."""
        return int(self.pixels.shape[1])

    @classmethod
    def joined(cls, parts: Sequence["Images"]) -> "Images":
        """The images of all parts, copied."""
        pixels = np.concatenate([part.at(np.arange(len(part))) for part in parts])
        return cls(pixels, np.array([name for part in parts for name in part], dtype=object))

    def take(self, index: Array) -> "Images":
        """The images at these positions, in this order; they are not copied."""
        return Images(self.pixels, self.names, self.problems, index if self.index is None else self.index[index])

    def thumbnails(self) -> Iterator[str]:
        """Each image as a `data:` URI of a PNG of at most `THUMBNAIL_SIDE` pixels, for a page."""
        from PIL import Image

        for place in range(len(self)):
            image = Image.fromarray(self.at(np.array([place]))[0])
            image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
            file = io.BytesIO()
            image.save(file, "PNG")
            yield PNG_URI + base64.b64encode(file.getvalue()).decode()

    def without_parts(self) -> "Iterator[tuple[str, Images]]":
        """Of a single image: each of nine parts, and the image with its mean color there."""
        pixels = self.at(np.array([0]))
        edges = np.linspace(0, self.side, len(DOWN) + 1).round().astype(int)
        for i, down in enumerate(DOWN):
            for j, across in enumerate(ACROSS):
                part = f"{down} {across}".strip() or "center"
                hidden = pixels.copy()
                hidden[:, edges[i] : edges[i + 1], edges[j] : edges[j + 1]] = pixels.mean((1, 2), keepdims=True).round()
                yield part, Images(hidden, np.array([f"without {part}"], dtype=object))

    def at(self, index: Array) -> Array:
        """uint8 [n, side, side, 3]: the images at these positions, read."""
        found: Array = self.pixels[index if self.index is None else self.index[index]]
        return found


def read_images(table: Table, name: str, side: int) -> Images:
    """The images of a column, stretched to `side` x `side` pixels. What cannot be read is a problem, not an error.

    Cells are paths, relative to the folder of the table and inside it, the bytes of files, `data:` URIs of them, or
    structs of `bytes` and `path`. They are decoded once for a table.
    """
    key = (name, side, table.columns.num_rows)
    if key not in table.decoded:
        table.decoded[key] = _read(table, name, side)
    found = table.decoded[key]
    assert isinstance(found, Images)
    return found


def common_side(table: Table, name: str) -> int:
    """The longer side of most images, at most `MOST_SIDE`; that, where none of the first can be read."""
    sides = []
    for content in itertools.islice(_contents(table, name), SIZES_READ):
        if isinstance(content, bytes | Path):
            try:
                sides.append(max(image_size(content)))
            except ImageError:
                continue
    return min(MOST_SIDE, int(np.median(sides))) if sides else MOST_SIDE


def any_readable(table: Table, name: str, rows: int) -> bool:
    """Whether one of the first images is there and has a header that can be read."""
    for content in itertools.islice(_contents(table, name), rows):
        if isinstance(content, bytes | Path):
            try:
                image_size(content)
            except ImageError:
                continue
            return True
    return False


def is_image_cell(cell: object) -> bool:
    """Whether a cell is of the kind that `read_images` takes: bytes, or a struct of `bytes` and `path`."""
    return isinstance(cell, bytes) or (
        isinstance(cell, Mapping) and {*cell} >= {"bytes"} and {*cell} <= {"bytes", "path"}
    )


def _read(table: Table, name: str, side: int) -> Images:
    pixels, names, problems = DiskArray(np.uint8), [], {}
    nothing = np.zeros((side, side, 3), np.uint8)

    def decoded(content: bytes | Path | str | None) -> Array | str | None:
        if content is None or isinstance(content, str):
            return content
        try:
            return decode_image(content, side)
        except ImageError as error:
            return str(error)

    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")  # of more pixels than usual, and of odd metadata: checked here
        for some in _batched(_contents(table, name), DECODED_TOGETHER):
            for found in pool.map(decoded, some):
                if isinstance(found, np.ndarray):
                    names.append(f"image {hashlib.blake2b(found.tobytes(), digest_size=10).hexdigest()}")
                    pixels.append(found.reshape(-1))
                else:
                    if found is not None:
                        problems[len(names)] = found
                    names.append("")
                    pixels.append(nothing.reshape(-1))
    return Images(pixels.array().reshape(-1, side, side, 3), np.array(names, dtype=object), problems)


def _batched(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while some := list(itertools.islice(items, size)):
        yield some


def _contents(table: Table, name: str) -> Iterator[bytes | Path | str | None]:
    """For each row the bytes or the file of its image, a text: why there is none, or None for an empty cell."""
    column: ArrowColumn = table.columns[name]
    row = 0
    for block in cell_blocks(column):
        for cell in block.to_pylist():
            row += 1
            yield _content(cell, table, row)


def _content(cell: Any, table: Table, row: int) -> bytes | Path | str | None:
    if isinstance(cell, Mapping):
        cell = cell.get("bytes") if cell.get("bytes") is not None else cell.get("path")
    if isinstance(cell, bytes):
        return cell or "it is empty (0 bytes)"
    if not isinstance(cell, str) or not cell.strip():
        return None
    if cell.startswith(DATA_URI):
        return bytes_of_text(cell) or "its `data:` URI holds no base64"
    folder = table.folder_of(row)
    try:
        path = (folder / cell.strip()).resolve()
        if not path.is_relative_to(folder.resolve()):
            return f"{shorten(cell)} lies outside the folder of the table"
        return path if path.is_file() else f"there is no file {shorten(cell)}"
    except (OSError, ValueError, RuntimeError):  # a name too long, a null character, a circle of links
        return f"{shorten(cell)} is no path of a file"


def bytes_of_text(text: str) -> bytes | None:
    """The bytes that a `data:` URI or plain base64 stands for; None where it is neither."""
    content = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(content.encode("ascii"), validate=True) or None
    except ValueError:
        return None


def holds_images(column: ArrowColumn, first: Sequence[Any]) -> bool:
    """Whether the cells of a column are images themselves, judged by its type and its `first` cells."""
    from warmstart.data.tables.decode_image import STARTS

    kind = column.type
    if not (pa.types.is_binary(kind) or pa.types.is_struct(kind)):
        return False
    if not first or not all(map(is_image_cell, first)):
        return False
    contents = [cell["bytes"] if isinstance(cell, Mapping) else cell for cell in first]
    kept = [content for content in contents if content]
    return all(content.startswith(STARTS) for content in kept) if kept else isinstance(first[0], Mapping)
