"""How good are the regimes for images on Fashion-MNIST, and what does a plain PyTorch script reach in the same time?

    python benchmarks/fashion_mnist.py FOLDER --rows 5000 --regimes linear scratch-cnn discriminative --out results.json

FOLDER holds the four files of Fashion-MNIST (Debian: dataset-fashion-mnist, /usr/share/datasets/fashion-mnist). Every
way learns from as many rows of the training file, and is judged on the 10,000 rows of the test file. Each regime has a
plain PyTorch script beside it, which trains for as many seconds of processor time:

`plain scratch`: a ResNet-9, SGD with Nesterov momentum, random crops and flips, label smoothing, a rate that rises over
a fifth of the time and falls to zero. `plain fine-tuned`: EfficientNet-Lite0 with its ImageNet weights, images of the
same size as ours, AdamW with a ten times higher rate for the head, random shifts.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor, nn
from torch.nn import functional

import warmstart
from warmstart.data.schema.columns import Column
from warmstart.models.pretrained.image_base import LITE_PACKAGE, find_image_base, read_image_body
from warmstart.runtime.files import write_json
from warmstart.types import Array

TRAIN, TEST = "train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"
NO_BASE = ("linear", "scratch-cnn")
WARM = 0.2  # share of the time in which the rate of a plain script rises


def pixels_and_labels(path: Path) -> tuple[Array, Array]:
    """uint8 [n, 28, 28] and int64 [n]."""
    table = warmstart.read(path).columns
    raw = [cell.as_py()[-784:] for cell in table["image"]]
    return np.frombuffer(b"".join(raw), np.uint8).reshape(-1, 28, 28), table["label"].to_numpy()


class Block(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.inner = nn.Sequential(Block(width, width), Block(width, width))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.inner(x)
        return found


def resnet9(width: int = 32) -> nn.Module:
    return nn.Sequential(
        Block(1, width),
        Block(width, 2 * width),
        nn.MaxPool2d(2),
        Residual(2 * width),
        Block(2 * width, 4 * width),
        nn.MaxPool2d(2),
        Residual(4 * width),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(4 * width, 10),
    )


@dataclass(frozen=True)
class Recipe:
    """A plain script."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    batch: int
    size: int  # pixels of each side
    flips: bool


def scratch_recipe() -> Recipe:
    model = resnet9()
    return Recipe(model, torch.optim.SGD(model.parameters(), 0.1, 0.9, nesterov=True, weight_decay=5e-4), 64, 28, True)


class LiteClassifier(nn.Module):
    """EfficientNet-Lite0 with ImageNet weights and a new head."""

    def __init__(self, size: int):
        super().__init__()
        base = find_image_base(LITE_PACKAGE, Column("image", "image", image_size=28), size, False)
        self.body, self.head = read_image_body(base), nn.Linear(1280, 10)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.body(pixel_values=x.expand(-1, 3, -1, -1)))
        return found


def fine_tuning_recipe(size: int) -> Recipe:
    model = LiteClassifier(size)
    groups = [{"params": model.body.parameters(), "lr": 1e-3}, {"params": model.head.parameters(), "lr": 1e-2}]
    return Recipe(model, torch.optim.AdamW(groups, weight_decay=0.01), 32, size, False)


