"""Together: what would be gained by training several small runs in one batched step, instead of one after another?

    python benchmarks/together.py

Heads on features that are there already: 3 rates x 3 seeds of a linear probe. Nine runs through the loop, against one
stack of nine weights whose steps are one batched product, each clipped and moved by AdamW on its own. Both sides are
timed by the processor time of one thread, interleaved; the last losses must be equal.

And the residual blocks of 3 networks on hashed words, as `torch.func` stacks them, against one network after another.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from warmstart.data.encoding.batches import Batch
from warmstart.models.dnn import HashedNet, Size
from warmstart.models.model import Model
from warmstart.runtime.environment import current_environment
from warmstart.training.config import TrainConfig
from warmstart.training.loop import start_training, train
from warmstart.training.optimizer import schedule_factor

RESULTS = Path(__file__).parent / "results" / "together.json"
RATES, SEEDS = (1e-3, 3e-3, 1e-2), 3
RUNS, WIDTH, CLASSES, ROWS, BATCH, STEPS = len(RATES) * SEEDS, 384, 57, 4_000, 16, 300
NETWORKS, BLOCK_STEPS = 3, 50
PAIRS = 5
TOLERANCE = 1e-5


class Read(nn.Module):
    """A body whose features are there already."""

    width = WIDTH

    def forward(self, x: Tensor) -> Tensor:
        return x


class Classes:
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return functional.cross_entropy(model(batch.inputs), batch.targets)


class Rows:
    """The same rows in the same order for all rates of a seed."""

    def __init__(self, seed: int):
        generator = torch.Generator().manual_seed(seed)
        self.order = torch.randint(0, ROWS, (STEPS, BATCH), generator=generator)

    def at(self, step: int, at_most: int | None = None) -> list[Batch]:
        rows = self.order[step]
        return [Batch({"x": FEATURES[rows]}, TARGETS[rows])]


_DICE = torch.Generator().manual_seed(0)
FEATURES = torch.randn(ROWS, WIDTH, generator=_DICE)
TARGETS = torch.randint(0, CLASSES, (ROWS,), generator=_DICE)
LR = [rate for _ in range(SEEDS) for rate in RATES]
SOURCES = [Rows(run // len(RATES)) for run in range(RUNS)]


def first_weights() -> list[Tensor]:
    run_data = [torch.Generator().manual_seed(run) for run in range(RUNS)]
    return [nn.init.normal_(torch.empty(CLASSES, WIDTH), std=0.02, generator=generator) for generator in run_data]


def heads_apart() -> list[float]:
    """The last loss of each run."""
    found = []
    for lr, source, weight in zip(LR, SOURCES, first_weights(), strict=True):
        head = nn.Linear(WIDTH, CLASSES)
        head.weight.data, head.bias.data = weight, torch.zeros(CLASSES)
        config = TrainConfig(steps=STEPS, lr=lr, batch_size=BATCH)
        state = start_training(Model(Read(), head), {"head.weight": 1.0, "head.bias": 1.0}, config)
        found.append([step.loss for step in train(state, Classes(), source, config)][-1])
    return found


def heads_together() -> list[float]:
    """The same, by one batched step for all."""
    config = TrainConfig(steps=STEPS, lr=1.0, batch_size=BATCH)
    weight, bias = torch.stack(first_weights()).requires_grad_(), torch.zeros(RUNS, CLASSES, requires_grad=True)
    lr, order = torch.tensor(LR), torch.stack([source.order for source in SOURCES])
    optimizer_state = [(torch.zeros_like(p), torch.zeros_like(p)) for p in (weight, bias)]
    losses = torch.empty(RUNS)
    for step in range(STEPS):
        rows = order[:, step]
        logits = torch.baddbmm(bias[:, None], FEATURES[rows], weight.transpose(1, 2)).flatten(0, 1)
        nats = functional.cross_entropy(logits, TARGETS[rows].flatten(), reduction="none")
        losses = nats.view(RUNS, BATCH).mean(1)
        gradients = torch.autograd.grad(losses.sum(), (weight, bias))
        norm = sum(gradient.flatten(1).square().sum(1) for gradient in gradients) ** 0.5
        scale, rate = (config.clip / (norm + 1e-6)).clamp(max=1), lr * schedule_factor(step, config)
        decays = (config.weight_decay, 0.0)
        with torch.no_grad():
            for p, gradient, (first, second), decay in zip(
                (weight, bias), gradients, optimizer_state, decays, strict=True
            ):
                each = (-1, *[1] * (p.ndim - 1))
                gradient = gradient * scale.view(each)
                first.lerp_(gradient, 0.1)
                second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
                spread = (second / (1 - 0.999 ** (step + 1))).sqrt_().add_(1e-8)
                p.mul_(1 - rate.view(each) * decay).sub_(rate.view(each) / (1 - 0.9 ** (step + 1)) * first / spread)
    return losses.tolist()


def networks() -> list[nn.Module]:
    size = Size(width=256, depth=2, dropout=0.0)
    found: list[nn.Module] = []
    for seed in range(NETWORKS):
        torch.manual_seed(seed)
        found.append(nn.Sequential(*HashedNet(size).blocks))
    return found


def blocks_apart() -> list[float]:
    """Forward and backward passes of each network's blocks, without the optimizer; the last mean output of each."""
    x, found = torch.randn(BATCH, 256, generator=torch.Generator().manual_seed(0)), []
    for blocks in networks():
        for _ in range(BLOCK_STEPS):
            loss = blocks(x).square().mean()
            torch.autograd.grad(loss, list(blocks.parameters()))
        found.append(loss.item())
    return found


def blocks_together() -> list[float]:
    x, all_of_them = torch.randn(BATCH, 256, generator=torch.Generator().manual_seed(0)), networks()
    weights, buffers = torch.func.stack_module_state(all_of_them)
    shape = all_of_them[0]

    def loss_of(one: dict[str, Tensor], held: dict[str, Tensor]) -> Tensor:
        loss: Tensor = torch.func.functional_call(shape, (one, held), (x,)).square().mean()
        return loss

    for _ in range(BLOCK_STEPS):
        losses = torch.vmap(loss_of)(weights, buffers)
        torch.autograd.grad(losses.sum(), list(weights.values()))
    return losses.tolist()


def paired(name: str, apart: Callable[[], list[float]], together: Callable[[], list[float]]) -> dict[str, object]:
    """The row of a case: how many times as fast, and the seconds of the processor of both sides."""
    difference = max(abs(a - b) for a, b in zip(apart(), together(), strict=True))
    assert difference < TOLERANCE, f"{name}: {difference}"
    seconds: dict[str, list[float]] = {"apart": [], "together": []}
    for pair in range(PAIRS):
        sides = [("apart", apart), ("together", together)]
        for side, carried_out in sides if pair % 2 == 0 else reversed(sides):
            began = time.process_time()
            carried_out()
            seconds[side].append(time.process_time() - began)
    ratios = [a / b for a, b in zip(seconds["apart"], seconds["together"], strict=True)]
    ratio = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
    medians = {side: statistics.median(values) for side, values in seconds.items()}
    print(name, ratio, medians, f"difference {difference:.1g}", flush=True)
    return {"test": "together", "setting": name, "ratio": ratio, "processor_seconds": medians, "difference": difference}


def main() -> None:
    torch.set_num_threads(1)
    rows = [
        paired(f"{RUNS} heads, {STEPS} steps", heads_apart, heads_together),
        paired(f"blocks of {NETWORKS} networks, {BLOCK_STEPS} steps", blocks_apart, blocks_together),
    ]
    environment = asdict(current_environment("fp32"))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps([row | {"environment": environment} for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
