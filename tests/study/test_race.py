"""Race: the best is found from few rows, no more is spent than allowed, and a tie is not called."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import norm

from warmstart.study.curve_model import CurvePrior, NextRun, Prior
from warmstart.study.race import MOST_SEEDS, RaceArm, RaceRanking, Result, _expected_above, race, rungs
from warmstart.types import Array

WHOLE, ITEMS = 1600, 600
PRIOR = Prior(usual=CurvePrior(-0.2, 0.15), bend=0.1, seeds=0.03)


@dataclass(frozen=True)
class Curve:
    """An arm whose error falls along a straight line, blurred by seeds and by who the test rows are."""

    error: float  # with all rows
    slope: float
    cost: float = 1.0  # of a row

    def at(self, rows: int) -> float:
        return self.error * (rows / WHOLE) ** self.slope


class World:
    """Runs of some arms: what each row loses is partly the row's own hardness, the same for all arms."""

    def __init__(self, curves: dict[str, Curve], generator: int = 0, seeds: float = 0.03):
        self.curves, self.seeds = curves, seeds
        self.random = np.random.default_rng(generator)
        self.hardness = self.random.standard_normal(ITEMS)
        self.asked: list[NextRun] = []

    def losses(self, ask: NextRun) -> Array:
        error = self.curves[ask.arm].at(ask.rows) * math.exp(self.seeds * self.random.standard_normal())
        luck = 0.9 * self.hardness + math.sqrt(1 - 0.9**2) * self.random.standard_normal(ITEMS)
        return (luck < NormalDist().inv_cdf(min(error, 0.99))).astype(float)

    def run(
        self,
        budget: float,
        whole_arms: Sequence[str] = (),
        failing: Sequence[str] = (),
        prior: Prior = PRIOR,
        flat: Sequence[str] = (),
    ) -> RaceRanking:
        arms = [
            RaceArm(name, lambda rows, cost=curve.cost: cost * rows, whole=name in whole_arms, flat=name in flat)
            for name, curve in self.curves.items()
        ]
        going = race(arms, WHOLE, budget, prior=prior)
        ask = next(going)
        while True:
            self.asked.append(ask)
            losses = None if ask.arm in failing else self.losses(ask)
            try:
                ask = going.send(Result(ask, losses, self.curves[ask.arm].cost * ask.rows))
            except StopIteration as stop:
                ranking: RaceRanking = stop.value
                return ranking


CLEAR = {"good": Curve(0.2, -0.2), "fair": Curve(0.3, -0.2), "poor": Curve(0.45, -0.1)}


@pytest.mark.parametrize("generator", range(5))
def test_a_clear_winner_is_found_for_less_than_one_run_of_each(generator: int) -> None:
    world = World(CLEAR, generator)

    found = world.run(budget=9 * WHOLE)

    assert found.decided and found.choice == "good" and found.confidence >= 0.95
    assert found.spent < 2.5 * WHOLE
    assert "poor" in found.dropped


def test_one_that_starts_behind_but_learns_faster_is_not_dropped() -> None:
    world = World({"slow": Curve(0.30, -0.05), "fast": Curve(0.2, -0.4)})

    found = world.run(budget=4 * WHOLE)

    first = {ask.arm: world.curves[ask.arm].at(ask.rows) for ask in world.asked[:2]}
    assert first["fast"] > first["slow"], "it does start behind"
    assert found.choice == "fast"


def test_how_much_rows_help_is_learned_from_arms_that_cost_next_to_nothing() -> None:
    """Runs of dear arms on few rows said that they would fall as usual where nothing does: one of them was chosen."""
    curves = {"cheap": Curve(0.45, -0.01, cost=0.001), "dear": Curve(0.55, -0.01)}
    usual = Prior(usual=CurvePrior(-0.2, 0.05), common=0.15)

    world = World(curves)
    found = world.run(0.1 * WHOLE, whole_arms=["cheap"], prior=usual)
    assert [ask.rows for ask in world.asked if ask.arm == "cheap"][:5] == [1600, 100, 200, 400, 800]
    assert found.choice == "cheap" and found.predicted["dear"].high > 0.55 > found.predicted["dear"].low

    world = World(curves)
    unaware = world.run(0.1 * WHOLE, whole_arms=["cheap"], flat=["cheap"], prior=usual)
    assert [ask.rows for ask in world.asked if ask.arm == "cheap"][:2] != [1600, 100]
    assert unaware.choice == "dear" and unaware.predicted["dear"].value < 0.8 * found.predicted["dear"].value


