"""Problems: the tables of different kinds that the proof of `advise` is made on, in the order of their variety.

Each is a function of the data's folder that gives a table with a text and a target. All are small, so that every way of
training can be run on every number of rows with several seeds on one core.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq

from warmstart.cli.demo_data import catalogue
from warmstart.data.tables.in_memory import table_of
from warmstart.data.tables.read import Table

ROWS = 3_500  # of a table: 2,450 to draw training rows from, 350 to choose by, 700 to be judged on
Kind = Literal["classification", "regression"]


@dataclass(frozen=True)
class Problem:
    """A table, and how it is gone about."""

    make: Callable[[Path], Table]  # columns: text, target
    kind: Kind
    whole: int  # training rows that an answer is wanted for
    max_length: int = 24  # tokens of a text that are read
    words: str = ""


def packages(
    folder: Path,
    text: str,
    target: str,
    *,
    rows: int = ROWS,
    draw: int = 0,
    coded: bool = False,
    shuffled: bool = False,
) -> Table:
    """Packages of a Linux distribution, one of each source; others for another `draw`.

    `coded`: every word of the text is replaced by a word of its own that means nothing. `shuffled`: the targets are
    those of other rows.
    """
    random = np.random.default_rng([17, draw])
    found: dict[str, dict[str, Any]] = {}
    table = pq.read_table(folder / "debian.parquet", columns=["source", text, target]).to_pylist()
    for row in (table[i] for i in random.permutation(len(table))):
        if row[text] and row[target]:
            found.setdefault(row["source"], row)
    rows_ = list(found.values())[:rows]
    texts = [row[text][:400] for row in rows_]
    targets = [row[target] for row in rows_]
    if shuffled:
        targets = [targets[i] for i in random.permutation(len(targets))]
    return table_of({"text": [_code(each) for each in texts] if coded else texts, "target": targets})


def licences(folder: Path, characters: int) -> Table:
    """The beginning of a licence's text -> its category."""
    table = pq.read_table(folder / "licences.parquet", columns=["text", "category"]).to_pylist()
    rows = [row for row in table if row["text"]]
    return table_of({"text": [row["text"][:characters] for row in rows], "target": [row["category"] for row in rows]})


def products(folder: Path, noise: float) -> Table:
    """Made-up products -> a price that scatters by `noise` in log10 around a law, so that the best error is known."""
    del folder  # they are made here
    made = catalogue(ROWS, seed=5)
    columns = (made.table[name].to_pylist() for name in ("title", "description", "category", "brand"))
    prices = (10 ** (made.said_by_words + np.random.default_rng(5).normal(0.0, noise, ROWS))).round(2).tolist()
    return table_of({"text": [". ".join(parts) for parts in zip(*columns, strict=True)], "target": prices})


def tagged(folder: Path, tag: str, draw: int) -> Table:
    """Synopsis -> whether a package bears a tag, among those that bear any."""
    table = packages(folder, "synopsis", "tags", draw=draw).columns
    answers = ["yes" if tag in (tags or ()) else "no" for tags in table["target"].to_pylist()]
    return table_of({"text": table["text"].to_pylist(), "target": answers})


def _code(text: str) -> str:
    """Each word by another that means nothing, the same for the same word."""
    return " ".join(_coded(word) for word in text.lower().split())


def _coded(word: str) -> str:
    letters: Sequence[str] = [b + v for b in "bdfgklmnprstvz" for v in "aeiou"]
    number = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=3).digest(), "big")
    return "".join(letters[number // len(letters) ** n % len(letters)] for n in range(3))


SECTION = partial(packages, text="synopsis", target="section")
SIZE = partial(packages, text="synopsis", target="installed_kb")

PROBLEMS: dict[str, Problem] = {
    "few": Problem(partial(SECTION, draw=2), "classification", 200, words="synopsis -> section, 200 rows"),
    "sections": Problem(SECTION, "classification", 800, words="package synopsis -> section"),
    "products": Problem(partial(products, noise=0.12), "regression", 800, words="made-up product -> price"),
    "coded": Problem(partial(SECTION, coded=True, draw=1), "classification", 800, 32, "coded synopsis -> section"),
    "noise": Problem(partial(SECTION, shuffled=True, draw=3), "classification", 400, words="shuffled sections"),
    "sizes": Problem(SIZE, "regression", 800, words="package synopsis -> installed size"),
    "german": Problem(
        partial(packages, text="synopsis_de", target="section"),
        "classification",
        800,
        words="German synopsis -> section",
    ),
    "licences": Problem(
        partial(licences, characters=160), "classification", 800, 32, "licence's beginning -> category"
    ),
    "loud": Problem(partial(products, noise=0.4), "regression", 800, words="made-up product -> noisy price"),
    "programs": Problem(partial(tagged, tag="role::program", draw=4), "classification", 800, words="is it a program?"),
    "few-sizes": Problem(partial(SIZE, draw=5), "regression", 200, words="synopsis -> installed size, 200 rows"),
    "descriptions": Problem(
        partial(packages, text="description", target="section", draw=6),
        "classification",
        400,
        32,
        "description -> section, 400 rows",
    ),
    "coded-sizes": Problem(partial(SIZE, coded=True, draw=7), "regression", 800, 32, "coded synopsis -> size"),
    "quiet": Problem(partial(products, noise=0.03), "regression", 400, words="made-up product -> exact price"),
    "french": Problem(
        partial(packages, text="synopsis_fr", target="installed_kb", draw=8),
        "regression",
        800,
        words="French synopsis -> installed size",
    ),
    "noisy-sizes": Problem(partial(SIZE, shuffled=True, draw=9), "regression", 400, words="shuffled sizes"),
}
