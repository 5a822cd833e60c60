"""Train: the loop. There is one, and every regime goes through it.

It is an iterator: who wants to log, plot, stop early or save loops over it. Two things it bears by itself: a loss that
is no number (the step is left out) and a step that does not fit into memory (the same step in smaller pieces).
"""

import errno
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from warmstart.device import seed
from warmstart.engine import ALONE, World, world
from warmstart.errors import TrainingError
from warmstart.methods import Rates
from warmstart.models.layers import layers
from warmstart.models.model import Model
from warmstart.moments import LeanAdamW
from warmstart.record import Point
from warmstart.tasks import Batch, Loss

OptimizerName = Literal["adamw", "adam", "sgd"]
MomentsName = Literal["fp32", "bf16"]
ScheduleName = Literal["linear", "cosine", "constant"]
OPTIMIZERS: tuple[OptimizerName, ...] = ("adamw", "adam", "sgd")
SCHEDULES: tuple[ScheduleName, ...] = ("linear", "cosine", "constant")
NOTHING: Mapping[str, Tensor] = {}
SMALL = 1e-6  # added to the norm by torch's clipping
STRIKES = 3  # steps in a row without a finite loss: no bad batch any more, the weights are bad


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that the loop reads."""

    steps: int
    lr: float
    batch_size: int = 32
    micro_batch: int | None = None  # rows at a time; their gradients add up to the batch's. None: all at once
    optimizer: OptimizerName = "adamw"
    moments: MomentsName = "fp32"  # of adamw
    schedule: ScheduleName = "linear"
    warmup: float = 0.1  # of the steps
    weight_decay: float = 0.01
    toward_base: float = 0.0  # like weight decay, but towards the base's weights; of weights that a base has
    replay: float = 0.0  # general rows beside each of the task's: see `keeping.Replay`
    clip: float = 1.0
    precision: str = "fp32"
    word_dropout: float = 0.0
    gradient_checkpointing: bool = False  # what the repeated blocks compute is computed again for its gradients
    compile: bool = False  # the repeated blocks, by torch
    shard: bool = False  # cut weights and optimizer over the processes, where there are several
    seed: int = 0


class Source(Protocol):
    """Gives the batch of each step; the same one whenever it is asked."""

    def at(self, step: int, at_most: int | None = None) -> list[Batch]:
        """This process's part of the batch of a step, in pieces of at most that many rows."""
        ...


@dataclass
class State:
    """All that changes while a stage trains. The caller's, so that it can be looked at and saved between steps."""

    model: Model
    optimizer: torch.optim.Optimizer
    runs: nn.Module  # what is called to train it: the model itself, or what synchronises it with other processes
    world: World = ALONE
    step: int = 0
    slowed: float = 1.0  # what every rate is multiplied by: lower after weights that had to be taken back
    micro_batch: int | None = None  # rows at a time: fewer once a step did not fit into memory
    skipped: list[int] = field(default_factory=list)  # steps that were left out: their loss was no finite number
    strikes: int = 0  # of them, the last ones in a row
    base: dict[nn.Parameter, Tensor] = field(default_factory=dict)  # what a weight is pulled towards

    @property
    def synchronises(self) -> bool:
        """Whether processes wait for each other in the backward pass itself, which averages their gradients."""
        return self.runs is not self.model or self.world.cuts(self.model)


@dataclass(frozen=True)
class Step:
    """What one optimizer step did."""

    index: int  # from 0
    loss: float
    lr: float  # of a weight with rate 1
    grad_norm: float  # before clipping
    seen: Point | None = None  # the look at validation rows just before it, where there was one

    @property
    def finite(self) -> bool:
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


class DivergedError(TrainingError):
    """Step after step without a finite loss: the weights of a moment ago are no good."""


def begin(model: Model, rates: Rates, config: TrainConfig, base: Mapping[str, Tensor] = NOTHING) -> State:
    """Freeze what has no rate, and make the optimizer for the rest.

    `base`: the base's weights by the model's names, for `config.toward_base`.
    """
    set_trainable(model, rates)
    optimizer = make_optimizer(param_groups(model, rates, config), config, cut=world().cuts(model))
    learning = [(name, parameter) for name, parameter in model.named_parameters() if name in rates]
    anchors = {parameter: world().cut_as(base[name], parameter) for name, parameter in learning if name in base}
    return State(model, optimizer, world().around(model), world(), micro_batch=config.micro_batch, base=anchors)


def train(state: State, objective: Loss, source: Source, config: TrainConfig) -> Iterator[Step]:
    """Train the state's model in place from `state.step` to `config.steps`; yield after each optimizer step.

    A step whose loss or gradient is not finite changes no weight and is noted in `state.skipped`. Raises DivergedError
    after several in a row, TrainingError where not even one row at a time fits into memory. With many processes each
    takes the same steps; losses and gradients are the whole batch's.
    """
    optimizer = state.optimizer
    trainable = [p for p in state.model.parameters() if p.requires_grad]
    while state.step < config.steps:
        index = state.step
        lr = config.lr * schedule(index, config) * state.slowed
        for group in optimizer.param_groups:
            group["lr"] = lr * group["rate"]
        loss = None
        while loss is None:
            loss = _gradients(state, objective, source.at(index, state.micro_batch), config)
        if not state.synchronises:
            state.world.average(trainable)
        step = Step(index, loss, lr, clip_gradients(state.world, trainable, config.clip))
        if step.finite:
            optimizer.step()
            pull(state, config.toward_base)
        _forget_gradients(trainable)
        _note(state, step)
        yield step


