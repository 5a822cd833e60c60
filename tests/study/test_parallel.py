"""Parallel: are the results of several workers those of one process, in whatever order jobs end, and if workers die?"""

import json
import math
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import REGRESSION, tiny_problem
from warmstart.errors import InputError
from warmstart.models.pretrained.base import Base
from warmstart.planning.problem import Options, Problem
from warmstart.planning.run_plan import first_plan
from warmstart.planning.saved_plan import load_plan
from warmstart.request.launch import run_to_end
from warmstart.results.record import load_run
from warmstart.runs import run
from warmstart.runs.execute import Results
from warmstart.runs.job import Job
from warmstart.runtime.supervisor import MAX_DEATHS, deaths_during
from warmstart.study import compare, parallel
from warmstart.study.begin import begin_study
from warmstart.study.compare import ComparisonJobs, run_comparison
from warmstart.study.jobs import IN_THIS_PROCESS, Executor, StudyState, search_job
from warmstart.study.parallel import WORK_FOLDER, Ended, Parallel, run_job
from warmstart.study.study import run_study
from warmstart.training.event import Event, Progress

# By compute: two studies with a budget of time measure other times, and may plan other jobs.
FEW = Options(regimes=("constant", "frozen"), seeds=2, trials=2, length=0.03, by_compute=True)
OPTIONS = replace(
    FEW, regimes=("constant", "scratch-dnn", "frozen", "ensemble"), length=1.0, epochs=3.0, min_effect=1e-9
)
MEASURED = {"seconds", "seconds_range", "latency_ms", "peak_memory_bytes"}  # differ from one day to the next


@dataclass
class OddWorkers:
    """Workers in this process: what was started last ends first. The first job of `dies` dies that often before."""

    problem: Problem
    options: Options
    count: int = 3
    dies: str = ""  # how the jobs begin that die
    deaths: int = 0
    error: Exception | None = None  # of the first job
    late: str = ""  # the job during which the budget is spent
    started: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    waiting: list[tuple[StudyState, Job, Sequence[Job]]] = field(default_factory=list)

    def start(self, study: StudyState, job: Job, needs: Sequence[Job]) -> None:
        self.started.append((job.id, tuple(need.id for need in needs)))
        self.waiting.append((study, job, needs))
        assert len(self.waiting) <= self.count

    def wait(self, seconds: float) -> list[Ended]:
        study, job, needs = self.waiting.pop()
        if self.error:
            return [Ended(job.id, error=self.error)]
        if self.dies and job.id.startswith(self.dies) and self.deaths:
            self.deaths -= 1
            return [Ended(job.id, died="SIGKILL")]
        plan = load_plan(first_plan(self.problem, self.options), study.folder / "plan.json")
        if job.id == self.late:
            study.deadline = study.progress.began = -math.inf
        left = study.deadline - time.perf_counter()
        if not run_job(StudyState(plan, study.folder, plan.shared(), Progress()), job, needs, left):
            return [Ended(job.id, late=True)]
        self.ended.append(job.id)
        return [Ended(job.id)]


def comparison_of(folder: Path) -> Any:
    return without_times(json.loads((folder / "comparison.json").read_text()))


def without_times(value: Any) -> Any:
    """Without what is measured by a clock, or of the whole process."""
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if key not in MEASURED}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def studied(problem: Problem, folder: Path, executor: Executor = IN_THIS_PROCESS, options: Options = OPTIONS) -> Any:
    folder.mkdir()
    run_to_end(run_study(problem, options, folder, executor=executor))
    return comparison_of(folder)


