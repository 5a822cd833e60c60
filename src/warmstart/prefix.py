"""Prefix: what the runs of one process share: encoded rows, and activations of layers that never change."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.data.batch import Order, WordDropout, by_length
from warmstart.data.inputs import Encoded, Inputs
from warmstart.data.split import Rows, Splits
from warmstart.models.model import Model
from warmstart.record import Array
from warmstart.starts import Start
from warmstart.tasks import Batch

EVALUATION_BATCH = 64


@dataclass(frozen=True)
class Examples:
    """Rows as a model reads them."""

    encoded: Encoded
    positions: Array  # int64 [n]: where each row stands in `encoded`
    targets: Tensor  # [n] or [n, classes]
    lengths: Array  # int64 [n]: bytes of text, for the order
    numbers: Array  # int64 [n]: row numbers in the table

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, index: Array) -> Batch:
        return Batch(self.encoded.batch(self.positions[index]), self.targets[torch.from_numpy(index)])

    def sizes(self) -> Array:
        return self.encoded.sizes()[self.positions]


@dataclass(frozen=True)
class Stream:
    """Training examples in their order, step by step: a `Source` for the loop."""

    examples: Examples
    order: Order
    dropout: WordDropout | None = None
    _epochs: dict[int, list[Array]] = field(default_factory=dict, repr=False, compare=False)

    def at(self, step: int, at_most: int | None = None) -> list[Batch]:
        epoch, _ = divmod(step, self.order.per_epoch)
        index = self.rows(step)
        pieces = 1 if at_most is None else -(-len(index) // at_most)
        return [self._batch(piece, epoch) for piece in np.array_split(index, pieces)]

    def rows(self, step: int) -> Array:
        """Where the rows of a step's batch stand in the examples."""
        epoch, i = divmod(step, self.order.per_epoch)
        if epoch not in self._epochs:
            self._epochs.clear()
            self._epochs[epoch] = self.order.epoch(epoch)
        return self._epochs[epoch][i]

    def _batch(self, index: Array, epoch: int) -> Batch:
        if self.dropout is None:
            return self.examples.take(index)
        examples = self.examples
        positions = examples.positions[index]
        kept = self.dropout.kept(examples.numbers[index], examples.encoded.words(positions), epoch)
        return Batch(examples.encoded.batch(positions, kept), examples.targets[torch.from_numpy(index)])


@dataclass
class Features:
    """Activations of a frozen body, one row a text: reads as `Encoded`."""

    values: Tensor  # float32 [n, width]
    costs: Array

    def __len__(self) -> int:
        return len(self.values)

    def sizes(self) -> Array:
        return self.costs

    def words(self, index: Array) -> list[int]:
        return [0] * len(index)

    def batch(self, index: Array, kept: Sequence[Array] | None = None) -> dict[str, Tensor]:
        assert kept is None, "words cannot be dropped after the body has read them"
        return {"features": self.values[torch.from_numpy(index)]}


class Passthrough(nn.Module):
    """Stands for a body whose features are already there."""

    def forward(self, features: Tensor) -> Tensor:
        return features


@dataclass
class Shared:
    """Every row of a study, read once for each architecture, whatever regime or seed asks."""

    splits: Splits
    _encoded: dict[str, Encoded] = field(default_factory=dict)
    _features: dict[str, Features] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = (self.splits.train, self.splits.val, self.splits.test)
        self.texts: list[str] = [text for part in parts for text in part.texts]
        numbers = np.concatenate([part.numbers for part in parts])
        self._position = dict(zip(numbers.tolist(), range(len(numbers)), strict=True))

    def encoded(self, inputs: Inputs) -> Encoded:
        if inputs.key not in self._encoded:
            self._encoded[inputs.key] = inputs.encode(self.texts)
        return self._encoded[inputs.key]

    def examples(self, inputs: Inputs, rows: Rows, targets: Array) -> Examples:
        """These rows (of the study's splits) with their targets [n] or [n, classes]."""
        positions = np.fromiter((self._position[n] for n in rows.numbers.tolist()), dtype=np.int64, count=len(rows))
        lengths = np.fromiter((len(text.encode()) for text in rows.texts), dtype=np.int64, count=len(rows))
        return Examples(self.encoded(inputs), positions, torch.from_numpy(targets), lengths, rows.numbers)

    def features(self, start: Start, model: Model) -> Features:
        """What the frozen body of `model`, as it came from `start`, gives for every row; computed once."""
        assert start.key is not None
        key = f"{start.key}:{start.inputs.key}:{start.pooling}"
        if key not in self._features:
            encoded = self.encoded(start.inputs)
            self._features[key] = Features(frozen_features(model, encoded), encoded.sizes())
        return self._features[key]


def frozen_features(model: Model, encoded: Encoded) -> Tensor:
    """Features [n, width] of all rows, in evaluation mode."""
    return _by_length(model, model.features, encoded, np.arange(len(encoded)))


def outputs(model: Model, examples: Examples) -> Array:
    """What the model gives for each row, float32 [n, k], in evaluation mode."""
    found: Array = _by_length(model, model, examples.encoded, examples.positions).numpy()
    return found


def _by_length(
    model: Model, function: Callable[[dict[str, Tensor]], Tensor], encoded: Encoded, positions: Array
) -> Tensor:
    """A function of the model for the rows at these positions, in batches of similar length; in the rows' order."""
    model.eval()
    device = next(model.parameters()).device
    found: Tensor | None = None
    with torch.no_grad():
        for index in by_length(encoded.sizes()[positions], EVALUATION_BATCH):
            inputs = {name: tensor.to(device) for name, tensor in encoded.batch(positions[index]).items()}
            values = function(inputs).float().cpu()
            if found is None:
                found = values.new_empty(len(positions), values.shape[1])
            found[torch.from_numpy(index)] = values
    assert found is not None
    return found
