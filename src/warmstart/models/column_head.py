"""Column head: how are a table's columns combined with the text features of a body, before the output layer?"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

HIDDEN, DROPOUT = 64, 0.05  # of the layers on columns
# Of the pooled text: what columns leave to say is learned from few rows with ease. On 1,000 rows of packages, where
# columns say most, the error of a linear probe on other packages was .181 with 0.1, .168 with 0.3.
TEXT_DROPOUT = 0.3
TABLE_SPREAD = 0.05  # of the start of the table of features, uniform around 0
COLUMN_RATE = 4e-3  # learning rate (AdamW) where the run's own is the usual one of its regime


@dataclass(frozen=True)
class ColumnShape:
    """What training rows say of the columns."""

    features: int
    most: int  # that a row has
    hidden: int = HIDDEN


class ColumnHead(nn.Module):
    """`answer(features) + output(layers(columns))`: one linear layer on both, side by side.

    Features of columns are looked up in a table and added up, which is a linear layer on a sparse row: a category has
    an embedding, a number a vector times its value.
    """

    reads_columns = True

    def __init__(self, answer: nn.Sequential, shape: ColumnShape, seed: int):
        super().__init__()
        self.answer, self.shape = answer, shape
        for module in answer:
            if isinstance(module, nn.Dropout):
                module.p = TEXT_DROPOUT
        last: Any = answer[-1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.columns = ColumnNetwork(shape, last.out_features)

    @property
    def weights_looked_up(self) -> int:
        """Weights of the tables that a row is multiplied with, at most."""
        tables = (self.columns.table, self.columns.direct)
        return self.shape.most * sum(table.embedding_dim for table in tables)

    def forward(self, features: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        found: Tensor = self.answer(features) + self.columns(
            inputs["joined_features"], inputs["joined_offsets"], inputs["joined_weights"]
        )
        return found


class ColumnNetwork(nn.Module):
    """Features of columns to what they add to the outputs [n, k]; nothing at first."""

    own_rate = COLUMN_RATE

    def __init__(self, shape: ColumnShape, outputs: int):
        super().__init__()
        hidden = shape.hidden
        self.table = nn.EmbeddingBag(shape.features, hidden, mode="sum")
        self.direct = nn.EmbeddingBag(shape.features, outputs, mode="sum")
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.layers = nn.Sequential(
            nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(DROPOUT)
        )
        self.output = nn.Linear(hidden, outputs, bias=False)
        nn.init.uniform_(self.table.weight, -TABLE_SPREAD, TABLE_SPREAD)
        nn.init.zeros_(self.direct.weight)
        nn.init.zeros_(self.output.weight)

    def forward(self, features: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        summed = self.table(features, offsets, per_sample_weights=weights)
        direct: Tensor = self.direct(features, offsets, per_sample_weights=weights)
        deep: Tensor = self.output(self.layers(summed + self.bias))
        return direct + deep
