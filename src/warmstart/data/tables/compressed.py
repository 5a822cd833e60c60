"""Compressed: how is a .gz, .bz2, .xz, .zst or .zip file unpacked, and how large may its content be?"""

import bz2
import gzip
import lzma
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from warmstart.errors import InputError, join_phrases

UNPACKED_PART = 1 << 20  # bytes that are unpacked at a time
FREE_BYTES = 64 << 20  # may come of any file, however small it is
MOST_TIMES = 250  # its own size may come of a larger one: tables of few values reach 100, a bomb 1,000
MOST_BYTES = 64 << 30  # may come of any file
STREAMS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.GzipFile,
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": lambda path: pa.input_stream(str(path), compression="zstd"),
}
COMPRESSED = (*STREAMS, ".zip")
BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException, NotImplementedError)


def most_bytes(size: int) -> int:
    """How many bytes may come of a compressed file of `size` bytes."""
    return min(MOST_BYTES, max(FREE_BYTES, MOST_TIMES * size))


def inner_name(path: Path) -> str:
    """The name of the file in a compressed one, by its own: 'a.csv' for 'a.csv.gz'."""
    return path.name[: -len(path.suffix)]


@contextmanager
def unpacked(path: Path, endings: tuple[str, ...]) -> Iterator[Path]:
    """A file with what is in the compressed one, for as long as the context lasts.

    `endings`: of the files that can be read. It is written to a folder for temporary files under a name of ours: no
    name in an archive is ever a path. Raises InputError for an archive of several tables or of none, for one that is
    damaged or encrypted, and for more bytes than `most_bytes` allows, which are counted as they are unpacked.
    """
    with tempfile.TemporaryDirectory(prefix="warmstart-") as folder:
        if path.suffix.lower() == ".zip":
            with _zip(path) as archive:
                member = _table_in(path, archive, endings)
                target = Path(folder, f"table{Path(member.filename).suffix.lower()}")
                _write(path, lambda: archive.open(member), target)
        else:
            suffix = Path(inner_name(path)).suffix.lower()
            target = Path(folder, f"table{suffix}")
            _write(path, lambda: STREAMS[path.suffix.lower()](path), target)
        try:
            yield target
        except InputError as error:  # which knows the file by the name that we gave it
            raise InputError(error.message.replace(str(target), str(path)), error.hint) from error


def _write(path: Path, opened: Callable[[], IO[bytes]], target: Path) -> None:
    most, size = most_bytes(path.stat().st_size), 0
    try:
        with opened() as source, target.open("wb") as file:
            while part := source.read(UNPACKED_PART):
                size += len(part)
                if size > most:
                    raise too_large(path)
                file.write(part)
    except BROKEN as error:
        if isinstance(error, PermissionError):
            raise
        raise InputError(f"{path} cannot be unpacked: {error or type(error).__name__}", "pack it again") from error
    except RuntimeError as error:  # of an encrypted archive
        raise InputError(f"{path} cannot be unpacked: {error}", "unpack it yourself, and name the file") from error


def too_large(path: Path) -> InputError:
    """What is said of a file of which more comes than a table of that size would give."""
    size = path.stat().st_size
    return InputError(
        f"{path} ({size:,} bytes) unpacks to more than {most_bytes(size):,} bytes, which no table of that size does",
        "if it is a table nevertheless, unpack it yourself, and name the file",
    )


def check_unpacked(path: Path) -> None:
    """Raises InputError for a zip file, such as a workbook, of which too much would come; nothing is kept."""
    most, size = most_bytes(path.stat().st_size), 0
    try:
        with _zip(path) as archive:
            for member in archive.infolist():
                with archive.open(member) as source:
                    while part := source.read(UNPACKED_PART):
                        size += len(part)
                        if size > most:
                            raise too_large(path)
    except (*BROKEN, RuntimeError) as error:
        raise InputError(f"{path} cannot be unpacked: {error or type(error).__name__}", "save it again") from error


def _zip(path: Path) -> Any:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise InputError(f"{path} is no zip file that can be read: {error}", "pack it again") from error


def _table_in(path: Path, archive: zipfile.ZipFile, endings: tuple[str, ...]) -> zipfile.ZipInfo:
    members = [each for each in archive.infolist() if not each.is_dir() and "__MACOSX" not in each.filename]
    tables = [each for each in members if Path(each.filename).suffix.lower() in endings]
    if len(tables) == 1:
        return tables[0]
    names = join_phrases([each.filename for each in tables or members], 5, quote=True)
    if tables:
        raise InputError(f"{path} holds {len(tables)} tables: {names}", "unpack it, and name the file or folder")
    raise InputError(
        f"{path} holds no table that can be read" + (f", but {names}" if members else ""),
        f"unpack it; known endings are {join_phrases(endings, 13)}",
    )
