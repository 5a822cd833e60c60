"""Memory probe: how much memory and time does the largest step of a regime take, and what comes after training?

It measures what a run's cost contains too: the peak resident set of the whole process (on a GPU: what torch allocated).
Shapes alone are not enough: for MiniLM and 32 texts of 128 tokens, fake tensors add up to 1.4 GB, while the process
grew by 2.0 GB with all weights trained and by 2.9 GB with adapters, through fragmentation and scratch memory of
kernels.
"""

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from warmstart.data.encoding.batches import Batch
from warmstart.data.encoding.examples import Examples
from warmstart.data.rows.split import Rows
from warmstart.generation.answers import Writer
from warmstart.models.evaluate import EVALUATION_BATCH, outputs
from warmstart.models.gradient_checkpointing import gradient_checkpointing
from warmstart.models.model import UNPOOLED
from warmstart.models.partial_forward import frozen_depth
from warmstart.models.used_embeddings import only_used_rows
from warmstart.planning.generation_time import bytes_unread, seconds_per_answer
from warmstart.regimes.regimes import Regime
from warmstart.regimes.starts import random_state
from warmstart.runs.final_evaluation import rows_to_judge
from warmstart.runtime.device import peak_memory, reset_peak_memory, resident_memory
from warmstart.training.build_model import start_model, switch_objective
from warmstart.training.config import TrainConfig
from warmstart.training.early_stopping import BestWeights
from warmstart.training.frozen_prefix import SharedData, use_prefix_cache
from warmstart.training.loop import set_trainable, start_training, train
from warmstart.training.run_data import RunData
from warmstart.training.stages import stage_data
from warmstart.types import Array

EPOCHS = 20  # whose batches are looked through for the most expensive one
STEPS = 3  # on half of its rows, again (only from the second on are Adam's moments there), and on all of them


class PeakMemory(NamedTuple):
    """Peak memory of the process, in the largest step or after training."""

    bytes: int
    a_row: float  # bytes that each row of a batch adds
    before: int  # bytes that the process held before there was a model

    def from_(self, held: int) -> "PeakMemory":
        """The same for a process that holds so many bytes before the model is loaded."""
        return PeakMemory(self.bytes - self.before + held, self.a_row, held)


@dataclass(frozen=True)
class _Growing:
    """The same rows for every step; half of them before the last."""

    examples: Examples

    def at(self, step: int, at_most: int | None = None) -> list[Batch]:
        n = len(self.examples) if step == STEPS - 1 else max(1, len(self.examples) // 2)
        pieces = np.array_split(np.arange(n), 1 if at_most is None else -(-n // at_most))
        return [self.examples.take(piece, len(piece) / n) for piece in pieces]


@dataclass(frozen=True)
class StepMeasurement:
    """What was measured."""

    peak: PeakMemory | None  # None where the system does not tell
    scoring: float  # seconds for each token; for what reads no tokens: each feature
    answer: float  # seconds to write one; 0 for a task that writes none


def measure_step(regime: Regime, config: TrainConfig, run_data: RunData, at_most: int) -> StepMeasurement:
    """Train the last stage for a few steps on its largest batch, of `at_most` rows; score, and generate a little.

    If the batch has more rows, the rest is extrapolated from two shapes. Raises TrainingError if not even one row fits.
    """
    reset_peak_memory()
    regime = run_data.fitted(regime)
    before = resident_memory()
    model = start_model(regime, run_data.task, config.seed)
    switch_objective(model, regime.start, run_data.task, config.seed)
    method = regime.stages[-1].method
    with random_state(config.seed):
        model.body = method.prepare(model.body)
    rates = method.rates(model)
    set_trainable(model, rates)
    costly_rows = longest_rows(run_data, regime, config)
    splits = run_data.splits
    some = replace(
        splits,
        train=splits.train.take(costly_rows[-at_most:]),
        val=_longest(run_data, regime, splits.val),
        test=_longest(run_data, regime, splits.test),
    )
    stored = frozen_depth(model) != 0 and not config.changes_rows
    # where the token table learns, the words of all rows count; below frozen layers all rows would be computed
    few = replace(run_data, splits=some, shared=SharedData(some) if stored else run_data.shared)
    view = stage_data(model, regime.start, few, few.task, len(some.val), stored=not config.changes_rows)
    with ExitStack() as stack:
        if model.pooling != UNPOOLED:
            stack.enter_context(only_used_rows(model.body, view.used_tokens()))
        stack.enter_context(use_prefix_cache(model, view.examples.encoded))
        if config.gradient_checkpointing:
            stack.enter_context(gradient_checkpointing(model))
        best_weights = BestWeights(model, run_data.task, 1)
        steps = train(
            start_training(model, rates, config),
            regime.stages[-1].loss(run_data.task),
            _Growing(view.examples),
            replace(config, steps=STEPS),
        )
        for _ in range(STEPS - 1):
            next(steps)
        half = peak_memory()
        next(steps)
        whole = peak_memory()
        best_weights.restore()
        began = time.perf_counter()
        outputs(model, view.validation)
        scoring = (time.perf_counter() - began) / max(1, int(view.validation.sizes().sum()))
    found = peak_memory()
    answer, writing = 0.0, 0
    generative = run_data.task.generative
    if generative is not None:
        writer, answered = Writer(model.eval(), generative.prompts(regime.start.inputs)), rows_to_judge(splits.test)
        reset_peak_memory()
        answer = seconds_per_answer(writer, generative, answered)
        writing = (peak_memory() or 0) + bytes_unread(writer, generative, answered)
    if before is None or half is None or whole is None or found is None:
        return StepMeasurement(None, scoring, answer)
    rows = len(view.examples)
    a_row = (whole - half) / max(1, rows - max(1, rows // 2))
    if config.micro_batch is None:
        found = max(found, round(whole + a_row * (len(costly_rows) - rows)))
    return StepMeasurement(PeakMemory(max(found, writing), a_row, before), scoring, answer)


def longest_rows(run_data: RunData, regime: Regime, config: TrainConfig) -> Array:
    """Positions of the training rows in the most expensive batch, padding included; the longest row last."""
    regime, train_rows = run_data.fitted(regime), run_data.splits.train
    examples = run_data.shared.examples(
        run_data.task.reads(regime.start.inputs), train_rows, run_data.task.targets(train_rows)
    )
    sizes = examples.sizes()
    order = examples.order(config.batch_size, config.seed)
    epochs = min(EPOCHS, -(-config.steps // order.per_epoch))
    batches = [batch for epoch in range(epochs) for batch in order.epoch(epoch)]
    pads = examples.encoded.pads
    found: Array = max(batches, key=lambda batch: int(sizes[batch].max() * len(batch) if pads else sizes[batch].sum()))
    return found[np.argsort(sizes[found], kind="stable")]


def _longest(run_data: RunData, regime: Regime, rows: Rows) -> Rows:
    """The longest rows, as many as are scored at a time."""
    sizes = run_data.shared.examples(
        run_data.task.reads(regime.start.inputs), rows, run_data.task.targets(rows)
    ).sizes()
    return rows.take(np.argsort(sizes, kind="stable")[-EVALUATION_BATCH:])
