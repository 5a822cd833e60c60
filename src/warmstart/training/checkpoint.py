"""Checkpoint: how is an unfinished training saved so that a kill at any moment loses nothing that was saved?

    checkpoint/0-0-00000120/      stage 0, never rolled back, after 120 steps
        tensors.safetensors       weights, optimizer state, best weights so far
        tensors-00001.safetensors shards of process 1, if they are sharded over several
        facts.json                everything else that changes during training
        manifest.json             SHA-256 of the others

It is written into a folder of another name, flushed to disk, then renamed: a folder with such a name is complete. The
manifest detects a bit that flips later before anything is used, and the previous checkpoint is loaded instead.
"""

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

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from warmstart.runtime.distributed import world
from warmstart.runtime.files import digest, sync, write_json

TENSORS = "tensors.safetensors"
CHECKPOINTS_KEPT = 2  # the newest, and one to fall back on
SAVE_EVERY_SECONDS = float(
    os.environ.get("WARMSTART_SAVE_EVERY", "30")
)  # seconds between two; a kill loses no more than that
MIN_INTERVAL_FACTOR = 50  # times the seconds that the last one took, at least: saving may cost 2 % of the time

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

    `purpose` says what is trained, on which rows and how. Checkpoints made for another purpose are not resumed from.
    """

    folder: Path
    purpose: str
    every: float = SAVE_EVERY_SECONDS
    _next: float = field(init=False)  # on the clock of time.monotonic

    def __post_init__(self) -> None:
        self._next = time.monotonic() + self.every

    @property
    def due(self) -> bool:
        return time.monotonic() >= self._next

    def save(self, name: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Save under a name that sorts after all earlier ones."""
        began = time.monotonic()
        save_checkpoint(self.folder, name, tensors, facts | {"purpose": self.purpose})
        now = time.monotonic()
        self._next = now + (max(self.every, MIN_INTERVAL_FACTOR * (now - began)) if self.every else 0.0)

    def newest(self) -> Saved | None:
        """The newest usable checkpoint with the same purpose. Unusable ones are deleted."""
        found = world().on_main(self._clear_to_newest)
        return _load(self.folder / found) if found else None

    def _clear_to_newest(self) -> str | None:
        found = _newest(self.folder, lambda facts: facts.get("purpose") == self.purpose)
        for name in _names(self.folder):
            if found is None or name > found:
                shutil.rmtree(self.folder / name)
        return found


