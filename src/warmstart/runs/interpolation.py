"""Interpolation: how are weights between the pretrained and the fine-tuned ones made, at no training cost?

The mix is chosen on validation rows (WiSE-FT, Wortsman et al. 2022).
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from warmstart.errors import UsageError
from warmstart.runs.forgetting_measures import InterpolationPoint

INTERPOLATION_WEIGHTS = tuple(i / 10 for i in range(11))

Weights = Mapping[str, Tensor]


def interpolated_weights(base: Weights, tuned: Weights, mix: float) -> dict[str, Tensor]:
    """(1 - mix) x base + mix x tuned, for each weight in both; exactly one of them at 0 and at 1."""
    if not 0 <= mix <= 1:
        raise UsageError(f"a mix of {mix:g} is not between the base and the tuned weights.", "use 0 to 1")
    return {name: torch.lerp(tensor, tuned[name].to(tensor), mix) for name, tensor in base.items()}


def interpolation_start(model: nn.Module, base: Weights) -> dict[str, Tensor]:
    """The weights at mix 0: the base's, wherever the tuned `model` differs, by the model's own names.

    `base` is the base's state by the same names; weights that it lacks (a new head) are not interpolated. Adapters
    start with a second matrix of zeros, which is their mix 0: interpolating toward it scales LoRA's alpha. Raises
    UsageError if no weight is the base's.
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
    """Leave the tuned model with weights between the base's and its own; `base` as in `interpolation_start`."""
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

    Both evaluate `model`, whose weights are interpolated in place and restored afterwards, bit for bit.
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
    """The mix that forgot least among those whose score is as good as the tuned weights'.

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
    """The smallest of these mixes whose score is as good as that of the last one, which is the tuned weights.

    For scores that are slow to compute: a binary search over the mixes, which assumes that every mix above a good one
    is good as well. The weights are restored afterwards.
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
    """Context that yields copies of these weights and restores them at the end."""
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
