"""Stages: how is a regime trained, from its start through its stages to its best weights?"""

from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.data.encoding.batches import WordDropout
from warmstart.data.encoding.examples import BatchStream, Examples
from warmstart.data.encoding.inputs import Encoded, Inputs, TokenRows, WordRows
from warmstart.data.rows.split import Splits
from warmstart.errors import InputError, join_phrases
from warmstart.models.causal_lm import known_tokens
from warmstart.models.compile import compile_blocks
from warmstart.models.fsdp import fully_sharded
from warmstart.models.gradient_checkpointing import gradient_checkpointing
from warmstart.models.model import UNPOOLED, Model
from warmstart.models.used_embeddings import only_used_rows
from warmstart.regimes.regimes import Regime
from warmstart.regimes.starts import Pretrained, Start, random_state
from warmstart.results.bootstrap import standard_error_share
from warmstart.results.record import Evaluation
from warmstart.runtime.distributed import Distributed, world
from warmstart.tasks.task import Task
from warmstart.training.build_model import _total, adapter_names, start_model, switch_objective
from warmstart.training.checkpoint import Checkpoints, HeldSignals
from warmstart.training.config import TrainConfig
from warmstart.training.early_stopping import BestWeights
from warmstart.training.flops import Flops, flops
from warmstart.training.frozen_prefix import SharedData, use_prefix_cache
from warmstart.training.loop import DivergedError, Step, set_trainable, start_training, train
from warmstart.training.replay import Replay, replay_examples, with_replay
from warmstart.training.run_data import RunData
from warmstart.training.stage_state import StageState, TrainingHistory, restore_weights

MAX_VALIDATION_ROWS = 500  # validation rows looked at while training, at most
MIN_VALIDATION_ROWS = 50
VALIDATION_TIME_SHARE = 0.25  # of the time of training, at most, for looking at them
FORWARD_SHARE = 0.4  # of a training step, for evaluating the same rows: forward alone, without dropout


@dataclass
class TrainedStages:
    """A model at its best point, and how it got there."""

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
    """What the loop trains and looks at: the model, and its rows or what a frozen prefix made of them."""

    model: Model
    examples: Examples
    validation: Examples  # the validation rows to look at
    general: Examples | None = None  # to be replayed beside the rows

    def used_tokens(self) -> Tensor:
        """Every token of any row of the study, and what fills rows up, or every hashed word; empty without either."""
        encoded, used = self.examples.encoded, np.empty(0, dtype=np.int32)
        if isinstance(encoded, TokenRows):
            used = np.union1d(encoded.tokens.values, encoded.pad)
        elif isinstance(encoded, WordRows):
            used = np.unique(encoded.features.values)
        return torch.from_numpy(used.astype(np.int64))


def validation_rows(available: int, config: TrainConfig, evaluations: int) -> int:
    """Of so many validation rows, how many each look takes: a look must stay cheap."""
    affordable = VALIDATION_TIME_SHARE * config.steps * config.batch_size / (FORWARD_SHARE * evaluations)
    return min(available, MAX_VALIDATION_ROWS, max(MIN_VALIDATION_ROWS, round(affordable)))


def stage_inputs(regime: Regime, run_data: RunData) -> Iterator[tuple[SharedData, Inputs]]:
    """What its stages read: which rows, and how."""
    for stage in regime.stages:
        objective = stage.objective or run_data.task
        yield _read(run_data, objective)[1], objective.reads(regime.start.inputs)


def _read(run_data: RunData, objective: Task) -> tuple[Splits, SharedData]:
    """The rows for an aim."""
    corpus = run_data.corpus if objective is not run_data.task else None
    return (corpus.splits, corpus.shared) if corpus else (run_data.splits, run_data.shared)


