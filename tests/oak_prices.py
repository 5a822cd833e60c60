"""Oak prices: a table whose prices follow from a weight and one word, for tests of what moves a prediction."""

from pathlib import Path

import numpy as np

from tests.cli_base import write_csv

WORDS = ("elm", "pine", "steel", "glass", "lamp", "chair", "table", "bowl")


def oak_prices(path: Path, count: int, noise: float = 0.0) -> Path:
    """Write rows of `text`, `weight` and `price`: 3 for each unit of weight, and 40 more where the text has "oak"."""
    dice, rows = np.random.default_rng(1), []
    for _ in range(count):
        words = [*dice.choice(WORDS, 4), "oak" if dice.random() < 0.5 else "ash"]
        dice.shuffle(words)
        weight = float(dice.integers(1, 40))
        price = 3 * weight + 40 * ("oak" in words) + 100 + (dice.normal(0, noise) if noise else 0.0)
        rows.append((" ".join(words), weight, round(price, 2)))
    return write_csv(path, ("text", "weight", "price"), rows)
