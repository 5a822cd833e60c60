"""Lock: the second process is told so, and a dead one holds nothing."""

import os
import signal
import threading
from pathlib import Path

import pytest

from warmstart.errors import UsageError
from warmstart.runtime.lock import LOCK_TIMEOUT, locked


def holding(folder: Path) -> tuple[int, int]:
    """A child that holds the folder's lock until it is killed; its number and a pipe that it closes at its end."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        with locked(folder):
            os.write(told, b"x")
            signal.pause()
        os._exit(0)
    os.close(told)
    assert os.read(ready, 1) == b"x"
    return child, ready


def test_the_second_process_is_told_who_is_there(tmp_path: Path) -> None:
    child, ready = holding(tmp_path)
    try:
        with pytest.raises(UsageError, match=rf"another process \(number {child}\) is working in"), locked(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
    with locked(tmp_path):  # it died with the lock in its hands
        pass
    with locked(tmp_path):
        pass


def test_a_lock_that_is_let_go_a_moment_later_is_waited_for(tmp_path: Path) -> None:
    child, ready = holding(tmp_path)
    timer = threading.Timer(LOCK_TIMEOUT / 4, os.kill, (child, signal.SIGKILL))
    timer.start()
    with locked(tmp_path):
        pass
    timer.join()
    os.waitpid(child, 0)
    os.close(ready)
