"""Networks see standardized colors at their own size; augmentation depends on (seed, epoch, row) alone."""

import numpy as np
import pytest
import torch

from tests.pictures import drawn, picture_draw
from warmstart.data.encoding.examples import BatchStream
from warmstart.data.encoding.image_augmentation import STRENGTHS, Augmentation
from warmstart.data.encoding.pixels import Pixels
from warmstart.errors import InputError

PLAIN = Pixels("photo", 12, (0.0,) * 3, (1.0,) * 3)


def test_colors_are_standardized() -> None:
    draw = picture_draw()
    rows = draw.splits.train
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    found = Pixels("photo", 12, mean, std).encode_rows(rows.texts, rows.columns).batch(np.array([4]))["pixel_values"]
    expected = (drawn(int(rows.numbers[4]) - 1)[0] / 255 - mean) / std
    assert np.allclose(found[0].permute(1, 2, 0).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("size", [5, 30])
def test_pictures_are_made_smaller_once_and_larger_when_they_are_read(size: int) -> None:
    rows = picture_draw().splits.train
    encoded = Pixels("photo", size, (0.0,) * 3, (1.0,) * 3).encode_rows(rows.texts, rows.columns)
    assert encoded.images.side == min(size, 12)
    found = encoded.batch(np.array([0, 3]))["pixel_values"]
    assert found.shape == (2, 3, size, size)
    whole = PLAIN.encode_rows(rows.texts, rows.columns).batch(np.array([0, 3]))["pixel_values"]
    assert torch.allclose(found.mean((2, 3)), whole.mean((2, 3)), atol=0.02)


def test_names_alone_are_no_pictures() -> None:
    with pytest.raises(InputError, match="were not given"):
        PLAIN.encode(["image 1234"])


def augmented(name: str, numbers: list[int], epoch: int = 0, seed: int = 0, flips: bool = True) -> torch.Tensor:
    change = Augmentation.named(name, seed, flips)
    assert change is not None
    pixels = torch.from_numpy(np.stack([drawn(n)[0] for n in numbers])).permute(0, 3, 1, 2).float()
    return change.apply({"pixel_values": pixels}, np.array(numbers), epoch)["pixel_values"]


@pytest.mark.parametrize("name", STRENGTHS)
def test_a_change_depends_on_seed_epoch_and_row_alone(name: str) -> None:
    together, alone = augmented(name, [5, 9, 2]), augmented(name, [9])
    assert torch.allclose(together[1], alone[0], atol=1e-4)
    many = list(range(20))
    once = augmented(name, many)
    assert not torch.equal(once, augmented(name, many, epoch=1))
    assert not torch.equal(once, augmented(name, many, seed=1))


def test_light_moves_whole_pixels_and_mirrors_only_where_it_may() -> None:
    row = torch.arange(12.0).repeat(1, 3, 12, 1)  # brighter to the right
    change = {flips: Augmentation(STRENGTHS["light"], 0, flips) for flips in (True, False)}
    for flips, one in change.items():
        found = [one.apply({"pixel_values": row}, np.array([n]), 0)["pixel_values"] for n in range(40)]
        assert all(torch.equal(each, each.round()) for each in found)
        mirrored = [bool(each[0, 0, 6, 0] > each[0, 0, 6, -1]) for each in found]
        assert any(mirrored) == flips and not all(mirrored)
        assert {int(each[0, 0, 6, 6]) for each in found} >= {5, 6, 7}


def test_the_stream_changes_pictures_and_nothing_else() -> None:
    draw = picture_draw()
    train = draw.splits.train
    examples = draw.shared.examples(PLAIN, train, draw.task.targets(train))
    order = examples.order(8, 0)
    plain = BatchStream(examples, order).at(3)[0]
    changed = BatchStream(examples, order, augmentation=Augmentation.named("light", 0, False)).at(3)[0]
    assert torch.equal(plain.targets, changed.targets)
    assert not torch.equal(plain.inputs["pixel_values"], changed.inputs["pixel_values"])
    assert Augmentation.named("none", 0, False) is None
