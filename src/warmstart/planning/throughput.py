"""Throughput: how long does a row take here, and how much memory? Measured in a few steps of each regime."""

import time
from collections.abc import Collection, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from warmstart.data.features.term_inputs import VOCABULARY_ROWS
from warmstart.errors import TrainingError
from warmstart.models.evaluate import EVALUATION_BATCH
from warmstart.planning.computed_cost import (
    COSTED_ROWS,
    MOST_STEPS,
    computed_throughput,
    tokens_by_limit,
    tokens_of_batches,
)
from warmstart.planning.estimates import measuring
from warmstart.planning.memory_probe import PeakMemory, measure_step
from warmstart.planning.run_plan import RunPlan, token_limit
from warmstart.regimes.regimes import Regime
from warmstart.runtime.device import reset_peak_memory, resident_memory
from warmstart.runtime.distributed import world
from warmstart.training.config import TrainConfig
from warmstart.training.event import Event
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.run_data import RunData
from warmstart.training.stages import FORWARD_SHARE, train_stages

MEASURED_STEPS = 4  # of each regime, at least, after one that warms up; the later half of them counts
ENOUGH_SECONDS = 1.5  # for as many more steps as are quick: each new length of a batch takes longer once, so that the
# second to fifth step of MiniLM in bf16 took a third more than usual ones
MEASURED_SECONDS = 15.0  # for all, unless fewer than two were done by then
LONGEST_ROWS = 5.0  # times what a usual row takes: one of the longest, in two steps, and scored
READS_TOKENS = "tokens"  # what regimes read whose time is much the same for the same arithmetic
MIN_MEASURED_ROWS = 2  # of a step
SLOW_SECONDS = 5.0  # seconds for a first step, next to which a larger token table does not count
SHORT_MEASUREMENT_ROWS = 64  # rows of each part, to measure on what takes a while for all rows
MEASURING_SHARE = 0.15  # of the budget, for all regimes together; what does not fit is computed from those that do
BATCHES_MEASURED = 8  # that measuring a regime takes as long as, about: its steps, and those on the longest rows


def measure_throughput(
    plan: RunPlan, shared: SharedData, lost: Collection[str] = (), allowed: float | None = None
) -> Generator[Event, None, RunPlan]:
    """A few real steps of each regime, the cheapest first, with an event before each; returns the plan with the
    measurements.

    All of it takes about `allowed` seconds (default: a share of the budget). Steps have fewer rows where whole batches
    would take longer; what is too slow even for two rows is computed, at the speed of what was measured. The `lost`
    regimes, which will not run, are not measured.
    """
    allowed = MEASURING_SHARE * plan.options.budget if allowed is None else allowed
    computed = computed_throughput(plan, shared, (*lost, *(regime.name for regime in plan.problem.own)))
    started = time.perf_counter()
    measurements = _Measurements(plan, shared, computed, lost)
    waiting = measurements.cheapest_first(name for name in plan.networks if name not in lost)
    too_slow: list[str] = []
    for place, name in enumerate(waiting):
        left = max(allowed - _since(started), 0.0) / (len(waiting) - place)
        batch = measurements.affordable_batch(name, left)
        if batch is None:
            too_slow.append(name)
            continue
        yield Event(measuring(name))
        measurements.measure(name, batch, left)
    for name in too_slow:
        measurements.compute(name)
    return measurements.plan_with_all()


