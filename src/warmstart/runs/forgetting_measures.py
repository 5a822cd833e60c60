"""Forgetting measures: what could the base do before and after, and how much of that is left?

Every measure is a sum over texts of a value and a weight, [n, 2], as scores are: so `bootstrap.resample` gives its
interval, over texts and seeds.

- nats: increase of the cross-entropy on general text, L_after - L_before, in nats per token.
- progress lost: (L_after - L_before) / (L_random - L_before), the share of what pretraining had gained. L_random is
  that of random weights, or of a uniform guess (log of the vocabulary size), which is nearly the same.
- KL(base || tuned), nats per token, on the task's own inputs: needs no general text. On text sampled from the base
  itself the increase of the cross-entropy is this same divergence, in expectation.
- drift, for bodies without a language-model head: 1 - cosine between the base's and the fine-tuned features of a text,
  and 1 - linear CKA over all texts (Kornblith et al. 2019), which rotations and scales do not change.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.data.encoding.batches import by_length
from warmstart.data.encoding.examples import Examples
from warmstart.data.encoding.packing import UNLABELED
from warmstart.data.features.column_inputs import HEAD_KEYS
from warmstart.models.evaluate import outputs
from warmstart.models.lm_head import LogitsHead
from warmstart.models.model import Model, body_width
from warmstart.results.bootstrap import mean_score
from warmstart.runtime.distributed import ALONE, Distributed
from warmstart.types import Array


@dataclass(frozen=True)
class InterpolationPoint:
    """Weights between the base's (mix 0) and the tuned ones (mix 1): their task score and their forgetting."""

    mix: float
    score: float  # the task's metric on validation rows
    forgotten: float  # nats a token, or drift: less is better


# Texts that a measure uses at most: forward passes alone, a small part of what scoring the test rows costs.
MAX_RETENTION_TEXTS = 200
RETENTION_BATCH_ROWS = 16  # read at once, by both models
LOGITS = 1 << 24  # held at once, 64 MiB in fp32; about five times as much with what is computed from them
FEWEST_FOR_CKA = 4


@dataclass(frozen=True)
class Retention:
    """What one run forgot. Measures that could not be computed are None."""

    nats: float | None = None
    kl: float | None = None
    progress_lost: float | None = None
    drift: float | None = None  # mean of 1 - cosine: 0 the same, 1 unrelated, 2 opposite
    drift_cka: float | None = None  # 0 the same but for rotation and scale, about 1 unrelated
    by_text: Mapping[str, Array] = field(default_factory=dict, compare=False, repr=False)  # measure -> [n, 2]
    frontier: tuple[
        InterpolationPoint, ...
    ] = ()  # where the weights were mixed with the base's: `keeping.interpolation_frontier`
    matched: InterpolationPoint | None = None  # of them the one to take: `keeping.least_forgetting`
    frontier_by: Mapping[str, str] = field(default_factory=dict)  # the metric of its "score", the measure "forgotten"

    @classmethod
    def of(cls, by_text: Mapping[str, Array], drift_cka: float | None = None) -> "Retention":
        """From values and weights of texts, [n, 2], by name of the measure."""
        known = {name: _ratio(values) for name, values in by_text.items()}
        kept = {name: values for name, values in by_text.items() if known[name] is not None}
        nats, kl, lost, drift = (known.get(name) for name in ("nats", "kl", "progress_lost", "drift"))
        return cls(nats, kl, lost, drift, drift_cka, kept)

    def to_json(self) -> dict[str, Any]:
        """For `run.json`: the values, and what their intervals are computed from."""
        values = {name: getattr(self, name) for name in ("nats", "kl", "progress_lost", "drift", "drift_cka")}
        columns = {
            name: {"value": [float(v) for v in pairs[:, 0]], "weight": [float(w) for w in pairs[:, 1]]}
            for name, pairs in self.by_text.items()
        }
        frontier = {
            "frontier": [vars(point) for point in self.frontier],
            "matched": self.matched and vars(self.matched),
            "frontier_by": dict(self.frontier_by) or None,
        }
        return values | frontier | {"by_text": columns}


def _ratio(values: Array) -> float | None:
    """The measure over all texts; None if it is not finite or there is no data."""
    found = mean_score(values)
    return found if math.isfinite(found) and values[:, 1].sum() > 0 else None


# --- language models --------------------------------------------------------------------------------------------------


def language_retention(
    base: Model,
    tuned: Model,
    inputs: Examples,
    general: Examples | None = None,
    random: Model | None = None,
    world: Distributed = ALONE,
) -> Retention:
    """All measures for a language model: KL on the task's `inputs`, the others on `general` text.

    Models return [n, 3] for n texts: nats, labeled tokens, bytes. `random`: the same architecture with random weights;
    None: a uniform guess is used instead. Leaves the models in evaluation mode.
    """
    by_text = {"kl": kl_divergence(base, tuned, inputs)}
    if general is not None:
        before, after = outputs(base, general, world), outputs(tuned, general, world)
        without = vocabulary(base) if random is None else outputs(random, general, world)
        by_text |= {"nats": rise(before, after), "progress_lost": progress_lost(before, after, without)}
    return Retention.of(by_text)


