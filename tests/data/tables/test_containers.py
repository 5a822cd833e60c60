"""Is one table the same table in whatever it is packed, and is nothing unpacked that could fill a disk?"""

import bz2
import gzip
import io
import json
import lzma
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from tests.workbook import write_workbook
from warmstart.data.tables import compressed
from warmstart.data.tables.in_memory import table_of
from warmstart.data.tables.read import read_table
from warmstart.errors import InputError, MissingError, UsageError, WarmstartError

FRAME = pd.DataFrame({"text": [f"lamp number {i}, old" for i in range(30)], "label": [i % 3 for i in range(30)]})
ROWS: list[dict[str, Any]] = FRAME.to_dict("records")
CSV = FRAME.to_csv(index=False)


def json_file(value: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "a.json").write_text(value if isinstance(value, str) else json.dumps(value))
        return folder / "a.json"

    return write


def packed(name: str, pack: Callable[[bytes], bytes], content: str = CSV) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(pack(content.encode()))
        return folder / name

    return write


def zipped(**files: str) -> Callable[[bytes], bytes]:
    def pack(content: bytes) -> bytes:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in files.items() or [("inner/a.csv", content.decode())]:
                archive.writestr(name, text)
        return made.getvalue()

    return pack


def zstd(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)


def excel(folder: Path, sheets: "dict[str, list[list[object]]] | None" = None) -> Path:
    return write_workbook(folder / "a.xlsx", sheets or {"data": [list(FRAME.columns), *FRAME.values.tolist()]})


def sqlite(folder: Path, more: str = "") -> Path:
    with sqlite3.connect(folder / "a.db") as connection:
        connection.execute("CREATE TABLE products (text TEXT, label INTEGER)")
        connection.executemany("INSERT INTO products VALUES (?, ?)", [tuple(row.values()) for row in ROWS])
        connection.executescript(more)
    connection.close()
    return folder / "a.db"


def saved(folder: Path) -> Path:
    """As `Dataset.save_to_disk` writes: two files, whose order the state tells."""
    (folder / "saved").mkdir()
    table, names = pa.Table.from_pylist(ROWS), ("data-1.arrow", "data-0.arrow")
    for name, part in zip(names, (table.slice(0, 12), table.slice(12)), strict=True):
        with pa.ipc.new_stream(folder / "saved" / name, table.schema) as stream:
            stream.write_table(part)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "x", "_split": "train"}
    (folder / "saved" / "state.json").write_text(json.dumps(state))
    (folder / "saved" / "dataset_info.json").write_text("{}")
    return folder / "saved"


