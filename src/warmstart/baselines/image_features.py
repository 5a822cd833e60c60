"""Image features: what does a linear model read of an image? Directions of edges and colors by place, or pixels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from warmstart.data.encoding.pixels import images_of, resized
from warmstart.data.schema.cell_values import Values

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Kind = Literal["edges", "pixels"]
PICTURE_FEATURE_KINDS: tuple[Kind, ...] = ("edges", "pixels")
EDGE_SIDE, PIXEL_SIDE = 32, 16  # pixels of each side, to which an image is made smaller or larger first
CELLS, DIRECTIONS, COLOR_CELLS = 8, 8, 4  # each way; of edges
READ_TOGETHER = 512  # images
COLOR_WEIGHT = 0.5  # of the colors beside edges or gray pixels, each of length 1
OPERATIONS = 60  # for each pixel of an image, about: making it smaller, gradients, directions


@dataclass(frozen=True)
class PictureFeatures:
    """`edges`: histograms of the directions of edges in 8 x 8 cells (Dalal and Triggs 2005), and mean colors in 4 x 4.

    `pixels`: 16 x 16 gray values, less their mean, and the same colors. Both parts have length 1.
    """

    column: str
    kind: Kind = "edges"

    @property
    def width(self) -> int:
        """How many numbers an image becomes."""
        shapes = PIXEL_SIDE**2 if self.kind == "pixels" else CELLS**2 * DIRECTIONS
        return shapes + 3 * COLOR_CELLS**2

    def read(self, words: Sequence[str], columns: Mapping[str, Values]) -> "csr_matrix":
        """Sparse float32 [n, features]. Raises InputError for rows without images."""
        from scipy.sparse import csr_matrix

        images = images_of(columns, self.column)
        places = [np.arange(i, min(i + READ_TOGETHER, len(images))) for i in range(0, len(images), READ_TOGETHER)]
        made = [self.features(torch.from_numpy(images.at(some))).numpy() for some in places]
        return csr_matrix(np.concatenate(made) if made else np.zeros((0, 0), np.float32))

    def flops(self, rows: int) -> float:
        """Of making the features of so many images, about."""
        return float(OPERATIONS * EDGE_SIDE * EDGE_SIDE * rows)

    def features(self, images: Tensor) -> Tensor:
        """uint8 [n, side, side, 3] to float32 [n, features]; in torch alone, so that it goes into an ONNX graph."""
        values = images.permute(0, 3, 1, 2).float() / 255
        colors = _cells(_sized(values, EDGE_SIDE), COLOR_CELLS).flatten(1)
        gray = values.mean(1, keepdim=True)
        if self.kind == "pixels":
            shapes = _sized(gray, PIXEL_SIDE).flatten(1)
            shapes = shapes - shapes.mean(1, keepdim=True)
        else:
            shapes = _edges(_sized(gray, EDGE_SIDE)[:, 0])
        return torch.cat([_unit(shapes), COLOR_WEIGHT * _unit(colors - 0.5)], 1)

    def to_json(self) -> dict[str, Any]:
        return {"column": self.column, "kind": self.kind}

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> "PictureFeatures":
        return cls(str(known["column"]), "pixels" if known["kind"] == "pixels" else "edges")


def _sized(values: Tensor, side: int) -> Tensor:
    return values if values.shape[-1] == side else resized(values, side)


def _edges(gray: Tensor) -> Tensor:
    """[n, side, side] -> [n, cells * cells * directions]: how strong edges of each direction are, each cell bounded."""
    down, right = _slopes(gray.transpose(1, 2)).transpose(1, 2), _slopes(gray)
    strength = (down * down + right * right).sqrt()
    angle = (torch.atan2(down, right) / (2 * math.pi)).remainder(1.0) * DIRECTIONS
    lower = angle.floor()
    share = angle - lower
    lower = lower.remainder(DIRECTIONS)  # an angle just below a whole turn is rounded up to it
    upper = (lower + 1).remainder(DIRECTIONS)
    found = []
    for direction in range(DIRECTIONS):
        weight = (lower == direction).float() * (1 - share) + (upper == direction).float() * share
        found.append(_cells((strength * weight)[:, None], CELLS))
    histograms = torch.cat(found, 1)
    size = (histograms * histograms).sum(1, keepdim=True).sqrt()
    usual = size.mean((2, 3), keepdim=True).clamp(min=1e-6)
    return (histograms / (size * size + usual * usual).sqrt()).flatten(1)


def _slopes(rows: Tensor) -> Tensor:
    """[n, k, side]: half the difference of both neighbors; at the ends the difference to the only one."""
    inner = (rows[:, :, 2:] - rows[:, :, :-2]) / 2
    return torch.cat([rows[:, :, 1:2] - rows[:, :, :1], inner, rows[:, :, -1:] - rows[:, :, -2:-1]], 2)


def _cells(values: Tensor, cells: int) -> Tensor:
    """[n, k, side, side] -> [n, k, cells, cells]: the mean of each."""
    return functional.avg_pool2d(values, values.shape[-1] // cells)


def _unit(rows: Tensor) -> Tensor:
    return rows / (rows * rows).sum(1, keepdim=True).sqrt().clamp(min=1e-6)
