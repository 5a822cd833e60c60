"""Image copies: which images are the same, or nearly: the same photo in another size, format or brightness?"""

import numpy as np
import torch
from torch.nn import functional

from warmstart.data.rows.duplicates import Duplicates, equal_pairs
from warmstart.data.tables.images import Images
from warmstart.types import Array

HASH_SIDE, COMPARED_SIDE = 8, 16  # cells of each side
HASH_BANDS = 4  # of 16 bits: two images meet in a band unless bits differ in all four
NEAR_CORRELATION = 0.995  # correlation of the gray values of two near copies, and of their colors
RISE = 8.0  # of 255, from cell to cell: a smaller one is noise of the file's format
FLAT = 2.0  # deviation of gray values, of 255, below which an image shows nothing to compare
HASHED_TOGETHER = 512  # images
COMPARED = 4  # other images of the same band, the most alike, that an image is compared with


def find_image_copies(images: Images) -> Duplicates:
    """Exact copies by their pixels, near copies by difference hashes (Krawetz 2013) and correlation.

    Each image is paired with one earlier image, not with all.
    """
    names = np.array(list(images), dtype=object)
    there = np.flatnonzero(names != "")
    exact = there[equal_pairs(np.fromiter(map(hash, names[there]), np.int64, len(there)))]
    once = np.setdiff1d(there, exact[:, 1])
    bits, seen = _looked_at(images, once)
    found: dict[int, int] = {}
    along = seen @ np.random.default_rng(0).standard_normal(seen.shape[1]).astype(np.float32)
    for band in np.split(bits, HASH_BANDS, axis=1):
        keys = np.packbits(band, axis=1).astype(np.int64) @ np.array([256, 1])
        order = np.lexsort((along, keys))  # of equal keys, images that are alike lie close to each other
        for apart in range(1, COMPARED + 1):
            one, other = order[:-apart], order[apart:]
            meet = keys[one] == keys[other]
            pairs = np.sort(np.stack([one[meet], other[meet]], axis=1), axis=1)
            products = (seen[pairs[:, 0]] * seen[pairs[:, 1]]).sum(1)
            for earlier, later in pairs[products >= NEAR_CORRELATION].tolist():
                found[later] = min(earlier, found.get(later, earlier))
    near = np.array([(earlier, later) for later, earlier in sorted(found.items())], dtype=np.int64).reshape(-1, 2)
    return Duplicates(exact, once[near], "")


def _looked_at(images: Images, places: Array) -> tuple[Array, Array]:
    """(bits [n, 64]: whether brightness rises to the right, from cell to cell; colors less their mean, of length 1)

    Flat images are all zeros, and so like none.
    """
    bits, seen = [np.zeros((0, HASH_SIDE**2), bool)], [np.zeros((0, 3 * COMPARED_SIDE**2), np.float32)]
    for start in range(0, len(places), HASHED_TOGETHER):
        values = torch.from_numpy(images.at(places[start : start + HASHED_TOGETHER])).permute(0, 3, 1, 2).float()
        gray = functional.interpolate(
            values.mean(1, keepdim=True), (HASH_SIDE, HASH_SIDE + 1), mode="bilinear", antialias=True
        )
        bits.append((gray[:, 0, :, 1:] > gray[:, 0, :, :-1] + RISE).flatten(1).numpy())
        small = functional.interpolate(values, (COMPARED_SIDE, COMPARED_SIDE), mode="bilinear", antialias=True)
        small = small.flatten(1)
        small -= small.mean(1, keepdim=True)
        deviation = small.pow(2).mean(1, keepdim=True).sqrt()
        small = torch.where(deviation > FLAT, small / small.norm(dim=1, keepdim=True).clamp_min(1e-6), 0.0)
        seen.append(small.numpy())
    return np.concatenate(bits), np.concatenate(seen)
