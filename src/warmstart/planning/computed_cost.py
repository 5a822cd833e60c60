"""Computed cost: what does a row cost each regime in arithmetic, so that a study does not depend on any clock?

With `--compute` nothing is timed. Every estimate of a plan is then in seconds of a device that does `REFERENCE_FLOPS`,
whatever machine the study runs on: orders, sizes and cuts follow from shapes alone.
"""

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from warmstart.errors import InputError
from warmstart.planning.fit_budget import fit_to_budget
from warmstart.planning.model_size import model_size
from warmstart.planning.problem import Options
from warmstart.planning.run_plan import RunPlan, shorter_limits, token_limit
from warmstart.quantities import REFERENCE_FLOPS, format_effort
from warmstart.regimes.regimes import Regime
from warmstart.training.config import TrainConfig
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.run_data import RunData
from warmstart.types import Array

MIN_HEAD_FLOPS = 1e3  # a row of a head alone, at least
COSTED_ROWS = 5_000  # of each part, whose lengths stand for all: encoding 190,000 short texts took 30 s
MOST_STEPS = 30  # that are measured of a regime, at most


def computed_throughput(plan: RunPlan, shared: SharedData, lost: Collection[str] = ()) -> RunPlan:
    """The plan with the cost of a row, from shapes and lengths, in seconds of the reference device.

    What frozen layers make of a row is counted once for all steps and runs that keep it. Of a regime with several
    stages the last one counts for all. The `lost` regimes, which will not run, cost nothing.
    """
    seconds_per_row = dict.fromkeys(lost, 0.0)
    forward_shares: dict[str, float] = {}
    prefix_seconds: dict[str, float] = {}
    answers: dict[str, float] = {}
    tokens: dict[str, dict[int, float]] = {}
    rows = max(plan.sizes)
    run_data = plan.run_data(rows, plan.options.first_seed, shared).some(COSTED_ROWS)
    task = run_data.task
    for name in (name for name in plan.networks if name not in lost):
        regime = run_data.fitted(plan.regime(name, rows))
        cost = model_size(regime, task).cost
        reads = task.reads(regime.start.inputs)
        train, test = (
            run_data.shared.examples(reads, part, task.targets(part))
            for part in (run_data.splits.train, run_data.splits.test)
        )
        trained = float(cost.training(train.sizes(), train.loss_weights).mean())
        scored = float(cost.forward(test.sizes(), test.loss_weights).mean())
        config = plan.config(regime, rows, run_data.seed)
        if cost.backward == 0.0 and cost.decoder is None and not config.changes_rows:  # the whole body is frozen
            read = float(cost.forward(train.sizes(), train.loss_weights).mean())
            prefix_seconds[name] = read / REFERENCE_FLOPS
            trained, scored = max(trained - read, MIN_HEAD_FLOPS), MIN_HEAD_FLOPS
        seconds_per_row[name] = trained / REFERENCE_FLOPS
        forward_shares[name] = scored / trained
        if task.generative is not None:  # with cached keys and values, writing costs what reading costs
            answers[name] = scored / REFERENCE_FLOPS
        limit = token_limit(regime)
        if limit:
            tokens[name] = tokens_by_limit(plan, run_data, regime, limit)
    return replace(
        plan,
        seconds_per_row=seconds_per_row,
        prefix_seconds=prefix_seconds,
        forward_shares=forward_shares,
        answers=answers,
        tokens=tokens,
    )


def tokens_by_limit(plan: RunPlan, run_data: RunData, regime: Regime, limit: int) -> dict[int, float]:
    """Mean tokens per text, with padding, at this limit and at each shorter one."""
    longest = max(base.inputs.max_length for base in plan.problem.bases)
    config = plan.config(regime, max(plan.sizes), run_data.seed)
    limits = (limit, *(n for n in shorter_limits(longest) if n < limit and _leaves_room(run_data, regime, n)))
    return {n: float(tokens_of_batches(run_data, regime, config, n).mean()) for n in limits}


def tokens_of_batches(run_data: RunData, regime: Regime, config: TrainConfig, limit: int) -> Array:
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


def _leaves_room(run_data: RunData, regime: Regime, limit: int) -> bool:
    """Whether this limit leaves room for the text, beside the parts of a prompt that are never cut."""
    tokens = regime.start.inputs.tokens
    prompts = None if tokens is None else run_data.task.reads(replace(tokens, max_length=limit)).prompts
    try:
        return prompts is None or prompts.chunks is None or prompts.chunks.room > 0
    except InputError:
        return False


def as_compared(measured: RunPlan, shared: SharedData) -> RunPlan:
    """The measured plan as `compare` cuts it: the same regimes, sizes, seeds and trials."""
    if not measured.networks:
        return measured
    if not measured.options.by_compute:
        return fit_to_budget(measured)
    cut = fit_to_budget(computed_throughput(measured, shared))
    known = ("seconds_per_row", "prefix_seconds", "forward_shares", "answers", "memory_peaks")
    return replace(cut, **{name: getattr(measured, name) for name in known})


def cut_notes(plan: RunPlan, asked: Options) -> tuple[str, ...]:
    """What `compare` would leave out to fit the requested budget; the figures do not include it."""
    if not plan.cuts:
        return ()
    limit = format_effort(asked.budget, by_compute=asked.by_compute)
    named = f"--compute of {limit}" if asked.by_compute else f"--budget of {limit}"
    cuts = f"to fit the {named}, compare cuts, and so do these figures: {'; '.join(plan.cuts)}"
    more = "not included: the most promising of these on all rows afterwards, if the rest of the budget allows it"
    return (cuts, more) if plan.regime_sizes else (cuts,)
