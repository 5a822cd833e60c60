"""Classification: how are classes and labels learned, calibrated (temperature, threshold) and scored?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from warmstart.data.encoding.batches import Batch
from warmstart.data.encoding.inputs import Inputs
from warmstart.data.rows.split import Rows, Splits
from warmstart.data.schema.class_weights import label_weights, weights_of
from warmstart.data.schema.schema import Schema
from warmstart.results.metrics import LOWER_IS_BETTER, MEAN_COST
from warmstart.tasks.head import linear_head
from warmstart.tasks.linearized_metrics import macro_ratio
from warmstart.tasks.margins import SquaredHinge
from warmstart.types import Array

FEWEST_FOR_TEMPERATURE = 20  # validation rows
COOLEST, HOTTEST = 0.1, 10.0
HELD_TO_ONE = 2.0  # nats for a temperature e times too high or low: what a handful of validation rows must outweigh
THRESHOLDS = np.arange(0.05, 0.75, 0.05)  # tried on the validation rows; multi-label probabilities run low


@dataclass(frozen=True)
class Classification:
    """One class for each text, ranked by accuracy; or a set of labels, ranked by micro F1."""

    target: str
    classes: tuple[str, ...]
    multi_label: bool = False
    ranked_by: str = ""  # another metric than accuracy, or than micro F1
    # of each class in the loss, 1 on average; of rows that have a label, beside 1 of others; (): all count alike
    class_weights: tuple[float, ...] = ()
    costs: tuple[tuple[float, ...], ...] = ()  # [true][predicted] of a mistake; (): the most likely class is predicted

    name = "classification"
    writes = learns_language = ranks_by_writing = False
    generative = None
    units = ""

    @classmethod
    def fit(cls, schema: Schema, splits: Splits) -> "Classification":
        """The classes of all rows: a class that only test rows have can be named, if never learned."""
        everywhere = (y for part in (splits.train, splits.val, splits.test) for y in part.targets)
        if schema.multi_label:
            classes = {label for labels in everywhere for label in labels}
        else:
            classes = set(everywhere)
        names = tuple(sorted(classes))
        plain = cls(schema.target, names, schema.multi_label, schema.metric)
        if schema.costs is not None:
            costs = schema.costs
            plain = replace(plain, ranked_by=MEAN_COST, costs=tuple(tuple(costs[a][b] for b in names) for a in names))
        if schema.class_weights is None:
            return plain
        if schema.multi_label:
            hot = plain.targets(splits.train)
            return replace(plain, class_weights=label_weights(schema.class_weights, names, hot.sum(axis=0), len(hot)))
        counts = np.bincount(plain.targets(splits.train), minlength=len(names))
        return replace(plain, class_weights=weights_of(schema.class_weights, names, counts))

    @property
    def metric(self) -> str:
        return self.ranked_by or ("micro F1" if self.multi_label else "accuracy")

    @property
    def higher_is_better(self) -> bool:
        return self.metric not in LOWER_IS_BETTER

    def reads(self, inputs: Inputs) -> Inputs:
        return inputs

    def head(self, width: int, seed: int) -> nn.Module:
        return linear_head(width, len(self.classes), seed)

    def targets(self, rows: Rows) -> Array:
        """Class numbers, int64 [n]; or 0/1 for each class, float32 [n, classes]."""
        number = {name: i for i, name in enumerate(self.classes)}
        if not self.multi_label:
            return np.fromiter((number[y] for y in rows.targets), dtype=np.int64, count=len(rows))
        hot = np.zeros((len(rows), len(self.classes)), dtype=np.float32)
        for i, labels in enumerate(rows.targets):
            hot[i, [number[label] for label in labels]] = 1
        return hot

    def soft_targets(self, targets: Tensor) -> Tensor:
        if self.multi_label:
            return targets
        return functional.one_hot(targets, len(self.classes)).float()

    def exact_targets(self, rows: Rows) -> Array:
        return self.targets(rows)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy; for label sets the sum of a yes-or-no cross-entropy for each label, averaged over examples."""
        return self.output_loss(model(batch.inputs), batch.targets)

    def output_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`targets`: those of `targets`, or shares of classes as `soft_targets` gives them."""
        if self.multi_label:
            weights = torch.tensor(self.class_weights, device=outputs.device) if self.class_weights else None
            found = functional.binary_cross_entropy_with_logits(
                outputs.float(), targets, pos_weight=weights, reduction="sum"
            )
            return found / len(targets)
        if not self.class_weights:
            return functional.cross_entropy(outputs.float(), targets)
        weights = torch.tensor(self.class_weights, device=outputs.device)
        if targets.ndim == 2:
            return functional.cross_entropy(outputs.float(), targets, weight=weights)
        weights = weights[targets]
        return (weights * functional.cross_entropy(outputs.float(), targets, reduction="none")).mean()

    def row_weights(self, targets: Array) -> Array | None:
        """What each row counts in a loss, float64 [n], of label sets in that of each [n, labels]; None: all alike."""
        if not self.class_weights:
            return None
        weights = np.array(self.class_weights)
        return np.where(targets > 0, weights, 1.0) if self.multi_label else weights[targets]

    @property
    def margins(self) -> SquaredHinge:
        return SquaredHinge(self.class_weights)

    def constant(self, targets: Array) -> Array:
        """The log of each class's share: always the largest class, and the best constant probabilities."""
        share = (
            targets.mean(0) if self.multi_label else np.bincount(targets, minlength=len(self.classes)) / len(targets)
        )
        share = np.clip(share, 1e-6, 1 - 1e-6)
        return np.log(share / (1 - share)) if self.multi_label else np.log(share)

    def calibrate(self, outputs: Array, targets: Array) -> dict[str, float]:
        """The temperature that fits validation rows best; multi-label: the threshold with the best metric."""
        if not self.multi_label:
            return {"temperature": _temperature(outputs, targets)} if len(targets) >= FEWEST_FOR_TEMPERATURE else {}
        if not len(targets):
            return {}
        best = max(THRESHOLDS, key=lambda t: _ratio(self.score(outputs, targets, {"threshold": t})))
        return {"threshold": float(best)}

    def score(self, outputs: Array, targets: Array, calibration: Mapping[str, float]) -> Array:
        """1 where right, weight 1; multi-label: 2 x hits, and hits counted from both sides.

        Of metrics that are no mean of rows, what each row adds to them.
        """
        if self.ranked_by:
            return self._scored_otherwise(outputs, targets, calibration)
        if not self.multi_label:
            right = (outputs.argmax(-1) == targets).astype(np.float64)
            return np.stack([right, np.ones_like(right)], axis=1)
        chosen = self._chosen(outputs, calibration)
        hits = (chosen & (targets > 0)).sum(-1)
        return np.stack([2.0 * hits, (chosen.sum(-1) + targets.sum(-1)).astype(np.float64)], axis=1)

    def _scored_otherwise(self, outputs: Array, targets: Array, calibration: Mapping[str, float]) -> Array:
        if self.multi_label:
            chosen, truth = self._chosen(outputs, calibration), targets > 0
            if self.ranked_by == "exact match":
                return _weighted((chosen == truth).all(-1))
            return macro_ratio(2.0 * (chosen & truth), 1.0 * chosen + truth, absent=0.0)
        if self.ranked_by == "log loss":
            own = self.probabilities(outputs, calibration)[np.arange(len(targets)), targets]
            return _weighted(-np.log(np.clip(own, 1e-7, 1)))
        guess = self.decisions(outputs, calibration)
        if self.ranked_by == MEAN_COST:
            return _weighted(np.array(self.costs)[targets, guess])
        hot = np.eye(len(self.classes), dtype=np.float64)
        true, said = hot[targets], hot[guess]
        if self.ranked_by == "balanced accuracy":
            return macro_ratio(true * said, true)
        return macro_ratio(2.0 * true * said, true + said)

    def metrics(self, outputs: Array, targets: Array, calibration: Mapping[str, float]) -> dict[str, float]:
        from sklearn.metrics import f1_score

        probability = self.probabilities(outputs, calibration)
        if self.multi_label:
            chosen, truth = self._chosen(outputs, calibration), targets > 0
            logs = np.where(truth, np.log(np.clip(probability, 1e-7, 1)), np.log(np.clip(1 - probability, 1e-7, 1)))
            found = {
                "micro F1": float(f1_score(truth, chosen, average="micro", zero_division=0)),
                "macro F1": float(f1_score(truth, chosen, average="macro", zero_division=0)),
                "exact match": float((chosen == truth).all(-1).mean()),
                "log loss": float(-logs.mean()),
            }
            return found | _auc(truth, probability)
        guess = self.decisions(outputs, calibration)
        found = {
            "accuracy": float((guess == targets).mean()),
            "macro F1": float(f1_score(targets, guess, average="macro", zero_division=0)),
            "balanced accuracy": float(np.mean([(guess == own)[targets == own].mean() for own in np.unique(targets)])),
            "log loss": float(-np.log(np.clip(probability[np.arange(len(targets)), targets], 1e-7, 1)).mean()),
        }
        if self.costs:
            found[MEAN_COST] = float(np.array(self.costs)[targets, guess].mean())
        return found | _auc(np.eye(len(self.classes))[targets] > 0, probability)

    def predictions(self, outputs: Array, calibration: Mapping[str, float]) -> dict[str, list[Any]]:
        """'prediction' and 'probability' (of it)."""
        probability = self.probabilities(outputs, calibration)
        if self.multi_label:
            chosen = self._chosen(outputs, calibration)
            return {
                "prediction": [[self.classes[j] for j in np.flatnonzero(row)] for row in chosen],
                "probability": [[float(p) for p in row[mask]] for row, mask in zip(probability, chosen, strict=True)],
            }
        guess = self.decisions(outputs, calibration)
        found = {
            "prediction": [self.classes[i] for i in guess],
            "probability": probability[np.arange(len(guess)), guess].tolist(),
        }
        if self.costs:
            found["expected_cost"] = (probability @ np.array(self.costs)).min(axis=1).tolist()
        return found

    def decisions(self, outputs: Array, calibration: Mapping[str, float]) -> Array:
        """The place of the class that is predicted, int64 [n]: the most likely, or that of the lowest expected cost."""
        if not self.costs:
            return np.asarray(outputs.argmax(-1))
        return np.asarray((self.probabilities(outputs, calibration) @ np.array(self.costs)).argmin(axis=1))

    def average(
        self, outputs: Sequence[Array], calibrations: Sequence[Mapping[str, float]], weights: Sequence[float]
    ) -> Array:
        """The logarithm of the mean probabilities; of label sets their logit."""
        each = [self.probabilities(*known) for known in zip(outputs, calibrations, strict=True)]
        mean = np.clip(np.tensordot(np.asarray(weights), np.stack(each), axes=1), 1e-12, 1 - 1e-12)
        return np.asarray(np.log(mean) - (np.log1p(-mean) if self.multi_label else 0.0), dtype=np.float32)

    def changes(self, outputs: Array, calibration: Mapping[str, float]) -> Callable[[Array, Array], dict[str, Array]]:
        """'changed': another class, or set of labels; 'moved': the probability of the class that was predicted.

        Of label sets the one whose probability moves most.
        """
        probability = self.probabilities(outputs, calibration)
        largest = np.arange(probability.shape[1]) == self.decisions(outputs, calibration)[:, None]
        chosen = self._chosen(outputs, calibration) if self.multi_label else largest

        def between(a: Array, b: Array) -> dict[str, Array]:
            moves = np.abs(probability[b] - probability[a])
            own = moves.max(axis=1) if self.multi_label else moves[np.arange(len(a)), probability[a].argmax(axis=1)]
            return {"changed": (chosen[a] != chosen[b]).any(axis=1).astype(np.float64), "moved": own}

        return between

    def truths(self, targets: Array) -> list[Any]:
        if self.multi_label:
            return [[self.classes[j] for j in np.flatnonzero(row > 0)] for row in targets]
        return [self.classes[i] for i in targets]

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, **vars(self)}

    def probabilities(self, outputs: Array, calibration: Mapping[str, float]) -> Array:
        """Of every class, in the order of `classes`: float64 [n, classes]."""
        logits = torch.from_numpy(np.asarray(outputs, dtype=np.float64)) / calibration.get("temperature", 1.0)
        found: Array = (logits.sigmoid() if self.multi_label else logits.softmax(-1)).numpy()
        return found

    def _chosen(self, outputs: Array, calibration: Mapping[str, float]) -> Array:
        chosen: Array = self.probabilities(outputs, calibration) >= calibration.get("threshold", 0.5)
        return chosen


