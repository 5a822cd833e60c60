"""All rows: is the answer about all rows, and never surer of it than parts of them allow?"""

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.run_factory import make_comparison, make_curve_runs, make_run, make_scores
from warmstart.advice.advise import advice_for
from warmstart.advice.budget_cuts import lead_of, winner_sentence
from warmstart.advice.ranking import rank_regimes
from warmstart.quantities import format_interval_bounds, format_number
from warmstart.results.comparison import Comparison
from warmstart.results.constraints import Excluded
from warmstart.results.record import Run
from warmstart.study.winner import best_run

SIZES = (100, 400, 1600)
LINEAR = (1.0, 0.1)  # error 0.63, 0.55, 0.48
COMMAND = "warmstart compare a.csv --target price --budget 180s --out study"


def seen_on(sizes: tuple[int, ...], **laws: tuple[float, float]) -> Comparison:
    """`constant` and `linear` on all sizes, the others on these."""
    runs = make_curve_runs({"constant": (1.5, 0.0), "linear": LINEAR} | laws, SIZES)
    cheap = ("constant", "linear")
    kept = [run for run in runs if run.regime in cheap or run.rows in sizes]
    return replace(make_comparison(kept), full_estimate=7000.0, command=COMMAND)


def test_a_steep_curve_that_reaches_the_leader_leaves_it_undecided() -> None:
    comparison = seen_on((100, 400), full=(3.0, 0.28))  # 0.83, 0.56: at 1,600 rows 0.38
    advice = advice_for(comparison)
    assert (advice.verdict, advice.choice, advice.predicted["regime"]) == ("undecided", None, "linear")
    assert advice.confidence <= 0.75
    assert "on all 1,600 training rows, `linear` scores" in advice.reason
    assert "`full` was trained on at most 400 of 1,600 rows and should score about 0.38" in advice.reason
    assert advice.next_step == (
        "To train `full` on all rows: `warmstart compare a.csv --target price --budget 3h --out study-longer`."
        " Until then use `linear`, which is trained on all rows."
    )


def test_the_prediction_is_in_the_json_beside_the_measured_score() -> None:
    comparison = seen_on((100, 400), full=(3.0, 0.28))
    entries = {entry["name"]: entry for entry in comparison.to_json()["regimes"]}
    assert entries["full"]["rows"] == 400 and entries["linear"]["predicted"] is None
    predicted = entries["full"]["predicted"]
    assert predicted["rows"] == 1600 and predicted["score"] == pytest.approx(0.38, abs=0.03)
    low, high = predicted["interval"]
    assert low < predicted["score"] < high


def test_a_flat_curve_far_behind_leaves_no_doubt() -> None:
    comparison = seen_on((100, 400), full=(1.3, 0.02))
    advice = advice_for(comparison)
    assert (advice.verdict, advice.choice) == ("a linear model is enough", "linear")
    assert "`full` was trained on at most 400 of 1,600 rows and should score about 1.1" in " ".join(advice.caveats)


def test_of_a_single_size_nothing_is_predicted_and_the_same_rows_decide() -> None:
    """Clearly worse there: it is left behind. Else it is open."""
    worse = seen_on((100,), full=(1.3, 0.1))
    assert worse.predictions == {} and advice_for(worse).choice == "linear"
    alike = advice_for(seen_on((100,), full=(1.0, 0.1)))
    assert alike.verdict == "undecided"
    assert "of 1,600 rows, too few to predict its score on all (on 100 rows it is better" in alike.reason
    behind = [seen_on((100,), full=(first, 0.1)) for first in np.linspace(1.0, 1.3, 13)]
    found = next(each for each in behind if each.difference("full", "linear").difference < 0)
    less = found.difference("linear", "full")
    words = f"(on 100 rows it is worse than `linear` by {format_number(less.difference)} "
    advice = advice_for(found)
    assert words + format_interval_bounds(less.interval) in f"{advice.reason} {' '.join(advice.caveats)}"


def test_nothing_is_predicted_for_more_than_ten_times_the_rows() -> None:
    comparison = seen_on((100, 400), full=(3.0, 0.28))
    assert "full" in replace(comparison, rows=comparison.rows | {"train": 4000}).predictions
    assert "full" not in replace(comparison, rows=comparison.rows | {"train": 4001}).predictions


