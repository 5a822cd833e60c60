"""Compare: regimes x seeds x rows, within a budget of time.

A comparison is an iterator of `Progress`, so that who runs it can show how far it is; its value is the Comparison.
What is finished stays in the folder, and is not done again.
"""

import json
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from warmstart import tune
from warmstart.comparison import Comparison
from warmstart.data.recognise import Schema
from warmstart.data.split import Rows, Splits
from warmstart.device import precision
from warmstart.errors import InputError
from warmstart.prefix import Shared
from warmstart.record import Run, Trial, write_json
from warmstart.regimes import BASELINES, DEFAULT, REGIMES, Material, Regime, known_regime
from warmstart.runs import Chosen, run, run_baseline
from warmstart.stages import Draw, training
from warmstart.starts import Base, Init, Scratch
from warmstart.tasks import task_for
from warmstart.train import Step, TrainConfig

MEASURED_STEPS = 3  # of each regime, to predict how long it takes
LONGER = 2  # a regime still improving at its end may run twice, then four times as long
FEWEST_ROWS = 100  # the budget cuts no further


@dataclass(frozen=True)
class Options:
    """What is compared, and how thoroughly."""

    regimes: tuple[str, ...] = DEFAULT
    rows: tuple[int, ...] = ()  # training rows; empty: all there are
    seeds: int = 3
    first_seed: int = 0
    trials: int = 3  # learning rates for each regime
    budget: float = 1800.0  # seconds
    worth: float = 0.01  # the smallest relative gain that matters
    length: float = 1.0  # times each regime's own number of steps
    epochs: float | None = None  # None: each regime's own
    lr: float | None = None  # None: searched
    batch_size: int | None = None
    precision: str = "auto"
    init: Init = "default"
    dropout: float | None = None  # None: the base's own
    examples: bool = True  # False: no text of the data is kept for the report
    training: dict[str, Any] = field(default_factory=dict)  # further fields of TrainConfig


@dataclass(frozen=True)
class Problem:
    """What is to be learned, from which rows, with which base."""

    splits: Splits
    schema: Schema
    base: Base
    own: tuple[Regime, ...] = ()  # regimes of the user's own
    caveats: tuple[str, ...] = ()
    noise_floor: float | None = None  # best reachable score, where it is known


@dataclass(frozen=True)
class Progress:
    """How far a comparison is."""

    doing: str  # in words
    done: float  # share of the whole, 0 to 1
    seconds_left: float | None
    message: str = ""  # something worth a line of its own


@dataclass(frozen=True)
class Pace:
    """Seconds that a regime takes here, measured."""

    step: float
    row: float  # evaluating one


T = TypeVar("T")
Events = Generator[Progress, None, Comparison]


@dataclass
class Work:
    """A comparison being carried out."""

    problem: Problem
    options: Options
    folder: Path
    cuts: list[str] = field(default_factory=list)
    paces: dict[tuple[str, int], Pace] = field(default_factory=dict)
    runs: dict[tuple[str, int, int], list[Run]] = field(default_factory=dict)  # (regime, rows, seed) -> lengths tried
    began: float = field(default_factory=time.perf_counter)
    planned: float = 0.0  # seconds
    finished: float = 0.0  # seconds of the plan that are done

    def __post_init__(self) -> None:
        available = len(self.problem.splits.train)
        self.sizes = sorted({min(n, available) for n in self.options.rows or (available,)})
        own = {regime.name for regime in self.problem.own}
        self.names = [name if name in own else known_regime(name) for name in self.options.regimes]

    @cached_property
    def shared(self) -> Shared:
        """All rows that any draw uses."""
        splits = self.problem.splits
        numbers = {n for draw in self._subsets() for n in draw.train.numbers.tolist()}
        mask = np.fromiter((n in numbers for n in splits.train.numbers.tolist()), dtype=bool, count=len(splits.train))
        return Shared(replace(splits, train=splits.train.take(np.flatnonzero(mask))))

    def _subsets(self) -> Iterator[Splits]:
        for seed in self.seeds:
            yield self.problem.splits.subset(max(self.sizes), seed)

    @property
    def seeds(self) -> range:
        return range(self.options.first_seed, self.options.first_seed + self.options.seeds)

    def draw(self, rows: int, seed: int) -> Draw:
        return Draw(self.problem.splits.subset(rows, seed), self.problem.schema, self.shared, seed, self.options.worth)

    def regime(self, name: str, rows: int) -> Regime:
        own = {regime.name: regime for regime in self.problem.own}
        if name in own:
            return own[name]
        return REGIMES[name](Material(self.problem.base, rows, self.options.init, self.options.dropout))

    def config(self, regime: Regime, rows: int, seed: int) -> TrainConfig:
        options, habits = self.options, regime.habits
        batch = options.batch_size or habits.batch(rows)
        if options.epochs is None:
            steps = habits.steps(rows, batch, options.length)
        else:
            steps = max(1, round(options.epochs * rows / batch))
        used = precision(options.precision)
        return TrainConfig(
            steps=steps, lr=options.lr or habits.lr, batch_size=batch, precision=used, seed=seed, **options.training
        )

    def progress(self, doing: str, ahead: float = 0.0, message: str = "") -> Progress:
        """`ahead`: seconds of the plan that the present piece of work has done."""
        done = self.finished + ahead
        share = done / self.planned if self.planned else 0.0
        elapsed = time.perf_counter() - self.began
        left = elapsed * (1 - share) / share if share > 0.02 else (self.planned or None)
        return Progress(doing, min(share, 1.0), left, message)


