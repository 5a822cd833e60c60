"""Compare: regimes x seeds x rows, within a budget of time.

A comparison is an iterator of `Progress`, so that who runs it can show how far it is; its value is the Comparison.
What is finished stays in the folder, and is not done again.
"""

import json
import time
from collections.abc import Generator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from warmstart import budget, cuts, log, supervise, tune
from warmstart.budget import Options, Plan, Problem
from warmstart.comparison import Comparison
from warmstart.engine import world
from warmstart.errors import TrainingError, listed
from warmstart.pace import measure
from warmstart.prefix import Shared
from warmstart.record import Run, Trial, load_run, write_json
from warmstart.regimes import BASELINES
from warmstart.runs import Chosen, given_up, run, run_baseline, tried_settings
from warmstart.stages import Draw
from warmstart.tasks import task_for
from warmstart.train import Step

LONGER = (2, 4)  # times the length, for a regime that was still improving

Value = TypeVar("Value")


@dataclass(frozen=True)
class Progress:
    """How far a comparison is."""

    doing: str  # in words
    done: float  # share of the whole, 0 to 1
    seconds_left: float | None
    message: str = ""  # something worth a line of its own


Key = tuple[str, int, int]  # regime, rows, seed


@dataclass
class Work:
    """A comparison being carried out: where it is, and what it has."""

    plan: Plan
    folder: Path
    shared: Shared
    began: float = field(default_factory=time.perf_counter)
    planned: float = 0.0  # seconds
    finished: float = 0.0  # seconds of the plan that are done
    runs: dict[Key, list[Run]] = field(default_factory=dict)  # one for each length tried

    def progress(self, doing: str, ahead: float = 0.0, message: str = "") -> Progress:
        """`ahead`: seconds of the plan that the present piece of work has done."""
        share = min((self.finished + ahead) / self.planned, 1.0) if self.planned else 0.0
        elapsed = time.perf_counter() - self.began
        # early on the plan knows better, later what really happened
        by_plan, by_clock = self.planned * (1 - share), elapsed * (1 - share) / max(share, 1e-9)
        left = (1 - share) * by_plan + share * by_clock if self.planned else None
        return Progress(doing, share, left, message)


def compare(problem: Problem, options: Options, folder: Path) -> Generator[Progress, None, Comparison]:
    """Run every regime with every seed at every number of rows, and record it in `folder`.

    A run that diverges is recorded as failed. Raises TrainingError if nothing at all could be trained.
    """
    plan = budget.first_plan(problem, options)
    yield Progress("reading the rows", 0.0, None)
    work = yield from _planned(plan, folder)
    plan = work.plan
    for rows in plan.sizes:
        for name in (n for n in plan.names if n in BASELINES):
            for seed in plan.seeds:
                doing = _training(name, rows, seed)
                draw, where = plan.draw(rows, seed, work.shared), folder / "runs" / _id(name, rows, seed)
                fresh = not _finished(where)
                done = yield from _baseline(work, name, doing, draw, where)
                work.runs[name, rows, seed] = [done]
                _note(plan, done, fresh)
                yield work.progress(doing, message=_result(done))
        yield from _networks(work, rows)
    comparison = _comparison(work)
    _remember(comparison, folder)
    return comparison


def fit_one(problem: Problem, options: Options, folder: Path) -> Generator[Progress, None, Run]:
    """Search a rate for one regime and train it with one seed; the run is `folder` itself."""
    plan = budget.first_plan(problem, replace(options, seeds=1, budget=np.inf))
    name, rows, seed = plan.names[0], max(plan.sizes), plan.options.first_seed
    yield Progress("reading the rows", 0.0, None)
    work = yield from _planned(plan, folder)
    draw = work.plan.draw(rows, seed, work.shared)
    doing = f"{name}, {rows:,} rows"
    fresh = not _finished(folder)
    if name in BASELINES:
        done = yield from _baseline(work, name, doing, draw, folder)
    else:
        lost = _lost(folder, name, rows, doing)
        chosen = yield from _search(work, name, rows, 0.0)
        if lost:
            return given_up(name, draw, folder, lost, chosen)
        steps = run(chosen, draw, folder, work.plan.predicted(name, rows, seed))
        expected = work.plan.seconds_of_run(name, rows)
        pace = work.plan.seconds_of_step(name, rows)
        done = yield from _showing(work, steps, doing, expected, pace)
    _note(work.plan, done, fresh)
    return done


def remembered(folder: Path) -> Comparison:
    """The comparison that a study made, from its finished runs. Raises TrainingError if it is not finished."""
    path = folder / "study.json"
    if not path.exists():
        raise TrainingError(f"{folder} is no finished study.", f"warmstart resume {folder}")
    facts: dict[str, Any] = json.loads(path.read_text())
    runs = tuple(load_run(folder / "runs" / name) for name in facts.pop("runs"))
    known: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in facts.items()}
    return Comparison(runs, **known)


# --- the pieces -------------------------------------------------------------------------------------------------------


