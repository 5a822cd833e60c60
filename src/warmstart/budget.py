"""Budget: what a comparison would take here, and what is cut, equally for all, so that it fits."""

import json
import time
from collections.abc import Collection, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from warmstart.data.batch import Order
from warmstart.data.inputs import Tokens
from warmstart.data.recognise import Schema
from warmstart.data.split import Rows, Splits
from warmstart.device import precision, reset_peak_memory, resident_memory
from warmstart.engine import world
from warmstart.errors import InputError, TrainingError
from warmstart.memory import Peak, measured_peak
from warmstart.prefix import Shared
from warmstart.record import Array, write_json
from warmstart.regimes import BASELINES, DEFAULT, REGIMES, Material, Regime, known_regime
from warmstart.runs import SAMPLED
from warmstart.stages import FORWARD, Corpus, Draw, training, watched
from warmstart.starts import Base, Init, Scratch
from warmstart.tasks import TASKS, Language
from warmstart.train import TrainConfig
from warmstart.tune import SHARE

MEASURED_STEPS = 4  # of each regime, after one that warms up
MEASURED_SECONDS = 15.0  # for them, unless fewer than two were done by then
WORTHWHILE = 0.9  # of the time before, at most, or a cut of the rows is not made
FEWEST_ROWS = 100  # for training: the budget cuts no further
APART, MOST_SIZES = 4, (4, 3)  # of --rows auto: a factor, and how many, most first
ENOUGH_ROWS = 1_000  # for training: before fewer are taken, texts are read less far
FEWEST_TOKENS = 64  # of a text: the budget lets every model read as many
FEWEST_SCORED = 500  # test rows; an accuracy on them is known to about 4 points
DEAREST = 4.0  # times what a usual row takes: one of the longest, in a step and a half, and scored
SLOW = 5.0  # seconds for a first step, next to which a larger token table does not count
FEW = 64  # rows of each part, to measure on what takes a while for all rows


@dataclass(frozen=True)
class Options:
    """What is compared, and how thoroughly."""

    regimes: tuple[str, ...] = DEFAULT
    rows: tuple[int, ...] | Literal["auto"] = ()  # training rows; empty: all there are; auto: see `spread`
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
    log: bool = True  # whether what runs took is noted for later predictions
    training: dict[str, Any] = field(default_factory=dict)  # further fields of TrainConfig


@dataclass(frozen=True)
class Problem:
    """What is to be learned, from which rows, with which base."""

    splits: Splits
    schema: Schema
    base: Base
    own: tuple[Regime, ...] = ()  # regimes of the user's own
    scratch: Base | None = None  # the architecture to train from random weights; None: the base's own
    general: tuple[str, ...] = ()  # texts on which forgetting is measured; none: what the base itself says
    corpus: Splits | None = None  # texts of the domain; None: the training rows' own
    caveats: tuple[str, ...] = ()
    noise_floor: float | None = None  # best reachable score, where it is known

    def reading(self, max_length: int) -> "Problem":
        """The same with at most so many tokens read of each text, by the base and by what reads as the base does."""
        base = replace(self.base, max_length=max_length)
        scratch = self.scratch and replace(self.scratch, max_length=max_length)
        own = tuple(
            replace(regime, start=replace(regime.start, inputs=base.inputs))
            if isinstance(regime.start, Scratch) and regime.start.inputs == self.base.inputs
            else regime
            for regime in self.own
        )
        return replace(self, base=base, scratch=scratch, own=own)


