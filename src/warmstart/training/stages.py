"""Stages: how is a regime trained, from its start through its stages to its best weights?"""

from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.data.encoding.batches import Order
from warmstart.data.encoding.examples import BatchStream, Examples
from warmstart.data.encoding.inputs import Encoded, Inputs
from warmstart.data.rows.split import Splits
from warmstart.errors import InputError, join_phrases
from warmstart.models.causal_lm import known_tokens
from warmstart.models.compile import compile_blocks
from warmstart.models.fsdp import fully_sharded
from warmstart.models.gradient_checkpointing import gradient_checkpointing
from warmstart.models.learning_rule import own_rates
from warmstart.models.model import UNPOOLED, Model
from warmstart.models.used_embeddings import only_used_rows
from warmstart.regimes.method import Rates
from warmstart.regimes.regimes import Regime, Stage
from warmstart.regimes.starts import Start, random_state
from warmstart.results.bootstrap import standard_error_share
from warmstart.results.record import Evaluation
from warmstart.runtime.distributed import Distributed, world
from warmstart.runtime.sampling import spread_places
from warmstart.tasks.task import Loss, Task
from warmstart.training.augment_rows import changed_rows
from warmstart.training.build_model import _total, adapter_names, start_model, switch_objective
from warmstart.training.checkpoint import Checkpoints, HeldSignals, Saved
from warmstart.training.config import TrainConfig
from warmstart.training.early_stopping import BestWeights
from warmstart.training.event import Event, JobProgress, Step
from warmstart.training.flops import Flops, flops
from warmstart.training.frozen_prefix import SharedData, use_prefix_cache
from warmstart.training.loop import DivergedError, set_trainable, start_training, train
from warmstart.training.replay import Replay, replay_examples, with_replay
from warmstart.training.run_data import RunData
from warmstart.training.stage_state import StageState, TrainingHistory, restore_weights

MAX_VALIDATION_ROWS = 500  # validation rows looked at while training, at most
MIN_VALIDATION_ROWS = 50
VALIDATION_TIME_SHARE = 0.25  # of the time of training, at most, for looking at them
FORWARD_SHARE = 0.4  # of a training step, for evaluating the same rows: forward alone, without dropout


@dataclass
class TrainedStages:
    """A model with its best weights, and the history of its training."""

    model: Model
    points: list[Evaluation]
    steps: int
    best_step: int
    seconds: float  # of training, in all its sittings
    caveats: tuple[str, ...]
    train_flops: float
    cost: Flops  # of one example
    trainable: int
    total: int
    bytes_learned: int
    body_learned: bool  # whether any stage trained weights of the body
    reads: Encoded  # every row, as the model read it last: in `reading`, scoring costs no more than training did


@dataclass(frozen=True)
class StageData:
    """What the loop trains and evaluates: the model, and its rows or cached activations of them."""

    model: Model
    examples: Examples
    validation: Examples  # the validation rows to look at
    general: Examples | None = None  # to be replayed beside the rows

    def used_tokens(self) -> Tensor:
        """Every token (with padding) or hashed word in any row of the study; empty if the model reads neither."""
        return torch.from_numpy(self.examples.encoded.used_tokens().astype(np.int64))


def validation_rows(available: int, config: TrainConfig, evaluations: int) -> int:
    """How many of the validation rows each evaluation uses: an evaluation must be cheap."""
    affordable = VALIDATION_TIME_SHARE * config.steps * config.batch_size / (FORWARD_SHARE * evaluations)
    return min(available, MAX_VALIDATION_ROWS, max(MIN_VALIDATION_ROWS, round(affordable)))


def stage_inputs(regime: Regime, run_data: RunData) -> Iterator[tuple[SharedData, Inputs]]:
    """The rows that the stages of a regime use, and their encodings."""
    regime = run_data.fitted(regime)
    for stage in regime.stages:
        objective = stage.objective or run_data.task
        yield _read(run_data, objective)[1], objective.reads(regime.start.inputs)


def _read(run_data: RunData, objective: Task) -> tuple[Splits, SharedData]:
    """The splits and encoded rows for an objective."""
    corpus = run_data.corpus if objective is not run_data.task else None
    return (corpus.splits, corpus.shared) if corpus else (run_data.splits, run_data.shared)


