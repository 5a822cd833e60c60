"""Settings: does a search over architecture and regularization find, prune, resume, and keep what is better?"""

import json
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.tiny import CLASSES, REGRESSION, tiny_draw
from warmstart.baselines.baselines import FIT_BASELINE
from warmstart.errors import InputError, MissingError, UsageError
from warmstart.models.pretrained.base import Base
from warmstart.regimes import search_space
from warmstart.regimes.regimes import METHODS, REGIMES, Regime, RegimeContext
from warmstart.regimes.search_space import SPACES, TREE_SPACE, Dimension, Sampler, SearchEffort
from warmstart.request.launch import run_to_end
from warmstart.request.request import Request
from warmstart.results.record import Evaluation, Run, load_run
from warmstart.runs import search as tune
from warmstart.runs.baseline_run import fit_baseline, run_baseline
from warmstart.runs.run import TunedRegime, train_run
from warmstart.settings.choices import Init
from warmstart.training.config import TrainConfig
from warmstart.training.event import Event, Step
from warmstart.training.stages import train_stages

CONFIG = TrainConfig(steps=16, lr=1e-2, batch_size=16)


def of(name: str, base: Base, **changes: Any) -> Regime:
    return REGIMES[name](RegimeContext(base, 84, **changes))


class Pretended:
    """Trainings whose validation error is a function of the settings; how long each was trained is counted."""

    def __init__(self, error: Any):
        self.error = error
        self.trained: list[tuple[Regime, TrainConfig]] = []

    def train_stages(
        self, regime: Regime, config: TrainConfig, *_: object, **__: object
    ) -> Generator[Event, bool | None, Any]:
        done = 0
        score = self.error(regime, config)
        for index in range(4):
            done += 1
            seen = Evaluation(index, 0.0, 0.0, 0.0, score + 0.1 * (3 - index), 0.0)
            if (yield Event("training", step=Step(index, 0.0, 0.0, 0.0), evaluation=seen)):
                break
        self.trained.append((regime, replace(config, steps=done)))
        return type("Trained", (), {"score": score, "steps": done})

    def score_trial(self, trained: Any, *_: object) -> tuple[float, float]:
        return trained.score, float(trained.steps)


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Any:
    def begin(error: Any) -> Pretended:
        found = Pretended(error)
        monkeypatch.setattr(tune, "train_stages", found.train_stages)
        monkeypatch.setattr(tune, "score_trial", found.score_trial)
        return found

    return begin


def searched(regime: Regime, effort: int, folder: Path | None = None, trials: int = 1) -> TunedRegime:
    data = tiny_draw(REGRESSION)
    return run_to_end(tune.search_settings(regime, CONFIG, data, trials, 0.0, SearchEffort(effort), folder))


def decayed(regime: Regime, config: TrainConfig) -> float:
    """Best where weight decay is largest: .3 beats the default .01 by far."""
    return 1.0 - config.weight_decay


def test_what_does_better_is_kept_and_its_cost_and_gain_are_noted(pretend: Any, base: Base) -> None:
    seen = pretend(decayed)
    found = searched(of("full", base), 12)
    assert found.search is not None and len(found.search.trials) == 12 + tune.CHECKS
    assert found.config.weight_decay > 0.1 and found.regime.chosen["weight_decay"] == found.config.weight_decay
    assert set(found.regime.chosen) == {"dropout", "word_dropout", "weight_decay"}
    assert found.search.settings == found.regime.chosen
    assert found.search.gain == pytest.approx(found.config.weight_decay - CONFIG.weight_decay)
    assert found.flops == found.search.flops == sum(config.steps for _, config in seen.trained)
    checks = [config for _, config in seen.trained[-2:]]
    assert {config.seed for config in checks} == {CONFIG.seed + tune.OTHER_SEED}


def test_the_default_stays_where_full_length_says_so(pretend: Any, base: Base) -> None:
    pretend(lambda regime, config: decayed(regime, config) if config.seed < tune.OTHER_SEED else 1.0)
    found = searched(of("full", base), 6)
    assert not found.regime.chosen and found.config == CONFIG and found.search is not None
    assert found.search.gain == 0 and found.search.default == found.search.found == 1.0 and not found.search.settings


def test_trials_that_do_worse_than_the_median_are_stopped_early(pretend: Any, base: Base) -> None:
    seen = pretend(decayed)
    found = searched(of("full", base), 20)
    lengths = [config.steps for _, config in seen.trained]
    assert found.search is not None and found.search.pruned == sum(length < 4 for length in lengths) > 0
    best = min((t.val, t.steps) for t in found.search.trials if t.val is not None)
    assert best[0] == pytest.approx(1.0 - found.config.weight_decay)


def test_the_same_seed_finds_the_same(pretend: Any, base: Base) -> None:
    pretend(decayed)
    first, again = searched(of("full", base), 8, trials=3), searched(of("full", base), 8, trials=3)
    assert (first.regime.chosen, first.config, first.trials) == (again.regime.chosen, again.config, again.trials)
    assert first.search and again.search and first.search.trials == again.search.trials


def test_a_kill_loses_no_finished_trial(pretend: Any, base: Base, tmp_path: Path) -> None:
    whole = searched_anew = pretend(decayed)
    expected = searched(of("full", base), 10, tmp_path / "whole")
    count = len(whole.trained)

    class Killed(BaseException): ...

    def until(stop: int) -> Any:
        def error(regime: Regime, config: TrainConfig) -> float:
            if len(part.trained) == stop:
                raise Killed
            return decayed(regime, config)

        return error

    part = pretend(until(6))
    with pytest.raises(Killed):
        searched(of("full", base), 10, tmp_path / "part")
    searched_anew = pretend(decayed)
    found = searched(of("full", base), 10, tmp_path / "part")
    assert len(searched_anew.trained) == count - 6
    assert found.search and expected.search and found.search.trials == expected.search.trials
    assert (found.regime.chosen, found.config, found.flops) == (
        expected.regime.chosen,
        expected.config,
        expected.flops,
    )
    again = searched(of("full", base), 10, tmp_path / "part")  # complete: read back from one file
    assert again == replace(found) and len(searched_anew.trained) == count - 6