def compare(problem: Problem, options: Options, folder: Path) -> Events:
    """Run every regime with every seed at every number of rows, and record it in `folder`.

    Raises TrainingError only if nothing at all could be run; a run that diverges is recorded as failed.
    """
    work = Work(problem, options, folder)
    networks = [name for name in work.names if name not in BASELINES]
    yield work.progress("reading the rows")
    if networks:
        yield from _measure(work, networks)
        _fit_into_budget(work, networks)
        work.planned = _predicted(work, networks)
        yield work.progress("planning", message=_plan_words(work, networks))
    for rows in work.sizes:
        for name in work.names:
            if name in BASELINES:
                yield work.progress(f"{name}, {rows:,} rows")
                for seed in work.seeds:
                    folder_of = work.folder / "runs" / f"{name}-r{rows}-s{seed}"
                    work.runs.setdefault((name, rows, seed), []).append(run_baseline(name, work.draw(rows, seed), folder_of))
        yield from _networks(work, networks, rows)
    return _comparison(work)


def _networks(work: Work, names: list[str], rows: int) -> Generator[Progress, None, None]:
    """Search, train, and give more steps to what still improves, while the budget lasts."""
    chosen: dict[str, Chosen] = {}
    dearest = sorted(names, key=lambda name: -_seconds_of_run(work, name, rows))
    for name in dearest:  # the dearest first: what it spends is what the others may spend
        spend = max((c.flops for c in chosen.values()), default=0.0)
        chosen[name] = yield from _search(work, name, rows, spend)
    for seed in work.seeds:
        for name in names:
            yield from _run(work, chosen[name], rows, seed, 1)
    for longer in (LONGER, LONGER**2):
        for name in names:
            yield from _lengthen(work, chosen[name], rows, longer)


def fit_one(problem: Problem, options: Options, folder: Path) -> Generator[Progress, None, Run]:
    """Search a rate for one regime and train it with one seed; the run is `folder` itself."""
    work = Work(problem, replace(options, seeds=1), folder)
    name, rows = work.names[0], max(work.sizes)
    draw = work.draw(rows, options.first_seed)
    if name in BASELINES:
        yield work.progress(f"{name}, {rows:,} rows")
        return run_baseline(name, draw, folder)
    yield from _measure(work, [name])
    work.planned = _predicted(work, [name])
    chosen = yield from _search(work, name, rows, 0.0)
    steps = run(chosen, draw, folder, chosen.regime.habits.looks)
    expected = _seconds_of_run(work, name, rows)
    return (yield from _showing(work, steps, f"{name}, {rows:,} rows", expected, work.paces[name, rows].step))


