"""Partial forward: how does a model run from stored activations, without its lower blocks?

Nothing is moved or renamed: every block stays in place with its weights, and the lower ones only return what was
stored. So learning rates, state dicts and saving are not affected. The embeddings are still computed, at little cost,
since models derive masks and positions next to them.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn

from warmstart.errors import UsageError
from warmstart.models.layers import layers, repeated_blocks
from warmstart.models.model import Model

BELOW = "below"  # the keyword under which a batch carries what is below the cut


def frozen_depth(model: Model) -> int | None:
    """How many blocks are below the lowest trained layer; None if nothing in the body is trained.

    0 if the embeddings or the first block are trained, or if layers cannot be identified.
    """
    if not any(parameter.requires_grad for parameter in model.body.parameters()):
        return None
    try:
        found = layers(model)
    except UsageError:
        return 0
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    lowest = next(i for i, layer in enumerate(found) if not learning.isdisjoint(layer.parameters))
    return max(0, lowest - 1)


def learning_blocks(model: Model) -> list[nn.Module]:
    """The repeated blocks from the lowest trained one on.

    None if nothing in the body is trained, or if blocks cannot be identified.
    """
    depth = frozen_depth(model)
    try:
        return [] if depth is None else _blocks(model.body)[depth:]
    except UsageError:
        return []


def prefix_fingerprint(model: Model, depth: int | None) -> str:
    """SHA-256 of everything that determines the activations: architecture, weights, persistent buffers, pooling."""
    digest = hashlib.sha256(repr((type(model.body), getattr(model.body, "config", None), depth)).encode())
    modules: Sequence[nn.Module] = [model.body]
    bare: list[nn.Parameter] = []  # of the body itself, a class token say
    if depth is None:
        digest.update(model.pooling.encode())
    else:
        below = layers(model)[: depth + 1]
        modules = [module for layer in below for module in layer.modules]
        inside = {id(parameter) for module in modules for parameter in module.parameters()}
        named = [model.get_parameter(name) for layer in below for name in layer.parameters]
        bare = [parameter for parameter in named if id(parameter) not in inside]
    state = [entry for module in modules for entry in module.state_dict().items()]
    for name, tensor in [*state, *(("", parameter.detach()) for parameter in bare)]:
        if isinstance(tensor, Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class _Reached(Exception):
    """Ends a forward pass after the frozen prefix."""


def forward_below(body: nn.Module, depth: int, inputs: dict[str, Tensor]) -> tuple[Tensor, int]:
    """Hidden states of the lowest `depth` blocks for a batch; the blocks above do not run.

    Also the length of the tuple that a block returns, 0 for a tensor. Raises ValueError for a body that returns
    neither, or never runs its blocks.
    """
    found: list[object] = []

    def stop(block: nn.Module, arguments: object, output: object) -> None:
        found.append(output)
        raise _Reached

    hook = _blocks(body)[depth - 1].register_forward_hook(stop)
    try:
        with suppress(_Reached):
            body(**inputs)
    finally:
        hook.remove()
    output = found[0] if found else None
    hidden = output[0] if isinstance(output, tuple) else output
    if not isinstance(hidden, Tensor):
        raise ValueError(f"block {depth - 1} of {type(body).__name__} gives no hidden states")
    return hidden, len(output) if isinstance(output, tuple) else 0


@contextmanager
def forward_above(body: nn.Module, depth: int | None, tuple_length: int = 0) -> Iterator[None]:
    """Context in which the body takes `below=` beside its inputs, and starts from there.

    `depth` None: the whole body is frozen, and returns `below` itself.
    """
    given: list[Tensor] = []

    def take(
        body: nn.Module, arguments: tuple[Tensor, ...], named: dict[str, Tensor]
    ) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        given[:] = [named[BELOW]]
        return arguments, {name: tensor for name, tensor in named.items() if name != BELOW}

    def passed_over(*_: object, **__: object) -> object:
        return (given[0], *[None] * (tuple_length - 1)) if tuple_length else given[0]

    with _answering([body] if depth is None else _blocks(body)[:depth], passed_over):
        hook = body.register_forward_pre_hook(take, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()


def _blocks(body: nn.Module) -> list[nn.Module]:
    return [block for _, block in repeated_blocks(body)]


@contextmanager
def _answering(modules: Sequence[nn.Module], forward: Callable[..., object]) -> Iterator[None]:
    """Context in which these modules have another `forward`."""
    before = [vars(module).get("forward") for module in modules]
    for module in modules:
        vars(module)["forward"] = forward
    try:
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            del vars(module)["forward"]
            if own is not None:
                vars(module)["forward"] = own
