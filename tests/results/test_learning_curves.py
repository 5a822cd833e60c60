"""Curves: are crossings, forecasts and rows transferred where the truth has them, as often as they claim?"""

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tests.run_factory import make_comparison, make_curve_runs, make_curve_scores, make_run, make_runs, make_scores
from warmstart.results.bootstrap import resample
from warmstart.results.learning_curves import MAX_EXTRAPOLATION, Crossover, Law, crossover, law, transfers

SIZES = (100, 400, 1600, 6400)
DRAWS = 400
STEEP, FLAT = (2.0, 0.35), (0.5, 0.12)  # factor and slope: they cross at 415 rows
CROSS = (STEEP[0] / FLAT[0]) ** (1 / (STEEP[1] - FLAT[1]))


def errors(truth: tuple[float, float], sizes: Sequence[int] = SIZES) -> list[float]:
    factor, slope = truth
    return [factor * rows**-slope for rows in sizes]


def drawn(
    random: np.random.Generator,
    *truths: tuple[float, float],
    sizes: Sequence[int] = SIZES,
    seed_noise: float = 0.0,
    test_rows: int = 300,
) -> list[Law]:
    """A law for each truth, on the same test rows: the first of family scratch, the others fine-tuned."""
    hard = random.gamma(2.0, 0.5, test_rows)
    found = []
    for place, truth in enumerate(truths):
        scores = make_curve_scores(errors(truth, sizes), random, hard, seed_noise=seed_noise)
        name, family = ("scratch", "scratch") if place == 0 else (f"full-{place}", "fine-tuned")
        one = law(name, family, sizes, [resample(each, DRAWS) for each in scores], False)
        assert one
        found.append(one)
    return found


def exact(truth: Sequence[float], sizes: Sequence[int] = SIZES, name: str = "full", higher: bool = False) -> Law:
    """A law without any noise."""
    values = [1 - error for error in truth] if higher else truth
    family = "scratch" if name == "scratch" else "fine-tuned"
    scores = [resample([make_scores(np.full(50, value))], 50) for value in values]
    found = law(name, family, sizes, scores, higher)
    assert found
    return found


def test_a_straight_curve_is_followed_exactly() -> None:
    found = exact(errors(STEEP))
    assert found.line.slope[0] == pytest.approx(-0.35)
    assert found.at(800).score == pytest.approx(2.0 * 800**-0.35)
    assert [(f.rows, f.score) for f in found.predicted] == [
        (12_800, pytest.approx(2.0 * 12_800**-0.35)),
        (64_000, pytest.approx(2.0 * 64_000**-0.35)),
    ]
    assert found.gain(12_800)[0] == pytest.approx(2.0 * 6400**-0.35 * (1 - 2**-0.35))


def test_accuracy_is_followed_as_its_error() -> None:
    found = exact([0.5, 0.4, 0.32], (100, 200, 400), higher=True)
    assert found.predicted[0].score == pytest.approx(1 - 0.32 * 0.8)
    assert found.gain(800)[0] == pytest.approx(0.32 * 0.2)


def test_the_slope_is_that_of_the_last_three_intervals() -> None:
    found = exact([8.0, 1.0, 0.5, 0.25, 0.125], (10, 100, 200, 400, 800))
    assert found.line.slope[0] == pytest.approx(-1.0)
    uneven = exact([1.0, 0.5, 0.49], (100, 400, 410))  # a short last interval says little
    assert uneven.line.slope[0] == pytest.approx(math.log(0.49) / math.log(4.1))


def test_a_bend_widens_what_lies_ahead() -> None:
    straight, bent = exact(errors(STEEP)), exact([1.0, 0.5, 0.4, 0.38])
    assert np.ptp(straight.at(64_000).interval) < 1e-9
    low, high = bent.at(64_000).interval
    assert low < bent.at(64_000).score < high and high - low > 0.1
    assert np.ptp(bent.at(6_400).interval) < 1e-9, "but not what was measured"


