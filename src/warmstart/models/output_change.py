"""Output change: how does a trained model give the outputs of another task, with other classes or another scale?"""

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.models.column_head import ColumnHead
from warmstart.models.model import Model
from warmstart.models.wide_and_deep import WideAndDeep
from warmstart.types import Array


@dataclass(frozen=True, eq=False)
class OutputChange:
    """`outputs @ matrix.T + shift`: outputs [n, old] of one task as outputs [n, new] of another."""

    matrix: Array  # float64 [new, old]
    shift: Array  # float64 [new]

    def of(self, outputs: Array) -> Array:
        """float32 [n, new]"""
        return np.asarray(outputs.astype(np.float64) @ self.matrix.T + self.shift, dtype=np.float32)


def change_outputs(model: Model, change: OutputChange) -> Model:
    """The same body with a head that gives the changed outputs; a body that is its own head is changed in place.

    Only the last layers change, so it gives exactly what `change.of` makes of the outputs, and can be trained further.
    """
    body = model.body
    if isinstance(body, WideAndDeep):
        shape = body.network.shape
        _change_linear(body.output, change, change.shift / shape.scale)
        for table in (body.wide, getattr(body, "wide_columns", None)):
            if table is not None:
                _change_table(table, change)
        outputs = len(change.shift)
        changed = replace(shape, outputs=outputs, constant=(0.0,) * outputs)
        body.network = replace(body.network, shape=changed)
        body.bag_width += outputs - body.width
        body.width = outputs
        return model
    head = copy.deepcopy(model.head)
    if isinstance(head, ColumnHead):
        _change_table(head.columns.direct, change)
        _change_linear(head.columns.output, change, None)
        _change_linear(head.answer[-1], change, change.shift)
    else:
        assert isinstance(head, nn.Sequential), "a head of a task of classes or numbers ends with a linear layer"
        _change_linear(head[-1], change, change.shift)
    return Model(body, head, model.pooling)


def _change_linear(layer: nn.Module, change: OutputChange, shift: Array | None) -> None:
    assert isinstance(layer, nn.Linear)
    matrix = torch.from_numpy(change.matrix)
    layer.weight = _like(layer.weight, matrix @ layer.weight.detach().double())
    if shift is not None:
        layer.bias = _like(layer.bias, matrix @ layer.bias.detach().double() + torch.from_numpy(shift))
    layer.out_features = len(matrix)


def _change_table(table: nn.EmbeddingBag, change: OutputChange) -> None:
    table.weight = _like(table.weight, table.weight.detach().double() @ torch.from_numpy(change.matrix).T)
    table.embedding_dim = len(change.matrix)


def _like(before: Tensor, now: Tensor) -> nn.Parameter:
    return nn.Parameter(now.to(before.dtype).contiguous())
