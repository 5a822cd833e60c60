"""Own units: how far off is each regime in the target's own units, where it learned on another scale?"""

from statistics import fmean

from warmstart.comparison import Comparison, Row


def own_units(comparison: Comparison) -> str:
    """The metric's name among those of the runs, "MAE (price)"; nothing where the ranking is in these units."""
    name = f"MAE ({comparison.target})"
    elsewhere = comparison.units not in ("", comparison.target)
    return name if elsewhere and any(name in run.metrics for run in comparison.runs) else ""


def own_error(comparison: Comparison, row: Row) -> float | None:
    """The mean over the seeds of this line of the table; None: not known."""
    runs = [run for run in comparison.runs if (run.regime, run.rows) == (row.name, row.rows) and run.seed in row.seeds]
    errors = [run.metrics[name] for run in runs if (name := own_units(comparison)) in run.metrics]
    return fmean(errors) if errors else None
