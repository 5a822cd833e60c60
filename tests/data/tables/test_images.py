"""Images are read from folders, tables and MNIST's format, and stay inside their folder."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pictures import drawn, encoded, picture_table, save_folder
from warmstart.data.rows.split import make_rows, split
from warmstart.data.rows.usable_rows import find_usable_rows
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import ColumnChoices
from warmstart.data.tables.images import Images, read_images
from warmstart.data.tables.read import Table, read_table
from warmstart.errors import InputError, UsageError


def test_folders_are_classes(tmp_path: Path) -> None:
    table = read_table(save_folder(tmp_path, 30))
    schema = infer_schema(table, ColumnChoices())
    assert (schema.task, schema.target, schema.text) == ("classification", "label", ("image",))
    assert (schema.columns[0].kind, schema.columns[0].image_size) == ("image", 12)
    images = read_images(table, "image", 12)
    for row, path in enumerate(table.columns["image"].to_pylist()):
        pixels, color, _ = drawn(int(Path(path).stem))
        assert np.array_equal(images.at(np.array([row]))[0], pixels)
        assert table.columns["label"][row].as_py() == color


def test_a_folder_without_folders_has_no_labels(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(drawn(0)[0]))
    assert read_table(tmp_path).columns.column_names == ["image"]
    assert read_table(tmp_path / "a.png").columns["image"].to_pylist() == ["a.png"]


def test_a_few_text_files_beside_images_are_not_read_and_said(tmp_path: Path) -> None:
    folder = save_folder(tmp_path, 5)
    (folder / "LICENSE.txt").write_text("free")
    (folder / "README.md").write_text("photos")
    table = read_table(folder)
    assert table.columns.num_rows == 5
    assert table.target == "label"
    assert table.notes[-1] == "Not read, as they are no images: LICENSE.txt, README.md."
    for number in range(4):
        (folder / f"{number}.txt").write_text("a page")
    corpus = read_table(folder)
    assert corpus.documents
    assert len(corpus.skipped) == 5


def test_paths_in_a_table_are_relative_to_it_and_stay_inside(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    save_folder(folder / "photos", 3)
    (tmp_path / "secret.png").write_bytes(encoded(drawn(9)[0]))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    inside = sorted(str(path.relative_to(folder)) for path in folder.rglob("[0-9]*.png"))
    paths = [
        *inside,
        str(folder / inside[0]),
        "../secret.png",
        str(tmp_path / "secret.png"),
        "link.png",
        "no.png",
        "",
        "\0",
    ]
    pq.write_table(pa.table({"photo": paths}), folder / "table.parquet")
    images = read_images(read_table(folder / "table.parquet"), "photo", 12)
    names = list(images)
    assert names[3] == names[0] != ""
    assert names[4:] == [""] * 6
    assert {row: said.partition(" ")[2] for row, said in images.problems.items()} == {
        4: "lies outside the folder of the table",
        5: "lies outside the folder of the table",
        6: "lies outside the folder of the table",
        7: "is no file 'no.png'",
        9: "is no path of a file",
    }


def test_structs_and_bytes_in_parquet(tmp_path: Path) -> None:
    contents = [encoded(drawn(i)[0]) for i in range(4)]
    structs = [{"bytes": content, "path": "x.png"} for content in contents]
    pq.write_table(pa.table({"image": structs, "label": [0, 1, 0, 1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"image": pa.array(contents, pa.binary()), "label": [0, 1, 0, 1]}), tmp_path / "b.parquet")
    found = [read_images(read_table(tmp_path / name), "image", 12) for name in ("a.parquet", "b.parquet")]
    assert list(found[0]) == list(found[1])
    assert np.array_equal(found[0].at(np.arange(4)), np.stack([drawn(i)[0] for i in range(4)]))


def save_idx(folder: Path, rows: int, announced: int | None = None) -> Path:
    pixels = np.stack([drawn(i)[0][:, :, 0] for i in range(rows)])
    head = struct.pack(">IIII", 0x00000803, announced or rows, 12, 12)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + pixels.tobytes()))
    labels = struct.pack(">II", 0x00000801, rows) + bytes(i % 3 for i in range(rows))
    (folder / "train-labels-idx1-ubyte").write_bytes(labels)
    return folder / "train-images-idx3-ubyte.gz"


def test_mnist_files(tmp_path: Path) -> None:
    path = save_idx(tmp_path, 30)
    for source in (path, tmp_path):
        table = read_table(source)
        assert table.target == "label" and table.columns["label"].to_pylist()[:4] == [0, 1, 2, 0]
        assert "12 x 12" in table.notes[0]
        images = read_images(table, "image", 12)
        assert np.array_equal(images.at(np.array([5]))[0, :, :, 1], drawn(5)[0][:, :, 0])


@pytest.mark.parametrize("announced", [31, 29, 2**31], ids=["too short", "too long", "far too long"])
def test_mnist_files_that_do_not_hold_what_they_announce(announced: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train-images-idx3-ubyte"):
        read_table(save_idx(tmp_path, 30, announced))


def test_damaged_pictures_are_named_with_their_row_and_left_out(tmp_path: Path) -> None:
    save_folder(tmp_path, 60)
    (tmp_path / "blue" / "zero.png").touch()
    table = read_table(tmp_path)
    schema = infer_schema(table, ColumnChoices())
    rows, said = make_rows(table, schema)
    assert len(rows) == 60
    assert "blue/zero.png): it is empty (0 bytes)" in said[0] and "1 image that cannot be used" in said[0]
    with pytest.raises(InputError, match=r"zero\.png"):
        make_rows(table, schema, bad_rows="refuse")


def test_the_same_picture_stays_on_one_side_of_the_split(tmp_path: Path) -> None:
    table = picture_table(40)
    twice = Table(pa.concat_tables([table.columns] * 2), table.files, (80,))
    schema = infer_schema(twice, ColumnChoices(target="color", text=("photo",)))
    splits = split(make_rows(twice, schema)[0], schema)
    train, test = ({*part.texts} for part in (splits.train, splits.test))
    assert train and test and not train & test


def test_images_are_read_beside_other_columns() -> None:
    columns = {**{name: picture_table().columns[name].to_pylist() for name in ("photo", "color", "width")}}
    columns["title"] = [f"a thing of {width:.0f} parts, number {i}" for i, width in enumerate(columns["width"])]
    photos = pa.array(columns["photo"], pa.binary())
    table = Table(pa.table({**columns, "photo": photos, "back": photos}), ("t",), (80,))
    every = infer_schema(table, ColumnChoices(target="color"))
    assert [(each.name, each.kind) for each in every.columns] == [
        ("photo", "image"),
        ("width", "number"),
        ("title", "text"),
    ]
    assert every.labelled and {*every.ignored} == {"back"} and "one other column" in every.ignored["back"]
    assert any("Networks read 'photo' as images; the other columns" in note for note in every.notes)
    for alone in (ColumnChoices("color", text=("photo",)), ColumnChoices("color", text=("photo",), image="photo")):
        schema = infer_schema(table, alone)
        assert schema.text == ("photo",) and not schema.labelled
    both = infer_schema(table, ColumnChoices(target="color", image="back", text=("title",)))
    assert both.text == ("back", "title") and {*both.ignored} == {"photo", "width"}
    texts = infer_schema(table, ColumnChoices(target="color", text=("title", "width")))
    assert texts.text == ("title", "width")
    with pytest.raises(UsageError, match="holds no images"):
        infer_schema(table, ColumnChoices(target="color", image="width"))


def test_a_column_of_names_without_files_is_not_read(tmp_path: Path) -> None:
    lines = [f"{i}.jpg,a lamp of {i % 7} parts,{i % 7 + 0.5}" for i in range(40)]
    (tmp_path / "lamps.csv").write_text("\n".join(["photo,title,price", *lines]))
    schema = infer_schema(read_table(tmp_path / "lamps.csv"), ColumnChoices(target="price"))
    assert schema.text == ("title",) and "none of the first 20 is there" in schema.ignored["photo"]


def test_a_row_without_its_image_is_bad_beside_other_columns() -> None:
    made = picture_table(40).columns
    photos = [None if i == 3 else cell for i, cell in enumerate(made["photo"].to_pylist())]
    columns = {"photo": pa.array(photos, pa.binary()), "color": made["color"], "width": made["width"]}
    table = Table(pa.table(columns), ("t",), (40,))
    schema = infer_schema(table, ColumnChoices(target="color"))
    (bad,) = find_usable_rows(table, schema).bad
    assert bad.rows == (4,) and "there is no image" in bad.problem


def test_images_are_taken_without_a_copy() -> None:
    images = read_images(picture_table(10), "photo", 12)
    some = images.take(np.array([7, 2])).take(np.array([1]))
    assert isinstance(some, Images) and some.pixels is images.pixels
    assert np.array_equal(some.at(np.array([0]))[0], drawn(2)[0])
