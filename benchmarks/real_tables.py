"""Real tables: the tables that benchmarks of whole comparisons share, from files beside the project and from packages.

The folder of data holds `debian.parquet`, `releases.parquet` and `licences.parquet` (see README.md here); other tables
come with scikit-learn, plotnine and vega_datasets; of the last two only the files are read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Case:
    """One table: how it is made, and what is predicted from what."""

    make: Callable[[Path], pd.DataFrame]
    target: str
    group: str | None = None
    package: str = "sklearn"  # that the table comes with
    classes: bool = False


def sizes(data: Path) -> pd.DataFrame:
    """A text, a category and three numbers -> log10 of kilobytes."""
    found = _some(pd.read_parquet(data / "debian.parquet"), 6_000)
    found["characters"] = found["description"].str.len()
    found["tag_count"] = found["tags"].fillna("").str.count(",") + 1
    found["log_kb"] = np.log10(found["installed_kb"].clip(lower=1))
    return found[["synopsis", "section", "size_bytes", "characters", "tag_count", "source", "log_kb"]]


def sections(data: Path) -> pd.DataFrame:
    """A line of text -> one of about 50 classes, each with five rows or more."""
    found = _some(pd.read_parquet(data / "debian.parquet")[["synopsis", "section", "source"]], 6_000)
    return found[found.groupby("section")["section"].transform("size") >= 5]


def releases(data: Path) -> pd.DataFrame:
    """A line of text -> log10 of an age, noisy."""
    found = pd.read_parquet(data / "releases.parquet")[["summary", "age_months"]]
    found = _some(found[found["summary"].fillna("").str.strip() != ""], 6_000)
    return pd.DataFrame({"summary": found["summary"], "log_age": np.log10(1 + found["age_months"])})


def licenses(data: Path) -> pd.DataFrame:
    """A long text and a name -> its category."""
    found = pd.read_parquet(data / "licences.parquet")[["name", "text", "category"]]
    return found[found.groupby("category")["category"].transform("size") >= 5]


def diamonds(_: Path) -> pd.DataFrame:
    """Six numbers and three grades -> log10 of a price."""
    found = pd.read_csv(packaged("plotnine", "data/diamonds.csv"))
    return found.assign(log_price=np.log10(found["price"])).drop(columns="price")


def weather(_: Path) -> pd.DataFrame:
    """A date and four numbers -> the kind of weather."""
    return pd.read_csv(packaged("vega_datasets", "_data/seattle-weather.csv"), parse_dates=["date"])


def cars(_: Path) -> pd.DataFrame:
    """A name, six numbers and a year -> miles per gallon."""
    found = pd.read_json(packaged("vega_datasets", "_data/cars.json")).dropna(subset=["Miles_per_Gallon"])
    return found.assign(Year=pd.to_datetime(found["Year"]).dt.year)


def shipped(name: str) -> Callable[[Path], pd.DataFrame]:
    """A table of scikit-learn: numbers alone."""

    def make(_: Path) -> pd.DataFrame:
        from sklearn import datasets

        found = getattr(datasets, f"load_{name}")(as_frame=True)
        frame = found.frame
        if name != "diabetes":
            frame["target"] = "class " + frame["target"].astype(str)
        return frame

    return make


CASES = {
    "mixed sizes": Case(sizes, "log_kb", "source"),
    "sections": Case(sections, "section", "source", classes=True),
    "licences": Case(licenses, "category", classes=True),
    "releases": Case(releases, "log_age"),
    "diamonds": Case(diamonds, "log_price", package="plotnine"),
    "digits": Case(shipped("digits"), "target", classes=True),
    "breast cancer": Case(shipped("breast_cancer"), "target", classes=True),
    "diabetes": Case(shipped("diabetes"), "target"),
    "weather": Case(weather, "weather", package="vega_datasets", classes=True),
    "cars": Case(cars, "Miles_per_Gallon", package="vega_datasets"),
}


def packaged(package: str, path: str) -> Path:
    """A file of a package, which need not be importable: plotnine and vega_datasets want much that is not read here."""
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / path


def _some(table: pd.DataFrame, rows: int) -> pd.DataFrame:
    return table.sample(rows, random_state=0)