def test_what_was_not_run_leaves_it_undecided() -> None:
    out = (Excluded("full", "budget", "there was no time for 40 steps on 100 rows; --budget 9m would be enough"),)
    advice = advice_for(replace(seen_on(SIZES), excluded=out))
    assert advice.verdict == "undecided" and advice.constraints == ()
    assert "`full` could not be trained enough within the budget." in advice.reason
    assert advice.next_step.startswith("To train `full` on all rows: `warmstart compare")


def test_an_undecided_answer_names_what_the_test_rows_cannot_separate() -> None:
    runs = make_curve_runs({"constant": (1.5, 0.0), "linear": (1.0, 0.1), "boosted": (1.0, 0.1)}, (1600,))
    out = (Excluded("full", "budget", "there was no time"),)
    comparison = replace(make_comparison(runs), excluded=out, command=COMMAND)
    advice = advice_for(comparison)
    best, other = ("linear", "boosted") if advice.predicted["regime"] == "linear" else ("boosted", "linear")
    assert f"The 1,000 test rows and these seeds cannot separate it from `{other}` either." in advice.reason
    lead = lead_of(comparison)
    assert lead and lead.regime == best and lead.share < 1
    assert lead.sentence.endswith("of those that ran, it is best or within 1 % of the best.")
    assert "separate" not in advice_for(replace(seen_on(SIZES), excluded=out)).reason
    assert lead_of(seen_on((100, 400), full=(3.0, 0.28))) is None, "nothing ran beside `linear` on all rows"


def test_the_next_step_trains_the_cheapest_rival_beside_the_leader() -> None:
    reason = "there was no time for 40 steps on 100 rows; --budget 9m would be enough"
    out = tuple(Excluded(name, "budget", reason) for name in ("scratch", "lora"))
    known = replace(seen_on(SIZES), excluded=out, estimates={"scratch": 7200.0, "lora": 240.0})
    took = max(run.cost.seconds + run.tuning_seconds for run in known.runs if run.regime == "linear")
    minutes = math.ceil((1.25 * (240 + took) / 0.75 + 30) / 60)
    assert advice_for(known).next_step == (
        f"To train `lora` on all rows: `warmstart compare a.csv --target price --budget {minutes}m "
        "--regimes linear,lora --out study-longer`. Training all of them takes about 2.1 h with one seed. "
        "Until then use `linear`, which is trained on all rows."
    )
    alone = replace(
        known, excluded=out[1:], command=COMMAND.replace("--budget 180s", "--regimes lora --compute 1TFLOP")
    )
    assert advice_for(alone).next_step.startswith(
        "To train `lora` on all rows: `warmstart compare a.csv --target price --regimes linear,lora --compute "
    )
    assert "all of them" not in advice_for(alone).next_step


def test_the_way_is_decided_where_only_a_sibling_is_open() -> None:
    runs = make_curve_runs({"linear": (1.0, 0.0), "frozen": (1.0, 0.2), "full": (1.0, 0.2)}, SIZES)
    comparison = make_comparison([run for run in runs if run.regime != "full" or run.rows < 1600])
    advice = advice_for(comparison)
    assert (advice.verdict, advice.choice) == ("fine-tune", "frozen") and advice.confidence <= 0.75
    assert "`full` may be better still, but ran on part of the rows only." in advice.reason


def test_only_parts_of_the_rows_are_never_sure() -> None:
    runs = make_curve_runs({"constant": (1.5, 0.0), "scratch": (1.0, 0.05), "full": (1.0, 0.2)}, SIZES)
    comparison = make_comparison([run for run in runs if run.regime == "constant" or run.rows < 1600])
    ranking = rank_regimes(comparison)
    assert ranking and ranking.best.rows == 400 and ranking.constant and ranking.constant.rows == 400
    advice = advice_for(comparison)
    assert advice.choice == "full" and advice.confidence <= 0.75
    assert (
        winner_sentence(comparison, "full") == "The model in winner/ is `full`, trained on 400 of 1,600 training rows."
    )


def test_what_was_run_on_all_rows_alone_predicts_nothing() -> None:
    runs: list[Run] = [make_run(name, make_scores(np.full(50, 0.5))) for name in ("linear", "full")]
    comparison = make_comparison(runs)
    assert comparison.partial == () and comparison.predictions == {}
    whole = "The model in winner/ is `full`, trained on all 1,000 training rows: right in 25 of 50 test rows (50 %)."
    assert winner_sentence(comparison, "full") == whole


