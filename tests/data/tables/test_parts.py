"""Parts: is a large file read in parts as it is read whole, and predicted without holding it?"""

import csv
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli_base import call
from warmstart.data.tables import parts as streaming
from warmstart.data.tables.parts import TableParts, parts_of
from warmstart.data.tables.read import read_table
from warmstart.errors import InputError

ROWS = 50
COLUMNS: dict[str, list[Any]] = {
    "title": [f'a "{i}", chair\nof oak' for i in range(ROWS)],
    "late": [None] * 30 + list(range(20)),  # a number that is missing in the first parts
    "mixed": [*range(40), *(f"{i}x" for i in range(10))],  # a text whose first parts are numbers
    "fraction": [*range(35), *(i + 0.5 for i in range(15))],
    "code": [f"{i:03}" for i in range(ROWS)],
}


def write(path: Path, columns: dict[str, list[Any]] = COLUMNS) -> Path:
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if path.suffix == ".parquet":
        typed = {name: values if name != "mixed" else list(map(str, values)) for name, values in columns.items()}
        pq.write_table(pa.table({n: pa.array(v) for n, v in typed.items()}), path, row_group_size=7)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(columns), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "LARGE_FILE", 1)
    monkeypatch.setattr(streaming, "PART_ROWS", 8)


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.jsonl", "x.parquet"])
def test_parts_are_the_whole(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name)
    whole, parts = read_table(path), list(TableParts(path))
    assert len(parts) > 5 and max(part.columns.num_rows for part in parts) <= 8
    together = pa.concat_tables([part.columns for part in parts])
    assert together.schema == whole.columns.schema and together.to_pylist() == whole.columns.to_pylist()
    assert parts[3].where(1) == f"row {parts[3].before + 1}" and parts[3].rows([1]) == parts[3].where(1)
    for column in COLUMNS:
        cells = [cell for part in parts for cell in part.as_written(column).to_pylist()]
        assert cells == whole.as_written(column).to_pylist()


def test_only_large_files_of_known_layouts_are_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parts_of([str(write(tmp_path / "x.csv"))]) is not None
    (tmp_path / "array.jsonl").write_text('[{"a": 1}]')
    for names in (["x.xlsx"], ["x.csv", "x.csv"], ["none.csv"], ["array.jsonl"]):
        assert parts_of([str(tmp_path / name) for name in names]) is None
    monkeypatch.setattr(streaming, "LARGE_FILE", 1 << 20)
    assert parts_of([str(tmp_path / "x.csv")]) is None


def test_a_broken_row_is_named_as_ever(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl")
    with path.open("a") as file:
        file.write("{broken\n")
    with pytest.raises(InputError, match="row 51"):
        list(TableParts(path))


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "PART_ROWS", 500)
    peaks = []
    for count in (2_000, 20_000):
        path = tmp_path / f"{count}.jsonl"
        with path.open("w") as file:
            file.writelines(json.dumps({"title": f"{i} chair" * 20, "x": i}) + "\n" for i in range(count))
        tracemalloc.start()
        assert sum(part.columns.num_rows for part in TableParts(path)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fitted")
    columns = {"title": [f"{c} {t}" for c in ("red", "blue") for t in range(30)], "price": list(range(60))}
    data = write(folder / "train.csv", columns)
    assert call("fit", data, "--target", "price", "--regime", "linear", "--out", folder / "run", "--no-log").code == 0
    return folder / "run"


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "xlsx"])
@pytest.mark.parametrize("kept", [(), ("--keep-columns",), ("--id", "code")])
def test_predictions_of_parts_are_those_of_the_whole(
    ending: str, kept: tuple[str, ...], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write(tmp_path / "new.csv", COLUMNS | {"title": ["" if i == 33 else f"red {i}" for i in range(ROWS)]})
    streamed = call("predict", run, data, "--out", tmp_path / f"parts.{ending}", *kept)
    assert streamed.code == 0 and "row 34: there is nothing to read" in streamed.err
    monkeypatch.setattr(streaming, "LARGE_FILE", 1 << 30)
    assert call("predict", run, data, "--out", tmp_path / f"whole.{ending}", *kept).code == 0
    if ending in ("csv", "jsonl"):
        assert (tmp_path / f"parts.{ending}").read_text() == (tmp_path / f"whole.{ending}").read_text()
    parts, whole = (read_table(tmp_path / f"{name}.{ending}").columns for name in ("parts", "whole"))
    assert parts.to_pylist() == whole.to_pylist() and parts.num_rows == ROWS
    if kept:
        assert parts.column_names[0] == ("title" if kept[0] == "--keep-columns" else "code")


def test_a_sheet_takes_no_text_for_a_formula(tmp_path: Path) -> None:
    from warmstart.inference.prediction_files import write_predictions

    rows = iter(
        [{"row": 1, "prediction": "=1+1", "x": 0.1}, {"row": 2, "prediction": "http://a.b", "x": 12345678901234567}]
    )
    write_predictions(rows, tmp_path / "x.xlsx")
    found = read_table(tmp_path / "x.xlsx").columns.to_pylist()
    assert [row["prediction"] for row in found] == ["=1+1", "http://a.b"]
    assert str(found[1]["x"]) == "12345678901234567"
