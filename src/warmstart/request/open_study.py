"""Open study: how does a worker open the study whose jobs it runs? From its folder, as `resume` does."""

import functools
from pathlib import Path

from warmstart.planning.run_plan import first_plan
from warmstart.planning.saved_plan import load_plan
from warmstart.request.prepare import options_of, prepare_problem
from warmstart.request.start import restart, resumable
from warmstart.study.jobs import StudyState
from warmstart.training.event import Progress


@functools.lru_cache(maxsize=1)
def open_study(folder: Path, code: str | None) -> StudyState:
    """The study in a folder, measured and planned by the process that began it. A second call gives the same object.

    `code`: the `model` that it was made with, whose file is executed. Raises InputError where its rows have changed.
    """
    begun = restart(resumable(folder, code), folder)
    problem = prepare_problem(begun.request, begun.understood, {}, folder).problem
    plan = load_plan(first_plan(problem, options_of(begun.request, problem)), folder / "plan.json")
    return StudyState(plan, folder, plan.shared(), Progress())