def saved_splits(folder: Path) -> Path:
    (folder / "splits").mkdir()
    saved(folder / "splits").rename(folder / "splits" / "train")
    (folder / "splits" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    return folder / "splits"


READ: dict[str, Callable[[Path], Path]] = {
    **{orient: json_file(FRAME.to_json(orient=orient)) for orient in ("columns", "split", "index", "records", "table")},
    "pretty": json_file(json.dumps(json.loads(FRAME.to_json()), indent=2)),
    "lists": json_file(FRAME.to_dict("list")),
    "data": json_file({"version": 1, "data": ROWS}),
    "pretty data": json_file(json.dumps({"data": ROWS}, indent=1)),
    "index of names": json_file({f"row {i}": row for i, row in enumerate(ROWS)}),
    "columns of names": json_file({c: {f"row {i}": row[c] for i, row in enumerate(ROWS)} for c in ("text", "label")}),
    "gz": packed("a.csv.gz", gzip.compress),
    "GZ": packed("a.CSV.GZ", gzip.compress),
    "bz2": packed("a.csv.bz2", bz2.compress),
    "xz": packed("a.csv.xz", lzma.compress),
    "zst": packed("a.csv.zst", zstd),
    "zip": packed("a.zip", zipped()),
    "zip beside notes": packed("a.csv.zip", zipped(**{"README.md": "x", "__MACOSX/._a.csv": "x", "a.csv": CSV})),
    "json gz": packed("a.json.gz", gzip.compress, FRAME.to_json()),
    "excel": excel,
    "sqlite": sqlite,
    "saved": saved,
    "saved splits": saved_splits,
}


@pytest.mark.parametrize("kind", READ)
def test_one_table_in_every_container_is_the_same_table(tmp_path: Path, kind: str) -> None:
    """Cases 30, 31 and 36, and all others of their kind."""
    if kind == "excel":
        pytest.importorskip("python_calamine")
    found = read_table(READ[kind](tmp_path))
    assert found.columns.to_pylist() == ROWS
    assert found.columns.schema.types == [pa.large_string(), pa.int64()]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.zip"])
def test_cells_are_kept_as_written_in_compressed_csv_files_too(tmp_path: Path, name: str) -> None:
    content = b"version,price\n1.10,1\n1.9,2\n"
    pack = {"a.csv": bytes, "a.csv.gz": gzip.compress, "a.zip": zipped(**{"t.csv": content.decode()})}[name]
    (tmp_path / name).write_bytes(pack(content))
    table = read_table(tmp_path / name)
    assert table.columns["version"].to_pylist() == [1.1, 1.9]
    assert table.as_written("version").to_pylist() == ["1.10", "1.9"]


def test_what_was_left_in_a_container_is_said(tmp_path: Path) -> None:
    (note,) = read_table(READ["data"](tmp_path)).notes
    assert note == "a.json: The rows are written as a list under the key 'data'; not read: 'version'."
    pytest.importorskip("python_calamine")
    book = excel(tmp_path, {"notes": [], "data": [["a", "b"], ["x", 1.5], ["y", None]], "old": [["a"], [1]]})
    found = read_table(book)
    assert found.columns.to_pylist() == [{"a": "x", "b": 1.5}, {"a": "y", "b": None}]
    assert found.notes == ("a.xlsx: The sheet 'data' is read; not read: 'old'.",)


def test_a_folder_reads_its_tables_before_its_compressed_ones(tmp_path: Path) -> None:
    READ["gz"](tmp_path)
    assert read_table(tmp_path).columns.num_rows == 30
    (tmp_path / "a.csv").write_text(CSV)
    found = read_table(tmp_path)
    assert found.columns.num_rows == 30
    assert found.notes == ("Compressed files beside tables of the folder are not read: a.csv.gz.",)


REFUSED: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "values": (json_file(FRAME.to_json(orient="values")), "expected an object", "orient='records'"),
    "two lists": (json_file({"train": ROWS, "test": ROWS}), "several lists of objects: 'train', 'test'", "one of them"),
    "split of odd rows": (json_file({"columns": ["a"], "data": [[1], [2, 3]]}), "row 2 is no list of 1 cells", "again"),
    "split, names twice": (json_file({"columns": ["a", "a"], "data": [[1, 2]]}), "called 'a'", "rename"),
    "two tables": (packed("a.zip", zipped(**{"a.csv": CSV, "b.csv": CSV})), "2 tables: 'a.csv', 'b.csv'", "unpack it"),
    "no table": (packed("a.zip", zipped(**{"a.exe": "x"})), "no table that can be read, but 'a.exe'", "unpack it"),
    "not gzip": (packed("a.csv.gz", lambda content: content), "cannot be unpacked", "pack it again"),
    "half": (packed("a.csv.gz", lambda content: gzip.compress(content)[:-20]), "cannot be unpacked", "pack it again"),
    "half of zst": (packed("a.csv.zst", lambda content: zstd(content)[:40]), "cannot be unpacked", "pack it again"),
    "not zip": (packed("a.zip", lambda content: content), "no zip file", "pack it again"),
    "broken inside": (
        packed("a.csv.gz", gzip.compress, "a,b\n1,2\n3\n"),
        "csv.gz: the header has 2",
        "quote",
    ),
    "unknown inside": (packed("a.exe.gz", gzip.compress), "ending in '.exe.gz'", "unpack it"),
    "tar": (packed("a.tar", lambda content: content), "ending in '.tar'", "unpack it"),
    "tar.gz": (packed("a.tar.gz", gzip.compress), "ending in '.tar.gz'", "unpack it"),
    "no database": (packed("a.sqlite", lambda content: content), "no SQLite database", "how it was written"),
    "two in a database": (lambda f: sqlite(f, "CREATE TABLE b (x)"), "2 tables: 'b', 'products'", "--table"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_named_with_its_remedy(tmp_path: Path, kind: str) -> None:
    write, said, remedy = REFUSED[kind]
    with pytest.raises(WarmstartError) as caught:
        read_table(write(tmp_path))
    assert said in caught.value.message and remedy in caught.value.hint
    assert "warmstart-" not in caught.value.message  # the folder that it was unpacked to


def test_a_table_of_a_database_is_named(tmp_path: Path) -> None:
    path = sqlite(tmp_path, "CREATE TABLE b (x, y BLOB); INSERT INTO b VALUES (1, x'00')")
    assert read_table(path, table="products").columns.to_pylist() == ROWS
    assert read_table(path, table="b").columns.to_pylist() == [{"x": 1, "y": b"\0"}]
    with pytest.raises(UsageError, match=r"no table 'product'.*\nhint: did you mean 'products'"):
        read_table(path, table="product")
    (tmp_path / "a.csv").write_text(CSV)
    with pytest.raises(UsageError, match="is no database"):
        read_table(tmp_path / "a.csv", table="b")


def test_a_database_cannot_make_cells_that_it_does_not_hold(tmp_path: Path) -> None:
    more = "CREATE TABLE big (x, y TEXT GENERATED ALWAYS AS (zeroblob(500000000))); INSERT INTO big (x) VALUES (1)"
    with pytest.raises(InputError, match="cannot be read"):
        read_table(sqlite(tmp_path, more), table="big")


BOMB = b"text,label\n" + b"a,1\n" * (20 << 20)


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv.bz2", "a.csv.xz", "a.csv.zst", "a.zip"])
def test_a_bomb_is_refused_while_it_unpacks(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed, "FREE_BYTES", 1 << 20)
    content = BOMB[: 8 << 20]
    packers: dict[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.compress,
        ".bz2": bz2.compress,
        ".xz": lzma.compress,
        ".zst": zstd,
        ".zip": zipped(),
    }
    (tmp_path / name).write_bytes(packers[Path(name).suffix](content))
    with pytest.raises(InputError, match=r"unpacks to more than [\d,]+ bytes") as caught:
        read_table(tmp_path / name)
    assert "unpack it yourself" in caught.value.hint


def test_no_name_in_an_archive_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    path = packed("inner/a.zip", zipped(**{"../../outside.csv": CSV}))(tmp_path)
    assert read_table(path).columns.num_rows == 30
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["a.zip", "inner"]
    folder = saved(tmp_path)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../inner/a.zip"}]}))
    with pytest.raises(InputError, match="lists no files of its folder"):
        read_table(folder)


def test_a_sheet_that_spans_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("python_calamine")
    path = excel(tmp_path)
    content = zipfile.ZipFile(path).read("xl/worksheets/sheet1.xml").decode()
    for cell in ('<row><c r="XFD1048576"><v>1</v></c></row>', '<row r="1048576">' + "<c><v>1</v></c>" * 40 + "</row>"):
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as new:
            for name in old.namelist():
                changed = content.replace("</sheetData>", f"{cell}</sheetData>")
                new.writestr(name, changed if name.endswith("sheet1.xml") else old.read(name))
        with pytest.raises(InputError, match="a sheet spans 1,048,576 rows"):
            read_table(tmp_path / "b.xlsx")


def test_excel_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(MissingError, match=r"warmstart\[excel\]"):
        read_table(excel(tmp_path))


def test_a_glob_below_a_folder_with_brackets(tmp_path: Path) -> None:
    (tmp_path / "data [v1]").mkdir()
    (tmp_path / "data [v1]" / "a [1].csv").write_text(CSV)
    (tmp_path / "data [v1]" / "b.csv").write_text(CSV)
    assert read_table(str(tmp_path / "data [v1]" / "*.csv")).columns.num_rows == 60
    assert read_table(str(tmp_path / "data [v1]" / "b*.csv")).columns.num_rows == 30
    assert read_table(str(tmp_path / "data [v1]" / "a [1].csv")).columns.num_rows == 30


WORD = st.text(st.sampled_from("abcäß ,;|'\"\t\n-=\U0001f600"), max_size=10).map(lambda text: f"w{text}w")
SAME = st.lists(st.tuples(WORD, st.integers(-(10**6), 10**6), st.sampled_from(["pos", "neg"])), min_size=3, max_size=12)


@settings(max_examples=60, deadline=None)
@hypothesis.given(SAME)
def test_the_same_rows_are_the_same_table_in_every_format(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, str]]
) -> None:
    folder = tmp_path_factory.mktemp("same")
    frame = pd.DataFrame(rows, columns=["text", "n", "label"])
    frame.to_csv(folder / "a.csv", index=False)
    frame.to_csv(folder / "a.tsv", index=False, sep="\t")
    frame.to_csv(folder / "b.csv.gz", index=False)
    frame.to_json(folder / "a.json")
    frame.to_json(folder / "a.jsonl", orient="records", lines=True)
    frame.to_parquet(folder / "a.parquet")
    expected = table_of(frame).columns
    assert expected.to_pylist() == frame.to_dict("records")
    for file in folder.iterdir():
        try:
            assert read_table(file).columns.equals(expected), file.name
        except InputError as error:
            assert "look like rows" in error.message, file.name


@pytest.mark.parametrize(
    "write, said",
    [
        (packed("a.gz", gzip.compress), "compressed with gzip"),
        (packed("a.zip", zipped()), "an Excel workbook or a zip archive"),
        (packed("a.zst", zstd), "compressed with zstd"),
        (excel, "an Excel workbook or a zip archive"),
        (sqlite, "a SQLite database"),
    ],
)
def test_another_format_under_the_name_of_a_csv_file_is_named(
    write: Callable[[Path], Path], said: str, tmp_path: Path
) -> None:
    """It was said to be in an encoding that `iconv` could convert."""
    write(tmp_path).rename(tmp_path / "b.csv")
    with pytest.raises(InputError, match=f"is {said}, whatever its name says"):
        read_table(tmp_path / "b.csv")


def test_a_sheet_of_one_line_is_no_table(tmp_path: Path) -> None:
    pytest.importorskip("python_calamine")
    rows = [["text", "label"], ["a", 1], ["b", 2]]
    found = read_table(excel(tmp_path, {"notes": [["made in May"]], "data": rows}))
    assert found.columns.num_rows == 2 and "The sheet 'data' is read; not read: 'notes'." in found.notes[0]