def stage_data(model: Model, start: Start, run_data: RunData, objective: Task, count: int, stored: bool) -> StageData:
    """The rows that `model` learns from for an aim, and `count` that it is watched on.

    Activations of layers that cannot change may be `stored`.
    """
    splits, shared = _read(run_data, objective)
    inputs, count = objective.reads(start.inputs), min(count, len(splits.val))
    examples = shared.examples(inputs, splits.train, objective.targets(splits.train))
    some = splits.val.take(np.arange(count) * len(splits.val) // count)  # spread out: files are often sorted
    validation = shared.examples(inputs, some, objective.targets(some))
    _require_known_tokens(model, start, examples)
    if not stored or model.pooling == UNPOOLED:
        return StageData(model, examples, validation)
    encoded = shared.below(model, inputs)
    return StageData(model, replace(examples, encoded=encoded), replace(validation, encoded=encoded))


def _require_known_tokens(model: Model, start: Start, examples: Examples) -> None:
    """Raises InputError where the tokenizer gives a token that the model has no vector for: it is another's."""
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


StageIterator = Generator[Step, None, TrainedStages]


def train_stages(
    regime: Regime,
    config: TrainConfig,
    run_data: RunData,
    evaluations: int,
    checkpoints: Checkpoints | None = None,
    retreats: int = 0,
) -> StageIterator:
    """Train through all stages, yielding every step; looks at validation rows that many times, keeps the best weights.

    Goes on from the newest of `checkpoints`, with the same result as if it had never stopped. Raises TrainingError when
    it diverges even after going back `retreats` times to its best weights, each time at half the rate.
    """
    saved = checkpoints.newest() if checkpoints else None
    reached = saved.facts["stage"] if saved else 0
    model = start_model(regime, run_data.task, config.seed)
    learned: list[nn.Parameter] = []
    encoded = run_data.shared.encoded(run_data.task.reads(regime.start.inputs))
    history = TrainingHistory(evaluations, retreats)
    changed: set[str] = set()  # names of the weights that any stage so far has trained
    body_learned = False
    base = _base(model, regime.start) if config.l2_sp else {}
    general = replay_examples(model, regime.start, run_data.replayed, config)
    for number, stage in enumerate(regime.stages):
        objective = stage.objective or run_data.task
        changed |= adapter_names(changed)
        switch_objective(model, regime.start, objective, config.seed)
        with random_state(config.seed):  # adapters are drawn anew
            model.body = stage.method.prepare(model.body)
        part = replace(config, steps=max(1, round(config.steps * stage.share)), lr=stage.lr or config.lr)
        rates = stage.method.rates(model)
        set_trainable(model, rates)
        learned = [p for p in model.parameters() if p.requires_grad]
        body_learned |= any(name.startswith("body.") for name in rates)
        if base:  # adapters add nothing to it while their second matrix is zero
            base |= {name: torch.zeros_like(p) for name, p in model.named_parameters() if ".lora_B." in name}
        changed |= rates.keys() | {name for name, _ in model.named_buffers()}
        if number < reached:
            continue
        here = saved if number == reached else None
        if here:
            restore_weights(here, _state(model, changed))
            history.go_on(here.facts["course"])
        history.cost = flops(model, rates)
        count = validation_rows(len(run_data.splits.val), config, evaluations)
        view = stage_data(model, regime.start, run_data, objective, count, stored=not config.word_dropout)
        view = replace(view, general=general)
        with ExitStack() as stack:
            if config.shard and world().size > 1:
                view = replace(view, model=stack.enter_context(fully_sharded(model, world())))
            whole = _state(view.model, changed)
            # Shards' checkpoints fit any number of them; a base has whole tables, and so has an output layer.
            if not config.shard and not base and model.pooling != UNPOOLED:
                stack.enter_context(only_used_rows(model.body, view.used_tokens()))
            stack.enter_context(use_prefix_cache(view.model, view.examples.encoded))
            if config.gradient_checkpointing:
                stack.enter_context(gradient_checkpointing(model))
            if config.compile:
                stack.enter_context(compile_blocks(model))
            state = start_training(view.model, rates, part, base)
            cools = part.schedule != "constant"
            best_weights = BestWeights(
                view.model, objective, evaluations, standard_error_share(len(view.validation)) if cools else 0.0
            )
            stage_state = StageState(number, state, best_weights, history, whole)
            if here:
                stage_state.unpack(here)
            yield from _stage(stage_state, view, objective, part, checkpoints)
            encoded = view.examples.encoded
            if objective is not run_data.task:
                history.turn(objective)
    if not regime.stages:  # it is only read with
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
        trainable=sum(p.numel() for p in learned),
        total=_total(model),
        bytes_learned=sum(p.numel() * p.element_size() for p in learned),
        body_learned=body_learned,
        reads=encoded,
    )


