"""Processes: how is a function called in a process of its own, quickly, with something breaking in it?

A server imports everything once (five seconds) and forks a child for every call (some milliseconds).
"""

import io
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).parents[1]
CONTEXT = multiprocessing.get_context("forkserver")
PATIENCE = 120.0  # seconds: a child that takes longer hangs
HUNG = 256  # in place of an exit code

# One thread: results on a CPU depend on their number, and a process with several may not be forked.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}",
    "WARMSTART_SAVE_EVERY": "0",  # after every step
}


class Fault(Protocol):
    """Something that breaks in a child."""

    def install(self) -> None: ...


@dataclass(frozen=True)
class Strike:
    """A signal from outside."""

    number: signal.Signals
    after: float  # seconds
    since: Path  # a file: the seconds count from the moment when it is there

    def hit(self, pid: int, alive: Callable[[], bool]) -> float | None:
        """When; None where it had ended before."""
        while alive() and not self.since.exists():
            time.sleep(0.001)
        ends = time.perf_counter() + self.after
        while alive() and time.perf_counter() < ends:
            time.sleep(min(0.001, self.after))
        if not alive():
            return None
        now = time.time()
        os.kill(pid, self.number)
        return now


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    code: int  # negative: the signal that killed it
    printed: str  # on stdout and stderr
    seconds: float
    struck: float | None = None  # when a signal from outside was sent, before the end was known


def start_server() -> None:
    """Say what everything is forked from. To be called once, before the first child."""
    os.environ.update(ENVIRONMENT)
    CONTEXT.set_forkserver_preload(["torture.children"])


def call(function: str, *words: object, faults: Sequence[Fault] = (), strike: Strike | None = None) -> Ended:
    """Call a function of `children` in a process of its own; what it prints comes back."""
    reader, writer = CONTEXT.Pipe(duplex=False)
    child = CONTEXT.Process(target=_child, args=(function, words, tuple(faults), writer), daemon=True)
    began = time.perf_counter()
    child.start()
    writer.close()
    assert child.pid is not None
    struck = None if strike is None else strike.hit(child.pid, child.is_alive)
    child.join(PATIENCE)
    seconds = time.perf_counter() - began
    code = HUNG if child.exitcode is None else child.exitcode
    child.kill()
    child.join()
    with reader, io.FileIO(os.dup(reader.fileno())) as file:
        printed = file.readall().decode(errors="replace")
    return Ended(code, printed, seconds, struck)


def _child(function: str, words: Sequence[object], faults: Sequence[Fault], writer: Connection) -> None:
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where nohup started the server
    for stream in (1, 2):
        os.dup2(writer.fileno(), stream)
    writer.close()
    from torture import children  # imported long ago by the server; never in the process that only waits

    for fault in faults:
        fault.install()
    getattr(children, function)(*words)
