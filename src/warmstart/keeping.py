"""Keeping: how does a tuned model hold on to what the base could do, or get it back?

While training: general rows replayed beside the task's (`Replay`); weights pulled towards the base's are the loop's
matter (`train.pull`). Afterwards, at no training cost: weights between the base's and the tuned ones (`sweep`), the mix
chosen on validation rows (WiSE-FT, Wortsman et al. 2022).
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.errors import UsageError
from warmstart.prefix import Stream
from warmstart.record import Array
from warmstart.tasks import Batch

MIXES = tuple(i / 10 for i in range(11))

Weights = Mapping[str, Tensor]


# --- while training ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Replay:
    """The task's batches with general rows beside them: a `Source` for the loop.

    The task's rows and their order stay what they are without replay. `share` general rows are added for each of them,
    evenly spread over the steps: which ones depends on (seed, step) alone, and no row comes again before all have come.
    Each row counts the same in the loss of a step, whichever side it is from. Both sides are read by one objective.
    """

    task: Stream
    general: Stream  # of batches of one row
    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UsageError(f"a share of {self.share:g} general rows was asked for.", "use more than 0 and at most 1")
        assert self.general.order.batch_size == 1, "general rows are drawn one by one"

    def at(self, step: int, at_most: int | None = None) -> list[Batch]:
        pieces, rows = self.task.at(step, at_most), len(self.task.rows(step))
        replayed = self.replayed(step)
        if not len(replayed):
            return pieces
        found = self.general.pieces(replayed, epoch=0, at_most=at_most)
        whole = rows + len(replayed)
        return [_weighted(piece, rows / whole) for piece in pieces] + [
            _weighted(piece, len(replayed) / whole) for piece in found
        ]

    def replayed(self, step: int) -> Array:
        """Where the general rows of a step stand in their examples, int64 [rows]."""
        per_step = self.share * self.task.order.batch_size
        numbers = range(math.floor(step * per_step), math.floor((step + 1) * per_step))
        return np.array([int(self.general.rows(number)[0]) for number in numbers], dtype=np.int64)

    def through(self, steps: Iterable[int]) -> Array:
        """The general rows of all these steps, int64 [rows]."""
        none = np.empty(0, dtype=np.int64)
        return np.concatenate([none, *(self.replayed(step) for step in steps)])

    def numbers(self, steps: Iterable[int]) -> list[int]:
        """Which general texts these are, each once, counted from 1."""
        return sorted({int(number) for number in self.general.examples.numbers[self.through(steps)]})


def _weighted(batch: Batch, weight: float) -> Batch:
    return Batch(batch.inputs, batch.targets, batch.share * weight)


# --- after training ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mixed:
    """Weights between the base's (mix 0) and the tuned ones (mix 1): how they do the task, and what they forgot."""

    mix: float
    score: float  # the task's metric on validation rows
    forgotten: float  # nats a token, or drift: less is better


def interpolated(base: Weights, tuned: Weights, mix: float) -> dict[str, Tensor]:
    """(1 - mix) x base + mix x tuned, of each weight of both; exactly one of them at 0 and at 1."""
    if not 0 <= mix <= 1:
        raise UsageError(f"a mix of {mix:g} is not between the base and the tuned weights.", "use 0 to 1")
    return {name: torch.lerp(tensor, tuned[name].to(tensor), mix) for name, tensor in base.items()}


def origin(model: nn.Module, base: Weights) -> dict[str, Tensor]:
    """What mix 0 is: the base's weights wherever the tuned `model` has others, by the model's own names.

    `base` is the base's state by the same names; what it does not have (a new head) is no part of any mix. Adapters add
    nothing while their second matrix is zero, as it was when they were made: mixing towards that scales LoRA's alpha.
    Raises UsageError where no weight is the base's.
    """
    tuned = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    shared = [name for name in tuned if name in base and base[name].shape == tuned[name].shape]
    second = [name for name in tuned if ".lora_B." in name]
    if not shared and not second:
        raise UsageError("the tuned model has no weight of this base.", "name the base that it was tuned from")
    found = {name: base[name].to(tuned[name]) for name in shared}
    moved = {name: tensor for name, tensor in found.items() if not torch.equal(tensor, tuned[name])}
    return moved | {name: torch.zeros_like(tuned[name]) for name in second}


def interpolate(model: nn.Module, base: Weights, mix: float) -> None:
    """Leave the tuned model with weights between the base's and its own; `base` as in `origin`."""
    start = origin(model, base)
    _put(model, interpolated(start, _live(model, start), mix))


def sweep(
    model: nn.Module,
    base: Weights,
    score: Callable[[], float],
    forgotten: Callable[[], float],
    mixes: Sequence[float] = MIXES,
) -> tuple[Mixed, ...]:
    """The frontier between task and base: `score` on validation rows and `forgotten` at each mix.

    Both look at `model`, whose weights are mixed in place and afterwards are what they were, bit for bit.
    """
    start = origin(model, base)
    with _afterwards_as_before(model, start) as tuned:
        points = []
        for mix in mixes:
            _put(model, interpolated(start, tuned, mix))
            points.append(Mixed(mix, score(), forgotten()))
    return tuple(points)


def matched(points: Sequence[Mixed], *, higher_is_better: bool, worth: float) -> Mixed:
    """Of the mixes whose score is as good as the tuned one's, the one that forgot least.

    As good: worse by at most `worth`, a share of the tuned score. The tuned weights are the largest mix.
    """
    tuned = max(points, key=lambda point: point.mix)
    turned = 1 if higher_is_better else -1
    slack = worth * abs(tuned.score)
    good = [point for point in points if turned * (tuned.score - point.score) <= slack]
    return min(good, key=lambda point: (point.forgotten, -point.mix))


def narrowed(
    model: nn.Module,
    base: Weights,
    points: Sequence[Mixed],
    score: Callable[[], float],
    *,
    higher_is_better: bool,
    worth: float,
) -> Mixed:
    """Of these mixes the smallest whose score is as good as that of the last one, which are the tuned weights.

    For a score that takes long: it looks at `model` a few times only, halving the mixes as if what is good enough at
    one is so at every larger one. The weights are afterwards what they were.
    """
    turned = 1 if higher_is_better else -1
    start = origin(model, base)
    with _afterwards_as_before(model, start) as tuned:
        whole = score()
        least = turned * whole - worth * abs(whole)

        def good(point: Mixed) -> bool:
            _put(model, interpolated(start, tuned, point.mix))
            return turned * score() >= least

        return points[bisect_left(points[:-1], True, key=good)]


@contextmanager
def _afterwards_as_before(model: nn.Module, names: Weights) -> Iterator[dict[str, Tensor]]:
    """Gives copies of these weights as they are now, and puts them back."""
    kept = {name: tensor.clone() for name, tensor in _live(model, names).items()}
    try:
        yield kept
    finally:
        _put(model, kept)


def _live(model: nn.Module, names: Weights) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if name in names}


@torch.no_grad()
def _put(model: nn.Module, weights: Weights) -> None:
    for name, tensor in _live(model, weights).items():
        tensor.copy_(weights[name])
