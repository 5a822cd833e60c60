"""Demo data: for which products does the demo predict prices? A made-up catalog, so the best error is known.

All names, brands and prices are made up.
"""

import math
import random
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from warmstart.errors import UsageError
from warmstart.types import Array

NOISE = 0.12  # standard deviation of log10(price) around the law: prices scatter by about 32 %
MAX_ROWS = 50_000  # texts never repeat, and beyond this they become hard to find
CHEAPEST_WITH_PARTS = 80.0  # nobody sells a carry bag for a spoon
CHEAP = 60.0  # below this, things are sold new, one or several at a time; dearer things also used, one at a time


@dataclass(frozen=True)
class Catalog:
    """Rows to learn from, and what is known about them because we made them."""

    table: pa.Table  # title, description (texts), category, brand, weight (kg), rating, in_stock and price (dollars)
    law: Array  # float64 [rows]: log10 of the price before noise, what a perfect model predicts
    said_by_words: Array  # float64 [rows]: the part of it that texts, category and brand say
    noise_floor: float  # expected mean absolute error of that perfect model, in log10(price)


@dataclass(frozen=True)
class Measurement:
    """A measured size: the price grows with a power of it, and is the usual price at the middle value."""

    unit: str
    values: tuple[int, ...]
    power: float

    def effect(self, value: int) -> float:
        """What this size adds to log10(price)."""
        return self.power * math.log10(value / self.values[len(self.values) // 2])


@dataclass(frozen=True)
class Product:
    """One thing under the names that people give it."""

    category: str
    names: tuple[str, ...]
    price: float  # usual dollars: new, whole, middling brand, size and weight, rated 4, in stock
    weight: float  # usual kilograms
    size: Measurement | None = None


@dataclass(frozen=True)
class Meaning:
    """Phrases that say the same, and what that adds to log10(price)."""

    phrases: tuple[str, ...]
    effect: float


@dataclass(frozen=True)
class Part:
    """Something sold for a product, not the product."""

    names: tuple[str, ...]
    price: float  # usual dollars, for a product of 100 dollars
    weight: float  # usual kilograms


@dataclass(frozen=True)
class Title:
    """What is sold, in words, and what is usual for it."""

    words: str
    law: float  # log10 of the price before condition, pack, weight, rating and stock
    weight: float  # usual kilograms


@dataclass(frozen=True)
class Brand:
    """A maker, sold mostly in its own category."""

    name: str
    category: str
    effect: float  # on log10(price)


STORAGE = Measurement("gb", (64, 128, 256, 512, 1024), 0.35)
SCREEN = Measurement("inch", (24, 32, 43, 55, 75), 0.9)
LITERS = Measurement("litre", (100, 200, 300, 400), 0.6)
LENGTH = Measurement("feet", (4, 6, 10, 20), 0.6)

PRODUCTS = (
    Product("kitchen", ("espresso machine", "coffee machine", "espresso maker"), 420, 6),
    Product("kitchen", ("blender", "fruit mixer", "food mixer"), 95, 2.5),
    Product("kitchen", ("chef knife", "kitchen knife", "carving knife"), 58, 0.25),
    Product("kitchen", ("refrigerator", "fridge", "food cooler"), 640, 55, LITERS),
    Product("electronics", ("laptop", "notebook computer", "portable computer"), 720, 1.8, STORAGE),
    Product("electronics", ("television", "tv", "flat screen"), 390, 14, SCREEN),
    Product("electronics", ("headphones", "earphones", "headset"), 115, 0.3),
    Product("home", ("sofa", "couch", "settee"), 600, 48),
    Product("home", ("lamp", "table lamp", "desk light"), 48, 1.6),
    Product("home", ("rug", "carpet", "floor mat"), 130, 7, LENGTH),
    Product("garden", ("lawn mower", "grass cutter", "mower"), 310, 24),
    Product("garden", ("garden hose", "water hose", "hose pipe"), 34, 3, LENGTH),
    Product("sports", ("bicycle", "bike", "road bike"), 520, 11),
    Product("sports", ("tent", "camping tent", "camp shelter"), 170, 4),
    Product("music", ("piano", "upright piano", "grand piano"), 900, 210),
    Product("music", ("guitar", "acoustic guitar", "folk guitar"), 290, 2),
    Product("fashion", ("boots", "leather boots", "hiking boots"), 125, 1.3),
    Product("fashion", ("shirt", "cotton shirt", "blouse"), 30, 0.25),
    Product("tools", ("drill", "power drill", "electric drill"), 120, 1.7),
    Product("tools", ("ladder", "step ladder", "folding steps"), 110, 8, LENGTH),
)

BRANDS = (
    Brand("crown", "kitchen", 0.16),
    Brand("vector", "electronics", 0.08),
    Brand("palace", "home", 0.14),
    Brand("meadow", "garden", -0.06),
    Brand("summit", "sports", 0.06),
    Brand("sonata", "music", 0.0),
    Brand("velvet", "fashion", 0.18),
    Brand("penny", "tools", -0.16),
)

SPARE_PARTS = (
    Part(("manual", "user guide"), 8, 0.15),
    Part(("cover", "dust cover"), 17, 0.5),
    Part(("carry bag", "travel case"), 30, 0.9),
    Part(("spare part", "repair kit"), 22, 0.3),
)

TOYS = ("toy {}", "pretend {}", "{} for dolls", "play {}")

QUALITIES = (
    Meaning(("professional", "for experts", "commercial grade"), 0.20),
    Meaning(("handmade", "hand crafted", "made by hand"), 0.12),
    Meaning(("free returns", "ships today", "gift ready", "two year warranty"), 0.0),
    Meaning(("basic", "nothing fancy", "entry level"), -0.15),
)

CONDITIONS = (
    Meaning(("", "new", "sealed box"), 0.0),
    Meaning(("used", "second hand", "pre owned"), -0.28),
    Meaning(("broken", "not working", "defective"), -0.55),
)
CONDITION_WEIGHTS = (10, 4, 2)

SIZE_WORDS = (
    Meaning(("mini", "small", "compact"), -0.12),
    Meaning(("",), 0.0),
    Meaning(("large", "big", "giant"), 0.12),
)

TOY_WEIGHT = 0.4  # usual kilograms
WEIGHT_SPREAD = 0.22  # standard deviation of log10(weight) around the usual one
WEIGHT_POWER = 0.45  # a product of twice its usual weight is built better, and costs 37 % more
USUAL_RATING, RATING_SPREAD, RATING_EFFECT = 4.0, 0.6, 0.10  # stars; on log10(price), a star
UNRATED = 0.1  # share of products without a rating: they cost what a usual one costs
OUT_OF_STOCK, OUT_OF_STOCK_EFFECT = 0.2, -0.10  # share of products, and on log10(price)

COLORS = ("black", "white", "dark green", "sky blue", "red", "silver", "yellow", "natural oak", "grey", "brown")

PACKS = (("set of two", 2), ("pack of 3", 3), ("box of 6", 6), ("a dozen", 12))


def catalog(rows: int = 2400, seed: int = 0) -> Catalog:
    """Draw `rows` different products; the same rows and seed give the same table.

    The law, in log10 of dollars, with `usual` the log10 of the product's usual price:

    - a whole product: usual + size + brand + quality + condition, or with a part thrown in ("oven with cover")
      usual + 0.05 + brand + quality + condition;
    - a part for it ("cover for oven", "oven cover"): the part's own usual price + 0.3 * (usual - 2)
      + half of (brand + quality) + condition: the words name the oven, the price does not;
    - a toy of it ("toy oven"): log10(16) + 0.1 * (usual - 2) + half of (brand + quality) + condition;
    - a pack of n cheap ones: usual + size + brand + quality + 0.9 * log10(n).

    Of each of them, 0.45 * log10(weight / its usual weight), which the words imply; 0.10 for each star above 4, and
    nothing without a rating; -0.10 where it is out of stock.

    A measured size adds its power of (size / middle size); small and large are words elsewhere. Each meaning has
    several phrases, each product several names. Colors do not change the price.

    Words say most of it. Whoever reads only them, category and brand cannot come below a mean absolute error of 0.134.

    Noise is Gaussian in log10(price) with standard deviation s = 0.12, so no model can expect a mean absolute error
    below s * sqrt(2 / pi) = 0.0957. Prices are rounded to cents, which moves that by less than a ten thousandth.

    >>> catalog(rows=100).table.column_names
    ['title', 'description', 'category', 'brand', 'weight', 'rating', 'in_stock', 'price']
    """
    if not 1 <= rows <= MAX_ROWS:
        raise UsageError(f"the catalog cannot have {rows:,} rows", f"ask for 1 to {MAX_ROWS:,}")
    draw = random.Random(seed)
    items: dict[tuple[str, str, str, str], Title] = {}  # texts that come again are drawn anew
    while len(items) < rows:
        text, title = _item(draw)
        items.setdefault(text, title)
    usual = np.array([title.law for title in items.values()])
    generator = np.random.default_rng(seed)
    noise = generator.normal(0.0, NOISE, rows)
    measured, effects = _measured(generator, np.array([title.weight for title in items.values()]))
    laws = usual + effects
    prices = np.round(10 ** (laws + noise), 2)
    columns = dict(zip(("title", "description", "category", "brand"), zip(*items, strict=True), strict=True))
    return Catalog(pa.table({**columns, **measured, "price": prices}), laws, usual, noise_floor())


def _measured(generator: np.random.Generator, usual: Array) -> tuple[dict[str, Any], Array]:
    """Weight, rating and stock of products with these usual weights, as they are written; and what they add."""
    rows = len(usual)
    weight = np.maximum(np.round(usual * 10 ** generator.normal(0.0, WEIGHT_SPREAD, rows), 2), 0.01)
    rating = np.round(np.clip(generator.normal(USUAL_RATING, RATING_SPREAD, rows), 1.0, 5.0), 1)
    unrated = generator.random(rows) < UNRATED
    there = generator.random(rows) >= OUT_OF_STOCK
    effects = WEIGHT_POWER * np.log10(weight / usual)
    effects += np.where(unrated, 0.0, RATING_EFFECT * (rating - USUAL_RATING))
    effects += np.where(there, 0.0, OUT_OF_STOCK_EFFECT)
    stock = pa.array(["yes" if each else "no" for each in there])
    return {"weight": pa.array(weight), "rating": pa.array(rating, mask=unrated), "in_stock": stock}, effects


def noise_floor(deviation: float = NOISE) -> float:
    """Mean absolute value of Gaussian noise: what the best model cannot go below."""
    return deviation * math.sqrt(2 / math.pi)


def _item(draw: random.Random) -> tuple[tuple[str, str, str, str], Title]:
    """One product's title, description, category and brand; and what is usual for it, condition and pack included."""
    product = draw.choice(PRODUCTS)
    brand = _brand(draw, product.category)
    quality = draw.choice(QUALITIES)
    title = _title(draw, product, quality.effect + brand.effect)
    note, note_effect = _pack(draw) if product.price < CHEAP else _condition(draw)
    description = f"{draw.choice(quality.phrases)} {draw.choice(COLORS)} {note}".strip()
    return (title.words, description, product.category, brand.name), replace(title, law=title.law + note_effect)


def _brand(draw: random.Random, category: str) -> Brand:
    """Half of what is sold comes from the category's own brand."""
    own = [brand for brand in BRANDS if brand.category == category]
    return draw.choice(own if draw.random() < 0.5 else BRANDS)


def _title(draw: random.Random, product: Product, esteem: float) -> Title:
    """The product, a part for it, or a toy of it, before condition and pack."""
    name, usual = draw.choice(product.names), math.log10(product.price)
    part = draw.choice(SPARE_PARTS)
    part_name = draw.choice(part.names)
    kind = draw.random() if product.price >= CHEAPEST_WITH_PARTS else 1.0
    if kind < 0.28:
        words = f"{part_name} for {name}" if kind < 0.15 else f"{name} {part_name}"
        return Title(words, math.log10(part.price) + 0.3 * (usual - 2) + esteem / 2, part.weight)
    if kind < 0.38:
        words = draw.choice(TOYS).format(name)
        return Title(words, math.log10(16) + 0.1 * (usual - 2) + esteem / 2, TOY_WEIGHT)
    if kind < 0.50:
        return Title(f"{name} with {part_name}", usual + 0.05 + esteem, product.weight)
    size, size_effect = _size(draw, product)
    return Title(f"{size} {name}".strip(), usual + size_effect + esteem, product.weight)


def _size(draw: random.Random, product: Product) -> tuple[str, float]:
    if product.size is None:
        word = draw.choice(SIZE_WORDS)
        return draw.choice(word.phrases), word.effect
    value = draw.choice(product.size.values)
    return f"{value} {product.size.unit}", product.size.effect(value)


def _pack(draw: random.Random) -> tuple[str, float]:
    if draw.random() < 0.6:
        return draw.choice(CONDITIONS[0].phrases), CONDITIONS[0].effect
    phrase, count = draw.choice(PACKS)
    return phrase, 0.9 * math.log10(count)


def _condition(draw: random.Random) -> tuple[str, float]:
    condition = draw.choices(CONDITIONS, CONDITION_WEIGHTS)[0]
    return draw.choice(condition.phrases), condition.effect
