"""Comparison: is the table in order, and does the public JSON keep its keys?"""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from tests.run_factory import make_comparison, make_retention, make_run, make_runs, make_scores
from warmstart.errors import UsageError
from warmstart.results.comparison import Comparison

TRUTHS = {"constant": 0.2, "linear": 0.5, "full": 0.8, "scratch": 0.6}


def names(comparison: Comparison) -> list[str]:
    return [row.name for row in comparison.table]


def test_best_first() -> None:
    assert names(make_comparison(make_runs(TRUTHS))) == ["full", "scratch", "linear", "constant"]
    errors = make_comparison(make_runs(TRUTHS, higher_is_better=False))
    assert names(errors) == ["constant", "linear", "scratch", "full"]


def test_failed_regimes_are_last_and_leave_no_nan() -> None:
    runs = [*make_runs(TRUTHS), replace(make_run("lora", np.zeros((0, 2)), failed="diverged at step 12"), test=None)]
    comparison = make_comparison(runs)
    lora = comparison.table[-1]
    assert (lora.name, lora.failed, lora.seeds) == ("lora", "diverged at step 12", ())
    assert math.isnan(lora.score)
    written = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert written["regimes"][-1]["score"] is None and written["regimes"][-1]["interval"] == [None, None]
    assert not any("lora" in (found["a"], found["b"]) for found in written["differences"])


def test_a_score_that_is_not_a_number_is_no_score() -> None:
    broken = make_run("full", make_scores(np.array([1.0, math.nan, 0.0])))
    row = make_comparison([broken]).row("full")
    assert row.failed == "came to no score" and math.isnan(row.score) and row.seeds == ()


def test_a_failed_regime_with_the_best_score_is_last_all_the_same() -> None:
    comparison = make_comparison(make_runs(TRUTHS, failed=["full"]))
    assert names(comparison)[-1] == "full" and comparison.row("full").score > 0.7


def test_row_is_the_mean_over_seeds() -> None:
    runs = make_runs(TRUTHS, seeds=3)
    row = make_comparison(runs).row("full")
    own = [run for run in runs if run.regime == "full"]
    assert row.score == pytest.approx(np.mean([run.test for run in own]))
    assert row.interval.low < row.score < row.interval.high
    assert row.seeds == (0, 1, 2) and row.seconds == 11.0 and row.seconds_range == (10.0, 12.0)


def test_one_failed_seed_of_three_is_a_caveat_and_two_are_a_failure() -> None:
    runs = make_runs({"full": 0.8, "linear": 0.5})
    one = make_comparison([replace(run, failed="diverged") if run.id == "full-r1000-s1" else run for run in runs])
    assert one.row("full").failed is None and one.row("full").seeds == (0, 2)
    assert one.row("full").caveats == ("failed on 1 of 3 seeds (1): diverged",)
    assert one.difference("full", "linear").difference == pytest.approx(
        np.mean([a.test - b.test for a, b in zip(runs[:3], runs[3:], strict=True) if a.seed != 1])
    )
    two = make_comparison(
        [replace(run, failed="diverged") if run.regime == "full" and run.seed else run for run in runs]
    )
    assert two.row("full").failed == "failed on 2 of 3 seeds (1, 2): diverged"
    assert names(two)[-1] == "full"


def test_difference_is_positive_where_a_is_better() -> None:
    found = make_comparison(make_runs(TRUTHS)).difference("full", "linear")
    assert found.difference == pytest.approx(0.3, abs=0.05) and found.interval.low > 0 and found.p_a_better > 0.99
    errors = make_comparison(make_runs(TRUTHS, higher_is_better=False))
    assert errors.difference("full", "linear").interval.high < 0 < errors.difference("linear", "full").interval.low


def test_grouped_test_rows_are_drawn_by_group() -> None:
    """Rows that are copies of each other are one row."""
    few = [make_run(name, make_scores(np.random.default_rng(i).random(100))) for i, name in enumerate(TRUTHS)]
    copies = [replace(run, scores=np.repeat(run.scores, 20, axis=0)) for run in few]
    columns = {"group": np.repeat(np.arange(100), 20).tolist()}
    plain, grouped, alone = (
        make_comparison(runs) for runs in (copies, [replace(run, predictions=columns) for run in copies], few)
    )
    widths = [np.ptp(made.row("full").interval) for made in (plain, grouped, alone)]
    assert widths[1] == pytest.approx(widths[2], rel=0.05) and widths[0] < 0.3 * widths[1]
    widths = [np.ptp(made.difference("full", "linear").interval) for made in (plain, grouped, alone)]
    assert widths[1] == pytest.approx(widths[2], rel=0.05) and widths[0] < 0.3 * widths[1]


def test_largest_common_rows() -> None:
    runs = make_runs(TRUTHS, rows=4000) + make_runs(TRUTHS, rows=1000, random_seed=1)
    short = [run for run in runs if (run.regime, run.rows) != ("scratch", 4000)]
    comparison = make_comparison(short)
    assert comparison.row("full").rows == 4000 and comparison.row("scratch").rows == 1000
    assert names(comparison)[-1] == "scratch"  # not ranked against those with more rows
    assert comparison.difference("full", "linear").rows == 4000
    assert comparison.difference("full", "scratch").rows == 1000
    assert comparison.difference("full", "linear", 1000).rows == 1000
    points = {curve["regime"]: [p["rows"] for p in curve["points"]] for curve in comparison.to_json()["curves"]}
    assert points == {"constant": [1000, 4000], "linear": [1000, 4000], "full": [1000, 4000], "scratch": [1000]}


