"""Wide and deep: which network adds a linear model of terms to a deep one, from random weights? (Cheng et al. 2016)

The wide path is a weight for each term and output, as in `linear`; the deep one a vector for each term, added up, and
layers above. Both tables learn in place: a step changes only the rows of terms that its texts have. What each learns by
was measured on 57 classes and 1,000 short texts: the wide path by plain SGD gave .540, by Adagrad or Adam .46 to .48.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

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
    table = nn.EmbeddingBag(max(rows, 1), width, mode="sum", sparse=True)
    nn.init.uniform_(table.weight, -spread, spread)
    table.learning_rule = rule  # type: ignore[assignment]
    return table
