"""Text files: how do text files become a table of documents?"""

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from warmstart.data.tables.formats import SCANNED_BYTES, TEXT_ENDINGS, not_text
from warmstart.data.tables.strings import GrowingTexts
from warmstart.errors import InputError


def is_plain(path: Path) -> bool:
    """Whether the file is one text, by its ending."""
    return path.suffix.lower() in TEXT_ENDINGS


def find_texts(folder: Path) -> tuple[list[Path], list[Path]]:
    """(text files, other files) in the folder and the folders in it, by name; hidden ones are passed over.

    Raises OSError where a folder cannot be read.
    """
    found: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in files if not name.startswith(".")]
    found.sort()
    return [file for file in found if is_plain(file)], [file for file in found if not is_plain(file)]


def _raise(error: OSError) -> None:
    raise error


def read_texts(files: Sequence[Path]) -> pa.Table:
    """One row a file, its content in the column 'text'; however large a file is, little of it is held in memory.

    Line ends become those of Unix. Raises InputError where a file is no UTF-8 text, or cannot be read.
    """
    texts = GrowingTexts()
    for file in files:
        try:
            if file.exists() and not file.is_file():
                raise InputError(f"{file} is no regular file", "write the text into a file, and name that")
            texts.append_parts(_parts(file))
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror or error}", "check its permissions") from error
    return pa.table({"text": texts.array()})


def _parts(path: Path) -> Iterator[bytes]:
    with path.open("rb") as raw:
        file = io.TextIOWrapper(raw, encoding="utf-8-sig")
        try:
            while text := file.read(SCANNED_BYTES):
                if "\0" in text:
                    raise not_text(path, raw.tell())
                yield text.encode()
        except UnicodeDecodeError as error:
            raise not_text(path, raw.tell()) from error
