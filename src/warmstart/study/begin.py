"""Begin: what will a study take? Measured and cut to its budget once; the plan is kept in its folder."""

import time
from collections.abc import Generator
from pathlib import Path

import numpy as np
from typing_extensions import TypedDict

from warmstart.errors import InputError
from warmstart.planning.computed_cost import computed_throughput
from warmstart.planning.estimates import measuring, total_seconds
from warmstart.planning.fit_budget import fit_to_budget
from warmstart.planning.requirements import exclude_by_constraints, exclude_by_time
from warmstart.planning.run_plan import RunPlan
from warmstart.planning.saved_plan import load_plan, save_plan
from warmstart.planning.throughput import measure_throughput
from warmstart.results.names import ENSEMBLE
from warmstart.results.record import RUN_AGAIN
from warmstart.runs.search import SEARCH_AGAIN
from warmstart.runtime.distributed import world
from warmstart.runtime.files import read_json
from warmstart.study.jobs import StudyState, kill_signals
from warmstart.training.event import Event, Progress
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.stages import stage_inputs


class Seconds(TypedDict):
    """The only field that is read here of a saved search, or of the cost of a run."""

    seconds: float


class RunCost(TypedDict):
    """The fields that are read here of a run."""

    regime: str
    cost: Seconds


def begin_study(
    plan: RunPlan, folder: Path, *, cut: bool = True, began: float | None = None, workers: int = 1
) -> Generator[Event, None, StudyState]:
    """Measure, estimate and, with `cut`, cut to the budget; or load the plan of an earlier start.

    `began`: `time.perf_counter()` when the budget began to run, default now; what was spent before, the options say.
    The budget is what one process may take; `workers` share it, and take less time.
    """
    yield Event("reading the rows")
    path = folder / ("plan.json" if cut else "race-plan.json")  # a race may become a comparison
    began, asked_budget = (began or time.perf_counter()) - plan.options.spent, plan.options.budget
    earlier = _spent(folder) if world().on_main(path.exists) else 0.0
    measured_on: SharedData | None = None
    if world().on_main(path.exists):
        plan = load_plan(plan, path, cut=cut)
    else:
        rows = plan.shared()
        if plan.options.constraints.given:
            plan = yield from exclude_by_constraints(plan, rows)
        if plan.networks:
            measured_on = rows
            yield from _reading(plan, rows)
            lost = [name for name in plan.networks if kill_signals(folder, measuring(name))]
            if plan.options.by_compute:
                plan = computed_throughput(plan, rows, lost)
            else:
                plan = exclude_by_time((yield from measure_throughput(plan, rows, lost)))
                plan = plan.after(world().on_main(lambda: time.perf_counter() - began))
            plan = fit_to_budget(plan) if cut else plan
    if not plan.names:
        reasons = "; ".join(f"`{each.regime}`: {each.reason}" for each in plan.excluded)
        raise InputError(
            f"the budget is too small for anything. {reasons}.",
            f"give a larger {'--compute' if plan.options.by_compute else '--budget'}, or fewer regimes",
        )
    world().on_main(lambda: save_plan(plan, path, asked_budget))
    shared = plan.shared()
    if measured_on is not None and np.array_equal(measured_on.splits.train.numbers, shared.splits.train.numbers):
        shared = measured_on  # the rows were not cut: what was read and stored for the measuring serves the runs
    progress = Progress(
        total_seconds(plan),
        began=time.perf_counter() - earlier / workers,
        timed=not plan.options.by_compute,
        workers=workers,
    )
    return StudyState(plan, folder, shared, progress)


def _reading(plan: RunPlan, shared: SharedData) -> Generator[Event, None, None]:
    """Write the token cache, if there are enough texts for one."""
    rows = max(plan.sizes)
    run_data = plan.run_data(rows, plan.options.first_seed, shared)
    for name in plan.networks:
        for read, inputs in stage_inputs(plan.regime(name, rows), run_data):
            for share in read.keeping(inputs):
                yield Event(f"making tokens of the texts: {share:.0%}")


def _spent(folder: Path) -> float:
    """Seconds that finished work in a folder took: a resumed study has that much less left."""
    finished = (read_json(path, RunCost, RUN_AGAIN) for path in folder.glob("runs/*/run.json"))
    runs = (done["cost"]["seconds"] for done in finished if done["regime"] != ENSEMBLE)  # whose cost is its members'
    searches = (read_json(path, Seconds, SEARCH_AGAIN)["seconds"] for path in folder.glob("tuning/*.json"))
    return sum(runs) + sum(searches)
