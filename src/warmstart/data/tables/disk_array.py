"""Disk array: where are arrays that exceed memory stored, and where are cached files?"""

import mmap
import tempfile
from typing import IO

import numpy as np

from warmstart.errors import InputError
from warmstart.types import Array

IN_MEMORY = 64 << 20  # bytes of one array; a larger one goes to a file, whose pages the system takes back when it must


class DiskArray:
    """A one-dimensional array that grows at its end: in memory at first, in a file without a name once it is large."""

    def __init__(self, kind: type[np.generic]):
        self._kind = np.dtype(kind)
        self._parts: list[Array] = []
        self._held = 0
        self._file: IO[bytes] | None = None

    def append(self, part: Array) -> None:
        self._parts.append(np.array(part, dtype=self._kind))  # a copy: views would keep alive what they are parts of
        self._held += self._parts[-1].nbytes
        if self._held > IN_MEMORY:
            self._write()

    def array(self) -> Array:
        """Everything that was appended, read-only where it lies in a file. Asked for once, at the end."""
        if self._file is None:
            return np.concatenate([np.empty(0, self._kind), *self._parts])
        self._write()
        with self._file as file:  # the mapping keeps what it needs of it
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=self._kind)

    def _write(self) -> None:
        """Move what is in memory to the end of the file."""
        try:
            if self._file is None:
                self._file = _nameless()
            for part in self._parts:
                self._file.write(part.data)
            self._file.flush()
        except OSError as error:
            raise InputError(
                f"{self._held:,} bytes of the table could not be written to {tempfile.gettempdir()}: {error.strerror}",
                "make room there, or name another folder in the variable TMPDIR",
            ) from error
        self._parts.clear()
        self._held = 0


def _nameless() -> IO[bytes]:
    """A file that is gone once nobody holds it, also after a kill."""
    return tempfile.TemporaryFile(prefix="warmstart-")
