"""DNN: which residual network learns from hashed words, from random weights?"""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Size:
    """How large the network is. The reference, `Size(5000, 4096, 8, 0.2)` with one output, has 289,128,449 weights."""

    features: int = 5000
    width: int = 256
    depth: int = 2  # residual blocks
    dropout: float = 0.2


class ResidualBlock(nn.Module):
    """Linear, LayerNorm, ReLU, Dropout, Linear, LayerNorm, add, ReLU."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.inner = nn.Sequential(
            nn.Linear(width, width),
            nn.LayerNorm(width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.LayerNorm(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(x + self.inner(x))


class FirstLayer(nn.Module):
    """Linear on a sparse row, then LayerNorm, ReLU, Dropout.

    An EmbeddingBag that sums rows by weight is exactly the linear layer, at about a fiftieth of the multiplications
    for 100 words among 5,000 features. Its weights start as that linear layer's would (uniform in 1 / sqrt(features)).
    """

    def __init__(self, size: Size):
        super().__init__()
        self.bag = nn.EmbeddingBag(size.features, size.width, mode="sum")
        bound = size.features**-0.5
        nn.init.uniform_(self.bag.weight, -bound, bound)
        self.bias = nn.Parameter(nn.init.uniform_(self.bag.weight.new_empty(size.width), -bound, bound))
        self.rest = nn.Sequential(nn.LayerNorm(size.width), nn.ReLU(), nn.Dropout(size.dropout))

    def forward(self, features: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        out: Tensor = self.rest(self.bag(features, offsets, per_sample_weights=weights) + self.bias)
        return out


class HashedNet(nn.Module):
    """Hashed words [features], [offsets], [weights] of n texts to features [n, width]."""

    def __init__(self, size: Size):
        super().__init__()
        self.size = size
        self.width = size.width
        self.first = FirstLayer(size)
        self.blocks = nn.ModuleList(ResidualBlock(size.width, size.dropout) for _ in range(size.depth))

    def get_input_embeddings(self) -> nn.Module:
        """The table of hashed words, under the name that transformers' models have for theirs."""
        return self.first.bag

    def forward(self, features: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        x: Tensor = self.first(features, offsets, weights)
        for block in self.blocks:
            x = block(x)
        return x