def test_a_rising_end_is_followed_by_a_level_one_and_reported() -> None:
    found = exact([0.5, 0.4, 0.45], (100, 200, 400))
    assert found.predicted[0].score <= 0.45 + 1e-9
    rising = exact([0.4, 0.5], (100, 400))
    assert rising.predicted[1].score == pytest.approx(0.5) and rising.line.slope[0] == 0.0
    assert rising.departures == (
        "`full` got worse from 100 to 400 rows: 0.400, then 0.500, a significant difference. More rows rarely"
        " cause this; a run that was cut short does.",
    )
    random = np.random.default_rng(0)
    (level,) = drawn(random, (0.5, 0.0))
    assert level.departures == ()


@pytest.mark.parametrize("higher", [False, True])
def test_no_error_at_all_does_not_crash(higher: bool) -> None:
    none = exact([0.1, 0.0, 0.0], (100, 200, 400), higher=higher)
    some = exact([0.3, 0.2, 0.1], (100, 200, 400), "scratch", higher)
    for found in (crossover(none, some), *transfers(none, some), *transfers(some, none), none):
        json.dumps(found.to_json(), allow_nan=False)
    everywhere = exact([0.0, 0.0], (100, 400), higher=higher)
    assert everywhere.predicted[1].score == pytest.approx(1.0 if higher else 0.0, abs=0.011)


def test_a_single_size_and_a_score_above_one_have_no_curve() -> None:
    score = resample([make_scores(np.full(50, 27.3))], 50)
    assert law("full", "fine-tuned", (100,), [score], False) is None
    assert law("full", "fine-tuned", (100, 400), [score, score], True) is None
    assert law("full", "fine-tuned", (100, 400), [score, score], False)


def test_a_score_up_to_100_is_followed_as_its_share() -> None:
    scores = [resample([make_scores(np.full(50, score))], 50) for score in (0.5, 36.0, 52.0)]
    found = law("full", "fine-tuned", (100, 200, 400), scores, True, top=100.0)
    assert found and found.at(400).score == pytest.approx(52.0) and 52 < found.predicted[0].score < 100


def test_nothing_is_predicted_beyond_the_best_reachable() -> None:
    scores = [resample([make_scores(np.full(50, error))], 50) for error in (0.4, 0.2)]
    found = law("full", "fine-tuned", (100, 400), scores, False, best=0.15)
    assert found and [f.score for f in found.predicted] == [0.15, 0.15] and found.at(400).score == pytest.approx(0.2)


# --- crossings --------------------------------------------------------------------------------------------------------


def test_a_crossing_in_words() -> None:
    random = np.random.default_rng(1)
    steep, flat = drawn(random, STEEP, FLAT)
    found = crossover(steep, flat)
    assert found == crossover(flat, steep)
    assert (found.a, found.b, found.ahead) == ("scratch", "full-1", False)
    assert found.rows == pytest.approx(CROSS, rel=0.2)
    assert found.interval is not None and found.interval[0] and found.interval[1]
    assert found.statement.startswith("From about 4") and found.statement.endswith(
        "] on, training from scratch (`scratch`) overtakes `full-1`."
    )
    assert set(found.to_json()) == {"a", "b", "rows", "interval", "statement"}


def test_a_crossing_ahead_of_the_data_says_so() -> None:
    few = SIZES[:2]
    found = crossover(exact(errors(STEEP, few), few, "scratch"), exact(errors(FLAT, few), few))
    assert (found.rows, found.ahead) == (round(CROSS), True)
    assert found.statement.endswith("training from scratch (`scratch`) would overtake `full`; 400 rows were measured.")


def test_no_crossing_within_ten_times_the_data() -> None:
    few = (10, 20)
    found = crossover(exact(errors(STEEP, few), few, "scratch"), exact(errors(FLAT, few), few))
    assert (found.rows, found.interval) == (None, None) and CROSS > MAX_EXTRAPOLATION * 20
    assert found.statement == "Not within 10x your data: `full` stays ahead of `scratch` up to 200 rows."


