"""C6: how many microseconds does a step of a 1,000-parameter model take, where the loop itself is most of it?

Rows, order, recipe and first weights are the same on all sides, and so must the last loss be. Accelerate and Fabric are
handed ready batches; the Trainer collates 32 rows a step, because that is how it takes them.
"""

import functools
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

import peers
import texts
from harness import Contest, Gate, Outcome
from warmstart.data.encoding.batches import Batch
from warmstart.models.model import Model
from warmstart.regimes.full import Full
from warmstart.regimes.starts import random_state
from warmstart.training.config import TrainConfig
from warmstart.training.loop import start_training, train
from warmstart.training.optimizer import param_groups, schedule_factor

GATE = Gate("last loss", higher_is_better=False, tolerance=1e-4)
FEATURES, HIDDEN, BATCH = 30, 32, 32  # 30 x 32 + 32 + 32 + 1 = 1,025 parameters

Loop = Callable[[TrainConfig], tuple[float, Model]]


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.width = HIDDEN
        self.layer = nn.Linear(FEATURES, HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.layer(x))


class SquaredError:
    """The objective, and the loss of peers."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.output_loss(model(batch.inputs), batch.targets)

    def output_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.mse_loss(outputs.squeeze(-1), targets)


class Batches(Dataset[dict[str, Tensor]]):
    """Batch after batch of the same random rows: a `Source`, and a dataset of ready batches."""

    def __init__(self, steps: int):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(steps * BATCH, FEATURES, generator=generator)
        self.y = self.x.sum(1).tanh()

    def __len__(self) -> int:
        return len(self.x) // BATCH

    def at(self, step: int, at_most: int | None = None) -> list[Batch]:
        rows = slice(step * BATCH, (step + 1) * BATCH)
        return [Batch({"x": self.x[rows]}, self.y[rows])]

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        (batch,) = self.at(step)
        return {"labels": batch.targets, **batch.inputs}

    def rows(self) -> list[dict[str, Tensor]]:
        return [{"labels": y, "x": x} for x, y in zip(self.x, self.y, strict=True)]


def contests(settings: texts.Given) -> list[Contest]:
    config = TrainConfig(steps=100 if settings.quick else 2_000, lr=1e-3, batch_size=BATCH)
    parameters = sum(p.numel() for p in _model().parameters())

    ours = functools.partial(_timed, _ours, config)

    def contest(peer: str, loop: Loop, package: str) -> Contest:
        theirs = functools.partial(_timed, loop, config)
        facts = {"steps": config.steps, "parameters": parameters}
        return Contest("C6", peer, "default", theirs, ours, GATE, package=package, facts=facts)

    return [
        contest("trainer", _trainer, "transformers"),
        contest("accelerate", _accelerate, "accelerate"),
        contest("fabric", _fabric, "lightning_fabric"),
        contest("torch", _torch, "torch"),
    ]


def _timed(loop: Loop, config: TrainConfig) -> Outcome:
    """Seconds of the steps, and the loss on the last batch afterwards."""
    seconds, model = loop(config)
    with torch.no_grad():
        return Outcome(seconds, SquaredError().loss(model, Batches(config.steps).at(config.steps - 1)[0]).item())


def _ours(config: TrainConfig) -> tuple[float, Model]:
    model, source = _model(), Batches(config.steps)
    state = start_training(model, Full().rates(model), config)
    began = time.perf_counter()
    for _ in train(state, SquaredError(), source, config):
        pass
    return time.perf_counter() - began, model


def _trainer(config: TrainConfig) -> tuple[float, Model]:
    model, optimizer, rates = _parts(config)
    rows = Batches(config.steps).rows()
    labeled = peers.Labeled(model, SquaredError())
    began = time.perf_counter()
    peers.trainer(labeled, rows, _stacked, config, "default", in_order=True, optimizers=(optimizer, rates))
    return time.perf_counter() - began, model


def _stacked(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def _accelerate(config: TrainConfig) -> tuple[float, Model]:
    model, optimizer, rates = _parts(config)
    accelerator = peers.new_accelerator("no")
    loader = DataLoader(Batches(config.steps), batch_size=None)
    labeled = peers.Labeled(model, SquaredError())
    labeled, optimizer, loader, rates = accelerator.prepare(labeled, optimizer, loader, rates)
    began = time.perf_counter()
    clip = functools.partial(accelerator.clip_grad_norm_, list(labeled.parameters()), config.clip)
    _loop(labeled, loader, optimizer, rates, accelerator.backward, clip)
    return time.perf_counter() - began, model


def _fabric(config: TrainConfig) -> tuple[float, Model]:
    from lightning_fabric import Fabric

    model, optimizer, rates = _parts(config)
    fabric = Fabric(accelerator="auto", devices=1)
    labeled, optimizer = fabric.setup(peers.Labeled(model, SquaredError()), optimizer)
    loader = fabric.setup_dataloaders(DataLoader(Batches(config.steps), batch_size=None))
    clip = functools.partial(fabric.clip_gradients, labeled, optimizer, max_norm=config.clip)
    began = time.perf_counter()
    _loop(labeled, loader, optimizer, rates, fabric.backward, clip)
    return time.perf_counter() - began, model


def _torch(config: TrainConfig) -> tuple[float, Model]:
    """Nothing but PyTorch: how much of a step is not the loop's."""
    model, optimizer, rates = _parts(config)
    labeled = peers.Labeled(model, SquaredError())
    source = Batches(config.steps)
    clip = functools.partial(nn.utils.clip_grad_norm_, list(model.parameters()), config.clip)
    began = time.perf_counter()
    _loop(labeled, (source[i] for i in range(len(source))), optimizer, rates, Tensor.backward, clip)
    return time.perf_counter() - began, model


def _loop(
    model: nn.Module,
    batches: Iterable[dict[str, Tensor]],
    optimizer: Any,
    rates: Any,
    backward: Callable[[Tensor], object],
    clip: Callable[[], object],
) -> None:
    """The loop that the documentation of both peers shows; the loss is read, as every log needs it."""
    for batch in batches:
        loss = model(**batch)["loss"]
        backward(loss)
        clip()
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
        loss.item()


def _parts(config: TrainConfig) -> tuple[Model, torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    model = _model()
    optimizer = torch.optim.AdamW(param_groups(model, Full().rates(model), config), lr=config.lr, fused=True)
    return model, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule_factor(step, config))


def _model() -> Model:
    with random_state(0):
        return Model(Body(), nn.Linear(HIDDEN, 1))
