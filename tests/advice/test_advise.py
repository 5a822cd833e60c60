"""Advise: is the answer right where the truth is known, and never surer than the runs allow?"""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from tests.run_factory import make_comparison, make_run, make_runs, make_scores
from warmstart.advice.advise import advice_for
from warmstart.advice.budget_cuts import lead_of
from warmstart.advice.phrases import cut_to_fit
from warmstart.quantities import format_interval_bounds, format_number
from warmstart.reporting.formatting import VERDICT_SENTENCES, verdict_sentence
from warmstart.results.record import Run, Trial

TRUTHS = {"constant": 0.2, "linear": 0.55, "scratch": 0.6, "full": 0.7, "lora": 0.66}
FLOPS = {"constant": 0.0, "linear": 1e8, "scratch": 9e11, "full": 1e12, "lora": 7e11}


def runs(random_seed: int = 0, seeds: int = 3, test_rows: int = 2000, **truths: float) -> list[Run]:
    return make_runs(TRUTHS | truths, flops=FLOPS, random_seed=random_seed, seeds=seeds, test_rows=test_rows)


def test_a_clear_winner() -> None:
    advice = advice_for(make_comparison(runs(lora=0.5)))
    assert (advice.choice, advice.verdict, advice.also_fine, advice.caveats) == ("full", "fine-tune", (), ())
    assert advice.confidence == 0.99  # never certain
    assert advice.reason.startswith("Fine-tune: `full` scores 0.6")
    assert "better than the best model trained from scratch (`scratch`), which costs 0.9 times as much" in advice.reason
    assert "better than the linear model (`linear`), which costs 10,000 times less" in advice.reason
    assert advice.next_step == "Use it: `full` is ready for `warmstart predict`."


def test_what_the_budget_cut_is_the_first_caveat_and_a_sentence() -> None:
    comparison = make_comparison(runs(seeds=1))
    cut = replace(comparison, cuts=("140 training rows instead of 280", "1 seed instead of 3"), full_estimate=5400.0)
    assert advice_for(cut).caveats[:3] == (*cut.cuts, advice_for(comparison).caveats[0])
    assert cut_to_fit(cut) == (
        "Cut to fit the budget: 140 training rows instead of 280; 1 seed instead of 3. The full study was estimated at"
        " 1.5 h."
    )
    assert cut_to_fit(comparison) == ""


def test_what_costs_as_much_is_not_said_to_cost_once_as_much() -> None:
    found = runs(lora=0.5)
    alike = [replace(run, cost=replace(run.cost, flops=0.98e12)) if run.regime == "scratch" else run for run in found]
    assert "(`scratch`), which costs the same, and" in advice_for(make_comparison(alike)).reason


def test_a_clear_winner_where_lower_is_better() -> None:
    errors = {"constant": 0.9, "linear": 0.6, "scratch": 0.4, "full": 0.5}
    advice = advice_for(make_comparison(make_runs(errors, flops=FLOPS, higher_is_better=False)))
    assert (advice.choice, advice.verdict) == ("scratch", "train from scratch")
    assert "mean absolute error in log10(price)" in advice.reason
    assert "better than the best fine-tuned model (`full`), which costs 1.1 times as much" in advice.reason


def test_of_a_tie_the_cheaper_is_chosen() -> None:
    truths = TRUTHS | {"linear": 0.699}
    advice = advice_for(make_comparison(make_runs(truths, flops=FLOPS, noise=0.02)))
    assert (advice.choice, advice.verdict, advice.also_fine) == ("linear", "a linear model is enough", ("full",))
    assert "within 1 % of the best fine-tuned model (`full`), which costs 10,000 times as much" in advice.reason


def test_a_tie_depends_on_what_a_gain_is_worth() -> None:
    made = make_runs(TRUTHS | {"linear": 0.696}, flops=FLOPS, noise=0.02)
    assert advice_for(make_comparison(made, min_effect=0.001)).choice == "full"
    assert advice_for(make_comparison(made, min_effect=0.01)).choice == "linear"