def test_a_trial_of_other_settings_is_not_taken_for_this_one(pretend: Any, base: Base, tmp_path: Path) -> None:
    pretend(decayed)
    searched(of("full", base), 4, tmp_path / "part")
    (tmp_path / "part.json").unlink()
    (tmp_path / "part").mkdir()
    facts = {"trial": {"settings": {"lr": 5.0}, "steps": 4, "val": 0.1}, "flops": 1.0, "seconds": 1.0}
    (tmp_path / "part" / "0.json").write_text(json.dumps(facts | {"seen": [0.1], "pruned": False}))
    with pytest.raises(InputError, match="Optuna"):
        searched(of("full", base), 4, tmp_path / "part")


def test_a_time_ends_the_search(pretend: Any, base: Base) -> None:
    seen = pretend(decayed)
    data = tiny_draw(REGRESSION)
    effort = SearchEffort.of("0s")
    assert effort.seconds == 0 and effort.trials == search_space.MOST_TRIALS
    found = run_to_end(tune.search_settings(of("full", base), CONFIG, data, 1, 0.0, effort))
    assert not seen.trained and found.search is not None and not found.search.trials


@pytest.mark.parametrize("name", [name for name in SPACES if name not in ("boosted", "scratch-cnn")])
def test_every_regime_can_be_made_with_every_value_of_its_space(name: str, base: Base) -> None:
    regime = of(name, base)
    for each in regime.space:
        for value in each.choices or (each.low, each.high):
            exact = int(value) if each.whole else value
            made, config = tune.set_values(regime, CONFIG, {each.name: exact})
            assert made.chosen == {each.name: exact} and made.name == regime.name
            changed = made.start != regime.start or made.stages != regime.stages or config != CONFIG
            usual = (each.name == "layers" and value == 1.0) or value in ("default", 16, 0.0, 256)
            assert changed or usual, (each.name, value)


def test_choices_are_those_that_a_person_can_type() -> None:
    assert search_space._INIT.choices == get_args(Init)
    assert set(METHODS) - {"hybrid"} <= set(SPACES)


def test_fewer_layers_are_fewer_layers(base: Base) -> None:
    small = of("scratch", base, layers=0.5).start.body(0)
    assert small.config.num_hidden_layers == 1 and of("scratch", base).start.body(0).config.num_hidden_layers == 2


def test_a_search_runs_and_its_run_says_what_was_found(base: Base, tmp_path: Path) -> None:
    data = tiny_draw(CLASSES)
    effort = SearchEffort(3)
    found = run_to_end(
        tune.search_settings(of("lora", base), CONFIG, data, 1, 0.0, effort, tmp_path / "tuning" / "lora-r84")
    )
    again = tune.from_json(tune.to_json(found), of("lora", base), CONFIG)
    assert again == found
    run: Run = run_to_end(train_run(found, data, tmp_path / "run"))
    assert load_run(tmp_path / "run").search == run.search == found.search and found.search is not None
    assert len(found.search.trials) >= 3 and "lora_rank" in found.search.trials[0].settings
    assert run.settings | found.search.settings == run.settings


def test_stopping_a_training_keeps_what_it_has(base: Base) -> None:
    steps = train_stages(of("full", base), CONFIG, tiny_draw(CLASSES), 4)
    seen = 0
    try:
        event = next(steps)
        while True:
            seen += event.evaluation is not None
            event = steps.send(True if seen == 2 else None)
    except StopIteration as stop:
        assert stop.value.steps == 9 and stop.value.train_flops > 0


def test_trees_are_searched_and_resumed(tmp_path: Path) -> None:
    data = tiny_draw(REGRESSION)
    first = fit_baseline("boosted", data, None, SearchEffort(5), tmp_path / "trials")
    assert first.search is not None and len(first.search.trials) == 6  # the usual settings too
    assert {each.name for each in TREE_SPACE} == set(first.search.trials[1].settings)
    kept = sorted(path.name for path in (tmp_path / "trials").iterdir())
    assert len(kept) == 5
    again = fit_baseline("boosted", data, None, SearchEffort(5), tmp_path / "trials")
    assert again.search and replace(again.search, seconds=0.0) == replace(first.search, seconds=0.0)
    usual = fit_baseline("boosted", data, None)
    assert usual.search is None
    run: Run = run_to_end(run_baseline("boosted", data, tmp_path / "run", None, None, SearchEffort(2)))
    assert run.search and run.tuning_flops >= run.search.flops > 0 and load_run(tmp_path / "run").search == run.search
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_the_sampler_learns() -> None:
    sampler = Sampler([Dimension("x", -1.0, 1.0)], 0, 40, higher_is_better=False)
    tried = []
    for _ in range(40):
        asked = sampler.ask()
        tried.append(float(asked.settings["x"]))
        sampler.tell(asked, (tried[-1] - 0.5) ** 2, pruned=False)
    late, early = tried[-10:], tried[:10]
    assert sum(abs(x - 0.5) for x in late) < 0.7 * sum(abs(x - 0.5) for x in early)


def test_what_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Request(data=("x",), search=30).options(("full",)).search == 30
    with pytest.raises(UsageError, match="trials"):
        Request(data=("x",), search=5_000)
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(MissingError, match="optuna"):
        Request(data=("x",), search=3)
    assert "boosted" in FIT_BASELINE
