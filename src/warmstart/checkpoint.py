"""Checkpoint: the state of an unfinished training, saved so that a kill at any moment loses nothing that was saved.

    checkpoint/0-0-00000120/  stage 0, not gone back yet, after 120 steps
        tensors.safetensors   weights, optimizer, best weights so far
        facts.json            everything else that changes while training
        manifest.json         SHA-256 of the two

Written into a folder of another name, forced to disk, then renamed: a folder with such a name is whole. A bit that
flips later is found by the manifest before anything is used, and the checkpoint before that one is taken.
"""

import hashlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from warmstart.record import write_json

KEPT = 2  # the newest, and one to fall back on
EVERY = float(os.environ.get("WARMSTART_SAVE_EVERY", "30"))  # seconds between two; a kill loses no more than that
SHARE = 50  # times the seconds that the last one took, at least: saving may cost 2 % of the time

Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds."""

    name: str
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


@dataclass
class Checkpoints:
    """The checkpoints of one training, and when the next one is due.

    `purpose` says what is trained, on what, how: a checkpoint of anything else is not gone on from.
    """

    folder: Path
    purpose: str
    every: float = EVERY
    _next: float = field(init=False)  # on the clock of time.monotonic

    def __post_init__(self) -> None:
        self._next = time.monotonic() + self.every

    @property
    def due(self) -> bool:
        return time.monotonic() >= self._next

    def save(self, name: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Save under a name that sorts after those before."""
        began = time.monotonic()
        save(self.folder, name, tensors, facts | {"purpose": self.purpose})
        now = time.monotonic()
        self._next = now + (max(self.every, SHARE * (now - began)) if self.every else 0.0)

    def newest(self) -> Saved | None:
        """The newest one that is whole and was made for the same purpose; what cannot be used is cleared away."""
        found = newest(self.folder, lambda facts: facts.get("purpose") == self.purpose)
        for name in _names(self.folder):
            if found is None or name > found.name:
                shutil.rmtree(self.folder / name)
        return found


def save(folder: Path, name: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write `folder/name`, all of it or nothing. The two newest are kept.

    Raises OSError where it cannot be written; those before are as they were.
    """
    staging = folder / f"{name}.tmp"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        with told_of_a_full_disk(folder):
            _write(staging, tensors, facts)
    except OSError:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    target = folder / name
    if target.exists():  # of a training that was stopped at the same step, or damaged
        shutil.rmtree(target)
    staging.rename(target)
    sync(folder)
    for old in _names(folder)[:-KEPT]:
        shutil.rmtree(folder / old)


def newest(folder: Path, wanted: Callable[[dict[str, Any]], bool] = lambda facts: True) -> Saved | None:
    """The newest checkpoint that is whole and wanted; None where there is none. Damaged ones are passed over."""
    for name in reversed(_names(folder)):
        if damage(folder / name) is None:
            facts: dict[str, Any] = json.loads((folder / name / "facts.json").read_text())
            if wanted(facts):
                return Saved(name, load_file(folder / name / "tensors.safetensors"), facts)
    return None


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, in words; None if it is as it was written."""
    try:
        manifest: dict[str, str] = json.loads((checkpoint / "manifest.json").read_text())
        wrong = [name for name, digest in manifest.items() if _digest(checkpoint / name) != digest]
        if set(manifest) != {"tensors.safetensors", "facts.json"}:
            return "its manifest is not one"
    except (OSError, ValueError, AttributeError) as error:
        return f"it cannot be read: {error}"
    return f"{', '.join(wrong)} changed since it was written" if wrong else None


def _write(staging: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, staging / "tensors.safetensors")
    sync(staging / "tensors.safetensors")
    write_json(staging / "facts.json", facts)
    manifest = {name: _digest(staging / name) for name in ("tensors.safetensors", "facts.json")}
    write_json(staging / "manifest.json", manifest)
    sync(staging)


@contextmanager
def told_of_a_full_disk(folder: Path) -> Generator[None, None, None]:
    """Inside, safetensors may write to the folder. It says 'I/O error: ... (os error 28)' in an error of its own."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(f"{folder} cannot be written: {error}") from error


def _names(folder: Path) -> list[str]:
    """Checkpoints, oldest first."""
    return sorted(entry.name for entry in folder.glob("*-*") if entry.is_dir() and entry.suffix != ".tmp")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Wait until it is on the disk: a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Held:
    """Ctrl-C and SIGTERM, noted when they arrive and handled when `release` is called: no step is left half done.

    Set up once for a whole stage, since telling the system who handles a signal may cost as much as a small step.
    """

    def __init__(self) -> None:
        self._arrived: list[int] = []
        self._before: dict[int, Handler] = {}

    def __enter__(self) -> "Held":
        if threading.current_thread() is threading.main_thread():  # no other thread gets them
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, lambda number, frame: self._arrived.append(number))
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is None:
            self.release()

    def release(self) -> None:
        """Do now what a signal that has arrived asks for, which usually raises."""
        while self._arrived:
            number = self._arrived.pop()
            handler = self._before[number]
            if callable(handler):
                handler(number, None)
            elif handler != signal.SIG_IGN:
                signal.signal(number, handler)
                signal.raise_signal(number)
