"""Batches: in which order are rows seen, and which words are dropped?

Both depend only on (seed, epoch, row): not on workers, a resume, or the regime. If batches are padded, they group rows
of similar length, measured in the architecture's own units. Grouped by bytes, which would be the same for all, batches
of 32 package synopses computed 44 % more tokens than they had, descriptions 31 %; grouped by tokens 3 and 5 %.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from warmstart.types import Array


@dataclass(frozen=True)
class Batch:
    """Some examples as tensors: the body's arguments, and the targets."""

    inputs: dict[str, Tensor]
    targets: Tensor
    share: float = 1.0  # of its loss in the loss of a step; 0: it is only there to take part

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, places: Array) -> "Batch":
        """The rows at these places, in their order."""
        at = torch.from_numpy(places)
        return Batch({name: tensor[at] for name, tensor in self.inputs.items()}, self.targets[at], self.share)

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        return Batch(inputs, self.targets.to(device), self.share)


POOL = 32  # batches sorted by length together: less padding, and still a random order


@dataclass(frozen=True)
class Order:
    """Which rows are in the batch of a step."""

    rows: int
    batch_size: int
    seed: int
    lengths: Array | None = None  # int64 [rows]: rows of similar length share a batch. None: any rows do

    @property
    def per_epoch(self) -> int:
        """Steps in an epoch; the last batch may be smaller."""
        return -(-self.rows // self.batch_size)

    def epoch(self, epoch: int) -> list[Array]:
        """All batches of an epoch: each row once."""
        generator = np.random.default_rng((self.seed, epoch))
        order = generator.permutation(self.rows)
        batches: list[Array] = []
        for start in range(0, len(order), POOL * self.batch_size):
            pool = order[start : start + POOL * self.batch_size]
            if self.lengths is not None:
                pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches += [pool[i : i + self.batch_size] for i in range(0, len(pool), self.batch_size)]
        return [batches[i] for i in generator.permutation(len(batches))]


@dataclass(frozen=True)
class WordDropout:
    """Each word is dropped with this probability, in each epoch: augmentation for text. At least one word remains."""

    share: float
    seed: int

    def kept(self, index: Array, words: list[int], epoch: int) -> list[Array]:
        return [self._row(int(i), n, epoch) for i, n in zip(index, words, strict=True)]

    def _row(self, row: int, words: int, epoch: int) -> Array:
        generator = np.random.default_rng((self.seed, epoch, row, 1))
        keep = generator.random(words) >= self.share
        if words and not keep.any():
            keep[generator.integers(words)] = True
        return keep


def by_length(lengths: Array, batch_size: int, tokens: int | None = None) -> list[Array]:
    """All rows in batches of similar length, for evaluation, with as little padding as possible.

    The longest come first, so that memory allocated for them is reused by all later batches. No batch has more than so
    many `tokens`, padding included, unless it is a single longer row.
    """
    order = np.argsort(lengths, kind="stable")
    found, start = [], 0
    for end in range(1, len(order) + 1):
        count = end - start + 1  # with the next row, which is no shorter
        if end == len(order) or count > batch_size or (tokens and count * lengths[order[end]] > tokens):
            found.append(order[start:end])
            start = end
    return found[::-1]