def test_curves_of_cheap_arms_take_a_tenth_of_the_budget_at_most() -> None:
    world = World({"cheap": Curve(0.3, -0.2, cost=0.5), "dear": Curve(0.28, -0.2)})
    world.run(WHOLE, whole_arms=["cheap"])
    asked = [ask.rows for ask in world.asked if ask.arm == "cheap"]
    assert asked[:3] == [1600, 100, 200] and world.asked[3].arm == "dear", "which took 150; 400 more rows are 200"


def test_in_a_true_tie_a_sure_winner_is_rarely_named() -> None:
    wrong = 0
    for generator in range(40):
        found = World({"a": Curve(0.3, -0.2), "b": Curve(0.3, -0.2)}, generator).run(budget=0.5 * WHOLE)
        wrong += found.decided and not found.tie
    assert wrong <= 2, "5 % of the draws"


def test_what_is_predicted_holds_as_often_as_it_says() -> None:
    held = []
    for generator in range(40):
        random = np.random.default_rng(1000 + generator)
        slopes = random.normal(-0.2, 0.15, size=3)
        curves = {name: Curve(0.25, slope) for name, slope in zip("abc", slopes, strict=True)}
        found = World(curves, generator).run(budget=0.6 * WHOLE)
        held += [p.low <= 0.25 <= p.high for p in found.predicted.values()]
    assert 0.8 <= np.mean(held) <= 1.0


@pytest.mark.parametrize("share", [0.3, 1.0, 3.0])
def test_no_more_is_spent_than_allowed(share: float) -> None:
    budget = share * WHOLE
    world = World({"a": Curve(0.3, -0.2), "b": Curve(0.3, -0.2), "c": Curve(0.3, -0.2, cost=2.0)})

    found = world.run(budget)

    assert found.spent <= budget
    assert found.decided or found.next_cost is None or found.spent + found.next_cost > budget


def test_cheap_arms_are_run_whole_at_once_and_every_other_on_the_first_rung() -> None:
    world = World({"cheap": Curve(0.4, -0.1, cost=1e-4), "dear": Curve(0.3, -0.2), "dearer": Curve(0.3, -0.2, 2.0)})

    world.run(budget=5 * WHOLE, whole_arms=["cheap"])

    assert world.asked[0] == NextRun("cheap", WHOLE, 0)
    dear = [ask for ask in world.asked if ask.arm != "cheap"]
    assert dear[:2] == [NextRun("dear", rungs(WHOLE)[0], 0), NextRun("dearer", rungs(WHOLE)[0], 0)]


def test_what_is_known_of_an_arm_before_decides_which_is_run_first() -> None:
    curves = {"cheap": Curve(0.5, -0.2, cost=1e-4), "poor": Curve(0.5, -0.2), "good": Curve(0.3, -0.2, cost=1.2)}
    usual = {"cheap": CurvePrior(0.0, 0.1), "poor": CurvePrior(0.0, 0.1), "good": CurvePrior(-0.4, 0.1)}
    first = {}
    for name, prior in {"nothing": PRIOR, "levels": replace(PRIOR, levels=usual)}.items():
        world = World(curves)
        found = world.run(budget=0.09 * WHOLE, whole_arms=["cheap"], prior=prior)
        first[name] = next(ask.arm for ask in world.asked if ask.arm != "cheap")
    assert first == {"nothing": "poor", "levels": "good"}
    assert found.unseen == ("poor",) and found.choice == "good" and found.predicted.keys() == {"cheap", "good"}


