"""Early stopping: which weights are the best so far, and when should training stop?"""

import math

import torch
from torch import Tensor

from warmstart.models.model import Model
from warmstart.runtime.distributed import world
from warmstart.tasks.task import Task

PATIENCE = 0.5  # of the looks without a new best, and training stops


class BestWeights:
    """Keeps the best weights so far, initially the starting weights, and decides when to stop.

    The last evaluation only has to be within `noise` (a share of the score) of the best to win: after a schedule that
    cools down, the last weights are usually the better ones, and the few validation rows may be unable to tell.
    """

    def __init__(self, model: Model, task: Task, evaluations: int, noise: float = 0.0, last: bool = False):
        self.higher, self.evaluations, self.noise = task.higher_is_better, evaluations, noise
        self.keeps_last = last  # whether those at the end are kept in any case
        self.score: float | None = None
        self.step = 0  # of the stage, whose weights these are
        self.waited = 0
        learned = {name for name, p in model.named_parameters() if p.requires_grad}
        learned |= {name for name, _ in model.named_buffers()}  # running statistics move with the weights
        self.live = {name: tensor for name, tensor in model.state_dict().items() if name in learned}
        self.weights = {name: tensor.clone() for name, tensor in self.live.items()}

    def update(self, score: float, step: int, last: bool = False) -> None:
        """Record an evaluation of the current weights; `last`: at the end of the schedule."""
        slack = self.noise * abs(score) if last else 0.0
        best = math.nan if self.score is None else self.score
        if math.isnan(best) or (self.keeps_last and last) or (score - best) * (1 if self.higher else -1) + slack > 0:
            self.score, self.step, self.waited = score, step, 0
            _copy(self.live, self.weights)
        else:
            self.waited += 1

    @property
    def should_stop(self) -> bool:
        return (
            self.evaluations > 1 and not self.keeps_last and self.waited >= max(2, round(PATIENCE * self.evaluations))
        )

    def restore(self) -> None:
        _copy(self.weights, self.live)


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(world().shard_like(source[name], tensor))