def test_an_unknown_regime_and_a_pair_that_cannot_be_compared() -> None:
    comparison = make_comparison(make_runs(TRUTHS))
    with pytest.raises(UsageError, match="did you mean 'scratch'"):
        comparison.difference("scrach", "full")
    with pytest.raises(UsageError, match="at 99 training rows"):
        comparison.difference("scratch", "full", 99)
    scores = make_scores(np.arange(10.0))
    apart = make_comparison([make_run("full", scores, seed=0), make_run("lora", scores, seed=1)])
    assert apart.common_rows("full", "lora") == ()
    with pytest.raises(UsageError, match="'full', 'lora' have no finished run on the same seed"):
        apart.difference("full", "lora")
    assert apart.to_json()["differences"] == []


def test_drawn_together_and_in_pairs_are_the_same() -> None:
    comparison = make_comparison(make_runs(TRUTHS, higher_is_better=False, seed_noise=0.1))
    drawn = comparison.drawn(["full", "linear"], 1000)
    assert np.allclose(drawn[:, 0] - drawn[:, 1], comparison.paired("full", "linear", 1000).draws)


def test_what_was_forgotten_is_the_mean_over_seeds_with_an_interval() -> None:
    generator = np.random.default_rng(0)
    tokens = generator.integers(5, 50, 200).astype(float)
    runs = [
        replace(run, retention=make_retention(nats=np.stack([(0.1 + 0.02 * run.seed) * tokens, tokens], axis=1)))
        if run.regime == "full"
        else run
        for run in make_runs(TRUTHS)
    ]
    written = json.loads(json.dumps(make_comparison(runs).to_json(), allow_nan=False))
    by_name = {regime["name"]: regime["retention"] for regime in written["regimes"]}
    assert by_name["linear"] is None and by_name["scratch"] is None
    full = by_name["full"]
    assert set(full) >= {"nats", "kl", "progress_lost", "drift", "drift_cka", "intervals", "frontier", "matched"}
    assert full["nats"] == pytest.approx(0.12) and (full["kl"], full["drift"]) == (None, None)
    low, high = full["intervals"]["nats"]
    assert low < 0.11 and high > 0.13  # seeds spread by 0.02, texts not at all


def test_a_measure_that_a_seed_lacks_is_not_given_for_the_others() -> None:
    both = {"kl": np.ones((5, 2)), "drift": np.ones((5, 2))}
    kept = [make_retention(**both), make_retention(kl=np.ones((5, 2)))]
    runs = [make_run("full", make_scores(np.arange(9.0)), seed=i, retention=found) for i, found in enumerate(kept)]
    found = make_comparison(runs).row("full").retention
    assert found is not None and (found.kl, found.drift, found.drift_cka) == (1.0, None, None)


def test_a_frontier_is_the_mean_over_seeds() -> None:
    def swept(shift: float, taken: int) -> dict[str, object]:
        points = [{"mix": i / 2, "score": 0.5 + shift + 0.1 * i, "forgotten": 0.2 * i} for i in range(3)]
        return make_retention(points, "accuracy", nats=np.ones((4, 2))) | {"matched": points[taken]}

    runs = [
        make_run("full", make_scores(np.arange(9.0)), seed=seed, retention=swept(shift, taken))
        for seed, (shift, taken) in enumerate([(0.0, 1), (0.02, 2)])
    ]
    found = make_comparison(runs).row("full").retention
    assert found is not None and found.frontier_by == {"score": "accuracy", "forgotten": "nats"}
    assert [point["score"] for point in found.frontier] == pytest.approx([0.51, 0.61, 0.71])
    assert found.matched == pytest.approx({"mix": 0.75, "score": 0.665 + 0.0, "forgotten": 0.3}, abs=0.006)
    fewer = [
        runs[0],
        replace(runs[1], retention=swept(0.0, 2) | {"frontier": [{"mix": 1, "score": 1, "forgotten": 1}]}),
    ]
    other = make_comparison(fewer).row("full").retention
    assert (
        other is not None and len(other.frontier) == 3 and other.matched == {"mix": 0.5, "score": 0.6, "forgotten": 0.2}
    )


def test_public_keys() -> None:
    written = json.loads(json.dumps(make_comparison(make_runs(TRUTHS)).to_json(), allow_nan=False))
    assert set(written) >= {
        "warmstart", "task", "metric", "higher_is_better", "fingerprint", "rows", "regimes", "differences", "curves",
        "crossovers", "units", "target", "worth", "noise_floor", "cuts", "caveats",
    }  # fmt: skip
    assert set(written["rows"]) == {"train", "val", "test"}
    assert set(written["regimes"][0]) >= {
        "name", "family", "score", "interval", "seeds", "rows", "lr", "converged", "latency_ms", "disk_bytes", "cost",
        "caveats", "failed", "retention",
    }  # fmt: skip
    assert set(written["regimes"][0]["cost"]) >= {
        "flops", "seconds", "peak_memory_bytes", "trainable", "total", "bytes_saved",
    }  # fmt: skip
    assert len(written["differences"]) == 6
    assert set(written["differences"][0]) == {"a", "b", "rows", "difference", "interval", "p_a_better"}
    assert (written["differences"][0]["a"], written["differences"][0]["b"]) == ("full", "scratch")
    assert written["curves"][0]["law"] is None and written["crossovers"] == []


def test_an_interval_stays_within_what_the_metric_can_be() -> None:
    """Balanced accuracy has values above their weights, so that only the metric's name tells its highest."""
    scores = np.stack([np.repeat([1.7, 0.3, 0.0], [8, 9, 3]), np.ones(20)], axis=1)
    made = [replace(make_run("linear", scores, seed), metric="balanced accuracy") for seed in range(3)]
    assert make_comparison(made).row("linear").interval.high == 1.0
    assert make_comparison([replace(run, metric="chrF") for run in made]).row("linear").interval.high > 1.0
