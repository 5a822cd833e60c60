"""Head: which small layer is on top of every body, so that a comparison compares bodies?"""

import torch
from torch import nn

from warmstart.models.column_head import ColumnHead, ColumnShape


def linear_head(width: int, outputs: int, seed: int, dropout: float = 0.1) -> nn.Module:
    """Dropout and one linear layer, small normal weights (sd 0.02, BERT's own) and zero bias, drawn from the seed."""
    linear = nn.Linear(width, outputs)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        linear.weight.normal_(0.0, 0.02, generator=generator)
        linear.bias.zero_()
    return nn.Sequential(nn.Dropout(dropout), linear)


def sized_head(weights: dict[str, torch.Tensor]) -> nn.Sequential:
    """The head of `linear_head`, of the size of these weights."""
    outputs, width = weights["1.weight"].shape
    return nn.Sequential(nn.Dropout(0.0), nn.Linear(width, outputs))


def sized_column_head(weights: dict[str, torch.Tensor], features: int, most: int) -> nn.Module:
    """The same head with layers for typed columns: `features` in all, at most `most` of them in a row."""
    answer = sized_head({name.removeprefix("answer."): each for name, each in weights.items()})
    return ColumnHead(answer, ColumnShape(features, most, weights["columns.table.weight"].shape[1]), 0)