def test_a_crossing_is_predicted_of_what_is_predicted() -> None:
    """A curve that rises at its end goes on level, also where it is held against another."""
    sizes = (250, 1000, 4000)
    level, rising = exact([0.31] * 3, sizes, "scratch"), exact([0.18, 0.2, 0.26], sizes)
    assert [law.at(40_000).score for law in (level, rising)] == pytest.approx([0.31, 0.26])
    found = crossover(level, rising)
    assert found == crossover(rising, level)
    assert found.statement == "Not within 10x your data: `full` stays ahead of `scratch` up to 40,000 rows."


def test_equal_regimes_are_not_said_to_cross() -> None:
    random = np.random.default_rng(2)
    told = 0
    for _ in range(200):
        found = crossover(*drawn(random, (1.0, 0.2), (1.0, 0.2)))
        told += found.rows is not None and None not in (found.interval or (None,))
    assert told <= 12  # 6 %
    same = exact(errors(STEEP))
    assert crossover(same, replace(same, regime="lora")).rows is None


def inside(found: Crossover, truth: float) -> bool:
    """Whether an interval, with its open ends, holds the truth; without one, nothing was claimed."""
    low, high = found.interval or (None, None)
    return (low or 0) <= truth <= (high or math.inf)


@pytest.mark.parametrize("seed_noise", [0.0, 0.05])
def test_intervals_of_crossings_hold_in_95_of_100_studies(seed_noise: float) -> None:
    random = np.random.default_rng(3)
    studies = 500  # 95 % to 1 point
    found = [crossover(*drawn(random, STEEP, FLAT, seed_noise=seed_noise)) for _ in range(studies)]
    assert sum(each.rows is not None for each in found) >= 0.99 * studies
    assert 0.93 <= sum(inside(each, CROSS) for each in found) / studies <= 0.985


def test_intervals_of_crossings_ahead_of_the_data_hold_at_least_as_often() -> None:
    """They are wider than these straight curves need: those of real regimes bend."""
    random = np.random.default_rng(4)
    sizes, truths = (100, 400, 1600), ((2.0, 0.30), (0.5, 0.12))  # cross at 2,213
    truth = 4.0 ** (1 / 0.18)
    found = [crossover(*drawn(random, *truths, sizes=sizes, seed_noise=0.03)) for _ in range(300)]
    assert sum(each.ahead for each in found) > 150
    assert sum(inside(each, truth) for each in found) / 300 >= 0.95


@pytest.mark.parametrize("seed_noise", [0.0, 0.05])
def test_forecasts_hold_in_95_of_100_studies_or_more(seed_noise: float) -> None:
    random = np.random.default_rng(5)
    held = [0, 0]
    for _ in range(400):
        (found,) = drawn(random, FLAT, sizes=SIZES[:3], seed_noise=seed_noise)
        for place, forecast in enumerate(found.predicted):
            truth = FLAT[0] * forecast.rows ** -FLAT[1]
            held[place] += forecast.interval.low <= truth <= forecast.interval.high
    assert min(held) / 400 >= 0.93


# --- effective data transferred ---------------------------------------------------------------------------------------


def test_what_a_pretrained_start_was_worth_is_read_from_the_curve_from_scratch() -> None:
    scratch, full = exact(errors((2.0, 0.5)), name="scratch"), exact(errors((1.0, 0.5)))
    found = transfers(full, scratch)
    assert [(each.at, each.rows, each.bound) for each in found] == [
        (100, 300, None),  # as scratch with 400
        (400, 1200, None),
        (1600, 4800, None),
        (6400, 0, "lower"),
    ]
    assert found[0].statement == (
        "`full` with 100 rows is as good as `scratch` with about 400 [400, 400]: its start was worth about 300 rows."
    )
    assert found[3].statement == "`full` with 6,400 rows is better than `scratch` with 6,400."


def test_better_than_all_that_was_seen_from_scratch_is_a_lower_bound() -> None:
    scratch, full = exact(errors((2.0, 0.1)), name="scratch"), exact(errors((0.5, 0.1)))
    first = transfers(full, scratch)[0]
    assert (first.rows, first.interval, first.bound) == (6300, None, "lower")
    assert first.statement == (
        "`full` with 100 rows is better than `scratch` with 6,400: its start was worth at least 6,300 rows."
    )


