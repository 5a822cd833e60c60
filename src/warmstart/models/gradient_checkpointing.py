"""Gradient checkpointing: how are activations recomputed in the backward pass to save memory?

Only the input of each repeated block is kept. The block is computed again for its gradients, with the same random
numbers: the same result for a third more arithmetic. Weights, names and state dicts do not change.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from warmstart.models.model import Model
from warmstart.models.partial_forward import learning_blocks


@contextmanager
def gradient_checkpointing(model: Model, *, random: bool = True) -> Iterator[None]:
    """Context in which blocks that are trained or carry gradients store only their inputs.

    A body without repeated blocks, or without trained weights, runs as it is. `random` False: the random state is not
    restored for recomputation, for tensors without values.
    """
    chosen = learning_blocks(model)
    configs = {id(found): found for module in model.body.modules() if (found := getattr(module, "config", None))}
    caching = [found for found in configs.values() if getattr(found, "use_cache", False)]
    for block in chosen:
        vars(block)["forward"] = _again(block, random)
    for config in caching:  # keys and values would be there twice
        config.use_cache = False
    try:
        yield
    finally:
        for block in chosen:
            del vars(block)["forward"]
        for config in caching:
            config.use_cache = True


def _again(block: nn.Module, random: bool) -> Callable[..., Any]:
    forward: Callable[..., Any] = block.forward

    @wraps(forward)
    def run(*arguments: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*arguments, **named)
        return checkpoint(
            forward,
            *arguments,
            use_reentrant=False,
            preserve_rng_state=random,
            context_fn=lambda: (nullcontext(), _held(block)),
            **named,
        )

    return run


@contextmanager
def _held(block: nn.Module) -> Iterator[None]:
    """Context in which running statistics are updated in copies: the first pass has updated them already."""
    kept = [(module._buffers, name, buffer) for module in block.modules() for name, buffer in module._buffers.items()]
    for buffers, name, buffer in kept:
        buffers[name] = buffer if buffer is None else buffer.clone()
    try:
        yield
    finally:
        for buffers, name, buffer in kept:
            buffers[name] = buffer