def test_undecided_names_its_price() -> None:
    advice = advice_for(make_comparison(runs(linear=0.695, lora=0.5, test_rows=400)))
    assert (advice.choice, advice.verdict, advice.also_fine) == (None, "undecided", ())
    assert advice.confidence <= 0.75
    assert "fine-tuning (`full`, 0." in advice.reason and "the linear model (`linear`, 0." in advice.reason
    assert "Training from scratch did worse." in advice.reason
    assert " settle it" in advice.next_step
    assert advice.next_step.endswith("`linear` is the cheapest candidate.")
    assert advice.predicted["regime"] in ("full", "linear")


def test_undecided_where_the_cheapest_leads_says_how_much_that_risks() -> None:
    advice = advice_for(make_comparison(runs(linear=0.74, lora=0.5, scratch=0.5, test_rows=400)))
    assert (advice.choice, advice.verdict) == (None, "undecided")
    most = re.search(r"`linear` is ahead and the cheapest.*by (0\.\d{3}) at most\.", advice.reason)
    assert most and 0 < float(most[1]) < 0.05
    assert advice.next_step.endswith("If you cannot wait, take `linear`.")
    unsure = [replace(run, converged=run.regime != "full") for run in runs(linear=0.74, lora=0.5, test_rows=400)]
    assert "at most" not in advice_for(make_comparison(unsure)).reason, "it may become better with more steps"


def test_undecided_with_two_seeds_asks_for_a_third_first() -> None:
    advice = advice_for(make_comparison(runs(linear=0.69, seeds=2, test_rows=300)))
    assert advice.verdict == "undecided"
    assert advice.next_step.startswith("Run again with --seeds 3, and with about ")


def test_an_open_method_leaves_the_family_sure() -> None:
    advice = advice_for(make_comparison(runs(lora=0.7, test_rows=800)))
    assert advice.verdict == "fine-tune" and advice.choice in ("full", "lora") and advice.confidence >= 0.95
    assert "is best is unclear" in advice.reason


def test_an_open_method_where_only_one_family_ran_is_undecided() -> None:
    made = [run for run in runs(lora=0.7, test_rows=800) if run.regime in ("full", "lora")]
    advice = advice_for(make_comparison(made))
    assert (advice.choice, advice.verdict) == (None, "undecided")
    assert any("compared: another way to train may be better" in caveat for caveat in advice.caveats)


def test_a_dearer_rival_that_cannot_gain_what_matters_leaves_nothing_open() -> None:
    """`linear` may be better than `full` by much and cannot be much worse: no need to know more."""
    made = make_runs({"linear": 0.712, "full": 0.7}, flops=FLOPS, test_rows=2000, noise=0.25)
    comparison = make_comparison(made, min_effect=0.02)
    low, high = comparison.difference("linear", "full").interval
    assert -0.014 < low < 0 and high > 0.015, "the case that is meant"
    assert advice_for(comparison).choice == "linear"


def test_constant_is_never_chosen() -> None:
    for seed in range(20):
        advice = advice_for(make_comparison(runs(seed, test_rows=100, linear=0.2, scratch=0.2, full=0.2, lora=0.2)))
        assert advice.choice != "constant" and "constant" not in advice.also_fine
    level = advice_for(make_comparison(runs(linear=0.2, scratch=0.2, full=0.2, lora=0.2)))
    assert (level.choice, level.verdict) == (None, "nothing beats the constant")
    assert level.reason.startswith("Probably nothing beats the constant: `") and "warmstart check" in level.next_step


def test_a_constant_that_is_far_the_best_is_sure_to_stand() -> None:
    advice = advice_for(make_comparison(runs(constant=0.9)))
    assert (advice.choice, advice.verdict, advice.confidence) == (None, "nothing beats the constant", 0.99)


def test_a_small_test_set_does_not_hand_the_win_to_the_constant_with_confidence() -> None:
    advice = advice_for(make_comparison(runs(test_rows=30, constant=0.5, full=0.6, lora=0.5, scratch=0.5, linear=0.5)))
    assert advice.choice is None and advice.confidence < 0.8


