"""One split for all: no row on two sides, no key torn, no dependence on the order of the file."""

import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstart.data.rows.split import Rows, Splits, make_rows, split
from warmstart.data.schema.schema import Schema
from warmstart.data.tables.formats import usual_type
from warmstart.data.tables.read import Table
from warmstart.errors import InputError, UsageError

REGRESSION = Schema("regression", "y", ("title",), False, None, {}, "linear", False, None)
CLASSES = replace(REGRESSION, task="classification")


def table(**columns: object) -> Table:
    made = pa.table({name: pa.array(list(values)) for name, values in columns.items()})  # type: ignore[call-overload]
    usual = pa.table({name: usual_type(made[name]) for name in made.column_names})
    return Table(usual, ("lamps.csv",), (usual.num_rows,))


def rows_of(keys: list[str], targets: list[object]) -> Rows:
    kind = float if isinstance(targets[0], float) else object
    numbers = np.arange(1, len(keys) + 1)
    return Rows(tuple(f"text {i}" for i in numbers), np.array(targets, dtype=kind), numbers, tuple(keys))


def parts(splits: Splits) -> tuple[Rows, Rows, Rows]:
    return splits.train, splits.val, splits.test


def titles(n: int) -> list[str]:
    return [f"lamp {i}" for i in range(n)]


# --- rows ----------------------------------------------------------------------------------------------------------


def test_texts_are_joined_or_labeled() -> None:
    lamps = table(title=["red", None, " "] * 10, weight=[1.0, 2.5, None] * 10, y=range(30))
    plain = replace(REGRESSION, text=("title", "weight"))
    kept, caveats = make_rows(lamps, plain, bad_rows="drop")
    assert kept.texts[:2] == ("red\n1", "2.5") and kept.numbers[:3].tolist() == [1, 2, 4]
    assert caveats == (
        "Left out: the table has 10 rows with nothing to read in 'title', 'weight' "
        "(rows 3, 6, 9, 12, 15, 18, 21, 24 and 2 more).",
    )
    labeled, _ = make_rows(lamps, replace(plain, labelled=True), bad_rows="drop")
    assert labeled.texts[:2] == ("title: red\nweight: 1", "weight: 2.5")


def test_bad_numbers_are_named_or_left_out() -> None:
    values = [*map(str, range(25)), "12,50", "", "inf", "?"]
    lamps = table(title=titles(29), y=values)
    with pytest.raises(InputError) as caught:
        make_rows(lamps, REGRESSION)
    assert caught.value.message == (
        "column 'y' has 1 missing value (row 27). "
        "column 'y' has 2 values that are not numbers (rows 26, 29: '12,50', '?'). "
        "column 'y' has 1 infinite value (row 28). In all, 4 of 29 rows (13.8 %) cannot be used"
    )
    assert "--bad-rows drop" in caught.value.hint
    kept, caveats = make_rows(lamps, REGRESSION, bad_rows="drop")
    assert kept.numbers.tolist() == list(range(1, 26)) and len(caveats) == 3
    assert kept.targets.dtype == np.float64


@pytest.mark.parametrize(
    ("rows", "bad", "left_out"), [(40, 2, True), (40, 3, False), (900, 45, True), (900, 46, False)]
)
def test_few_bad_rows_are_left_out_and_said(rows: int, bad: int, left_out: bool) -> None:
    """One empty cell in 13,000 stopped a study."""
    lamps = table(title=titles(rows), y=[None] * bad + [str(i) for i in range(rows - bad)])
    if left_out:
        kept, caveats = make_rows(lamps, REGRESSION)
        said = f"Left out: column 'y' has {bad} missing values (rows 1"
        assert len(kept) == rows - bad and caveats[0].startswith(said)
    else:
        with pytest.raises(InputError, match=rf"In all, {bad} of {rows:,} rows \({100 * bad / rows:.3g} %\)"):
            make_rows(lamps, REGRESSION)
    with pytest.raises(InputError, match=f"has {bad} missing values"):
        make_rows(lamps, REGRESSION, bad_rows="refuse")
    assert len(make_rows(lamps, REGRESSION, bad_rows="drop")[0]) == rows - bad