def _temperature(outputs: Array, targets: Array) -> float:
    """What logits [n, classes] are divided by (Guo et al. 2017); no class that is predicted changes by it.

    Fitted to whether the predicted class was right, which is what its probability is about. By the log loss of all
    classes a few rows of classes that were never trained on decide: on 600 rows of 57 classes that took the calibration
    error of `linear` from .096 to .150.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    logits = outputs.astype(np.float64)
    right = logits.argmax(axis=1) == targets

    def nats(log: float) -> float:
        cooled = logits / np.exp(log)
        sure = np.minimum(cooled.max(axis=1) - logsumexp(cooled, axis=1), -1e-12)
        return float(HELD_TO_ONE * log**2 - np.where(right, sure, np.log(-np.expm1(sure))).sum())

    return float(np.exp(minimize_scalar(nats, bounds=(np.log(COOLEST), np.log(HOTTEST)), method="bounded").x))


def _weighted(values: Array) -> Array:
    """[n, 2], each with weight 1."""
    return np.stack([values.astype(np.float64), np.ones(len(values))], axis=1)


def _ratio(scores: Array) -> float:
    return float(scores[:, 0].sum() / max(scores[:, 1].sum(), 1.0))


def _auc(truth: Array, probability: Array) -> dict[str, float]:
    """One against the rest, averaged over the classes that have both kinds of rows."""
    from sklearn.metrics import roc_auc_score

    usable: Sequence[int] = [j for j in range(truth.shape[1]) if 0 < truth[:, j].sum() < len(truth)]
    if not usable:
        return {}
    return {"AUC": float(np.mean([roc_auc_score(truth[:, j], probability[:, j]) for j in usable]))}