def rise(before: Array, after: Array) -> Array:
    """Increase in nats and number of tokens per text, [n, 2], from the head's outputs [n, 3] of both models."""
    assert np.array_equal(before[:, 1], after[:, 1]), "both models read the same tokens"
    return np.stack([after[:, 0].astype(np.float64) - before[:, 0], before[:, 1]], axis=1)


def progress_lost(before: Array, after: Array, random: Array | int) -> Array:
    """Increase in nats, and the nats that pretraining had saved, per text, [n, 2].

    `random`: outputs of random weights, [n, 3], or the vocabulary size, for log(vocabulary) nats per token.
    """
    nats = before[:, 1] * math.log(random) if isinstance(random, int) else random[:, 0]
    return np.stack([rise(before, after)[:, 0], nats - before[:, 0].astype(np.float64)], axis=1)


@torch.no_grad()
def kl_divergence(base: Model, tuned: Model, examples: Examples) -> Array:
    """KL(base



    tuned) summed over the labeled tokens of each text, and the number of these tokens, [n, 2].

    Logits are computed for some labeled tokens at a time.
    """
    base.eval()
    tuned.eval()
    device = next(tuned.parameters()).device
    chunk = max(1, LOGITS // vocabulary(base))
    found = torch.zeros(len(examples), 2, dtype=torch.float64)
    for index in by_length(examples.sizes(), RETENTION_BATCH_ROWS):
        batch = examples.take(index).to(device)
        learned = batch.inputs["labels"] != UNLABELED
        of_base, of_tuned = (hidden_states(model, batch.inputs)[learned] for model in (base, tuned))
        rows = torch.from_numpy(index)[batch.inputs["rows"][learned].cpu()]
        for start in range(0, len(rows), chunk):
            some = slice(start, start + chunk)
            nats = _kl(_logits(base, of_base[some]), _logits(tuned, of_tuned[some])).cpu().double()
            found.index_add_(0, rows[some], torch.stack([nats, torch.ones_like(nats)], dim=1))
    return found.numpy()


def hidden_states(model: Model, inputs: Mapping[str, Tensor]) -> Tensor:
    """The body's output for each token, [lines, t, d]."""
    found: Any = model.body(**{name: tensor for name, tensor in inputs.items() if name not in HEAD_KEYS})
    hidden: Tensor = found if isinstance(found, Tensor) else found.last_hidden_state
    return hidden


def vocabulary(model: Model) -> int:
    """Number of tokens that the head scores."""
    some = next(p for p in model.parameters() if p.is_floating_point())
    return int(_logits(model, some.new_zeros(1, body_width(model.body))).shape[-1])


def _logits(model: Model, hidden: Tensor) -> Tensor:
    return cast(LogitsHead, model.head).logits(hidden).float()


def _kl(base: Tensor, tuned: Tensor) -> Tensor:
    """KL in nats, [m], of two distributions [m, vocabulary]."""
    expected, found = base.log_softmax(-1), tuned.log_softmax(-1)
    return (expected.exp() * (expected - found)).sum(-1)


# --- bodies without a language-model head -----------------------------------------------------------------------------


def nothing_forgotten(texts: int) -> Retention:
    """Retention of a body that was not trained."""
    return Retention.of({"drift": np.stack([np.zeros(texts), np.ones(texts)], axis=1)}, 0.0)


def features(body: nn.Module, pooling: str, examples: Examples, world: Distributed = ALONE) -> Array:
    """Inputs of the head, float32 [n, d], in evaluation mode."""
    return outputs(Model(body, nn.Identity(), pooling), examples, world)


def drift(base: Array, tuned: Array) -> Retention:
    """How far the features [n, d] of n texts have moved."""
    first, second = base.astype(np.float64), tuned.astype(np.float64)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosine = np.divide((first * second).sum(1), lengths, out=np.zeros(len(first)), where=lengths != 0)
    distance = np.where((first == second).all(1), 0.0, np.maximum(0.0, 1 - cosine))
    shape = cka_distance(first, second)
    return Retention.of({"drift": np.stack([distance, np.ones(len(first))], axis=1)}, shape)


def cka_distance(base: Array, tuned: Array) -> float | None:
    """1 - linear CKA of features [n, d]; None for too few texts, or where features do not differ between texts.

    With the unbiased estimator of HSIC (Song et al. 2012): the usual one finds any two wide representations of few
    texts alike. So it may come out slightly above 1.
    """
    if len(base) < FEWEST_FOR_CKA or not (np.isfinite(base).all() and np.isfinite(tuned).all()):
        return None
    both, own, other = (_hsic(a @ a.T, b @ b.T) for a, b in ((base, tuned), (base, base), (tuned, tuned)))
    return None if own <= 0 or other <= 0 else max(0.0, 1 - both / math.sqrt(own * other))


def _hsic(first: Array, second: Array) -> float:
    """Unbiased, of two kernel matrices [n, n]."""
    n = len(first)
    k, m = (kernel - np.diag(np.diag(kernel)) for kernel in (first, second))
    whole = (k * m).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * (k.sum(0) @ m.sum(0)) / (n - 2)
    return float(whole / (n * (n - 3)))
