"""Refit: is the winner trained again with its validation rows, and which of the two models is kept?"""

import math
from collections.abc import Generator
from dataclasses import replace

from warmstart.advice.advise import Advice
from warmstart.data.rows.split import Rows
from warmstart.errors import UsageError
from warmstart.quantities import REFERENCE_FLOPS, format_exact, format_number
from warmstart.results.bootstrap import paired
from warmstart.results.comparison import Comparison
from warmstart.results.names import ENSEMBLE
from warmstart.results.record import Run
from warmstart.results.refit_record import REFIT, REFIT_FILE, load_refit
from warmstart.runs.refit import RefitPart, refit_run
from warmstart.runtime.distributed import world
from warmstart.runtime.files import write_json
from warmstart.study.jobs import StudyState
from warmstart.study.winner import best_run
from warmstart.training.event import Event, JobProgress
from warmstart.training.frozen_prefix import SharedData

LITTLE_REFIT = 0.05  # of the budget: a refit that takes no more is made in any case
WORTH_MORE_ROWS = 0.02  # share of the training rows: fewer more change next to nothing
SPARED_ROWS = ("train", "val")


def refit_winner(study: StudyState, comparison: Comparison, advice: Advice) -> Generator[Event, None, None]:
    """Train the winner on validation rows too, or on all rows, into `refit/`, where it was asked for or time is left.

    A model that was not trained on test rows is scored on them; where it is clearly worse than the run's own, that is
    handed over. Raises UsageError where it was asked for and cannot be done.
    """
    asked, folder = study.plan.options.refit, study.folder / REFIT
    run = best_run(comparison, advice)
    if asked == "none" or run is None or run.val is None:
        return
    parts = (*SPARED_ROWS, "test") if asked == "all" else SPARED_ROWS
    known = world().on_main(lambda: load_refit(folder))
    if known and known.run == run.id and (known.parts == parts or asked == "auto"):
        return
    reason = _why_not(study, run)
    if reason and asked != "auto":
        raise UsageError(f"the winner cannot be trained again: {reason}.", "leave out --refit")
    if reason or (asked == "auto" and not _worth_it(study, run)):
        return
    study.deadline = math.inf  # whether there is time for it has been decided
    splits = study.plan.whole_splits(run.seed)
    count = sum(len(getattr(splits, part)) for part in parts)
    progress = JobProgress(f"{run.regime}, {count:,} rows: training the winner again", study=study.progress)
    held = sum(map(len, (splits.train, splits.val, splits.test)))
    shared = study.shared if len(study.shared) == held else SharedData(splits)  # what was read of all rows serves again
    whole = _part(study, run, parts, shared)
    members = {name: _part(study, study.results.runs[name], parts, shared) for name in _members(run)}
    done = yield from refit_run(whole, members, parts, folder, progress)
    if done.scores is None:
        return
    _, (low, _), _ = paired([run.scores], [done.scores], run.higher_is_better, groups=run.test_groups)
    if low > study.plan.options.min_effect * abs(run.test or 0.0):
        why = f"trained again, it scored {format_number(done.refit.score or 0.0)} on the test rows"
        write_json(folder / REFIT_FILE, replace(done.refit, rejected=why).to_json())
    yield study.progress.event(
        progress.doing,
        message=f"{run.id} on {done.refit.described}: {run.metric} "
        f"{format_exact(done.refit.score)} in {done.refit.seconds:.0f} s",
    )


def _why_not(study: StudyState, run: Run) -> str:
    """Why a winner cannot be trained again; "" if it can."""
    plan = study.plan
    if plan.options.interpolate:
        return "its weights were mixed with those of the base"
    if not run.cost.trainable:
        return f"`{run.regime}` is not trained on rows"
    return ""


def _worth_it(study: StudyState, run: Run) -> bool:
    """Whether it is worth it and there is time: in the plan, and on a machine that was slower than measured also in
    the budget.

    Not where a part of the rows was asked for, or was all that there was time for; nor for texts, which take long to
    judge again.
    """
    plan = study.plan
    task = plan.run_data(run.rows, run.seed, study.shared).task
    if run.rows < plan.problem.available or task.ranks_by_writing or task.learns_language:
        return False
    rows = len(plan.problem.splits.train) + len(plan.problem.splits.val)
    if rows < (1 + WORTH_MORE_ROWS) * run.rows:
        return False
    seconds = sum(_seconds(study, study.results.runs[name]) for name in _members(run)) or _seconds(study, run)
    seconds *= rows / run.rows
    in_plan = seconds <= LITTLE_REFIT * plan.options.budget or study.progress.finished + seconds <= plan.for_jobs
    return in_plan and not study.late(seconds)


def _seconds(study: StudyState, run: Run) -> float:
    """Expected of a network; a baseline takes what it took."""
    took = run.cost.flops / REFERENCE_FLOPS if study.plan.options.by_compute else run.cost.seconds
    return study.seconds_of(study.jobs[run.id]) or took


def _members(run: Run) -> tuple[str, ...]:
    """The runs that an ensemble is made of."""
    return tuple(run.settings["weights"]) if run.regime == ENSEMBLE else ()


def _part(study: StudyState, run: Run, parts: tuple[str, ...], shared: SharedData) -> RefitPart:
    """What one model is trained with."""
    plan, context = study.plan, study.context(study.jobs[run.id])
    splits = plan.whole_splits(run.seed)
    rows = Rows.joined([getattr(splits, part) for part in parts])
    run_data = replace(plan.run_data(run.rows, run.seed, shared), shared=shared)
    run_data = replace(run_data, splits=replace(run_data.splits, train=rows, val=splits.val))
    return RefitPart(run, plan.learned_by(run.regime, run_data), context.tuned, context.base)
