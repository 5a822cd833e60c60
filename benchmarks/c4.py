"""C4: what is a sparse first layer worth, against the same network on dense rows, and against scikit-learn's?

50,000 made-up product texts, hashed into 5,000 features by one vectorizer before any clock starts. Dense rows lie ready
in memory too: only taking a batch of them counts. The sparse table is cut to the words that occur, as in every run.
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

import texts
from harness import Contest, Gate, Outcome, Side
from warmstart.cli.demo_data import catalog
from warmstart.data.encoding.examples import BatchStream, Examples
from warmstart.data.encoding.inputs import Encoded, WordRows
from warmstart.data.features.hashed_words import HashedWords
from warmstart.models.dnn import HashedNet, Size
from warmstart.models.dropout import use_fast_dropout
from warmstart.models.evaluate import outputs
from warmstart.models.model import Model
from warmstart.models.used_embeddings import only_used_rows
from warmstart.regimes.full import Full
from warmstart.regimes.starts import random_state
from warmstart.tasks.regression import Regression
from warmstart.training.config import TrainConfig
from warmstart.training.loop import start_training, train
from warmstart.types import Array

SAME = Gate("mean output", higher_is_better=False, tolerance=1e-5)
ERROR = Gate("mean absolute error", higher_is_better=False, tolerance=0.01)  # of log10(price)
BATCH, LR = 64, 1e-3
REFERENCE = Size(features=5000, width=512, depth=8)  # the reference network, scaled to width 512
THREE_LAYERS = Size(features=5000, width=512, depth=1)  # 5000-512-512-512-1, as scikit-learn builds it
SKLEARN_EPOCHS = 2


@dataclass(frozen=True)
class Part:
    """Hashed texts with the standardized logarithm of their prices."""

    rows: WordRows
    targets: Array  # float32 [n]

    @cached_property
    def dense(self) -> "Dense":
        return Dense.of(self.rows, REFERENCE.features)

    def examples(self, sparse: bool) -> Examples:
        numbers = np.arange(len(self.targets))
        encoded = self.rows if sparse else self.dense
        return Examples(encoded, numbers, torch.from_numpy(self.targets), numbers)


@dataclass(frozen=True)
class Data:
    train: Part
    held_out: Part
    task: Regression

    def error(self, model: Model, sparse: bool) -> float:
        """Mean absolute error on the held-out rows, in log10(price)."""
        return self.distance(outputs(model, self.held_out.examples(sparse))[:, 0])

    def distance(self, predicted: Array) -> float:
        return float(np.abs(predicted - self.held_out.targets).mean() * self.task.deviation)


@dataclass(frozen=True)
class Dense(Encoded):
    """The same rows with every zero written out: reads as `Encoded`."""

    values: Tensor  # float32 [n, features]
    costs: Array

    @classmethod
    def of(cls, rows: WordRows, features: int) -> "Dense":
        values = torch.zeros(len(rows), features)
        row = np.repeat(np.arange(len(rows)), rows.features.lengths)
        values[torch.from_numpy(row), torch.from_numpy(rows.features.values.astype(np.int64))] = torch.from_numpy(
            rows.weights
        )
        return cls(values, rows.sizes())

    def __len__(self) -> int:
        return len(self.values)

    def sizes(self) -> Array:
        return self.costs

    def words(self, index: Array) -> list[int]:
        return [0] * len(index)

    def batch(self, index: Array, kept: Sequence[Array] | None = None) -> dict[str, Tensor]:
        return {"x": self.values[torch.from_numpy(index)]}


class DenseNet(nn.Module):
    """A `HashedNet` whose first layer is the linear one that the EmbeddingBag stands for."""

    def __init__(self, sparse: HashedNet):
        super().__init__()
        self.width = sparse.width
        self.linear = nn.Linear(sparse.size.features, sparse.size.width)
        with torch.no_grad():
            self.linear.weight.copy_(sparse.first.bag.weight.T)
            self.linear.bias.copy_(sparse.first.bias)
        self.rest = sparse.first.rest
        self.blocks = sparse.blocks

    def first(self, x: Tensor) -> Tensor:
        out: Tensor = self.rest(self.linear(x))
        return out

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        for block in self.blocks:
            hidden = block(hidden)
        return hidden


def contests(settings: texts.Given) -> list[Contest]:
    rows, held_out = (2_000, 200) if settings.quick else (50_000, 2_000)
    data = functools.cache(lambda: _data(rows, held_out))

    def contest(peer: str, setting: str, theirs: Side, ours: Side, gate: Gate, package: str = "") -> Contest:
        facts = {"rows": rows, "batch_size": BATCH, "width": REFERENCE.width}
        return Contest("C4", peer, setting, theirs, ours, gate, package=package, facts=facts)

    def both(side: Callable[[Data, bool], Outcome]) -> tuple[Side, Side]:
        return lambda: side(data(), False), lambda: side(data(), True)

    return [
        contest("dense", "first layer", *both(_first_layer), SAME),
        contest("dense", "whole step", *both(_whole_steps), ERROR),
        contest("sklearn", "default", lambda: _sklearn(data()), lambda: _three_layers(data()), ERROR, "sklearn"),
    ]


def _first_layer(data: Data, sparse: bool) -> Outcome:
    """An epoch of batches through the first layer, forwards and backwards."""
    net = _net(REFERENCE, sparse).eval()  # without dropout, so that both give the same
    examples = data.train.examples(sparse)
    parts = examples.order(BATCH, seed=0).epoch(0)
    gradient = torch.ones(BATCH, REFERENCE.width)
    with only_used_rows(net, _used(data)):
        learned = [parameter for name, parameter in net.named_parameters() if not name.startswith("blocks.")]
        began = time.perf_counter()
        for index in parts:
            out = net.first(**examples.encoded.batch(index))
            out.backward(gradient[: len(index)])
            for parameter in learned:
                parameter.grad = None
        seconds = time.perf_counter() - began
    return Outcome(seconds, out.mean().item(), _bytes(data.train, sparse))


def _whole_steps(data: Data, sparse: bool) -> Outcome:
    """An epoch of training, by our loop on both sides."""
    model = Model(_net(REFERENCE, sparse), data.task.head(REFERENCE.width, 0))
    return Outcome(_trained(model, data, 1, sparse), data.error(model, sparse), _bytes(data.train, sparse))


def _three_layers(data: Data) -> Outcome:
    model = Model(_net(THREE_LAYERS, sparse=True), data.task.head(THREE_LAYERS.width, 0))
    return Outcome(_trained(model, data, SKLEARN_EPOCHS, sparse=True), data.error(model, sparse=True))


def _sklearn(data: Data) -> Outcome:
    """Its defaults but for the layers, the batch size and the epochs, which are ours. It reads sparse rows too."""
    from sklearn.neural_network import MLPRegressor

    layers = (THREE_LAYERS.width,) * 3
    model = MLPRegressor(hidden_layer_sizes=layers, batch_size=BATCH, max_iter=SKLEARN_EPOCHS, random_state=0)
    rows, held_out = _matrix(data.train.rows), _matrix(data.held_out.rows)
    began = time.perf_counter()
    model.fit(rows, data.train.targets)
    seconds = time.perf_counter() - began
    return Outcome(seconds, data.distance(model.predict(held_out)))


def _trained(model: Model, data: Data, epochs: int, sparse: bool) -> float:
    """Seconds of training."""
    examples = data.train.examples(sparse)
    order = examples.order(BATCH, seed=0)
    config = TrainConfig(steps=epochs * order.per_epoch, lr=LR, batch_size=BATCH)
    use_fast_dropout(model)
    with only_used_rows(model.body, _used(data)):
        state = start_training(model, Full().rates(model), config)
        began = time.perf_counter()
        for _ in train(state, data.task, BatchStream(examples, order), config):
            pass
        return time.perf_counter() - began


def _used(data: Data) -> Tensor:
    """The hashed words that occur in any row. A dense layer has no table that could be cut."""
    return torch.from_numpy(
        np.union1d(data.train.rows.features.values, data.held_out.rows.features.values).astype(np.int64)
    )


def _net(size: Size, sparse: bool) -> HashedNet | DenseNet:
    """The same weights on both sides."""
    with random_state(0):
        net = HashedNet(size)
        return net if sparse else DenseNet(net)


def _bytes(part: Part, sparse: bool) -> int:
    """Of all rows, as they lie in memory."""
    if not sparse:
        return part.dense.values.nbytes
    features = part.rows.features
    return int(features.values.nbytes + features.offsets.nbytes + part.rows.weights.nbytes)


def _matrix(rows: WordRows) -> csr_matrix:
    features = rows.features
    return csr_matrix((rows.weights, features.values, features.offsets), shape=(len(rows), REFERENCE.features))


def _data(rows: int, held_out: int) -> Data:
    made = catalog(rows).table
    prices = np.log10(made["price"].to_numpy())
    task = Regression("price", "log10", float(prices.mean()), float(prices.std()))
    return Data(_part(made, task), _part(catalog(held_out, seed=1).table, task), task)


def _part(table: pa.Table, task: Regression) -> Part:
    names = ("title", "description", "category", "brand")
    written = ["\n".join(cells) for cells in zip(*(table[name].to_pylist() for name in names), strict=True)]
    targets = (np.log10(table["price"].to_numpy()) - task.mean) / task.deviation
    return Part(HashedWords(REFERENCE.features).encode(written), targets.astype(np.float32))
