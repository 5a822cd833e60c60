"""Throughput: how long does a row take here, and how much memory? Measured in a few steps of each regime."""

import time
from collections.abc import Collection, Generator
from contextlib import suppress
from dataclasses import replace

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
    # seconds here for one of the reference device: of the last regime that reads tokens, and of each that does not
    speeds: dict[str, float] = {}
    computed = computed_throughput(plan, shared, (*lost, *(regime.name for regime in plan.problem.own)))
    once = computed.prefix_seconds
    started = time.perf_counter()
    costs = {name: seconds + once.get(name, 0.0) for name, seconds in computed.seconds_per_row.items()}
    waiting = sorted((name for name in plan.networks if name not in lost), key=lambda name: costs.get(name, 0.0))
    untimed: list[str] = []
    seconds_per_row = dict.fromkeys(lost, 0.0)
    prefix_seconds: dict[str, float] = {}
    tokens: dict[str, dict[int, float]] = {}
    memory_peaks: dict[str, PeakMemory] = {}
    forward_shares: dict[str, float] = {}
    answers: dict[str, float] = {}
    rows = max(plan.sizes)
    whole_data = plan.run_data(rows, plan.options.first_seed, shared)
    run_data = whole_data.some(COSTED_ROWS)
    few = run_data.some(SHORT_MEASUREMENT_ROWS)
    for place, name in enumerate(waiting):
        left = max(allowed - _since(started), 0.0) / (len(waiting) - place)
        regime = plan.regime(name, rows)
        whole = plan.config(regime, rows, run_data.seed).batch_size
        kind = READS_TOKENS if token_limit(regime) is not None else name
        fitting = left / (BATCHES_MEASURED * max(speeds.get(kind, 1.0) * costs.get(name, 0.0), 1e-12))
        if kind in speeds and fitting < MIN_MEASURED_ROWS:
            untimed.append(name)
            continue
        batch = max(MIN_MEASURED_ROWS, min(whole, int(min(fitting, whole))))
        if batch < whole:
            few = run_data.some(min(SHORT_MEASUREMENT_ROWS, 2 * batch))
        yield Event(measuring(name))
        if token_limit(regime) is None:
            prefix_seconds[name] = _encoding_seconds(run_data, regime, plan)
        most = MOST_STEPS if len(regime.stages) == 1 else MEASURED_STEPS  # few reach from one stage into the next
        config = replace(plan.config(regime, rows, run_data.seed), steps=most + 2, batch_size=batch)
        measured_on, began, ends = few, time.perf_counter(), [0.0]
        steps = train_stages(regime, config, few, evaluations=1)
        with suppress(TrainingError):  # a rate that diverges is for the run itself to record
            next(steps)
            first = _since(began)
            if world().all_reduce_max(few.shared.stores)[0]:  # computed once: for all rows, it may take minutes
                prefix_seconds[name] = _reading_seconds(few)
            elif (
                first < SLOW_SECONDS
            ):  # the words of a few rows are few, and so are the rows of the token table to train
                steps.close()
                measured_on, steps = run_data, train_stages(regime, config, run_data, evaluations=1)
                next(steps)
            began = time.perf_counter()
            for taken, _ in enumerate(steps, 1):
                ends.append(_since(began))
                enough = min(ENOUGH_SECONDS if taken >= MEASURED_STEPS else MEASURED_SECONDS, left)
                if taken == most or (taken >= 2 and ends[-1] > enough):
                    break
        taken = len(ends) - 1
        early = taken // 2 if len(regime.stages) == 1 else 0
        seconds_per_row[name] = (ends[-1] - ends[early]) / (max(taken - early, 1) * config.batch_size)
        steps.close()
        limit = token_limit(regime)
        if limit:
            of_these = tokens_of_batches(measured_on, regime, config, limit)[1 + early : 1 + taken]
            tokens[name] = tokens_by_limit(plan, run_data, regime, limit)
            seconds_per_row[name] *= float(tokens[name][limit] / of_these.mean()) if taken else 1.0
        few = run_data.some(SHORT_MEASUREMENT_ROWS)
        if costs.get(name, 0.0) > 0 and name not in once:  # whose first step counts, which is slow
            speeds[kind] = seconds_per_row[name] / costs[name]
        a_row = LONGEST_ROWS * max(seconds_per_row[name], 1e-9)
        affordable = max(2, int(min(MEASURED_SECONDS, left) / a_row))
        scoring = a_row * EVALUATION_BATCH * computed.forward_shares.get(name, FORWARD_SHARE)
        with suppress(TrainingError):
            if world().size == 1 and scoring + 2 * a_row <= max(2 * left, ENOUGH_SECONDS):
                searched = run_data if limit is None else whole_data  # whose longest texts decide
                found = measure_step(regime, plan.config(regime, rows, run_data.seed), searched, affordable)
                memory_peaks |= {name: found.peak} if found.peak else {}
                forward_shares[name] = found.scoring * _scored_size(run_data, regime) / max(seconds_per_row[name], 1e-9)
                answers[name] = found.answer
    for name in untimed:
        seconds_per_row[name] = speeds[READS_TOKENS] * computed.seconds_per_row[name]
        prefix_seconds |= {name: speeds[READS_TOKENS] * once[name]} if name in once else {}
        answers |= {name: speeds[READS_TOKENS] * computed.answers[name]} if name in computed.answers else {}
        tokens |= {name: computed.tokens[name]} if name in computed.tokens else {}
    forward_shares = {name: computed.forward_shares[name] for name in untimed} | forward_shares
    reset_peak_memory()  # gives back what is free, as every run does at its beginning
    held = max((resident_memory() or 0, *(peak.before for peak in memory_peaks.values())))
    memory_peaks = {name: peak.from_(held) for name, peak in memory_peaks.items()}
    return replace(
        plan,
        seconds_per_row=seconds_per_row,
        prefix_seconds=prefix_seconds,
        tokens=tokens,
        memory_peaks=memory_peaks,
        forward_shares=forward_shares,
        answers=answers,
    )


def _scored_size(run_data: RunData, regime: Regime) -> float:
    """Mean number of tokens, or features, of a scored row."""
    reads, splits = run_data.task.reads(run_data.fitted(regime).start.inputs), run_data.splits
    parts = (
        run_data.shared.examples(reads, rows, run_data.task.targets(rows)).sizes() for rows in (splits.val, splits.test)
    )
    return float(np.concatenate(list(parts)).mean())


def _reading_seconds(run_data: RunData) -> float:
    """Seconds a row to run it through frozen layers, as measured by the main process: all must decide alike."""
    return world().on_main(lambda: run_data.shared.reading_seconds / len(run_data.shared))


def _since(began: float) -> float:
    """Seconds elapsed on the main process's clock: all processes must decide alike."""
    return world().on_main(lambda: time.perf_counter() - began)


def _encoding_seconds(run_data: RunData, regime: Regime, plan: RunPlan) -> float:
    """Seconds a row to find the terms of training rows, and to encode every row of the study, once for all runs."""
    began = time.perf_counter()
    fitted = run_data.fitted(regime)
    fit = time.perf_counter() - began
    run_data.shared.encoded(run_data.task.reads(fitted.start.inputs))
    encode = (time.perf_counter() - began - fit) / len(run_data.shared)
    drawn = min(max(plan.sizes), VOCABULARY_ROWS) / len(run_data.splits.train)
    return world().on_main(lambda: encode + fit * drawn / len(plan.splits.train))
