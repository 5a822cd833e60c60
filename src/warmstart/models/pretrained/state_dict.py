"""State dict: which image network do the weights in a .pth file belong to?

A file of PyTorch is a pickle, which can run code. It is read with `weights_only=True`, which builds tensors and
nothing else; the network is one of ours, known by the names of its weights.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from warmstart.errors import InputError, MissingError, shorten
from warmstart.models.efficientnet import LITE_MEAN, LITE_SIDE, LITE_STD, EfficientNetLite, load_lite_weights
from warmstart.models.image_network import ImageNetworkConfig
from warmstart.models.resnet import RESNET_SIDE, SHAPES, ResNet, ResNetShape, load_resnet_weights, shape_of
from warmstart.runtime.files import read_tensors

WEIGHT_ENDINGS = (".pth", ".pt")
LITE, RESNET = "efficientnet-lite0", "resnet"
_LITE_STEM = "_conv_stem.weight"
_NESTED = ("state_dict", "model")  # where training scripts keep the weights beside an optimizer's state
_PARALLEL = "module."  # before every name, of a model that was saved from several GPUs
KNOWN_NETWORKS = f"{', '.join(SHAPES)} as torchvision names their weights, and EfficientNet-Lite0"


def is_state_dict(source: str) -> bool:
    """Whether `--base` names a file of weights."""
    return source.endswith(WEIGHT_ENDINGS)


@functools.lru_cache(maxsize=2)
def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors in a file of PyTorch or safetensors, by name. No code in it is run.

    Raises MissingError where there is no file, InputError where it holds anything but weights.
    """
    if not path.is_file():
        raise MissingError(f"there is no file {str(path)!r}.", "name a file of weights, or a folder with config.json")
    if path.suffix not in WEIGHT_ENDINGS:
        return read_tensors(path)
    try:
        found: Any = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # a damaged or hostile file raises anything
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{path} holds no plain weights: {shorten(said, 300)}", "save them with torch.save(model.state_dict(), ...)"
        ) from error
    return only_weights(found, str(path))


def only_weights(found: Any, where: str) -> dict[str, Tensor]:
    """The weights of a model, by name. Raises InputError for anything else."""
    inner = next((found[key] for key in _NESTED if isinstance(found, Mapping) and key in found), found)
    if not isinstance(inner, Mapping) or not all(isinstance(each, Tensor) for each in inner.values()):
        raise InputError(
            f"{where} holds {type(inner).__name__}, not the weights of a model by name.",
            "save them with torch.save(model.state_dict(), ...)",
        )
    return {str(name).removeprefix(_PARALLEL): weight for name, weight in inner.items()}


def network_of(weights: Mapping[str, Tensor], where: str) -> ImageNetworkConfig:
    """The network that these weights belong to, at its own size. Raises InputError for one that is not known."""
    if _LITE_STEM in weights:
        return ImageNetworkConfig("efficientnet-lite0", LITE_SIDE)
    shape = shape_of(weights)
    if shape is None:
        raise InputError(f"{where} holds weights of a network that is not known.", f"known are {KNOWN_NETWORKS}")
    return ImageNetworkConfig("resnet", RESNET_SIDE, shape.to_json())


def standardization(network: ImageNetworkConfig) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and deviation of each color that the network was trained with; None: those of ImageNet."""
    return ((LITE_MEAN,) * 3, (LITE_STD,) * 3) if network.family == LITE else None


def load_state_dict(body: nn.Module, network: ImageNetworkConfig, location: str) -> None:
    """Fill the network with the weights in a file. Raises InputError where they do not fit it."""
    weights = read_state_dict(Path(location))
    try:
        if network.family == LITE:
            load_lite_weights(cast(EfficientNetLite, body), weights)
        else:
            shape = ResNetShape(tuple(network.settings["blocks"]), bool(network.settings["bottleneck"]))
            load_resnet_weights(cast(ResNet, body), weights, shape)
    except RuntimeError as error:
        said = " ".join(str(error).split("\n")[1:2]).strip() or str(error)
        raise InputError(
            f"{location}: its weights do not fit {network.family}: {shorten(said, 300)}", f"known are {KNOWN_NETWORKS}"
        ) from error