def _planned(plan: Plan, folder: Path) -> Generator[Progress, None, Work]:
    """Measure, predict and cut; or take the plan that an earlier beginning left."""
    path = folder / "plan.json"
    measured_on: Shared | None = None
    if world().by_main(path.exists):
        plan = cuts.load(plan, path)
    elif plan.networks:
        measured_on = plan.shared()
        lost = [name for name in plan.networks if _often_killed(folder, _measuring(name))]
        measuring = measure(plan, measured_on, lost)
        while True:
            try:
                name = next(measuring)
            except StopIteration as stop:
                plan = cuts.fit(stop.value)
                break
            yield Progress(_measuring(name), 0.0, None)
    world().by_main(lambda: cuts.save(plan, path))
    shared = plan.shared()
    if measured_on is not None and np.array_equal(measured_on.splits.train.numbers, shared.splits.train.numbers):
        shared = measured_on  # the rows were not cut: what was read and stored for the measuring serves the work
    work = Work(plan, folder, shared, planned=plan.seconds())
    if plan.networks:
        yield work.progress("planning", message=plan.words())
    return work


def _baseline(work: Work, name: str, doing: str, draw: Draw, folder: Path) -> Generator[Progress, None, Run]:
    """A run in which no network learns."""
    lost = _lost(work.folder, name, len(draw.splits.train), doing)
    if lost:
        return given_up(name, draw, folder, lost)
    yield work.progress(doing)
    if name != "zero-shot":
        return run_baseline(name, draw, folder)
    rows = len(draw.splits.train)
    regime = work.plan.regime(name, rows)
    steps = run(Chosen(regime, work.plan.config(regime, rows, draw.seed)), draw, folder)
    return (yield from _showing(work, steps, doing, 0.0, 0.0))


def _networks(work: Work, rows: int) -> Generator[Progress, None, None]:
    """Search, train, and give more steps to what still improves, while the budget lasts."""
    plan = work.plan
    chosen: dict[str, Chosen] = {}
    for name in sorted(plan.networks, key=lambda name: -plan.seconds_of_search(name, rows)):
        spend = max(
            (c.flops for c in chosen.values()), default=0.0
        )  # the dearest searched first: others may spend as much
        chosen[name] = yield from _search(work, name, rows, spend)
    for seed in plan.seeds:
        for name in plan.networks:
            yield from _run(work, chosen[name], rows, seed, 1)
    for longer in LONGER:
        for name in plan.networks:
            yield from _lengthen(work, chosen[name], rows, longer)


def _search(work: Work, name: str, rows: int, spend: float) -> Generator[Progress, None, Chosen]:
    plan = work.plan
    seed = plan.options.first_seed
    regime = plan.regime(name, rows)
    config = plan.config(regime, rows, seed)
    trials_folder = work.folder / "tuning" / f"{name}-r{rows}"
    path = trials_folder.with_suffix(".json")
    facts = world().by_main(lambda: tune.known(path))
    if facts is not None:
        work.finished += plan.seconds_of_search(name, rows)
        return tune.from_json(facts, regime, config)
    doing = _searching(name, rows)
    if _lost(work.folder, name, rows, doing):  # so are its runs
        return Chosen(regime, config)
    trials = plan.options.trials if plan.searches else 1
    steps = tune.search(regime, config, plan.draw(rows, seed, work.shared), trials, spend, trials_folder)
    found = yield from _showing(
        work, steps, doing, plan.seconds_of_search(name, rows), plan.seconds_of_step(name, rows)
    )
    world().by_main(lambda: tune.keep(path, tune.to_json(found), trials_folder))
    return found


def _run(work: Work, chosen: Chosen, rows: int, seed: int, longer: int) -> Generator[Progress, None, None]:
    name = chosen.regime.name
    chosen = replace(chosen, config=replace(chosen.config, seed=seed, steps=chosen.config.steps * longer))
    draw, predicted = work.plan.draw(rows, seed, work.shared), work.plan.predicted(name, rows, seed, longer)
    folder = work.folder / "runs" / _id(name, rows, seed, longer)
    fresh = not _finished(folder)
    doing = _training(name, rows, seed, longer)
    expected, pace = work.plan.seconds_of_run(name, rows) * longer, work.plan.seconds_of_step(name, rows)
    lost = _lost(work.folder, name, rows, doing)
    if lost:
        work.finished += expected
        done = given_up(name, draw, folder, lost, chosen)
    else:
        done = yield from _showing(work, run(chosen, draw, folder, predicted), doing, expected, pace)
    work.runs.setdefault((name, rows, seed), []).append(done)
    _note(work.plan, done, fresh)
    yield work.progress(doing, message=_result(done))