def _gradients(state: State, objective: Loss, pieces: list[Batch], config: TrainConfig) -> float | None:
    """Add up the gradients of this process's part of a batch, piece by piece; give the loss of the whole batch.

    None where memory ran out in any process: the gradients are gone, and the state asks for pieces of half the size.
    """
    loss = state.world.mean(_backward(state, objective, pieces, config))
    if loss is not None:
        return loss
    largest = state.world.by_main(lambda: max(len(piece) for piece in pieces))
    if largest == 1:
        raise TrainingError(
            f"step {state.step} does not fit into memory, not even one row at a time.",
            "use a smaller --max-length, a smaller base, or a machine with more memory",
        )
    _forget_gradients(state.model.parameters())
    state.micro_batch = largest // 2
    return None


def _backward(state: State, objective: Loss, pieces: list[Batch], config: TrainConfig) -> float | None:
    """The sum of the losses, each backward; None where memory ran out."""
    device = next(state.model.parameters()).device
    low = config.precision == "bf16"
    precision = torch.autocast(device.type, torch.bfloat16) if low else nullcontext()
    first = state.world.rank * len(pieces)
    total = 0.0
    try:
        for number, piece in enumerate(pieces, first):
            seed(hash((config.seed, state.step, number)))  # dropout depends on these alone
            with precision:
                loss = objective.loss(state.runs, piece.to(device)) * piece.share
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        return total
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
        if state.synchronises:
            # Not a TrainingError, which would be recorded: the others wait, and end when this process does.
            words = f"step {state.step} does not fit into memory; give fewer rows at a time with --micro-batch"
            raise OSError(errno.ENOMEM, words) from error
        return None


def _out_of_memory(error: Exception) -> bool:
    """Torch has a type of its own for this on a GPU only; on the CPU it is a RuntimeError like any other."""
    known = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, known) or "DefaultCPUAllocator: can't allocate memory" in str(error)


def _note(state: State, step: Step) -> None:
    """Go on to the next step. Raises DivergedError after several in a row without a finite loss."""
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


def clip_gradients(world: World, parameters: list[nn.Parameter], clip: float) -> float:
    """Scale the gradients down to the norm `clip`, where theirs is larger; give the norm they had."""
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    value = world.whole(norm).item()
    if value + SMALL > clip:
        nn.utils.clip_grads_with_norm_(parameters, clip, norm)
    return value


def _forget_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """As `optimizer.zero_grad()` does, in a tenth of its time: nothing is noted for a profiler."""
    for parameter in parameters:
        parameter.grad = None


def set_trainable(model: Model, rates: Rates) -> None:
    """Freeze what has no rate, and hold layers in which nothing learns in evaluation mode.

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


def param_groups(model: Model, rates: Rates, config: TrainConfig) -> list[dict[str, object]]:
    """One group for each rate and each decay. Vectors (biases, norms) and embedding tables do not decay.

    An embedding row that no text uses would otherwise shrink with every step, at the full cost of an update.
    """
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if name in rates:
            decays = parameter.ndim > 1 and id(parameter) not in tables
            groups.setdefault((rates[name], decays), []).append(parameter)
    return [
        {"params": params, "rate": rate, "lr": config.lr * rate, "weight_decay": config.weight_decay * decays}
        for (rate, decays), params in sorted(groups.items(), key=lambda item: item[0], reverse=True)
    ]


@torch.no_grad()
def pull(state: State, strength: float) -> None:
    """Move each weight `strength` times its rate of the way back to the base's.

    L2-SP (Li et al. 2018), apart from the gradient as AdamW's decay is: as part of the loss, Adam would scale it away.
    """
    for group in state.optimizer.param_groups if strength else ():
        for parameter in group["params"]:
            if parameter in state.base:
                parameter.lerp_(state.base[parameter], min(1.0, strength * group["lr"]))


def make_optimizer(groups: list[dict[str, object]], config: TrainConfig, *, cut: bool = False) -> torch.optim.Optimizer:
    """AdamW (default), Adam (weight decay as L2, as it was first defined) or SGD with momentum 0.9.

    Torch (2.13) has no fused SGD for weights that are cut over processes.
    """
    if config.moments == "bf16":
        return LeanAdamW(groups, config.lr)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, fused=True)
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, lr=config.lr, fused=True)
    return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, fused=not cut)


def schedule(index: int, config: TrainConfig) -> float:
    """The share of the rate at a step: up over the warm-up, then down to zero (linear, cosine) or level (constant)."""
    warmup = max(1, round(config.warmup * config.steps))
    if index < warmup:
        return (index + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    left = (config.steps - index) / max(1, config.steps - warmup)
    return min(left, 1.0) if config.schedule == "linear" else 0.5 * (1 - math.cos(math.pi * min(left, 1.0)))
