"""Validation: what are the loss and the metric on validation rows during training?"""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import nn

from warmstart.data.encoding.examples import Examples
from warmstart.models.evaluate import outputs
from warmstart.models.model import Model
from warmstart.results.bootstrap import mean_score
from warmstart.runtime.distributed import world
from warmstart.tasks.task import Task


@contextmanager
def evaluation_mode(model: nn.Module) -> Generator[None, None, None]:
    """Context in evaluation mode; afterwards each module is as it was, frozen layers included."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def evaluate(model: Model, task: Task, examples: Examples) -> tuple[float, float]:
    """Loss and ranking metric on these rows."""
    found = outputs(model, examples, world())
    targets = examples.targets.numpy()
    loss = task.output_loss(torch.from_numpy(found), examples.targets).item()
    return loss, mean_score(task.score(found, targets, task.calibrate(found, targets)))
