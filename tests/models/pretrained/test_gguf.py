"""GGUF: is every header that cannot be true refused, at once?"""

import struct
from pathlib import Path

import pytest

from warmstart.errors import InputError
from warmstart.models.pretrained.gguf import read_header

TEXT, ARRAY, U8, U32 = 8, 9, 0, 4


def text(words: str) -> bytes:
    return struct.pack("<Q", len(words)) + words.encode()


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def file_of(*entries: bytes, tensors: tuple[bytes, ...] = (), data: int = 0, version: int = 3) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries)) + b"".join((*entries, *tensors))
    return head + bytes(-len(head) % 32) + bytes(data)


def tensor(name: str, *shape: int, kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def refused(content: bytes, path: Path) -> str:
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_header(path)
    return error.value.message


def test_a_header_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(
        file_of(
            entry("general.architecture", TEXT, text("llama")),
            entry("llama.embedding_length", U32, struct.pack("<I", 8)),
            entry("tokens", ARRAY, struct.pack("<IQ", TEXT, 2) + text("a") + text("bc")),
            tensors=(tensor("one", 8, 4), tensor("two", 8, offset=128)),
            data=160,
        )
    )
    header = read_header(path)
    assert header.facts == {"general.architecture": "llama", "llama.embedding_length": 8}
    assert header.shapes == {"one": (8, 4), "two": (8,)}


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "cannot mmap an empty file"),
        (b"PK\x03\x04" + bytes(40), "it begins with"),
        (file_of(version=1), "it is of version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "it is of version 50331648"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "1,152,921,504,606,846,976 tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), "1,152,921,504,606,846,976 keys"),
        (file_of(entry("a", ARRAY, struct.pack("<IQ", U8, 2**60)))[:49], "entries of an array"),  # the one that hangs
        (file_of(entry("a", ARRAY, struct.pack("<IQ", U32, 2**22))), "it announces 16,777,216 bytes"),
        (file_of(entry("a", ARRAY, struct.pack("<IQIQ", ARRAY, 1, ARRAY, 1))), "an array of kind 9"),
        (file_of(entry("a", 99, b"")), "a value of kind 99"),
        (file_of(entry("a", TEXT, struct.pack("<Q", 2**50))), "bytes of text"),
        (file_of(tensors=(tensor("t", 8, 8),), data=255), "255 are left"),  # a download cut short
        (file_of(tensors=(tensor("t", *[1] * 5),)), "has 5 dimensions"),
        (file_of(tensors=(tensor("t", 2**40, 2**40),)), "are left"),
        (file_of(tensors=(tensor("t", 8, kind=77),)), "is of kind 77"),
        (file_of(entry("general.alignment", U32, struct.pack("<I", 0))), "are said to be aligned to 0"),
        (file_of(entry("x.block_count", U32, struct.pack("<I", 10**9))), "x.block_count is 1000000000"),
        (
            file_of(entry("x.embedding_length", U32, struct.pack("<I", 10**9)), tensors=(tensor("t", 8, 8),), data=256),
            "its tensors allow at most 8",
        ),
    ],
)
def test_a_header_that_cannot_be_true_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    said = refused(content, path)
    assert said.startswith(f"{path} is not a whole GGUF file: ") and message in said


def test_a_header_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = file_of(
        entry("a", U32, struct.pack("<I", 8)),
        entry("b", ARRAY, struct.pack("<IQ", TEXT, 1) + text("c")),
        tensors=(tensor("t", 8),),
        data=32,
    )
    for size in range(len(whole)):
        refused(whole[:size], tmp_path / "model.gguf")
