"""First model: what is fitted before anything is measured, so that there is a model within a minute?"""

from collections.abc import Generator, Sequence
from pathlib import Path

from warmstart.planning.run_plan import RunPlan
from warmstart.planning.saved_plan import require_same_rows
from warmstart.quantities import REFERENCE_FLOPS, format_duration, format_exact
from warmstart.regimes.regimes import WITHOUT_NETWORK
from warmstart.results.record import Run
from warmstart.runtime.distributed import world
from warmstart.study.jobs import FixedJobs, StudyState, run_jobs, train_job
from warmstart.study.winner import keep_first_winner
from warmstart.training.event import Event, Progress


def first_model(asked: RunPlan, folder: Path) -> Generator[Event, None, dict[str, float]]:
    """Fit the regimes without a network on all rows, before anything is measured: `winner/` exists from the first
    minute.

    Returns what each took, in seconds of the budget. Not repeated in a resumed study, and skipped for regimes that
    constraints may exclude.
    """
    if world().on_main((folder / "plan.json").exists) or asked.options.constraints.given:
        return {}
    world().on_main(lambda: require_same_rows(asked, folder / "rows.json"))
    names = [name for name in asked.names if name in WITHOUT_NETWORK]
    jobs = [train_job(asked, name, max(asked.sizes), asked.options.first_seed) for name in names]
    first = StudyState(asked, folder, asked.shared(), Progress())
    yield from run_jobs(first, FixedJobs(jobs))
    runs = list(first.results.runs.values())
    world().on_main(lambda: keep_first_winner(runs, folder))
    if len(runs) > 1 and all(run.test is not None for run in runs):
        yield first.progress.event("planning", message=_first_table(runs))
    if asked.options.by_compute:
        return {run.regime: run.cost.flops / REFERENCE_FLOPS for run in runs}
    return {run.regime: run.cost.seconds for run in runs}


def _first_table(runs: Sequence[Run]) -> str:
    """The scores of what was fitted first, best first."""
    better = "higher" if runs[0].higher_is_better else "lower"
    ranked = sorted(runs, key=lambda run: (run.test or 0.0) * (-1 if run.higher_is_better else 1))
    width = max(len(run.regime) for run in runs)
    lines = [f"  {run.regime:{width}}  {format_exact(run.test)}  {format_duration(run.cost.seconds)}" for run in ranked]
    return "\n".join(
        [f"First results, on {runs[0].rows:,} training rows ({runs[0].metric}, {better} is better):", *lines]
    )
