"""Evaluate: are the metric, its interval and the paired difference what they claim to be?"""

import time

import numpy as np
import pytest

from tests.run_factory import make_scores
from warmstart.results.bootstrap import (
    BOOTSTRAP_DRAWS,
    holm,
    mean_interval,
    mean_score,
    paired,
    resample,
    rows_to_settle,
)
from warmstart.types import Array


def test_metric_is_a_ratio_of_sums() -> None:
    assert mean_score(make_scores(np.array([1.0, 0.0, 1.0, 1.0]))) == 0.75
    true_positives, false_positives, false_negatives = np.array([[2, 1, 0], [0, 1, 1], [1, 0, 3]]).T
    scores = np.stack([2 * true_positives, 2 * true_positives + false_positives + false_negatives], axis=1)
    assert mean_score(scores.astype(float)) == pytest.approx(6 / (6 + 2 + 4))
    assert mean_score(np.zeros((3, 2))) == 0.0


def test_drawn_metrics_are_those_of_a_plain_loop() -> None:
    random = np.random.default_rng(1)
    scores = [random.random((7, 2)) for _ in range(2)]
    drawn = resample(scores, draws=50).drawn
    # Scores that are powers of a large base show, in their sum, how often each row was taken.
    digits = make_scores(100.0 ** np.arange(7))
    sums = resample([digits], draws=50).drawn[:, 0] * 7
    for draw, total in enumerate(sums):
        counts = [round(total) // 100**row % 100 for row in range(7)]
        assert sum(counts) == 7
        for seed, own in enumerate(scores):
            value = weight = 0.0
            for row, count in enumerate(counts):
                value += count * own[row, 0]
                weight += count * own[row, 1]
            assert drawn[draw, seed] == pytest.approx(value / weight)


def test_drawn_rows_are_taken_as_often_as_chance_has_it() -> None:
    rows = 400
    spread = resample([make_scores(np.arange(float(rows)))]).drawn[:, 0].std()
    assert spread == pytest.approx(np.arange(rows).std() / rows**0.5, rel=0.05)


def truth_is_inside(random: np.random.Generator, seeds: int, row_sd: float, seed_sd: float, own_sd: float) -> bool:
    """One study of two regimes that differ by 0.1 in truth: does the 95 % interval hold that?"""
    rows = 200
    common = random.normal(0, 1, rows)
    extra = random.normal(0, row_sd, rows)
    a = [
        make_scores(common + 0.1 + extra + random.normal(0, seed_sd) + random.normal(0, own_sd, rows))
        for _ in range(seeds)
    ]
    low, high = paired(a, [make_scores(common)] * seeds, draws=400)[1]
    return low <= 0.1 <= high


@pytest.mark.parametrize(
    ("seeds", "row_sd", "seed_sd", "own_sd"),
    [(1, 1.0, 0.0, 0.0), (3, 1.0, 0.0, 0.0), (3, 1.0, 0.06, 0.0), (3, 0.3, 0.1, 0.3), (5, 1.0, 0.06, 0.5)],
)
def test_paired_interval_holds_the_truth_in_95_of_100_studies(
    seeds: int, row_sd: float, seed_sd: float, own_sd: float
) -> None:
    random = np.random.default_rng(5)
    studies = 1000  # 95 % of them to 0.7 points
    held = sum(truth_is_inside(random, seeds, row_sd, seed_sd, own_sd) for _ in range(studies)) / studies
    assert 0.93 <= held <= 0.97


def grouped_truth_is_inside(random: np.random.Generator, groups: int, drawn_whole: bool) -> bool:
    """Rows that have more in common with their group than with the others; groups of 1 to 15 rows."""
    group = np.repeat(np.arange(groups), random.integers(1, 16, groups))
    scores = make_scores(0.5 + random.normal(0, 0.3, groups)[group] + random.normal(0, 0.3, len(group)))
    low, high = resample([scores], 400, group if drawn_whole else None).interval
    return low <= 0.5 <= high


@pytest.mark.parametrize("groups", [12, 60])
def test_interval_of_grouped_rows_holds_the_truth_in_95_of_100_studies(groups: int) -> None:
    random = np.random.default_rng(10)
    held = sum(grouped_truth_is_inside(random, groups, True) for _ in range(1000)) / 1000
    assert 0.93 <= held <= 0.97
    assert sum(grouped_truth_is_inside(random, groups, False) for _ in range(200)) / 200 < 0.75, "what it is there for"


def test_groups_of_one_row_are_rows_and_a_single_group_is_none() -> None:
    scores = [make_scores(np.random.default_rng(4).random(300))]
    plain, alone = resample(scores), resample(scores, groups=np.arange(300))
    assert alone.interval == pytest.approx(plain.interval, abs=1e-3)
    assert resample(scores, groups=np.zeros(300, dtype=int)).interval == plain.interval


@pytest.mark.parametrize(("rows", "truth"), [(20, 0.9), (40, 0.5), (99, 0.97)])
def test_a_share_of_few_rows_has_an_interval_that_holds(rows: int, truth: float) -> None:
    """An interval of a count cannot hold the truth in exactly 95 of 100; one from draws does in 87 at 20 rows."""
    random = np.random.default_rng(11)
    held = 0
    for _ in range(2000):
        low, high = mean_interval([make_scores((random.random(rows) < truth).astype(float))], draws=50)
        held += low <= truth <= high
    assert 0.93 <= held / 2000 <= 0.985


def test_a_share_of_few_rows_is_wilsons_and_seeds_widen_it() -> None:
    right = make_scores((np.arange(50) < 40).astype(float))
    assert mean_interval([right]) == pytest.approx((0.6696, 0.8876), abs=1e-4)
    apart = [make_scores((np.arange(50) < n).astype(float)) for n in (36, 40, 44)]
    low, high = mean_interval(apart)
    assert low < 0.62 and high > 0.93
    assert (resample([right]) - resample([right])).interval.low < 0, "a difference is no share"


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == [True, False, False]
    assert holm([0.04, 0.01, 0.02]) == [True, True, True]
    assert holm([]) == []


def test_the_p_value_is_below_5_percent_where_the_interval_excludes_zero() -> None:
    random = np.random.default_rng(12)
    nothing = resample([make_scores(np.zeros(200))] * 3)
    for shift in np.linspace(0.0, 0.3, 30):
        found = resample([make_scores(random.normal(shift, 1.0, 200)) for _ in range(3)]) - nothing
        low, high = found.interval
        assert (found.p_value < 0.05) == (low > 0 or high < 0) or min(abs(low), abs(high)) < 0.002
    same = resample([make_scores(np.ones(20))])
    assert (same - same).p_value == 1.0


def test_a_true_tie_has_a_winner_in_few_studies() -> None:
    random = np.random.default_rng(6)
    winners = 0
    for _ in range(300):
        common = random.normal(0, 1, 300)
        a, b = ([make_scores(common + random.normal(0, 0.3, 300)) for _ in range(3)] for _ in "ab")
        low, high = paired(a, b, draws=500)[1]
        winners += not low <= 0 <= high
    assert winners / 300 <= 0.06


def test_pairing_sees_what_two_intervals_apart_do_not() -> None:
    random = np.random.default_rng(2)
    common = random.normal(0, 1, 500)
    a, b = make_scores(common + 0.05 + random.normal(0, 0.1, 500)), make_scores(common)
    assert mean_interval([a]).low < mean_interval([b]).high
    difference, (low, high), p_a_better = paired([a], [b])
    assert 0 < low < difference < high and p_a_better > 0.99


def test_errors_turn_the_sign() -> None:
    small, large = make_scores(np.linspace(0.1, 0.2, 50)), make_scores(np.linspace(0.3, 0.5, 50))
    difference, (low, high), p_a_better = paired([small], [large], higher_is_better=False)
    assert difference == pytest.approx(0.25) and low > 0 and p_a_better == 1.0
    backwards, turned, p_b_better = paired([large], [small], higher_is_better=False)
    assert backwards == -difference and turned == pytest.approx((-high, -low)) and p_b_better == 0.0


def test_seeds_widen_the_interval_from_three_on() -> None:
    base = np.random.default_rng(3).random(500)
    apart = [make_scores(base + shift) for shift in (-0.1, 0.0, 0.1)]
    alike = [make_scores(base)] * 3

    def width(scores: list[Array]) -> float:
        low, high = mean_interval(scores)
        return high - low

    assert width(apart) > 5 * width(alike)
    assert width(apart[:2]) == pytest.approx(width(alike), rel=0.01)


def test_nothing_wrong_in_few_rows_is_not_certainty() -> None:
    all_right = make_scores(np.ones(20))
    assert mean_interval([all_right]) == pytest.approx((0.839, 1.0), abs=0.001)
    difference, bounds, p_a_better = paired([all_right], [all_right])
    assert difference == 0 and bounds == pytest.approx((-0.15, 0.15)) and p_a_better == 0.5


def test_interval_stays_where_the_metric_can_be() -> None:
    almost = [make_scores((np.arange(100) >= wrong).astype(float)) for wrong in (0, 1, 4)]
    assert mean_interval(almost).high == 1.0
    assert mean_interval([np.stack([1 - scores[:, 0], scores[:, 1]], axis=1) for scores in almost]).low >= 0.0


def test_the_same_runs_give_the_same_interval() -> None:
    scores = [np.random.default_rng(4).random((100, 2))]
    assert mean_interval(scores) == mean_interval(scores)


def test_many_rows_are_drawn_in_pieces() -> None:
    value = np.random.default_rng(4).random(20_000)
    drawn = resample([make_scores(value)], draws=130).drawn  # 50 draws a piece
    assert drawn.shape == (130, 1) and len(np.unique(drawn)) == 130


def test_3000_rows_3_seeds_2000_draws_are_quick() -> None:
    random = np.random.default_rng(7)
    a, b = ([random.random((3000, 2)) for _ in range(3)] for _ in "ab")
    started = time.process_time()
    paired(a, b, draws=BOOTSTRAP_DRAWS)
    assert time.process_time() - started < 1.0  # 0.1 s where it was measured; the rest is for slow machines


def test_rows_to_settle_is_about_right() -> None:
    random = np.random.default_rng(8)

    def difference(rows: int) -> Array:
        return make_scores(random.normal(0.05, 0.6, rows))

    nothing = make_scores(np.zeros(200))
    measured = difference(200)
    measured[:, 0] += 0.05 - measured[:, 0].mean()
    need = rows_to_settle(resample([measured]) - resample([nothing]), margin=0.01)
    assert need.seeds is None
    enough = (1.96 * 0.6 / 0.05) ** 2
    assert need.rows == pytest.approx(enough - 200, rel=0.25)
    assert need.times == pytest.approx(enough / 200, rel=0.25)


def test_answers_that_never_differed_need_more_rows_than_there_were() -> None:
    """Twelve rows of which both have the same right: the interval is 3 in 12 wide, and narrows with the rows."""
    right = make_scores((np.arange(12) < 3).astype(float))
    same = resample([right]) - resample([right])
    assert same.interval == (-0.25, 0.25)
    need = rows_to_settle(same, margin=0.01)
    assert need.rows == 24 * 12 and need.times == pytest.approx(25) and need.seeds is None


def test_where_seeds_differ_rows_alone_do_not_settle() -> None:
    random = np.random.default_rng(9)
    seeds = [make_scores(random.normal(mean, 0.1, 2000)) for mean in (0.0, 0.05, 0.10)]
    need = rows_to_settle(resample(seeds) - resample([make_scores(np.zeros(2000))] * 3), margin=0.01)
    assert need.rows is None and need.seeds is not None and 1 <= need.seeds <= 5


def test_rounding_errors_are_no_difference() -> None:
    """Seeds that answer alike have steps of 1e-17 around their mean: a draw of zero stays one of zero."""
    a = make_scores(np.array([1.0, 1.0, 0.0, 0.0, 1.0, 1.0]))
    b = make_scores(np.array([0.0, 1.0, 1.0, 0.0, 1.0, 0.0]))
    found = resample([a] * 3) - resample([b] * 3)
    single = resample([a]) - resample([b])
    assert (found.draws == 0).sum() == (single.draws == 0).sum() > 0
    assert found.p_value == single.p_value
    assert found.interval == pytest.approx(single.interval)


def test_a_paired_difference_of_groups_is_as_wide_as_the_groups_are_few() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(6), 50)
    own = random.normal(0, 1, 6)[groups]
    a, b = make_scores(own + random.normal(0, 0.1, 300)), make_scores(np.zeros(300))
    _, (low, high), _ = paired([a], [b])
    _, (lowest, highest), _ = paired([a], [b], groups=groups)
    assert highest - lowest > 5 * (high - low)