def stage_data(model: Model, start: Start, run_data: RunData, objective: Task, count: int, stored: bool) -> StageData:
    """The rows that `model` is trained on for an objective, and `count` validation rows.

    Activations of layers that cannot change may be `stored`.
    """
    splits, shared = _read(run_data, objective)
    inputs, count = objective.reads(start.inputs), min(count, len(splits.val))
    examples = shared.examples(inputs, splits.train, objective.targets(splits.train))
    some = splits.val.take(spread_places(count, len(splits.val)))
    validation = shared.examples(inputs, some, objective.targets(some))
    _require_known_tokens(model, start, examples)
    if not stored or model.pooling == UNPOOLED:
        return StageData(model, examples, validation)
    encoded = shared.below(model, inputs)
    return StageData(model, replace(examples, encoded=encoded), replace(validation, encoded=encoded))


def _require_known_tokens(model: Model, start: Start, examples: Examples) -> None:
    """Raise InputError if the tokenizer has a token id outside the model's embedding table: it belongs to another
    model.
    """
    known = known_tokens(model.body)
    highest, place = examples.encoded.highest()
    if known is None or highest < known:
        return
    rows = [] if place is None else examples.numbers[examples.positions == place]
    where = f"row {rows[0]}: " if len(rows) else ""
    raise InputError(
        f"{where}the tokenizer of base {start.name!r} gives token {highest:,}, but its model knows only "
        f"{known:,}: the tokenizer belongs to another model.",
        "put the tokenizer beside the weights that they were trained with",
    )


@dataclass(frozen=True)
class StageRun:
    """One stage in the loop: evaluates on validation rows now and then, and keeps the best weights."""

    stage_state: StageState
    view: StageData
    objective: Task
    loss: Loss
    config: TrainConfig
    order: Order
    source: BatchStream | Replay
    marks: frozenset[int]  # steps before which validation rows are looked at

    def steps(self) -> Iterator[Step]:
        """All steps from the current one to the end."""
        return train(self.stage_state.state, self.loss, self.source, self.config)

    def look(self) -> Evaluation | None:
        """Evaluate, if an evaluation is due."""
        stage_state, step = self.stage_state, self.stage_state.state.step
        if step not in self.marks or not stage_state.losses:
            return None
        last = step == self.config.steps
        stage_state.look(self.objective, self.view.validation, self.order.per_epoch, last=last)
        return stage_state.history.points[-1]

    @property
    def over(self) -> bool:
        return self.stage_state.state.step >= self.config.steps or self.stage_state.best_weights.should_stop

    def finish(self) -> None:
        """Restore the best weights, and add this stage to the history."""
        state, best_weights, history = (
            self.stage_state.state,
            self.stage_state.best_weights,
            self.stage_state.history,
        )
        examples, validation = self.view.examples, self.view.validation
        best_weights.restore()
        history.caveats += _remarks(self.stage_state, self.view, self.source, self.config)
        looked = sum(point.step > history.steps for point in history.points)
        history.best_step = history.steps + best_weights.step
        history.steps += state.step
        epochs = state.step / self.order.per_epoch
        history.flops += epochs * float(history.cost.training(examples.sizes(), examples.loss_weights).sum())
        history.flops += looked * float(history.cost.forward(validation.sizes(), validation.loss_weights).sum())
        if isinstance(self.source, Replay):
            general, taken = self.source.general.examples, self.source.through(range(state.step))
            history.flops += float(history.cost.training(general.sizes()[taken], general.loss_weights[taken]).sum())


