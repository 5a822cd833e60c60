"""L2-SP: how are weights pulled toward the pretrained ones?"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


@torch.no_grad()
def l2_sp_penalty(optimizer: torch.optim.Optimizer, base: Mapping[nn.Parameter, Tensor], strength: float) -> None:
    """Move each weight toward the base's by `strength` times its learning rate.

    L2-SP (Li et al. 2018), decoupled from the gradient as AdamW's weight decay is: as part of the loss, Adam would
    normalize it away.
    """
    for group in optimizer.param_groups if strength else ():
        for parameter in group["params"]:
            if parameter in base:
                parameter.lerp_(base[parameter], min(1.0, strength * group["lr"]))
