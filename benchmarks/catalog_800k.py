"""Catalog of 800,000 rows: is a deep network far better than a linear model of words, and how close to the noise?

The demo's products, law and noise (`warmstart.cli.demo_data`), whose texts would repeat, with a made-up series name in
every title: `SERIES` names, few of them common, each with its own effect on the price. The price of a rare
series is only learned from many rows. No model can come below the noise floor, which is known.

    python benchmarks/catalog_800k.py --cells FOLDER --rows 50000 200000 800000 --regimes linear scratch-dnn boosted

FOLDER keeps what is measured, so that an interrupted run goes on.
"""

import argparse
import random
from pathlib import Path

import numpy as np

from harness import RESULTS
from many_rows import Cell, Parts, numbered, run_cells, summary, write_results
from warmstart.cli.demo_data import NOISE, _item, _measured, noise_floor
from warmstart.data.rows.read_columns import ColumnValues
from warmstart.data.rows.split import Rows
from warmstart.data.schema.columns import Column
from warmstart.data.schema.schema import Schema
from warmstart.data.tables.strings import Texts
from warmstart.types import Array

SERIES, SERIES_EFFECT = 40_000, 0.15  # names, and the standard deviation of their effect on log10(price)
SYLLABLES = tuple(f"{first}{second}" for first in "bdfgklmnprstvz" for second in "aeiou")
VALIDATION_ROWS, TEST_ROWS = 1_000, 6_000
TEXTS = ("title", "description")
COLUMNS = (
    Column("title", "text"),
    Column("description", "text"),
    Column("category", "category"),
    Column("brand", "category"),
    Column("weight", "number"),
    Column("rating", "number"),
    Column("in_stock", "boolean"),
)
PRICE = Schema(
    "regression",
    "price",
    tuple(column.name for column in COLUMNS),
    True,
    None,
    {},
    "log10",
    False,
    None,
    columns=COLUMNS,
)
SIZES = (4_000, 50_000, 200_000, 800_000)
REGIMES = ("constant", "linear", "boosted", "scratch-dnn")


def read_parts(data: Path | None, rows: int = max(SIZES)) -> Parts:
    """The catalog; its last rows are for testing. Products are drawn independently: each row is a group."""
    total = rows + VALIDATION_ROWS + TEST_ROWS
    draw, generator = random.Random(8), np.random.default_rng(8)
    items = [_item(draw) for _ in range(total)]
    series, effects = _series(generator, total)
    measured, more = _measured(generator, np.array([title.weight for _, title in items]))
    laws = np.array([title.law for _, title in items]) + effects + more
    prices = np.round(10 ** (laws + generator.normal(0.0, NOISE, total)), 2)
    titles = Texts.of(f"{name} {text[0]}" for name, (text, _) in zip(series, items, strict=True))
    values = {
        "title": titles,
        "description": Texts.of(text[1] for text, _ in items),
        "category": Texts.of(text[2] for text, _ in items),
        "brand": Texts.of(text[3] for text, _ in items),
        "weight": measured["weight"].to_numpy(),
        "rating": np.array(measured["rating"].to_pylist(), dtype=np.float64),
        "in_stock": np.array([float(each == "yes") for each in measured["in_stock"].to_pylist()]),
    }
    del items
    every = Rows(
        titles,
        np.maximum(prices, 0.01),
        np.arange(1, total + 1),
        Texts.of(str(i) for i in range(total)),
        ColumnValues(values),
    )
    return Parts(PRICE, every.take(np.arange(total - TEST_ROWS)), every.take(np.arange(total - TEST_ROWS, total)))


def _series(generator: np.random.Generator, count: int) -> tuple[list[str], Array]:
    """The series of each product, and its effect: name number n is drawn in proportion to 1 / n."""
    names = ["".join(generator.choice(SYLLABLES, 4)) for _ in range(SERIES)]
    effect = generator.normal(0.0, SERIES_EFFECT, SERIES)
    share = 1 / np.arange(1, SERIES + 1)
    drawn = generator.choice(SERIES, size=count, p=share / share.sum())
    return [names[i] for i in drawn], effect[drawn]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cells", type=Path, required=True, help="folder for what is measured")
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--regimes", nargs="+", default=REGIMES)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "catalog_800k.json")
    asked = parser.parse_args()
    cells = [Cell(name, rows, seed) for rows in asked.rows for name in asked.regimes for seed in range(asked.seeds)]
    run_cells(cells, read_parts, None, asked.cells)
    groups = numbered(read_parts(None).test.keys)
    lines = summary(asked.regimes, asked.rows, asked.seeds, asked.cells, groups)
    for line in lines:
        print({name: value for name, value in line.items() if name != "settings"}, flush=True)
    write_results(asked.out, lines, {"test_rows": TEST_ROWS, "noise_floor": round(noise_floor(), 4)})


if __name__ == "__main__":
    main()