def test_a_gain_over_the_constant_that_is_likely_but_not_clear_is_undecided() -> None:
    """33 right of 50 against 41: the constant is no answer where 97 % of the resamples say that it is worse."""
    right = make_scores(np.repeat([1.0, 0.0], [41, 9]))
    constant = make_scores(np.concatenate([np.repeat([1.0, 0.0], [28, 13]), np.repeat([1.0, 0.0], [5, 4])]))
    made = [make_run("constant", constant, seed) for seed in range(3)]
    made += [make_run(name, right, seed) for name in ("linear", "full") for seed in range(3)]
    comparison = make_comparison(made)
    advice = advice_for(comparison)
    assert (advice.verdict, advice.choice, advice.winner) == ("undecided", None, "linear")
    assert advice.confidence == 0.75
    assert advice.reason.startswith("Undecided: nothing is clearly better than the constant: `linear` scores 0.820")
    assert advice.next_step.endswith("If you cannot wait, take `linear`.")
    lead = lead_of(comparison)
    assert lead is not None and lead.share > 0.9
    assert lead.meaning == "resamples of the test rows and seeds: it is better than the constant by more than 1 %"


def test_a_constant_that_is_ahead_is_not_said_to_be_gained_on() -> None:
    made = make_runs({"constant": 0.62, "linear": 0.6}, test_rows=60, noise=0.3, lasting_noise=0.5)
    advice = advice_for(make_comparison(made))
    assert advice.verdict == "nothing beats the constant" and advice.confidence < 0.8
    assert advice.reason.startswith("Probably nothing beats the constant: `linear` scores")  # as the report's heading
    found = make_comparison(made).difference("constant", "linear")
    assert found.difference > 0 and advice.reason.endswith(
        f"the constant is better by {format_number(found.difference)} {format_interval_bounds(found.interval)}."
    )


def test_a_regime_that_is_not_tied_with_the_best_is_not_said_to_be() -> None:
    """The best is too noisy to be clear of the constant, and a sibling far below it is clear."""
    random = np.random.default_rng(0)
    level = np.full(200, 0.5)
    noisy = level + 0.16 + random.normal(0, 1.5, 200)
    made = [make_run("constant", make_scores(level), seed) for seed in range(3)]
    made += [make_run("full", make_scores(noisy - noisy.mean() + 0.66), seed) for seed in range(3)]
    made += [make_run("lora", make_scores(level + 0.1 + random.normal(0, 0.1, 200)), seed) for seed in range(3)]
    made += [make_run("linear", make_scores(level - 0.4), seed) for seed in range(3)]
    advice = advice_for(make_comparison(made))
    assert advice.choice == "lora"
    assert "`full` scored best, but is not clearly better than the constant." in advice.reason
    assert "within 1 % of it" not in advice.reason


@pytest.mark.parametrize(("seeds", "most"), [(1, 0.8), (2, 0.9), (3, 0.99)])
def test_fewer_than_three_seeds_are_less_sure_and_say_so(seeds: int, most: float) -> None:
    advice = advice_for(make_comparison(runs(seeds=seeds, lora=0.5)))
    assert (advice.choice, advice.confidence) == ("full", most)
    assert any("seed" in caveat for caveat in advice.caveats) == (seeds < 3)
    assert ("--seeds 3" in advice.next_step) == (seeds < 3)


def test_what_has_not_converged_does_not_lose_with_confidence() -> None:
    made = make_runs(TRUTHS | {"lora": 0.5}, flops=FLOPS, unconverged=["scratch"])
    advice = advice_for(make_comparison(made))
    assert (advice.choice, advice.confidence) == ("full", 0.75)
    assert advice.reason.startswith("Probably fine-tune")
    assert advice.next_step.startswith("`scratch` had not converged")
    assert "`scratch` has not converged" in advice.caveats[0]


def test_a_method_of_the_winning_family_that_has_not_converged_leaves_the_verdict_sure() -> None:
    made = make_runs(TRUTHS | {"lora": 0.5}, flops=FLOPS, unconverged=["lora"])
    assert advice_for(make_comparison(made)).confidence == 0.99


def test_failed_regimes_cannot_win() -> None:
    advice = advice_for(make_comparison(make_runs(TRUTHS, flops=FLOPS, failed=["full"])))
    assert advice.choice == "lora" and "`full` failed and cannot win: diverged at step 12." in advice.caveats


def test_a_family_without_a_score_is_not_beaten_with_confidence() -> None:
    made = [replace(r, test=None, failed="diverged") if r.regime == "scratch" else r for r in runs(lora=0.5)]
    advice = advice_for(make_comparison(made))
    assert (advice.choice, advice.confidence) == ("full", 0.75)
    assert "Training from scratch has no score, so nothing is known about it." in advice.caveats


