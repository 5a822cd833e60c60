"""Is the index of pandas known as what it is, whatever a file made of it?"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import ColumnChoices
from warmstart.data.tables.in_memory import table_of
from warmstart.data.tables.read import Table, read_table

N = 60
ORDER = np.random.default_rng(0).permutation(N)
WORDS = ["red", "blue", "old", "new", "lamp", "chair", "table", "rug"]
FRAME = pd.DataFrame({
    "text": [" ".join(WORDS[(i * k) % 8] for k in (1, 3, 5, 6)) + f" {WORDS[i % 7]}" for i in range(N)],
    "label": ["pos" if i % 3 else "neg" for i in range(N)],
})  # fmt: skip
SHUFFLED = FRAME.iloc[ORDER]


def written(frame: pd.DataFrame, name: str = "a.csv", **how: Any) -> Callable[[Path], Table]:
    def read(folder: Path) -> Table:
        if name.endswith(".parquet"):
            frame.to_parquet(folder / name, **how)
        elif name.endswith(".json"):
            frame.to_json(folder / name, **how)
        else:
            frame.to_csv(folder / name, **how)
        return read_table(folder / name)

    return read


def again(times: int) -> Callable[[Path], Table]:
    """Written with its index and read without saying so, again and again."""

    def read(folder: Path) -> Table:
        frame = SHUFFLED
        for _ in range(times):
            frame.to_csv(folder / "a.csv")
            frame = pd.read_csv(folder / "a.csv")
        return table_of(frame)

    return read


DISGUISES: dict[str, Callable[[Path], Table]] = {
    "shuffled": written(SHUFFLED),  # case 09
    "rising": written(FRAME),
    "some rows": written(FRAME[FRAME.index % 2 == 0]),
    "some rows, shuffled": written(SHUFFLED[SHUFFLED.index % 2 == 0]),
    "tables put together": written(pd.concat([FRAME[:30], FRAME[:30]])),
    "Unnamed: 0": again(1),
    "Unnamed: 0.1": again(2),
    "reset_index": written(SHUFFLED.reset_index(), index=False),
    "from one": written(SHUFFLED.assign(row=ORDER + 1), index=False),
    "a number in any order": written(SHUFFLED.assign(nr=np.argsort(ORDER)), index=False),
    "Parquet": written(SHUFFLED, "a.parquet"),
    "orient split": written(SHUFFLED, "a.json", orient="split"),
    "orient columns": written(SHUFFLED, "a.json", orient="columns"),
    "a DataFrame": lambda folder: table_of(SHUFFLED),
    "fractions": written(SHUFFLED.set_index(SHUFFLED.index.astype(float))),
}


@pytest.mark.parametrize("kind", DISGUISES)
def test_a_column_that_only_names_rows_is_left_out_and_said(tmp_path: Path, kind: str) -> None:
    table = DISGUISES[kind](tmp_path)
    schema = infer_schema(table, ColumnChoices("label"))
    assert schema.text == ("text",)
    assert all("names the row" in why for why in schema.ignored.values())
    extra = set(table.columns.column_names) - {"text", "label"}
    assert set(schema.ignored) == extra and all(repr(name) in " ".join(schema.notes) for name in extra)


@pytest.mark.parametrize(
    "numbers",
    [
        [i % 7 for i in range(N)],  # they recur
        [(i * 7919) % 1000 for i in range(N)],  # quantities
        [i * i for i in ORDER],
        [0, 0, *range(58)],
    ],
)
def test_numbers_that_say_something_are_read(numbers: list[int]) -> None:
    table = table_of(FRAME.assign(stock=np.array(numbers, dtype=np.int64)))
    assert infer_schema(table, ColumnChoices("label")).text == ("text", "stock")


def test_what_is_asked_for_is_read() -> None:
    table = table_of(FRAME.assign(row=ORDER))
    assert infer_schema(table, ColumnChoices("label", ("text", "row"))).text == ("text", "row")
