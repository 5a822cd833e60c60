"""Image files: how does a folder of images, or a file in MNIST's format, become a table?"""

import gzip
import math
import re
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from warmstart.data.tables.decode_image import IMAGE_ENDINGS
from warmstart.errors import InputError, count_phrase, join_phrases
from warmstart.types import Array

IMAGE, LABEL = "image", "label"  # the columns, as `datasets` names them
IDX_IMAGES = re.compile(r"images[.-]idx[34][.-]ubyte(\.gz)?$")
IDX_BYTES = 4 << 30  # of an unpacked file, at most
_UBYTE, _DIMENSIONS = 8, {3: "images of one color", 1: "labels"}  # of an IDX header: bytes; how many


def is_image(path: Path) -> bool:
    """Whether the file is an image that can be read, by its ending."""
    return path.suffix.lower() in IMAGE_ENDINGS


def is_idx(path: Path) -> bool:
    """Whether the file holds images in MNIST's format, by its name: train-images-idx3-ubyte, packed or not."""
    return IDX_IMAGES.search(path.name) is not None


def images_table(folder: Path, files: Sequence[Path]) -> tuple[pa.Table, tuple[str, ...]]:
    """(one row an image, its path in the folder and the name of the folder that it lies in; what to say of it)

    Without folders in the folder there are no labels.
    """
    paths = [str(file.relative_to(folder)) for file in files]
    classes = [file.parent.name if file.parent != folder else None for file in files]
    columns: dict[str, list[str] | list[str | None]] = {IMAGE: paths}
    known = sorted({each for each in classes if each is not None})
    if not known:
        return pa.table({IMAGE: pa.array(paths, pa.large_string())}), (
            f"{count_phrase(len(files), 'image', 'images')}, without folders that name their classes.",
        )
    columns[LABEL] = classes
    said = f"{len(files):,} images in {count_phrase(len(known), 'folder', 'folders')}, whose names are the classes: "
    found = {name: pa.array(cells, pa.large_string()) for name, cells in columns.items()}
    return pa.table(found), (f"{said}{join_phrases(known, 10)}.",)


def read_idx(path: Path) -> tuple[pa.Table, tuple[str, ...]]:
    """Images in MNIST's format with the labels that lie beside them; what to say of it.

    Each image is a PGM file in memory. Raises InputError for what is damaged, and where both do not fit together.
    """
    pixels = _read_idx(path, 3)
    count, height, width = pixels.shape
    head = f"P5 {width} {height} 255\n".encode()
    rows = [head + picture.tobytes() for picture in pixels]
    columns: dict[str, object] = {IMAGE: pa.array(rows, pa.binary())}
    beside = path.with_name(re.sub(r"images([.-])idx[34]", r"labels\1idx1", path.name))
    labels = next((file for file in (beside, *_packings(beside)) if file.is_file()), None)
    said = f"{path.name} holds {count:,} images of {width} x {height} pixels in MNIST's format"
    if labels is None:
        return pa.table(columns), (f"{said}, without labels ({beside.name} is not there).",)
    classes = _read_idx(labels, 1)
    if len(classes) != count:
        raise InputError(
            f"{path} holds {count:,} images, but {labels.name} {len(classes):,} labels",
            "take both files from the same place",
        )
    columns[LABEL] = pa.array(classes.astype(np.int64))
    return pa.table(columns), (f"{said}; their labels are in {labels.name}.",)


def _packings(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}.gz"), path.with_name(path.name.removesuffix(".gz"))


def _read_idx(path: Path, dimensions: int) -> Array:
    """uint8 [n, ...]. The header says how much there has to be, and no more is unpacked."""
    what = f"{path}: expected an IDX file with {_DIMENSIONS[dimensions]}"
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            zero, kind, found = struct.unpack(">HBB", file.read(4))
            if zero or kind != _UBYTE or found != dimensions:
                raise InputError(f"{what}, but its header says otherwise", "check how it was written")
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            size = math.prod(shape)
            if not 0 < size <= IDX_BYTES or (dimensions == 3 and max(shape[1:]) > 4096):
                raise InputError(f"{what}, but it announces {' x '.join(map(str, shape))} bytes", "check the file")
            content = file.read(size + 1)
    except (struct.error, EOFError, gzip.BadGzipFile, OSError) as error:
        raise InputError(f"{what}, but it cannot be read: {error}", "check how it was written") from error
    if len(content) != size:
        more = "more" if len(content) > size else f"only {len(content):,}"
        raise InputError(f"{what} and {size:,} bytes in them, but there are {more}", "take a copy that is whole")
    return np.frombuffer(content, np.uint8).reshape(shape)
