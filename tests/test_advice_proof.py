"""The proof of advise: a race replayed on a log answers as one that trains would, and teaches nothing to itself."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import learn
import measure
import problems
import replay
import tables
from warmstart.regimes.regimes import DEFAULT_REGIMES
from warmstart.results.names import ENSEMBLE
from warmstart.study.curve_model import NextRun
from warmstart.study.race import rungs

WHOLE, ITEMS = 200, 300
COSTS = {"constant": 0.001, "linear": 0.01, "frozen": 0.05, "scratch-dnn": 0.05}


def logged(name: str, errors: dict[str, float], folder: Path, generator: int = 0) -> None:
    """A log of straight curves that end at these errors."""
    random = np.random.default_rng(generator)
    hardness = random.random(ITEMS)
    rows = []
    for regime in DEFAULT_REGIMES:
        for seed in range(measure.SEEDS):
            for size in rungs(WHOLE):
                error = errors[regime] * (size / WHOLE) ** (0.0 if regime == "constant" else -0.2)
                lost = 0.8 * hardness + 0.2 * random.random(ITEMS) < error
                cost = COSTS.get(regime, 1.0)
                rows.append(
                    {
                        "problem": name,
                        "regime": regime,
                        "rows": size,
                        "seed": seed,
                        "whole": WHOLE,
                        "higher_is_better": True,
                        "planned": cost * size / WHOLE,
                        "planned_search": cost * 0.2,
                        "planned_whole_search": cost * 0.9,
                        "losses": lost.astype(np.float32),
                    }
                )
    measure.write_log(rows, folder / f"{name}.parquet")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    poor = dict.fromkeys(DEFAULT_REGIMES, 0.55) | {"constant": 0.9}
    logged("one", poor | {"full": 0.3}, folder)
    logged("other", poor | {"linear": 0.35}, folder, 1)
    return folder


@pytest.fixture(scope="module")
def whole(log: Path) -> list[replay.Logged]:
    return replay.whole_ones(log)


def test_a_log_is_read_back_and_one_with_a_run_missing_waits(log: Path, tmp_path: Path) -> None:
    rows = measure.read_log(log / "one.parquet")
    measure.write_log(rows, tmp_path / "one.parquet")
    measure.write_log(rows[:-1], tmp_path / "half.parquet")
    assert [each.name for each in replay.whole_ones(tmp_path)] == ["one"]
    assert measure.read_log(tmp_path / "nothing.parquet") == []


def test_the_race_finds_the_best_within_its_budget_and_bands_hold(whole: list[replay.Logged]) -> None:
    for problem, best in zip(whole, ("full", "linear"), strict=True):
        found = replay.raced(problem, 0.3, 0, None)
        assert problem.best == found.choice == best and found.right and found.regret == 0
        assert 0 < found.spent <= 0.3 and np.mean(found.held) > 0.5


def test_a_poor_choice_is_wrong_and_costs_what_it_falls_short(whole: list[replay.Logged]) -> None:
    found = replay.answered(whole[0], 0, "lora", 0.1)
    assert not found.right and found.regret == pytest.approx((0.55 - 0.3) / 0.7, abs=0.05)


def test_halving_keeps_to_its_budget_and_goes_by_the_last_value(whole: list[replay.Logged]) -> None:
    for part in (0.02, 0.1, 1.0):
        assert replay.halved(whole[0], part, 0).spent <= part
    assert replay.halved(whole[0], 1.0, 0).choice == "full"


def test_slopes_are_learned(whole: list[replay.Logged]) -> None:
    some = ("constant", "full", "lora")
    few = [replace(p, losses={ask: lost for ask, lost in p.losses.items() if ask.arm in some}) for p in whole]
    prior = learn.learned(few, passes=30)
    assert prior.slope_of("full").mean == pytest.approx(-0.2, abs=0.05)
    assert "constant" not in prior.slopes


def test_results_become_tables(whole: list[replay.Logged], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(replay, "PARTS", (0.1,))
    taught: list[list[str]] = []

    def learned(others: list[replay.Logged]) -> replay.Prior:
        taught.append([other.name for other in others])
        return replay.Prior()

    monkeypatch.setattr(replay, "learned", learned)
    monkeypatch.setattr(replay, "BOOTSTRAPS", 20)
    found = json.loads(json.dumps(replay.results(whole)))
    assert taught[:2] == [["other"], ["one"]], "never the problem itself"
    page = tmp_path / "page.md"
    page.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    monkeypatch.setattr(tables, "PAGES", (page, page))
    (tmp_path / "advice.json").write_text(json.dumps(found))
    tables.write(tmp_path / "advice.json")
    said = page.read_text()
    assert said.startswith("before") and said.endswith("after\n") and "| race | 10 % |" in said and "old" not in said


@pytest.mark.parametrize("text", ["The quick brown fox", "fox"])
def test_a_coded_text_has_the_same_words_in_other_letters(text: str) -> None:
    coded = problems._code(text)
    assert len(coded.split()) == len(text.split()) and coded != text
    assert problems._code("a fox").split()[1] == problems._code("the FOX").split()[1]


RACED = tuple(name for name in DEFAULT_REGIMES if name != ENSEMBLE)  # which is made of finished runs


def test_every_run_of_a_race_is_asked_for_once() -> None:
    class Plan:
        names, sizes = RACED, rungs(WHOLE)

    class Study:
        plan = Plan

    asks = list(measure.asks(Study))  # type: ignore[arg-type]
    assert len(set(asks)) == len(asks) == len(RACED) * len(rungs(WHOLE)) * measure.SEEDS
    assert asks[0] == NextRun("constant", 50, 0)
