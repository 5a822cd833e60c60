"""Forgone: is what a constraint costs what was measured, and is what was not measured said to be unknown?"""

import json
from dataclasses import replace

import pytest

from tests.run_factory import make_comparison, make_curve_runs, make_runs
from warmstart.advice.advise import advice_for
from warmstart.advice.constraint_cost import constraint_cost
from warmstart.results.comparison import Comparison
from warmstart.results.constraints import Excluded

TRUTHS = {"constant": 0.2, "linear": 0.55, "scratch": 0.5, "full": 0.7, "lora": 0.66}
FLOPS = {"constant": 0.0, "linear": 1e8, "scratch": 9e11, "full": 1e12, "lora": 7e11}


def barred(*pairs: tuple[str, str], trained: tuple[str, ...] = tuple(TRUTHS)) -> Comparison:
    """A comparison of those of known truth that were trained; `pairs` of regimes and what excludes them."""
    made = make_comparison(make_runs({name: TRUTHS[name] for name in trained}, flops=FLOPS))
    return replace(
        made, excluded=tuple(Excluded(regime, flag, "it takes 91 MB, more than 50 MB") for regime, flag in pairs)
    )


def test_the_best_that_is_allowed_is_chosen_and_its_price_is_said() -> None:
    free = advice_for(barred())
    assert free.choice == "full" and free.constraints == ()
    advice = advice_for(barred(("full", "max-size"), ("lora", "max-size")))
    assert (advice.choice, advice.verdict) == ("linear", "a linear model is enough")
    assert "Without `--max-size`, you could use `full`: 0." in advice.reason and "better by 0.1" in advice.reason
    (price,) = advice.constraints
    assert (price.constraint, price.regime) == ("max-size", "full") and price.interval is not None
    assert price.difference == pytest.approx(0.15, abs=0.03) and price.interval.low > 0
    assert advice.compute == free.compute, "what was spent on the others was spent"
    assert advice.predicted["regime"] == "linear"
    written = json.loads(json.dumps(advice.to_json(), allow_nan=False))
    assert set(written["constraints"][0]) == {
        "constraint", "regime", "score", "difference", "interval", "statement",
    }  # fmt: skip


def test_each_constraint_has_a_price_of_its_own() -> None:
    found = advice_for(barred(("full", "max-size"), ("lora", "max-latency"))).constraints
    assert [(each.constraint, each.regime) for each in found] == [("max-size", "full"), ("max-latency", "lora")]
    both = advice_for(barred(("full", "max-size"), ("full", "max-latency"), ("lora", "max-latency")))
    assert both.constraints[0].statement.startswith("`--max-size` costs nothing by itself")
    assert both.constraints[0].statement in both.caveats and both.constraints[0].statement not in both.reason
    assert both.constraints[1].regime == "lora"


def test_what_takes_out_only_worse_ones_costs_nothing() -> None:
    (price,) = advice_for(barred(("scratch", "max-latency"), ("linear", "max-latency"))).constraints
    assert price.regime == "linear" and "costs nothing: `linear`, the best it excludes, is worse" in price.statement
    assert price.difference is not None and price.difference < 0


def test_what_cannot_be_told_apart_is_said_to_be_so() -> None:
    made = make_comparison(make_runs(TRUTHS | {"lora": 0.7}, flops=FLOPS, test_rows=100))
    (price,) = constraint_cost(replace(made, excluded=(Excluded("full", "max-size", "."),)), "lora")
    assert price.statement.startswith("It is unclear whether `--max-size` costs anything: `full`")


def test_what_was_not_trained_is_not_known() -> None:
    comparison = barred(("full", "licence"), ("lora", "licence"), trained=("constant", "linear", "scratch"))
    advice = advice_for(comparison)
    assert advice.choice == "linear"
    (price,) = advice.constraints
    assert price.regime is None and "is unknown: `full`, `lora` were not trained" in price.statement
    assert price.statement in advice.caveats


def test_where_everything_turned_out_too_large_nothing_is_chosen() -> None:
    advice = advice_for(barred(("full", "max-size"), ("linear", "max-size"), trained=("constant", "linear", "full")))
    assert (advice.choice, advice.verdict) == (None, "nothing is allowed")
    assert advice.reason.startswith("Nothing is allowed: `full`: it takes 91 MB, more than 50 MB; `linear`: it")
    assert advice.constraints[0].statement.startswith("The best regime that `--max-size` excludes is `full`")


def test_the_only_one_that_is_allowed_is_no_lonely_choice() -> None:
    advice = advice_for(barred(("full", "max-size"), ("lora", "max-size"), ("scratch", "max-size")))
    assert advice.choice == "linear" and advice.confidence == 0.99
    assert not any("was compared: another" in caveat for caveat in advice.caveats)


def test_regimes_on_different_numbers_of_rows_are_compared_as_they_are() -> None:
    """The scores and their difference are of the same runs."""
    runs = make_curve_runs({"constant": (1.5, 0.0), "linear": (1.0, 0.1), "full": (0.9, 0.2)}, (100, 400, 1600))
    made = make_comparison([run for run in runs if run.regime != "full" or run.rows < 1600])
    (price,) = constraint_cost(replace(made, excluded=(Excluded("full", "max-size", "."),)), "linear")
    gain = made.row("linear").score - made.row("full").score
    assert price.score == made.row("full").score and price.difference == pytest.approx(gain)