def train_plain(recipe: Recipe, pixels: Array, labels: Array, seconds: float, seed: int) -> tuple[nn.Module, int]:
    """The model after so many seconds of processor time, and the steps that it took."""
    torch.manual_seed(seed)
    generator, model = np.random.default_rng(seed), recipe.model.train()
    rates = [group["lr"] for group in recipe.optimizer.param_groups]
    inputs, targets = functional.pad(standardized(pixels), (2, 2, 2, 2)), torch.from_numpy(labels.copy())
    began, steps, order = time.process_time(), 0, generator.permutation(len(labels))
    while (done := (time.process_time() - began) / seconds) < 1:
        if len(order) < min(recipe.batch, len(labels)):
            order = generator.permutation(len(labels))
        index, order = order[: recipe.batch], order[recipe.batch :]
        factor = min(done / WARM, (1 - done) / (1 - WARM))
        for group, rate in zip(recipe.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        top, left = generator.integers(0, 5, 2)
        some = inputs[index][:, :, top : top + 28, left : left + 28]
        if recipe.flips and generator.random() < 0.5:
            some = some.flip(3)
        with torch.autocast("cpu", torch.bfloat16):
            loss = functional.cross_entropy(model(scaled(some, recipe.size)), targets[index], label_smoothing=0.1)
        recipe.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        recipe.optimizer.step()
        steps += 1
    return model.eval(), steps


def standardized(pixels: Array) -> Tensor:
    """float32 [n, 1, 28, 28]."""
    return (torch.from_numpy(pixels.copy()).float()[:, None] / 255 - 0.286) / 0.353


def scaled(values: Tensor, size: int) -> Tensor:
    return values if size == values.shape[-1] else functional.interpolate(values, (size, size), mode="bilinear")


def accuracy_of_plain(recipe: Recipe, pixels: Array, labels: Array) -> float:
    inputs, model = standardized(pixels), recipe.model
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        parts = [scaled(inputs[i : i + 250], recipe.size) for i in range(0, len(inputs), 250)]
        found = torch.cat([model(part).argmax(1) for part in parts]).numpy()
    return float((found == labels).mean())


def result_of_regime(given: argparse.Namespace, regime: str, seed: int, tests: tuple[Array, Array]) -> dict[str, Any]:
    folder = (
        given.work
        / f"{regime}-{given.rows}-{given.epochs or 'own'}-{given.size or 'own'}-{given.augment or 'auto'}-{seed}"
    )
    shutil.rmtree(folder, ignore_errors=True)
    settings: dict[str, Any] = {"epochs": given.epochs} if given.epochs else {}
    settings |= {"image_size": given.size} if given.size and regime not in NO_BASE else {}
    settings |= {"base": LITE_PACKAGE} if regime not in NO_BASE else {}
    settings |= {"augment": given.augment} if given.augment else {}
    began = time.process_time()
    run = warmstart.fit(
        given.folder / TRAIN,
        "label",
        regime=regime,
        rows=given.rows,
        trials=1,
        seed=seed,
        out=folder,
        log=False,
        **settings,
    )
    seconds = time.process_time() - began
    table = warmstart.read(given.folder / TEST)
    found = warmstart.load(folder).predict(table)
    right = [str(row["prediction"]) == str(label) for row, label in zip(found, tests[1], strict=True)]
    return {"accuracy": float(np.mean(right)), "seconds": seconds, "trainable": run.cost.trainable}


def result_of_plain(
    given: argparse.Namespace, recipe: Recipe, seconds: float, seed: int, tests: tuple[Array, Array]
) -> dict[str, Any]:
    pixels, labels = pixels_and_labels(given.folder / TRAIN)
    some = np.random.default_rng(seed).permutation(len(labels))[: given.rows]
    model, steps = train_plain(recipe, pixels[some], labels[some], seconds, seed)
    trainable = sum(parameter.numel() for parameter in model.parameters())
    return {"accuracy": accuracy_of_plain(recipe, *tests), "seconds": seconds, "trainable": trainable, "steps": steps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--epochs", type=float, help="of the regimes; default: their own")
    parser.add_argument("--size", type=int, help="of the images that a base reads, in pixels; default: its own")
    parser.add_argument("--augment", help="of the regimes; with it, no plain script is trained beside them")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--regimes", nargs="*", default=["linear", "scratch-cnn"])
    parser.add_argument("--work", type=Path, default=Path("fashion-mnist-runs"))
    parser.add_argument("--out", type=Path, default=Path("fashion_mnist.json"))
    given = parser.parse_args()
    found = json.loads(given.out.read_text()) if given.out.exists() else []
    tests = pixels_and_labels(given.folder / TEST)

    def noted(name: str, seed: int, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The result that is there, or one that is measured now and written."""
        facts = {"regime": name, "rows": given.rows, "epochs": given.epochs, "size": given.size, "seed": seed}
        facts |= {"augment": given.augment} if given.augment else {}
        for done in found:
            if done.get("augment") == given.augment and all(done.get(key) == value for key, value in facts.items()):
                return dict(done)
        score = measure()
        right = round(score["accuracy"] * len(tests[1]))
        interval = binomtest(right, len(tests[1])).proportion_ci(method="wilson")
        more = {"interval": [float(interval.low), float(interval.high)], "date": str(date.today())}
        row: dict[str, Any] = facts | score | more
        found.append(row)
        print(row, flush=True)
        write_json(given.out, found)
        return row

    for seed in range(given.seeds):
        for regime in given.regimes:
            ours = noted(regime, seed, partial(result_of_regime, given, regime, seed, tests))
            if given.augment or regime in ("linear", "embedded"):
                continue
            tuned = regime not in NO_BASE
            recipe = fine_tuning_recipe(given.size or 112) if tuned else scratch_recipe()
            name = f"plain {'fine-tuned' if tuned else 'scratch'} beside {regime}"
            noted(name, seed, partial(result_of_plain, given, recipe, ours["seconds"], seed, tests))


if __name__ == "__main__":
    main()
