"""Image tax: what does training on images cost beside a plain PyTorch loop, and what does the prefix cache save?

    python benchmarks/image_tax.py [--repetitions 5] [--again]

`loop`: the small network from random weights with light augmentation, the same batches, settings and augmentation on
both sides. `epochs after the first`: the head on a frozen EfficientNet-Lite0 (random weights: they cost the same)
without augmentation; a plain loop computes the features in every epoch, ours reads them from its cache. Interleaved;
the ratio is the plain loop's processor time over ours, which other programs on the machine hardly change.
"""

import argparse
import io
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from harness import RESULTS, Contest, Gate, Outcome, Results, hold
from warmstart.data.encoding.examples import BatchStream, Examples
from warmstart.data.encoding.image_augmentation import Augmentation
from warmstart.data.encoding.pixels import Pixels
from warmstart.data.rows.split import Splits, make_rows, split
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import ColumnChoices
from warmstart.data.tables.in_memory import table_of
from warmstart.models.image_network import ImageNetworkConfig
from warmstart.models.model import Model
from warmstart.regimes.frozen import Frozen
from warmstart.regimes.full import Full
from warmstart.regimes.method import Method
from warmstart.runtime import device
from warmstart.settings.choices import Augment
from warmstart.tasks.task import Task
from warmstart.tasks.tasks import task_for
from warmstart.training.augment_rows import changed_rows
from warmstart.training.config import TrainConfig
from warmstart.training.frozen_prefix import SharedData, use_prefix_cache
from warmstart.training.loop import set_trainable, start_training, train
from warmstart.training.optimizer import param_groups, schedule_factor
from warmstart.types import Array

CLASSES = 10
SMALL = ImageNetworkConfig("small cnn", 28, {"width": 32, "blocks": 1})
LITE = ImageNetworkConfig("efficientnet-lite0", 64)


def noise_images(rows: int, side: int) -> tuple[Splits, Task]:
    """PNG files of noise with classes: what is in images does not change what they cost."""
    dice, files = np.random.default_rng(0), []
    for _ in range(rows):
        file = io.BytesIO()
        Image.fromarray(dice.integers(0, 256, (side, side, 3)).astype(np.uint8)).save(file, "PNG")
        files.append(file.getvalue())
    table = table_of({"photo": files, "kind": [f"class {i % CLASSES}" for i in range(rows)]})
    schema = infer_schema(table, ColumnChoices("kind", ("photo",)))
    splits = split(make_rows(table, schema)[0], schema)
    return splits, task_for(schema, splits)


def model_of(network: ImageNetworkConfig, task: Task) -> Model:
    torch.manual_seed(0)
    body = network.build()
    head = task.head(body.width, 0)
    assert head is not None
    return Model(body, head)


def plain_steps(
    model: Model, method: Method, config: TrainConfig, batches: Callable[[int], tuple[Tensor, Tensor]]
) -> float:
    """A loop as people write it; gives the last loss."""
    rates = method.rates(model)
    set_trainable(model, rates)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(param_groups(model, rates, config), lr=config.lr, fused=True)
    low, last = config.precision == "bf16", 0.0
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * schedule_factor(step, config)
        torch.manual_seed(hash((config.seed, step, 0)))
        pixels, targets = batches(step)
        with torch.autocast("cpu", torch.bfloat16) if low else nullcontext():
            outputs = model({"pixel_values": pixels})
            loss = nn.functional.cross_entropy(outputs.float(), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learning, config.clip)
        optimizer.step()
        optimizer.zero_grad()
        last = loss.item()
    return last


def plain_batches(
    pixels: Array, targets: Tensor, examples: Examples, config: TrainConfig
) -> Callable[[int], tuple[Tensor, Tensor]]:
    """Batches of uint8 images [n, s, s, 3], standardized and augmented when they are read."""
    order = examples.order(config.batch_size, config.seed)
    inputs: Any = examples.encoded
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (inputs.inputs.mean, inputs.inputs.std))
    change = Augmentation.named(config.augment, config.seed, False)
    epochs: dict[int, list[Array]] = {}

    def at(step: int) -> tuple[Tensor, Tensor]:
        epoch, place = divmod(step, order.per_epoch)
        if epoch not in epochs:
            epochs[epoch] = order.epoch(epoch)
        rows = epochs[epoch][place]
        values = (torch.from_numpy(pixels[rows]).permute(0, 3, 1, 2).float() / 255 - mean) / std
        if change is not None:
            values = change.apply({"pixel_values": values}, examples.numbers[rows], epoch)["pixel_values"]
        return values, targets[torch.from_numpy(rows)]

    return at


def ours_steps(model: Model, method: Method, config: TrainConfig, task: Task, source: BatchStream) -> float:
    rates = method.rates(model)
    state = start_training(model, rates, config)
    *_, last = train(state, task, source, config)
    return last.loss


def timed(run: Callable[[], float]) -> Outcome:
    began = time.process_time()
    loss = run()
    return Outcome(time.process_time() - began, loss)


def contests(rows: int, epochs: int) -> list[Contest]:
    """The two questions, on so many images for so many epochs."""
    gate = Gate("last loss", False, 0.02)
    found = []
    settings: tuple[tuple[str, ImageNetworkConfig, Method, Augment], ...] = (
        ("loop", SMALL, Full(), "light"),
        ("epochs after the first", LITE, Frozen(), "none"),
    )
    for setting, network, method, augment in settings:
        splits, task = noise_images(rows, network.side)
        shared, inputs = SharedData(splits), Pixels("photo", network.side)
        examples = shared.examples(inputs, splits.train, task.targets(splits.train))
        batch = min(32, len(examples))
        config = TrainConfig(
            steps=epochs * -(-len(examples) // batch),
            lr=1e-3,
            batch_size=batch,
            augment=augment,
            precision=device.precision(),
        )
        encoded: Any = examples.encoded
        pixels = encoded.images.at(examples.positions)
        read = plain_batches(pixels, examples.targets, examples, config)
        kept = model_of(network, task)
        if isinstance(method, Frozen):
            set_trainable(kept, method.rates(kept))
            examples = Examples(shared.below(kept, inputs), examples.positions, examples.targets, examples.numbers)
        source = changed_rows(examples, task, examples.order(config.batch_size, config.seed), config, BatchStream.world)
        plain = partial(_plain, network, task, method, config, read)
        ours = partial(_ours, network, task, method, config, source)
        found.append(Contest("image_tax", "torch", setting, plain, ours, gate, facts={"steps": config.steps}))
    return found


def _plain(
    network: ImageNetworkConfig,
    task: Task,
    method: Method,
    config: TrainConfig,
    read: Callable[[int], tuple[Tensor, Tensor]],
) -> Outcome:
    model = model_of(network, task)
    return timed(lambda: plain_steps(model, method, config, read))


def _ours(network: ImageNetworkConfig, task: Task, method: Method, config: TrainConfig, source: BatchStream) -> Outcome:
    model = model_of(network, task)
    with use_prefix_cache(model, source.examples.encoded):
        return timed(lambda: ours_steps(model, method, config, task, source))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--again", action="store_true")
    given = parser.parse_args()
    here = Results(RESULTS / "image_tax.json")
    hold(contests(given.rows, given.epochs), contests(60, 1), here, given.repetitions, given.again)


if __name__ == "__main__":
    main()
