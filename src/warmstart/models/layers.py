"""Layers: which layers does a model have, in order from its input to its head?"""

from dataclasses import dataclass, replace

from torch import nn

from warmstart.errors import UsageError
from warmstart.models.model import Model

# Where the repeated blocks stand, by class name, for models whose longest ModuleList is something else.
T5_STACKS = ("T5Stack", "MT5Stack", "UMT5Stack", "LongT5Stack", "SwitchTransformersStack")
BLOCKS: dict[str, str] = dict.fromkeys(T5_STACKS, "block")  # in each of which is a list too
STACKS = ("encoder", "decoder")  # of an encoder-decoder


@dataclass(frozen=True)
class Layer:
    """Modules that are trained together, and the full names of their parameters."""

    name: str
    modules: tuple[nn.Module, ...]
    parameters: tuple[str, ...]


def layers(model: Model) -> list[Layer]:
    """Embeddings, each repeated block, head; for an encoder-decoder the encoder's blocks, then the decoder's.

    Modules before the blocks in the body belong to the embeddings, those after them (a last norm) to the last block of
    their part. Raises UsageError for a body without repeated blocks, whose layers cannot be identified.
    """
    paths = blocks_paths(model.body)
    groups: list[tuple[str, list[tuple[str, nn.Module]]]] = [("embeddings", [])]
    if len(paths) > 1:  # tables that both parts share
        groups[0][1].extend((f"body.{n}", child) for n, child in model.body.named_children() if n not in STACKS)
    for path in paths:
        before, after = _around(model.body, path, STACKS if len(paths) > 1 else ())
        groups[0][1].extend(before)
        for i, block in enumerate(model.body.get_submodule(path).children()):
            groups.append((f"body.{path}.{i}", [(f"body.{path}.{i}", block)]))
        groups[-1][1].extend(after)
    groups.append(("head", [("head", model.head)]))
    found = [
        Layer(name, tuple(module for _, module in members), tuple(_names(model, [prefix for prefix, _ in members])))
        for name, members in groups
    ]
    known = {name for layer in found for name in layer.parameters}
    bare = [name for name, _ in model.named_parameters() if name not in known]  # a class token, say
    return [replace(found[0], parameters=(*found[0].parameters, *bare)), *found[1:]]


def blocks_paths(body: nn.Module) -> list[str]:
    """The dotted names of the repeated blocks, from the input on: two for an encoder-decoder."""
    if not getattr(getattr(body, "config", None), "is_encoder_decoder", False):
        return [blocks_path(body)]
    return [f"{part}.{blocks_path(body.get_submodule(part))}" for part in STACKS]


def repeated_blocks(body: nn.Module) -> list[tuple[str, nn.Module]]:
    """The repeated blocks by their dotted names, from the input on."""
    paths = blocks_paths(body)
    return [(f"{path}.{name}", block) for path in paths for name, block in body.get_submodule(path).named_children()]


def blocks_path(body: nn.Module) -> str:
    """The dotted name of the repeated blocks: by family, else the longest ModuleList."""
    if type(body).__name__ in BLOCKS:
        return BLOCKS[type(body).__name__]
    lists: list[tuple[int, str]] = [(len(m), name) for name, m in body.named_modules() if isinstance(m, nn.ModuleList)]
    several = [each for each in lists if each[0] > 1]
    lists = several or [each for each in lists if each[0] == 1][:1]  # a single block is the outermost list of one
    if not lists:
        raise UsageError(
            f"the layers of {type(body).__name__} cannot be identified: it has no ModuleList of repeated blocks.",
            "put the blocks into one nn.ModuleList, or use a regime that trains all weights at one rate",
        )
    longest = max(length for length, _ in lists)
    return next(name for length, name in lists if length == longest)


def _around(
    body: nn.Module, path: str, parts: tuple[str, ...]
) -> tuple[list[tuple[str, nn.Module]], list[tuple[str, nn.Module]]]:
    """The modules before and after the blocks, walking down to them: from the body, or from the one of its parts."""
    before: list[tuple[str, nn.Module]] = []
    after: list[tuple[str, nn.Module]] = []
    here, prefix = body, "body"
    for step in path.split("."):
        if here is body and parts:
            here, prefix = here.get_submodule(step), f"{prefix}.{step}"
            continue
        passed = False
        for name, child in here.named_children():
            if name == step:
                passed = True
            else:
                (after if passed else before).append((f"{prefix}.{name}", child))
        here, prefix = here.get_submodule(step), f"{prefix}.{step}"
    return before, after


def _names(model: nn.Module, prefixes: list[str]) -> list[str]:
    dotted = tuple(f"{prefix}." for prefix in prefixes)
    return [name for name, _ in model.named_parameters() if name.startswith(dotted)]
