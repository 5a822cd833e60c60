"""Compile: how are the repeated blocks of a model compiled, one piece each?

They share the same code, which is compiled once for all blocks and all line lengths. Weights, names and state dicts do
not change. Blocks below the lowest trained weight are left alone: they may only return cached activations.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from warmstart.models.model import Model
from warmstart.models.partial_forward import learning_blocks


@contextmanager
def compile_blocks(model: Model, backend: str = "inductor") -> Iterator[None]:
    """Context in which blocks that are trained or carry gradients are compiled by torch.

    A body without repeated blocks, or without trained weights, runs as it is.
    """
    chosen = learning_blocks(model)
    for block in chosen:
        block.compile(dynamic=True, backend=backend)
    try:
        yield
    finally:
        for block in chosen:
            block._compiled_call_impl = None
