"""Compare: regimes x seeds x rows, within a budget of time.

A comparison is an iterator of `Progress`, so that who runs it can show how far it is; its value is the Comparison.
What is finished stays in the folder, and is not done again.
"""

import time
from collections.abc import Generator, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from warmstart.errors import TrainingError
from warmstart.planning import run_plan as budget
from warmstart.planning.problem import Options, Problem
from warmstart.planning.requirements import constraints_after_training
from warmstart.planning.run_plan import RunPlan
from warmstart.regimes.regimes import is_baseline
from warmstart.results.comparison import Comparison
from warmstart.results.names import LENGTH_MULTIPLIERS, run_id
from warmstart.results.record import Run, Trial, load_run
from warmstart.runs.run import TunedRegime, tried_settings
from warmstart.runtime.files import read_fields, read_json, reading_ours, require_plain_name, write_json
from warmstart.study import jobs as work
from warmstart.study.jobs import StudyState
from warmstart.study.progress import Progress
from warmstart.tasks.tasks import task_for

LENGTHS_FILE = "lengths.json"

Runs = dict[tuple[str, int, int], list[Run]]  # regime, rows, seed: one for each length tried


def run_comparison(problem: Problem, options: Options, folder: Path) -> Generator[Progress, None, Comparison]:
    """Run every regime with every seed at every number of rows, and record it in `folder`.

    A run that diverges is recorded as failed. Raises TrainingError if nothing at all could be trained.
    """
    plan = budget.first_plan(problem, options)
    yield Progress("reading the rows", 0.0, None)
    study = yield from work.measure_plan(plan, folder)
    plan = study.plan
    if plan.networks:
        yield study.progress("planning", message=plan.words())
    runs: Runs = {}
    for rows in plan.sizes:
        for name in (n for n in plan.names if is_baseline(n)):
            for seed in plan.seeds:
                done = yield from work.run_baseline_once(study, name, rows, seed)
                runs[name, rows, seed] = [done]
                yield study.told(done)
        yield from _networks(study, runs, rows)
    comparison = make_comparison(study.plan, _best_lengths(study.plan, runs), folder)
    made = sum(done.cost.flops for tried in runs.values() for done in tried)
    comparison = replace(comparison, unranked_flops=made - sum(done.cost.flops for done in comparison.runs))
    save_comparison(comparison, folder)
    return comparison


def fit_one(
    problem: Problem,
    options: Options,
    folder: Path,
    searched: Path | None = None,
    before: Run | None = None,
    band: float = 0.0,
) -> Generator[Progress, None, Run]:
    """Train one regime with one seed at the best rate; the run is `folder` itself.

    `searched`: a study whose search for this regime is taken over, where it made one. `before`: a run on fewer rows,
    than which this one should be no worse on its way, by more than `band`.
    """
    plan = budget.first_plan(problem, replace(options, seeds=1, budget=np.inf))
    name, rows, seed = plan.names[0], max(plan.sizes), plan.options.first_seed
    yield Progress("reading the rows", 0.0, None)
    fitting = yield from work.measure_plan(plan, folder)
    if is_baseline(name):
        return (yield from work.run_baseline_once(fitting, name, rows, seed, folder))
    yield fitting.progress("planning", message=fitting.plan.words())
    chosen = work.reuse_search(fitting, name, rows, searched) if searched else None
    if chosen is None:
        chosen = yield from work.search_once(fitting, name, rows, 0.0)
    expected = work.Expected(before, chosen.config.steps, band) if before else None
    return (yield from work.train_once(fitting, chosen, rows, seed, folder=folder, expected=expected))


def load_comparison(folder: Path) -> Comparison:
    """The comparison that a study made, from its finished runs. Raises TrainingError if it is not finished."""
    path = folder / "study.json"
    if not path.exists():
        raise TrainingError(f"{folder} is no finished study.", f"warmstart resume {folder}")
    known = read_fields(path, Comparison, f"delete it, and go on with: warmstart resume {folder}", without=("runs",))
    with reading_ours(path):
        runs = tuple(load_run(folder / "runs" / require_plain_name(path, name)) for name in known.pop("runs"))
    return Comparison(runs, **known)


def save_comparison(comparison: Comparison, folder: Path) -> None:
    """Into `study.json`: what `remembered` reads, with the names of the runs."""
    facts = {entry.name: getattr(comparison, entry.name) for entry in fields(comparison)}
    facts["excluded"] = [vars(each) for each in comparison.excluded]
    write_json(folder / "study.json", facts | {"runs": [run.id for run in comparison.runs]})


