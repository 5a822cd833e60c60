"""Faults: what can break in a child while it trains? Each is set up by `install`, and breaks at one exact point."""

import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal
from unittest.mock import patch

Place = Literal["loss", "gradient"]
Whom = Literal["itself", "who waits", "all"]
PLACES: tuple[Place, ...] = ("loss", "gradient")


def counted(begun: Path) -> Callable[[], int]:
    """Counts its calls, from 1, once the file is there; 0 before."""
    calls = 0

    def call() -> int:
        nonlocal calls
        calls += calls > 0 or begun.exists()
        return calls

    return call


@dataclass(frozen=True)
class Stop:
    """A signal after so many optimizer steps."""

    step: int  # from 1
    number: signal.Signals
    begun: Path  # the plan: steps before it is there only measure how long they take

    def install(self) -> None:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        step = counted(self.begun)

        def stepped(*_: object) -> None:
            if step() == self.step:
                os.kill(os.getpid(), self.number)

        register_optimizer_step_post_hook(stepped)


@dataclass(frozen=True)
class AtWork:
    """A signal at some work: when it begins, or after so many of its optimizer steps. So many times, in any process."""

    doing: str  # in the words of the progress
    tally: Path  # a file that is not there yet
    steps: int = 0
    times: int = 1
    number: signal.Signals = signal.SIGKILL
    whom: Whom = "itself"

    def install(self) -> None:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        from warmstart.runtime import supervisor

        tell = supervisor.note_job
        at, taken = "", 0

        def told(doing: str) -> None:
            nonlocal at, taken
            tell(doing)
            at, taken = doing, 0
            if not self.steps:
                self._strike(at)

        def stepped(*_: object) -> None:
            nonlocal taken
            taken += 1
            if taken == self.steps:
                self._strike(at)

        patch.object(supervisor, "note_job", told).start()
        register_optimizer_step_post_hook(stepped)

    def _strike(self, at: str) -> None:
        struck = self.tally.stat().st_size if self.tally.exists() else 0
        if at == self.doing and struck < self.times:
            self.tally.write_text("x" * (struck + 1))
            os.kill({"itself": os.getpid(), "who waits": os.getppid(), "all": 0}[self.whom], self.number)


@dataclass(frozen=True)
class AfterSeconds:
    """kill -9 in the first process that begins to work, so many seconds later: to it, or to the one that waits."""

    seconds: float
    tally: Path
    who_waits: bool

    def install(self) -> None:
        from warmstart.runtime import supervisor

        tell = supervisor.note_job

        def strike() -> None:
            self.tally.touch()
            os.kill(os.getppid() if self.who_waits else os.getpid(), signal.SIGKILL)

        def told(doing: str) -> None:
            tell(doing)
            if doing == "starting" and not self.tally.exists():
                timer = threading.Timer(self.seconds, strike)
                timer.daemon = True
                timer.start()

        patch.object(supervisor, "note_job", told).start()


@dataclass(frozen=True)
class SaveEvery:
    """Seconds between two checkpoints, in place of one after every step."""

    seconds: float

    def install(self) -> None:
        from warmstart.training.checkpoint import Checkpoints

        began = Checkpoints.__post_init__

        def slower(checkpoints: Checkpoints) -> None:
            checkpoints.every = self.seconds
            began(checkpoints)

        patch.object(Checkpoints, "__post_init__", slower).start()


# --- inside a save ----------------------------------------------------------------------------------------------------


