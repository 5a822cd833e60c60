"""Lock: one process a folder."""

import fcntl
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from warmstart.errors import UsageError

LOCK_FILE = "lock"
LOCK_TIMEOUT = 1.0  # seconds: the system takes a moment to clear up after a process with much memory that was killed


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Inside, no other process works in the folder. However this one ends, the lock ends with it.

    Where another process holds it: waits for that one to end, or raises UsageError.
    """
    with (folder / LOCK_FILE).open("a+") as file:
        ends = math.inf if wait else time.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() < ends:
                    time.sleep(0.05)
                    continue
                file.seek(0)
                raise UsageError(
                    f"another process (number {file.read().strip()}) is working in {str(folder)!r}.",
                    "wait until it has finished, or stop it and go on with `warmstart resume`",
                ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
