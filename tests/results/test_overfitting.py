"""Overfitting: a known gap is found again, and so are rows that were only remembered."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.run_factory import make_comparison, make_run, make_scores
from warmstart.data.rows.duplicates import join_duplicates
from warmstart.results.bootstrap import resample
from warmstart.results.overfitting import memorization, overfitting_gap
from warmstart.results.record import Run, load_run, save_run


def _run(train: float, test: float, seed: int = 0, *, higher: bool = True, rows: int = 400) -> Run:
    random = np.random.default_rng(seed)
    scores, learned = ((random.random(rows) < share).astype(np.float64) for share in (test, train))
    run = make_run("full", make_scores(scores), seed, higher_is_better=higher)
    return replace(run, train_scores=make_scores(learned))


@pytest.mark.parametrize("higher", [True, False])
def test_finds_a_known_gap_turned_so_that_more_is_worse(higher: bool) -> None:
    runs = [_run(0.9, 0.7, 3, higher=higher)]
    found = overfitting_gap(runs, resample([run.scores for run in runs]))
    assert found is not None
    expected = 0.2 if higher else -0.2
    assert found.interval.low < expected < found.interval.high
    assert found.interval.high - found.interval.low < 0.2
    assert found.gap == pytest.approx((found.train - found.test) * (1 if higher else -1))
    assert found.rows == 400


def test_training_rows_of_a_group_are_drawn_together() -> None:
    """Drawn one by one, the gap of rows that come in groups had an interval a third as wide as it is."""
    generator = np.random.default_rng(0)
    group = np.repeat(np.arange(20), 20)
    right = np.repeat(generator.random(20) < 0.8, 20).astype(np.float64)
    run = replace(_run(0.9, 0.7, 3), train_scores=make_scores(right))
    alone, together = (
        overfitting_gap([one], resample([one.scores]))
        for one in (run, replace(run, train_groups=generator.permutation(20)[group]))
    )
    assert alone is not None and together is not None and together.gap == alone.gap
    widths = [found.interval.high - found.interval.low for found in (alone, together)]
    assert widths[1] > 2 * widths[0]


def test_no_gap_where_training_rows_were_not_scored_alike() -> None:
    run = replace(_run(0.9, 0.7), train_scores=None)
    assert overfitting_gap([run], resample([run.scores])) is None
    assert make_comparison([run]).to_json()["regimes"][0]["gap"] is None


def test_rows_with_a_copy_against_the_others() -> None:
    random = np.random.default_rng(0)
    copied = np.arange(400) < 100
    runs = []
    for seed in range(3):
        right = (random.random(400) < np.where(copied, 0.95, 0.6)).astype(np.float64)
        runs.append(replace(make_run("full", make_scores(right), seed), predictions={"copied": copied.tolist()}))
    found = memorization(runs)
    assert found is not None and found.rows == 100
    assert found.copied == pytest.approx(0.95, abs=0.04) and found.others == pytest.approx(0.6, abs=0.04)
    assert 0.2 < found.interval.low < 0.35 < found.interval.high < 0.5
    written = make_comparison(runs).to_json()["regimes"][0]
    assert written["copies"]["rows"] == 100 and written["copies"]["difference"] == found.difference


@pytest.mark.parametrize("copies", [19, 381])
def test_few_copies_and_few_others_say_nothing(copies: int) -> None:
    run = replace(_run(0.9, 0.7), predictions={"copied": [i < copies for i in range(400)]})
    assert memorization([run]) is None


def test_copies_are_joined() -> None:
    said = "a lightweight window manager for the console with tabs and borders and a menu"
    texts = [said, "something else entirely, of other words", said + ".", said, "one more that says nothing of it"]
    found = join_duplicates(texts)
    assert found[0] == found[2] == found[3]
    assert len(set(found.tolist())) == 3


def test_scores_of_training_rows_come_back(tmp_path: Path) -> None:
    run = _run(0.9, 0.7)
    save_run(run, tmp_path)
    again = load_run(tmp_path)
    assert again.train_scores is not None and run.train_scores is not None
    np.testing.assert_array_equal(again.train_scores, run.train_scores)
    assert again.train_groups is None
    save_run(replace(run, train_groups=np.arange(400) // 8), tmp_path)
    np.testing.assert_array_equal(load_run(tmp_path).train_groups, np.arange(400) // 8)  # type: ignore[arg-type]
    (tmp_path / "train_scores.parquet").unlink()  # as an earlier version left it
    assert load_run(tmp_path).train_scores is None
