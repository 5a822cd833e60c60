"""Interpolation: how are weights between the pretrained and the fine-tuned ones made, at no training cost?

The mix is chosen on validation rows (WiSE-FT, Wortsman et al. 2022).
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from warmstart.errors import UsageError
from warmstart.runs.retention import InterpolationPoint

INTERPOLATION_WEIGHTS = tuple(i / 10 for i in range(11))

Weights = Mapping[str, Tensor]


# --- while training ---------------------------------------------------------------------------------------------------


# --- after training ---------------------------------------------------------------------------------------------------


def interpolated_weights(base: Weights, tuned: Weights, mix: float) -> dict[str, Tensor]:
    """(1 - mix) x base + mix x tuned, of each weight of both; exactly one of them at 0 and at 1."""
    if not 0 <= mix <= 1:
        raise UsageError(f"a mix of {mix:g} is not between the base and the tuned weights.", "use 0 to 1")
    return {name: torch.lerp(tensor, tuned[name].to(tensor), mix) for name, tensor in base.items()}


def interpolation_start(model: nn.Module, base: Weights) -> dict[str, Tensor]:
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
    start = interpolation_start(model, base)
    _put(model, interpolated_weights(start, _live(model, start), mix))


def interpolation_frontier(
    model: nn.Module,
    base: Weights,
    score: Callable[[], float],
    forgotten: Callable[[], float],
    mixes: Sequence[float] = INTERPOLATION_WEIGHTS,
) -> tuple[InterpolationPoint, ...]:
    """The frontier between task and base: `score` on validation rows and `forgotten` at each mix.

    Both look at `model`, whose weights are mixed in place and afterwards are what they were, bit for bit.
    """
    start = interpolation_start(model, base)
    with _afterwards_as_before(model, start) as tuned:
        points = []
        for mix in mixes:
            _put(model, interpolated_weights(start, tuned, mix))
            points.append(InterpolationPoint(mix, score(), forgotten()))
    return tuple(points)


def least_forgetting(
    points: Sequence[InterpolationPoint], *, higher_is_better: bool, min_effect: float
) -> InterpolationPoint:
    """Of the mixes whose score is as good as the tuned one's, the one that forgot least.

    As good: worse by at most `worth`, a share of the tuned score. The tuned weights are the largest mix.
    """
    tuned = max(points, key=lambda point: point.mix)
    turned = 1 if higher_is_better else -1
    slack = min_effect * abs(tuned.score)
    good = [point for point in points if turned * (tuned.score - point.score) <= slack]
    return min(good, key=lambda point: (point.forgotten, -point.mix))


def search_interpolation(
    model: nn.Module,
    base: Weights,
    points: Sequence[InterpolationPoint],
    score: Callable[[], float],
    *,
    higher_is_better: bool,
    min_effect: float,
) -> InterpolationPoint:
    """Of these mixes the smallest whose score is as good as that of the last one, which are the tuned weights.

    For a score that takes long: it looks at `model` a few times only, halving the mixes as if what is good enough at
    one is so at every larger one. The weights are afterwards what they were.
    """
    turned = 1 if higher_is_better else -1
    start = interpolation_start(model, base)
    with _afterwards_as_before(model, start) as tuned:
        whole = score()
        least = turned * whole - min_effect * abs(whole)

        def good(point: InterpolationPoint) -> bool:
            _put(model, interpolated_weights(start, tuned, point.mix))
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
