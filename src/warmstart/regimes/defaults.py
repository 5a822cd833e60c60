"""Defaults: which rates are tried, how long is trained, and how are images augmented, if nobody says?"""

import math
from dataclasses import dataclass, replace

import numpy as np

from warmstart.settings.choices import Augment

AUGMENTATIONS: tuple[Augment, ...] = ("none", "light", "strong")  # of images, among which trials choose


@dataclass(frozen=True)
class RegimeDefaults:
    """Defaults of a regime: which rates to try, and how long to train. One row each in the table below."""

    lr: float  # center of the search
    epochs: float
    floor: int = 300  # steps at least, however few the rows
    batch_size: int | None = None  # None: 16 under 2,000 rows, else 32
    evaluations: int = 6  # at validation rows while training
    warmup: float = 0.1  # of the steps
    clip: float = 1.0  # largest norm of a step's gradients
    word_dropout: float = 0.0
    last_weights: bool = False  # whether the weights at the end are kept, and not those that few rows say are best
    by_rows: tuple[tuple[int, float, int], ...] = ()  # (rows, epochs, batch), fewest rows first; none: as above
    augment: Augment = "none"  # of images, where nobody says how
    augment_from: float = 0.0  # passes: in fewer, a network does not memorize images, and changed ones cost accuracy

    def batch(self, rows: int) -> int:
        """Rows per step. Small tables have small batches: more steps for the same compute."""
        if self.by_rows:
            return min(self.by_rows, key=lambda known: abs(math.log(known[0] / max(rows, 1))))[2]
        return self.batch_size or (16 if rows < 2_000 else 32)

    def steps(self, rows: int, batch_size: int, length: float = 1.0) -> int:
        """`epochs` over the rows, but at least `floor` steps; both times `length`."""
        return max(1, round(length * max(self.floor, self.passes(rows) * rows / batch_size)))

    def passes(self, rows: int) -> float:
        """Epochs for so many rows; between known sizes, interpolated over the logarithm of the rows."""
        if not self.by_rows:
            return self.epochs
        counts, epochs, _ = np.array(self.by_rows).T
        return float(np.interp(math.log(max(rows, 1)), np.log(counts), epochs))


# Of every regime where images are read. In 8 passes over 2,000 images of Fashion-MNIST `scratch-cnn` reached .801 in
# batches of 64 with light augmentation, .832 without it, .842 without it in batches of 32 (5,000 others; one seed).
CNN_PASSES = ((2_000, 30, 32), (8_000, 30, 64), (60_000, 10, 64))
# EfficientNet-Lite0 at 64 pixels in two passes over 5,000 images of Fashion-MNIST, accuracy on 3,000 others of the
# training file: `full` at 5e-4, 1e-3 and 2e-3 .880, .887 and .895; `discriminative` at 2e-3 and 4e-3 .889 and .877;
# `top-layers` at 3e-4, 1e-3 and 3e-3 .863, .879 and .882; `lora` at 1e-3 and 3e-3 .887 and .865. A head that learns ten
# times as fast as the body cost `full` 0.4 to 1.6 points, and gained `discriminative` nothing.
IMAGE_DEFAULTS: dict[str, RegimeDefaults] = {
    "scratch-cnn": RegimeDefaults(
        lr=5e-3, epochs=30, floor=1000, evaluations=12, by_rows=CNN_PASSES, augment="light", augment_from=10
    ),
    "scratch": RegimeDefaults(lr=1e-3, epochs=15, floor=600, batch_size=32, evaluations=8, augment="light"),
    "frozen": RegimeDefaults(lr=3e-3, epochs=30, floor=600, batch_size=32, evaluations=16),
    "top-layers": RegimeDefaults(lr=1e-3, epochs=6, batch_size=32, augment="light"),
    "discriminative": RegimeDefaults(lr=2e-3, epochs=6, batch_size=32, augment="light"),
    "full": RegimeDefaults(lr=2e-3, epochs=6, batch_size=32, augment="light"),
    "lora": RegimeDefaults(lr=1e-3, epochs=6, batch_size=32, augment="light"),
}

# The same for transformers such as ViT, which diverge at such rates: those that are usual for them, not measured here.
IMAGE_TRANSFORMER_DEFAULTS = IMAGE_DEFAULTS | {
    "scratch": replace(IMAGE_DEFAULTS["scratch"], lr=5e-4),
    "top-layers": replace(IMAGE_DEFAULTS["top-layers"], lr=1e-4),
    "discriminative": replace(IMAGE_DEFAULTS["discriminative"], lr=2e-4),
    "full": replace(IMAGE_DEFAULTS["full"], lr=1e-4),
}
