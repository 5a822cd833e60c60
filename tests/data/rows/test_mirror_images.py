"""Mirror images are learned from only where they say the same."""

from dataclasses import replace

import numpy as np

from tests.pictures import picture_splits
from warmstart.data.rows.mirror_images import mirrored_alike
from warmstart.data.rows.read_columns import ColumnValues
from warmstart.data.rows.split import Rows
from warmstart.data.tables.images import Images


def rows_with(pixels: np.ndarray, targets: np.ndarray) -> Rows:
    _, splits = picture_splits()
    names = np.array([f"image {i}" for i in range(len(pixels))], dtype=object)
    texts = tuple(names.tolist())
    return replace(
        splits.train,
        texts=texts,
        targets=targets,
        numbers=np.arange(len(pixels)),
        keys=texts,
        columns=ColumnValues({"photo": Images(pixels, names)}),
    )


def test_arrows_are_not_mirrored_and_colors_are() -> None:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 90, (300, 12, 12, 3)).astype(np.uint8)
    left = generator.random(300) < 0.5
    pixels[left, 3:9, :4] += 120
    pixels[~left, 3:9, -4:] += 120
    assert not mirrored_alike(rows_with(pixels, np.array(["l" if each else "r" for each in left], dtype=object)))
    assert not mirrored_alike(rows_with(pixels, np.where(left, 1.5, -2.5)))
    _, splits = picture_splits(rows=200)
    assert mirrored_alike(splits.train)
    noise = np.array([str(n) for n in generator.integers(0, 3, 300)], dtype=object)
    assert mirrored_alike(rows_with(pixels, noise))