def make_comparison(plan: RunPlan, runs: Sequence[Run], folder: Path) -> Comparison:
    """What these runs of a plan say together. Raises TrainingError where all of them failed."""
    splits = plan.splits
    task = task_for(plan.problem.schema, splits)
    if all(run.failed for run in runs):
        why = "; ".join(dict.fromkeys(f"{run.regime}: {run.failed}" for run in runs))
        raise TrainingError(f"no regime could be trained: {why}", f"see {folder / 'runs'}; try another --lr")
    return Comparison(
        runs=tuple(runs),
        task=task.name,
        metric=task.metric,
        higher_is_better=task.higher_is_better,
        units=task.units,
        fingerprint=splits.fingerprint,
        rows={"train": max(plan.sizes), "val": len(splits.val), "test": plan.tested},
        target=plan.problem.schema.target,
        min_effect=plan.options.min_effect,
        cuts=plan.cuts,
        full_estimate=plan.full_estimate,
        available=len(splits.train),
        caveats=(*plan.problem.caveats, *plan.fewer_rows),
        noise_floor=plan.problem.noise_floor,
        excluded=constraints_after_training(plan, runs) if plan.options.constraints.given else (),
    )


def _networks(study: StudyState, runs: Runs, rows: int) -> Generator[Progress, None, None]:
    """Search, train, and give more steps to what still improves, while the budget lasts."""
    plan = study.plan
    chosen: dict[str, TunedRegime] = {}
    for name in sorted(plan.networks, key=lambda name: -plan.seconds_of_search(name, rows)):
        # the dearest is searched first: others may spend as much
        spend = max((each.flops for each in chosen.values()), default=0.0)
        chosen[name] = yield from work.search_once(study, name, rows, spend)
    for seed in plan.seeds:
        for name in plan.networks:
            yield from _run(study, runs, chosen[name], rows, seed, 1)
    for longer in LENGTH_MULTIPLIERS:
        for name in plan.networks:
            yield from _lengthen(study, runs, chosen[name], rows, longer)


def _run(
    study: StudyState, runs: Runs, chosen: TunedRegime, rows: int, seed: int, longer: int
) -> Generator[Progress, None, None]:
    done = yield from work.train_once(study, chosen, rows, seed, longer)
    runs.setdefault((chosen.regime.name, rows, seed), []).append(done)
    yield study.told(done)


def _lengthen(
    study: StudyState, runs: Runs, chosen: TunedRegime, rows: int, longer: int
) -> Generator[Progress, None, None]:
    """Train a regime that has not converged again, for longer, with every seed, if there is time."""
    name, plan = chosen.regime.name, study.plan
    before = [runs[name, rows, seed][-1] for seed in plan.seeds]
    if all(r.converged or r.failed for r in before) or before[0].settings["steps"] * 2 != chosen.config.steps * longer:
        return
    extra = plan.seconds_of_run(name, rows, longer) * len(before)
    if not _affordable(study, run_id(name, rows, plan.seeds[0], longer), extra):
        return
    study.planned += extra
    settings = tried_settings(chosen.regime, chosen.config)
    for seed, done in zip(plan.seeds, before, strict=True):
        known = Trial(settings, done.settings["steps"], done.val)
        yield from _run(study, runs, replace(chosen, shorter=known), rows, seed, longer)


def _affordable(study: StudyState, run: str, seconds: float) -> bool:
    """Whether there is time for what begins with this run. Written down, so that it is decided once."""
    path = study.folder / LENGTHS_FILE
    decided = read_json(path, dict[str, bool]) if path.exists() else {}
    if run not in decided:
        there = (study.folder / "runs" / run / "run.json").exists()  # of an earlier version, which wrote nothing down
        decided[run] = there or time.perf_counter() - study.began + seconds <= study.plan.options.budget
        write_json(path, decided)
    return decided[run]


def _best_lengths(plan: RunPlan, runs: Runs) -> list[Run]:
    """Of the lengths tried, each regime's best by validation counts; of equals the longest, tried for good reason.

    One at which more seeds failed than at another counts in no case: it would take the others' runs away.
    """
    higher = task_for(plan.problem.schema, plan.splits).higher_is_better
    found: list[Run] = []
    for name, rows in dict.fromkeys((name, rows) for name, rows, _ in runs):
        tries = [runs[name, rows, seed] for seed in plan.seeds]
        lengths = range(min(len(tried) for tried in tries))
        each = [[tried[i] for tried in tries] for i in lengths]
        best = max(lengths, key=lambda i: (sum(not run.failed for run in each[i]), _mean_val(each[i], higher), i))
        found += each[best]
    return found


def _mean_val(runs: list[Run], higher: bool) -> float:
    values = [r.val for r in runs if r.val is not None and not r.failed]
    if not values:
        return -np.inf
    return float(np.mean(values)) * (1 if higher else -1)