@dataclass(frozen=True)
class Plan:
    """What will be run: the options after the budget's cuts, and the rows that they come to."""

    problem: Problem
    options: Options
    sizes: tuple[int, ...]
    paces: dict[str, float]  # regime -> seconds to train on a row
    readings: dict[str, float] = field(default_factory=dict)  # regime -> seconds a row to run it through frozen layers
    tokens: dict[int, float] = field(default_factory=dict)  # read of a text at most -> to compute for one, with padding
    peaks: dict[str, Peak] = field(default_factory=dict)  # regime -> memory of its dearest step
    scored: float = 1.0  # share of the test and validation rows
    cuts: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        own = {regime.name for regime in self.problem.own}
        return tuple(dict.fromkeys(n if n in own else known_regime(n) for n in self.options.regimes))

    @property
    def networks(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if name not in BASELINES)

    @cached_property
    def splits(self) -> Splits:
        """Those of the problem, or with fewer rows to score."""
        splits = self.problem.splits
        if self.scored == 1.0:
            return splits
        return replace(splits, val=_share(splits.val, self.scored), test=_share(splits.test, self.scored))

    @cached_property
    def corpus(self) -> Corpus | None:
        splits = self.problem.corpus
        return Corpus(splits, Shared(splits)) if splits else None

    @property
    def seeds(self) -> range:
        return range(self.options.first_seed, self.options.first_seed + self.options.seeds)

    @property
    def searches(self) -> bool:
        """Whether learning rates are tried at all."""
        return self.options.lr is None and self.options.trials > 1

    def regime(self, name: str, rows: int) -> Regime:
        own = {regime.name: regime for regime in self.problem.own}
        language = TASKS[self.problem.schema.task] is Language
        material = Material(
            self.problem.base, rows, self.options.init, self.options.dropout, language, self.problem.scratch
        )
        return own[name] if name in own else REGIMES[name](material)

    def config(self, regime: Regime, rows: int, seed: int) -> TrainConfig:
        options, habits = self.options, regime.habits
        batch = options.batch_size or habits.batch(rows)
        if options.epochs is None:
            steps = habits.steps(rows, batch, options.length)
        else:
            steps = max(1, round(options.epochs * options.length * rows / batch))
        used = precision(options.precision)
        return TrainConfig(
            steps=steps, lr=options.lr or habits.lr, batch_size=batch, precision=used, seed=seed, **options.training
        )

    def shared(self) -> Shared:
        """All rows that any draw uses."""
        splits = self.splits
        drawn = [splits.subset(max(self.sizes), seed).train.numbers for seed in self.seeds]
        used = np.isin(splits.train.numbers, np.concatenate(drawn))
        return Shared(replace(splits, train=splits.train.take(np.flatnonzero(used))))

    def draw(self, rows: int, seed: int, shared: Shared) -> Draw:
        drawn = self.splits.subset(rows, seed)
        return Draw(drawn, self.problem.schema, shared, seed, self.options.worth, self.corpus, self.problem.general)

    # --- seconds ------------------------------------------------------------------------------------------------------

    def seconds_of_step(self, name: str, rows: int) -> float:
        return self.paces[name] * self.config(self.regime(name, rows), rows, 0).batch_size

    def seconds_of_run(self, name: str, rows: int) -> float:
        """One training with its evaluations."""
        config = self.config(self.regime(name, rows), rows, 0)
        return self.paces[name] * config.steps * config.batch_size + self.seconds_of_scoring(name, rows)

    def seconds_of_scoring(self, name: str, rows: int) -> float:
        """The looks at validation rows while it trains, and the scores at its end."""
        regime, splits = self.regime(name, rows), self.splits
        looks = regime.habits.looks
        looked_at = looks * watched(len(splits.val), self.config(regime, rows, 0), looks)
        return self.paces[name] * FORWARD * (looked_at + len(splits.val) + len(splits.test) + min(rows, SAMPLED))

    def seconds_of_search(self, name: str, rows: int) -> float:
        """Every learning rate, and half a chance of one more; before the first, every row through frozen layers."""
        splits = self.splits
        reading = 0.0
        if rows == min(self.sizes):
            drawn = min(len(splits.train), len(self.seeds) * max(self.sizes))
            reading = self.readings.get(name, 0.0) * (drawn + len(splits.val) + len(splits.test))
        if not self.searches:
            return reading
        config = self.config(self.regime(name, rows), rows, 0)
        trained = SHARE * config.steps * config.batch_size
        return reading + (self.options.trials + 0.5) * self.paces[name] * (trained + len(splits.val) * FORWARD)

    def seconds_of_regime(self, name: str) -> float:
        """Its searches and its runs."""
        return sum(
            self.seconds_of_search(name, rows) + len(self.seeds) * self.seconds_of_run(name, rows)
            for rows in self.sizes
        )

    def peak_bytes(self, name: str) -> int | None:
        """Of the process; None: not measured."""
        return self.peaks[name].bytes if name in self.peaks else None

    def predicted(self, name: str, rows: int, seed: int, longer: int = 1) -> dict[str, float] | None:
        """What a run will be held against; None where nothing was measured."""
        if name not in self.paces:
            return None
        seconds = longer * self.seconds_of_run(name, rows)
        if not self.searches and longer == 1 and seed == self.seeds[0]:  # else the search has read all rows before
            seconds += self.seconds_of_search(name, rows)
        known: dict[str, float] = {"seconds": seconds}
        peak = self.peak_bytes(name)
        return known if peak is None else known | {"peak_memory_bytes": peak}

    def tokens_of(self, name: str) -> float | None:
        """To compute for a text, with padding; None for what reads no tokens, or was not measured."""
        limit = _limit(self.regime(name, max(self.sizes)))
        return None if limit is None else self.tokens.get(limit)

    def seconds(self) -> float:
        """Everything."""
        return sum(self.seconds_of_regime(name) for name in self.networks)

    def words(self) -> str:
        """How many runs, until when, at what cost."""
        runs = len(self.networks) * len(self.seeds) * len(self.sizes)
        seconds = self.seconds()
        ends = time.strftime("%H:%M", time.localtime(time.time() + seconds))
        examples = sum(
            len(self.seeds) * config.steps * config.batch_size
            for rows in self.sizes
            for name in self.networks
            for config in [self.config(self.regime(name, rows), rows, 0)]
        )
        kinds = len(self.networks)
        found = f"{runs} run{'s' * (runs > 1)} of {kinds} regime{'s' * (kinds > 1)} "
        found += f"({examples:,} training examples): about "
        found += f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
        return found + f", until about {ends}" + (f"; to fit the budget: {'; '.join(self.cuts)}" if self.cuts else "")


