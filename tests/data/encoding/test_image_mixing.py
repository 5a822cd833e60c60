"""Mixed images: a pure function of (seed, epoch, row) and the next row; targets count each image by what is seen."""

import numpy as np
import pytest
import torch

from tests.pictures import picture_draw
from warmstart.data.encoding.batches import Batch
from warmstart.data.encoding.examples import BatchStream
from warmstart.data.encoding.image_augmentation import Augmentation
from warmstart.data.encoding.image_mixing import Mixing, mixed_pixels
from warmstart.data.encoding.pixels import Pixels
from warmstart.errors import UsageError
from warmstart.tasks.classification import Classification
from warmstart.training.augment_rows import changed_rows
from warmstart.training.config import TrainConfig

PLAIN = Pixels("photo", 12, (0.0,) * 3, (1.0,) * 3)
WHITE, BLACK = torch.ones(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)


def drawn(mixed: float, cut: float, share: float, top: float = 0.5, left: float = 0.5) -> torch.Tensor:
    return torch.tensor([[mixed, cut, share, top, left]])


def test_a_target_counts_each_image_by_what_is_seen_of_it() -> None:
    pixels, own = mixed_pixels(WHITE, BLACK, drawn(0.1, 0.9, 0.7))  # mixup
    assert own.item() == pytest.approx(0.7) and torch.allclose(pixels, torch.full_like(pixels, 0.7))
    pixels, own = mixed_pixels(WHITE, BLACK, drawn(0.1, 0.1, 0.75, 0.999, 0.0))  # CutMix: a quarter, 4 x 4 pixels
    assert own.item() == 0.75 == pixels.mean().item()
    assert pixels[0, 0, 4:, :4].sum() == 0 and pixels[0].sum() == 3 * 48
    pixels, own = mixed_pixels(WHITE, BLACK, drawn(0.6, 0.1, 0.2))  # left as it is
    assert own.item() == 1 and torch.equal(pixels, WHITE)
    pixels, own = mixed_pixels(WHITE, BLACK, drawn(0.1, 0.1, 0.0))  # all of it
    assert own.item() == 0 and torch.equal(pixels, BLACK)


def stream(seed: int = 0) -> BatchStream:
    draw = picture_draw()
    train = draw.splits.train
    examples = draw.shared.examples(PLAIN, train, draw.task.targets(train))
    config = TrainConfig(steps=9, lr=1e-3, batch_size=16, augment="mix", seed=seed)
    return changed_rows(examples, draw.task, examples.order(16, seed), config, BatchStream.world)


def test_pieces_of_a_step_are_mixed_as_the_whole_is() -> None:
    [whole] = stream().at(2)
    pieces = stream().at(2, at_most=3)
    assert len(pieces) > 3
    for name in ("inputs", "targets"):
        together = torch.cat([p.inputs["pixel_values"] if name == "inputs" else p.targets for p in pieces])
        assert torch.allclose(together, whole.inputs["pixel_values"] if name == "inputs" else whole.targets, atol=1e-3)
    assert torch.allclose(whole.targets.sum(1), torch.ones(len(whole)))
    shares = whole.targets.max(1).values
    assert 0 < int((shares < 1).sum()) < len(whole)
    other, later = stream(1).at(2)[0], stream().at(2 + stream().order.per_epoch)[0]
    assert not torch.equal(other.targets, whole.targets) and not torch.equal(later.targets, whole.targets)


def test_the_order_of_rows_in_a_batch_is_kept() -> None:
    one, rows = stream(), stream().rows(1)
    hard = one.examples.targets[torch.from_numpy(rows)]
    [found] = one.at(1)
    plain = BatchStream(one.examples, one.order, augmentation=Augmentation.named("light", 0, False)).at(1)[0]
    moved = (found.inputs["pixel_values"] - plain.inputs["pixel_values"]).abs().amax((1, 2, 3))
    alone = moved < 1e-3
    assert 3 < alone.sum() < len(rows) - 3 and torch.equal(found.targets[alone], hard[alone])


def test_rows_of_one_class_keep_it() -> None:
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    batch = Batch({"pixel_values": torch.rand(2, 3, 8, 8)}, targets)
    for epoch in range(20):
        assert torch.allclose(Mixing(0).mix(batch, batch, np.array([4, 7]), epoch).targets, targets)


@pytest.mark.parametrize("weights", [(), (0.5, 1.5, 1.0)])
def test_whole_shares_have_the_loss_of_their_class(weights: tuple[float, ...]) -> None:
    task = Classification("kind", ("a", "b", "c"), class_weights=weights)
    outputs, targets = torch.randn(7, 3), torch.tensor([0, 1, 2, 0, 1, 2, 2])
    assert torch.allclose(task.output_loss(outputs, task.soft_targets(targets)), task.output_loss(outputs, targets))


def test_numbers_are_not_mixed() -> None:
    draw = picture_draw("width")
    train = draw.splits.train
    examples = draw.shared.examples(PLAIN, train, draw.task.targets(train))
    config = TrainConfig(steps=9, lr=1e-3, augment="mix")
    with pytest.raises(UsageError, match="averages classes"):
        changed_rows(examples, draw.task, examples.order(16, 0), config, BatchStream.world)
