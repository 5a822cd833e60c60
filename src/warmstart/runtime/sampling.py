"""Sampling: which rows are sampled if checking all of them would take too long?"""

import numpy as np

from warmstart.types import Array


def spread_places(most: int, length: int) -> Array:
    """Places of `most` rows of so many, or of all, spread evenly over them since files are often sorted: int64 [n]."""
    count = min(most, length)
    return np.arange(count, dtype=np.int64) * length // max(count, 1)