def test_nothing_usable() -> None:
    advice = advice_for(make_comparison([make_run("full", np.zeros((0, 2)), failed="diverged")]))
    assert (advice.choice, advice.confidence, advice.reason) == (None, 0.0, "No usable result: `full` failed.")
    assert json.loads(json.dumps(advice.to_json(), allow_nan=False))["predicted"]["score"] is None


def test_only_the_constant_usable() -> None:
    made = [replace(run, failed="diverged") for run in runs() if run.regime == "full"]
    made += [run for run in runs() if run.regime == "constant"]
    advice = advice_for(make_comparison(made))
    assert (advice.choice, advice.reason) == (None, "No usable result: `full` failed.")


def test_a_single_regime_says_that_there_was_nothing_to_compare() -> None:
    advice = advice_for(make_comparison([run for run in runs() if run.regime == "full"]))
    assert (advice.choice, advice.confidence) == ("full", 0.5)
    assert any("compared: another way to train may be better" in caveat for caveat in advice.caveats)


def test_the_way_to_the_noise_floor_is_only_as_long_as_measured() -> None:
    errors = {"linear": 0.6, "scratch": 0.55, "full": 0.4}
    large = make_runs(errors, higher_is_better=False)
    once = advice_for(make_comparison(large, noise_floor=0.3)).next_step
    assert "away from the best reachable score, 0.300. Try more training rows; --rows 250,1000" in once
    small = make_runs({name: error + 0.1 for name, error in errors.items()}, rows=250, higher_is_better=False)
    twice = advice_for(make_comparison(small + large, noise_floor=0.3)).next_step
    assert "From 250 to 1,000 training rows it went from 0.4" in twice and "was measured" in twice
    assert advice_for(make_comparison(large, noise_floor=0.37)).next_step.startswith("Use it")


@pytest.mark.parametrize(("groups", "said"), [(1, "a single group"), (5, "only 5 groups"), (40, None)])
def test_few_groups_of_test_rows_are_a_caveat(groups: int, said: str | None) -> None:
    columns = {"group": (np.arange(2000) % groups).tolist()}
    caveats = advice_for(make_comparison([replace(run, predictions=columns) for run in runs(lora=0.5)])).caveats
    assert any(f"The test rows come from {said}" in caveat for caveat in caveats) == (said is not None)


def test_compute_counts_each_search_once() -> None:
    trials = (Trial({"lr": 1e-4}, 25, 0.61), Trial({"lr": 3e-4}, 25, 0.64))
    shared = [replace(run, trials=trials, tuning_flops=5e11) for run in runs() if run.regime == "full"]
    assert advice_for(make_comparison(shared)).compute == {"spent_flops": 3.5e12, "exhaustive_flops": 3.5e12}
    own = [replace(run, trials=(Trial({"lr": 1e-4}, 25, 0.6 + run.seed / 100),)) for run in shared]
    assert advice_for(make_comparison(own)).compute["spent_flops"] == 4.5e12


def test_public_keys() -> None:
    written = json.loads(json.dumps(advice_for(make_comparison(runs())).to_json(), allow_nan=False))
    assert set(written) == {
        "choice", "verdict", "confidence", "reason", "also_fine", "caveats", "next_step", "predicted", "compute",
        "constraints",
    }  # fmt: skip
    assert set(written["predicted"]) == {"regime", "score", "interval"}


def test_a_true_tie_of_families_has_a_sure_winner_in_few_studies() -> None:
    level = {"linear": 0.6, "scratch": 0.6, "full": 0.6}
    sure = 0
    for seed in range(60):
        advice = advice_for(make_comparison(make_runs(level, flops=FLOPS, test_rows=300, random_seed=seed)))
        sure += advice.choice is not None and advice.confidence >= 0.95
    assert sure <= 4


@pytest.mark.parametrize(("names", "seed_noise"), [(3, 0.0), (3, 0.02), (8, 0.0)])
def test_a_true_tie_has_a_confident_winner_in_at_most_5_of_100_studies(names: int, seed_noise: float) -> None:
    """Regimes are equal, but each finds other rows hard, with every seed: there an interval holds what it claims."""
    order = ("linear", "scratch", "full", "lora", "frozen", "scratch-dnn", "discriminative", "top-layers")
    level = dict.fromkeys(order[:names], 0.6)
    sure, studies = 0, 100 if names == 3 else 40
    for seed in range(studies):
        made = make_runs(
            level, flops=FLOPS, test_rows=200, random_seed=seed, noise=0.05, seed_noise=seed_noise, lasting_noise=0.3
        )
        advice = advice_for(make_comparison(made))
        sure += advice.choice is not None and advice.confidence > 0.9
    assert sure <= 0.05 * studies


