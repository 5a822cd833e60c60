"""Make comparison: how do the finished runs of a plan become a comparison, and how is it saved and loaded?"""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from warmstart.errors import TrainingError, shell_word
from warmstart.planning.estimates import rows_ranked, seconds_on_all_rows
from warmstart.planning.requirements import constraints_after_training
from warmstart.planning.run_plan import RunPlan
from warmstart.results.comparison import Comparison
from warmstart.results.constraints import BUDGET, Excluded
from warmstart.results.record import Run, load_run
from warmstart.runtime.files import read_fields, reading_ours, require_plain_name, write_json
from warmstart.tasks.tasks import task_for


def load_comparison(folder: Path) -> Comparison:
    """The comparison that a study made, from its finished runs. Raises TrainingError if it is not finished."""
    path = folder / "study.json"
    if not path.exists():
        raise TrainingError(f"{folder} is not a finished study.", f"warmstart resume {shell_word(folder)}")
    remedy = f"delete it, and continue with: warmstart resume {shell_word(folder)}"
    known = read_fields(path, Comparison, remedy, without=("runs",))
    with reading_ours(path):
        runs = tuple(load_run(folder / "runs" / require_plain_name(path, name)) for name in known.pop("runs"))
    return Comparison(runs, **known)


def save_comparison(comparison: Comparison, folder: Path) -> None:
    """Write `study.json`, which `load_comparison` reads, with the names of the runs."""
    facts = {entry.name: getattr(comparison, entry.name) for entry in fields(comparison)}
    facts["excluded"] = [vars(each) for each in comparison.excluded]
    facts["refit"] = None  # it has a file of its own
    write_json(folder / "study.json", facts | {"runs": [run.id for run in comparison.runs]})


def make_comparison(plan: RunPlan, runs: Sequence[Run]) -> Comparison:
    """The comparison of these runs of a plan."""
    splits = plan.splits
    task = task_for(plan.problem.schema, splits)
    unlearned = unlearned_regimes(plan, runs)
    too_few = tuple(Excluded(name, BUDGET, reason) for name, reason in unlearned.items())
    barred = constraints_after_training(plan, runs) if plan.options.constraints.given else plan.excluded
    return Comparison(
        runs=tuple(run for run in runs if run.regime not in unlearned),
        task=task.name,
        metric=task.metric,
        higher_is_better=task.higher_is_better,
        units=task.units,
        fingerprint=splits.fingerprint,
        rows={"train": max(plan.sizes), "val": len(splits.val), "test": rows_ranked(plan)},
        target=plan.problem.schema.target,
        min_effect=plan.options.min_effect,
        cuts=plan.cuts,
        full_estimate=plan.full_estimate,
        estimates=seconds_on_all_rows(plan) if plan.cuts else {},
        available=plan.problem.available,
        splits=plan.options.splits,
        caveats=(*plan.problem.caveats, *plan.fewer_rows),
        noise_floor=plan.problem.noise_floor,
        excluded=(*barred, *too_few),
    )


def unlearned_regimes(plan: RunPlan, runs: Sequence[Run]) -> dict[str, str]:
    """Regimes that the budget left too few rows and steps to learn anything, with the reason: they did not fail.

    Such a run scores no better than the constant.
    """
    found = {}
    for name in plan.regime_sizes:
        own = [run for run in runs if run.regime == name]
        scored = all(run.failed and run.test is not None and np.isfinite(run.test) for run in own)
        if own and scored and max(run.rows for run in own) < max(plan.sizes):
            most = max(own, key=lambda run: run.rows)
            found[name] = f"{most.steps:,} steps on {most.rows:,} rows were too few to beat the constant"
    return found


def best_lengths(plan: RunPlan, runs: Sequence[Run]) -> list[Run]:
    """The best of each regime's lengths by validation scores; of equal ones the longest, which was tried for a reason.

    A length at which more seeds failed than at another is never the best: it would replace their runs.
    """
    higher = task_for(plan.problem.schema, plan.splits).higher_is_better
    tried: dict[tuple[str, int], dict[int, list[Run]]] = {}  # regime, rows: seed: its runs, from short to long
    for run in runs:
        tried.setdefault((run.regime, run.rows), {}).setdefault(run.seed, []).append(run)
    found: list[Run] = []
    for by_seed in tried.values():
        each = list(zip(*by_seed.values(), strict=False))  # a length that not every seed has is left out
        numbered = enumerate(each)
        _, best = max(numbered, key=lambda n: (sum(not r.failed for r in n[1]), mean_val_score(n[1], higher), n[0]))
        found += best
    return found


def mean_val_score(runs: Sequence[Run], higher: bool) -> float:
    """Mean validation score of runs that did not fail, negated where lower is better, so that larger is better."""
    values = [r.val for r in runs if r.val is not None and not r.failed]
    if not values:
        return -np.inf
    return float(np.mean(values)) * (1 if higher else -1)