def test_a_start_can_be_worth_less_than_nothing() -> None:
    scratch, full = exact(errors((1.0, 0.5)), name="scratch"), exact(errors((2.0, 0.5)))
    found = transfers(full, scratch)
    assert [(each.rows, each.bound) for each in found] == [(0, "upper"), (-300, None), (-1200, None), (-4800, None)]
    assert found[0].statement == "`full` with 100 rows is worse than `scratch` with 100."


def test_what_the_runs_cannot_tell_is_not_told() -> None:
    """Equal regimes that seeds move by a third, at sizes that hardly change the score."""
    random = np.random.default_rng(7)
    pairs = [drawn(random, (1.0, 0.02), (1.0, 0.02), seed_noise=0.3) for _ in range(10)]
    crossings = [crossover(scratch, full).statement for scratch, full in pairs]
    assert (
        sum(said.endswith("cross within 10x your data cannot be determined from these runs.") for said in crossings)
        >= 3
    )
    found = [each for scratch, full in pairs for each in transfers(full, scratch) if each.rows is None]
    assert found and all(each.interval is None and "cannot be determined" in each.statement for each in found)


def test_intervals_of_rows_transferred_hold_in_95_of_100_studies() -> None:
    random = np.random.default_rng(6)
    held = 0
    for _ in range(400):
        scratch, full = drawn(random, (2.0, 0.3), (1.5, 0.3), seed_noise=0.02)
        found = transfers(full, scratch)[1]
        low, high = found.interval or (None, None)
        held += (low or -math.inf) <= 400 * (2.0 / 1.5) ** (1 / 0.3) - 400 <= (high or math.inf)
    assert 0.93 <= held / 400 <= 0.98


# --- of a comparison --------------------------------------------------------------------------------------------------

LAWS = {"constant": (0.9, 0.0), "scratch": STEEP, "full": FLAT, "lora": (0.6, 0.14)}


def test_a_comparison_has_curves_crossings_and_transfers() -> None:
    written = json.loads(json.dumps(make_comparison(make_curve_runs(LAWS, SIZES)).to_json(), allow_nan=False))
    curves = {curve["regime"]: curve for curve in written["curves"]}
    assert set(curves) == set(LAWS) and len(curves["full"]["points"]) == 4
    assert set(curves["full"]["law"]) == {"slope", "interval", "sizes", "predicted", "departures", "statement"}
    assert curves["full"]["law"]["slope"] == pytest.approx(-0.12, abs=0.02)
    assert [found["rows"] for found in curves["scratch"]["law"]["predicted"]] == [12_800, 64_000]
    crossed = {(found["a"], found["b"]): found["rows"] for found in written["crossovers"]}
    assert crossed["scratch", "full"] == pytest.approx(CROSS, rel=0.1)
    assert len(crossed) == 3 and not any("constant" in pair for pair in crossed)
    assert {(found["a"], found["b"]) for found in written["transfers"]} == {("full", "scratch"), ("lora", "scratch")}


def test_one_size_has_no_curves() -> None:
    comparison = make_comparison(make_runs({"scratch": 0.5, "full": 0.6}))
    assert comparison.laws == {} and comparison.crossovers == () and comparison.transfers == ()


def test_seeds_and_sizes_that_failed_are_left_out() -> None:
    runs = make_curve_runs(LAWS, SIZES)
    lost = [
        replace(run, failed="diverged") if (run.regime, run.rows, run.seed) == ("full", 1600, 1) else run
        for run in runs
    ]
    comparison = make_comparison([run for run in lost if (run.regime, run.rows) != ("lora", 100)])
    assert comparison.laws["full"].line.rows == SIZES and comparison.laws["lora"].line.rows == SIZES[1:]
    pairs = {(found.a, found.b) for found in comparison.crossovers}
    assert ("scratch", "full") in pairs and len(pairs) == 3
    apart = [make_run("full", make_scores(np.ones(20)), seed, rows) for seed, rows in ((0, 100), (1, 400))]
    assert make_comparison(apart).laws == {}
