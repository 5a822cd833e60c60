"""Limits: how are untrusted chat templates and patterns run with a limit on time and memory?"""

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from warmstart.errors import InputError

SECONDS = 5.0  # of this process's time: a template or a pattern takes a thousandth of one
BYTES = 1 << 30  # that may be allocated meanwhile
PAGE_BYTES = resource.getpagesize()


class _TooLongError(Exception):
    """The time is over."""


@contextmanager
def bounded(what: str, hint: str, seconds: float = SECONDS, most: int = BYTES) -> Iterator[None]:
    """Inside, somebody else's template or pattern is at work. Raises InputError where it takes too long, or too much.

    Time is that of the processor, counted where signals are possible: in the main thread. Memory is counted on Linux.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)
    try:
        with _time_limit(seconds), _memory_limit(limit, most):
            yield
    except _TooLongError as error:
        raise InputError(f"{what} did not come to an end in {seconds:g} seconds.", hint) from error
    except MemoryError as error:
        raise InputError(f"{what} takes more than {most:,} bytes of memory.", hint) from error


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def over(number: int, frame: FrameType | None) -> None:
        raise _TooLongError

    before = signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, 0.1)  # again, where somebody's code has caught the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextmanager
def _memory_limit(limit: tuple[int, int], most: int) -> Iterator[None]:
    status = Path("/proc/self/statm")
    if not status.exists():
        yield
        return
    allowed = int(status.read_text(encoding="ascii").split()[0]) * PAGE_BYTES + most
    soft, hard = limit
    if soft != resource.RLIM_INFINITY and soft <= allowed:
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (allowed, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)