class _Measurements:
    """What was measured of the regimes of a plan so far, by their names."""

    def __init__(self, plan: RunPlan, shared: SharedData, computed: RunPlan, lost: Collection[str]):
        self.plan, self.computed = plan, computed
        self.rows = max(plan.sizes)
        self.whole_data = plan.run_data(self.rows, plan.options.first_seed, shared)
        self.run_data = self.whole_data.some(COSTED_ROWS)
        self.once = computed.prefix_seconds  # what frozen layers take for a row, once for all runs
        self.costs = {name: cost + self.once.get(name, 0.0) for name, cost in computed.seconds_per_row.items()}
        # seconds here for one of the reference device: of the last regime that reads tokens, and of each that does not
        self.speeds: dict[str, float] = {}
        self.seconds_per_row = dict.fromkeys(lost, 0.0)
        self.prefix_seconds: dict[str, float] = {}
        self.tokens: dict[str, dict[int, float]] = {}
        self.memory_peaks: dict[str, PeakMemory] = {}
        self.forward_shares: dict[str, float] = {}
        self.answers: dict[str, float] = {}

    def cheapest_first(self, names: Iterable[str]) -> list[str]:
        return sorted(names, key=lambda name: self.costs.get(name, 0.0))

    def affordable_batch(self, name: str, seconds: float) -> int | None:
        """Rows of a step, so that measuring takes about these seconds. None: too slow even for the fewest."""
        regime = self.plan.regime(name, self.rows)
        whole = self.plan.config(regime, self.rows, self.run_data.seed).batch_size
        speed = self.speeds.get(_kind(regime))
        a_row = (1.0 if speed is None else speed) * self.costs.get(name, 0.0)
        fitting = seconds / (BATCHES_MEASURED * max(a_row, 1e-12))
        if speed is not None and fitting < MIN_MEASURED_ROWS:
            return None
        return max(MIN_MEASURED_ROWS, min(whole, int(min(fitting, whole))))

    def measure(self, name: str, batch: int, left: float) -> None:
        """Time steps of so many rows, then the largest step of the regime, in about the seconds that are left."""
        regime, limit = self.plan.regime(name, self.rows), token_limit(self.plan.regime(name, self.rows))
        usual = self.plan.config(regime, self.rows, self.run_data.seed)
        fewer = 2 * batch if batch < usual.batch_size else SHORT_MEASUREMENT_ROWS
        few = self.run_data.some(min(SHORT_MEASUREMENT_ROWS, fewer))
        if limit is None:
            self.prefix_seconds[name] = _encoding_seconds(self.run_data, regime, self.plan)
        config = replace(usual, steps=_most_steps(regime) + 2, batch_size=batch)
        timed = _time_steps(regime, config, few, self.run_data, left)
        if timed.prefix_seconds is not None:
            self.prefix_seconds[name] = timed.prefix_seconds
        early = timed.taken // 2 if len(regime.stages) == 1 else 0  # these are slower
        later = max(timed.taken - early, 1)
        self.seconds_per_row[name] = (timed.ends[-1] - timed.ends[early]) / (later * batch)
        if limit:
            of_these = tokens_of_batches(timed.rows, regime, config, limit)[1 + early : 1 + timed.taken]
            self.tokens[name] = tokens_by_limit(self.plan, self.run_data, regime, limit)
            self.seconds_per_row[name] *= float(self.tokens[name][limit] / of_these.mean()) if timed.taken else 1.0
        if self.costs.get(name, 0.0) > 0 and name not in self.once:  # whose first step counts, which is slow
            self.speeds[_kind(regime)] = self.seconds_per_row[name] / self.costs[name]
        self._measure_largest_step(regime, left)

    def _measure_largest_step(self, regime: Regime, left: float) -> None:
        """Its memory, and what scoring and answering take, where that fits into the seconds that are left."""
        name, seconds = regime.name, max(self.seconds_per_row[regime.name], 1e-9)
        a_row = LONGEST_ROWS * seconds
        affordable = max(2, int(min(MEASURED_SECONDS, left) / a_row))
        scoring = a_row * EVALUATION_BATCH * self.computed.forward_shares.get(name, FORWARD_SHARE)
        if world().size > 1 or scoring + 2 * a_row > max(2 * left, ENOUGH_SECONDS):
            return
        searched = self.run_data if token_limit(regime) is None else self.whole_data  # whose longest texts decide
        with suppress(TrainingError):
            config = self.plan.config(regime, self.rows, self.run_data.seed)
            found = measure_step(regime, config, searched, affordable)
            self.memory_peaks |= {name: found.peak} if found.peak else {}
            self.forward_shares[name] = found.scoring * _scored_size(self.run_data, regime) / seconds
            self.answers[name] = found.answer

    def compute(self, name: str) -> None:
        """What was computed for a regime, at the speed of the regimes that were measured."""
        speed, computed = self.speeds[READS_TOKENS], self.computed
        self.seconds_per_row[name] = speed * computed.seconds_per_row[name]
        self.prefix_seconds |= {name: speed * self.once[name]} if name in self.once else {}
        self.answers |= {name: speed * computed.answers[name]} if name in computed.answers else {}
        self.tokens |= {name: computed.tokens[name]} if name in computed.tokens else {}
        self.forward_shares[name] = computed.forward_shares[name]

    def plan_with_all(self) -> RunPlan:
        reset_peak_memory()  # gives back what is free, as every run does at its beginning
        held = max((resident_memory() or 0, *(peak.before for peak in self.memory_peaks.values())))
        return replace(
            self.plan,
            seconds_per_row=self.seconds_per_row,
            prefix_seconds=self.prefix_seconds,
            tokens=self.tokens,
            memory_peaks={name: peak.from_(held) for name, peak in self.memory_peaks.items()},
            forward_shares=self.forward_shares,
            answers=self.answers,
        )


