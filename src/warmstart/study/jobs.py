"""Work: one piece of a study, done at most once: a plan, a search, a run.

Each is an iterator of `Progress`, so that who runs it can show how far it is. What is finished stays in the folder and
is read back; what killed the process too often is recorded as failed.
"""

import json
import re
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from warmstart.errors import join_phrases
from warmstart.planning import fit_budget as cuts
from warmstart.planning import history as log
from warmstart.planning.requirements import exclude_by_constraints, exclude_by_time
from warmstart.planning.run_plan import RunPlan
from warmstart.planning.throughput import measure_throughput
from warmstart.quantities import format_number
from warmstart.regimes.regimes import is_baseline
from warmstart.results.names import regime_of, run_id
from warmstart.results.record import Evaluation, Run
from warmstart.runs import search as tune
from warmstart.runs.run import TunedRegime, failed_run, run_baseline, train_run
from warmstart.runtime import supervisor as supervise
from warmstart.runtime.distributed import world
from warmstart.study.progress import Progress
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.loop import Step
from warmstart.training.run_data import RunData
from warmstart.training.stages import stage_inputs

MIN_SHARE_FOR_ALARM = 0.25  # of the steps: looks before that say little

Value = TypeVar("Value")


@dataclass
class StudyState:
    """A study being carried out: where it is."""

    plan: RunPlan
    folder: Path
    shared: SharedData
    began: float = field(default_factory=time.perf_counter)
    planned: float = 0.0  # seconds
    finished: float = 0.0  # seconds of the plan that are done

    def progress(self, doing: str, ahead: float = 0.0, message: str = "") -> Progress:
        """`ahead`: seconds of the plan that the present piece of work has done."""
        share = min((self.finished + ahead) / self.planned, 1.0) if self.planned else 0.0
        elapsed = time.perf_counter() - self.began
        # early on the plan knows better, later what really happened
        by_plan, by_clock = self.planned * (1 - share), elapsed * (1 - share) / max(share, 1e-9)
        left = (1 - share) * by_plan + share * by_clock if self.planned else None
        return Progress(doing, share, left, message)

    def told(self, done: Run) -> Progress:
        """A run is finished: a line about it."""
        if done.failed or done.test is None:
            said = f"{done.id}: failed: {done.failed}"
        else:
            said = f"{done.id}: {done.metric} {done.test:.4f} in {done.cost.seconds:.0f} s"
        return self.progress(_training(done.regime, done.rows, done.seed), message=said)

    def run_data(self, rows: int, seed: int) -> RunData:
        return self.plan.run_data(rows, seed, self.shared)


@dataclass(frozen=True)
class Expected:
    """How validation went in a run on fewer rows: a run on more should be no worse at the same part of its way."""

    before: Run
    steps: int  # of the run that is watched
    band: float  # that it may be worse by, in the metric's unit

    def alarm(self, seen: Evaluation) -> str | None:
        """What is wrong with a look; None where nothing is, or where it is too early to tell."""
        share = seen.step / self.steps
        points = self.before.points
        shares = [point.step / self.before.settings["steps"] for point in points]
        if not points or share < max(
            MIN_SHARE_FOR_ALARM, shares[0]
        ):  # it may have learned something else before: the language
            return None
        then = float(np.interp(share, shares, [point.val_score for point in points]))
        worse = (then - seen.val_score) * (1 if self.before.higher_is_better else -1)
        if worse <= self.band:
            return None
        score = format_number(seen.val_score)
        told = f"at {share:.0%} of its steps this run scores {score} on validation rows, the one on"
        return f"{told} {self.before.rows:,} rows scored {format_number(then)} there: it has left the forecast band"


def measure_plan(plan: RunPlan, folder: Path, *, cut: bool = True) -> Generator[Progress, None, StudyState]:
    """Measure, predict and, with `cut`, cut to the budget; or take the plan that an earlier beginning left."""
    path = folder / ("plan.json" if cut else "race-plan.json")  # a race may become a comparison
    began = time.perf_counter()
    measured_on: SharedData | None = None
    if world().on_main(path.exists):
        plan = cuts.load_plan(plan, path)
    else:
        rows = plan.shared()
        if plan.options.constraints.given:
            plan = yield from _looking(exclude_by_constraints(plan, rows), str)
        if plan.networks:
            measured_on = rows
            yield from _reading(plan, rows)
            lost = [name for name in plan.networks if _often_killed(folder, _measuring(name))]
            plan = exclude_by_time((yield from _looking(measure_throughput(plan, rows, lost), _measuring)))
            plan = _without(plan, world().on_main(lambda: time.perf_counter() - began))
            plan = cuts.fit_to_budget(plan) if cut else plan
    world().on_main(lambda: cuts.save_plan(plan, path))
    shared = plan.shared()
    if measured_on is not None and np.array_equal(measured_on.splits.train.numbers, shared.splits.train.numbers):
        shared = measured_on  # the rows were not cut: what was read and stored for the measuring serves the work
    return StudyState(plan, folder, shared, time.perf_counter() - _spent(folder), planned=plan.seconds())