def _search(work: Work, name: str, rows: int, spend: float) -> Generator[Progress, None, Chosen]:
    regime = work.regime(name, rows)
    seed = work.options.first_seed
    config = work.config(regime, rows, seed)
    path = work.folder / "tuning" / f"{name}-r{rows}.json"
    if path.exists():
        return tune.from_json(json.loads(path.read_text()), regime, config)
    trials = 1 if work.options.lr else work.options.trials
    expected = _seconds_of_search(work, name, rows)
    steps = tune.search(regime, config, work.draw(rows, seed), trials, spend)
    doing = f"{name}, {rows:,} rows: searching its learning rate"
    found: Chosen = yield from _showing(work, steps, doing, expected, work.paces[name, rows].step)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, tune.to_json(found))
    return found


def _run(work: Work, chosen: Chosen, rows: int, seed: int, longer: int) -> Generator[Progress, None, None]:
    name = chosen.regime.name
    suffix = f"-x{longer}" if longer > 1 else ""
    folder = work.folder / "runs" / f"{name}-r{rows}-s{seed}{suffix}"
    config = replace(chosen.config, seed=seed, steps=chosen.config.steps * longer)
    expected = _seconds_of_run(work, name, rows) * longer
    steps = run(replace(chosen, config=config), work.draw(rows, seed), folder, chosen.regime.habits.looks)
    doing = f"{name}, {rows:,} rows, seed {seed}" + (f", {longer} times as long" if longer > 1 else "")
    done: Run = yield from _showing(work, steps, doing, expected, work.paces[name, rows].step)
    work.runs.setdefault((name, rows, seed), []).append(done)
    score = f"{done.metric} {done.test:.3f}" if done.test is not None else f"failed: {done.failed}"
    yield work.progress(doing, message=f"{doing}: {score}, {done.cost.seconds:.0f} s")


def _lengthen(work: Work, chosen: Chosen, rows: int, longer: int) -> Generator[Progress, None, None]:
    """Train a regime that has not converged again, for longer, with every seed, if there is time."""
    name = chosen.regime.name
    before = [work.runs[name, rows, seed][-1] for seed in work.seeds]
    if all(r.converged or r.failed for r in before) or before[0].steps * 2 > longer * chosen.config.steps:
        return
    extra = _seconds_of_run(work, name, rows) * longer * len(before)
    elapsed = time.perf_counter() - work.began
    if elapsed + extra > work.options.budget:
        return
    work.planned += extra
    known = [Trial({"lr": chosen.config.lr}, r.settings["steps"], r.val) for r in before[:1]]
    for seed in work.seeds:
        yield from _run(work, replace(chosen, trials=(*chosen.trials, *known)), rows, seed, longer)


def _showing(
    work: Work, steps: Generator[Step, None, T], doing: str, expected: float, pace: float
) -> Generator[Progress, None, T]:
    """Turn steps into progress; give what the steps give in the end."""
    taken = 0
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            work.finished += expected
            value: T = stop.value
            return value
        taken += 1
        yield work.progress(doing, min(taken * pace, expected))


def _measure(work: Work, names: list[str]) -> Generator[Progress, None, None]:
    """A few real steps and a little evaluation of each regime."""
    for rows in work.sizes:
        draw = work.draw(rows, work.options.first_seed)
        for name in names:
            yield work.progress(f"measuring {name}")
            regime = work.regime(name, rows)
            config = replace(work.config(regime, rows, 0), steps=MEASURED_STEPS + 1)
            marks = []
            steps = training(regime, config, draw, looks=1)
            for _ in steps:
                marks.append(time.perf_counter())
                if len(marks) > MEASURED_STEPS:
                    break
            steps.close()
            pace = (marks[-1] - marks[0]) / (len(marks) - 1)
            work.paces[name, rows] = Pace(pace, pace / config.batch_size / 2.5)


def _seconds_of_run(work: Work, name: str, rows: int) -> float:
    regime = work.regime(name, rows)
    config = work.config(regime, rows, 0)
    pace, splits = work.paces[name, rows], work.problem.splits
    watched = min(len(splits.val), 500) * regime.habits.looks
    return config.steps * pace.step + (watched + len(splits.val) + len(splits.test) + min(rows, 500)) * pace.row


def _seconds_of_search(work: Work, name: str, rows: int) -> float:
    trials = 0 if work.options.lr or work.options.trials < 2 else work.options.trials + 0.5
    config = work.config(work.regime(name, rows), rows, 0)
    pace = work.paces[name, rows]
    return trials * (tune.SHARE * config.steps * pace.step + len(work.problem.splits.val) * pace.row)


