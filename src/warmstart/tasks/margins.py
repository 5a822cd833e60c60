"""Margins: how are classes learned by margins, each class against all others, as a linear SVM does?"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from warmstart.data.encoding.batches import Batch
from warmstart.types import Array

LOGITS_PER_MARGIN = 4.0  # validation rows correct it by their temperature


@dataclass(frozen=True)
class SquaredHinge:
    """The squares of what margins lack to 1 on their own side, added over classes, averaged over rows."""

    class_weights: tuple[float, ...] = ()  # of a class, or of rows that have a label; (): all count alike

    scale = LOGITS_PER_MARGIN

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """`model` gives logits [n, k]; the targets are class numbers [n], or 0 and 1 [n, k]."""
        margins, targets = model(batch.inputs).float() / self.scale, batch.targets
        labels = targets.ndim == 2
        if not labels:
            targets = functional.one_hot(targets, margins.shape[1])
        lacking = torch.relu(1 - margins * (2 * targets - 1)).square()
        if self.class_weights:
            weights = torch.tensor(self.class_weights, device=margins.device)
            lacking = lacking * (torch.where(targets > 0, weights, 1.0) if labels else weights[batch.targets][:, None])
        return lacking.sum() / len(margins)

    def constant(self, targets: Array, classes: int) -> Array:
        """The margins without any term that this loss is least for, [k]: a class's share, from -1 to 1."""
        share = targets.mean(0) if targets.ndim == 2 else np.bincount(targets, minlength=classes) / len(targets)
        found: Array = 2 * share - 1
        return found
