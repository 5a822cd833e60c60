"""Images: drawn ones whose class and number follow from what is seen, so small that a test learns them in a blink."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from warmstart.data.rows.split import Splits, make_rows, split
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import ColumnChoices, Schema
from warmstart.data.tables.in_memory import table_of
from warmstart.data.tables.read import Table
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.run_data import RunData
from warmstart.types import Array

SIDE = 12  # pixels
COLORS = {"red": (220, 40, 40), "green": (40, 200, 40), "blue": (40, 60, 230)}


def drawn(number: int) -> tuple[Array, str, float]:
    """(uint8 [12, 12, 3], its class, its number): a rectangle on noise, its color, and its width."""
    generator = np.random.default_rng(number)
    pixels = generator.integers(60, 140, (SIDE, SIDE, 3)).astype(np.uint8)
    color = list(COLORS)[int(generator.integers(len(COLORS)))]
    width, top = int(generator.integers(2, 11)), int(generator.integers(0, 5))
    left = int(generator.integers(0, SIDE - width))
    pixels[top : top + 7, left : left + width] = COLORS[color]
    return pixels, color, float(width)


def encoded(pixels: Array, kind: str = "PNG") -> bytes:
    """The bytes of a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def picture_table(rows: int = 80) -> Table:
    """Bytes of images, with `color` and `width`."""
    made = [drawn(number) for number in range(rows)]
    columns: dict[str, list[object]] = {
        "photo": [encoded(pixels) for pixels, _, _ in made],
        "color": [color for _, color, _ in made],
        "width": [width + 0.5 for _, _, width in made],
    }
    return table_of({"photo": pa.array(columns["photo"], pa.binary()), **{k: columns[k] for k in ("color", "width")}})


def priced_table(rows: int = 80) -> Table:
    """Photos, a `weight`, a `shop` and a `title`, which together determine the `price`."""
    dice, made = np.random.default_rng(5), [drawn(number) for number in range(rows)]
    weights, shops = dice.uniform(1, 9, rows).round(2), dice.choice(["north", "south"], rows)
    words = [" ".join([*dice.choice(["lamp", "bowl", "chair", "shelf", "frame"], 3), f"no {i}"]) for i in range(rows)]
    titles = [f"{text} of oak" if i % 2 else text for i, text in enumerate(words)]
    prices = [
        width + 1.5 * weight + 4.0 * (shop == "north") + 6.0 * title.endswith("oak") + 0.25
        for (_, _, width), weight, shop, title in zip(made, weights, shops, titles, strict=True)
    ]
    return table_of({
        "photo": pa.array([encoded(pixels) for pixels, _, _ in made], pa.binary()),
        "weight": weights.tolist(),
        "shop": shops.tolist(),
        "title": titles,
        "price": prices,
    })  # fmt: skip


def save_folder(folder: Path, rows: int = 60) -> Path:
    """A folder for each color."""
    for number in range(rows):
        pixels, color, _ = drawn(number)
        (folder / color).mkdir(parents=True, exist_ok=True)
        (folder / color / f"{number}.png").write_bytes(encoded(pixels))
    return folder


def save_image_base(folder: Path) -> Path:
    """A ResNet of two stages with random weights, as Hugging Face's tools write it; it reads 16 pixels each way."""
    from transformers import ResNetConfig, ResNetModel

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ResNetModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        '{"size": {"shortest_edge": 16}, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}'
    )
    return folder


def picture_splits(target: str = "color", rows: int = 80) -> tuple[Schema, Splits]:
    table = picture_table(rows)
    schema = infer_schema(table, ColumnChoices(target=target, text=("photo",)))
    return schema, split(make_rows(table, schema)[0], schema)


def picture_draw(target: str = "color", rows: int = 80) -> RunData:
    schema, splits = picture_splits(target, rows)
    return RunData(splits, schema, SharedData(splits), 0)
