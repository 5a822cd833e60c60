"""Longer: is the command one that can be copied, and does it ask for what was lacking?"""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.report_samples import study
from tests.run_factory import make_comparison, make_runs
from warmstart.advice.advise import advice_for
from warmstart.advice.longer_run import longer_command
from warmstart.results.comparison import Comparison
from warmstart.results.record import save_run
from warmstart.study.study import read_study, write_study

COMMAND = "warmstart compare 'my prices.csv' --target price --out study"


def unfinished(command: str, **changes: object) -> Comparison:
    """`full` was still improving when it was stopped, after 10, 11 and 12 seconds."""
    runs = [replace(run, converged=run.regime != "full") for run in make_runs({"scratch": 0.6, "full": 0.5})]
    return replace(make_comparison(runs), command=command, **changes)  # type: ignore[arg-type]


def asked(comparison: Comparison) -> str:
    return longer_command(comparison, [comparison.row("full")])


def test_where_the_budget_left_no_time_it_is_larger() -> None:
    said = asked(unfinished(COMMAND))
    assert said == "warmstart compare 'my prices.csv' --target price --budget 45m --out study-longer"


@pytest.mark.parametrize("given", ["180", "180s"])  # as earlier versions wrote it, and this one
def test_where_the_budget_cut_it_holds_all_that_was_left_out(given: str) -> None:
    cut = unfinished(
        COMMAND.replace("--out", f"--budget {given} --out"), cuts=("1 seed instead of 3",), full_estimate=7000.0
    )
    assert asked(cut) == "warmstart compare 'my prices.csv' --target price --budget 3h --out study-longer"


@pytest.mark.parametrize("given, expected", [("", "--length 2"), ("--epochs 3 ", "--epochs 6")])
def test_what_was_trained_four_times_as_long_is_given_twice_the_length(given: str, expected: str) -> None:
    short = unfinished(COMMAND.replace("--out", f"{given}--out"))
    long = replace(short, runs=tuple(replace(run, id=f"{run.id}-x4") for run in short.runs))
    assert asked(long) == f"warmstart compare 'my prices.csv' --target price {expected} --out study-longer"


@pytest.mark.parametrize("command", ["", "warmstart advise x.csv --target price --budget 10% --out a"])
def test_nothing_is_said_without_the_command_of_a_comparison(command: str) -> None:
    assert asked(unfinished(command)) == ""
    in_words = advice_for(unfinished(command)).next_step
    assert in_words.startswith("`full` had not converged. To train it longer, use more --epochs")


def test_it_is_the_next_step_of_a_study_and_of_one_that_is_read_back(tmp_path: Path) -> None:
    comparison = study()
    for run in comparison.runs:
        save_run(run, tmp_path / "runs" / run.id)
    made = write_study(comparison, tmp_path, (), COMMAND, examples=False)
    assert made.advice.next_step.startswith("`scratch` had not converged. To train it longer: `warmstart")
    assert "`warmstart compare 'my prices.csv' --target price --budget " in made.advice.next_step
    assert read_study(tmp_path).advice.next_step == made.advice.next_step