def _lengthen(work: Work, chosen: Chosen, rows: int, longer: int) -> Generator[Progress, None, None]:
    """Train a regime that has not converged again, for longer, with every seed, if there is time."""
    name, plan = chosen.regime.name, work.plan
    before = [work.runs[name, rows, seed][-1] for seed in plan.seeds]
    if all(r.converged or r.failed for r in before) or before[0].settings["steps"] * 2 != chosen.config.steps * longer:
        return
    extra = plan.seconds_of_run(name, rows) * longer * len(before)
    elapsed = time.perf_counter() - work.began
    ran_already = (work.folder / "runs" / _id(name, rows, plan.seeds[0], longer) / "run.json").exists()
    if elapsed + extra > plan.options.budget and not ran_already:
        return
    work.planned += extra
    known = Trial(tried_settings(chosen.regime, chosen.config), before[0].settings["steps"], before[0].val)
    for seed in plan.seeds:
        yield from _run(work, replace(chosen, trials=(*chosen.trials, known)), rows, seed, longer)


def _showing(
    work: Work, steps: Generator[Step, None, Value], doing: str, expected: float, pace: float
) -> Generator[Progress, None, Value]:
    """Turn steps, each of `pace` seconds, into progress; give what the steps give in the end."""
    taken = 0
    yield work.progress(doing)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            work.finished += expected
            value: Value = stop.value
            return value
        taken += 1
        yield work.progress(doing, min(taken * pace, expected))


# --- what is being done, in words: deaths of the process are counted under them ---------------------------------------


def _measuring(name: str) -> str:
    return f"measuring a few steps of {name}"


def _searching(name: str, rows: int) -> str:
    return f"{name}, {rows:,} rows: searching its learning rate"


def _training(name: str, rows: int, seed: int, longer: int = 1) -> str:
    return f"{name}, {rows:,} rows, seed {seed}" + (f", {longer} times as long" if longer > 1 else "")


def _lost(folder: Path, name: str, rows: int, doing: str) -> str | None:
    """Why something is not tried again: the process was killed too often at it, or at what has to come before."""
    before = {_measuring(name): "measuring a few of its steps", _searching(name, rows): "searching its learning rate"}
    for work, words in (before | {doing: before.get(doing, "training it")}).items():
        killed = _often_killed(folder, work)
        if killed:
            reason = f"the process was killed {len(killed)} times while {words} ({listed(list(dict.fromkeys(killed)))})"
            less = "a smaller --micro-batch or --max-length, or fewer --rows, need less"
            return f"{reason}: probably out of memory; {less}" if "SIGKILL" in killed else reason
    return None


def _often_killed(folder: Path, work: str) -> list[str]:
    """The signals that killed the process at this work; none where they are few enough to try it again."""
    killed = world().by_main(lambda: supervise.killed(folder, work))
    return killed if len(killed) >= supervise.LIMIT else []


# --- names and results ------------------------------------------------------------------------------------------------
def _finished(folder: Path) -> bool:
    return world().by_main((folder / "run.json").exists)


def _note(plan: Plan, done: Run, fresh: bool) -> None:
    """Into the log, once: not when a finished run is only read back."""
    if fresh and plan.options.log and world().main:
        log.note(done, plan.problem.base.name, plan.tokens_of(done.regime) if done.regime not in BASELINES else None)


def _id(name: str, rows: int, seed: int, longer: int = 1) -> str:
    return f"{name}-r{rows}-s{seed}" + (f"-x{longer}" if longer > 1 else "")


def _result(done: Run) -> str:
    if done.failed or done.test is None:
        return f"{done.id}: failed: {done.failed}"
    return f"{done.id}: {done.metric} {done.test:.4f} in {done.cost.seconds:.0f} s"


def _comparison(work: Work) -> Comparison:
    """Of the lengths tried, each regime's best by validation counts; of equals the longest, tried for good reason."""
    plan, splits = work.plan, work.plan.splits
    task = task_for(plan.problem.schema, splits)
    runs: list[Run] = []
    for name, rows in dict.fromkeys((name, rows) for name, rows, _ in work.runs):
        tries = [work.runs[name, rows, seed] for seed in plan.seeds]
        lengths = range(min(len(tried) for tried in tries))
        best = max(lengths, key=lambda i: (_mean_val([tried[i] for tried in tries], task.higher_is_better), i))
        runs += [tried[best] for tried in tries]
    if all(run.failed for run in runs):
        raise TrainingError("no regime could be trained.", f"see {work.folder / 'runs'}; try a lower --lr")
    return Comparison(
        runs=tuple(runs),
        task=task.name,
        metric=task.metric,
        higher_is_better=task.higher_is_better,
        units=task.units,
        fingerprint=splits.fingerprint,
        rows={"train": max(plan.sizes), "val": len(splits.val), "test": len(splits.test)},
        target=plan.problem.schema.target,
        worth=plan.options.worth,
        cuts=plan.cuts,
        caveats=plan.problem.caveats,
        noise_floor=plan.problem.noise_floor,
    )


def _remember(comparison: Comparison, folder: Path) -> None:
    facts = {entry.name: getattr(comparison, entry.name) for entry in fields(comparison)}
    write_json(folder / "study.json", facts | {"runs": [run.id for run in comparison.runs]})


def _mean_val(runs: list[Run], higher: bool) -> float:
    values = [r.val for r in runs if r.val is not None and not r.failed]
    if not values:
        return -np.inf
    return float(np.mean(values)) * (1 if higher else -1)
