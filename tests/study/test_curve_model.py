"""Curve model: shared noise cancels between arms, few rows tell less, and the likelihood knows the right prior."""

from dataclasses import replace

import numpy as np
import pytest

from warmstart.study.curve_model import CurveModel, CurvePrior, NextRun, ObservedCurve, Prior
from warmstart.types import Array

WHOLE, FIRST = 800, 50
PRIOR = Prior(usual=CurvePrior(-0.2, 0.05), common=0.1, bend=0.05, seeds=0.02, draw=0.05, common_draw=0.1)
MODEL = CurveModel(PRIOR, FIRST, WHOLE)
RANDOM = np.random.default_rng(0)
HARDNESS = RANDOM.random(400)


def losses(error: float) -> Array:
    """Of the same rows, hard ones first."""
    return (np.argsort(np.argsort(HARDNESS)) < error * len(HARDNESS)).astype(float)


def seen(*runs: tuple[NextRun, float]) -> ObservedCurve:
    return ObservedCurve.of([ask for ask, _ in runs], [losses(error) for _, error in runs])


def doubt(model: CurveModel, observed: ObservedCurve) -> float:
    """Standard deviation of how far `a` is from `b` on all rows."""
    _, spread = model.predict(observed, ["a", "b"])
    return float(np.sqrt(spread[0, 0] + spread[1, 1] - 2 * spread[0, 1]))


def test_an_error_is_foreseen_to_fall_as_it_usually_does() -> None:
    mean, _ = MODEL.predict(seen((NextRun("a", FIRST, 0), 0.6), (NextRun("b", FIRST, 0), 0.5)), ["a", "b"])
    assert np.exp(mean) == pytest.approx(np.array([0.6, 0.5]) * (WHOLE / FIRST) ** -0.2, rel=0.03)


def test_two_arms_on_the_same_draw_of_rows_are_told_apart_better_than_on_two() -> None:
    same = seen((NextRun("a", FIRST, 0), 0.6), (NextRun("b", FIRST, 0), 0.5))
    apart = seen((NextRun("a", FIRST, 0), 0.6), (NextRun("b", FIRST, 1), 0.5))
    assert doubt(MODEL, same) < 0.95 * doubt(MODEL, apart)


def test_what_arms_have_in_common_takes_no_part_in_their_difference() -> None:
    same = seen((NextRun("a", FIRST, 0), 0.6), (NextRun("b", FIRST, 0), 0.5))
    wild = CurveModel(replace(PRIOR, common=0.5), FIRST, WHOLE)
    assert doubt(wild, same) == pytest.approx(doubt(MODEL, same), rel=1e-3)
    _, narrow = MODEL.predict(same, ["a"])
    _, wide = wild.predict(same, ["a"])
    assert wide[0, 0] > 4 * narrow[0, 0]


def test_one_arm_seen_to_fall_faster_makes_the_others_likely_to() -> None:
    start = [(NextRun("a", FIRST, 0), 0.6), (NextRun("b", FIRST, 0), 0.6)]
    before, _ = MODEL.predict(seen(*start), ["b"])
    after, _ = MODEL.predict(seen(*start, (NextRun("a", WHOLE, 0), 0.2)), ["b"])
    assert after[0] < before[0] - 0.1


def test_another_seed_is_expected_to_take_doubt_away_whatever_others_scored() -> None:
    observed = seen((NextRun("a", WHOLE, 0), 0.2), (NextRun("b", FIRST, 0), 0.9))
    assert doubt(MODEL, observed.with_one_more(NextRun("a", WHOLE, 1))) < doubt(MODEL, observed)


def test_more_rows_tell_more_than_few() -> None:
    few = seen((NextRun("a", FIRST, 0), 0.6), (NextRun("b", FIRST, 0), 0.6))
    many = seen((NextRun("a", 400, 0), 0.5), (NextRun("b", 400, 0), 0.5))
    assert doubt(MODEL, many) < 0.5 * doubt(MODEL, few)


def test_seeds_that_differ_wildly_make_doubtful() -> None:
    runs = [(NextRun("a", WHOLE, 0), 0.5), (NextRun("b", WHOLE, 0), 0.5)]
    calm = seen(*runs, (NextRun("a", WHOLE, 1), 0.5))
    wild = seen(*runs, (NextRun("a", WHOLE, 1), 0.8))
    assert doubt(MODEL, wild) > 2 * doubt(MODEL, calm)


def test_the_prior_that_made_the_curves_is_likelier_than_others() -> None:
    asks = [NextRun(arm, rows, seed) for arm in "abcd" for rows in (50, 100, 200, 400, 800) for seed in (0, 1)]
    flat = ObservedCurve(tuple(asks), np.zeros(len(asks)), np.zeros((len(asks), 1)))
    covariance = MODEL._observed_covariance(flat)
    mean = MODEL._prior_means(asks)
    totals = dict.fromkeys(("right", "draws are calm", "slopes are steep", "nothing in common"), 0.0)
    for dice in range(20):
        values = np.random.default_rng(dice).multivariate_normal(mean, covariance)
        observed = replace(flat, values=values)
        others = {
            "right": PRIOR,
            "draws are calm": replace(PRIOR, draw=0.01, common_draw=0.01),
            "slopes are steep": replace(PRIOR, usual=CurvePrior(-0.6, 0.05)),
            "nothing in common": replace(PRIOR, common=0.0, common_draw=0.0),
        }
        for name, prior in others.items():
            totals[name] += CurveModel(prior, FIRST, WHOLE).likelihood(observed)
    assert max(totals, key=totals.__getitem__) == "right"
