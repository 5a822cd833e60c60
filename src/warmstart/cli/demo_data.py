"""Demo data: for which products does the demo predict prices? A made-up catalog, so the best error is known.

All names, brands and prices are made up.
"""

import math
import random
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from warmstart.errors import UsageError
from warmstart.types import Array

NOISE = 0.12  # standard deviation of log10(price) around the law: prices scatter by about 32 %
MAX_ROWS = 50_000  # texts never repeat, and beyond this they become hard to find
CHEAPEST_WITH_PARTS = 80.0  # nobody sells a carry bag for a spoon
CHEAP = 60.0  # below this, things are sold new, one or several at a time; dearer things also used, one at a time


@dataclass(frozen=True)
class Catalogue:
    """Rows to learn from, and what is known about them because we made them."""

    table: pa.Table  # title, description, category, brand (text) and price (dollars and cents)
    law: Array  # float64 [rows]: log10 of the price before noise, what a perfect model predicts
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
    price: float  # usual dollars: new, whole, middling brand and size
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


@dataclass(frozen=True)
class Brand:
    """A maker, sold mostly in its own category."""

    name: str
    category: str
    effect: float  # on log10(price)


STORAGE = Measurement("gb", (64, 128, 256, 512, 1024), 0.35)
SCREEN = Measurement("inch", (24, 32, 43, 55, 75), 0.9)
LITRES = Measurement("litre", (100, 200, 300, 400), 0.6)
LENGTH = Measurement("feet", (4, 6, 10, 20), 0.6)

PRODUCTS = (
    Product("kitchen", ("espresso machine", "coffee machine", "espresso maker"), 420),
    Product("kitchen", ("blender", "fruit mixer", "food mixer"), 95),
    Product("kitchen", ("chef knife", "kitchen knife", "carving knife"), 58),
    Product("kitchen", ("refrigerator", "fridge", "food cooler"), 640, LITRES),
    Product("electronics", ("laptop", "notebook computer", "portable computer"), 720, STORAGE),
    Product("electronics", ("television", "tv", "flat screen"), 390, SCREEN),
    Product("electronics", ("headphones", "earphones", "headset"), 115),
    Product("home", ("sofa", "couch", "settee"), 600),
    Product("home", ("lamp", "table lamp", "desk light"), 48),
    Product("home", ("rug", "carpet", "floor mat"), 130, LENGTH),
    Product("garden", ("lawn mower", "grass cutter", "mower"), 310),
    Product("garden", ("garden hose", "water hose", "hose pipe"), 34, LENGTH),
    Product("sports", ("bicycle", "bike", "road bike"), 520),
    Product("sports", ("tent", "camping tent", "camp shelter"), 170),
    Product("music", ("piano", "upright piano", "grand piano"), 900),
    Product("music", ("guitar", "acoustic guitar", "folk guitar"), 290),
    Product("fashion", ("boots", "leather boots", "hiking boots"), 125),
    Product("fashion", ("shirt", "cotton shirt", "blouse"), 30),
    Product("tools", ("drill", "power drill", "electric drill"), 120),
    Product("tools", ("ladder", "step ladder", "folding steps"), 110, LENGTH),
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
    Part(("manual", "user guide"), 8),
    Part(("cover", "dust cover"), 17),
    Part(("carry bag", "travel case"), 30),
    Part(("spare part", "repair kit"), 22),
)

TOYS = ("toy {}", "pretend {}", "{} for dolls", "play {}")