@dataclass
class Saves:
    """Follows checkpoints being saved, line by line.

    `at(save, line)` is called before every line of ours that a save runs, and once more when it is done; both numbers
    count from 0.
    """

    at: Callable[[int, int], None]
    save: int = -1
    line: int = 0

    def follow(self) -> None:
        from warmstart.training import checkpoint

        plain = checkpoint.save_checkpoint

        def followed(*words: Any) -> None:
            self.save, self.line = self.save + 1, 0
            sys.settrace(self._called)
            try:
                plain(*words)
            finally:
                sys.settrace(None)
            self._pass()

        patch.object(checkpoint, "save_checkpoint", followed).start()

    def _called(self, frame: FrameType, event: str, argument: object) -> Any:
        return self._ran if "/warmstart/" in frame.f_code.co_filename else None

    def _ran(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            self._pass()
        return self._ran

    def _pass(self) -> None:
        self.at(self.save, self.line)
        self.line += 1


@dataclass(frozen=True)
class CountLines:
    """No fault: writes how many points each save has at which a fault can strike, a line for each save."""

    file: Path

    def install(self) -> None:
        points: dict[int, int] = {}

        def count(save: int, line: int) -> None:
            points[save] = line + 1
            self.file.write_text("\n".join(map(str, points.values())))

        Saves(count).follow()


@dataclass(frozen=True)
class StopInSave:
    """A signal at a line of a save."""

    save: int
    line: int
    number: signal.Signals

    def install(self) -> None:
        def strike(save: int, line: int) -> None:
            if (save, line) == (self.save, self.line):
                os.kill(os.getpid(), self.number)

        Saves(strike).follow()


@dataclass(frozen=True)
class PowerCut:
    """kill -9 at a line of a save, and half of every file in it that was not forced to the disk by then is lost."""

    save: int
    line: int
    folder: Path

    def install(self) -> None:
        forced: set[int] = set()
        fsync = os.fsync

        def remembered(descriptor: Any) -> None:
            fsync(descriptor)
            forced.add(os.stat(descriptor).st_ino)

        def strike(save: int, line: int) -> None:
            if (save, line) == (self.save, 0):  # what is here by now was forced by the saves before
                forced.clear()
                forced.update(path.stat().st_ino for path in self._files())
            if (save, line) == (self.save, self.line):
                for path in self._files():
                    if path.stat().st_ino not in forced:
                        os.truncate(path, path.stat().st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)

        patch.object(os, "fsync", remembered).start()
        Saves(strike).follow()

    def _files(self) -> list[Path]:
        return [path for path in self.folder.rglob("checkpoint/**/*") if path.is_file()]


@dataclass(frozen=True)
class DiskFull:
    """From a line of a save on, no file can grow beyond so many bytes: to the program, a full disk."""

    save: int
    line: int
    size: int

    def install(self) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

        def fill(save: int, line: int) -> None:
            if (save, line) == (self.save, self.line):
                resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))

        Saves(fill).follow()


# --- inside a step ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NotANumber:
    """Some losses, or their gradients, are no numbers, whatever the weights: as with an overflow."""

    first: int  # call of the loss, from 1
    count: int
    value: float
    place: Place
    begun: Path

    def install(self) -> None:
        call = counted(self.begun)

        def spoiled(loss: Any, batch: Any) -> Any:
            hit = self.first <= call() < self.first + self.count
            return spoil(loss, self.value, self.place) if hit else loss

        change_loss(spoiled)


@dataclass(frozen=True)
class BadRow:
    """About one row in 80 has a loss that is no number, in every epoch and after every resume."""

    place: Place

    def install(self) -> None:
        def spoiled(loss: Any, batch: Any) -> Any:
            bad = ((batch.targets * 1e4).round() % 83 == 0).any().item()
            return spoil(loss, float("nan"), self.place) if bad else loss

        change_loss(spoiled)


@dataclass(frozen=True)
class OutOfMemory:
    """From a call of the loss on, more than so many rows do not fit: forward, or only when half the way back."""

    first: int  # from 1
    rows: int
    place: Place
    cpu: bool  # how torch says it on a CPU, or on a GPU
    begun: Path

    def install(self) -> None:
        import torch

        words = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 68719476736 bytes."
        error = RuntimeError(words) if self.cpu else torch.OutOfMemoryError("CUDA out of memory.")
        call = counted(self.begun)

        def fail(gradient: object) -> None:
            raise error

        def starved(loss: Any, batch: Any) -> Any:
            if call() < self.first or len(batch.targets) <= self.rows:
                return loss
            if self.place == "loss":
                raise error
            deep(loss).register_prehook(fail)
            return loss

        change_loss(starved)


def change_loss(change: Callable[[Any, Any], Any]) -> None:
    """From here on, `change(loss, batch)` is what the regression task gives as the loss of a batch."""
    from warmstart.tasks.regression import Regression

    plain = Regression.loss

    def changed(task: Regression, model: Any, batch: Any) -> Any:
        return change(plain(task, model, batch), batch)

    patch.object(Regression, "loss", changed).start()


def deep(loss: Any, steps: int = 12) -> Any:
    """An operation well inside the network: by the time it is reached, the head has its gradients."""
    operation = loss.grad_fn
    for _ in range(steps):
        before = [node for node, _ in operation.next_functions if node and "AccumulateGrad" not in node.name()]
        operation = before[0] if before else operation
    return operation


def spoil(loss: Any, value: float, place: Place) -> Any:
    if place == "loss":
        return loss * value
    loss.register_hook(lambda gradient: gradient * value)
    return loss