def test_eight_regimes_that_learned_nothing_rarely_beat_the_constant() -> None:
    """Of eight against one at 5 % each, one would be clear of it in many a study; by Holm's rule few are."""
    names = ("linear", "scratch", "full", "lora", "frozen", "scratch-dnn", "discriminative", "top-layers")
    clear = 0
    for seed in range(40):
        made = make_runs(
            dict.fromkeys(("constant", *names), 0.6), test_rows=200, random_seed=seed, noise=0.02, lasting_noise=0.3
        )
        clear += advice_for(make_comparison(made)).choice is not None
    assert clear <= 3


def test_several_rivals_need_a_clearer_difference() -> None:
    """A difference that is clear of zero alone may be chance as the largest of several; the reason says so."""
    truths = {"full": 0.66, "linear": 0.6, "scratch": 0.6, "lora": 0.6, "frozen": 0.6}
    made = make_runs(truths, flops=FLOPS, test_rows=100, random_seed=6, noise=0.02, lasting_noise=0.3)
    comparison = make_comparison(made)
    assert comparison.difference("full", "scratch").interval.low > 0
    advice = advice_for(comparison)
    assert advice.choice is None and "may be zero (Holm correction for 5 regimes)" in advice.reason
    alone = [run for run in made if run.regime in ("full", "scratch")]
    assert advice_for(make_comparison(alone)).choice == "full"


def test_a_clear_truth_is_found_in_most_studies() -> None:
    right = sum(advice_for(make_comparison(runs(seed, test_rows=500))).verdict == "fine-tune" for seed in range(20))
    assert right >= 19


def test_where_all_are_wrong_the_cheapest_is_no_answer() -> None:
    nothing = np.column_stack([np.zeros(200), np.ones(200)])
    advice = advice_for(make_comparison([make_run(name, nothing) for name in ("zero-shot", "lora", "full")]))
    assert (advice.choice, advice.verdict, advice.confidence) == (None, "undecided", 0.0)
    assert "no regime got a single row right" in advice.reason
    assert lead_of(make_comparison([make_run(name, nothing) for name in ("lora", "full")])) is None


def test_of_several_without_a_mistake_none_leads() -> None:
    right = np.ones((24, 2))
    made = [make_run(name, right, seed, flops=FLOPS[name]) for name in ("linear", "full") for seed in range(3)]
    made += [make_run("constant", make_scores(np.repeat([1.0, 0.0], 12)), seed) for seed in range(3)]
    comparison = make_comparison(made)
    advice = advice_for(comparison)
    assert (advice.verdict, advice.winner, lead_of(comparison)) == ("undecided", "linear", None)
    assert "`linear` scores as well as any and is the cheapest candidate; `full` may be better by" in advice.reason


def test_what_only_the_constant_gets_right_is_no_failure_of_all() -> None:
    nothing = np.column_stack([np.zeros(200), np.ones(200)])
    made = [make_run(name, nothing) for name in ("linear", "full")]
    advice = advice_for(make_comparison([*made, make_run("constant", np.ones((200, 2)))]))
    assert (advice.verdict, advice.winner) == ("nothing beats the constant", "constant")


@pytest.mark.parametrize(
    ("name", "verdict"),
    [("boosted", "a boosted tree is enough"), ("embedded", "TF-IDF with frozen features is enough")],
)
def test_each_cheap_rival_has_words_of_its_own(name: str, verdict: str) -> None:
    truths = {"constant": 0.2, name: 0.75, "linear": 0.55, "full": 0.6}
    advice = advice_for(make_comparison(make_runs(truths, flops=FLOPS | {name: 1e9})))
    assert (advice.choice, advice.verdict) == (name, verdict)
    assert VERDICT_SENTENCES[verdict].lower() == f"{verdict}.".lower()
    assert verdict_sentence("TF-IDF with frozen features is enough", 0.7).startswith("Probably TF-IDF")
