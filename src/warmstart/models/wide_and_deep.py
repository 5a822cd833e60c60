"""Wide and deep: which network adds a linear model of terms to a deep one, from random weights? (Cheng et al. 2016)

The wide path is a weight for each term and output, as in `linear`; the deep one a vector for each term, added up, and
layers above. Both tables learn in place: a step changes only the rows of terms that its texts have. What each learns by
was measured on 57 classes and 1,000 short texts: the wide path by plain SGD gave .540, by Adagrad or Adam .46 to .48.

The gradient of a table has one row for each different term of a batch. Torch's own sparse gradient has one for each
term of each text, which the optimizer adds up: with batches of 1,024 one-line texts that took 1.7 times as long a step.
"""

from dataclasses import dataclass
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
        wide = self.wide(features, offsets, per_sample_weights=weights)
        deep = self.deep(features, offsets, per_sample_weights=weights)
        if column_features is not None:
            wide = wide + self.wide_columns(column_features, column_offsets, per_sample_weights=column_weights)
            deep = deep + self.deep_columns(column_features, column_offsets, per_sample_weights=column_weights)
        found: Tensor = (wide + self.output(self.layers(deep))) * self.scale
        return found


def _table(rows: int, width: int, spread: float, rule: LearningRule) -> nn.EmbeddingBag:
    """A table with sparse gradients: a step updates only the rows in the batch."""
    table = TermTable(max(rows, 1), width, mode="sum", sparse=True)
    nn.init.uniform_(table.weight, -spread, spread)
    table.learning_rule = rule  # type: ignore[assignment]
    return table


class TermTable(nn.EmbeddingBag):
    """A table whose sparse gradient has each row once: the sum over the batch."""

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        if not (self.sparse and torch.is_grad_enabled() and self.weight.requires_grad):
            return super().forward(input, offsets, per_sample_weights)
        found = _Summed.apply(self.weight, input, offsets, per_sample_weights)  # type: ignore[no-untyped-call]
        return cast(Tensor, found)


class _Summed(torch.autograd.Function):
    """Weighted sums of rows of a table, [bags, width]."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(rows, offsets, weights)
        ctx.shape = table.shape
        return functional.embedding_bag(rows, table, offsets, mode="sum", per_sample_weights=weights)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        rows, offsets, weights = ctx.saved_tensors
        present = torch.zeros(ctx.shape[0], dtype=torch.bool, device=rows.device)
        present[rows] = True
        used = present.nonzero()[:, 0]
        places = torch.zeros(ctx.shape[0], dtype=torch.int64, device=rows.device)
        places[used] = torch.arange(len(used), device=rows.device)
        with torch.enable_grad():  # of a table of these rows alone; what is in it does not matter
            part = gradient.new_zeros(len(used), ctx.shape[1]).requires_grad_()
            sums = functional.embedding_bag(places[rows], part, offsets, mode="sum", per_sample_weights=weights)
            (found,) = torch.autograd.grad(sums, part, gradient)
        shape = tuple(ctx.shape)
        summed = torch.sparse_coo_tensor(used[None], found, shape, is_coalesced=True, check_invariants=False)
        return summed, None, None, None