QUALITIES = (
    Meaning(("professional", "for experts", "commercial grade"), 0.20),
    Meaning(("handmade", "hand crafted", "made by hand"), 0.12),
    Meaning(("free returns", "ships today", "gift ready", "in stock"), 0.0),
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

PACKS = (("set of two", 2), ("pack of 3", 3), ("box of 6", 6), ("a dozen", 12))


def catalogue(rows: int = 2400, seed: int = 0) -> Catalogue:
    """Draw `rows` different products; the same rows and seed give the same table.

    The law, in log10 of dollars, with `usual` the log10 of the product's usual price:

    - a whole product: usual + size + brand + quality + condition, or with a part thrown in ("oven with cover")
      usual + 0.05 + brand + quality + condition;
    - a part for it ("cover for oven", "oven cover"): the part's own usual price + 0.3 * (usual - 2)
      + half of (brand + quality) + condition: the words name the oven, the price does not;
    - a toy of it ("toy oven"): log10(16) + 0.1 * (usual - 2) + half of (brand + quality) + condition;
    - a pack of n cheap ones: usual + size + brand + quality + 0.9 * log10(n).

    A measured size adds its power of (size / middle size); small and large are words elsewhere. Each meaning has
    several phrases, each product several names.

    Noise is Gaussian in log10(price) with standard deviation s = 0.12, so no model can expect a mean absolute error
    below s * sqrt(2 / pi) = 0.0957. Prices are rounded to cents, which moves that by less than a ten thousandth.

    >>> catalogue(rows=100).table.column_names
    ['title', 'description', 'category', 'brand', 'price']
    """
    if not 1 <= rows <= MAX_ROWS:
        raise UsageError(f"the catalogue cannot have {rows:,} rows", f"ask for 1 to {MAX_ROWS:,}")
    draw = random.Random(seed)
    items: dict[tuple[str, str, str, str], float] = {}  # text -> law: a text that comes again is drawn anew
    while len(items) < rows:
        text, law = _item(draw)
        items.setdefault(text, law)
    laws = np.array(list(items.values()))
    noise = np.random.default_rng(seed).normal(0.0, NOISE, rows)
    prices = np.round(10 ** (laws + noise), 2)
    columns = dict(zip(("title", "description", "category", "brand"), zip(*items, strict=True), strict=True))
    return Catalogue(pa.table({**columns, "price": prices}), laws, noise_floor())


def noise_floor(deviation: float = NOISE) -> float:
    """Mean absolute value of Gaussian noise: what the best model cannot go below."""
    return deviation * math.sqrt(2 / math.pi)


def _item(draw: random.Random) -> tuple[tuple[str, str, str, str], float]:
    """One product's title, description, category and brand, and its law."""
    product = draw.choice(PRODUCTS)
    brand = _brand(draw, product.category)
    quality = draw.choice(QUALITIES)
    esteem = quality.effect + brand.effect
    title, law = _title(draw, product, esteem)
    note, note_effect = _pack(draw) if product.price < CHEAP else _condition(draw)
    description = f"{draw.choice(quality.phrases)} {note}".strip()
    return (title, description, product.category, brand.name), law + note_effect


def _brand(draw: random.Random, category: str) -> Brand:
    """Half of what is sold comes from the category's own brand."""
    own = [brand for brand in BRANDS if brand.category == category]
    return draw.choice(own if draw.random() < 0.5 else BRANDS)


def _title(draw: random.Random, product: Product, esteem: float) -> tuple[str, float]:
    """The product, a part for it, or a toy of it, with its law before condition and pack."""
    name, usual = draw.choice(product.names), math.log10(product.price)
    part = draw.choice(SPARE_PARTS)
    part_name = draw.choice(part.names)
    kind = draw.random() if product.price >= CHEAPEST_WITH_PARTS else 1.0
    if kind < 0.15:
        return f"{part_name} for {name}", math.log10(part.price) + 0.3 * (usual - 2) + esteem / 2
    if kind < 0.28:
        return f"{name} {part_name}", math.log10(part.price) + 0.3 * (usual - 2) + esteem / 2
    if kind < 0.38:
        return draw.choice(TOYS).format(name), math.log10(16) + 0.1 * (usual - 2) + esteem / 2
    if kind < 0.50:
        return f"{name} with {part_name}", usual + 0.05 + esteem
    size, size_effect = _size(draw, product)
    return f"{size} {name}".strip(), usual + size_effect + esteem


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
