"""Image augmentation: how are training images changed, so that a network does not memorize them?

The changes depend only on (seed, epoch, row): not on workers, a resume, or the rest of the batch. They are applied to a
batch at once, after standardization.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from warmstart.types import Array


class Strength(NamedTuple):
    """The maximum of each change."""

    shift: float  # share of a side; in whole pixels where nothing is turned or scaled
    turn: float = 0.0  # degrees
    scale: float = 0.0  # share
    brightness: float = 0.0  # deviations
    contrast: float = 0.0  # share
    erased: float = 0.0  # share of the images in which a rectangle becomes gray
    erased_side: float = 0.0  # of such a rectangle, share of a side at most


# Strong shifts of an eighth are the 4 pixels of 32 that papers on CIFAR-10 use since He et al. (2015); light ones half
# of that, for short trainings. Erasing as in Zhong et al. (2017), rectangles of up to a quarter of the image.
STRENGTHS = {
    "light": Strength(shift=1 / 16),
    "strong": Strength(1 / 8, turn=15.0, scale=0.15, brightness=0.3, contrast=0.3, erased=0.5, erased_side=0.5),
}
STRENGTHS["mix"] = STRENGTHS["light"]  # beside it, `mixing` makes one image of two
MIXING_STRENGTHS = ("mix",)
DRAWS = 12  # random numbers an image, always as many: a strength must not change what another one draws


@dataclass(frozen=True)
class Augmentation:
    """Image augmentation of one strength for a run."""

    strength: Strength
    seed: int
    flips: bool  # half of the images are mirrored

    @classmethod
    def named(cls, name: str, seed: int, flips: bool) -> "Augmentation | None":
        """The strength of this name; None for 'none'."""
        return cls(STRENGTHS[name], seed, flips) if name in STRENGTHS else None

    def apply(self, batch: dict[str, Tensor], numbers: Array, epoch: int) -> dict[str, Tensor]:
        """The batch with augmented `pixel_values` [n, 3, s, s]; `numbers`: row numbers."""
        if "pixel_values" not in batch:
            return batch
        drawn = np.stack([np.random.default_rng((self.seed, epoch, int(n), 2)).random(DRAWS) for n in numbers])
        return batch | {"pixel_values": self._changed(batch["pixel_values"], torch.from_numpy(drawn).float())}

    def _changed(self, values: Tensor, drawn: Tensor) -> Tensor:
        most, size = self.strength, values.shape[-1]
        either = 2 * drawn - 1  # -1..1
        mirrored = 1 - 2 * ((drawn[:, 0] < 0.5) & torch.tensor(self.flips)).float()
        shift = either[:, 1:3] * most.shift * 2  # the image goes from -1 to 1
        if not (most.turn or most.scale):
            shift = (shift * size / 2).round() * 2 / size
        angle, grow = either[:, 3] * math.radians(most.turn), 1 + either[:, 4] * most.scale
        cos, sin = torch.cos(angle) * grow, torch.sin(angle) * grow
        rows = torch.stack([cos * mirrored, -sin, shift[:, 0], sin * mirrored, cos, shift[:, 1]], 1).view(-1, 2, 3)
        grid = functional.affine_grid(rows, list(values.shape), align_corners=False)
        exact = not (most.turn or most.scale)  # then no pixel lies between others
        mode = "nearest" if exact else "bilinear"
        values = functional.grid_sample(values, grid, mode=mode, padding_mode="border", align_corners=False)
        if most.contrast or most.brightness:
            center = values.mean((1, 2, 3), keepdim=True)
            factor = 1 + either[:, 5].view(-1, 1, 1, 1) * most.contrast
            values = (values - center) * factor + center + either[:, 6].view(-1, 1, 1, 1) * most.brightness
        return _erased(values, drawn[:, 7:12], most) if most.erased else values


def _erased(values: Tensor, drawn: Tensor, most: Strength) -> Tensor:
    """Erase a rectangle in some of the images with the mean color (0 after standardization)."""
    place = torch.arange(values.shape[-1], device=values.device) / values.shape[-1]
    height, width = drawn[:, 1:2] * most.erased_side, drawn[:, 2:3] * most.erased_side
    top, left = drawn[:, 3:4] * (1 - height), drawn[:, 4:5] * (1 - width)
    rows = (place >= top) & (place < top + height) & (drawn[:, :1] < most.erased)
    columns = (place >= left) & (place < left + width)
    hidden = rows[:, :, None] & columns[:, None, :]
    return values.masked_fill(hidden[:, None], 0.0)