def first_plan(problem: Problem, options: Options) -> Plan:
    """What was asked for, before anything is measured or cut."""
    available = len(problem.splits.train)
    asked = spread(available) if options.rows == "auto" else options.rows or (available,)
    sizes = sorted({min(n, available) for n in asked})
    return Plan(problem, options, tuple(sizes), {})


def spread(available: int) -> tuple[int, ...]:
    """Numbers of training rows for learning curves: four or three, a factor of 4 apart, up to all there are.

    None is below `FEWEST_ROWS`; of 400 to 1,600 rows they lie closer, of fewer there are two, or only all.

    >>> spread(24_000), spread(1_200), spread(300), spread(150)
    ((375, 1500, 6000, 24000), (100, 346, 1200), (100, 300), (150,))
    """
    for count in MOST_SIZES:
        if available // APART ** (count - 1) >= FEWEST_ROWS:
            return tuple(available // APART**n for n in reversed(range(count)))
    if available >= 4 * FEWEST_ROWS:
        return FEWEST_ROWS, round((FEWEST_ROWS * available) ** 0.5), available
    return (FEWEST_ROWS, available) if available >= 2 * FEWEST_ROWS else (available,)


def measure(plan: Plan, shared: Shared, lost: Collection[str] = ()) -> Generator[str, None, Plan]:
    """A few real steps of each regime, yielding the name of each before; gives the plan with its paces.

    The `lost` ones, which will not be run, are not measured: they take no time.
    """
    paces = dict.fromkeys(lost, 0.0)
    readings: dict[str, float] = {}
    tokens: dict[int, float] = {}
    peaks: dict[str, Peak] = {}
    rows = max(plan.sizes)
    draw = plan.draw(rows, plan.options.first_seed, shared)
    few = _few(draw)
    for name in (name for name in plan.networks if name not in lost):
        yield name
        regime = plan.regime(name, rows)
        config = replace(plan.config(regime, rows, draw.seed), steps=MEASURED_STEPS + 2)
        measured_on, began, taken = few, time.perf_counter(), 0
        steps = training(regime, config, few, looks=1)
        with suppress(TrainingError):  # a rate that diverges is for the run itself to record
            next(steps)
            first = _since(began)
            if world().most(few.shared.stores)[0]:  # computed once: for all rows, it may take minutes
                readings[name] = first / len(few.shared)
            elif first < SLOW:  # the words of a few rows are few, and so are the rows of the token table to train
                steps.close()
                measured_on, steps = draw, training(regime, config, draw, looks=1)
                next(steps)
            began = time.perf_counter()
            for taken, _ in enumerate(steps, 1):
                if taken == MEASURED_STEPS or (taken >= 2 and _since(began) > MEASURED_SECONDS):
                    break
        paces[name] = _since(began) / (max(taken, 1) * config.batch_size)
        steps.close()
        limit = _limit(regime)
        if limit:
            of_these = _tokens(measured_on, regime, config, limit)[1 : taken + 1]
            tokens |= {n: _tokens(draw, regime, config, n).mean() for n in (limit, *_shorter(limit))}
            paces[name] *= float(tokens[limit] / of_these.mean()) if taken else 1.0
        few = replace(few, shared=Shared(few.splits))
        affordable = max(2, int(MEASURED_SECONDS / max(DEAREST * paces[name], 1e-9)))
        with suppress(TrainingError):
            peak = measured_peak(regime, config, draw, affordable) if world().size == 1 else None
            peaks |= {name: peak} if peak else {}
    reset_peak_memory()  # gives back what is free, as every run does at its beginning
    held = max((resident_memory() or 0, *(peak.before for peak in peaks.values())))
    peaks = {name: peak.from_(held) for name, peak in peaks.items()}
    return replace(plan, paces=paces, readings=readings, tokens=tokens, peaks=peaks)


def _limit(regime: Regime) -> int | None:
    """Tokens that the regime reads of a text at most; None where it reads something else."""
    inputs = regime.start.inputs
    return inputs.max_length if isinstance(inputs, Tokens) else None


def _shorter(limit: int) -> list[int]:
    """Half of this limit, a quarter ..."""
    return [limit >> n for n in range(1, limit.bit_length()) if limit >> n >= FEWEST_TOKENS]


def _tokens(draw: Draw, regime: Regime, config: TrainConfig, limit: int) -> Array:
    """To compute for a row, with padding, in each of the first batches: an epoch of them, or as many as are measured.

    Batches are of similar length, so that a few of them may be all short or all long.
    """
    train = draw.splits.train
    examples = draw.shared.examples(draw.task.reads(regime.start.inputs), train, draw.task.targets(train))
    order, sizes = Order(examples.lengths, config.batch_size, config.seed), np.minimum(examples.sizes(), limit)
    epochs = 1 + MEASURED_STEPS // order.per_epoch
    return np.array([sizes[batch].max() for epoch in range(epochs) for batch in order.epoch(epoch)])


def _since(began: float) -> float:
    """Seconds, by the main process's clock: all have to decide alike."""
    return world().by_main(lambda: time.perf_counter() - began)


def _few(draw: Draw) -> Draw:
    """Some of a draw's rows."""
    parts = {name: getattr(draw.splits, name) for name in ("train", "val", "test")}
    some = {name: part.take(np.arange(min(len(part), FEW))) for name, part in parts.items()}
    splits = replace(draw.splits, **some)
    return replace(draw, splits=splits, shared=Shared(splits))


def fit(plan: Plan) -> Plan:
    """Cut trials, then seeds, then rows and what is read of texts, equally for all, until it is predicted to fit."""
    asked = plan
    for smaller in _smaller(plan):
        if plan.seconds() <= plan.options.budget:
            break
        if smaller.sizes != plan.sizes and smaller.seconds() > WORTHWHILE * plan.seconds():
            break  # scoring costs more than training, and cannot be cut: fewer training rows would save nothing
        plan = smaller
    return replace(plan, cuts=_said(asked, plan))


def _smaller(plan: Plan) -> Iterator[Plan]:
    """The plan with less and less: two trials, one seed, no search, then half the rows again and again.

    Of the rows to train on and the rows to score, those are halved that take more of the time. Before few are left to
    train on, less is read of each text: its beginning tells the most, and half the tokens take half the time.
    """
    while plan.searches and plan.options.trials > 2:
        plan = replace(plan, options=replace(plan.options, trials=plan.options.trials - 1))
        yield plan
    while plan.options.seeds > 1:
        plan = replace(plan, options=replace(plan.options, seeds=plan.options.seeds - 1))
        yield plan
    if plan.searches:
        plan = replace(plan, options=replace(plan.options, trials=1))
        yield plan
    while True:
        runs = [(name, rows) for name in plan.networks for rows in plan.sizes]
        scoring = sum(plan.seconds_of_scoring(*run) for run in runs)
        if 2 * scoring > sum(plan.seconds_of_run(*run) for run in runs) and len(plan.splits.test) >= 2 * FEWEST_SCORED:
            plan = replace(plan, scored=plan.scored / 2)
        elif max(plan.sizes) < 2 * ENOUGH_ROWS and (shortened := _shortened(plan)):
            plan = shortened
        elif max(plan.sizes) >= 2 * FEWEST_ROWS:
            plan = _half(plan)
        else:
            return
        yield plan


def _share(rows: Rows, share: float) -> Rows:
    """This share of the rows, spread over all of them."""
    count = max(1, round(share * len(rows)))
    return rows.take(np.arange(count) * len(rows) // count)


def _half(plan: Plan) -> Plan:
    """Half the rows, and half the steps of every regime, whether they follow from epochs or from the least number."""
    sizes = tuple(sorted({max(FEWEST_ROWS, n // 2) for n in plan.sizes}))
    halved = replace(plan, sizes=sizes)
    rows, fewer = max(plan.sizes), max(sizes)
    before, after = (
        sum(p.config(p.regime(name, n), n, 0).steps for name in p.networks) for p, n in ((plan, rows), (halved, fewer))
    )
    length = plan.options.length * min(1.0, 0.5 * before / max(after, 1))
    return replace(halved, options=replace(plan.options, length=length))


def _shortened(plan: Plan) -> Plan | None:
    """With so many fewer tokens read of each text that it is worth it; None where that would leave too few."""
    limit = plan.problem.base.inputs.max_length
    worth = (n for n in _shorter(limit) if n in plan.tokens and plan.tokens[n] <= WORTHWHILE * plan.tokens[limit])
    fewer = next(worth, None)
    if fewer is None:
        return None
    share = plan.tokens[fewer] / plan.tokens[limit]
    reading = {name for name in plan.networks if _limit(plan.regime(name, max(plan.sizes))) == limit}
    paces, readings = (
        {name: seconds * (share if name in reading else 1.0) for name, seconds in known.items()}
        for known in (plan.paces, plan.readings)
    )
    return replace(plan, problem=plan.problem.reading(fewer), paces=paces, readings=readings)


def _said(asked: Plan, plan: Plan) -> tuple[str, ...]:
    cuts = []
    if plan.searches and plan.options.trials < asked.options.trials:
        cuts.append(f"{plan.options.trials} learning rates tried for each regime instead of {asked.options.trials}")
    if asked.searches and not plan.searches:
        cuts.append("each regime at its usual learning rate, none tried")
    if plan.options.seeds < asked.options.seeds:
        cuts.append(f"{plan.options.seeds} seed{'s' * (plan.options.seeds > 1)} instead of {asked.options.seeds}")
    if plan.sizes != asked.sizes:
        cuts.append(f"{max(plan.sizes):,} training rows instead of {max(asked.sizes):,}, and steps in proportion")
    limit, before = (p.problem.base.inputs.max_length for p in (plan, asked))
    if limit < before:
        share = plan.tokens[limit] / plan.tokens[before]
        cuts.append(f"{limit} tokens read of a text at most instead of {before}: {share:.0%} of the work for each")
    if plan.scored < 1.0:
        cuts.append(f"{len(plan.splits.test):,} test rows scored instead of {len(asked.splits.test):,}")
    if plan.seconds() > plan.options.budget:
        cuts.append("even so it will take longer than the budget")
    return tuple(cuts)


def save(plan: Plan, path: Path) -> None:
    """Keep the cuts, so that a study that is resumed goes on with the same ones."""
    kept: dict[str, Any] = {name: getattr(plan.options, name) for name in ("seeds", "trials", "length")}
    facts = {
        "sizes": plan.sizes,
        "paces": plan.paces,
        "readings": plan.readings,
        "tokens": list(plan.tokens.items()),
        "peaks": plan.peaks,
        "max_length": plan.problem.base.max_length,
        "scored": plan.scored,
        "cuts": plan.cuts,
        "fingerprint": plan.problem.splits.fingerprint,
    }
    write_json(path, kept | facts)


def load(asked: Plan, path: Path) -> Plan:
    """The plan that `save` kept. Raises InputError where the rows are no longer those it was made for."""
    facts = json.loads(path.read_text())
    if facts["fingerprint"] != asked.problem.splits.fingerprint:
        raise InputError(
            f"the data has changed since {path.parent} was begun (fingerprint {facts['fingerprint']}, "
            f"now {asked.problem.splits.fingerprint}).",
            "restore the data, or start a new study with another --out",
        )
    options = replace(asked.options, seeds=facts["seeds"], trials=facts["trials"], length=facts["length"])
    known = {name: facts[name] for name in ("paces", "readings", "scored")}
    known["peaks"] = {name: Peak(*peak) for name, peak in facts.get("peaks", {}).items()}
    known |= {"tokens": dict(facts["tokens"]), "sizes": tuple(facts["sizes"]), "cuts": tuple(facts["cuts"])}
    return replace(asked, problem=asked.problem.reading(facts["max_length"]), options=options, **known)
