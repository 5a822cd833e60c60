"""Are numbers far from all others found, and only these?"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import warmstart
from warmstart.data.rows.check import find_problems
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.numbers import mean_and_deviation, outliers
from warmstart.data.schema.schema import ColumnChoices, Scale
from warmstart.data.tables.in_memory import table_of
from warmstart.types import Array

N = 200
DICE = np.random.default_rng(0)
NORMAL = DICE.normal(0, 50, N)
USUAL: dict[str, Array] = {
    "normal": NORMAL,
    "heavy tail": DICE.standard_cauchy(N),
    "prices, on their scale": np.log10(np.exp(DICE.normal(3, 3, N))),
    "years": DICE.integers(1900, 2024, N).astype(float),
    "mostly zero": np.where(np.arange(N) % 10, 0.0, 7.0),
    "all equal": np.full(N, 3.0),
    "a group of its own": np.where(np.arange(N) % 20, NORMAL, 1e12),
    "tiny": NORMAL * 1e-300,
    "missing": np.full(N, np.nan),
}


@pytest.mark.parametrize("name", USUAL)
def test_usual_numbers_are_no_outliers(name: str) -> None:
    assert not outliers(USUAL[name]).any()
    values = USUAL[name][np.isfinite(USUAL[name])]  # below: to the last bit
    assert mean_and_deviation(USUAL[name]) == ((values.mean(), values.std()) if len(values) else (0.0, 0.0))


@pytest.mark.parametrize("value", [1e12, -1e12, 1e300, 99_999_999])
def test_a_single_number_far_from_all_others_is_one(value: float) -> None:
    values = np.concatenate([NORMAL, [value]])
    assert outliers(values).nonzero()[0].tolist() == [N]
    assert mean_and_deviation(values) == pytest.approx((NORMAL.mean(), NORMAL.std()))


def table(**columns: Any) -> dict[str, Any]:
    return {"text": [f"a lamp of {i % 9} and {i % 7}" for i in range(N)], **columns}


@pytest.mark.parametrize("column", ["price", "size"])
def test_an_outlier_is_a_finding_with_its_row(column: str) -> None:
    rows = table(price=NORMAL.round(2), size=DICE.normal(5, 1, N).round(3))
    rows[column][77] = 1e12
    made = table_of(rows)
    findings = find_problems(made, infer_schema(made, ColumnChoices("price"))).findings
    (found,) = [finding for finding in findings if finding.kind == "outlier"]
    assert found.rows == (78,) and found.severity == "warning" and "1e+12" in found.message


@pytest.mark.parametrize(("scale", "said"), [("log10", "that of log10, so they count little"), ("linear", "drown")])
def test_what_an_outlier_does_to_the_score_depends_on_the_scale(scale: Scale, said: str) -> None:
    prices = 10 ** DICE.normal(2, 0.5, N)
    prices[77] = 1e12
    made = table_of(table(price=prices.round(2)))
    findings = find_problems(made, infer_schema(made, ColumnChoices("price", scale=scale))).findings
    assert said in next(finding.message for finding in findings if finding.kind == "outlier")


@pytest.mark.parametrize("column", ["price", "size"])
def test_what_is_learned_survives_one_outlier(column: str, tmp_path: Path) -> None:
    size = DICE.normal(5, 1, N).round(3)
    rows = table(price=(20 * size + DICE.normal(0, 1, N)).round(2) - 100, size=size)
    warmstart.fit(rows, "price", "linear", tmp_path / "clean", quiet=True)
    spoiled = {name: list(values) for name, values in rows.items()}
    spoiled[column][5] = 1e12
    warmstart.fit(spoiled, "price", "linear", tmp_path / "spoiled", quiet=True)
    asked = {name: values[:4] for name, values in rows.items() if name != "price"}
    one, other = (warmstart.load(tmp_path / name).predict(asked) for name in ("clean", "spoiled"))
    for a, b in zip(one, other, strict=True):
        assert abs(a["prediction"] - b["prediction"]) < 8, (one, other)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (
            ["12", "8 %", "5", "7"],
            r"Most cells of 'size' are numbers, but it is read as category: 50 are not \('8 %'\)\.",
        ),
        (["12", "8 kg", "5 m", "7", "9"], r"80 are not \('8 kg', '5 m'\)"),
        (["12", "8.1.2", "5.0.1", "7.3.1"], None),  # versions: most are no numbers
        (["0012", "0008", "0005", "007-1"], None),  # codes
        (["12", "8", "5", "7"], None),
    ],
)
def test_a_column_of_numbers_that_is_read_as_words_because_of_a_few_is_told(cells: list[str], said: str | None) -> None:
    size = cells * (N // len(cells))
    made = table_of({"size": size, "price": NORMAL[: len(size)].round(2)})
    findings = find_problems(made, infer_schema(made, ColumnChoices("price"))).findings
    found = [each for each in findings if each.kind == "numbers-as-words"]
    if said is None:
        assert not found
        return
    assert re.search(said, found[0].message) and found[0].hint and "--column size=number" in found[0].hint
