"""Checkpoint: all of it or nothing, and what was damaged is not used."""

import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from warmstart.training import checkpoint
from warmstart.training.checkpoint import (
    Checkpoints,
    HeldSignals,
    disk_full_message,
    find_damage,
    newest_checkpoint,
    save_checkpoint,
)


def saved(folder: Path, *steps: int) -> None:
    for step in steps:
        save_checkpoint(
            folder, f"0-{step:08d}", {"w": torch.full((100,), float(step)), "n": torch.tensor(step)}, {"step": step}
        )


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    facts = {"third": 1 / 3, "words": ["a", "ü"], "none": None}
    save_checkpoint(
        tmp_path,
        "0-00000001",
        {"x": torch.randn(3, 4), "bits": torch.tensor([True]), "half": torch.ones(2).bfloat16()},
        facts,
    )
    found = newest_checkpoint(tmp_path)
    assert found is not None and found.facts == facts and found.name == "0-00000001"
    assert {name: tensor.dtype for name, tensor in found.tensors.items()} == {
        "x": torch.float32,
        "bits": torch.bool,
        "half": torch.bfloat16,
    }


def test_the_two_newest_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3, 10)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["0-00000003", "0-00000010"]


def test_nothing_there_is_nothing(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None and newest_checkpoint(tmp_path / "missing") is None


@pytest.mark.parametrize("file", ["tensors.safetensors", "facts.json", "manifest.json"])
def test_damage_is_found_and_the_one_before_is_used(file: str, tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    path = tmp_path / "0-00000002" / file
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    for position in generator.integers(len(whole), size=20):
        broken = bytearray(whole)
        broken[position] ^= 1 << int(generator.integers(8))
        path.write_bytes(broken)
        assert find_damage(path.parent), position
        assert newest_checkpoint(tmp_path).name == "0-00000001"  # type: ignore[union-attr]
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert newest_checkpoint(tmp_path).name == "0-00000001"  # type: ignore[union-attr]
    path.unlink()
    assert newest_checkpoint(tmp_path).name == "0-00000001"  # type: ignore[union-attr]
    path.write_bytes(whole)
    assert newest_checkpoint(tmp_path).name == "0-00000002"  # type: ignore[union-attr]


def test_a_manifest_that_leaves_a_file_out_is_damage(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    path = tmp_path / "0-00000001" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["facts.json"]
    path.write_text(json.dumps(manifest))
    assert find_damage(path.parent)


@pytest.mark.parametrize("call", range(1, 6))
def test_a_save_that_ends_early_leaves_those_before(call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of its writes does not come back."""
    saved(tmp_path, 1, 2)
    done, sync = 0, os.fsync

    def failing(descriptor: int) -> None:
        nonlocal done
        done += 1
        if done == call:
            raise KeyboardInterrupt
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(KeyboardInterrupt):
        saved(tmp_path, 3)
    monkeypatch.undo()
    found = newest_checkpoint(tmp_path)
    assert found is not None and found.name == ("0-00000003" if call == 5 else "0-00000002")
    saved(tmp_path, 3)
    assert newest_checkpoint(tmp_path).facts == {"step": 3}  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [0, 100, 400])
def test_a_full_disk_leaves_those_before_and_says_so(size: int, tmp_path: Path) -> None:
    saved(tmp_path, 1)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            saved(tmp_path, 2)
        except OSError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert [entry.name for entry in tmp_path.iterdir()] == ["0-00000001"]
    assert newest_checkpoint(tmp_path) is not None


def test_those_of_another_training_are_cleared_away(tmp_path: Path) -> None:
    Checkpoints(tmp_path, "one", every=0).save("0-00000009", {"w": torch.zeros(1)}, {})
    other = Checkpoints(tmp_path, "another", every=0)
    assert other.newest() is None
    other.save("0-00000001", {"w": torch.ones(1)}, {})
    found = other.newest()
    assert found is not None and found.tensors["w"] == 1


def test_one_that_is_damaged_does_not_stand_above_those_to_come(tmp_path: Path) -> None:
    ours = Checkpoints(tmp_path, "one", every=0)
    for step in (1, 5):
        ours.save(f"0-{step:08d}", {"w": torch.zeros(1)}, {})
    (tmp_path / "0-00000005" / "facts.json").unlink()
    assert ours.newest().name == "0-00000001"  # type: ignore[union-attr]
    ours.save("0-00000002", {"w": torch.zeros(1)}, {})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["0-00000001", "0-00000002"]


def test_the_next_is_due_when_it_may_cost_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now)

    def slow(*given: object) -> None:
        nonlocal now
        now += 2.0

    monkeypatch.setattr(checkpoint, "save_checkpoint", slow)
    ours = Checkpoints(tmp_path, "one", every=30)
    assert not ours.due
    now = 30.0
    assert ours.due
    ours.save("0-00000001", {}, {})
    now = 32.0 + 99.0
    assert not ours.due  # 2 s of saving in every 100
    now = 32.0 + 100.0
    assert ours.due


def test_a_signal_is_held_until_it_is_let_through() -> None:
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with HeldSignals() as held:
            os.kill(os.getpid(), signal.SIGTERM)
            assert not seen
            held.release()
            assert seen == [signal.SIGTERM]
            held.release()
        os.kill(os.getpid(), signal.SIGTERM)
        assert seen == [signal.SIGTERM] * 2
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """As from a terminal: what a script starts in the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_interrupts_when_it_is_let_through() -> None:
    with pytest.raises(KeyboardInterrupt), HeldSignals() as held:
        os.kill(os.getpid(), signal.SIGINT)
        held.release()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("interruptible")
def test_a_signal_is_not_lost_with_steps_that_end_early() -> None:
    def steps() -> Iterator[int]:
        with HeldSignals():
            signal.raise_signal(signal.SIGINT)
            yield 0
            yield 1

    begun = steps()
    next(begun)
    with pytest.raises(KeyboardInterrupt):
        begun.close()
    with pytest.raises(KeyboardInterrupt), suppress(ValueError), HeldSignals():
        signal.raise_signal(signal.SIGINT)
        raise ValueError("and something is wrong as well")


@pytest.mark.usefixtures("interruptible")
def test_a_signal_that_nobody_released_is_handled_in_the_end() -> None:
    with pytest.raises(KeyboardInterrupt), HeldSignals():
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_no_space_is_an_os_error() -> None:
    """Whichever library says so."""
    with pytest.raises(OSError, match=r"x cannot be written: .*os error 28"), disk_full_message(Path("x")):
        raise SafetensorError("I/O error: No space left on device (os error 28)")
