"""Every format gives the same table, and every broken file one message that names the place."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from warmstart.data.tables.read import read_table
from warmstart.errors import InputError, MissingError

ROWS = [{"title": "red lamp", "price": 12.5, "stock": 3}, {"title": "blue\nlamp", "price": None, "stock": 4}]


def write(folder: Path, name: str) -> Path:
    path, table = folder / name, pa.Table.from_pylist(ROWS)
    match path.suffix:
        case ".csv":
            path.write_text('title,price,stock\nred lamp,12.5,3\n"blue\nlamp",,4\n')
        case ".tsv":
            path.write_text('title\tprice\tstock\nred lamp\t12.5\t3\n"blue\nlamp"\tNA\t4\n')
        case ".parquet":
            pq.write_table(table, path)
        case ".feather":
            feather.write_feather(table, path)
        case ".arrow":
            with pa.ipc.new_stream(path, table.schema) as stream:
                stream.write_table(table)
        case _:
            path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "ndjson", "json", "parquet", "feather", "arrow"])
def test_every_format_gives_the_same_table(tmp_path: Path, ending: str) -> None:
    table = read_table(write(tmp_path, f"lamps.{ending}"))
    assert table.columns.to_pylist() == ROWS
    assert table.columns.schema.types == [pa.large_string(), pa.float64(), pa.int64()]
    assert table.ends == (2,) and table.where(2) == "row 2"


def test_several_files_a_folder_and_a_glob_are_one_table(tmp_path: Path) -> None:
    paths = [write(tmp_path, "a.csv"), write(tmp_path, "b.jsonl")]
    (tmp_path / "notes.txt").write_text("not a table")
    for source in (paths, tmp_path, str(tmp_path / "?.*")):
        table = read_table(source)
        assert table.columns.num_rows == 4 and table.ends == (2, 4)
        assert table.where(2) == "row 2 of a.csv" and table.where(3) == "row 1 of b.jsonl"
    assert read_table([paths[0], paths[0]]).rows([1, 2, 3, 4], limit=2) == "row 1 of a.csv, row 2 of a.csv and 2 more"


def test_types_of_several_files_are_promoted_or_refused(tmp_path: Path) -> None:
    texts = {"a.csv": "x,y\n1,1\n", "b.csv": "y,x\nhigh,2.5\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    assert read_table(tmp_path).columns.to_pydict() == {"x": [1.0, 2.5], "y": ["1", "high"]}
    (tmp_path / "c.jsonl").write_text('{"x": 1, "y": ["a"]}\n')
    with pytest.raises(InputError, match=r"c.jsonl: column 'y' is of type list.*in .*a.csv"):
        read_table(tmp_path)
    (tmp_path / "c.jsonl").write_text('{"x": 1, "z": 2}\n')
    with pytest.raises(InputError, match="have different columns: 'y', 'z'"):
        read_table(tmp_path)


def test_csv_cells_keep_what_a_guess_would_lose(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "\ufeff, code,big,hex,day,flag,bad,n\n"
        "0,007,99999999999999999999,0x10,2024-01-02,True,1,+5\n"
        "1,010,1,0x11,2024-01-03,False,n.a., -6 \n"
    )
    columns = read_table(path).columns
    assert columns.to_pylist()[0] == {
        "column 1": 0, "code": "007", "big": "99999999999999999999", "hex": "0x10",
        "day": "2024-01-02", "flag": "True", "bad": "1", "n": 5,
    }  # fmt: skip
    assert columns["n"].to_pylist() == [5, -6]


def test_semicolons_are_recognized(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x;y\n3,5;lamp\n")
    assert read_table(tmp_path / "a.csv").columns.to_pydict() == {"x": ["3,5"], "y": ["lamp"]}


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_delimiter_is_what_cuts_all_rows_alike(delimiter: str, tmp_path: Path) -> None:
    lines = ["id;title, brand;text;price", "1;lamp;nice, and, red;3", '2;"a; lamp, old";;4', "3;rug;worn;5"]
    (tmp_path / "a.csv").write_text("\n".join(lines[:2] + lines[3:]).replace(";", delimiter))
    assert read_table(tmp_path / "a.csv").columns.column_names == ["id", "title, brand", "text", "price"]
    (tmp_path / "b.csv").write_text("\n".join(lines))
    assert read_table(tmp_path / "b.csv").columns["title, brand"].to_pylist() == ["lamp", "a; lamp, old", "rug"]
    (tmp_path / "c.csv").write_text("title,price|unit\nlamp|rug,3\n")
    assert read_table(tmp_path / "c.csv").columns.column_names == ["title", "price|unit"]


def test_files_that_other_programs_write_are_told_what_to_do(tmp_path: Path) -> None:
    for name, hint in {
        "a.ods": r"save the sheet as .xlsx, CSV \(UTF-8\)",
        "a.HEIC": "of images, PNG, JPEG",
    }.items():
        (tmp_path / "folder").mkdir(exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(b"PK")
        for source in (tmp_path / "folder" / name, tmp_path / "folder"):
            with pytest.raises(InputError, match=hint):
                read_table(source)
        (tmp_path / "folder" / name).unlink()


def test_json_values_of_mixed_kinds(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"n": 1, "mixed": 1, "tags": ["a", "b"], "nested": {"k": [1]}, "yes": true, "big": 12345678901234567890}\n'
        '{"n": 2.5, "mixed": "x", "tags": [], "day": "2024-01-02"}\n'
    )
    assert read_table(path).columns.to_pydict() == {
        "n": [1.0, 2.5],
        "mixed": ["1", "x"],
        "tags": [["a", "b"], []],
        "nested": ['{"k": [1]}', None],
        "yes": [True, None],
        "big": ["12345678901234567890", None],
        "day": [None, "2024-01-02"],
    }


def test_an_array_of_objects_is_read_as_its_lines_would_be(tmp_path: Path) -> None:
    rows = ['{"a": 1, "text": "x, [y]"}', '{"text": null,\n  "b": ["c"]}', '{"a": 2}']
    (tmp_path / "array.json").write_text("\ufeff\n [" + " ,\n".join(rows) + "\n]\n", encoding="utf-8")
    (tmp_path / "lines.jsonl").write_text("\n".join(row.replace("\n", "") for row in rows))

    assert read_table(tmp_path / "array.json").columns == read_table(tmp_path / "lines.jsonl").columns


BROKEN = [
    ("a.csv", b"", "is empty"),
    ("a.csv", b"\n \n", "nothing but blank space"),
    ("a.csv", b"title,price\n", "has columns (title, price) but no rows"),
    ("a.csv", b'a,b\n1,"x\n2,y\n3,z\n', "the quoting of row 1 (line 2) is broken"),
    ("a.csv", b'a,b\n1,x\n2,"y\n3,"z"\n', "the quoting of row 2 (line 3) is broken"),
    ("a.csv", b"a,b\n1,x\n2,y,8\n3\n", "the header has 2 columns, but row 2 (line 3) has 3, row 3 (line 4) has 1"),
    ("a.csv", b"a,b\n1,caf\xe9\n", "is not UTF-8: byte 9 (line 2) is 0xe9"),
    ("a.csv", "a,b\n1,2\n".encode("utf-16"), "UTF-16"),
    ("a.csv", b"a,b\n1,\0\n", "a NUL byte (line 2)"),
    ("a.csv", b"a,b, a\n1,2,3\n", "more than one column is called 'a'"),
    ("a.csv", b"a,b\n1,2\n2," + b"x" * 10_000_000 + b"\n", "row 2, column 'b' holds 10,000,000 bytes in one cell"),
    ("a.jsonl", b'{"b": "' + b"x" * 10_000_000 + b'"}', "row 1, column 'b' holds 10,000,000 bytes in one cell"),
    ("a.jsonl", b'{"a": 1}\n\n{"a": ', "row 2 (line 3) is not valid JSON"),
    ("a.jsonl", b'{"a": "b', "row 1 (line 1) is not valid JSON: Unterminated string starting at character 7"),
    ("a.json", b'[{"a": 1},\n {"a": 2', "row 2 (line 2) is not valid JSON"),
    ("b.json", b'[{"a": 1} {"a": 2}]', "row 1 (line 1) is followed by neither a comma"),
    ("c.json", b'[{"a": 1}] [{"a": 2}]', "after the end of the array stands"),
    ("d.json", b'[{"a": 1}, 7]', "row 2 (line 1) is 7, expected an object"),
    ("e.json", b'[{"a": 1},]', "row 2 (line 1) is not valid JSON"),
    ("f.json", b"[]", "but no rows"),
    ("a.jsonl", b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "row 1 (line 1) is nested too deeply"),
    ("a.jsonl", b'{"a": 1, "a": 2}', "the key 'a' occurs twice"),
    ("a.jsonl", b"[]\n".replace(b"[]", b"3"), "is 3, expected an object"),
    ("a.jsonl", b'{"a": ["x"]}\n{"a": "x"}', "column 'a' holds lists, but row 2 has 'x'"),
    ("a.jsonl", b'{"a": "\\ud800"}', "row 1, column 'a' holds half of a character"),
    ("a.jsonl", b'{"a": ' + b"9" * 5000 + b"}", "row 1 (line 1): Exceeds the limit"),
    ("a.parquet", b"PAR1 is how it begins, and that is all of it", "is not a Parquet file"),
    ("a.arrow", b"ARROW1\0\0 no more than this", "is not an Arrow file"),
    ("a.arrow", b"hello", "is not an Arrow file"),
    ("a.ods", b"PK", "files ending in '.ods' cannot be read"),
    ("a.xlsx", b"PK", "is no zip file"),
]


@pytest.mark.parametrize(("name", "content", "message"), BROKEN, ids=[m[:40] for _, _, m in BROKEN])
def test_broken_files_give_one_message_that_names_the_place(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_table(tmp_path / name)
    assert message in caught.value.message and caught.value.hint
    assert name in caught.value.message


def test_duplicate_columns_of_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="more than one column is called 'a'"):
        read_table(tmp_path / "a.parquet")


def test_what_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, "lamps.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"did you mean 'lamps\.csv'"):
        read_table(tmp_path / "lamp.csv")
    with pytest.raises(InputError, match="no file matches"):
        read_table(str(tmp_path / "*.parquet"))
    with pytest.raises(InputError, match="holds no file that can be read as a table"):
        read_table(tmp_path / "empty")
    with pytest.raises(InputError, match="does not exist either"):
        read_table("no/such/folder/lamps.csv")
    with pytest.raises(InputError, match="cannot be read: File name too long"):
        read_table("x" * 5000)


class FakeHub(ModuleType):
    """Stands for the package `datasets`."""

    exceptions = SimpleNamespace(DatasetsError=RuntimeError)

    def load_dataset(self, name: str, config: str | None, split: str) -> "FakeHub":
        if name != "org/lamps":
            raise FileNotFoundError(f"{name} doesn't exist")
        self.asked = (name, config, split)
        return self

    def with_format(self, kind: str) -> dict[slice, pa.Table] | list[object]:
        assert kind == "arrow"
        return Whole([pa.Table.from_pylist(ROWS)])


class Whole(list[pa.Table]):
    def __getitem__(self, index: object) -> pa.Table:
        return next(iter(self))


def test_a_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = FakeHub("datasets")
    monkeypatch.setitem(sys.modules, "datasets", hub)
    monkeypatch.chdir(tmp_path)
    table = read_table("org/lamps:small/validation")
    assert hub.asked == ("org/lamps", "small", "validation")
    assert table.columns.to_pylist() == ROWS and table.files == ("org/lamps:small/validation",)
    with pytest.raises(MissingError, match=r"could not be read from the hub.*doesn't exist"):
        read_table("org/lampz")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingError, match="pip install datasets"):
        read_table("org/lamps")
