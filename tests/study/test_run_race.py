"""Racing: a race in a folder trains what it asks for, survives a stop, and its answer can be checked and fitted."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.run_factory import make_run
from tests.tiny import CLASSES, REGRESSION, tiny_problem
from warmstart.advice.race_advice import compared_in_race, race_advice
from warmstart.cli.print_results import show_study
from warmstart.errors import UsageError
from warmstart.models.pretrained.base import Base
from warmstart.planning.problem import Options, Problem
from warmstart.planning.run_plan import first_plan
from warmstart.reporting.render import render
from warmstart.request.launch import run_to_end
from warmstart.results.race_outcome import RaceForecast, RaceOutcome, load_race
from warmstart.results.record import Evaluation, Interval, load_run
from warmstart.runtime.files import write_json
from warmstart.study import run_race
from warmstart.study.fit import advise_fit, begin_fit, finish_fit
from warmstart.study.jobs import StudyState, run_jobs
from warmstart.study.run_race import RaceJobs, losses
from warmstart.study.study import Study, race_study, read_study
from warmstart.training.event import Expected, Progress

QUICK = Options(regimes=("constant", "linear", "full", "frozen"), seeds=2, trials=2, length=0.05, log=False)


@pytest.fixture(scope="module")
def problem(base: Base) -> Problem:
    return tiny_problem(CLASSES, base, n=400)


@pytest.fixture(scope="module")
def made(problem: Problem, tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("race")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_race, "UNTUNED", 0.0)
        return run_to_end(race_study(problem, QUICK, folder, 3.0, command="warmstart advise x.csv"))


def test_a_race_leaves_what_a_study_leaves_and_its_own_account(made: Study) -> None:
    advice = json.loads((made.folder / "advice.json").read_text())
    assert advice["verdict"] == made.advice.verdict and advice["predicted"]["regime"] == made.advice.predicted["regime"]
    assert {each["regime"] for each in advice["race"]["outlooks"]} <= set(QUICK.regimes)
    assert abs(sum(each["chance"] for each in advice["race"]["outlooks"]) - 1) < 1e-6
    assert advice["compute"]["spent_flops"] > 0 and advice["compute"]["exhaustive_flops"] > 0
    page = (made.folder / "report.html").read_text()
    assert "The race" in page and "warmstart advise x.csv" in page
    assert json.loads((made.folder / "comparison.json").read_text())["regimes"]
    assert (made.folder / "winner" / "model.json").exists()


def test_networks_start_on_few_rows_and_baselines_on_all(made: Study) -> None:
    rows = {name: [run.rows for run in made.comparison.runs if run.regime == name] for name in QUICK.regimes}
    whole = made.comparison.rows["train"]
    assert set(rows["constant"]) == {whole} and max(rows["linear"]) == whole > min(rows["linear"])
    assert min(rows["full"]) < whole / 2


def test_regimes_stand_in_the_order_of_their_chances_and_then_of_their_scores(made: Study) -> None:
    race = load_race(made.folder)
    assert race is not None
    ranks = [(-round(each.chance, 2), -each.score) for each in race.outlooks]
    assert ranks == sorted(ranks) and len({chance for chance, _ in ranks}) < len(ranks), "some are equally likely"
    linear = next(each for each in race.outlooks if each.regime == "linear")
    runs = [run for run in made.comparison.runs if run.regime == "linear"]
    assert linear.seconds == pytest.approx(np.mean([run.cost.seconds for run in runs if run.rows == race.whole]))


def test_a_baseline_is_not_free_because_no_plan_foretells_it(problem: Problem) -> None:
    plan = first_plan(problem, replace(QUICK, regimes=("constant", "linear")))
    strategy = RaceJobs(StudyState(plan, Path(), plan.shared(), Progress()), 100.0)
    arm = next(arm for arm in strategy.arms if arm.name == "linear")
    assert arm.cost(100) == 0.0
    strategy.first_cost["linear"] = 17.0
    whole = max(plan.sizes)
    assert arm.cost(whole) == 17.0 and arm.cost(whole // 2) == pytest.approx(8.5, rel=0.05)


def test_read_back_it_gives_the_same_answer(made: Study) -> None:
    again = read_study(made.folder)
    assert again.advice == made.advice and again.raced == made.raced


def test_gone_on_with_it_asks_for_the_same_runs_and_trains_none(
    made: Study, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_race, "UNTUNED", 0.0)
    before = {path: path.stat().st_mtime_ns for path in made.folder.rglob("run.json") if "winner" not in path.parts}
    again = run_to_end(race_study(problem, QUICK, made.folder, 3.0, command="warmstart advise x.csv"))
    after = {path: path.stat().st_mtime_ns for path in made.folder.rglob("run.json") if "winner" not in path.parts}
    assert again.raced == made.raced and after == before


def test_where_comparing_is_quick_everything_is_compared(base: Base, tmp_path: Path) -> None:
    options = replace(QUICK, regimes=("constant", "linear"), seeds=1)
    found = run_to_end(race_study(tiny_problem(CLASSES, base), options, tmp_path / "study", 0.1))
    assert found.raced is None and found.advice.choice == "linear"


def test_several_numbers_of_rows_are_refused(problem: Problem, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="chooses its own numbers of rows"):
        run_to_end(race_study(problem, replace(QUICK, rows=(50, 100)), tmp_path, 0.1))


def test_fit_auto_trains_what_the_race_advises_on_all_rows(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_race, "UNTUNED", 0.0)
    options = replace(QUICK, regimes=("constant", "full", "frozen"))
    out = tmp_path / "model"
    lead = run_to_end(advise_fit(problem, options, out / "advice", 3.0, (), "warmstart fit x.csv"))
    study, jobs = run_to_end(begin_fit(problem, options, out, lead))
    run_to_end(run_jobs(study, jobs))
    done = finish_fit(study, lead)
    advised = read_study(tmp_path / "model" / "advice")
    assert done.regime == advised.advice.predicted["regime"] and done.rows == len(problem.splits.train)
    searched = next(run for run in advised.comparison.runs if run.regime == done.regime)
    assert done.lr == searched.lr, "the rate that the race found"
    assert "predicted" in done.caveats[-1] and load_run(tmp_path / "model").caveats == done.caveats
    assert (tmp_path / "model" / "model.json").exists()


def test_a_run_that_leaves_the_band_is_told_while_it_trains() -> None:
    points = tuple(Evaluation(step, 1.0, 1.0, 1.0, score, 1.0) for step, score in ((25, 0.4), (50, 0.5), (100, 0.6)))
    before = replace(make_run("full", np.ones((5, 2)), rows=250), points=points, settings={"steps": 100})
    expected = Expected(before, steps=1000, band=0.05)

    def alarm(step: int, score: float) -> str | None:
        return expected.alarm(Evaluation(step, 1.0, 1.0, 1.0, score, 1.0))

    assert alarm(500, 0.46) is None and alarm(500, 0.9) is None
    assert "scores 0.440" in (said := alarm(500, 0.44) or "") and "250 rows scored 0.500" in said
    assert alarm(100, 0.1) is None, "too early to tell"
    late = replace(expected, before=replace(before, points=points[1:]))
    assert late.alarm(Evaluation(400, 1.0, 1.0, 1.0, 0.1, 1.0)) is None, (
        "a stage on the language of the domain comes first"
    )
    lower = replace(expected, before=replace(before, higher_is_better=False))
    assert lower.alarm(Evaluation(500, 1.0, 1.0, 1.0, 0.9, 1.0)) is not None


def test_losses_average_to_the_error(base: Base) -> None:
    random = np.random.default_rng(0)
    right = np.stack([random.integers(0, 2, 50), np.ones(50)], axis=1).astype(float)
    accuracy = make_run("full", right)
    found = losses(accuracy)
    assert found is not None and np.allclose(found, 1 - right[:, 0])
    f1 = make_run("full", np.stack([2.0 * random.integers(0, 2, 50), random.integers(1, 4, 50)], axis=1))
    found = losses(f1)
    assert found is not None and np.isclose(found.mean(), 1 - (f1.test or 0))
    error = make_run("full", np.stack([random.random(50), np.ones(50)], axis=1), higher_is_better=False)
    found = losses(error)
    assert found is not None and np.allclose(found, error.scores[:, 0])


@pytest.mark.parametrize("score", [0.6, 40.0])
def test_a_score_that_goes_up_to_100_is_one_even_where_it_is_small(score: float) -> None:
    """Answers of 0.6 chrF, mostly empty, were raced as if they were 60."""
    run = replace(make_run("full", np.stack([np.full(50, score), np.ones(50)], axis=1)), metric="chrF")
    found = losses(run)
    assert found is not None and np.allclose(found, 1 - score / 100)


def test_losses_of_groups_vary_as_groups_do() -> None:
    scores = np.stack([np.repeat([0.0, 1.0, 1.0, 0.0], 10), np.ones(40)], axis=1)
    groups = np.repeat([0, 1, 2, 3], 10).tolist()
    run = replace(make_run("full", scores), predictions={"group": groups})
    found = losses(run)
    assert found is not None and len(found) == 4 and np.isclose(found.mean(), 0.5)
    assert np.allclose(found, [1, 0, 0, 1])


def test_a_run_without_a_score_has_no_losses_one_that_was_too_short_has() -> None:
    assert losses(make_run("full", np.zeros((0, 2)), failed="diverged")) is None
    assert losses(make_run("full", np.ones((5, 2)), failed="does not beat the constant on its own rows")) is not None


# --- the answer in words ----------------------------------------------------------------------------------------------


def outlook(regime: str, family: str, chance: float, score: float, rows: int = 500) -> RaceForecast:
    return RaceForecast(regime, family, rows, chance, score, Interval(score - 0.02, score + 0.02), 60.0)


LEADING = outlook("full", "fine-tuned", 0.9, 0.64)
RACED = RaceOutcome(
    whole=4000,
    choice="full",
    tie=(),
    confidence=0.96,
    decided=True,
    outlooks=(LEADING, outlook("linear", "baseline", 0.06, 0.62, 4000), outlook("scratch", "scratch", 0.04, 0.5)),
    spent=100.0,
    allowed=120.0,
    exhaustive=1200.0,
    exhaustive_flops=1e15,
    next_regime="linear",
    next_rows=4000,
    next_seconds=90.0,
)


def verdict_of(race: RaceOutcome, *, made: Study) -> str:
    found = race_advice(made.comparison, race)
    return f"{found.verdict} | {found.choice} | {found.reason} | {found.next_step}"


def test_a_decided_race_names_the_choice_what_it_should_score_and_the_rivals(made: Study) -> None:
    said = verdict_of(RACED, made=made)
    assert said.startswith("fine-tune | full | Fine-tune: `full` should score 0.640 accuracy [0.620, 0.660]")
    assert "with all 4,000 rows" in said and "`linear` 0.620" in said and "`scratch` 0.500" in said
    assert "--regime full" in said


def test_an_undecided_race_names_the_price_of_the_next_run(made: Study) -> None:
    said = verdict_of(replace(RACED, decided=False, confidence=0.7), made=made)
    assert said.startswith("undecided | None | Undecided:")
    assert "`linear` on 4,000 rows, about 2 min" in said and "--budget of 16 %" in said


@pytest.mark.parametrize(("spent", "budget"), [(58.8, "13 %"), (1_200.0, "22m")])
def test_the_budget_that_is_named_pays_and_can_be_given(spent: float, budget: str, made: Study) -> None:
    said = verdict_of(replace(RACED, decided=False, confidence=0.7, spent=spent), made=made)
    assert f"a --budget of {budget} or more" in said


def test_a_race_is_never_certain(made: Study) -> None:
    found = race_advice(made.comparison, replace(RACED, confidence=1.0))
    assert found.confidence == 0.99
    assert found.reason.endswith("The probability that another regime is better by more than 1 % is 1 %.")
    found = race_advice(replace(made.comparison, min_effect=0.0), replace(RACED, confidence=1.0, decided=False))
    assert found.reason.endswith("So far, the probability that `full` is best is 99 %.")


@pytest.mark.parametrize(
    ("by_compute", "took"), [(True, "5.0 TFLOP; a full comparison would take 60 TFLOP"), (False, "1.7 min")]
)
def test_a_race_counts_in_what_its_budget_counts(
    by_compute: bool, took: str, made: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "window.Plotly = {};")
    raced = replace(RACED, by_compute=by_compute)
    advice = race_advice(made.comparison, raced)
    page = render(made.comparison, advice, examples=None, command="warmstart advise a.csv", raced=raced)
    assert f"The race took {took}" in page.replace("took 5 TFLOP", "took 5.0 TFLOP")
    show_study(replace(made, advice=advice, raced=raced), False)
    assert ("3 TFLOP" in capsys.readouterr().out) == by_compute


def test_regimes_that_were_never_run_are_named_first(made: Study) -> None:
    found = race_advice(made.comparison, replace(RACED, decided=False, confidence=0.4, unseen=("lora", "frozen")))
    assert found.choice is None and "did not run `lora` and `frozen`, which may" in found.caveats[0]
    assert found.reason.endswith("is 40 %, but `lora` and `frozen` never ran.")


def test_a_tie_is_said_and_the_others_are_as_good(made: Study) -> None:
    tied = replace(RACED, choice="linear", tie=("linear", "full"))
    found = race_advice(made.comparison, tied)
    assert found.choice == "linear" and found.also_fine == ("full",) and "`full` is equally good" in found.reason


def test_where_the_constant_leads_nothing_beats_it(made: Study) -> None:
    noise = replace(RACED, choice="constant", outlooks=(outlook("constant", "baseline", 0.96, 0.3, 4000), LEADING))
    found = race_advice(made.comparison, noise)
    assert found.choice is None and found.verdict == "nothing beats the constant"


def test_what_a_race_came_to_can_be_read_back(tmp_path: Path) -> None:
    told = replace(RACED, unseen=("lora",))
    write_json(tmp_path / "race.json", told.to_json())
    assert load_race(tmp_path) == told


def test_a_score_outside_the_band_is_an_alarm() -> None:
    assert "as predicted" in compared_in_race(0.65, LEADING, higher=True)
    assert "worse than predicted" in compared_in_race(0.5, LEADING, higher=True)
    assert "better than predicted" in compared_in_race(0.5, LEADING, higher=False)


def test_errors_go_the_other_way(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_race, "UNTUNED", 0.0)
    options = replace(QUICK, regimes=("constant", "linear", "frozen"))
    found = run_to_end(race_study(tiny_problem(REGRESSION, base, n=400), options, tmp_path / "study", 3.0))
    assert found.raced is not None
    scores = {each.regime: each.score for each in found.raced.outlooks}
    constant = next(run.test for run in found.comparison.runs if run.regime == "constant")
    assert constant is not None and scores["constant"] == pytest.approx(constant, rel=0.05)
    assert scores["linear"] < scores["constant"] and found.raced.choice != "constant"
