"""Wide and deep: which network adds a linear model of terms to a deep one, from random weights? (Cheng et al. 2016)

The wide path is a weight for each term and output, as in `linear`; the deep one a vector for each term, added up, and
layers above. Both tables learn in place: a step changes only the rows of terms that its texts have. What each learns by
was measured on 57 classes and 1,000 short texts: the wide path by plain SGD gave .540, by Adagrad or Adam .46 to .48.

The gradient of a table has one row for each different term of a batch. Torch's own sparse gradient has one for each
term of each text, which the optimizer adds up: with batches of 1,024 one-line texts that took 1.7 times as long a step.
It is summed by the entries in the order of their terms: of 512 texts with 150 terms each, in 7 ms instead of 16.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from warmstart.models.dnn import Size
from warmstart.models.learning_rule import LearningRule

SPREAD = 0.01  # of the deep table's start, uniform around 0


@dataclass(frozen=True)
class WideShape:
    """Sizes from the training rows: inputs and outputs, and the initial output."""

    terms: int
    columns: int
    outputs: int
    constant: tuple[float, ...]  # what it gives before it has learned anything, before `scale`; [outputs]
    scale: float = 1.0  # times what the paths give, to be logits


@dataclass(frozen=True)
class PathRates:
    """Rate of each path, times the run's own learning rate, which is that of the layers (AdamW)."""

    wide: float  # plain SGD
    deep: float  # Adagrad
    columns: float  # Adagrad


@dataclass(frozen=True)
class WideNetwork:
    """Builds the wide and deep network."""

    size: Size
    shape: WideShape
    rates: PathRates

    def __call__(self) -> "WideAndDeep":
        return WideAndDeep(self)


class WideAndDeep(nn.Module):
    """Terms and columns of n rows to outputs [n, k], without another head."""

    is_head = True

    def __init__(self, network: "WideNetwork"):
        super().__init__()
        shape, size, rates = network.shape, network.size, network.rates
        self.network, self.width, self.scale = network, shape.outputs, shape.scale
        self.bag_width = shape.outputs + size.width
        self.wide = _table(shape.terms, shape.outputs, 0.0, LearningRule("sgd", rates.wide))
        self.deep = _table(shape.terms, size.width, SPREAD, LearningRule("adagrad", rates.deep))
        if shape.columns:
            self.wide_columns = _table(shape.columns, shape.outputs, 0.0, LearningRule("adagrad", rates.columns))
            self.deep_columns = _table(shape.columns, size.width, SPREAD, LearningRule("adagrad", rates.columns))
        layers: list[nn.Module] = [nn.ReLU(), nn.Dropout(size.dropout)]
        for _ in range(size.depth):
            layers += [nn.Linear(size.width, size.width), nn.ReLU(), nn.Dropout(size.dropout)]
        self.layers = nn.Sequential(*layers)
        self.output = nn.Linear(size.width, shape.outputs)
        with torch.no_grad():
            self.output.bias.copy_(torch.tensor(shape.constant))

    def forward(
        self,
        features: Tensor,
        offsets: Tensor,
        weights: Tensor,
        column_features: Tensor | None = None,
        column_offsets: Tensor | None = None,
        column_weights: Tensor | None = None,
    ) -> Tensor:
        entries = Entries(features, offsets, weights)
        wide, deep = self.wide.sums(entries), self.deep.sums(entries)
        if column_features is not None and column_offsets is not None and column_weights is not None:
            entries = Entries(column_features, column_offsets, column_weights)
            wide, deep = wide + self.wide_columns.sums(entries), deep + self.deep_columns.sums(entries)
        found: Tensor = (wide + self.output(self.layers(deep))) * self.scale
        return found


def _table(rows: int, width: int, spread: float, rule: LearningRule) -> "TermTable":
    """A table with sparse gradients: a step updates only the rows in the batch."""
    table = TermTable(max(rows, 1), width, mode="sum", sparse=True)
    nn.init.uniform_(table.weight, -spread, spread)
    table.learning_rule = rule  # type: ignore[assignment]
    return table


@dataclass(frozen=True, eq=False)
class Entries:
    """The terms of a batch of texts, with their weights. All tables that read them share their order by terms."""

    terms: Tensor  # int64 [n]
    offsets: Tensor  # int64 [texts]: where the terms of a text begin
    weights: Tensor  # float [n]

    @cached_property
    def by_term(self) -> "EntriesByTerm":
        ordered, order = torch.sort(self.terms, stable=True)
        rows, counts = torch.unique_consecutive(ordered, return_counts=True)
        lengths = torch.diff(self.offsets, append=self.offsets.new_tensor([len(self.terms)]))
        texts = torch.repeat_interleave(lengths)[order]
        return EntriesByTerm(rows, counts.cumsum(0) - counts, texts, self.weights[order])


@dataclass(frozen=True, eq=False)
class EntriesByTerm:
    """The same in the order of the terms."""

    rows: Tensor  # int64 [r]: the different terms, ascending
    starts: Tensor  # int64 [r]: where the entries of a term begin
    texts: Tensor  # int64 [n]: which text has it
    weights: Tensor  # float [n]


class TermTable(nn.EmbeddingBag):
    """A table whose sparse gradient has each row once: the sum over the batch."""

    def sums(self, entries: Entries) -> Tensor:
        """Of each text the weighted sum of its terms' rows, [texts, width]."""
        if not (self.sparse and torch.is_grad_enabled() and self.weight.requires_grad):
            return self.forward(entries.terms, entries.offsets, entries.weights)
        return cast(Tensor, _Summed.apply(self.weight, entries))  # type: ignore[no-untyped-call]


class _Summed(torch.autograd.Function):
    """Weighted sums of rows of a table, [texts, width]."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, entries: Entries) -> Tensor:
        ctx.entries, ctx.shape = entries, table.shape
        terms, offsets, weights = entries.terms, entries.offsets, entries.weights
        return functional.embedding_bag(terms, table, offsets, mode="sum", per_sample_weights=weights)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        found: EntriesByTerm = ctx.entries.by_term
        texts, starts, weights = found.texts, found.starts, found.weights
        summed = functional.embedding_bag(texts, gradient, starts, mode="sum", per_sample_weights=weights)
        size = tuple(ctx.shape)
        return torch.sparse_coo_tensor(found.rows[None], summed, size, is_coalesced=True, check_invariants=False), None
