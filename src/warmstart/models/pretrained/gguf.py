"""GGUF: what does a GGUF file claim to contain, and is that plausible?

Libraries that read these files trust them: a file of 49 bytes that announces 2^60 numbers keeps them busy forever. So
the whole header is checked here first, every length against the rest of the file.
The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from warmstart.errors import InputError, MissingError, shorten

MAGIC = b"GGUF"
VERSIONS = (2, 3)  # 1 is gone since 2023; a file for big-endian machines reads as another number
LONGEST_ARRAY = 1 << 22  # entries; the largest vocabularies have 2^18 tokens and about twice as many merges
LONGEST_NAME = 1 << 16  # bytes of a key or a tensor's name; the format says 65,535 and 64
MAX_ENTRIES = 1 << 14  # tensors; the largest models have some thousands
MAX_KEYS = 1 << 11  # the libraries take longer for each further key; models have about 50
DIMENSIONS = 4  # at most, of a tensor
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, ARRAY = 8, 9
WIDTHS = (
    "embedding_length",
    "feed_forward_length",
    "vocab_size",
    "attention.head_count",
)  # keys that must be the size of some tensor


@dataclass(frozen=True)
class Header:
    """Keys with one value each (no arrays), and the shape of each tensor, fastest dimension first."""

    facts: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]


class _Reader:
    """Reads a file, never beyond its end."""

    def __init__(self, content: mmap.mmap):
        self.content = content
        self.at = 0

    def skip(self, size: int) -> int:
        """Skip so many bytes; returns where they began."""
        began = self.at
        if size > len(self.content) - began:
            raise ValueError(f"at byte {began:,} it announces {size:,} bytes, {len(self.content) - began:,} are left")
        self.at += size
        return began

    def number(self, code: str) -> Any:
        form = struct.Struct(f"<{code}")
        return form.unpack_from(self.content, self.skip(form.size))[0]

    def count(self, most: int, what: str) -> int:
        """A length; raises for one beyond `most`."""
        number: int = self.number("Q")
        if number > most:
            raise ValueError(f"at byte {self.at - 8:,} it announces {number:,} {what}, more than {most:,}")
        return number

    def text(self, most: int = 1 << 24) -> str:
        size = self.count(most, "bytes of text")
        began = self.skip(size)
        return self.content[began : began + size].decode("utf-8", errors="replace")

    def value(self) -> Any:
        """A value of any kind; None for an array, which is skipped."""
        kind: int = self.number("I")
        if kind == TEXT:
            return self.text()
        if kind in SCALARS:
            return self.number(SCALARS[kind])
        if kind != ARRAY:
            raise ValueError(f"at byte {self.at - 4:,} it has a value of kind {kind}, which does not exist")
        entries, length = self.number("I"), self.count(LONGEST_ARRAY, "entries of an array")
        if entries in SCALARS:
            self.skip(length * struct.calcsize(f"<{SCALARS[entries]}"))
        elif entries == TEXT:
            for _ in range(length):
                self.skip(self.count(1 << 24, "bytes of text"))
        else:
            raise ValueError(f"at byte {self.at - 12:,} it has an array of kind {entries}, which no model has")
        return None


def read_header(path: Path) -> Header:
    """Parse the header. Raises InputError if it is not plausible, MissingError without the package `gguf`."""
    try:
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
    except ImportError as error:
        raise MissingError(f"{path} is a GGUF file; reading it needs the package gguf.", install_hint()) from error
    kinds = {kind.value: GGML_QUANT_SIZES[kind] for kind in GGMLQuantizationType}
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _walked(_Reader(content), kinds)
    except (ValueError, struct.error) as error:
        raise InputError(
            f"{path} is not a whole GGUF file: {error}.", "take another copy, or a folder with safetensors"
        ) from error


def install_hint() -> str:
    return "pip install 'warmstart[gguf]', or name a folder with safetensors"


def _walked(reader: _Reader, kinds: dict[int, tuple[int, int]]) -> Header:
    began = reader.skip(4)
    if reader.content[began : began + 4] != MAGIC:
        raise ValueError(f"it begins with {shorten(reader.content[:4])}, not with {MAGIC!r}")
    version = reader.number("I")
    if version not in VERSIONS:
        raise ValueError(f"it is of version {version}, not {VERSIONS[0]} or {VERSIONS[1]}")
    tensors, keys = reader.count(MAX_ENTRIES, "tensors"), reader.count(MAX_KEYS, "keys")
    facts = {reader.text(LONGEST_NAME): reader.value() for _ in range(keys)}
    shapes, ends = {}, [0]
    for _ in range(tensors):
        name, dimensions = reader.text(LONGEST_NAME), reader.number("I")
        if not 0 < dimensions <= DIMENSIONS:
            raise ValueError(f"its tensor {shorten(name)} has {dimensions} dimensions")
        shapes[name] = tuple(reader.number("Q") for _ in range(dimensions))
        if 0 in shapes[name]:  # it would take no byte of the file, and its other side any number
            raise ValueError(f"its tensor {shorten(name)} is empty")
        kind, offset = reader.number("I"), reader.number("Q")
        if kind not in kinds:
            raise ValueError(f"its tensor {shorten(name)} is of kind {kind}, which is not known")
        block, size = kinds[kind]
        ends.append(offset + prod(shapes[name]) * size // block)
    alignment = facts.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise ValueError(f"its tensors are said to be aligned to {shorten(alignment)} bytes")
    reader.skip(-reader.at % alignment)
    reader.skip(max(ends))
    _plausible(facts, shapes)
    return Header({key: value for key, value in facts.items() if value is not None}, shapes)


def _plausible(facts: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> None:
    """Check sizes: a model of the header's size is built before any weight is read."""
    largest = max((size for shape in shapes.values() for size in shape), default=0)
    for key, value in facts.items():
        limit = len(shapes) if key.endswith(".block_count") else largest
        if key.endswith((".block_count", *(f".{width}" for width in WIDTHS))) and not (
            isinstance(value, int) and 0 < value <= limit
        ):
            raise ValueError(f"its {key} is {shorten(value)}, its tensors allow at most {limit:,}")