def save_checkpoint(folder: Path, name: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write `folder/name`, completely or not at all. The two newest are kept.

    Every process calls this and writes the parts that it holds. Raises OSError where one of them cannot write; earlier
    checkpoints are left unchanged.
    """
    here, staging = world(), folder / f"{name}.tmp"
    here.on_main(lambda: _empty(staging))
    try:
        written = here.gather(lambda: _write_tensors(staging, tensors))
        files = [file for file in written if file is not None]
        here.on_main(lambda: _write_facts(staging, facts, files))
    except OSError:
        here.on_main(lambda: shutil.rmtree(staging, ignore_errors=True))
        raise
    here.on_main(lambda: _publish(staging, folder / name))


def newest_checkpoint(folder: Path, wanted: Callable[[dict[str, Any]], bool] = lambda facts: True) -> Saved | None:
    """The newest checkpoint that is complete and wanted, or None. Damaged ones are skipped."""
    found = _newest(folder, wanted)
    return _load(folder / found) if found else None


def _newest(folder: Path, wanted: Callable[[dict[str, Any]], bool]) -> str | None:
    for name in reversed(_names(folder)):
        if find_damage(folder / name) is None and wanted(_read(folder / name / "facts.json")):
            return name
    return None


def _load(checkpoint: Path) -> Saved:
    """Read all tensors. One that lies in several files is concatenated along its first dimension, in the order of
    parts.
    """
    parts: dict[str, list[Tensor]] = {}
    for file in _read(checkpoint / "manifest.json"):
        if file.endswith(".safetensors"):
            for name, tensor in load_file(checkpoint / file).items():
                parts.setdefault(name, []).append(tensor)
    whole = {name: found[0] if len(found) == 1 else torch.cat(found) for name, found in parts.items()}
    return Saved(checkpoint.name, whole, _read(checkpoint / "facts.json"))


def find_damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, in words; None if it is intact."""
    try:
        manifest: dict[str, str] = _read(checkpoint / "manifest.json")
        there = {entry.name for entry in checkpoint.iterdir() if entry.is_file() and not entry.is_symlink()}
        if {*manifest, "manifest.json"} != there | {TENSORS, "facts.json"}:
            return "its manifest is not one"
        wrong = [name for name, known in manifest.items() if digest(checkpoint / name) != known]
    except (OSError, ValueError, AttributeError) as error:
        return f"it cannot be read: {error}"
    return f"{', '.join(wrong)} changed since it was written" if wrong else None


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _write_tensors(staging: Path, tensors: dict[str, Tensor]) -> tuple[str, str] | None:
    """Write the tensors that this process holds. Returns the file's name and digest, None if it holds nothing."""
    here = world()
    held = {name: here.local_part(tensor) for name, tensor in tensors.items()}
    parts = {name: part.detach().contiguous() for name, part in held.items() if part is not None}
    if not here.main and not parts:
        return None
    file = staging / (TENSORS if here.main else f"tensors-{here.rank:05d}.safetensors")
    with disk_full_message(staging.parent):
        save_file(parts, file)
    sync(file)
    return file.name, digest(file)


def _write_facts(staging: Path, facts: dict[str, Any], files: list[tuple[str, str]]) -> None:
    write_json(staging / "facts.json", facts)
    write_json(staging / "manifest.json", dict([*files, ("facts.json", digest(staging / "facts.json"))]))
    sync(staging)


def _publish(staging: Path, target: Path) -> None:
    if target.exists():  # of a training that was stopped at the same step, or damaged
        shutil.rmtree(target)
    staging.rename(target)
    sync(target.parent)
    for old in _names(target.parent)[:-CHECKPOINTS_KEPT]:
        shutil.rmtree(target.parent / old)


def _read(path: Path) -> dict[str, Any]:
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return known


@contextmanager
def disk_full_message(folder: Path) -> Generator[None, None, None]:
    """Context that turns an error of safetensors ('I/O error: ... (os error 28)') into an OSError."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(f"{folder} cannot be written: {error}") from error


def _names(folder: Path) -> list[str]:
    """Checkpoints, oldest first."""
    return sorted(entry.name for entry in folder.glob("*-*") if entry.is_dir() and entry.suffix != ".tmp")


class HeldSignals:
    """Ctrl-C and SIGTERM, recorded when they arrive and handled when `release` is called, never within a step.

    Set up once per stage, because installing a signal handler may cost as much as a small step.
    """

    def __init__(self) -> None:
        self._arrived: list[int] = []
        self._before: dict[int, Handler] = {}

    def __enter__(self) -> "HeldSignals":
        if threading.current_thread() is threading.main_thread():  # no other thread gets them
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, lambda number, frame: self._arrived.append(number))
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is None or issubclass(kind, (Exception, GeneratorExit)):  # else it is what a signal has raised
            self.release()

    @property
    def arrived(self) -> int:
        """Number of a pending signal; 0: none."""
        return self._arrived[-1] if self._arrived else 0

    def hear(self, number: int) -> None:
        """Record a signal that arrived in another process; 0 means one that arrived here."""
        if number and not self._arrived:
            self._arrived.append(number)

    def release(self) -> None:
        """Handle a pending signal now, which usually raises."""
        while self._arrived:
            number = self._arrived.pop()
            handler = self._before[number]
            if callable(handler):
                handler(number, None)
            elif handler != signal.SIG_IGN:
                signal.signal(number, handler)
                signal.raise_signal(number)
