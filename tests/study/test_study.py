"""Study: does one folder hold the verdict, the report and a winner that predicts?"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.run_factory import make_run
from tests.tiny import CLASSES, tiny_problem
from warmstart.advice.advise import advice_for
from warmstart.inference.model_store import load_model
from warmstart.models.pretrained.base import Base
from warmstart.planning.problem import Options
from warmstart.request.launch import run_to_end
from warmstart.results.record import load_run, save_run
from warmstart.study.study import keep_winner, load_examples, run_study

QUICK = Options(regimes=("constant", "linear"), seeds=2)


def test_a_study_writes_what_people_read(base: Base, folder: Path) -> None:
    problem = tiny_problem(CLASSES, base)
    made = run_to_end(run_study(problem, QUICK, folder, command="warmstart compare x.csv"))
    comparison, advice = (json.loads((folder / f"{name}.json").read_text()) for name in ("comparison", "advice"))
    assert comparison["metric"] == "accuracy" and comparison["fingerprint"] == problem.splits.fingerprint
    assert advice["choice"] == made.advice.choice == "linear"
    assert "warmstart compare x.csv" in (folder / "report.html").read_text()
    assert load_model(folder / "winner").regime == "linear"
    assert load_examples(folder / "examples.parquet") == dict(
        zip(problem.splits.test.numbers.tolist(), problem.splits.test.texts, strict=True)
    )
    assert not (folder / "checkpoint").exists()


def test_no_examples_keeps_every_text_out_of_the_folder(base: Base, folder: Path) -> None:
    problem = tiny_problem(CLASSES, base)
    run_to_end(run_study(problem, replace(QUICK, seeds=1, examples=False), folder))
    assert load_examples(folder / "examples.parquet") is None
    page = (folder / "report.html").read_text()
    assert not any(text in page for text in problem.splits.test.texts)


def test_the_winner_is_the_seed_that_did_best_on_validation_rows(base: Base, folder: Path) -> None:
    made = run_to_end(run_study(tiny_problem(CLASSES, base), QUICK, folder))
    runs = [run for run in made.comparison.runs if run.regime == "linear"]
    assert load_run(folder / "winner").id == max(runs, key=lambda run: run.val or 0).id


@pytest.mark.parametrize("higher, expected", [(True, 1), (False, 0)])
def test_best_means_the_way_of_the_metric(higher: bool, expected: int, base: Base, folder: Path) -> None:
    made = run_to_end(run_study(tiny_problem(CLASSES, base), QUICK, folder))
    runs = []
    for seed, val in enumerate((0.2, 0.8)):
        run = replace(make_run("linear", made.comparison.runs[0].scores, seed=seed, higher_is_better=higher), val=val)
        save_run(run, folder / "runs" / run.id)
        runs.append(run)
    changed = replace(made.comparison, runs=tuple(runs), higher_is_better=higher)
    keep_winner(changed, replace(advice_for(made.comparison), choice="linear"), folder)
    assert load_run(folder / "winner").seed == expected
