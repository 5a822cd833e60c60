"""Image mixing: how do two training images and their classes become one?

Mixup (Zhang et al. 2018) averages them; CutMix (Yun et al. 2019) replaces a rectangle of one by the other's. The second
image is the next one in the batch; all else depends only on (seed, epoch, row), as in `augmentation`.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from warmstart.data.encoding.batches import Batch
from warmstart.types import Array

MIXED_SHARE = 0.5  # of the rows: the others are seen as they will be in prediction
CUT_SHARE = 0.5  # of the mixed rows, by CutMix; the others by mixup
NO_CLASSES = ("--augment mix averages classes, and here are none.", "use --augment light or strong")
MIX_DRAWS = 5  # random numbers an image


@dataclass(frozen=True)
class Mixing:
    """Half of the images are mixed with another, by a share that is uniform between 0 and 1."""

    seed: int

    def mix(self, batch: Batch, others: Batch, numbers: Array, epoch: int) -> Batch:
        """`batch` with some rows mixed with those of `others`, which has as many.

        `numbers`: row numbers of `batch`. The targets of both are float [n, k]: shares of classes, or of yes for each
        label.
        """
        drawn = np.stack([np.random.default_rng((self.seed, epoch, int(n), 3)).random(MIX_DRAWS) for n in numbers])
        pixels, own = mixed_pixels(
            batch.inputs["pixel_values"], others.inputs["pixel_values"], torch.from_numpy(drawn).float()
        )
        targets = own[:, None] * batch.targets + (1 - own)[:, None] * others.targets
        return replace(batch, inputs=batch.inputs | {"pixel_values": pixels}, targets=targets)


def mixed_pixels(values: Tensor, others: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Images [n, 3, s, s] and the share of each that is still its own, [n]; `drawn`: [n, MIX_DRAWS] from 0 to 1."""
    mixed, cut = drawn[:, 0] < MIXED_SHARE, drawn[:, 1] < CUT_SHARE
    hidden = _rectangles(drawn[:, 2:5], values.shape[-1])
    hidden = hidden & (mixed & cut)[:, None, None]
    kept = torch.where(mixed & ~cut, drawn[:, 2], torch.ones(()))
    weight = kept[:, None, None] * ~hidden
    shares = weight[:, None].to(values.device)
    return shares * values + (1 - shares) * others, weight.mean((1, 2))


def _rectangles(drawn: Tensor, size: int) -> Tensor:
    """Whole pixels of a square that takes 1 - `drawn[:, 0]` of the area, bool [n, size, size]."""
    side = ((1 - drawn[:, :1]).sqrt() * size).round()
    first = (drawn[:, 1:] * (size - side + 1)).floor().clamp(max=size - 1)
    place = torch.arange(size)
    inside = (place >= first[:, :, None]) & (place < (first + side)[:, :, None])  # [n, 2, size]
    return inside[:, 0, :, None] & inside[:, 1, None, :]
