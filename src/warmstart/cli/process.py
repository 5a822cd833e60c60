"""Process: how does a command start, stop and exit? Environment, signals and exit codes."""

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from warmstart.errors import UsageError, WarmstartError, printable, shell_word
from warmstart.runtime.distributed import started

# Bars beside ours, and remarks on weights that are left out on purpose, would only be in the way.
QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
MAIN_FIRST_SECONDS = 2.0  # of many processes, that the others wait with an exit code before the main one has spoken
# What torchrun may start.
MANY = ("fit", "resume")
MIN_COLUMNS = 10  # of a terminal: narrower ones are not believed
# Seconds in which a second stop is taken for the first: Ctrl-C reaches every process of a terminal, and the one that
# waits for this one passes it on as well; so it is where a cluster sends SIGTERM to all.
SAME_SIGNAL_SECONDS = 3.0
RAISED_AGAIN_SECONDS = 0.05  # after which a stop that Python dropped is asked for again


class Stopped(BaseException):
    """Ctrl-C or SIGTERM arrived."""

    def __init__(self, code: int, folder: Path | None = None):
        super().__init__(code)
        self.code = code
        self.folder = folder  # that `resume` can go on with

    def __str__(self) -> str:
        if self.folder is None:
            return "stopped."
        return f"stopped; finished work is kept.\nhint: to continue: warmstart resume {shell_word(self.folder)}"


class Stop:
    """Raises Stopped when it is called as a signal's handler, but not for the same stop twice.

    Python drops what is raised while an object is finalized or a callback of C runs, and prints a traceback: `dropped`,
    as its `sys.unraisablehook`, asks for the stop once more instead. So it does at its own end, when all is done:
    there a stop exits at once.
    """

    def __init__(self) -> None:
        self._until = 0.0  # on the clock of time.monotonic
        self.done = False  # whether the command has ended
        self._before = sys.unraisablehook

    def __call__(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if now >= self._until:
            self._until = now + SAME_SIGNAL_SECONDS
            if self.done:
                os._exit(128 + number)
            raise Stopped(128 + number)

    def dropped(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """What was raised where it cannot be passed on."""
        if isinstance(unraisable.exc_value, Stopped):
            self._until = 0.0
            again = threading.Timer(RAISED_AGAIN_SECONDS, os.kill, (os.getpid(), unraisable.exc_value.code - 128))
            again.daemon = True
            again.start()  # not here: what is raised here is dropped as well
        else:
            self._before(unraisable)


def run_command(command: Callable[[], object]) -> NoReturn:
    """Run a command and exit: 0 done, 1 failed, 2 wrong use or input, 130 Ctrl-C, 143 SIGTERM."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    _prepare_streams()
    stop = Stop()
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    sys.unraisablehook = stop.dropped
    code = 0
    try:
        _check_command(sys.argv[1:2])
        try:
            command()
        finally:
            stop.done = True
    except WarmstartError as error:
        code = _complain(f"error: {error}", error.exit_code)
    except Stopped as stopped:
        code = _complain(str(stopped), stopped.code)
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        _discard_output()
    except OSError as error:  # the disk is full, or a folder has gone while we worked in it
        where = f"{error.filename}: " if error.filename else ""
        code = _complain(f"error: {where}{error.strerror or error}", 1)
    sys.exit(_flushed(code))


def _prepare_streams() -> None:
    """Streams that take any text, whatever the locale; what was closed is nowhere.

    What goes into a file or to another program is UTF-8, as all files that we write.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - as long as the process lives
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            with suppress(OSError):  # a file when it was opened, now a pipe: its position is asked for when all is set
                stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")
    for name in ("COLUMNS", "LINES"):
        columns = os.environ.get(name)
        if columns is not None and not (columns.isascii() and columns.isdigit() and int(columns) >= MIN_COLUMNS):
            del os.environ[name]  # at a width of 0 nothing at all would be shown


def _flushed(code: int) -> int:
    """The exit code, once all that was printed has left: on a full disk that fails only now."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
    except OSError as error:
        _discard_output()
        return _complain(f"error: the output cannot be written: {error.strerror or error}", 1)
    return code


def _discard_output() -> None:
    """What is still to be printed goes nowhere, or Python would complain once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check_command(words: list[str]) -> None:
    """Raises UsageError where torchrun has started something that is done by one process."""
    processes = started()[1]
    if processes > 1 and words and words[0] not in MANY:
        raise UsageError(
            f"{words[0]} runs in one process, not in {processes}.", "start it without torchrun, which is only for fit"
        )


def _complain(message: str, code: int) -> int:
    """Of many processes the main one speaks for all, except about failures, which may be those of one alone.

    The others wait a moment: torchrun ends all when one has ended, and the main one might not have spoken yet.
    """
    rank, message = started()[0], printable(message)
    if rank == 0:
        print(message, file=sys.stderr)
    elif code == 1:
        print(f"process {rank}: {message}", file=sys.stderr)
    else:
        time.sleep(MAIN_FIRST_SECONDS)
    return code
