"""Throughput: how long does a row take here, and how much memory? Measured in a few steps of each regime."""

import time
from collections.abc import Collection, Generator
from contextlib import suppress
from dataclasses import replace

import numpy as np

from warmstart.errors import InputError, TrainingError
from warmstart.planning.estimates import measuring
from warmstart.planning.memory_probe import PeakMemory, measure_step
from warmstart.planning.run_plan import RunPlan, shorter_limits, token_limit
from warmstart.regimes.regimes import Regime
from warmstart.runtime.device import reset_peak_memory, resident_memory
from warmstart.runtime.distributed import world
from warmstart.training.config import TrainConfig
from warmstart.training.event import Event
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.run_data import RunData
from warmstart.training.stages import train_stages
from warmstart.types import Array

MEASURED_STEPS = 4  # of each regime, at least, after one that warms up; the later half of them counts
MOST_STEPS, ENOUGH_SECONDS = 30, 1.5  # as many more as are quick: each new length of a batch takes longer once, so that
# the second to fifth step of MiniLM in bf16 took a third more than usual ones
MEASURED_SECONDS = 15.0  # for all, unless fewer than two were done by then
LONGEST_ROWS = 5.0  # times what a usual row takes: one of the longest, in two steps, and scored
SLOW_SECONDS = 5.0  # seconds for a first step, next to which a larger token table does not count
SHORT_MEASUREMENT_ROWS = 64  # rows of each part, to measure on what takes a while for all rows


def measure_throughput(
    plan: RunPlan, shared: SharedData, lost: Collection[str] = ()
) -> Generator[Event, None, RunPlan]:
    """A few real steps of each regime, with an event before each; returns the plan with the measurements.

    The `lost` regimes, which will not run, are not measured.
    """
    seconds_per_row = dict.fromkeys(lost, 0.0)
    prefix_seconds: dict[str, float] = {}
    tokens: dict[str, dict[int, float]] = {}
    longest = max(base.inputs.max_length for base in plan.problem.bases)
    memory_peaks: dict[str, PeakMemory] = {}
    forward_shares: dict[str, float] = {}
    answers: dict[str, float] = {}
    rows = max(plan.sizes)
    run_data = plan.run_data(rows, plan.options.first_seed, shared)
    few = _few(run_data)
    for name in (name for name in plan.networks if name not in lost):
        yield Event(measuring(name))
        regime = plan.regime(name, rows)
        most = MOST_STEPS if len(regime.stages) == 1 else MEASURED_STEPS  # few reach from one stage into the next
        config = replace(plan.config(regime, rows, run_data.seed), steps=most + 2)
        measured_on, began, ends = few, time.perf_counter(), [0.0]
        steps = train_stages(regime, config, few, evaluations=1)
        with suppress(TrainingError):  # a rate that diverges is for the run itself to record
            next(steps)
            first = _since(began)
            if world().all_reduce_max(few.shared.stores)[0]:  # computed once: for all rows, it may take minutes
                prefix_seconds[name] = first / len(few.shared)
            elif (
                first < SLOW_SECONDS
            ):  # the words of a few rows are few, and so are the rows of the token table to train
                steps.close()
                measured_on, steps = run_data, train_stages(regime, config, run_data, evaluations=1)
                next(steps)
            began = time.perf_counter()
            for taken, _ in enumerate(steps, 1):
                ends.append(_since(began))
                enough = ENOUGH_SECONDS if taken >= MEASURED_STEPS else MEASURED_SECONDS
                if taken == most or (taken >= 2 and ends[-1] > enough):
                    break
        taken = len(ends) - 1
        early = taken // 2 if len(regime.stages) == 1 else 0
        seconds_per_row[name] = (ends[-1] - ends[early]) / (max(taken - early, 1) * config.batch_size)
        steps.close()
        limit = token_limit(regime)
        if limit:
            of_these = _tokens(measured_on, regime, config, limit)[1 + early : 1 + taken]
            limits = (limit, *(n for n in shorter_limits(longest) if n < limit and _leaves_room(run_data, regime, n)))
            tokens[name] = {n: float(_tokens(run_data, regime, config, n).mean()) for n in limits}
            seconds_per_row[name] *= float(tokens[name][limit] / of_these.mean()) if taken else 1.0
        few = replace(few, shared=SharedData(few.splits))
        affordable = max(2, int(MEASURED_SECONDS / max(LONGEST_ROWS * seconds_per_row[name], 1e-9)))
        with suppress(TrainingError):
            if world().size == 1:
                found = measure_step(regime, plan.config(regime, rows, run_data.seed), run_data, affordable)
                memory_peaks |= {name: found.peak} if found.peak else {}
                forward_shares[name] = found.scoring * _scored_size(run_data, regime) / max(seconds_per_row[name], 1e-9)
                answers[name] = found.answer
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


def _tokens(run_data: RunData, regime: Regime, config: TrainConfig, limit: int) -> Array:
    """Tokens computed per row, with padding, in each of the first batches: one epoch, or as many as are measured.

    Batches have rows of similar length, so a few of them may be all short or all long.
    """
    regime, train = run_data.fitted(regime), run_data.splits.train
    examples = run_data.shared.examples(run_data.task.reads(regime.start.inputs), train, run_data.task.targets(train))
    sizes = np.minimum(examples.sizes(), limit)
    order = examples.order(config.batch_size, config.seed, limit)
    epochs = 1 + MOST_STEPS // order.per_epoch
    of_batch = np.max if examples.encoded.pads else np.mean
    return np.array([of_batch(sizes[batch]) for epoch in range(epochs) for batch in order.epoch(epoch)])


def _scored_size(run_data: RunData, regime: Regime) -> float:
    """Mean number of tokens, or features, of a scored row."""
    reads, splits = run_data.task.reads(run_data.fitted(regime).start.inputs), run_data.splits
    parts = (
        run_data.shared.examples(reads, rows, run_data.task.targets(rows)).sizes() for rows in (splits.val, splits.test)
    )
    return float(np.concatenate(list(parts)).mean())


def _leaves_room(run_data: RunData, regime: Regime, limit: int) -> bool:
    """Whether texts to be answered could be read for more than a few tokens, beside the parts that are never cut."""
    tokens = regime.start.inputs.tokens
    prompts = None if tokens is None else run_data.task.reads(replace(tokens, max_length=limit)).prompts
    try:
        return prompts is None or prompts.chunks is None or prompts.chunks.room > 0
    except InputError:
        return False


def _since(began: float) -> float:
    """Seconds elapsed on the main process's clock: all processes must decide alike."""
    return world().on_main(lambda: time.perf_counter() - began)


def _few(run_data: RunData) -> RunData:
    """The same with few rows in each part."""
    parts = {name: getattr(run_data.splits, name) for name in ("train", "val", "test")}
    some = {name: part.take(np.arange(min(len(part), SHORT_MEASUREMENT_ROWS))) for name, part in parts.items()}
    splits = replace(run_data.splits, **some)
    return replace(run_data, splits=splits, shared=SharedData(splits))
