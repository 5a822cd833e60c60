"""Cross-validation: which features, which strength and which weights suit these rows? Judged on them alone."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from warmstart.baselines.linear_features import FeaturePart, Features, encode_part, side_by_side
from warmstart.baselines.solvers import PREDICTING, LinearProblem
from warmstart.data.rows.split import Rows
from warmstart.results.record import Trial
from warmstart.tasks.task import Task
from warmstart.types import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

TUNING_ROWS = 5_000  # the best strength was the same at 250, 1,000 and 4,000 rows: more only costs time
FEW_ROWS = 1_000  # below, 5 folds; from here on 3
STRENGTH_FACTOR = 3.0  # between neighboring strengths
SMALLEST = 0.1  # strength; below held-out gains were noise: .0003 of .74 at 250 rows
# Of the embedding, whose rows have length 1 as those of each kind of terms have. On 57 classes and 1,000 short texts
# accuracy was .621 at 1, .607 at 2 and .573 at 4.
EMBEDDING_WEIGHTS = (0.5, 1.0, 2.0)
MOST_WEIGHTS = 3  # of the columns, on either side of 1


@dataclass(frozen=True)
class Choice:
    """Features with a strength, and how rows did that were held out."""

    features: Features
    strength: float
    scale: float  # from margins to logits
    score: float  # higher is better
    reweighted: bool = False  # solved for the absolute error


class StrengthSearch:
    """Cross-validation on training rows only; rows with the same key (a group) are never parted."""

    def __init__(self, task: Task, problem: LinearProblem, rows: Rows, seed: int):
        self.task, self.problem, self.seed = task, problem, seed
        self.sample, self.fold = tuning_folds(rows.keys, seed)
        self.rows = rows.take(self.sample)
        self.trials: list[Trial] = []
        self.flops = 0.0
        self._words: Sequence[str] = ()
        self._encoded: dict[int, csr_matrix] = {}  # parts, by identity: most are tried more than once

    def choose(self, choices: Sequence[Features]) -> Choice:
        """The best features at strength 1, the best strength for them, uphill until it falls; then the weights."""
        best = Choice(choices[0], 1.0, 1.0, -np.inf)
        self._words = choices[0].reading.words(self.rows.texts, self.rows.columns)
        if not self.fold.any():  # one group: nothing can be held out
            return best
        for tried in choices:
            best = self._better(best, tried, 1.0)
        for factor in (STRENGTH_FACTOR, 1 / STRENGTH_FACTOR):
            climbed = self._climb(best, factor)
            if climbed is not best:
                best = climbed
                break
        if best.features.columns and len(best.features.parts) > 1:
            for factor in (STRENGTH_FACTOR, 1 / STRENGTH_FACTOR):
                best = self._weigh_columns(best, factor)
        if len(best.features.parts) > 1:
            for weight in EMBEDDING_WEIGHTS:
                if weight != 1.0 and best.features.embedder:
                    best = self._better(best, replace(best.features, embedding_weight=weight), best.strength)
                elif weight != 1.0 and best.features.pictures:
                    best = self._better(best, replace(best.features, pictures_weight=weight), best.strength)
        if self.problem.reweighted:
            other = self._better(best, best.features, best.strength, reweighted=True)
            if other is not best:
                for factor in (STRENGTH_FACTOR, 1 / STRENGTH_FACTOR):
                    other = self._climb(other, factor)
                best = other
        return best

    def beats_constant(self, best: Choice) -> bool:
        """Whether it predicts held-out rows better than the best constant, which may see them; True if none are."""
        if not self.trials:
            return True
        targets = self.problem.targets[self.sample]
        constant = self._score(np.tile(self.task.constant(targets), (len(targets), 1)), targets)
        return bool(best.score > (constant if self.task.higher_is_better else -constant))

    def _weigh_columns(self, best: Choice, factor: float) -> Choice:
        """More or less of them, while that does better."""
        for _ in range(MOST_WEIGHTS):
            weight = best.features.columns_weight * factor
            choice = self._better(best, replace(best.features, columns_weight=round(weight, 6)), best.strength)
            if choice is best:
                break
            best = choice
        return best

    def _climb(self, best: Choice, factor: float) -> Choice:
        while SMALLEST <= (strength := best.strength * factor) <= self.problem.largest:
            choice = self._better(best, best.features, strength, best.reweighted)
            gain, best = choice.score - best.score, choice
            if gain <= self.problem.least_gain:
                break
        return best

    def _better(self, best: Choice, features: Features, strength: float, reweighted: bool = False) -> Choice:
        """The best so far, or these where they do better.

        Margins for every row come from a fit that did not see it, and are scored as the task is ranked.
        """
        problem, wanted = self.problem, self.problem.wanted[self.sample]
        matrix = side_by_side([(self._once(part), weight) for part, weight in features.parts])
        margins, passes = np.zeros(wanted.shape), 0
        solve = problem.reweighted if reweighted and problem.reweighted else problem.solve
        for fold in range(self.fold.max() + 1):
            held = self.fold == fold
            found = solve(matrix[~held], wanted[~held], strength, self.seed)
            margins[held] = matrix[held] @ found.weight + found.bias
            passes = max(passes, found.passes)
            self.flops += found.flops + float(matrix[held].nnz * PREDICTING * wanted.shape[1])
        targets = problem.targets[self.sample]
        scale = problem.scale(margins, targets)
        score = self._score(margins * scale, targets)
        settings = features.settings | {problem.parameter: round(strength, 6)}
        self.trials.append(Trial(settings | ({"loss": "absolute"} if reweighted else {}), passes, score))
        turned = score if self.task.higher_is_better else -score
        return Choice(features, strength, scale, turned, reweighted) if turned > best.score else best

    def _once(self, part: FeaturePart) -> "csr_matrix":
        if id(part) not in self._encoded:
            self._encoded[id(part)] = encode_part(part, self.rows.texts, self._words, self.rows.columns)
        return self._encoded[id(part)]

    def _score(self, outputs: Array, targets: Array) -> float:
        scores = self.task.score(outputs, targets, self.task.calibrate(outputs, targets))
        return float(scores[:, 0].sum() / max(scores[:, 1].sum(), 1.0))


def tuning_folds(keys: Sequence[str], seed: int) -> tuple[Array, Array]:
    """Positions of at most `TUNING_ROWS` rows, in the seed's hash order of their keys, and the fold of each."""
    hashed = [hashlib.sha256(f"{seed}:{key}".encode()).digest() for key in keys]
    order = sorted(range(len(keys)), key=lambda i: (hashed[i], i))[:TUNING_ROWS]
    rank: dict[bytes, int] = {}
    for i in order:
        rank.setdefault(hashed[i], len(rank))
    folds = min(5 if len(order) < FEW_ROWS else 3, len(rank))
    return np.array(order), np.array([rank[hashed[i]] % folds for i in order])
