"""Optimizer: how are weights updated, with which schedule, and how does AdamW's state take half the memory?

In bfloat16, two bytes for each moment instead of four. It keeps 8 bits of a number: next to a value of 1 the nearest
others are .996 and 1.008. The second moment moves by a thousandth in a step, which rounding to the nearest would always
undo: it would never decay. Stochastic rounding (Gupta et al. 2015) rounds up or down at random, in proportion to how
near each is, and is right on average. Weights and gradients stay in fp32.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from warmstart.models.learning_rule import learning_rules
from warmstart.models.model import Model
from warmstart.regimes.method import Rates
from warmstart.training.config import TrainConfig
from warmstart.training.group_optimizer import GroupedOptimizer


def param_groups(model: Model, rates: Rates, config: TrainConfig) -> list[dict[str, object]]:
    """One group per rate, decay and optimizer. Vectors (biases, norms) and embedding tables do not decay.

    A group has an 'optimizer' if any module of the model declares one (see `models.learning_rule`).

    With decay, an embedding row that no text uses would shrink with every step, at the full cost of an update.
    """
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)}
    rules = learning_rules(model)
    groups: dict[tuple[float, bool, str], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if name in rates:
            decays = parameter.ndim > 1 and id(parameter) not in tables
            optimizer = (rules[name].optimizer if name in rules else "adamw") if rules else ""
            groups.setdefault((rates[name], decays, optimizer), []).append(parameter)
    return [
        {"params": params, "rate": rate, "lr": config.lr * rate, "weight_decay": config.weight_decay * decays}
        | ({"optimizer": optimizer} if optimizer else {})
        for (rate, decays, optimizer), params in sorted(groups.items(), key=lambda item: item[0], reverse=True)
    ]


def make_optimizer(groups: list[dict[str, object]], config: TrainConfig, *, cut: bool = False) -> torch.optim.Optimizer:
    """AdamW (default), Adam (weight decay as L2, as originally defined) or SGD with momentum 0.9.

    Groups that declare an optimizer get their own. Torch (2.13) has no fused SGD for weights sharded over processes.
    """
    if any("optimizer" in group for group in groups):
        return GroupedOptimizer(groups, config.lr)
    if config.optimizer_state == "bf16":
        return AdamWBf16State(groups, config.lr)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, fused=True)
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, lr=config.lr, fused=True)
    return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, fused=not cut)


def schedule_factor(index: int, config: TrainConfig) -> float:
    """The share of the rate at a step: up over the warm-up, then down to zero (linear, cosine) or level (constant)."""
    warmup = max(1, round(config.warmup * config.steps))
    if index < warmup:
        return (index + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    left = (config.steps - index) / max(1, config.steps - warmup)
    return min(left, 1.0) if config.schedule == "linear" else 0.5 * (1 - math.cos(math.pi * min(left, 1.0)))


BETAS = (0.9, 0.999)
EPSILON = 1e-8
LOW = 0xFFFF  # the bits of an fp32 number that bfloat16 has no room for


class AdamWBf16State(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter 2019) at torch's default settings, with its moments in bfloat16.

    The random numbers for rounding depend only on the step and the position of the weight: they are the same after a
    resume, and in every process that takes the same steps.
    """

    def __init__(self, groups: list[dict[str, object]], lr: float):
        super().__init__(groups, {"lr": lr, "weight_decay": 0.01})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None, "the loop has computed the gradients"
        place = 0
        for group in self.param_groups:
            for weight in group["params"]:
                place += 1
                if weight.grad is not None:
                    self._move(weight, weight.grad, group, place)

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, float], place: int) -> None:
        kept = self.state[weight]
        if not kept:
            kept["step"] = torch.tensor(0.0)
            kept["exp_avg"] = torch.zeros_like(weight, dtype=torch.bfloat16)
            kept["exp_avg_sq"] = torch.zeros_like(weight, dtype=torch.bfloat16)
        kept["step"] += 1
        step = int(kept["step"])
        # After a checkpoint was read they are fp32: torch gives them the type of the weight. Their values are the same.
        first = kept["exp_avg"].float().lerp_(gradient, 1 - BETAS[0])
        second = kept["exp_avg_sq"].float().mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        spread = (second / (1 - BETAS[1] ** step)).sqrt_().add_(EPSILON)
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.addcdiv_(first, spread, value=-group["lr"] / (1 - BETAS[0] ** step))
        generator = torch.Generator(weight.device).manual_seed(step * 1_000_003 + place)
        kept["exp_avg"], kept["exp_avg_sq"] = stochastic_round(first, generator), stochastic_round(second, generator)


def stochastic_round(value: Tensor, generator: torch.Generator) -> Tensor:
    """Round fp32 to bfloat16, up or down at random so that the mean is unbiased. `value` is changed. Finite numbers
    only.
    """
    bits = value.view(torch.int32)
    bits += torch.randint(0, LOW + 1, bits.shape, generator=generator, dtype=torch.int32, device=bits.device)
    bits &= ~LOW
    return value.to(torch.bfloat16)
