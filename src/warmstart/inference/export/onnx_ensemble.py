"""ONNX ensemble: how do several exported models predict as one? Each keeps its graph; a small graph averages them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

SMALLEST_SHARE = 1e-12  # a mean probability that is not 0, as in `Classification.average`


class MeanGraph(nn.Module):
    """The weighted mean of the members' predictions, as outputs of their task."""

    reads = ("members",)

    def __init__(self, weights: Sequence[float], task: dict[str, Any]):
        """`weights` of the members, whose sum is 1; `task` as it is saved."""
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float64))
        self.classes, self.several = "classes" in task, task.get("multi_label", False)

    @property
    def averaged(self) -> str:
        """The output of a member's graph that is averaged."""
        return "probabilities" if self.classes else "outputs"

    def forward(self, members: Tensor) -> Tensor:
        """`members`: float32 [rows, members, outputs]. Gives float32 [rows, outputs]."""
        weights: Any = self.weights
        mean = (members.double() * weights[None, :, None]).sum(dim=1)
        if self.classes:
            mean = mean.clamp(SMALLEST_SHARE, 1 - SMALLEST_SHARE)
            mean = mean.log() - (torch.log1p(-mean) if self.several else 0.0)
        found: Tensor = mean.float()
        return found
