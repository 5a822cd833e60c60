"""Pixels: how does a network read an image? As standardized colors, at its own size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from warmstart.data.encoding.inputs import Encoded, Inputs
from warmstart.data.schema.cell_values import Values
from warmstart.data.tables.disk_array import DiskArray
from warmstart.data.tables.images import Images
from warmstart.errors import InputError
from warmstart.types import Array

# Mean and deviation of each color over ImageNet, in shares of the brightest: what nearly all bases were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RESIZED_TOGETHER = 256  # images


@dataclass(frozen=True)
class Pixels(Inputs):
    """The images of a column at `size` x `size` pixels, each color as (value - mean) / std."""

    column: str
    size: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    flips: bool = False  # whether the mirror image of an image says the same

    max_length = 1  # an image is read as a whole
    reads_images = True

    @property
    def key(self) -> str:
        return f"pixels:{self.column}:{self.size}:{self.mean}:{self.std}:{self.flips}"

    def encode(self, texts: Sequence[str]) -> "PixelRows":
        return self.encode_rows(texts, {})

    def encode_rows(self, texts: Sequence[str], columns: Mapping[str, Values]) -> "PixelRows":
        """Raises InputError for rows without images: texts are only file names."""
        return PixelRows(_at_most(images_of(columns, self.column), self.size), self)

    def count(self, texts: Sequence[str]) -> list[int]:
        """The cost of an image, always the same."""
        return [1] * len(texts)

    def save(self, folder: Path) -> None:
        """Writes nothing: everything is in `to_json`."""

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "pixels",
            "column": self.column,
            "size": self.size,
            "mean": list(self.mean),
            "std": list(self.std),
            "flips": self.flips,
        }

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> "Pixels":
        return cls(known["column"], known["size"], tuple(known["mean"]), tuple(known["std"]), known["flips"])


def images_of(columns: Mapping[str, Values], name: str) -> Images:
    """The images in a column of some rows. Raises InputError if there are none, for example for texts alone."""
    images = columns.get(name)
    if not isinstance(images, Images):
        raise InputError(
            f"the model reads the images in column {name!r}, and they were not given.",
            "give a table or a folder with images, not texts",
        )
    return images


@dataclass(frozen=True, eq=False)
class PixelRows(Encoded):
    """Images of at most the input size: smaller ones are upscaled when they are read, which saves memory."""

    images: Images
    inputs: Pixels
    _scale: tuple[Tensor, Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (self.inputs.mean, self.inputs.std))
        object.__setattr__(self, "_scale", (1 / (255.0 * std), mean / std))

    def __len__(self) -> int:
        return len(self.images)

    def sizes(self) -> Array:
        return np.ones(len(self), dtype=np.int64)

    @property
    def pads(self) -> bool:
        return False

    @property
    def flips(self) -> bool:
        return self.inputs.flips

    def words(self, index: Array) -> list[int]:
        return [0] * len(index)

    def batch(self, index: Array, kept: Sequence[Array] | None = None) -> dict[str, Tensor]:
        """`pixel_values`: float32 [n, 3, size, size]."""
        values = torch.from_numpy(self.images.at(index)).permute(0, 3, 1, 2).float()
        if values.shape[-1] != self.inputs.size:
            values = resized(values, self.inputs.size)
        factor, shift = self._scale
        return {"pixel_values": values.mul_(factor).sub_(shift)}


def resized(values: Tensor, size: int) -> Tensor:
    """[n, 3, h, w] -> [n, 3, size, size]: bilinear, with antialiasing when downscaling."""
    return functional.interpolate(values, (size, size), mode="bilinear", antialias=True)


def _at_most(images: Images, size: int) -> Images:
    """The same images, downscaled once if they are larger."""
    if images.side <= size:
        return images
    smaller = DiskArray(np.uint8)
    for start in range(0, len(images), RESIZED_TOGETHER):
        some = np.arange(start, min(start + RESIZED_TOGETHER, len(images)))
        values = torch.from_numpy(images.at(some)).permute(0, 3, 1, 2).float()
        found = resized(values, size).round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        smaller.append(found.reshape(-1).numpy())
    names = np.array(list(images), dtype=object)
    return Images(smaller.array().reshape(-1, size, size, 3), names)
