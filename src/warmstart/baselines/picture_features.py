"""Image features: what does a linear model read of an image? Directions of edges and colors by place, or pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from warmstart.data.encoding.pixels import images_of, resized
from warmstart.data.schema.cell_values import Values
from warmstart.types import Array

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

    def read(self, words: Sequence[str], columns: Mapping[str, Values]) -> "csr_matrix":
        """Sparse float32 [n, features]. Raises InputError for rows without images."""
        from scipy.sparse import csr_matrix

        images = images_of(columns, self.column)
        places = [np.arange(i, min(i + READ_TOGETHER, len(images))) for i in range(0, len(images), READ_TOGETHER)]
        made = [self._of(images.at(some)) for some in places]
        return csr_matrix(np.concatenate(made) if made else np.zeros((0, 0), np.float32))

    def flops(self, rows: int) -> float:
        """Of making the features of so many images, about."""
        return float(OPERATIONS * EDGE_SIDE * EDGE_SIDE * rows)

    def _of(self, pixels: Array) -> Array:
        values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        colors = _cells(resized(values, EDGE_SIDE).numpy(), COLOR_CELLS).reshape(len(pixels), -1)
        if self.kind == "pixels":
            gray = resized(values.mean(1, keepdim=True), PIXEL_SIDE).numpy().reshape(len(pixels), -1)
            shapes = gray - gray.mean(1, keepdims=True)
        else:
            shapes = _edges(resized(values.mean(1, keepdim=True), EDGE_SIDE).numpy()[:, 0])
        parts = (_unit(shapes), COLOR_WEIGHT * _unit(colors - 0.5))
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def to_json(self) -> dict[str, Any]:
        return {"column": self.column, "kind": self.kind}

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> "PictureFeatures":
        return cls(str(known["column"]), "pixels" if known["kind"] == "pixels" else "edges")


def _edges(gray: Array) -> Array:
    """[n, side, side] -> [n, cells * cells * directions]: how strong edges of each direction are, each cell bounded."""
    down, right = np.gradient(gray, axis=(1, 2))
    strength = np.hypot(down, right)
    angle = (np.arctan2(down, right) / (2 * np.pi) % 1.0) * DIRECTIONS
    lower = np.floor(angle).astype(np.int64)
    share = angle - lower
    found = []
    for direction in range(DIRECTIONS):
        weight = (lower % DIRECTIONS == direction) * (1 - share) + ((lower + 1) % DIRECTIONS == direction) * share
        found.append(_cells((strength * weight)[:, None], CELLS))
    histograms = np.concatenate(found, axis=1)
    size = np.sqrt((histograms**2).sum(1, keepdims=True))
    usual = np.maximum(size.mean((2, 3), keepdims=True), 1e-6)
    return np.asarray(histograms / np.sqrt(size**2 + usual**2)).reshape(len(gray), -1)


def _cells(values: Array, cells: int) -> Array:
    """[n, k, side, side] -> [n, k, cells, cells]: the mean of each."""
    n, k, side, _ = values.shape
    found: Array = values.reshape(n, k, cells, side // cells, cells, side // cells).mean((3, 5))
    return found


def _unit(rows: Array) -> Array:
    found: Array = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return found