@dataclass
class Training:
    """A model in training, across the stages of a regime."""

    regime: Regime
    config: TrainConfig
    run_data: RunData
    model: Model
    history: TrainingHistory
    reads: Encoded  # every row, as the model read it last
    base: dict[str, Tensor]  # a copy of the base's weights, by the model's names; empty without L2-SP
    general: Examples | None  # to be replayed
    learned: list[nn.Parameter] = field(default_factory=list)  # in the stage entered last
    changed: set[str] = field(default_factory=set)  # names of the weights that any stage so far has trained
    body_learned: bool = False

    def prepare(self, stage: Stage) -> Rates:
        """Prepare the model for this stage; returns the rate of each trained weight."""
        config, model = self.config, self.model
        self.changed |= adapter_names(self.changed)
        switch_objective(model, self.regime.start, stage.objective or self.run_data.task, config.seed)
        with random_state(config.seed):  # adapters are drawn anew
            model.body = stage.method.prepare(model.body)
        rates = stage.method.rates(model)
        own = own_rates(model, self.regime.defaults.lr)
        rates |= {name: rate for name, rate in own.items() if name in rates}
        set_trainable(model, rates)
        self.learned = [p for p in model.parameters() if p.requires_grad]
        self.body_learned |= any(name.startswith("body.") for name in rates)
        if self.base:  # adapters add nothing to it while their second matrix is zero
            self.base |= {name: torch.zeros_like(p) for name, p in model.named_parameters() if ".lora_B." in name}
        self.changed |= rates.keys() | {name for name, _ in model.named_buffers()}
        return rates

    def enter(self, number: int, stage: Stage, rates: Rates, saved: Saved | None, stack: ExitStack) -> StageRun:
        """The prepared stage, from its beginning or from where it was `saved`.

        `stack` leaves the model as it is afterwards.
        """
        model, run_data, history = self.model, self.run_data, self.history
        objective = stage.objective or run_data.task
        config = replace(
            self.config, steps=max(1, round(self.config.steps * stage.share)), lr=stage.lr or self.config.lr
        )
        if saved:
            restore_weights(saved, _state(model, self.changed))
            history.go_on(saved.facts["course"])
        history.cost = flops(model, rates)
        count = validation_rows(len(run_data.splits.val), self.config, history.evaluations)
        stored = not config.changes_rows
        view = stage_data(model, self.regime.start, run_data, objective, count, stored=stored)
        view = replace(view, general=self.general)
        if config.shard and world().size > 1:
            view = replace(view, model=stack.enter_context(fully_sharded(model, world())))
        whole = _state(view.model, self.changed)
        # Shards' checkpoints fit any number of them; a base has whole tables, and so has an output layer.
        if not config.shard and not self.base and model.pooling != UNPOOLED:
            stack.enter_context(only_used_rows(model.body, view.used_tokens()))
        stack.enter_context(use_prefix_cache(view.model, view.examples.encoded))
        if config.gradient_checkpointing:
            stack.enter_context(gradient_checkpointing(model))
        if config.compile:
            stack.enter_context(compile_blocks(model))
        state = start_training(view.model, rates, config, self.base)
        noise = standard_error_share(len(view.validation)) if config.schedule != "constant" else 0.0  # it cools down
        last = self.regime.defaults.last_weights
        best_weights = BestWeights(view.model, objective, history.evaluations, noise, last)
        stage_state = StageState(number, state, best_weights, history, whole)
        if saved:
            stage_state.unpack(saved)
        self.reads = view.examples.encoded
        order = view.examples.order(config.batch_size, config.seed)
        stream = changed_rows(view.examples, objective, order, config, state.world)
        source = with_replay(stream, view.general, config)
        marks = (round(config.steps * (i + 1) / history.evaluations) for i in range(history.evaluations))
        loss = stage.loss(run_data.task)
        return StageRun(stage_state, view, objective, loss, config, order, source, frozenset(marks))

    def trained(self) -> TrainedStages:
        """The result."""
        model, history = self.model, self.history
        if not self.regime.stages:  # it is only read with
            history.cost = flops(model, {})
        model.eval()
        return TrainedStages(
            model=model,
            points=history.points,
            steps=history.steps,
            best_step=history.best_step,
            seconds=history.seconds,
            caveats=tuple(history.caveats),
            train_flops=history.flops,
            cost=history.cost,
            trainable=sum(p.numel() for p in self.learned),
            total=_total(model),
            bytes_learned=sum(p.numel() * p.element_size() for p in self.learned),
            body_learned=self.body_learned,
            reads=self.reads,
        )