@dataclass
class _TimedSteps:
    """The steps of a regime that were timed, after one that warms up."""

    rows: RunData  # which they were taken on
    ends: list[float] = field(default_factory=lambda: [0.0])  # seconds: of the first step, and of each that is timed
    prefix_seconds: float | None = None  # seconds a row through frozen layers, where that is computed once

    @property
    def taken(self) -> int:
        return len(self.ends) - 1


def _time_steps(regime: Regime, config: TrainConfig, few: RunData, run_data: RunData, left: float) -> _TimedSteps:
    """Steps until their time is known well enough, or the seconds that are left are over.

    The first is taken on a few rows, the others on more of them if it was quick.
    """
    timed, most, began = _TimedSteps(few), _most_steps(regime), time.perf_counter()
    steps = train_stages(regime, config, few, evaluations=1)
    with suppress(TrainingError):  # a rate that diverges is for the run itself to record
        next(steps)
        first = _since(began)
        if world().all_reduce_max(few.shared.stores)[0]:  # computed once: for all rows, it may take minutes
            timed.prefix_seconds = _reading_seconds(few)
        elif first < SLOW_SECONDS:  # the words of a few rows are few, and so are the rows of the token table to train
            steps.close()
            timed.rows, steps = run_data, train_stages(regime, config, run_data, evaluations=1)
            next(steps)
        began = time.perf_counter()
        for taken, _ in enumerate(steps, 1):
            timed.ends.append(_since(began))
            enough = min(ENOUGH_SECONDS if taken >= MEASURED_STEPS else MEASURED_SECONDS, left)
            if taken == most or (taken >= 2 and timed.ends[-1] > enough):
                break
    steps.close()
    return timed


def _most_steps(regime: Regime) -> int:
    """Steps that are timed at most: few reach from one stage into the next."""
    return MOST_STEPS if len(regime.stages) == 1 else MEASURED_STEPS


def _kind(regime: Regime) -> str:
    """Regimes of one kind take much the same time for the same arithmetic."""
    return READS_TOKENS if token_limit(regime) is not None else regime.name


def _scored_size(run_data: RunData, regime: Regime) -> float:
    """Mean number of tokens, or features, of a scored row."""
    reads, splits = run_data.task.reads(run_data.fitted(regime).start.inputs), run_data.splits
    parts = (
        run_data.shared.examples(reads, rows, run_data.task.targets(rows)).sizes() for rows in (splits.val, splits.test)
    )
    return float(np.concatenate(list(parts)).mean())


def _reading_seconds(run_data: RunData) -> float:
    """Seconds per row through frozen layers, measured by the main process, so that all processes decide alike."""
    return world().on_main(lambda: run_data.shared.reading_seconds / len(run_data.shared))


def _since(began: float) -> float:
    """Seconds elapsed on the main process's clock, so that all processes decide alike."""
    return world().on_main(lambda: time.perf_counter() - began)


def _encoding_seconds(run_data: RunData, regime: Regime, plan: RunPlan) -> float:
    """Seconds per row to build the vocabulary and to encode every row of the study, once for all runs."""
    began = time.perf_counter()
    fitted = run_data.fitted(regime)
    fit = time.perf_counter() - began
    run_data.shared.encoded(run_data.task.reads(fitted.start.inputs))
    encode = (time.perf_counter() - began - fit) / len(run_data.shared)
    drawn = min(max(plan.sizes), VOCABULARY_ROWS) / len(run_data.splits.train)
    return world().on_main(lambda: encode + fit * drawn / len(plan.splits.train))
