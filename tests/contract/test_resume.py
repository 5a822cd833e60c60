"""The contract of going on: stopped anywhere and gone on with, every regime ends with the very same weights."""

import os
import signal
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.decoders import language_draw, save_decoder
from warmstart.models.dnn import Size
from warmstart.models.pretrained.base import Base, find_base
from warmstart.regimes.frozen import Frozen
from warmstart.regimes.full import Full
from warmstart.regimes.lora import LoRA
from warmstart.regimes.method import Method
from warmstart.regimes.regimes import DEFAULTS, METHODS, Regime, Stage
from warmstart.regimes.scratch_dnn import PathByPath, WideAndDeepStart
from warmstart.regimes.starts import Architecture, Pretrained, Scratch, dnn
from warmstart.request.launch import run_to_end
from warmstart.tasks.language import Language
from warmstart.training.checkpoint import Checkpoints
from warmstart.training.config import TrainConfig
from warmstart.training.event import Event
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.run_data import RunData
from warmstart.training.stages import TrainedStages, train_stages

CONFIG = TrainConfig(steps=9, lr=5e-3, batch_size=16)
REGIMES = (*METHODS, "scratch", "scratch-dnn", "reference", "head-then-all", "all-then-head", "hybrid")
CASES = [(name, "plain") for name in REGIMES]  # and each setting with two of them
SETTINGS = {
    "plain": CONFIG,
    "words dropped": replace(CONFIG, word_dropout=0.2),
    "in pieces": replace(CONFIG, micro_batch=5),
    "both": replace(CONFIG, micro_batch=5, word_dropout=0.2),
    "momentum": replace(CONFIG, optimizer="sgd", lr=0.02),
}
CASES += [(name, setting) for setting in SETTINGS if setting != "plain" for name in ("scratch-dnn", "head-then-all")]


def regime_of(name: str, base: Base) -> Regime:
    stages = {
        "head-then-all": (Stage(Frozen(), share=0.4), Stage(Full(), share=0.6)),
        "all-then-head": (Stage(Full(), share=0.6), Stage(Frozen(1), share=0.4)),
        "hybrid": (Stage(Full(), Language("masked-lm"), share=0.5), Stage(Full(), share=0.5)),
    }
    start = {
        "scratch": Scratch(Architecture(base), base.inputs, base.pooling),
        "scratch-dnn": WideAndDeepStart(Size(0, width=8, depth=1, dropout=0.5)),
        "reference": dnn(Size(features=500, width=8, depth=2)),
    }
    method = {
        "scratch": Full(),
        "scratch-dnn": PathByPath(),
        "reference": Full(),
        "lora": LoRA(rank=2),
        "top-layers": Frozen(1),
    }.get(name)
    found = stages.get(name) or (Stage(method or METHODS[name], margins=name == "scratch-dnn"),)
    return Regime(name, start.get(name, Pretrained(base)), found, DEFAULTS["full"])


def finished(steps: Generator[Event, None, TrainedStages]) -> TrainedStages:
    return run_to_end(steps)


def same(one: TrainedStages, other: TrainedStages) -> None:
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[name]), name
    assert one.points == [replace(p, seconds=q.seconds) for p, q in zip(other.points, one.points, strict=True)]
    assert (one.steps, one.best_step, one.train_flops) == (other.steps, other.best_step, other.train_flops)
    assert one.caveats == other.caveats


@pytest.mark.parametrize(("name", "setting"), CASES)
def test_going_on_ends_as_if_never_stopped(
    name: str, setting: str, base: Base, regression: RunData, tmp_path: Path
) -> None:
    if name == "qlora":
        pytest.importorskip("bitsandbytes")
    regime, config = regime_of(name, base), SETTINGS[setting]

    def begun(checkpoints: Checkpoints | None) -> Generator[Event, None, TrainedStages]:
        # another process would have to read and compute everything anew
        return train_stages(regime, config, replace(regression, shared=SharedData(regression.splits)), 3, checkpoints)

    whole = finished(begun(None))
    checkpoints = Checkpoints(tmp_path, "this", every=1e9)  # only when it is stopped
    for steps in (1, 3, 1):  # stopped after the first step, after the fourth (a look is due before that), the fifth
        part = begun(checkpoints)
        for _ in range(steps):
            next(part)
        part.close()
    same(finished(begun(checkpoints)), whole)