def _stage(
    stage_state: StageState,
    view: StageData,
    objective: Task,
    config: TrainConfig,
    checkpoints: Checkpoints | None,
) -> Generator[Step, None, None]:
    """One stage on the loop: look at validation rows now and then, stop when it no longer helps, keep the best.

    Ctrl-C, SIGTERM or closing the generator stops it between two steps, and saves.
    """
    state, best_weights, history = stage_state.state, stage_state.best_weights, stage_state.history
    order = view.examples.order(config.batch_size, config.seed)
    dropped = WordDropout(config.word_dropout, config.seed) if config.word_dropout else None
    source = with_replay(BatchStream(view.examples, order, dropped, state.world), view.general, config)
    marks = {round(config.steps * (i + 1) / history.evaluations) for i in range(history.evaluations)}
    steps = train(state, objective, source, config)
    seen: Evaluation | None = None
    with HeldSignals() as signals, saved_if_stopped(stage_state, checkpoints):
        while True:
            due = _agreed(state.world, signals, bool(checkpoints and checkpoints.due))
            if state.step in marks and stage_state.losses:
                stage_state.look(objective, view.validation, order.per_epoch, last=state.step == config.steps)
                seen = history.points[-1]
            if checkpoints and due and state.step:
                checkpoints.save(stage_state.name, *stage_state.pack())
            if state.step >= config.steps or best_weights.should_stop:
                _agreed(state.world, signals)  # one that arrived during the last look or save must not be lost
                break
            try:
                step = next(steps)
            except DivergedError:
                if history.went_back == history.retreats:
                    raise
                stage_state.retreat()
                steps = train(state, objective, source, config)
                continue
            if step.finite:
                stage_state.losses.append(step.loss)
            yield step if seen is None else replace(step, seen=seen)
            seen = None
    best_weights.restore()
    history.caveats += _remarks(stage_state, view, source, config)
    looked = sum(point.step > history.steps for point in history.points)
    history.best_step = history.steps + best_weights.step
    history.steps += state.step
    epochs = state.step / order.per_epoch
    history.flops += epochs * float(history.cost.training(view.examples.sizes(), view.examples.loss_weights).sum())
    history.flops += looked * float(history.cost.forward(view.validation.sizes(), view.validation.loss_weights).sum())
    if isinstance(source, Replay):
        general, taken = source.general.examples, source.through(range(state.step))
        history.flops += float(history.cost.training(general.sizes()[taken], general.loss_weights[taken]).sum())


def _agreed(world: Distributed, signals: HeldSignals, due: bool = False) -> bool:
    """Let go the signals that have arrived in any process; say whether something is due in any."""
    arrived, anywhere = world.all_reduce_max(signals.arrived, due)
    signals.hear(arrived)
    signals.release()
    return bool(anywhere)


@contextmanager
def saved_if_stopped(stage_state: StageState, checkpoints: Checkpoints | None) -> Generator[None, None, None]:
    """Save when what is inside is stopped from outside; not after an error, when a step may be half done."""
    try:
        yield
    except Exception:
        raise
    except BaseException:
        if checkpoints:
            checkpoints.save(stage_state.name, *stage_state.pack())
        raise


def _remarks(stage_state: StageState, view: StageData, source: BatchStream | Replay, config: TrainConfig) -> list[str]:
    """What went otherwise than asked, for the report."""
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
    """A copy of the base's weights by the model's names; none from random weights, or of a head that may be new."""
    if not isinstance(start, Pretrained):
        return {}
    own = ("body.", "head.") if model.pooling == UNPOOLED and start.base.kind == "decoder" else ("body.",)
    named = model.named_parameters()
    return {name: p.detach().clone() for name, p in named if name.startswith(own) and p.is_floating_point()}


def _state(model: Model, names: set[str]) -> dict[str, Tensor]:
    """The weights and buffers of these names, where they live."""
    return {name: tensor for name, tensor in model.state_dict().items() if name in names}
