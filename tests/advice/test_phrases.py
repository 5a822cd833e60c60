"""Own units: is an error on a log scale told in the target's own units too?"""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.report_samples import advice, study
from warmstart.advice.phrases import error_beside, error_in_words, original_scale_error, original_scale_sentence
from warmstart.cli.print_results import show_study as show
from warmstart.reporting.render import render
from warmstart.study.study import Study


def test_it_is_the_mean_over_the_seeds() -> None:
    made = study(only=["full", "linear"])
    errors = iter([10.0, 20.0, 5.0, 7.0])
    priced = replace(made, runs=tuple(replace(run, metrics={"MAE (price)": next(errors)}) for run in made.runs))
    assert original_scale_sentence(priced) == "MAE (price)"
    assert {row.name: original_scale_error(priced, row) for row in priced.table} == {"linear": 15.0, "full": 6.0}


def test_there_is_none_where_the_ranking_is_in_these_units() -> None:
    for made in (study(units="price"), study("classification")):
        assert original_scale_sentence(made) == "" and original_scale_error(made, made.table[0]) is None


def test_it_stands_in_the_report_and_in_the_terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    made = study()
    best = made.table[0]
    error = f"{original_scale_error(made, best):.2f}"
    page = render(made, advice(), examples=None, command="")
    assert page.count(f"MAE (price) {error}") == 2, "the headline and the table"
    show(Study(made, advice(), tmp_path), as_json=False)
    said = " ".join(capsys.readouterr().out.split())
    assert f"MAE (price): {best.name} {error}, " in said


def test_how_good_it_is_in_words() -> None:
    priced = study(only=["full"])
    facts = {"MAE (price)": 68.2, "median percentage error": 29.6}
    known = replace(priced, runs=tuple(replace(run, metrics=facts) for run in priced.runs))
    assert error_in_words(known, known.table[0]) == "typically off by 30 %, on average by 68.20 (price)"
    linear = study(units="price", only=["full"])
    assert error_in_words(linear, linear.table[0]).startswith("on average off by ")
    right = study("classification", only=["full"])
    row = replace(right.table[0], score=0.5961)
    assert error_in_words(right, row) == "right in 143 of 240 test rows (60 %)"
    assert error_in_words(right, replace(row, score=0.9961)) == "right in 239 of 240 test rows (99.6 %)"
    beside = error_beside(right, row, replace(row, name="constant", score=0.2))
    assert beside == "right in 143 of 240 test rows (60 %; `constant`: 20 %)"
    assert error_in_words(replace(right, metric="micro F1"), row) == ""
