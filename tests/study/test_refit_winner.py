"""Refit: is the winner trained on all rows in the end, with the settings of the run that was scored?"""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.cli_base import call, write_csv
from tests.tiny import CLASSES, REGRESSION, tiny_problem
from warmstart.advice.advise import Advice, advice_for
from warmstart.errors import UsageError
from warmstart.inference.model_store import load_model
from warmstart.models.pretrained.base import Base
from warmstart.planning.problem import Options, Problem
from warmstart.planning.run_plan import first_plan
from warmstart.request.launch import run_to_end
from warmstart.results.bootstrap import mean_score
from warmstart.results.comparison import Comparison
from warmstart.results.record import load_run
from warmstart.results.refit_record import Refit, load_refit
from warmstart.runs import refit as module
from warmstart.study import refit_winner
from warmstart.study.begin import begin_study
from warmstart.study.compare import ComparisonJobs
from warmstart.study.jobs import run_jobs
from warmstart.study.make_comparison import make_comparison
from warmstart.study.study import Study, run_study

QUICK = Options(regimes=("constant", "linear"), seeds=1)
NETWORK = replace(QUICK, regimes=("constant", "scratch-dnn"), trials=1, epochs=4.0)


def made_in(folder: Path, problem: Problem, options: Options) -> Study:
    folder.mkdir(parents=True, exist_ok=True)
    return run_to_end(run_study(problem, options, folder))


def refit_of(folder: Path) -> Refit:
    found = load_refit(folder / "winner")
    assert found is not None
    return found


def test_the_winner_learns_from_validation_rows_too(base: Base, folder: Path) -> None:
    problem = tiny_problem(CLASSES, base)
    made = made_in(folder, problem, QUICK)
    splits, found = problem.splits, refit_of(folder)
    assert (found.rows, found.parts) == (len(splits.train) + len(splits.val), ("train", "val"))
    before, after = load_model(folder / "runs" / found.run), load_model(folder / "winner")
    assert after.calibration == before.calibration
    own, new = (each.predictor.outputs(splits.test.texts, splits.test.columns) for each in (before, after))
    assert not np.array_equal(own, new), "the rows were added, so other weights were learned"
    assert load_run(folder / "winner").test == load_run(folder / "runs" / found.run).test
    facts = json.loads((folder / "comparison.json").read_text())["refit"]
    assert facts["rows"] == found.rows and facts["score"] == found.score
    assert f"trained on all {found.rows} training and validation rows" in (folder / "report.html").read_text()
    assert made.comparison.refit == found


def test_it_has_learned_from_the_validation_rows(base: Base, folder: Path) -> None:
    problem = tiny_problem(REGRESSION, base)
    made_in(folder, problem, QUICK)
    val, task = problem.splits.val, load_model(folder / "winner").task
    errors = []
    for place in (folder / "runs" / refit_of(folder).run, folder / "winner"):
        stored = load_model(place)
        outputs = stored.predictor.outputs(val.texts, val.columns)
        errors.append(mean_score(stored.task.score(outputs, stored.task.exact_targets(val), stored.calibration)))
    assert task.name == "regression" and errors[1] < 0.9 * errors[0]


