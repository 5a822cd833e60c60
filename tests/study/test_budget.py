"""Budget: which jobs of a comparison come first, which are dropped, and which model is there from the beginning?"""

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.run_factory import make_run
from tests.tiny import REGRESSION, tiny_problem
from warmstart.baselines.baseline import FitData
from warmstart.baselines.baselines import FIT_BASELINE
from warmstart.errors import InputError
from warmstart.inference.model_store import load_model
from warmstart.models.pretrained.base import Base
from warmstart.planning.estimates import (
    EMBEDDED_FIT,
    seconds_of_baseline,
    seconds_of_embedding,
    seconds_of_regime,
    seconds_of_run,
    seconds_on_all_rows,
    seconds_without_training,
    total_seconds,
)
from warmstart.planning.fit_budget import fit_to_budget
from warmstart.planning.problem import Options
from warmstart.planning.run_plan import PLANNED_SHARE, RunPlan, first_plan
from warmstart.request.launch import run_to_end
from warmstart.results.record import load_run
from warmstart.runs.baseline_run import fit_baseline
from warmstart.runs.execute import Results
from warmstart.study import begin, compare, jobs
from warmstart.study.compare import ComparisonJobs, run_comparison
from warmstart.study.jobs import StudyState, run_jobs
from warmstart.training.event import Progress

OPTIONS = Options(regimes=("constant", "linear", "frozen", "full"), seeds=1, trials=1, length=0.03, budget=100.0)


@pytest.fixture
def plan(base: Base) -> RunPlan:
    """84 training rows; `full` is too expensive for more than 40 of them. Both read their rows in no time."""
    made = replace(first_plan(tiny_problem(REGRESSION, base), OPTIONS), sizes=(20, 40, 84), total_rows=84)
    return replace(made, regime_sizes={"full": (20, 40)}, seconds_per_row={"frozen": 1e-6, "full": 1e-3})


def carried_out(plan: RunPlan, folder: Path, began: float | None = None) -> tuple[StudyState, list[str]]:
    """The ids of the jobs in their order."""
    progress = Progress(1.0) if began is None else Progress(1.0, began=began)
    study = StudyState(plan, folder, plan.shared(), progress)
    study.deadline = study.end_of_budget
    strategy = ComparisonJobs(study)
    for _ in run_jobs(study, strategy):
        pass
    return study, [name for name in study.results.runs if not name.startswith(("constant", "linear"))]


def test_cheap_ones_first_on_all_rows_then_parts_then_the_promising_on_all(plan: RunPlan, tmp_path: Path) -> None:
    study, order = carried_out(plan, tmp_path)
    first = list(study.results.runs)[:6]
    assert first[:2] == ["constant-r84-s0", "linear-r84-s0"] and all("constant" in n or "linear" in n for n in first)
    small = ["frozen-r84-s0", "frozen-r20-s0", "frozen-r40-s0", "full-r20-s0", "full-r40-s0"]
    assert order[:5] == small
    assert order[5:6] in ([], ["full-r84-s0"]) and (tmp_path / "runs" / "full-r40-s0" / "run.json").exists()


