"""Lock: one process a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from warmstart.errors import UsageError

NAME = "lock"


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Inside, no other process works in the folder. However this one ends, the lock ends with it.

    Where another process holds it: waits for that one to end, or raises UsageError.
    """
    with (folder / NAME).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            file.seek(0)
            raise UsageError(
                f"another process (number {file.read().strip()}) is working in {str(folder)!r}.",
                "wait until it has finished, or stop it and go on with `warmstart resume`",
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
