"""Examples: how are encoded rows and their targets kept together, and in which order are they read?"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from warmstart.data.encoding.batches import Batch, Order, WordDropout
from warmstart.data.encoding.image_augmentation import Augmentation
from warmstart.data.encoding.image_mixing import Mixing
from warmstart.data.encoding.inputs import Encoded
from warmstart.runtime.distributed import ALONE, Distributed
from warmstart.types import Array


@dataclass(frozen=True)
class Examples:
    """Encoded rows with their targets."""

    encoded: Encoded
    positions: Array  # int64 [n]: where each row stands in `encoded`
    targets: Tensor  # [n] or [n, classes]
    numbers: Array  # int64 [n]: row numbers in the table

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, index: Array, share: float = 1.0) -> Batch:
        return Batch(self.encoded.batch(self.positions[index]), self.targets[torch.from_numpy(index)], share)

    def sizes(self) -> Array:
        return self.encoded.sizes()[self.positions]

    def order(self, batch_size: int, seed: int, at_most: int | None = None) -> Order:
        """The batches of training; as if no row were longer than `at_most`."""
        lengths = np.minimum(self.sizes(), at_most or np.iinfo(np.int64).max) if self.encoded.pads else None
        return Order(len(self), batch_size, seed, lengths)

    @cached_property
    def loss_weights(self) -> Array:
        """Weight of each row in a loss, int64 [n]."""
        return self.encoded.loss_weights()[self.positions]


@dataclass(frozen=True)
class BatchStream:
    """Training examples in their order, step by step: a `Source` for the loop.

    The batch of a step is the same for any number of processes; each computes its part of the rows.
    """

    examples: Examples
    order: Order
    dropout: WordDropout | None = None
    augmentation: Augmentation | None = None
    mixing: Mixing | None = None  # then targets are shares of classes
    world: Distributed = ALONE
    _epochs: dict[int, list[Array]] = field(default_factory=dict, repr=False, compare=False)

    def at(self, step: int, at_most: int | None = None) -> list[Batch]:
        return self.pieces(self.rows(step), step // self.order.per_epoch, at_most)

    def pieces(self, index: Array, epoch: int, at_most: int | None) -> list[Batch]:
        """This process's part of a batch of these rows, in pieces of at most so many."""
        largest = -(-len(index) // self.world.size)  # part of any process: all have the same number of pieces
        pieces = 1 if at_most is None else -(-largest // at_most)
        weights = self.examples.loss_weights
        found = []
        for piece in np.array_split(self.world.mine(index), pieces):
            # Their mean over the processes is the batch's loss.
            share = float(weights[piece].sum() * self.world.size / weights[index].sum())
            own = piece if len(piece) else index[:1]
            mixed = self.mixing is not None
            found.append(self._mixed(own, index, epoch, share) if mixed else self._batch(own, epoch, share))
        return found

    def _mixed(self, own: Array, index: Array, epoch: int, share: float) -> Batch:
        """The batch of the rows `own`, each mixed with the row after it in `index`, the batch of the whole step."""
        assert self.mixing is not None
        following = dict(zip(index.tolist(), np.roll(index, -1).tolist(), strict=True))
        others = np.array([following[row] for row in own.tolist()])
        read, places = np.unique(np.stack([own, others]), return_inverse=True)
        whole, (first, second) = self._batch(read, epoch, share), places.reshape(2, -1)
        return self.mixing.mix(whole.take(first), whole.take(second), self.examples.numbers[own], epoch)

    def rows(self, step: int) -> Array:
        """Positions in the examples of the rows of a step's batch."""
        epoch, i = divmod(step, self.order.per_epoch)
        if epoch not in self._epochs:
            self._epochs.clear()
            self._epochs[epoch] = self.order.epoch(epoch)
        return self._epochs[epoch][i]

    def _batch(self, index: Array, epoch: int, share: float) -> Batch:
        examples = replace(self.examples, encoded=self.examples.encoded.in_epoch(epoch))
        if self.augmentation is not None:
            batch = examples.take(index, share)
            return replace(batch, inputs=self.augmentation.apply(batch.inputs, examples.numbers[index], epoch))
        if self.dropout is None:
            return examples.take(index, share)
        positions = examples.positions[index]
        kept = self.dropout.kept(examples.numbers[index], examples.encoded.words(positions), epoch)
        return Batch(examples.encoded.batch(positions, kept), examples.targets[torch.from_numpy(index)], share)
