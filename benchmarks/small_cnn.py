"""Small CNN: which batches, rate and augmentation suit `scratch-cnn` in a training of few passes?

    python benchmarks/small_cnn.py FOLDER --rows 2000 --steps 500 --batch 32 --rate 3e-3 --augment none

FOLDER holds the files of Fashion-MNIST (see fashion_mnist.py). Trains the network of this package in a plain loop
(AdamW with a linear schedule, gradients clipped to a norm of 1) on rows of the training file, and scores it on the last
rows of that file, on which it never trains.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fashion_mnist import TRAIN, pixels_and_labels
from warmstart.data.encoding.image_augmentation import Augmentation
from warmstart.data.encoding.pixels import IMAGENET_MEAN, IMAGENET_STD
from warmstart.models.cnn import CnnSize, SmallCnn
from warmstart.types import Array

SCORED = 50_000  # the first row that is scored
WARMUP, DECAY = 0.1, 0.01


def standardized(pixels: Array) -> Tensor:
    """float32 [n, 3, 28, 28]."""
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))
    return (torch.from_numpy(pixels.copy()).float()[:, None].expand(-1, 3, -1, -1) / 255 - mean) / std


def trained(given: argparse.Namespace, pixels: Array, labels: Array) -> nn.Module:
    torch.manual_seed(given.seed)
    generator = np.random.default_rng(given.seed)
    body = SmallCnn(CnnSize(28, given.width))
    model = nn.Sequential(body, nn.Linear(body.width, 10))
    weights = [[p for p in model.parameters() if (p.ndim > 1) == matrix] for matrix in (True, False)]
    groups: list[dict[str, Any]] = [
        {"params": weights[0], "weight_decay": DECAY},
        {"params": weights[1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=given.rate, fused=True)
    change = Augmentation.named(given.augment, given.seed, False)
    per_epoch, warm = -(-len(labels) // given.batch), max(1, round(WARMUP * given.steps))
    order: list[Array] = []
    for step in range(given.steps):
        epoch, place = divmod(step, per_epoch)
        if place == 0:
            order = np.array_split(generator.permutation(len(labels)), per_epoch)
        rows = order[place]
        inputs, targets = standardized(pixels[rows]), torch.from_numpy(labels[rows])
        if change is not None:
            inputs = change.apply({"pixel_values": inputs}, rows, epoch)["pixel_values"]
        factor = (step + 1) / warm if step < warm else (given.steps - step) / (given.steps - warm)
        for group in optimizer.param_groups:
            group["lr"] = given.rate * factor
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.cross_entropy(model(inputs).float(), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--augment", choices=("none", "light", "strong"), default="none")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scored", type=int, default=5_000)
    given = parser.parse_args()
    pixels, labels = pixels_and_labels(given.folder / TRAIN)
    some = np.random.default_rng(0).permutation(SCORED)[: given.rows]
    began = time.process_time()
    model = trained(given, pixels[some], labels[some])
    seconds = time.process_time() - began
    held = slice(SCORED, SCORED + given.scored)
    with torch.no_grad():
        parts = [
            model(standardized(part)).argmax(1) for part in np.array_split(pixels[held], max(1, given.scored // 250))
        ]
    accuracy = float((torch.cat(parts).numpy() == labels[held]).mean())
    print({"accuracy": accuracy, "processor_seconds": round(seconds, 1)} | {k: str(v) for k, v in vars(given).items()})


if __name__ == "__main__":
    main()
