"""Linear: what do weights on features say of a row, and how are they fitted? `linear` and `embedded`."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from warmstart.baselines.baseline import FitData, Fitted, save_baseline
from warmstart.baselines.embedder import Embedder
from warmstart.baselines.features import Features
from warmstart.baselines.search import Search
from warmstart.baselines.solvers import PASSES, PREDICTING, linear_problem
from warmstart.baselines.terms import term_choices
from warmstart.errors import UsageError
from warmstart.types import Array


@dataclass(frozen=True)
class Linear:
    """Weights on features: `outputs = features @ weight + bias`."""

    name: str  # of the regime
    features: Features
    weight: Array = field(repr=False)  # float32 [features, k]
    bias: Array = field(repr=False)  # float32 [k]

    @property
    def weights(self) -> int:
        return self.weight.size + self.bias.size

    def outputs(self, texts: Sequence[str]) -> Array:
        if not len(texts):
            return np.zeros((0, len(self.bias)), dtype=np.float32)
        found: Array = self.features.encode(texts) @ self.weight + self.bias
        return found

    def flops(self, texts: Sequence[str]) -> float:
        """Two for each stored number and output, beside making these numbers."""
        stored = self.features.encode(texts).nnz if len(texts) else 0
        return float(stored * PREDICTING * len(self.bias)) + self.features.flops(texts, stored)

    def alone(self) -> "Linear":
        embedder = self.features.embedder
        if embedder is None:
            return self
        return replace(self, features=replace(self.features, embedder=Embedder(embedder.base)))

    def save(self, folder: Path) -> None:
        facts, arrays = self.features.to_json()
        save_baseline(folder, {"baseline": self.name} | facts, {"weight": self.weight, "bias": self.bias} | arrays)


def fit_linear(data: FitData) -> Fitted:
    """TF-IDF: terms and strength by cross-validation on these rows alone."""
    return _fit("linear", data, [Features(terms) for terms in term_choices(data.rows.texts)])


def fit_embedded(data: FitData) -> Fitted:
    """The same beside what a base makes of each text, unchanged, whose weight is chosen as well.

    A linear model on features of length 1, solved to convergence: the head that gradient descent trains on the same
    vectors (`frozen`) scored .549 on 57 classes and 1,000 rows, this .621.
    """
    if data.embedder is None:
        raise UsageError("the regime `embedded` reads texts with a base, and there is none.", "name one with --base")
    return _fit("embedded", data, [Features(terms, data.embedder) for terms in term_choices(data.rows.texts)])


def _fit(name: str, data: FitData, choices: Sequence[Features]) -> Fitted:
    problem = linear_problem(data.task, data.rows)
    search = Search(data.task, problem, data.rows, data.seed)
    best = search.choose(choices)
    matrix = best.features.encode(data.rows.texts)
    found = problem.solve(matrix, problem.wanted, best.strength, data.seed)
    weight, bias = ((each * best.scale).astype(np.float32) for each in (found.weight, found.bias))
    caveats = () if found.passes < PASSES else (f"the linear model was not solved after {PASSES:,} passes",)
    spent = found.flops + best.features.flops(data.rows.texts, matrix.nnz)
    return Fitted(Linear(name, best.features, weight, bias), tuple(search.trials), spent, search.flops, caveats)