def test_what_is_better_on_a_part_than_the_best_on_all_rows_is_chosen() -> None:
    comparison = seen_on((100, 400), full=(0.9, 0.2))  # 0.36, 0.27, where `linear` has 0.48 on all rows
    advice = advice_for(comparison)
    assert (advice.verdict, advice.choice, advice.winner) == ("fine-tune", "full", "full")
    assert 0.5 < advice.confidence <= 0.75
    assert "`full` was trained on at most 400 of 1,600 rows and should score about 0.2" in advice.reason
    assert "than `linear` on all of them" in advice.reason
    assert advice.next_step.endswith("Until then use `full`, which is trained on 400 rows.")
    assert not [caveat for caveat in advice.caveats if "was compared" in caveat], "so was `linear`"
    assert advice.next_step.startswith("To train `full` on all rows: `warmstart compare")
    run = best_run(comparison, advice)
    assert run and (run.regime, run.rows) == ("full", 400)


def test_another_way_that_may_be_better_still_leaves_it_undecided() -> None:
    comparison = seen_on((100, 400), full=(0.9, 0.2), scratch=(3.4, 0.4))  # 0.31 at 400 rows, 0.18 at 1,600
    advice = advice_for(comparison)
    assert (advice.verdict, advice.choice, advice.winner) == ("undecided", None, "full")
    assert advice.reason.startswith("Undecided: on 400 of 1,600 training rows, `full` scores")
    assert "`scratch` was trained on at most 400" in advice.reason and "`full` was trained" not in advice.reason
    siblings = advice_for(seen_on((100, 400), full=(0.9, 0.2), lora=(3.4, 0.4)))
    assert (siblings.verdict, siblings.choice) == ("fine-tune", "full")


def test_what_is_worse_than_the_constant_does_not_lead() -> None:
    """Even if it is better than everything else."""
    runs = make_curve_runs({"constant": (0.2, 0.0), "linear": LINEAR, "full": (0.9, 0.2)}, SIZES)
    advice = advice_for(make_comparison([run for run in runs if run.regime != "full" or run.rows < 1600]))
    assert advice.choice is None and advice.winner != "full"


def test_what_cannot_reach_the_leader_leaves_no_doubt() -> None:
    """Though it may be better than the best on all rows."""
    comparison = seen_on((100, 400), full=(0.9, 0.2), scratch=(1.5, 0.185))  # scratch: 0.495, at 1,600 rows 0.38
    advice = advice_for(comparison)
    assert (advice.verdict, advice.choice) == ("fine-tune", "full") and "scratch" not in advice.next_step


@pytest.mark.parametrize(("gain", "winner"), [(0.002, "linear"), (0.02, "full")])
def test_a_gain_that_does_not_matter_does_not_lead(gain: float, winner: str) -> None:
    """However clear it is: here it is the same on every row. At least 1 % of 0.48 matters."""
    comparison = seen_on(())
    whole = [run for run in comparison.runs if (run.regime, run.rows) == ("linear", 1600)]
    better = [make_run("full", run.scores - [gain, 0.0], run.seed, 400, higher_is_better=False) for run in whole]
    assert advice_for(replace(comparison, runs=(*comparison.runs, *better))).winner == winner


def test_the_leader_is_better_than_every_regime_on_all_rows() -> None:
    """Clearly: one of them that is not far behind the best, and noisy, may be as good as the leader."""
    comparison = seen_on((100, 400), full=(0.9, 0.2))
    noise = np.random.default_rng(0).normal(0, 6, len(comparison.runs[0].scores))
    other = make_run("scratch-dnn", make_scores(0.51 + noise - noise.mean()), rows=1600, higher_is_better=False)
    ranking = rank_regimes(replace(comparison, runs=(*comparison.runs, other)))
    assert ranking and ranking.best.name == "linear" and ranking.ahead is None


def test_what_is_as_good_on_a_part_is_not_ahead() -> None:
    advice = advice_for(seen_on((100, 400), full=(1.0, 0.12)))  # 0.487 at 400 rows, 0.478 of `linear` at 1,600
    assert advice.winner == "linear"