def _predicted(work: Work, names: list[str]) -> float:
    return sum(
        _seconds_of_search(work, name, rows) + len(work.seeds) * _seconds_of_run(work, name, rows)
        for rows in work.sizes
        for name in names
    )


def _fit_into_budget(work: Work, names: list[str]) -> None:
    """Cut trials, then seeds, then rows, equally for all, until the prediction fits."""
    asked = work.options

    def left() -> bool:
        return _predicted(work, names) > work.options.budget

    while left() and work.options.trials > 2 and not asked.lr:
        work.options = replace(work.options, trials=work.options.trials - 1)
    while left() and work.options.seeds > 1:
        work.options = replace(work.options, seeds=work.options.seeds - 1)
    if left() and work.options.trials > 1 and not asked.lr:
        work.options = replace(work.options, trials=1)
    before = list(work.sizes)
    while left() and max(work.sizes) > 2 * FEWEST_ROWS:
        _halve_rows(work)
    if work.options.trials < asked.trials:
        tried = f"{work.options.trials} learning rates" if work.options.trials > 1 else "its usual learning rate, untried,"
        work.cuts.append(f"{tried} for each regime instead of {asked.trials}")
    if work.options.seeds < asked.seeds:
        work.cuts.append(f"{work.options.seeds} seeds instead of {asked.seeds}")
    if work.sizes != before:
        work.cuts.append(f"{max(work.sizes):,} training rows instead of {max(before):,}, trained for a proportional time")
    if left():
        work.cuts.append("even so the budget will be exceeded")
    work.__dict__.pop("shared", None)


def _halve_rows(work: Work) -> None:
    """Half the rows, half the steps, the same pace."""
    halved = sorted({max(FEWEST_ROWS, n // 2) for n in work.sizes})
    for (name, rows), pace in list(work.paces.items()):
        work.paces[name, max(FEWEST_ROWS, rows // 2)] = pace
    work.sizes = halved
    work.options = replace(work.options, length=work.options.length / (1 if _long(work) else 2))


def _long(work: Work) -> bool:
    """Whether steps follow from epochs (halving the rows halves them) rather than from the least number of steps."""
    return max(work.sizes) >= 4_000


def _plan_words(work: Work, names: list[str]) -> str:
    runs = len(names) * len(work.seeds) * len(work.sizes)
    ends = time.strftime("%H:%M", time.localtime(time.time() + work.planned))
    flops = sum(
        c.steps * c.batch_size
        for rows in work.sizes
        for name in names
        for c in [work.config(work.regime(name, rows), rows, 0)]
    )
    words = f"{runs} runs of {len(names)} regimes, about {work.planned / 60:.1f} minutes, done at about {ends}, "
    words += f"{flops * len(work.seeds):,} training examples in all"
    return words + (f"; to fit the budget: {'; '.join(work.cuts)}" if work.cuts else "")


def _comparison(work: Work) -> Comparison:
    """Of the lengths tried, each regime's best by validation counts."""
    runs: list[Run] = []
    splits, schema = work.problem.splits, work.problem.schema
    task = task_for(schema, splits)
    for name, rows in dict.fromkeys((name, rows) for name, rows, _ in work.runs):
        tries = [work.runs[name, rows, seed] for seed in work.seeds]
        count = min(len(t) for t in tries)
        means = [_mean_val([t[i] for t in tries], task.higher_is_better) for i in range(count)]
        best = max(range(count), key=lambda i: means[i])
        runs += [t[best] for t in tries]
    if not runs:
        raise InputError("nothing was compared.", "name at least one regime")
    return Comparison(
        runs=tuple(runs),
        task=task.name,
        metric=task.metric,
        higher_is_better=task.higher_is_better,
        units=task.units,
        fingerprint=splits.fingerprint,
        rows={"train": max(work.sizes), "val": len(splits.val), "test": len(splits.test)},
        target=schema.target,
        worth=work.options.worth,
        cuts=tuple(work.cuts),
        caveats=work.problem.caveats,
        noise_floor=work.problem.noise_floor,
    )


def _mean_val(runs: list[Run], higher: bool) -> float:
    values = [r.val for r in runs if r.val is not None and not r.failed]
    if not values:
        return -np.inf
    return float(np.mean(values)) * (1 if higher else -1)
