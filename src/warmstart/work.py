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

from warmstart import cuts, log, supervise, tune
from warmstart.budget import Plan
from warmstart.engine import world
from warmstart.errors import listed
from warmstart.naming import regime_of
from warmstart.needs import constrained, in_time
from warmstart.pace import measure
from warmstart.prefix import Shared
from warmstart.record import Point, Run
from warmstart.regimes import is_baseline
from warmstart.runs import Chosen, given_up, run, run_baseline
from warmstart.stages import Draw, readings
from warmstart.train import Step
from warmstart.wording import figure

TELLING = 0.25  # of the steps: looks before that say little

Value = TypeVar("Value")


@dataclass(frozen=True)
class Progress:
    """How far a study is."""

    doing: str  # in words
    done: float  # share of the whole, 0 to 1
    seconds_left: float | None
    message: str = ""  # something worth a line of its own


@dataclass
class Work:
    """A study being carried out: where it is."""

    plan: Plan
    folder: Path
    shared: Shared
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

    def draw(self, rows: int, seed: int) -> Draw:
        return self.plan.draw(rows, seed, self.shared)


@dataclass(frozen=True)
class Expected:
    """How validation went in a run on fewer rows: a run on more should be no worse at the same part of its way."""

    before: Run
    steps: int  # of the run that is watched
    band: float  # that it may be worse by, in the metric's unit

    def alarm(self, seen: Point) -> str | None:
        """What is wrong with a look; None where nothing is, or where it is too early to tell."""
        share = seen.step / self.steps
        points = self.before.points
        shares = [point.step / self.before.settings["steps"] for point in points]
        if not points or share < max(TELLING, shares[0]):  # it may have learned something else before: the language
            return None
        then = float(np.interp(share, shares, [point.val_score for point in points]))
        worse = (then - seen.val_score) * (1 if self.before.higher_is_better else -1)
        if worse <= self.band:
            return None
        told = f"at {share:.0%} of its steps this run scores {figure(seen.val_score)} on validation rows, the one on"
        return f"{told} {self.before.rows:,} rows scored {figure(then)} there: it is leaving the band of the forecast"


def measured(plan: Plan, folder: Path, *, cut: bool = True) -> Generator[Progress, None, Work]:
    """Measure, predict and, with `cut`, cut to the budget; or take the plan that an earlier beginning left."""
    path = folder / ("plan.json" if cut else "race-plan.json")  # a race may become a comparison
    began = time.perf_counter()
    measured_on: Shared | None = None
    if world().by_main(path.exists):
        plan = cuts.load(plan, path)
    else:
        rows = plan.shared()
        if plan.options.constraints.given:
            plan = yield from _looking(constrained(plan, rows), str)
        if plan.networks:
            measured_on = rows
            yield from _reading(plan, rows)
            lost = [name for name in plan.networks if _often_killed(folder, _measuring(name))]
            plan = in_time((yield from _looking(measure(plan, rows, lost), _measuring)))
            plan = _without(plan, world().by_main(lambda: time.perf_counter() - began))
            plan = cuts.fit(plan) if cut else plan
    world().by_main(lambda: cuts.save(plan, path))
    shared = plan.shared()
    if measured_on is not None and np.array_equal(measured_on.splits.train.numbers, shared.splits.train.numbers):
        shared = measured_on  # the rows were not cut: what was read and stored for the measuring serves the work
    return Work(plan, folder, shared, time.perf_counter() - _spent(folder), planned=plan.seconds())


def _reading(plan: Plan, shared: Shared) -> Generator[Progress, None, None]:
    """Make the tokens of texts that are so many that they are kept."""
    rows = max(plan.sizes)
    draw = plan.draw(rows, plan.options.first_seed, shared)
    for name in plan.networks:
        for read, inputs in readings(plan.regime(name, rows), draw):
            for share in read.keeping(inputs):
                yield Progress(f"making tokens of the texts: {share:.0%}", 0.0, None)


def _spent(folder: Path) -> float:
    """Seconds that took what is finished in a folder: a study that is gone on with has so much less left."""
    runs = (json.loads(path.read_text())["cost"]["seconds"] for path in folder.glob("runs/*/run.json"))
    searches = (json.loads(path.read_text())["seconds"] for path in folder.glob("tuning/*.json"))
    return float(sum(runs) + sum(searches))


def _without(plan: Plan, seconds: float) -> Plan:
    """The same with what planning took out of the budget, of which at least half stays."""
    budget = plan.options.budget
    return replace(plan, options=replace(plan.options, budget=budget - min(seconds, budget / 2)))


def _looking(steps: Generator[str, None, Plan], words: Callable[[str], str]) -> Generator[Progress, None, Plan]:
    """What is being looked at, as progress; gives the plan that comes of it."""
    while True:
        try:
            name = next(steps)
        except StopIteration as stop:
            plan: Plan = stop.value
            return plan
        yield Progress(words(name), 0.0, None)


