"""Loop: how is a model trained? There is one loop, and every regime uses it.

It is an iterator: to log, plot, stop early or save, iterate over it. It handles two problems itself: a loss that is not
finite (the step is skipped) and a step that does not fit into memory (the same step in smaller pieces).
"""

import errno
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from warmstart.data.encoding.batches import Batch
from warmstart.errors import TrainingError
from warmstart.models.layers import layers
from warmstart.models.model import Model
from warmstart.regimes.method import Rates
from warmstart.runtime.device import set_seed
from warmstart.runtime.distributed import ALONE, Distributed, world
from warmstart.tasks.task import Loss
from warmstart.training.config import TrainConfig
from warmstart.training.event import Step
from warmstart.training.l2_sp import l2_sp_penalty
from warmstart.training.optimizer import make_optimizer, param_groups, schedule_factor

NOTHING: Mapping[str, Tensor] = {}
CLIP_EPSILON = 1e-6  # added to the norm by torch's clipping
STRIKES = 3  # steps in a row without a finite loss: no bad batch any more, the weights are bad


class Source(Protocol):
    """Provides the batch of each step, always the same one for the same step."""

    def at(self, step: int, at_most: int | None = None) -> list[Batch]:
        """This process's part of a step's batch, in pieces of at most so many rows."""
        ...


@dataclass
class State:
    """Everything that changes while a stage trains. Owned by the caller, who may inspect and save it between steps."""

    model: Model
    optimizer: torch.optim.Optimizer
    runs: nn.Module  # what is called to train it: the model itself, or what synchronizes it with other processes
    world: Distributed = ALONE
    step: int = 0
    slowed: float = 1.0  # what every rate is multiplied by: lower after weights that had to be taken back
    micro_batch: int | None = None  # rows at a time: fewer once a step did not fit into memory
    skipped: list[int] = field(default_factory=list)  # steps that were left out: their loss was no finite number
    strikes: int = 0  # of them, the last ones in a row
    base: dict[nn.Parameter, Tensor] = field(default_factory=dict)  # what a weight is pulled toward

    @property
    def synchronizes(self) -> bool:
        """Whether processes wait for each other in the backward pass itself, which averages their gradients."""
        return self.runs is not self.model or self.world.is_sharded(self.model)


class DivergedError(TrainingError):
    """Several steps in a row without a finite loss: the recent weights are unusable."""


def start_training(model: Model, rates: Rates, config: TrainConfig, base: Mapping[str, Tensor] = NOTHING) -> State:
    """Freeze the weights without a rate, and make the optimizer for the others.

    `base`: the base's weights by the model's names, for `config.toward_base`.
    """
    set_trainable(model, rates)
    if world().size > 1:  # gradients that are averaged are whole
        for module in model.modules():
            if isinstance(module, nn.EmbeddingBag):
                module.sparse = False
    optimizer = make_optimizer(param_groups(model, rates, config), config, cut=world().is_sharded(model))
    learning = [(name, parameter) for name, parameter in model.named_parameters() if name in rates]
    anchors = {parameter: world().shard_like(base[name], parameter) for name, parameter in learning if name in base}
    return State(model, optimizer, world().wrap_ddp(model), world(), micro_batch=config.micro_batch, base=anchors)


def train(state: State, objective: Loss, source: Source, config: TrainConfig) -> Iterator[Step]:
    """Train the state's model in place from `state.step` to `config.steps`; yield after each optimizer step.

    A step whose loss or gradient is not finite changes no weight and is recorded in `state.skipped`. Raises
    DivergedError after several in a row, TrainingError if not even a single row fits into memory. With several
    processes, each takes the same steps; losses and gradients are those of the whole batch.
    """
    optimizer = state.optimizer
    trainable = [p for p in state.model.parameters() if p.requires_grad]
    device = next(state.model.parameters()).device
    low = config.precision == "bf16"
    while state.step < config.steps:
        index = state.step
        lr = config.lr * schedule_factor(index, config) * state.slowed
        for group in optimizer.param_groups:
            group["lr"] = lr * group["rate"]
        mean = None  # of the losses of the whole batch; None: memory ran out in some process
        while mean is None:
            pieces = source.at(index, state.micro_batch)
            total, fits = 0.0, True
            loss = None
            try:
                for number, piece in enumerate(pieces, state.world.rank * len(pieces)):
                    set_seed(hash((config.seed, index, number)))  # dropout depends on these alone
                    with torch.autocast(device.type, torch.bfloat16) if low else nullcontext():
                        loss = objective.loss(state.runs, piece.to(device)) * piece.share
                    loss.backward()  # type: ignore[no-untyped-call]
                    total += loss.item()
            except (RuntimeError, MemoryError) as error:
                _require_out_of_memory(error, state)
                fits = False
            loss = None  # what it holds of its graph has to be free before the same is tried in smaller pieces
            mean = state.world.mean(total if fits else None)
            if mean is None:
                _use_smaller_pieces(state, pieces)
        if not state.synchronizes:
            state.world.average_gradients(trainable)
        step = Step(index, mean, lr, clip_gradients(state.world, trainable, config.clip))
        if step.finite:
            optimizer.step()
            l2_sp_penalty(state.optimizer, state.base, config.l2_sp)
        _forget_gradients(trainable)
        _note(state, step)
        yield step