def _reading(plan: RunPlan, shared: SharedData) -> Generator[Progress, None, None]:
    """Make the tokens of texts that are so many that they are kept."""
    rows = max(plan.sizes)
    run_data = plan.run_data(rows, plan.options.first_seed, shared)
    for name in plan.networks:
        for read, inputs in stage_inputs(plan.regime(name, rows), run_data):
            for share in read.keeping(inputs):
                yield Progress(f"making tokens of the texts: {share:.0%}", 0.0, None)


def _spent(folder: Path) -> float:
    """Seconds that took what is finished in a folder: a study that is gone on with has so much less left."""
    runs = (json.loads(path.read_text(encoding="utf-8"))["cost"]["seconds"] for path in folder.glob("runs/*/run.json"))
    searches = (json.loads(path.read_text(encoding="utf-8"))["seconds"] for path in folder.glob("tuning/*.json"))
    return float(sum(runs) + sum(searches))


def _without(plan: RunPlan, seconds: float) -> RunPlan:
    """The same with what planning took out of the budget, of which at least half stays."""
    budget = plan.options.budget
    return replace(plan, options=replace(plan.options, budget=budget - min(seconds, budget / 2)))


def _looking(steps: Generator[str, None, RunPlan], words: Callable[[str], str]) -> Generator[Progress, None, RunPlan]:
    """What is being looked at, as progress; gives the plan that comes of it."""
    while True:
        try:
            name = next(steps)
        except StopIteration as stop:
            plan: RunPlan = stop.value
            return plan
        yield Progress(words(name), 0.0, None)


def run_baseline_once(
    work: StudyState, name: str, rows: int, seed: int, folder: Path | None = None
) -> Generator[Progress, None, Run]:
    """A run in which no network learns. `folder`: of the run; None: its own among those of the study."""
    run_data, doing = work.run_data(rows, seed), _training(name, rows, seed)
    folder = folder or work.folder / "runs" / run_id(name, rows, seed)
    fresh = not _finished(folder)
    lost = _lost(work.folder, name, rows, doing)
    if lost:
        done = failed_run(name, run_data, folder, lost)
    elif regime_of(name) == "zero-shot":
        regime = work.plan.regime(name, rows)
        steps = train_run(TunedRegime(regime, work.plan.config(regime, rows, seed)), run_data, folder)
        done = yield from _showing(work, steps, doing, 0.0, 0.0)
    else:
        yield work.progress(doing)
        done = run_baseline(name, run_data, folder)
    _note(work.plan, done, fresh)
    return done


def search_once(work: StudyState, name: str, rows: int, spend: float) -> Generator[Progress, None, TunedRegime]:
    """The rate, and where it may be chosen the size, for one regime at one number of rows."""
    plan = work.plan
    seed = plan.options.first_seed
    regime = plan.regime(name, rows)
    config = plan.config(regime, rows, seed)
    trials_folder = work.folder / "tuning" / f"{name}-r{rows}"
    path = trials_folder.with_name(f"{trials_folder.name}.json")  # a base may have a dot in its name
    facts = world().on_main(lambda: tune.read_trial(path))
    if facts is not None:
        work.finished += plan.seconds_of_search(name, rows)
        return tune.from_json(facts, regime, config)
    doing = _searching(name, rows) if plan.searches else f"{name}, {rows:,} rows"
    if _lost(work.folder, name, rows, doing):  # so are its runs
        return TunedRegime(regime, config)
    trials = plan.options.trials if plan.searches else 1
    steps = tune.search_settings(regime, config, work.run_data(rows, seed), trials, spend, trials_folder)
    expected, pace = plan.seconds_of_search(name, rows), plan.seconds_of_step(name, rows)
    found = yield from _showing(work, steps, doing, expected, pace)
    world().on_main(lambda: tune.save_trial(path, tune.to_json(found), trials_folder))
    return found


