"""Tune: are the rates tried the right ones, and is the best of them taken?"""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import REGRESSION, tiny_draw
from warmstart.models.dnn import Size
from warmstart.models.pretrained.base import Base
from warmstart.regimes.defaults import AUGMENTATIONS
from warmstart.regimes.regimes import REGIMES, Regime, RegimeContext
from warmstart.request.launch import run_to_end
from warmstart.runs import search
from warmstart.runs.run import TunedRegime
from warmstart.training.config import TrainConfig
from warmstart.training.event import Event

CONFIG = TrainConfig(steps=400, lr=1e-3)
FLOPS = 10.0  # of each trial that follows


Error = Callable[[float, Size | None], float | None]


def best_at(lr: float) -> Error:
    return lambda tried, size: abs(math.log10(tried / lr))


@dataclass
class Attempts:
    """What was tried; the validation error of a trial is what `error` says, without any training."""

    error: Error = field(default_factory=lambda: best_at(1e-3))
    configs: list[TrainConfig] = field(default_factory=list)


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> Attempts:
    seen = Attempts()

    def pretended(
        regime: Regime, config: TrainConfig, *_: object, **__: object
    ) -> Generator[Event, None, tuple[Regime, float]]:
        yield Event("training")
        seen.configs.append(config)
        return regime, config.lr

    def scored(trained: tuple[Regime, float], *_: object) -> tuple[float | None, float]:
        regime, lr = trained
        size = regime.start.size
        return seen.error(lr * search.TRIAL_SHARE**0.5, size), FLOPS

    monkeypatch.setattr(search, "train_stages", pretended)
    monkeypatch.setattr(search, "score_trial", scored)
    return seen


def searched(regime: Regime, trials: int, spend: float = 0.0) -> TunedRegime:
    steps = search.search_settings(regime, CONFIG, tiny_draw(REGRESSION), trials, spend)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            chosen: TunedRegime = stop.value
            return chosen


@pytest.mark.parametrize(
    "best, expected",
    [(1e-3, 1e-3), (3e-3, 10**-2.5), (1e-2, 1e-2), (3e-4, 10**-3.5), (1e-6, 1e-4), (1.0, 1e-2)],
)
def test_three_rates_about_a_factor_three_apart_and_one_more_beyond_an_edge(
    best: float, expected: float, attempts: Attempts, base: Base
) -> None:
    attempts.error = best_at(best)
    chosen = searched(REGIMES["full"](RegimeContext(base, 84)), trials=3)
    assert chosen.config.lr == pytest.approx(expected)
    assert len(attempts.configs) == (3 if best == 1e-3 else 4)
    assert all(config.steps == 100 for config in attempts.configs)  # a quarter, with a schedule of its own
    assert chosen.config.steps == 400 and len(chosen.trials) == len(attempts.configs)
    assert chosen.flops == FLOPS * len(attempts.configs)


@pytest.mark.parametrize("batch_size, steps", [(32, 100), (2_000, 50), (10_000, 25)])
def test_a_trial_reads_no_more_than_so_many_rows(batch_size: int, steps: int, attempts: Attempts, base: Base) -> None:
    attempts.error = best_at(1e-3)
    config = replace(CONFIG, batch_size=batch_size)
    run_to_end(search.search_settings(REGIMES["full"](RegimeContext(base, 84)), config, tiny_draw(REGRESSION), 3, 0.0))
    assert {tried.steps for tried in attempts.configs} == {steps}
    assert attempts.configs[0].lr == pytest.approx(1e-3 * (400 / steps) ** 0.5), "a shorter schedule has a higher rate"


def test_the_usual_rate_stays_where_another_is_better_by_noise_alone(attempts: Attempts, base: Base) -> None:
    attempts.error = lambda tried, size: 0.40 if tried == 1e-3 else 0.39
    assert searched(REGIMES["full"](RegimeContext(base, 84)), trials=3).config.lr == 1e-3
    attempts.error = lambda tried, size: 0.40 if tried == 1e-3 else 0.30
    assert searched(REGIMES["full"](RegimeContext(base, 84)), trials=3).config.lr != 1e-3


@pytest.mark.parametrize("trials, tried", [(1, 0), (2, 3), (3, 3), (4, 4), (5, 5)])
def test_as_many_rates_as_are_asked_for(trials: int, tried: int, attempts: Attempts, base: Base) -> None:
    attempts.error = best_at(1e-3)
    chosen = searched(REGIMES["full"](RegimeContext(base, 84)), trials)
    assert (
        chosen.config.lr == pytest.approx(1e-3) and len(attempts.configs) == tried
    )  # of two, one is always at an edge


def test_a_rate_that_diverges_is_never_chosen(attempts: Attempts, base: Base) -> None:
    attempts.error = lambda lr, size: None if lr > 5e-4 else 1.0
    assert searched(REGIMES["full"](RegimeContext(base, 84)), trials=3).config.lr < 5e-4