def test_an_arm_that_was_never_run_is_not_chosen() -> None:
    world = World({"cheap": Curve(0.5, -0.2, cost=1e-4), "good": Curve(0.3, -0.2)})
    prior = replace(PRIOR, levels={"cheap": CurvePrior(0.0, 0.1), "good": CurvePrior(-0.4, 0.1)})

    found = world.run(budget=0.01 * WHOLE, whole_arms=["cheap"], prior=prior)

    assert found.choice == "cheap" and found.confidence < 0.35 and found.chances["good"] > 0.65
    assert found.next_ask is not None and found.next_ask.arm == "good" and not found.decided


def test_how_far_a_normal_number_is_above_a_bound() -> None:
    numbers = norm.ppf(np.linspace(0.0005, 0.9995, 1000))
    for bound in (-1.0, 0.0, 0.5, 2.0):
        assert _expected_above(np.array([bound]))[0] == pytest.approx(np.maximum(numbers - bound, 0).mean(), abs=2e-3)


def test_no_run_is_asked_for_twice_and_no_size_with_more_than_a_few_seeds() -> None:
    world = World({"a": Curve(0.3, -0.2), "b": Curve(0.3, -0.2)})

    found = world.run(budget=1e9)

    assert len(set(world.asked)) == len(world.asked)
    assert max(ask.seed for ask in world.asked) < MOST_SEEDS
    assert found.decided or found.next_ask is None, "nothing is left to ask for"


def test_an_arm_that_fails_cannot_win() -> None:
    found = World(CLEAR).run(budget=3 * WHOLE, failing=["good"])

    assert found.choice == "fair" and "good" not in found.chances


def test_where_all_fail_there_is_no_choice() -> None:
    found = World(CLEAR).run(budget=3 * WHOLE, failing=list(CLEAR))

    assert found.choice is None and not found.decided and found.chances == {}


def test_of_a_tie_the_cheapest_is_chosen() -> None:
    world = World({"dear": Curve(0.3, -0.2, cost=5.0), "cheap": Curve(0.3, -0.2)}, seeds=0.0005)
    prior = Prior(usual=CurvePrior(-0.2, 0.01), bend=0.001, seeds=0.0005)
    arms = [RaceArm(name, lambda rows, cost=curve.cost: cost * rows) for name, curve in world.curves.items()]
    going = race(arms, WHOLE, 1e9, min_effect=0.2, prior=prior)
    ask = next(going)
    while True:
        try:
            ask = going.send(Result(ask, world.losses(ask), 1.0))
        except StopIteration as stop:
            found: RaceRanking = stop.value
            break
    assert found.tie == ("cheap", "dear") and found.choice == "cheap" and found.decided


def test_the_same_results_ask_for_the_same_runs() -> None:
    one, two = World(CLEAR, 3), World(CLEAR, 3)

    assert one.run(2 * WHOLE) == two.run(2 * WHOLE) and one.asked == two.asked


def test_rungs_double_up_to_all() -> None:
    assert rungs(4000) == (250, 500, 1000, 2000, 4000)
    assert rungs(200) == (50, 100, 200)
    assert rungs(30) == (30,)


def test_an_accuracy_is_not_predicted_below_nothing() -> None:
    going = race([RaceArm("a", float), RaceArm("b", float)], WHOLE, 1.0, higher_is_better=True)
    poor = np.r_[np.ones(95), np.zeros(5)]
    ask = next(going)
    try:
        while True:
            ask = going.send(Result(ask, poor, 1.0))
    except StopIteration as stop:
        found: RaceRanking = stop.value
    assert max(each.high for each in found.predicted.values()) <= 1.0


def test_nothing_is_decided_while_an_arm_was_never_seen() -> None:
    world = World({"cheap": Curve(0.2, -0.1, cost=1e-4), "poor": Curve(0.6, -0.1, cost=1e-4), "dear": Curve(0.1, -0.2)})

    found = world.run(budget=0.02 * WHOLE, whole_arms=["cheap", "poor"])

    assert found.choice == "cheap" and found.unseen == ("dear",) and not found.decided
    assert found.confidence <= 2 / 3 and found.next_ask == NextRun("dear", rungs(WHOLE)[0], 0)