def test_nan_in_the_target_is_missing() -> None:
    with pytest.raises(InputError, match=r"column 'y' has 1 missing value \(row 1\)"):
        make_rows(table(title=titles(30), y=[float("nan"), *map(float, range(29))]), REGRESSION, bad_rows="refuse")


def test_a_class_with_one_row_is_named_or_left_out() -> None:
    lamps = table(title=titles(31), y=["a", "b"] * 15 + ["rare"])
    with pytest.raises(InputError, match=r"1 class with a single row \(row 31: 'rare'\)") as caught:
        make_rows(lamps, CLASSES, bad_rows="refuse")
    assert "merge them" in caught.value.hint
    kept, caveats = make_rows(lamps, CLASSES, bad_rows="drop")
    assert set(kept.targets) == {"a", "b"} and "'rare'" in caveats[0]


def test_labels_stay_as_they_are() -> None:
    kept, _ = make_rows(table(title=titles(30), y=["a", " a", "A"] * 10), CLASSES)
    assert set(kept.targets) == {"a", " a", "A"}
    several = replace(CLASSES, multi_label=True, separator="|")
    kept, _ = make_rows(table(title=titles(30), y=["b|a", "c", "a"] * 10), several)
    assert kept.targets[:2].tolist() == [("a", "b"), ("c",)]


def test_too_little_to_learn_from_is_refused() -> None:
    with pytest.raises(InputError, match="19 of 19 rows can be used, but at least 20 are needed"):
        make_rows(table(title=titles(19), y=range(19)), REGRESSION)
    with pytest.raises(InputError, match="is 'a' in every usable row"):
        make_rows(table(title=titles(25), y=["a"] * 24 + ["b"]), CLASSES, bad_rows="drop")


# --- splits --------------------------------------------------------------------------------------------------------


def test_sizes_and_strata() -> None:
    splits = split(rows_of(titles(1000), ["a", "b", "b", "b", "c"] * 200), CLASSES)
    assert [len(part) for part in parts(splits)] == [700, 100, 200]
    for part, share in zip(parts(splits), (0.7, 0.1, 0.2), strict=True):
        assert abs(Counter(part.targets)["a"] - 200 * share) <= 1
    large = split(rows_of(titles(20_000), [float(i) for i in range(20_000)]), REGRESSION)
    assert [len(part) for part in parts(large)] == [16_000, 1000, 3000]
    assert all(abs(np.median(part.targets) - 10_000) < 600 for part in parts(large))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from("aabbbbc")), min_size=20, max_size=120),
    st.booleans(),
    st.randoms(),
)
def test_any_table_is_cut_cleanly(drawn: list[tuple[int, str]], numeric: bool, generator: object) -> None:
    keys = [f"group {key}" for key, _ in drawn]
    targets: list[object] = [float(ord(label)) if numeric else label for _, label in drawn]
    rows, schema = rows_of(keys, targets), REGRESSION if numeric else CLASSES
    if len(set(keys)) < 3:
        with pytest.raises(InputError, match="cannot be divided into three parts"):
            split(rows, schema)
        return
    splits = split(rows, schema)
    assert sorted(n for part in parts(splits) for n in part.numbers.tolist()) == list(range(1, len(rows) + 1))
    assert all(len(part) for part in parts(splits))
    sides = [set(part.keys) for part in parts(splits)]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    order = list(range(len(rows)))
    generator.shuffle(order)  # type: ignore[attr-defined]
    again = split(rows.take(np.array(order)), schema)
    assert again.fingerprint == splits.fingerprint
    assert [set(part.numbers.tolist()) for part in parts(again)] == [set(p.numbers.tolist()) for p in parts(splits)]


