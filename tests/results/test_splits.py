"""Splits: do the intervals of repeated splits hold the truth as often as they say?"""

from dataclasses import replace

import numpy as np
import pytest

from tests.run_factory import make_comparison, make_run, make_scores
from warmstart.advice.advise import advice_for
from warmstart.advice.budget_cuts import lead_of
from warmstart.advice.phrases import error_beside, splits_sentence
from warmstart.results.bootstrap import Resampled, mean_score, resample, resample_splits, rows_to_settle
from warmstart.results.comparison import Comparison
from warmstart.types import Array

ROWS, TESTED, TRAINED, INPUTS, SPLITS = 100, 20, 70, 8, 5
Scores = tuple[list[Array], list[Array]]


def on_splits(random: np.random.Generator, splits: int = SPLITS) -> Scores:
    """Absolute errors of ridge regression and of the mean, on several splits of one table of a known law."""
    inputs = random.normal(size=(ROWS, INPUTS))
    targets = inputs.sum(axis=1) * 0.2 + random.standard_normal(ROWS)
    ridge, constant = [], []
    for _ in range(splits):
        order = random.permutation(ROWS)
        test, train = order[:TESTED], order[ROWS - TRAINED :]
        known = inputs[train]
        weights = np.linalg.solve(known.T @ known + np.eye(INPUTS), known.T @ targets[train])
        for kept, predicted in ((ridge, inputs[test] @ weights), (constant, targets[train].mean())):
            kept.append(np.stack([np.abs(targets[test] - predicted), np.ones(TESTED)], axis=1))
    return ridge, constant


def difference(scores: Scores) -> Resampled:
    ridge, constant = (resample_splits(each, TRAINED, draws=1000) for each in scores)
    return constant - ridge


def test_the_interval_holds_the_truth_in_about_95_of_100_tables() -> None:
    """Without the correction for splits that share rows, it would in about 88."""
    random = np.random.default_rng(0)
    truth = np.mean([mean_score(b[0]) - mean_score(a[0]) for a, b in (on_splits(random, 1) for _ in range(4000))])
    tables = [difference(on_splits(random)) for _ in range(400)]
    held = np.mean([each.interval.low <= truth <= each.interval.high for each in tables])
    assert 0.93 <= held <= 0.985, held


def test_the_spread_of_the_splits_is_enlarged_by_what_they_share() -> None:
    """Nadeau and Bengio: t(4) standard errors of sqrt(1/5 + 20/70) times the deviation of the splits."""
    found = difference(on_splits(np.random.default_rng(1)))
    half = 2.776 * np.sqrt(1 / SPLITS + TESTED / TRAINED) * found.measured.std(ddof=1)
    low, high = found.interval
    assert (high - low) / 2 == pytest.approx(half, rel=0.15)  # of 1,000 draws
    assert (high + low) / 2 == pytest.approx(found.mean, abs=0.15 * half)
    assert (-found).interval == pytest.approx((-high, -low))


def test_a_single_split_is_resampled_by_its_rows() -> None:
    """So is the only split that a regime finished."""
    ridge, _ = on_splits(np.random.default_rng(2))
    one = resample_splits(ridge[:1], TRAINED)
    assert one.interval == resample(ridge[:1]).interval
    assert resample_splits(ridge, TRAINED).only([0]).interval == one.interval


def test_more_rows_settle_what_splits_leave_open() -> None:
    found = difference(on_splits(np.random.default_rng(3)))
    need = rows_to_settle(found, margin=2 * abs(found.mean) + 1e-3)
    assert need.seeds is None and need.rows is not None and need.times > 1
    assert need.rows == np.ceil((need.times - 1) * TESTED)


def test_grouped_splits_of_which_a_regime_finished_one_are_compared() -> None:
    """Each split has its own test rows and groups, and as many as fell to it."""
    random = np.random.default_rng(4)
    runs = []
    for seed, tested in enumerate((40, 36, 44)):
        groups = {"group": (np.arange(tested) // 4).tolist()}
        for name, level in (("linear", 0.7), ("full", 0.6), ("scratch", 0.5)):
            failed = "diverged" if name == "full" and seed == 0 else None
            run = make_run(name, make_scores(level + random.normal(0, 0.1, tested)), seed, failed=failed)
            runs.append(replace(run, predictions=groups))
    found = replace(make_comparison(runs), splits=3)
    alone = replace(found, runs=tuple(run for run in runs if run.seed == 1 or run.regime != "full"))
    assert alone.difference("linear", "full").p_a_better > 0.99
    assert advice_for(alone).choice == "linear"
    assert found.row("full").seeds == (1, 2)
    wide = resample_splits([runs[0].scores], 100, groups=[np.arange(40) // 20]).interval
    assert wide.high - wide.low > 2 * np.subtract(*resample([runs[0].scores]).interval[::-1])


def compared_on(splits: int, asked: int = 5) -> Comparison:
    """A tie of two on so many of the splits that were asked for."""
    random = np.random.default_rng(5)
    levels = {"constant": 0.3, "linear": 0.7, "full": 0.7}
    runs = [
        make_run(name, make_scores((random.random(40) < level).astype(float)), seed)
        for seed in range(splits)
        for name, level in levels.items()
    ]
    return replace(make_comparison(runs), splits=asked)


def test_splits_that_the_budget_left_out_are_not_said_to_be_run() -> None:
    one, all_of_them = compared_on(1), compared_on(5)
    advice = advice_for(one)
    assert splits_sentence(one) == "" and "on 40 test rows\n" in repr(one)
    assert advice.caveats[0].startswith("Only one of 5 splits: the intervals cover its test rows only")
    assert "Run again with a larger --budget for all 5 splits" in advice.next_step and "--seeds" not in advice.next_step
    assert "on 2 splits of the rows" in splits_sentence(compared_on(2))
    assert advice_for(compared_on(2)).caveats[0].startswith("Only two of 5 splits")
    said = advice_for(all_of_them)
    assert "on 5 splits of the rows" in said.reason and not said.caveats and "seeds" not in said.next_step


def test_what_splits_are_compared_by_is_no_test_row_of_one() -> None:
    found = compared_on(5)
    row, constant = found.row("linear"), found.row("constant")
    share, other = f"{100 * row.score:.0f} %", f"{100 * constant.score:.0f} %"
    assert error_beside(found, row, None) == f"right in {share} of the test rows of 5 splits"
    assert error_beside(found, row, constant) == f"right in {share} of the test rows of 5 splits (`constant`: {other})"
    lead = lead_of(found)
    assert lead is not None and lead.meaning.startswith("resamples of the splits: ")
    alone = lead_of(compared_on(1))
    assert alone is not None and alone.meaning.startswith("resamples of the test rows: ")
