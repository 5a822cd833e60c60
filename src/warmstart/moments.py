"""Moments: how do the two averages that AdamW keeps of each weight take half the memory?

In bfloat16, two bytes each instead of four. It keeps 8 bits of a number: next to a value of 1 the nearest others are
.996 and 1.008. The second average moves by a thousandth in a step, which the nearest rounding would always take back:
it would never decay. Rounded up or down at random, in proportion to how near each is, it is right on average
(stochastic rounding: Gupta et al. 2015). Weights and gradients stay in fp32.
"""

from collections.abc import Callable

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
SMALL = 1e-8
LOW = 0xFFFF  # the bits of an fp32 number that bfloat16 has no room for


class LeanAdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter 2019) at torch's default settings, whose moments are kept in bfloat16.

    What is drawn for the rounding depends on the step and the place of the weight alone: it is the same after a resume,
    and in every process that takes the same steps.
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
        spread = (second / (1 - BETAS[1] ** step)).sqrt_().add_(SMALL)
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.addcdiv_(first, spread, value=-group["lr"] / (1 - BETAS[0] ** step))
        dice = torch.Generator(weight.device).manual_seed(step * 1_000_003 + place)
        kept["exp_avg"], kept["exp_avg_sq"] = rounded(first, dice), rounded(second, dice)


def rounded(value: Tensor, dice: torch.Generator) -> Tensor:
    """fp32 as bfloat16, up or down at random so that the mean is right. `value` is changed. Finite numbers only."""
    bits = value.view(torch.int32)
    bits += torch.randint(0, LOW + 1, bits.shape, generator=dice, dtype=torch.int32, device=bits.device)
    bits &= ~LOW
    return value.to(torch.bfloat16)