def train_stages(
    regime: Regime,
    config: TrainConfig,
    run_data: RunData,
    evaluations: int,
    checkpoints: Checkpoints | None = None,
    retreats: int = 0,
    progress: JobProgress | None = None,
) -> Generator[Event, bool | None, TrainedStages]:
    """Train through all stages, with an event after every step; keep the weights that are best on validation rows.

    Whoever sends True for an event ends the training there, with the weights so far.

    Evaluates `evaluations` times. Resumes from the newest of `checkpoints`, with the same result as an uninterrupted
    training: Ctrl-C, SIGTERM or closing the generator stops it between two steps, and saves. Raises TrainingError if it
    diverges even after going back `retreats` times to its best weights, each time at half the rate.
    """
    progress = progress or JobProgress()
    regime = run_data.fitted(regime)
    saved = checkpoints.newest() if checkpoints else None
    reached = saved.facts["stage"] if saved else 0
    model = start_model(regime, run_data.task, config.seed)
    training = Training(
        regime=regime,
        config=config,
        run_data=run_data,
        model=model,
        history=TrainingHistory(evaluations, retreats),
        reads=run_data.shared.encoded(run_data.task.reads(regime.start.inputs)),
        base=_base(model, regime.start) if config.l2_sp else {},
        general=replay_examples(model, regime.start, run_data.replayed, config),
    )
    enough: bool | None = False
    for number, stage in enumerate(regime.stages):
        if enough:
            break
        rates = training.prepare(stage)
        if number < reached:
            continue
        with ExitStack() as stack:
            stage_run = training.enter(number, stage, rates, saved if number == reached else None, stack)
            stage_state, state = stage_run.stage_state, stage_run.stage_state.state
            steps = stage_run.steps()
            seen: Evaluation | None = None
            with HeldSignals() as signals, saved_if_stopped(stage_state, checkpoints):
                while True:
                    due = _agreed(state.world, signals, bool(checkpoints and checkpoints.due))
                    seen = stage_run.look() or seen
                    if checkpoints and due and state.step:
                        checkpoints.save(stage_state.name, *stage_state.pack())
                    if stage_run.over or enough:
                        _agreed(state.world, signals)  # one that arrived during the last look or save must not be lost
                        break
                    try:
                        step = next(steps)
                    except DivergedError:
                        if training.history.went_back == retreats:
                            raise
                        stage_state.retreat()
                        steps = stage_run.steps()
                        continue
                    if step.finite:
                        stage_state.losses.append(step.loss)
                    enough = yield progress.stepped(step, seen, own=stage_run.objective is run_data.task)
                    seen = None
            stage_run.finish()
            if stage_run.objective is not run_data.task:
                training.history.turn(stage_run.objective)
    return training.trained()


def _agreed(world: Distributed, signals: HeldSignals, due: bool = False) -> bool:
    """Handle signals that have arrived in any process; return whether something is due in any process."""
    arrived, anywhere = world.all_reduce_max(signals.arrived, due)
    signals.hear(arrived)
    signals.release()
    return bool(anywhere)


@contextmanager
def saved_if_stopped(stage_state: StageState, checkpoints: Checkpoints | None) -> Generator[None, None, None]:
    """Context that saves a checkpoint if stopped from outside. Not after an error, when a step may be half done."""
    try:
        yield
    except Exception:
        raise
    except BaseException:
        if checkpoints:
            checkpoints.save(stage_state.name, *stage_state.pack())
        raise


def _remarks(stage_state: StageState, view: StageData, source: BatchStream | Replay, config: TrainConfig) -> list[str]:
    """What happened differently from the request, for the report."""
    state, remarks = stage_state.state, []
    if state.skipped:
        texts = source.numbers(state.skipped) if isinstance(source, Replay) else []
        stream = source.task if isinstance(source, Replay) else source
        rows = [int(n) for step in state.skipped for n in view.examples.numbers[stream.rows(step)]]
        general = f", and general texts {join_phrases(texts)}" if texts else ""
        remarks.append(
            f"{len(state.skipped)} of {state.step} steps had no finite loss and were left out: "
            f"step {join_phrases(state.skipped)} (rows {join_phrases(sorted(set(rows)))}{general})"
        )
    if state.micro_batch != config.micro_batch:
        remarks.append(
            f"batches of {config.batch_size} did not fit into memory: they were computed {state.micro_batch} rows at a "
            "time, with the same result but for dropout"
        )
    return remarks


def _base(model: Model, start: Start) -> dict[str, Tensor]:
    """A copy of the base's weights by the model's names; none for random weights, or for a head that may be new."""
    if start.base is None:
        return {}
    own = ("body.", "head.") if model.pooling == UNPOOLED and start.base.kind == "decoder" else ("body.",)
    named = model.named_parameters()
    return {name: p.detach().clone() for name, p in named if name.startswith(own) and p.is_floating_point()}


def _state(model: Model, names: set[str]) -> dict[str, Tensor]:
    """The weights and buffers with these names, not copied."""
    return {name: tensor for name, tensor in model.state_dict().items() if name in names}
