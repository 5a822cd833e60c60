"""Compiled: the repeated blocks of a body as one compiled piece each.

They are the same code, compiled once for all of them and for any length of line. Weights, names and state dicts stay
as they are. What lies below the lowest weight that learns is left alone: it may only be answering with what was stored.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from warmstart.models.model import Model
from warmstart.models.partial_forward import learning_blocks


@contextmanager
def compile_blocks(model: Model, backend: str = "inductor") -> Iterator[None]:
    """Inside, blocks that learn or carry gradients run as compiled by torch; afterwards as before.

    A body without repeated blocks, or one in which nothing learns, runs as it is.
    """
    chosen = learning_blocks(model)
    for block in chosen:
        block.compile(dynamic=True, backend=backend)
    try:
        yield
    finally:
        for block in chosen:
            block._compiled_call_impl = None
