"""Own units: is an error on a log scale told in the target's own units too?"""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.report_samples import advice, study
from warmstart.advice.phrases import original_scale_error, original_scale_sentence
from warmstart.cli.show import show_study as show
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