def _require_out_of_memory(error: Exception, state: State) -> None:
    """Raise the error again unless it is out of memory; OSError if processes wait for each other in a backward pass."""
    if not _out_of_memory(error):
        raise error
    if state.synchronizes:
        # Not a TrainingError, which would be recorded: the others wait, and end when this process does.
        words = f"step {state.step} does not fit into memory; give fewer rows at a time with --micro-batch"
        raise OSError(errno.ENOMEM, words) from error


def _use_smaller_pieces(state: State, pieces: list[Batch]) -> None:
    """After any process ran out of memory: discard the gradients and halve the size of the pieces."""
    largest = state.world.on_main(lambda: max(len(piece) for piece in pieces))
    if largest == 1:
        raise TrainingError(
            f"step {state.step} does not fit into memory, not even one row at a time.",
            "use a smaller --max-length, a smaller base, or a machine with more memory",
        )
    _forget_gradients(state.model.parameters())
    state.micro_batch = largest // 2


def _out_of_memory(error: Exception) -> bool:
    """Whether memory ran out. Torch has an error type for it on GPUs only; on the CPU it is a RuntimeError."""
    known = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, known) or "DefaultCPUAllocator: can't allocate memory" in str(error)


def _note(state: State, step: Step) -> None:
    """Advance to the next step. Raises DivergedError after several in a row without a finite loss."""
    state.step += 1
    state.strikes = 0 if step.finite else state.strikes + 1
    if not step.finite:
        state.skipped.append(step.index)
    if state.strikes == STRIKES:
        raise DivergedError(
            f"{STRIKES} steps in a row had no finite loss or gradient; the last one, step {step.index}, "
            f"had loss {step.loss} and gradient norm {step.grad_norm}.",
            "try a lower rate",
        )


def clip_gradients(world: Distributed, parameters: list[nn.Parameter], clip: float) -> float:
    """Scale the gradients down to the norm `clip` if theirs is larger; returns the norm before clipping."""
    sparse = [p for p in parameters if p.grad is not None and p.grad.is_sparse]
    for parameter in sparse:
        assert parameter.grad is not None
        parameter.grad = _each_row_once(parameter.grad)
    dense = [p for p in parameters if p.grad is not None and not p.grad.is_sparse]
    values = [p.grad.values() for p in sparse if p.grad is not None]
    norm = nn.utils.get_total_norm([*(p.grad for p in dense if p.grad is not None), *values])
    value = world.full_tensor(norm).item()
    if value + CLIP_EPSILON > clip:
        nn.utils.clip_grads_with_norm_(dense, clip, norm)
        for each in values:
            each.mul_(torch.clamp(clip / (norm + CLIP_EPSILON), max=1.0))
    return value


def _each_row_once(gradient: Tensor) -> Tensor:
    """A sparse gradient in which a row that a batch has more than once counts once, with its sum."""
    rows = gradient._indices()[0]
    if bool((rows[1:] > rows[:-1]).all()):  # so it is already: torch, which cannot know, would copy it
        marked: Tensor = gradient._coalesced_(True)
        return marked
    return gradient.coalesce()


def _forget_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Same as `optimizer.zero_grad()` in a tenth of the time, since it records nothing for a profiler."""
    for parameter in parameters:
        parameter.grad = None


def set_trainable(model: Model, rates: Rates) -> None:
    """Freeze the weights without a rate, and put layers without trained weights into evaluation mode.

    A frozen layer then computes the same in every epoch (no dropout, fixed statistics), as it will in prediction.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in rates and parameter.is_floating_point())
    if all(parameter.requires_grad for parameter in model.parameters()):
        model.train()
        return
    model.eval()
    if all(name.startswith("head.") for name in rates):
        model.head.train()
        return
    for layer in layers(model):
        if any(name in rates for name in layer.parameters):
            for module in layer.modules:
                module.train()
    for part in model.modules():  # beside adapters: statistics that moved would be no part of what is saved
        if isinstance(part, nn.BatchNorm2d) and not any(weight.requires_grad for weight in part.parameters()):
            part.eval()
