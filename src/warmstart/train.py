"""Train: the loop. There is one, and every regime goes through it.

It is an iterator: who wants to log, plot, stop early or save loops over it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from warmstart.errors import TrainingError
from warmstart.methods import Rates
from warmstart.models.layers import layers
from warmstart.models.model import Model
from warmstart.tasks import Batch, Objective

OptimizerName = Literal["adamw", "adam", "sgd"]
ScheduleName = Literal["linear", "cosine", "constant"]
OPTIMIZERS: tuple[OptimizerName, ...] = ("adamw", "adam", "sgd")
SCHEDULES: tuple[ScheduleName, ...] = ("linear", "cosine", "constant")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that the loop reads."""

    steps: int
    lr: float
    batch_size: int = 32
    optimizer: OptimizerName = "adamw"
    schedule: ScheduleName = "linear"
    warmup: float = 0.1  # of the steps
    weight_decay: float = 0.01
    clip: float = 1.0
    precision: str = "fp32"
    word_dropout: float = 0.0
    seed: int = 0


class Source(Protocol):
    """Gives the batch of each step; the same one whenever it is asked."""

    def at(self, step: int) -> Batch: ...


@dataclass
class State:
    """All that changes while a stage trains. The caller's, so that it can be looked at and saved between steps."""

    model: Model
    optimizer: torch.optim.Optimizer
    step: int = 0


@dataclass(frozen=True)
class Step:
    """What one optimizer step did."""

    index: int  # from 0
    loss: float
    lr: float  # of a weight with rate 1
    grad_norm: float  # before clipping


def begin(model: Model, rates: Rates, config: TrainConfig) -> State:
    """Freeze what has no rate, and make the optimizer for the rest."""
    set_trainable(model, rates)
    return State(model, make_optimizer(param_groups(model, rates, config), config))


def train(state: State, objective: Objective, source: Source, config: TrainConfig) -> Iterator[Step]:
    """Train the state's model in place from `state.step` to `config.steps`; yield after each optimizer step.

    Raises TrainingError when the loss or a gradient is not finite.
    """
    model, optimizer = state.model, state.optimizer
    trainable = [p for p in model.parameters() if p.requires_grad]
    device = trainable[0].device
    precision = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")
    while state.step < config.steps:
        index = state.step
        factor = schedule(index, config)
        for group in optimizer.param_groups:
            group["lr"] = config.lr * group["rate"] * factor
        torch.manual_seed(hash((config.seed, index)))  # dropout depends on the seed and the step alone
        with precision:
            loss = objective.loss(model, source.at(index).to(device))
        loss.backward()  # type: ignore[no-untyped-call]
        norm = clip_gradients(trainable, config.clip)
        step = Step(index, loss.item(), config.lr * factor, norm.item())
        if not (math.isfinite(step.loss) and math.isfinite(step.grad_norm)):
            raise TrainingError(
                f"the loss became {step.loss} (gradient norm {step.grad_norm}) at step {index}.", "try a lower rate"
            )
        optimizer.step()
        optimizer.zero_grad()
        state.step += 1
        yield step


def clip_gradients(parameters: list[nn.Parameter], clip: float) -> Tensor:
    """Scale the gradients down to the norm `clip`; give the norm they had."""
    return nn.utils.clip_grad_norm_(parameters, clip)


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


def make_optimizer(groups: list[dict[str, object]], config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW (default), Adam (weight decay as L2, as it was first defined) or SGD with momentum 0.9."""
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, fused=True)
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, lr=config.lr, fused=True)
    return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, fused=True)


def schedule(index: int, config: TrainConfig) -> float:
    """The share of the rate at a step: up over the warm-up, then down to zero (linear, cosine) or level (constant)."""
    warmup = max(1, round(config.warmup * config.steps))
    if index < warmup:
        return (index + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    left = (config.steps - index) / max(1, config.steps - warmup)
    return min(left, 1.0) if config.schedule == "linear" else 0.5 * (1 - math.cos(math.pi * min(left, 1.0)))
