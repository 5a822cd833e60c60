"""Supervisor: what if the training process is killed? Another one restarts it, and counts how often each job died.

The supervisor has imported nothing, so when memory runs out it is not the one that is killed. The training process
notes what it is doing in memory that both share. Deaths are counted per job in the study's folder, so that a job that
was killed too often can be skipped.
"""

import json
import mmap
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from warmstart.errors import printable
from warmstart.runtime.files import read_json, read_regular, write_json

FATAL_SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT)  # of a crash, not of a request to stop
MAX_DEATHS = 2  # at the same work, after which it is given up
DEATHS_FILE = "died.json"
SUPERVISED_VARIABLE = "WARMSTART_SUPERVISED"  # in the environment of a process that another one waits for
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SHARED = 1 << 16  # bytes: paths have 4,096 at most
PR_SET_PDEATHSIG = 1  # of Linux: the signal to get when the parent dies

_page: mmap.mmap | None = None  # shared with the process that waits for this one
_resume: tuple[str, ...] = ()  # the command that goes on with what this process does


def can_supervise() -> bool:
    """Whether this process could wait for another one: not where one waits for it, and torchrun has its own way."""
    return hasattr(os, "fork") and SUPERVISED_VARIABLE not in os.environ and "TORCHELASTIC_RUN_ID" not in os.environ


def run_supervised(command: Callable[[], NoReturn]) -> NoReturn:
    """Carry out `command` in a process of its own; when that is killed, go on in another one, and exit as the last one.

    Stops that are asked for are passed on. To be called before anything starts a thread.
    """
    global _page
    asked: list[int] = []
    child = 0

    def pass_on(number: int, frame: object) -> None:
        asked.append(number)
        if child:
            with suppress(ProcessLookupError):
                os.kill(child, number)

    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN  # by nohup
    before = {number: signal.signal(number, pass_on) for number in (PASSED_ON[:2] if ignored else PASSED_ON)}
    parent = os.getpid()
    while True:
        _page = mmap.mmap(-1, SHARED)
        signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # until it is known to whom they are to be passed on
        if asked:
            sys.exit(128 + asked[-1])
        child = os.fork()
        if child == 0:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
            os.environ[SUPERVISED_VARIABLE] = "1"
            _end_with(parent)
            command()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code >= 0:
            sys.exit(code)
        go_on = [] if asked or -code not in FATAL_SIGNALS else _after(signal.Signals(-code), _page)
        if not go_on:
            sys.exit(128 - code)
        sys.argv[1:] = go_on


def resume_with(command: Sequence[str]) -> None:
    """Say which command goes on with what is done from now on; its last word is the folder."""
    global _resume
    _resume = tuple(command)
    note_job("starting")


def note_job(doing: str) -> None:
    """Leave word of what is being done; nothing where `resume_with` was not called."""
    if _page is not None and _resume:
        said = json.dumps([doing, *_resume]).encode() + b"\n"
        _page[: len(said)] = said


def deaths_during(folder: Path, doing: str) -> list[str]:
    """The signals that killed the process so far while it did this: ['SIGKILL']."""
    path = folder / DEATHS_FILE
    counted = read_json(path, dict[str, list[str]], "delete it") if path.exists() else {}
    return counted.get(doing, [])


def _after(number: signal.Signals, page: mmap.mmap) -> list[str]:
    """Count a death, say so, and give the command that goes on; [] where that has no sense."""
    said = page[: page.find(b"\n") + 1]
    how = f"killed by {number.name}" + (" (probably: out of memory)" if number == signal.SIGKILL else "")
    if not said:
        _say(f"{how} before there was anything to resume.")
        return []
    words: list[str] = json.loads(said)
    doing, *go_on = words
    try:
        deaths = count_death(Path(go_on[-1]), doing, number.name)
    except OSError as error:
        _say(f"{how} during: {doing}. Cannot continue: {error.filename}: {error.strerror}.")
        return []
    if deaths > MAX_DEATHS:
        _say(f"{how}, {deaths} times now, during: {doing}.\nhint: to continue later: warmstart {shlex.join(go_on)}")
        return []
    _say(f"{how} during: {doing}. Continuing from saved work.")
    return go_on


def count_death(folder: Path, doing: str, name: str) -> int:
    """Note on the disk that the signal `name` killed a process at this work; gives how many deaths there have been."""
    path = folder / DEATHS_FILE
    try:
        counted = json.loads(read_regular(path))  # not by `read_json`, which would import pydantic here
        known = counted.setdefault(doing, [])
        known.append(name)
    except (OSError, ValueError, AttributeError, RecursionError):  # none yet, or damaged
        counted, known = {doing: [name]}, [name]
    write_json(path, counted)
    return len(known)


def _say(text: str) -> None:
    """A line on stderr. A bar that was being drawn there has left the cursor hidden, in the middle of a line."""
    text = printable(text)
    print(f"\r\x1b[K\x1b[?25h{text}" if sys.stderr.isatty() else text, file=sys.stderr, flush=True)


def _end_with(parent: int) -> None:
    """From now on, save and stop when the parent dies, where the system offers that."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it had died already
        os.kill(os.getpid(), signal.SIGTERM)
