"""Prompting: is its worth in labeled rows read from the curve of the regime that gets there first?"""

import re

from tests.run_factory import make_comparison, make_curve_runs, make_runs
from warmstart.advice.advise import advice_for
from warmstart.advice.prompting import prompting_worth
from warmstart.results.comparison import Comparison

SIZES = (100, 400, 1600)
STEEP, SLOW = (2.0, 0.35), (2.0, 0.2)  # error of rows: factor and slope


def asked(error: float, name: str = "prompted", **laws: tuple[float, float]) -> Comparison:
    made = {"full": SLOW, "linear": STEEP} | laws
    return make_comparison(make_curve_runs({name: (error, 0.0)} | made, SIZES))


def test_the_curve_that_gets_there_first_says_how_many_rows() -> None:
    made = asked(2.0 * 300**-0.35)
    said = prompting_worth(made)
    about = re.fullmatch(
        r"Prompting is worth about (\d+) \[(\d+), (\d+)\] labeled rows: with so many, `linear` is as good as "
        r"`prompted`\.",
        said,
    )
    assert about, said
    rows, low, high = map(int, about.groups())
    assert 270 < rows < 330 and low < rows < high
    assert said in advice_for(made).reason


def test_outside_the_measured_rows_there_is_a_bound() -> None:
    assert prompting_worth(asked(0.9)).startswith("Prompting is worth fewer than 100 labeled rows: `linear` trained on")
    few = prompting_worth(asked(0.05, "few-shot@tiny"))
    assert few.startswith("Prompting is worth more than 1,600 labeled rows: no regime trained on 1,600 rows")
    assert "`few-shot@tiny`" in few


def test_one_number_of_rows_gives_a_bound() -> None:
    def said(score: float) -> str:
        return prompting_worth(make_comparison(make_runs({"prompted": score, "linear": 0.5, "constant": 0.2})))

    assert said(0.6).startswith("Prompting is worth more than 1,000 labeled rows: `prompted` is better than `linear`")
    assert said(0.4).startswith("Prompting is worth fewer than 1,000 labeled rows") and "--rows auto" in said(0.4)
    assert said(0.5).startswith("Prompting is worth about as much as the 1,000 labeled rows")


def test_what_does_not_beat_the_constant_is_worth_nothing() -> None:
    made = make_comparison(make_runs({"prompted": 0.2, "linear": 0.2, "constant": 0.2}, seed_noise=0.01))
    assert prompting_worth(made).startswith("Prompting is worth no labeled rows: `prompted` is not measurably better")


def test_without_a_prompt_or_a_trained_model_nothing_is_said() -> None:
    assert prompting_worth(make_comparison(make_runs({"linear": 0.5, "constant": 0.2}))) == ""
    assert prompting_worth(make_comparison(make_runs({"prompted": 0.5, "zero-shot": 0.5, "constant": 0.2}))) == ""