def baseline(work: Work, name: str, rows: int, seed: int, folder: Path | None = None) -> Generator[Progress, None, Run]:
    """A run in which no network learns. `folder`: of the run; None: its own among those of the study."""
    draw, doing = work.draw(rows, seed), _training(name, rows, seed)
    folder = folder or work.folder / "runs" / run_id(name, rows, seed)
    fresh = not _finished(folder)
    lost = _lost(work.folder, name, rows, doing)
    if lost:
        done = given_up(name, draw, folder, lost)
    elif regime_of(name) == "zero-shot":
        regime = work.plan.regime(name, rows)
        steps = run(Chosen(regime, work.plan.config(regime, rows, seed)), draw, folder)
        done = yield from _showing(work, steps, doing, 0.0, 0.0)
    else:
        yield work.progress(doing)
        done = run_baseline(name, draw, folder)
    _note(work.plan, done, fresh)
    return done


def searched(work: Work, name: str, rows: int, spend: float) -> Generator[Progress, None, Chosen]:
    """The rate, and where it may be chosen the size, for one regime at one number of rows."""
    plan = work.plan
    seed = plan.options.first_seed
    regime = plan.regime(name, rows)
    config = plan.config(regime, rows, seed)
    trials_folder = work.folder / "tuning" / f"{name}-r{rows}"
    path = trials_folder.with_name(f"{trials_folder.name}.json")  # a base may have a dot in its name
    facts = world().by_main(lambda: tune.known(path))
    if facts is not None:
        work.finished += plan.seconds_of_search(name, rows)
        return tune.from_json(facts, regime, config)
    doing = _searching(name, rows) if plan.searches else f"{name}, {rows:,} rows"
    if _lost(work.folder, name, rows, doing):  # so are its runs
        return Chosen(regime, config)
    trials = plan.options.trials if plan.searches else 1
    steps = tune.search(regime, config, work.draw(rows, seed), trials, spend, trials_folder)
    expected, pace = plan.seconds_of_search(name, rows), plan.seconds_of_step(name, rows)
    found = yield from _showing(work, steps, doing, expected, pace)
    world().by_main(lambda: tune.keep(path, tune.to_json(found), trials_folder))
    return found


def searched_before(work: Work, name: str, rows: int, study: Path) -> Chosen | None:
    """The rate and size that a study found for a regime, at whatever number of rows; None where it searched none."""
    mine = re.compile(re.escape(name) + r"-r\d+\.json")
    paths = sorted(path for path in (study / "tuning").glob("*.json") if mine.fullmatch(path.name))
    facts = tune.known(paths[-1]) if paths else None
    regime = work.plan.regime(name, rows)
    config = work.plan.config(regime, rows, work.plan.options.first_seed)
    return _elsewhere(tune.from_json(facts, regime, config)) if facts else None


def as_searched(plan: Plan, name: str, rows: int, found: Chosen | None, *, fresh: bool) -> Chosen:
    """A regime on these rows at the rate and size that were found; None: its usual ones.

    `fresh`: the search is charged to this run.
    """
    regime = plan.regime(name, rows)
    config = plan.config(regime, rows, plan.options.first_seed)
    if found is None:
        return Chosen(regime, config)
    chosen = tune.from_json(tune.to_json(found), regime, config)
    return chosen if fresh else _elsewhere(chosen)


def _elsewhere(chosen: Chosen) -> Chosen:
    """Where nothing was tried."""
    return replace(chosen, trials=(), flops=0.0, seconds=0.0)


def trained(
    work: Work,
    chosen: Chosen,
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
    draw, predicted = work.draw(rows, seed), work.plan.predicted(name, rows, seed, longer)
    folder = folder or work.folder / "runs" / run_id(name, rows, seed, longer)
    fresh = not _finished(folder)
    doing = _training(name, rows, seed, longer)
    seconds, pace = work.plan.seconds_of_run(name, rows, longer), work.plan.seconds_of_step(name, rows)
    lost = _lost(work.folder, name, rows, doing)
    if lost:
        work.finished += seconds
        done = given_up(name, draw, folder, lost, chosen)
    else:
        steps = run(chosen, draw, folder, predicted)
        done = yield from _showing(work, steps, doing, seconds, pace, expected)
    _note(work.plan, done, fresh)
    return done


def _showing(
    work: Work,
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
            reason = f"the process was killed {len(killed)} times while {words} ({listed(list(dict.fromkeys(killed)))})"
            less = "a smaller --micro-batch or --max-length, fewer --rows or --gradient-checkpointing need less"
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
        tokens = None if is_baseline(done.regime) else plan.tokens_of(done.regime)
        log.note(done, plan.base_of(done.regime).name, tokens)


def run_id(name: str, rows: int, seed: int, longer: int = 1) -> str:
    return f"{name}-r{rows}-s{seed}" + (f"-x{longer}" if longer > 1 else "")
