"""Linear: how do `linear` and `embedded` fit a linear model to TF-IDF terms, columns and a frozen base's features?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from warmstart.baselines.baseline import FitData, Fitted, save_baseline
from warmstart.baselines.constant import fit_constant
from warmstart.baselines.cross_validation import Choice, StrengthSearch
from warmstart.baselines.embedder import Embedder
from warmstart.baselines.image_features import PICTURE_FEATURE_KINDS, PictureFeatures
from warmstart.baselines.linear_features import Features
from warmstart.baselines.solvers import PASSES, PREDICTING, LinearProblem, Solution, linear_problem
from warmstart.data.features.column_features import ColumnFeatures
from warmstart.data.features.terms import term_choices
from warmstart.data.rows.read_columns import NO_COLUMNS
from warmstart.data.schema.cell_values import Values
from warmstart.errors import UsageError
from warmstart.results.record import Trial
from warmstart.types import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


BELOW_CONSTANT = "in cross-validation on the training rows the linear model was no better than the constant"


@dataclass(frozen=True)
class Linear:
    """Weights on features: `outputs = features @ weight + bias`."""

    name: str  # of the regime
    features: Features
    weight: Array = field(repr=False)  # float32 [features, k]
    bias: Array = field(repr=False)  # float32 [k]

    writer = None

    @property
    def weights(self) -> int:
        return self.weight.size + self.bias.size

    def outputs(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> Array:
        if not len(texts):
            return np.zeros((0, len(self.bias)), dtype=np.float32)
        found: Array = self.features.encode(texts, columns) @ self.weight + self.bias
        return found

    def flops(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> float:
        """Two for each stored number and output, beside making these numbers."""
        stored = self.features.encode(texts, columns).nnz if len(texts) else 0
        return float(stored * PREDICTING * len(self.bias)) + self.features.flops(texts, columns, stored)

    def alone(self) -> "Linear":
        embedder = self.features.embedder
        if embedder is None:
            return self
        return replace(self, features=replace(self.features, embedder=replace(embedder, shared=None)))

    def save(self, folder: Path) -> None:
        facts, arrays = self.features.to_json()
        save_baseline(folder, {"baseline": self.name} | facts, {"weight": self.weight, "bias": self.bias} | arrays)


def fit_linear(data: FitData) -> Fitted:
    """TF-IDF: terms and strength by cross-validation on these rows alone."""
    return _fit("linear", data, None)


def fit_embedded(data: FitData) -> Fitted:
    """The same beside what a base makes of each text, unchanged, whose weight is chosen as well.

    A linear model on features of length 1, solved to convergence: the head that gradient descent trains on the same
    vectors (`frozen`) scored .549 on 57 classes and 1,000 rows, this .621.
    """
    if data.embedder is None:
        raise UsageError("the regime `embedded` reads texts with a base, and there is none.", "name one with --base")
    return _fit("embedded", data, data.embedder)


def feature_choices(data: FitData, embedder: Embedder | None) -> list[Features]:
    """Words alone, and words with their pieces, where there are texts; the columns beside them; what a base makes of
    images, or their edges and colors, or their pixels; none where no row says anything."""
    reading = data.reading
    words = reading.words(data.rows.texts, data.rows.columns)
    terms = term_choices(words) if not reading.typed or any(text.strip() for text in words) else [()]
    columns = ColumnFeatures.fit(reading, data.rows.columns) if reading.typed else None
    columns = columns if columns and columns.says else None
    images: list[PictureFeatures | None] = [None]
    if (pictures := reading.named("image")) and embedder is None:
        images = [PictureFeatures(pictures[0], kind) for kind in PICTURE_FEATURE_KINDS]
    if embedder and columns and not pictures:
        embedder = replace(embedder, reading=reading)
    choices = [
        Features(kinds, reading, columns, embedder=embedder, pictures=seen) for seen in images for kinds in terms
    ]
    return [features for features in choices if features.parts]


@dataclass(frozen=True)
class Chosen:
    """A problem with the features and the strength that suit it, and what choosing them took."""

    problem: LinearProblem
    choice: Choice
    matrix: "csr_matrix"  # the features of all rows
    trials: tuple[Trial, ...]
    tuning_flops: float
    beats_constant: bool = True  # by cross-validation

    def solve(self, index: Array, seed: int) -> Solution:
        """Weights and bias from the rows at these positions: what they give times the choice's scale is an output."""
        reweighted = self.problem.reweighted if self.choice.reweighted else None
        solve = reweighted or self.problem.solve
        return solve(self.matrix[index], self.problem.wanted[index], self.choice.strength, seed)


def choose_linear(data: FitData, embedder: Embedder | None = None, choices: Sequence[Features] = ()) -> Chosen | None:
    """By cross-validation on these rows; None where no column of any row says anything.

    `choices`: the features to choose from; by default those of all columns.
    """
    choices = choices or feature_choices(data, embedder)
    if not choices:
        return None
    problem = linear_problem(data.task, data.rows)
    search = StrengthSearch(data.task, problem, data.rows, data.seed)
    best = search.choose(choices)
    matrix = best.features.encode(data.rows.texts, data.rows.columns)
    return Chosen(problem, best, matrix, tuple(search.trials), search.flops, search.beats_constant(best))


def fit_chosen(name: str, data: FitData, chosen: Chosen) -> Fitted:
    """On all rows."""
    best = chosen.choice
    found = chosen.solve(np.arange(len(data.rows)), data.seed)
    weight, bias = ((each * best.scale).astype(np.float32) for each in (found.weight, found.bias))
    caveats: tuple[str, ...] = (
        () if found.passes < PASSES else (f"the linear model was not solved after {PASSES:,} passes",)
    )
    if not chosen.beats_constant:
        caveats += (BELOW_CONSTANT,)
    spent = found.flops + best.features.flops(data.rows.texts, data.rows.columns, chosen.matrix.nnz)
    return Fitted(Linear(name, best.features, weight, bias), chosen.trials, spent, chosen.tuning_flops, caveats)


def _fit(name: str, data: FitData, embedder: Embedder | None) -> Fitted:
    chosen = choose_linear(data, embedder)
    return fit_chosen(name, data, chosen) if chosen else fit_nothing(data)


def fit_nothing(data: FitData) -> Fitted:
    """The constant, for rows that say nothing."""
    return replace(fit_constant(data), caveats=("no column says anything: all values are missing, or the same",))