@pytest.fixture(scope="module", autouse=True)
def any_gain_is_worth_more_steps() -> Iterator[None]:
    """Twelve validation rows are too few to tell that a run still improves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "standard_error_share", lambda rows: 0.0)
        yield


@pytest.fixture(scope="module")
def in_one_process(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return studied(tiny_problem(REGRESSION, base), tmp_path_factory.mktemp("one") / "study")


def test_in_whatever_order_jobs_end_the_results_are_those_of_one_process(
    in_one_process: Any, problem: Problem, tmp_path: Path
) -> None:
    pool = OddWorkers(problem, OPTIONS)
    assert studied(problem, tmp_path / "study", Parallel(pool)) == in_one_process
    assert [regime["name"] for regime in in_one_process["regimes"]]
    assert pool.ended != [name for name, _ in pool.started], "they ended in another order"
    assert len(pool.ended) == len(set(pool.ended)), "nothing was done twice"
    assert any("-x2" in name for name in pool.ended), "some were trained for longer"
    ended: set[str] = {"constant-r84-s0"}  # is fitted before anything is measured
    for name in pool.ended:
        assert set(dict(pool.started)[name]) <= ended, "what a job depends on has ended"
        ended.add(name)


def test_a_job_whose_worker_died_is_done_again(in_one_process: Any, problem: Problem, tmp_path: Path) -> None:
    pool = OddWorkers(problem, OPTIONS, dies="frozen-r84-s1", deaths=1)
    folder = tmp_path / "study"
    assert studied(problem, folder, Parallel(pool)) == in_one_process
    assert [name for name, _ in pool.started].count("frozen-r84-s1") == 2
    assert deaths_during(folder, "frozen, 84 rows, seed 1") == ["SIGKILL"]
    assert not [*(folder / WORK_FOLDER).iterdir()]


def test_a_job_that_kills_its_workers_is_recorded_as_failed(problem: Problem, tmp_path: Path) -> None:
    pool = OddWorkers(problem, FEW, dies="frozen-r84-s1", deaths=9)
    studied(problem, tmp_path / "study", Parallel(pool), FEW)
    assert [name for name, _ in pool.started].count("frozen-r84-s1") == MAX_DEATHS
    failed = load_run(tmp_path / "study" / "runs" / "frozen-r84-s1").failed
    assert failed is not None and failed.startswith("the process was killed 2 times while training it (SIGKILL)")


def test_a_search_that_kills_its_workers_takes_its_runs_with_it(problem: Problem, tmp_path: Path) -> None:
    pool = OddWorkers(problem, FEW, dies="frozen-r84", deaths=9)
    studied(problem, tmp_path / "study", Parallel(pool), FEW)
    assert [name for name, _ in pool.started if name.startswith("frozen")] == ["frozen-r84"] * MAX_DEATHS
    for seed in (0, 1):
        failed = load_run(tmp_path / "study" / "runs" / f"frozen-r84-s{seed}").failed
        assert failed is not None and "while searching its learning rate" in failed


def test_a_study_that_was_stopped_goes_on_to_the_same_result(
    in_one_process: Any, problem: Problem, tmp_path: Path
) -> None:
    """Stopped after each few jobs, once while one is done before its turn; the last session is in one process."""
    folder = tmp_path / "study"
    folder.mkdir()
    ended: list[str] = []
    for _ in range(4):
        pool = OddWorkers(problem, OPTIONS)
        steps = run_study(problem, OPTIONS, folder, executor=Parallel(pool))
        while len(pool.ended) < 3:
            next(steps)
        steps.close()
        ended += pool.ended
    run_to_end(run_study(problem, OPTIONS, folder))
    assert comparison_of(folder) == in_one_process
    assert len(ended) == len(set(ended)) == 12, "what has ended is not done again"


def test_what_workers_are_still_training_when_the_budget_is_spent_is_dropped(problem: Problem, tmp_path: Path) -> None:
    options = replace(FEW, by_compute=False, budget=3_600.0)
    pool, folder = OddWorkers(problem, options, count=2, late="frozen-r84-s1"), tmp_path / "study"
    found = studied(problem, folder, Parallel(pool), options)
    assert [name for name, _ in pool.started].count("frozen-r84-s1") == 1
    assert not (folder / "runs" / "frozen-r84-s1" / "run.json").exists()
    assert any(cut.startswith("dropped, because the machine was slower") for cut in found["cuts"])


def test_what_a_worker_raises_for_people_ends_the_study(problem: Problem, tmp_path: Path) -> None:
    pool = OddWorkers(problem, FEW, error=InputError("the data has changed."))
    with pytest.raises(InputError, match="the data has changed"):
        studied(problem, tmp_path / "study", Parallel(pool), FEW)


def test_a_folder_that_is_not_shared_is_said(problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On both sides: a result that does not appear, and one that a worker needs."""
    monkeypatch.setattr(parallel, "SHARED_SECONDS", 0.0)
    study = state_of(problem, tmp_path, FEW)
    search = search_job(study.plan, "frozen", 84)
    with pytest.raises(InputError, match="a worker sees no result of frozen-r84"):
        run_job(study, replace(ComparisonJobs(study).certain_jobs()[-1], search=search.id), [search])

    class Elsewhere(OddWorkers):
        def wait(self, seconds: float) -> list[Ended]:
            return [Ended(self.waiting.pop()[1].id)]

    with pytest.raises(InputError, match="no result of a job that a worker has finished"):
        studied(problem, tmp_path / "study", Parallel(Elsewhere(problem, FEW)), FEW)


