"""How good are the regimes for images on Fashion-MNIST, and what does a hand-written PyTorch script reach?

    python benchmarks/fashion_mnist.py FOLDER --rows 5000 --epochs 10 --regimes linear scratch-cnn --out results.json

FOLDER holds the four files of Fashion-MNIST (Debian: dataset-fashion-mnist, /usr/share/datasets/fashion-mnist). Every
way learns from as many rows of the training file, and is judged on the 10,000 rows of the test file. `plain` is an
independent recipe in 60 lines: a ResNet-9, SGD with Nesterov momentum, one cycle, random crops, label smoothing.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor, nn
from torch.nn import functional

import warmstart
from warmstart.runtime.files import write_json
from warmstart.types import Array

TRAIN, TEST = "train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"


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


def train_plain(pixels: Array, labels: Array, epochs: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    model = resnet9()
    batch, rate = 64, 0.1
    steps = epochs * -(-len(labels) // batch)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.2)
    inputs = functional.pad(torch.from_numpy(pixels.copy()).float()[:, None] / 255 - 0.286, (2, 2, 2, 2)) / 0.353
    targets = torch.from_numpy(labels.copy())
    for _ in range(epochs):
        for index in np.array_split(generator.permutation(len(labels)), steps // epochs):
            top, left = generator.integers(0, 5, 2)
            some = inputs[index][:, :, top : top + 28, left : left + 28]
            if generator.random() < 0.5:
                some = some.flip(3)
            with torch.autocast("cpu", torch.bfloat16):
                loss = functional.cross_entropy(model(some), targets[index], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return model.eval()


def accuracy_of_plain(model: nn.Module, pixels: Array, labels: Array) -> float:
    inputs = (torch.from_numpy(pixels.copy()).float()[:, None] / 255 - 0.286) / 0.353
    with torch.no_grad():
        found = torch.cat([model(inputs[i : i + 256]).argmax(1) for i in range(0, len(inputs), 256)]).numpy()
    return float((found == labels).mean())


def accuracy_of_regime(folder: Path, regime: str, rows: int, epochs: int, seed: int, out: Path) -> dict[str, Any]:
    began = time.perf_counter()
    run = warmstart.fit(
        folder / TRAIN, "label", regime=regime, rows=rows, trials=1, seed=seed, out=out, log=False, epochs=epochs
    )
    seconds = time.perf_counter() - began
    table = warmstart.read(folder / TEST)
    found = warmstart.load(out).predict(table)
    truth = table.columns["label"].to_pylist()
    right = [row["prediction"] == str(label) for row, label in zip(found, truth, strict=True)]
    return {"accuracy": float(np.mean(right)), "seconds": seconds, "trainable": run.cost.trainable}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--regimes", nargs="*", default=["linear", "scratch-cnn"])
    parser.add_argument("--work", type=Path, default=Path("fashion-mnist-runs"))
    parser.add_argument("--out", type=Path, default=Path("fashion_mnist.json"))
    given = parser.parse_args()
    found = json.loads(given.out.read_text()) if given.out.exists() else []
    pixels, labels = pixels_and_labels(given.folder / TRAIN)
    tests = pixels_and_labels(given.folder / TEST)
    for seed in range(given.seeds):
        for name in (*given.regimes, "plain"):
            facts = {"regime": name, "rows": given.rows, "epochs": given.epochs, "seed": seed}
            if any(all(done[key] == value for key, value in facts.items()) for done in found):
                continue
            if name == "plain":
                began = time.perf_counter()
                some = np.random.default_rng(seed).permutation(len(labels))[: given.rows]
                model = train_plain(pixels[some], labels[some], given.epochs, seed)
                seconds = time.perf_counter() - began
                trainable = sum(parameter.numel() for parameter in model.parameters())
                score = {"accuracy": accuracy_of_plain(model, *tests), "seconds": seconds, "trainable": trainable}
            else:
                folder = given.work / f"{name}-{given.rows}-{given.epochs}-{seed}"
                score = accuracy_of_regime(given.folder, name, given.rows, given.epochs, seed, folder)
            right = round(score["accuracy"] * len(tests[1]))
            interval = binomtest(right, len(tests[1])).proportion_ci(method="wilson")
            found.append(facts | score | {"interval": [float(interval.low), float(interval.high)]})
            print(found[-1], flush=True)
            write_json(given.out, found)


if __name__ == "__main__":
    main()