def test_a_network_takes_the_passes_that_it_took_to_its_best_weights(base: Base, folder: Path) -> None:
    problem = tiny_problem(CLASSES, base)
    made_in(folder, problem, NETWORK)
    found = refit_of(folder)
    run = load_run(folder / "runs" / found.run)
    run = replace(run, best_step=run.steps // 2)  # as if it had got no better after half of its steps
    config = module.TrainConfig(steps=run.steps, lr=1e-3)
    assert module.longer_config(config, run, found.rows, 1).steps == round(run.best_step * found.rows / run.rows)
    assert module.longer_config(config, run, found.rows, 2).steps == round(run.steps * found.rows / run.rows)
    assert load_model(folder / "winner").regime == "scratch-dnn" and found.score is not None


def test_each_member_of_an_ensemble_is_trained_again(base: Base, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = replace(NETWORK, regimes=("constant", "linear", "scratch-dnn", "ensemble"), refit="validation")
    monkeypatch.setattr("warmstart.study.compare.advice_for", chooses("ensemble"))
    monkeypatch.setattr("warmstart.study.study.advice_for", chooses("ensemble"))
    made_in(folder, tiny_problem(REGRESSION, base), options)
    found, run = refit_of(folder), load_run(folder / "winner")
    assert found.regime == "ensemble"
    for name in run.settings["weights"]:
        again, before = (load_model(place / name) for place in (folder / "winner" / "members", folder / "runs"))
        assert again.regime == before.regime and again.calibration == before.calibration


def chooses(name: str) -> Callable[[Comparison], Advice]:
    return lambda comparison: replace(advice_for(comparison), choice=name, verdict="combine several models")


def test_a_refit_that_is_clearly_worse_is_not_handed_over(
    base: Base, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = module._test_scores
    monkeypatch.setattr(module, "_test_scores", lambda *given: test(*given) * np.array([0.2, 1.0]))
    made_in(folder, tiny_problem(CLASSES, base), QUICK)
    found = load_refit(folder / "refit")
    assert found is not None and "trained again, it scored" in found.rejected
    assert not (folder / "winner" / "refit.json").exists()
    assert "so it is not used" in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "made"),
    [
        (replace(QUICK, refit="none"), False),
        (replace(QUICK, rows=(40,)), False),  # fewer rows were asked for
        (replace(QUICK, rows=(40,), refit="validation"), True),
        (replace(NETWORK, budget=20.0), True),
    ],
)
def test_when_it_is_made(options: Options, made: bool, base: Base, folder: Path) -> None:
    made_in(folder, tiny_problem(CLASSES, base), options)
    assert (folder / "refit" / "refit.json").exists() == made


def test_it_is_not_stopped_when_the_budget_is_spent_meanwhile(base: Base, folder: Path) -> None:
    options = replace(QUICK, regimes=("constant", "frozen"), trials=1, refit="none")
    study = run_to_end(begin_study(first_plan(tiny_problem(CLASSES, base), options), folder))
    run_to_end(run_jobs(study, ComparisonJobs(study)))
    comparison = make_comparison(study.plan, list(study.results.runs.values()))
    study.plan = replace(study.plan, options=replace(options, refit="validation"))
    study.deadline = -math.inf
    study.shared._stored.clear()  # the frozen layers read all rows again
    run_to_end(refit_winner.refit_winner(study, comparison, advice_for(comparison)))
    assert (folder / "refit" / "refit.json").exists()


def test_it_is_not_made_for_a_few_more_rows(base: Base, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = tiny_problem(CLASSES, base)
    more = len(problem.splits.val) / len(problem.splits.train)
    for share, made in ((more + 0.01, False), (more - 0.01, True)):
        monkeypatch.setattr(refit_winner, "WORTH_MORE_ROWS", share)
        made_in(folder / str(made), problem, QUICK)
        assert (folder / str(made) / "refit" / "refit.json").exists() == made


def test_a_stop_in_between_loses_nothing(base: Base, folder: Path) -> None:
    problem = tiny_problem(CLASSES, base)
    whole = made_in(folder / "whole", problem, NETWORK)
    (folder / "stopped").mkdir()
    steps, seen = run_study(problem, NETWORK, folder / "stopped"), 0
    while seen < 3:
        event = next(steps)
        seen += "training the winner again" in event.doing and event.step is not None
    steps.close()
    assert not (folder / "stopped" / "refit" / "refit.json").exists()
    again = made_in(folder / "stopped", problem, NETWORK)
    assert again.comparison.refit and whole.comparison.refit
    assert again.comparison.refit.score == whole.comparison.refit.score
    texts = problem.splits.test.texts
    one, two = (load_model(folder / name / "winner").predictor.outputs(texts) for name in ("whole", "stopped"))
    assert np.array_equal(one, two)


def test_nothing_to_train_is_said(base: Base, folder: Path) -> None:
    with pytest.raises(UsageError, match=r"the winner cannot be trained again: its weights were mixed"):
        options = replace(QUICK, refit="all", interpolate=True)
        made_in(folder, tiny_problem(CLASSES, base), options)


WORDS = ("oak", "elm", "pine", "steel", "glass", "lamp", "chair", "table")


def test_the_command_trains_on_test_rows_when_asked(tmp_path: Path) -> None:
    dice = np.random.default_rng(3)
    texts = [" ".join(dice.choice(WORDS, 4)) for _ in range(300)]
    rows = [(text, "wood" if "oak" in text else "other") for text in texts]
    data, study = write_csv(tmp_path / "t.csv", ("text", "kind"), rows), tmp_path / "study"
    words = ("--regimes", "constant,linear", "--seeds", "1", "--refit", "none", "--out", study, "--quiet")
    assert call("compare", data, "--target", "kind", *words).code == 0
    assert not (study / "refit").exists()
    answer = call("refit", study, "--quiet")
    assert answer.code == 0 and "trained on all 240 training and validation rows" in " ".join(answer.out.split())
    scored = refit_of(study)
    answer = call("refit", study, "--all", "--quiet")
    assert answer.code == 0 and "all 300 training, validation and test rows" in " ".join(answer.out.split())
    assert scored.score is not None and refit_of(study).score is None
    answer = call("export", study, "--to", "onnx", "--out", tmp_path / "onnx")
    assert answer.code == 0 and "60 rows that it was trained on" in " ".join(answer.out.split())
    card = (tmp_path / "onnx" / "README.md").read_text()
    assert "which it has learned from" in card
    answer = call("refit", study / "runs", "--quiet")
    assert answer.code == 2 and "Traceback" not in answer.err