def state_of(problem: Problem, folder: Path, options: Options = OPTIONS) -> StudyState:
    steps = begin_study(first_plan(problem, options), folder)
    return run_to_end(steps)


def test_jobs_that_come_in_any_case_are_those_that_no_result_decides(problem: Problem, tmp_path: Path) -> None:
    study = state_of(problem, tmp_path)
    names = [job.id for job in ComparisonJobs(study).certain_jobs()]
    assert sorted(names) == sorted(
        [f"{name}-r84-s{seed}" for name in ("constant", "frozen", "scratch-dnn") for seed in (0, 1)]
        + ["frozen-r84", "scratch-dnn-r84"]
    )
    searches = {job.id: job.needs for job in ComparisonJobs(study).certain_jobs() if job.kind == "search"}
    assert searches["frozen-r84"] == (), "only a search for a size asks what others have spent"


def test_of_what_became_too_late_only_what_was_begun_is_kept(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = state_of(problem, tmp_path, replace(OPTIONS, by_compute=False))
    strategy = ComparisonJobs(study)
    baselines = {job.id: None for job in strategy.certain_jobs() if job.regime == "constant"}
    results = Results(runs=dict.fromkeys(baselines))  # type: ignore[arg-type]
    monkeypatch.setattr(compare, "combine_jobs", lambda *given: [])
    study.progress.began -= 10 * OPTIONS.budget
    study.begun.add("frozen-r84")
    assert [job.id for job in strategy.next_jobs(results)] == ["frozen-r84"]
    results.searches["frozen-r84"] = None  # type: ignore[assignment]
    assert list(strategy.next_jobs(results)) == []


def test_what_workers_report_is_seen(problem: Problem, tmp_path: Path) -> None:
    """Evaluations of a run under its name; `doing` names no single job, which would be blamed for a death."""
    seen: list[Event] = []
    options = replace(FEW, regimes=("constant", "scratch-dnn", "frozen"), length=1.0, epochs=3.0, min_effect=1.0)
    steps = run_comparison(problem, options, tmp_path, Parallel(OddWorkers(problem, options)))
    to_the_end(steps, seen)
    evaluated = {event.job for event in seen if event.evaluation and event.job}
    assert {"frozen-r84-s0", "scratch-dnn-r84-s1"} <= evaluated
    on_workers = [event for event in seen if " workers: " in event.doing]
    assert any(event.doing.startswith("3 of 3 workers: ") for event in on_workers)
    assert all(0 <= event.done <= 1 for event in seen)
    assert not any("times as long" in event.doing for event in seen), "which would be added to the plan"
    shares = [event.done for event in seen]
    assert shares == sorted(shares), "it never goes back"


def to_the_end(steps: Generator[Event, None, Any], seen: list[Event]) -> None:
    while True:
        try:
            seen.append(next(steps))
        except StopIteration:
            return
