"""Tables: rows with typed columns from which a target follows, not along a line."""

import numpy as np

from warmstart.data.rows.read_columns import ColumnValues
from warmstart.data.rows.split import Rows
from warmstart.data.schema.columns import Column
from warmstart.data.tables.strings import Texts
from warmstart.tasks.classification import Classification
from warmstart.tasks.regression import Regression
from warmstart.tasks.task import Task

KINDS = ("number", "class", "labels")
COLUMNS = (
    Column("title", "text"),
    Column("brand", "category"),
    Column("weight", "number"),
    Column("sold", "datetime"),
    Column("in stock", "boolean"),
)
DAY = 86_400.0


def table_rows(kind: str, n: int = 400) -> Rows:
    """The target follows the square of a weight, and the title beside it; some cells are missing."""
    generator = np.random.default_rng(0)
    weight = generator.uniform(-3, 3, n)
    big = generator.random(n) < 0.5
    title = [f"a {'big' if b else 'small'} lamp, lot {i % 7}" for i, b in enumerate(big)]
    brand = [("oak", "pine", "")[i] for i in generator.integers(3, size=n)]
    value = weight**2 + 2.0 * big
    targets = np.empty(n, dtype=object)
    for i in range(n):
        names = ("high" if value[i] > 4 else "low", "big" if big[i] else "small")
        targets[i] = {"number": float(value[i]), "class": names[0], "labels": names}[kind]
    if kind == "number":
        targets = targets.astype(np.float64)
    values = {
        "title": Texts.of(title),
        "brand": Texts.of(brand),
        "weight": np.where(generator.random(n) < 0.02, np.nan, weight),
        "sold": np.floor(generator.uniform(0, 20_000, n)) * DAY,
        "in stock": (generator.random(n) < 0.3).astype(np.float64),
    }
    texts = Texts.of(f"title: {a}\nbrand: {b}\nweight: {c:.3g}" for a, b, c in zip(title, brand, weight, strict=True))
    return Rows(texts, targets, np.arange(1, n + 1), Texts.of(map(str, range(n))), ColumnValues(values))


def task_of(kind: str) -> Task:
    if kind == "number":
        return Regression("y", "linear", 4.0, 3.0)
    if kind == "class":
        return Classification("y", ("high", "low"))
    return Classification("y", ("big", "high", "low", "small"), multi_label=True)