def test_a_cheap_network_may_choose_its_size_until_the_dearest_s_compute_is_spent(
    attempts: Attempts, base: Base
) -> None:
    attempts.error = lambda lr, size: best_at(1e-3)(lr, size) + 1 / (size.width if size else 1)
    regime = REGIMES["scratch-dnn"](RegimeContext(base, 84, size="search"))
    start = regime.start.size
    poor = searched(regime, trials=3, spend=0)
    assert poor.regime.start.size == start
    attempts.configs.clear()
    rich = searched(regime, trials=3, spend=5 * FLOPS)
    assert len(attempts.configs) == 5 and rich.regime.start.size == replace(start, width=start.width * 4)
    attempts.configs.clear()
    assert (
        searched(REGIMES["scratch-dnn"](RegimeContext(base, 84)), trials=3, spend=5 * FLOPS).regime.start.size == start
    )
    assert len(attempts.configs) == 3, "only where it was asked for"


def test_a_search_comes_back_from_json(attempts: Attempts, base: Base) -> None:
    attempts.error = best_at(1e-2)
    for name in ("full", "scratch-dnn"):
        regime = REGIMES[name](RegimeContext(base, 84))
        chosen = searched(regime, trials=3, spend=6 * FLOPS)
        assert search.from_json(search.to_json(chosen), regime, CONFIG) == chosen


def test_a_rate_that_diverges_has_no_score(base: Base) -> None:
    regime, wild = REGIMES["full"](RegimeContext(base, 84)), replace(CONFIG, lr=1e20, optimizer="sgd", clip=1e30)
    found = run_to_end(search.search_settings(regime, replace(wild, steps=40), tiny_draw(REGRESSION), 2, 0.0))
    assert {trial.val for trial in found.trials} == {None} and found.flops == 0


def with_images(base: Base, errors: dict[str, float | None], monkeypatch: pytest.MonkeyPatch) -> Regime:
    """A regime whose error depends on rate and augmentation."""
    real = search.score_trial

    def scored(trained: Any, *more: Any) -> tuple[float | None, float]:  # as `attempts` pretends
        error, flops = real(trained, *more)
        strength = trained[0].chosen.get("augment", "light")
        extra = errors[strength]
        return (None if extra is None or error is None else error + extra), flops

    monkeypatch.setattr(search, "score_trial", scored)
    return replace(REGIMES["full"](RegimeContext(base, 84)), augmentations=AUGMENTATIONS)


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ({"none": 1.0, "light": 0.5, "strong": 0.1}, "strong"),
        ({"none": 0.1, "light": 0.5, "strong": 1.0}, "none"),
        ({"none": 0.49, "light": 0.5, "strong": 0.6}, "light"),  # which noise alone may explain
        ({"none": None, "light": 0.5, "strong": None}, "light"),
    ],
)
def test_augmentation_is_chosen_at_the_best_rate_if_it_is_clearly_better(
    errors: dict[str, float | None],
    expected: str,
    attempts: Attempts,
    base: Base,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempts.error = best_at(3e-3)
    regime, config = with_images(base, errors, monkeypatch), replace(CONFIG, augment="light")
    first = run_to_end(search.search_settings(regime, config, tiny_draw(REGRESSION), 3, 0.0, folder=tmp_path / "full"))
    assert first.config.augment == expected and first.config.lr == pytest.approx(10**-2.5)
    assert [each.augment for each in attempts.configs[-2:]] == ["none", "strong"]
    assert {each.settings["lr"] for each in first.trials[-2:]} == {first.config.lr}
    assert dict(first.regime.chosen) == ({} if expected == "light" else {"augment": expected})
    again = run_to_end(search.search_settings(regime, config, tiny_draw(REGRESSION), 3, 0.0, folder=tmp_path / "full"))
    assert (again.config, again.regime.chosen) == (first.config, first.regime.chosen), "as it was kept"
    other = search.transfer(first, regime, replace(config, steps=40), charged=False)
    assert (other.config.augment, other.config.steps) == (expected, 40)


def test_a_trial_of_a_version_that_tried_something_else_is_not_taken(
    attempts: Attempts, base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Augmentation was not always tried after the rates."""
    config, draw, folder = replace(CONFIG, augment="light"), tiny_draw(REGRESSION), tmp_path / "full"
    regime = with_images(base, {"none": 1.0, "light": 0.5, "strong": 0.1}, monkeypatch)
    first = run_to_end(search.search_settings(regime, config, draw, 3, 0.0, folder=folder))
    folder.with_name("full.json").unlink()
    wrong = {"trial": {"settings": {"lr": 1e-3, "dropout": 0.3}, "steps": 5, "val": 1e-9}, "flops": 1.0, "seconds": 1.0}
    search.save_trial(folder / "3.json", wrong, folder / "checkpoint")
    again = run_to_end(search.search_settings(regime, config, draw, 3, 0.0, folder=folder))
    assert again.trials == first.trials and again.config.augment == "strong"


def test_with_two_rates_no_augmentation_is_tried(
    attempts: Attempts, base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A budget that leaves two rates leaves no time for more."""
    regime = with_images(base, {"none": 0.0, "light": 1.0, "strong": 0.0}, monkeypatch)
    run_to_end(search.search_settings(regime, replace(CONFIG, augment="light"), tiny_draw(REGRESSION), 2, 0.0))
    assert {each.augment for each in attempts.configs} == {"light"}
