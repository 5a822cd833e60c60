"""Lock: how is a folder locked, so that only one process works in it? With `filelock`, which follows no link."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from warmstart.errors import InputError, UsageError
from warmstart.runtime.files import read_regular

LOCK_FILE = "lock"
LOCK_TIMEOUT = 1.0  # seconds: the system takes a moment to clear up after a process with much memory that was killed
MAX_NUMBER_BYTES = 1 << 10  # of the file: it holds the number of a process


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Inside, no other process works in the folder. However this one ends, the lock ends with it.

    Where another process holds it: waits for that one to end, or raises UsageError. Raises InputError where a link
    stands in the place of the lock's file.
    """
    path = folder / LOCK_FILE
    if path.is_symlink():
        raise InputError(f"{path} is a link; the file that it leads to is not touched.", "remove the link")
    lock = FileLock(path, timeout=-1 if wait else LOCK_TIMEOUT)
    try:
        lock.acquire()
    except Timeout as error:
        raise UsageError(
            f"another process{_number(path)} is working in {str(folder)!r}.",
            "wait until it has finished, or stop it and continue with `warmstart resume`",
        ) from error
    try:
        _write_number(path)
        yield
    finally:
        lock.release()


def _write_number(path: Path) -> None:
    """The number of this process, for the message to others; the lock is held already."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "r+b") as file:
        if file.read(MAX_NUMBER_BYTES).strip().isdigit() or not os.fstat(descriptor).st_size:  # else: no file of ours
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _number(path: Path) -> str:
    try:
        text = read_regular(path, MAX_NUMBER_BYTES).decode("ascii", errors="replace").strip()
    except (OSError, InputError):
        return ""
    return f" (number {text})" if text.isdigit() else ""