@pytest.mark.parametrize("method", [Full(), LoRA(rank=2)], ids=["full", "lora"])
def test_general_rows_and_the_pull_go_on_too(method: Method, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the base's own text, sampled once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    decoder = find_base(save_decoder(tmp_path / "base", scale=1.0), max_length=64)
    regime = Regime("full", Pretrained(decoder), (Stage(method),), DEFAULTS["full"])
    config = TrainConfig(steps=6, lr=5e-3, batch_size=4, micro_batch=2, replay=0.4, l2_sp=20.0)

    def begun(checkpoints: Checkpoints | None) -> Generator[Event, None, TrainedStages]:
        return train_stages(regime, config, language_draw(), 2, checkpoints)

    whole = finished(begun(None))
    checkpoints = Checkpoints(tmp_path, "this", every=1e9)
    for steps in (2, 2):
        part = begun(checkpoints)
        for _ in range(steps):
            next(part)
        part.close()
    same(finished(begun(checkpoints)), whole)


@pytest.mark.parametrize("steps", range(1, 10))
def test_a_kill_after_any_step_loses_nothing_that_was_saved(
    steps: int, base: Base, regression: RunData, tmp_path: Path
) -> None:
    regime = regime_of("head-then-all", base)
    whole = finished(train_stages(regime, CONFIG, regression, 2))
    killed = train_stages(regime, CONFIG, regression, 2, Checkpoints(tmp_path, "this", every=0))
    for _ in range(steps):
        next(killed)
    checkpoints = Checkpoints(tmp_path, "this", every=0)
    saved = checkpoints.newest()
    assert (saved is None) == (steps == 1)  # the second step comes after the first save
    same(finished(train_stages(regime, CONFIG, regression, 2, checkpoints)), whole)


def test_a_training_that_stopped_early_does_so_again(base: Base, regression: RunData, tmp_path: Path) -> None:
    regime = regime_of("full", base)
    config = replace(CONFIG, steps=40, lr=0.3, schedule="constant", optimizer="adam")
    whole = finished(train_stages(regime, config, regression, 10))
    assert whole.steps < 40
    part = train_stages(regime, config, regression, 10, Checkpoints(tmp_path, "this", every=1e9))
    for _ in range(whole.steps - 2):
        next(part)
    part.close()
    same(finished(train_stages(regime, config, regression, 10, Checkpoints(tmp_path, "this", every=0))), whole)
    # killed once more, while the test rows were scored
    same(finished(train_stages(regime, config, regression, 10, Checkpoints(tmp_path, "this", every=0))), whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_in_progress_and_saves(
    number: signal.Signals, base: Base, regression: RunData, tmp_path: Path
) -> None:
    class Stopped(BaseException):
        pass

    def stop(number: int, frame: object) -> None:
        raise Stopped

    regime = regime_of("full", base)
    whole = finished(train_stages(regime, CONFIG, regression, 3))
    before = signal.signal(number, stop)
    try:
        part = train_stages(regime, CONFIG, regression, 3, Checkpoints(tmp_path, "this", every=1e9))
        with pytest.raises(Stopped):
            for event in part:
                if event.step and event.step.index == 4:
                    os.kill(os.getpid(), number)
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)
    checkpoints = Checkpoints(tmp_path, "this", every=1e9)
    saved = checkpoints.newest()
    assert saved is not None and saved.name == "0-0-00000005"
    same(finished(train_stages(regime, CONFIG, regression, 3, checkpoints)), whole)


def test_other_settings_start_anew(base: Base, regression: RunData, tmp_path: Path) -> None:
    regime = regime_of("full", base)
    part = train_stages(regime, CONFIG, regression, 3, Checkpoints(tmp_path, "this", every=0))
    for _ in range(4):
        next(part)
    part.close()
    again = train_stages(regime, CONFIG, regression, 3, Checkpoints(tmp_path, "that", every=0))
    first = next(again).step
    assert first is not None and first.index == 0
    again.close()
