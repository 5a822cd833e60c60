"""Evaluate: what does a model output for many rows, batch by batch?"""

import numpy as np
import torch

from warmstart.data.encoding.batches import by_length
from warmstart.data.encoding.examples import Examples
from warmstart.models.model import Model
from warmstart.runtime.distributed import ALONE, Distributed
from warmstart.types import Array

EVALUATION_BATCH = 64  # rows, at most
# And tokens: 64 texts of 77 on average took MiniLM 1.7 times as long as pieces of so many did.
EVALUATION_CPU_TOKENS = 2048


def outputs(model: Model, examples: Examples, world: Distributed = ALONE) -> Array:
    """The model's output for each row, float32 [n, k], in evaluation mode. Several processes share the batches.

    Each computes equally many, the last one perhaps twice, because all must gather shards at the same time.
    """
    if any(module.training for module in model.modules()):  # `eval` takes half a millisecond, which one row notices
        model.eval()
    device = next(model.parameters()).device
    found: Array | None = None
    batches = _batches(examples.sizes(), device)
    with torch.no_grad():
        for first in range(0, len(batches), world.size):
            own = first + world.rank < len(batches)
            index = batches[first + world.rank] if own else batches[first]
            values = model(examples.take(index).to(device).inputs).float().cpu().numpy()
            if found is None:
                found = np.zeros((len(examples), values.shape[1]), dtype=np.float32)
            if own:
                found[index] = values
    assert found is not None
    world.all_reduce_sum(found)
    return found


def _batches(sizes: Array, device: torch.device) -> list[Array]:
    """Rows to process together: on a CPU so few that intermediate results stay in its cache."""
    return by_length(sizes, EVALUATION_BATCH, EVALUATION_CPU_TOKENS if device.type == "cpu" else None)