def reuse_search(work: StudyState, name: str, rows: int, study: Path) -> TunedRegime | None:
    """The rate and size that a study found for a regime, at whatever number of rows; None where it searched none."""
    mine = re.compile(re.escape(name) + r"-r\d+\.json")
    paths = sorted(path for path in (study / "tuning").glob("*.json") if mine.fullmatch(path.name))
    facts = tune.read_trial(paths[-1]) if paths else None
    regime = work.plan.regime(name, rows)
    config = work.plan.config(regime, rows, work.plan.options.first_seed)
    return _elsewhere(tune.from_json(facts, regime, config)) if facts else None


def search_from(plan: RunPlan, name: str, rows: int, found: TunedRegime | None, *, fresh: bool) -> TunedRegime:
    """A regime on these rows at the rate and size that were found; None: its usual ones.

    `fresh`: the search is charged to this run.
    """
    regime = plan.regime(name, rows)
    config = plan.config(regime, rows, plan.options.first_seed)
    if found is None:
        return TunedRegime(regime, config)
    chosen = tune.from_json(tune.to_json(found), regime, config)
    return chosen if fresh else _elsewhere(chosen)


def _elsewhere(chosen: TunedRegime) -> TunedRegime:
    """Where nothing was tried."""
    return replace(chosen, trials=(), flops=0.0, seconds=0.0)


def train_once(
    work: StudyState,
    chosen: TunedRegime,
    rows: int,
    seed: int,
    longer: int = 1,
    folder: Path | None = None,
    expected: Expected | None = None,
) -> Generator[Progress, None, Run]:
    """One run, `longer` times its usual length. `folder`: of the run; None: its own among those of the study.

    Where it does not go as `expected`, the first look that shows it is told.
    """
    name = chosen.regime.name
    chosen = replace(chosen, config=replace(chosen.config, seed=seed, steps=chosen.config.steps * longer))
    run_data, predicted = work.run_data(rows, seed), work.plan.predicted(name, rows, seed, longer)
    folder = folder or work.folder / "runs" / run_id(name, rows, seed, longer)
    fresh = not _finished(folder)
    doing = _training(name, rows, seed, longer)
    seconds, pace = work.plan.seconds_of_run(name, rows, longer), work.plan.seconds_of_step(name, rows)
    lost = _lost(work.folder, name, rows, doing)
    if lost:
        work.finished += seconds
        done = failed_run(name, run_data, folder, lost, chosen)
    else:
        steps = train_run(chosen, run_data, folder, predicted)
        done = yield from _showing(work, steps, doing, seconds, pace, expected)
    _note(work.plan, done, fresh)
    return done


def _showing(
    work: StudyState,
    steps: Generator[Step, None, Value],
    doing: str,
    seconds: float,
    pace: float,
    expected: Expected | None = None,
) -> Generator[Progress, None, Value]:
    """Turn steps, each of `pace` seconds, into progress; give what the steps give in the end."""
    taken = 0
    yield work.progress(doing)
    while True:
        try:
            step = next(steps)
        except StopIteration as stop:
            work.finished += seconds
            value: Value = stop.value
            return value
        taken += 1
        alarm = expected.alarm(step.seen) if expected and step.seen else None
        expected = None if alarm else expected  # once is enough
        yield work.progress(doing, min(taken * pace, seconds), alarm or "")


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
            signals = join_phrases(list(dict.fromkeys(killed)))
            reason = f"the process was killed {len(killed)} times while {words} ({signals})"
            less = "a smaller --micro-batch or --max-length, fewer --rows or --gradient-checkpointing need less"
            return f"{reason}: probably out of memory; {less}" if "SIGKILL" in killed else reason
    return None


def _often_killed(folder: Path, work: str) -> list[str]:
    """The signals that killed the process at this work; none where they are few enough to try it again."""
    killed = world().on_main(lambda: supervise.interrupted_job(folder, work))
    return killed if len(killed) >= supervise.MAX_RESTARTS else []


# --- names and results ------------------------------------------------------------------------------------------------


def _finished(folder: Path) -> bool:
    return world().on_main((folder / "run.json").exists)


def _note(plan: RunPlan, done: Run, fresh: bool) -> None:
    """Into the log, once: not when a finished run is only read back."""
    if fresh and plan.options.log and world().main:
        tokens = None if is_baseline(done.regime) else plan.tokens_of(done.regime)
        log.append(done, plan.base_of(done.regime).name, tokens)