def test_exact_copies_and_groups_stay_together() -> None:
    lamps = table(title=[f"lamp {i // 3}" for i in range(300)], y=[i // 3 for i in range(300)])
    rows, _ = make_rows(lamps, REGRESSION)
    sides = [set(part.texts) for part in parts(split(rows, REGRESSION))]
    assert sum(map(len, sides)) == 100
    grouped = table(title=titles(300), y=range(300), shop=[f"shop {i % 40}" for i in range(300)])
    rows, _ = make_rows(grouped, replace(REGRESSION, group="shop"))
    assert len(set(rows.keys)) == 40
    sides = [set(part.keys) for part in parts(split(rows, REGRESSION))]
    assert sum(map(len, sides)) == 40


def test_every_class_of_two_rows_keeps_one_for_training() -> None:
    labels: list[object] = [f"class {i // 2}" for i in range(200)]
    splits = split(rows_of(titles(200), labels), CLASSES)
    assert set(splits.train.targets) == set(labels) and len(splits.test) == 40


def test_a_giant_group_never_swallows_the_test_part() -> None:
    keys = ["giant"] * 800 + [f"small {i}" for i in range(200)]
    splits = split(rows_of(keys, [float(i % 17) for i in range(1000)]), REGRESSION)
    assert set(splits.train.keys) >= {"giant"} and 100 <= len(splits.test) <= 200


def test_three_groups_make_three_parts_and_two_are_refused() -> None:
    three = split(rows_of(["a", "b", "c"] * 10, [float(i) for i in range(30)]), REGRESSION)
    assert [len(part) for part in parts(three)] == [10, 10, 10]
    uneven = split(rows_of(["a"] * 20 + ["b", "c"], ["x"] * 22), CLASSES)
    assert [len(part) for part in parts(uneven)] == [20, 1, 1]
    with pytest.raises(InputError, match="column 'shop', the group, has only 2 different values"):
        split(rows_of(["a", "b"] * 15, [float(i) for i in range(30)]), replace(REGRESSION, group="shop"))


def test_subsets_are_nested_and_drawn_anew_for_each_seed() -> None:
    splits = split(rows_of(titles(1000), [float(i) for i in range(1000)]), REGRESSION)
    small, large = splits.subset(100, seed=0), splits.subset(300, seed=0)
    assert large.train.numbers[:100].tolist() == small.train.numbers.tolist()
    assert small.test is splits.test and small.val is splits.val
    other = splits.subset(100, seed=1)
    assert len(set(other.train.numbers) & set(small.train.numbers)) < 40
    everything = splits.subset(10**6, seed=0)
    assert sorted(everything.train.numbers) == sorted(splits.train.numbers)
    with pytest.raises(UsageError, match="0 training rows"):
        splits.subset(0, seed=0)


def test_the_fingerprint_changes_with_content() -> None:
    rows = rows_of(titles(100), [float(i) for i in range(100)])
    other = replace(rows, texts=("another", *rows.texts[1:]))
    assert split(rows, REGRESSION).fingerprint != split(other, REGRESSION).fingerprint
    assert len(split(rows, REGRESSION).fingerprint) == 16


def test_another_process_cuts_the_same() -> None:
    code = (
        "import numpy as np; from warmstart.data.rows.split import Rows, split;"
        "from warmstart.data.schema.schema import Schema;"
        "s = Schema('regression', 'y', ('t',), False, None, {}, 'linear', False, None); n = np.arange(1, 101);"
        "r = Rows(tuple(f'text {i}' for i in n), n - 1.0, n, tuple(f'lamp {i}' for i in n - 1));"
        "print(split(r, s).fingerprint)"
    )
    prints = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "src"},
            capture_output=True,
            check=True,
        ).stdout.decode()
        for seed in "12"
    ]
    expected = split(rows_of(titles(100), [float(i) for i in range(100)]), REGRESSION).fingerprint
    assert prints == [f"{expected}\n"] * 2


def test_35_000_rows_are_cut_quickly() -> None:
    rows = rows_of(titles(35_000), [f"class {i % 57}" for i in range(35_000)])
    start = time.process_time()
    split(rows, CLASSES).subset(4000, seed=0)
    assert time.process_time() - start < 2