def test_the_promising_is_trained_on_all_rows_where_the_budget_has_room(
    plan: RunPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(plan.options, regimes=("constant", "full"), length=0.5)
    without = replace(plan, options=options)
    (tmp_path / "some").mkdir()
    assert carried_out(without, tmp_path / "some")[1] == ["full-r20-s0", "full-r40-s0", "full-r84-s0"]
    monkeypatch.setattr(ComparisonJobs, "_has_room", lambda *_: False)
    (tmp_path / "tight").mkdir()
    assert carried_out(without, tmp_path / "tight")[1] == ["full-r20-s0", "full-r40-s0"]


def test_rows_of_a_part_are_the_same_for_all_and_read_alone(plan: RunPlan, tmp_path: Path) -> None:
    study, _ = carried_out(plan, tmp_path)
    assert set(study.parts) == {40} and len(study.parts[40].splits.train) == 40
    runs = [load_run(tmp_path / "runs" / f"{name}-r40-s0") for name in ("linear", "full")]
    assert runs[0].predictions["row"] == runs[1].predictions["row"]


def test_a_busy_machine_drops_the_end_of_the_list_and_says_so(
    plan: RunPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago = compare.time.perf_counter() - 1000.0
    study, order = carried_out(plan, tmp_path, began=long_ago)
    assert order == [] and "linear-r84-s0" in study.results.runs, "baselines are never dropped"
    found = compare.make_comparison(plan, list(study.results.runs.values()))
    found = compare._without_dropped(found, study)
    assert found.cuts[0].startswith("dropped, because the machine was slower than measured: `frozen` on 20 rows")
    assert {each.regime for each in found.excluded} == {"frozen", "full"}
    assert not any("proportionally fewer steps" in cut for cut in found.cuts), "no part of the rows was trained on"
    assert carried_out(plan, tmp_path)[1] == [], "resumed, it drops the same"


def test_a_model_is_there_before_anything_is_measured(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(begin, "measure_throughput", killed)
    with pytest.raises(KeyboardInterrupt):
        for _ in run_comparison(tiny_problem(REGRESSION, base), OPTIONS, tmp_path):
            pass
    assert load_model(tmp_path / "winner").regime == "linear"


def test_the_first_results_are_shown_as_a_table(base: Base, tmp_path: Path) -> None:
    steps = run_comparison(tiny_problem(REGRESSION, base), replace(OPTIONS, regimes=("constant", "linear")), tmp_path)
    said = [event.message for event in steps if event.message.startswith("First results")]
    (head, best, worst) = said[0].splitlines()
    assert len(said) == 1 and "84 training rows" in head and "lower is better" in head
    assert best.split()[0] == "linear" and worst.split()[0] == "constant"
    assert float(best.split()[1]) < float(worst.split()[1])


def test_what_cannot_fit_is_refused_with_the_budget_that_would_do(base: Base, tmp_path: Path) -> None:
    short = replace(OPTIONS, regimes=("full",), budget=1e-3)
    with pytest.raises(InputError, match=r"too small for anything\. `full`: .* --budget \d+m would be enough"):
        for _ in run_comparison(tiny_problem(REGRESSION, base), short, tmp_path):
            pass


def test_too_few_steps_to_learn_are_not_a_failure(
    plan: RunPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ComparisonJobs, "_has_room", lambda *_: False)
    study, _ = carried_out(plan, tmp_path)
    found = compare.make_comparison(plan, list(study.results.runs.values()))
    assert "full" not in found.names and study.results.runs["full-r40-s0"].failed
    assert [(each.regime, each.constraint) for each in found.excluded] == [("full", "budget")]
    assert found.excluded[0].reason.endswith("steps on 40 rows were too few to beat the constant")


def test_what_takes_little_is_trained_for_longer_before_anything_expensive_begins(base: Base, tmp_path: Path) -> None:
    plan = replace(first_plan(tiny_problem(REGRESSION, base), OPTIONS), seconds_per_row={"frozen": 1e-6, "full": 0.05})
    strategy = ComparisonJobs(StudyState(plan, tmp_path, plan.shared(), Progress(1.0)))
    results = Results()

    def asked(*, converged: bool) -> str:
        """The next training; what comes before it is finished at once, as far as it has converged."""
        while True:
            (job, *_) = strategy.next_jobs(results)
            if job.kind == "search":
                results.searches[job.id] = None  # type: ignore[assignment]
            elif job.regime in ("constant", "linear") or job.id == "frozen-r84-s0":
                made = make_run(job.regime, np.array([[0.1, 1.0]]), rows=84, converged=converged)
                results.runs[job.id] = made
            else:
                return job.id

    assert asked(converged=False) == "frozen-r84-s0-x2"
    results.runs["frozen-r84-s0"] = replace(results.runs["frozen-r84-s0"], converged=True)
    assert asked(converged=True) == "full-r84-s0"


def test_a_network_still_training_when_the_budget_is_spent_is_stopped_and_goes_on_with_a_larger_one(
    plan: RunPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = StudyState.context

    def short(self: StudyState, job: Any) -> Any:
        made = context(self, job)
        if job.id == "full-r20-s0":  # the budget is spent when it begins
            assert 100 < made.progress.deadline - self.progress.began < 110
            made.progress.deadline = time.perf_counter()
        return made

    monkeypatch.setattr(StudyState, "context", short)
    study, order = carried_out(plan, tmp_path)
    assert order == ["frozen-r84-s0", "frozen-r20-s0", "frozen-r40-s0"]
    assert not (tmp_path / "runs" / "full-r20-s0" / "run.json").exists()
    assert list((tmp_path / "runs" / "full-r20-s0" / "checkpoint").iterdir()), "saved, as after Ctrl-C"
    found = compare._without_dropped(compare.make_comparison(plan, list(study.results.runs.values())), study)
    assert found.cuts[0].startswith(
        "dropped, because the machine was slower than measured: `full` on 20 rows, `full` on 40 rows"
    )
    monkeypatch.undo()
    compare.forget_refusals(tmp_path)
    assert "full-r20-s0" in carried_out(plan, tmp_path)[1]


def test_fits_without_a_network_count_from_the_second_on(plan: RunPlan, tmp_path: Path) -> None:
    known = replace(plan, fit_seconds={"linear": 8.4}, options=replace(plan.options, seeds=2))
    more = seconds_without_training(known) - seconds_without_training(replace(known, fit_seconds={}))
    assert more == pytest.approx(2 * (2.0 + 4.0 + 8.4) - 8.4)
    assert total_seconds(known) - total_seconds(replace(known, fit_seconds={})) == pytest.approx(more)
    study = StudyState(known, tmp_path, known.shared(), Progress())
    expected = [
        study.seconds_of(jobs.train_job(known, "linear", rows, seed)) for rows, seed in ((84, 0), (84, 1), (20, 0))
    ]
    assert expected == pytest.approx([0.0, 8.4, 2.0])


def test_every_fit_on_features_of_a_base_counts(plan: RunPlan) -> None:
    options = replace(plan.options, seeds=2, regimes=("constant", "linear", "embedded", "frozen"))
    known = replace(plan, options=options, fit_seconds={"linear": 8.4}, seconds_per_row={"frozen": 0.01})
    reading = seconds_of_embedding(known, "embedded")
    assert reading > 0
    assert seconds_of_baseline(known, "embedded", 84, 0) == pytest.approx(reading + EMBEDDED_FIT * 8.4)
    assert seconds_of_baseline(known, "embedded", 84, 1) == pytest.approx(EMBEDDED_FIT * 8.4)
    assert seconds_of_baseline(known, "embedded", 20, 1) == pytest.approx(EMBEDDED_FIT * 2.0)


def test_what_scores_best_is_the_first_to_be_trained_for_longer(plan: RunPlan, tmp_path: Path) -> None:
    study = StudyState(plan, tmp_path, plan.shared(), Progress())
    scores = {"frozen": (0.3, 84), "full": (0.2, 84), "lora": (0.1, 40)}  # errors; `lora` was not run on all rows
    for name, (error, rows) in scores.items():
        run = make_run(name, np.array([[error, 1.0]]), rows=rows, higher_is_better=False)
        study.results.runs[run.id] = run
    assert ComparisonJobs(study)._best_first(study.results, ["frozen", "lora", "full"]) == ["full", "frozen", "lora"]


def test_after_the_jobs_nothing_stops_who_reads_the_rows(plan: RunPlan, tmp_path: Path) -> None:
    study, _ = carried_out(plan, tmp_path)
    assert study.deadline < math.inf
    assert {shared.deadline for shared in (study.shared, *study.parts.values())} == {math.inf}


@pytest.mark.parametrize(("name", "stopped"), [("few-shot", True), ("prompted", True), ("embedded", False)])
def test_a_base_that_is_asked_stops_at_the_end_of_the_budget_as_networks_do(
    plan: RunPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, stopped: bool
) -> None:
    study = StudyState(plan, tmp_path, plan.shared(), Progress())
    study.deadline = 7.0
    monkeypatch.setattr(StudyState, "seconds_of", lambda self, job: 0.0)
    made = study.context(jobs.train_job(plan, name, 84, 0))
    until = 7.0 if stopped else math.inf
    assert made.run_data.shared.deadline == made.progress.deadline == until
    fitted: list[FitData] = []
    monkeypatch.setitem(FIT_BASELINE, name, fitted.append)
    fit_baseline(name, made.run_data, None)
    assert fitted[0].deadline == until, "it reaches what asks the base"


def test_a_run_on_more_rows_than_planned_reads_the_rest_first(plan: RunPlan, tmp_path: Path) -> None:
    known = replace(plan, prefix_seconds={"full": 0.5})
    study = StudyState(known, tmp_path, known.shared(), Progress())
    for rows, more in ((20, 0.0), (40, 0.0), (84, 0.5 * (84 - 40))):
        expected = seconds_of_run(known, "full", rows) + more
        assert study.seconds_of(jobs.train_job(known, "full", rows, 0)) == pytest.approx(expected)


def test_what_it_takes_on_all_rows_is_known_of_what_the_budget_leaves_out(plan: RunPlan) -> None:
    options = replace(plan.options, budget=1e-9, regimes=("constant", "linear", "embedded", "frozen", "full"))
    known = replace(plan, options=options, fit_seconds={"linear": 8.4}, regime_sizes={}, sizes=(84,))
    cut = fit_to_budget(known)
    assert {each.regime for each in cut.excluded} == {"embedded", "frozen", "full"}
    found = seconds_on_all_rows(cut)
    assert found.keys() == {"embedded", "frozen", "full"}
    assert found["full"] == pytest.approx(seconds_of_regime(known, "full"))
    assert found["embedded"] == pytest.approx(seconds_of_baseline(known, "embedded", 84, 0)) and found["embedded"] > 20


def test_a_part_of_a_budget_of_time_is_left_unplanned(plan: RunPlan) -> None:
    exact = replace(plan, options=replace(plan.options, by_compute=True))
    assert exact.for_jobs == plan.options.budget > plan.for_jobs == PLANNED_SHARE * plan.options.budget
    known = replace(plan, regime_sizes={}, sizes=(84,))
    whole = replace(known, options=replace(plan.options, budget=total_seconds(known) / PLANNED_SHARE + 1e-6))
    assert not fit_to_budget(whole).cuts
    less = replace(known, options=replace(plan.options, budget=total_seconds(known)))
    assert fit_to_budget(less).cuts


def test_what_reading_the_data_took_is_part_of_the_budget(base: Base, tmp_path: Path) -> None:
    options = replace(OPTIONS, spent=30.0)
    steps = begin.begin_study(first_plan(tiny_problem(REGRESSION, base), options), tmp_path)
    assert run_to_end(steps).plan.options.budget <= 70.0


def test_a_winner_is_not_trained_again_when_the_budget_is_spent(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = tiny_problem(REGRESSION, base)
    options = replace(OPTIONS, regimes=("constant", "linear"))
    for name in ("quick", "slow"):
        (tmp_path / name).mkdir()
    run_to_end(run_comparison(problem, options, tmp_path / "quick"))
    assert (tmp_path / "quick" / "refit").exists()
    monkeypatch.setattr(StudyState, "late", lambda *_: True)
    run_to_end(run_comparison(problem, options, tmp_path / "slow"))
    assert not (tmp_path / "slow" / "refit").exists()


def test_with_compute_a_machine_that_is_very_slow_makes_the_same_study(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(OPTIONS, by_compute=True, budget=0.05, trials=2)
    clock = time.perf_counter
    found = []
    for name, slowness in (("quick", 1.0), ("slow", 1e6)):
        monkeypatch.setattr(time, "perf_counter", lambda slowness=slowness: slowness * clock())
        (tmp_path / name).mkdir()
        made = run_to_end(run_comparison(tiny_problem(REGRESSION, base), options, tmp_path / name))
        found.append((made.cuts, made.excluded, [(run.id, run.test, run.settings) for run in made.runs]))
    assert found[0] == found[1]
    assert any(run.startswith("frozen") for run, *_ in found[0][2])
