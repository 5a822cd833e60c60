"""Does an export compute what the model computes, and is nothing kept that does not?"""

import base64
import json
import re
import runpy
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pc
import pytest

import warmstart
from tests.cli_base import call, products
from tests.pictures import picture_table, priced_table, save_image_base
from tests.tiny import REGRESSION, tiny_rows
from warmstart.baselines import boosted_fit
from warmstart.baselines.boosted import Boosted
from warmstart.data.rows.split import Rows
from warmstart.data.tables.in_memory import table_of
from warmstart.errors import InputError, MissingError, TrainingError, UsageError
from warmstart.inference.export import onnx_baselines, onnx_graph
from warmstart.models.pretrained.base import Base
from warmstart.request import export_run

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

ROWS = 210
TEXTS = list(tiny_rows(REGRESSION, ROWS).texts[:40])
ONE = {"trials": 1, "length": 0.01, "quiet": True, "log": False, "max_length": 32}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return products(tmp_path_factory.mktemp("data") / "products.csv", ROWS)


@pytest.fixture(scope="module")
def runs(data: Path, base: Base, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each kind, by name."""
    into = tmp_path_factory.mktemp("runs")
    for name, target, regime in (
        ("full", "price", "full"),
        ("lora", "room", "lora"),
        ("linear", "room", "linear"),
        ("prices", "price", "linear"),
        ("constant", "price", "constant"),
    ):
        warmstart.fit(data, target, regime, into / name, text="title", base=base.location, **ONE)
    return {path.name: path for path in into.iterdir()}


def test_onnx_predicts_what_the_model_predicts_and_needs_nothing_of_ours(runs: dict[str, Path], tmp_path: Path) -> None:
    done = warmstart.export(runs["linear"], "onnx", tmp_path / "out")
    assert done.rows > 30 and done.drift < 1e-4
    model = runpy.run_path(str(tmp_path / "out" / "predict.py"))["OnnxModel"](tmp_path / "out")
    expected = warmstart.load(runs["linear"]).predict(TEXTS)
    for found, wanted in zip(model.predict(TEXTS), expected, strict=True):
        assert found.keys() == wanted.keys()
        assert found == {k: v if isinstance(v, str | None) else pytest.approx(v, rel=1e-4) for k, v in wanted.items()}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "`linear`" in card and "scored again" in card and "Forgetting" in card
    script = f"""import runpy, sys
sys.modules["warmstart"] = None
sys.argv = ["predict.py", {TEXTS[0]!r}]
runpy.run_path({str(tmp_path / "out" / "predict.py")!r}, run_name="__main__")
assert "torch" not in sys.modules"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert json.loads(said)["prediction"] == expected[0]["prediction"]


NAMES = ("lamp", "large table", "small chair", "old lamp", "table")
SHOPS = ("north", "south", "east")


def _typed(rows: int) -> dict[str, list[Any]]:
    """Columns of every kind, some cells missing; the price follows from all of them."""
    at = np.arange(rows)
    price = 10.0 + at % 7 + 5.0 * (at % 3 == 1) + 3.0 * (at % 2) + at % 28 + 4.0 * (at % 5 == 0)
    return {
        "title": [f"{NAMES[i % 5]} with {NAMES[i * 3 % 5]}, number {i}" for i in range(rows)],
        "shop": ["" if i % 31 == 0 else SHOPS[i % 3] for i in range(rows)],
        "weight": [None if i % 17 == 0 else i % 7 + 0.5 for i in range(rows)],
        "used": [bool(i % 2) for i in range(rows)],
        "sold": [None if i % 13 == 0 else datetime(2024, 1 + i % 12, 1 + i % 28, i % 24) for i in range(rows)],
        "price": price.tolist(),
    }


@pytest.mark.parametrize("regime", ["embedded", "boosted", "scratch-dnn"])
def test_typed_columns_and_trees_go_into_the_graph(regime: str, base: Base, tmp_path: Path) -> None:
    table, new = _typed(ROWS), _typed(40)
    if regime == "boosted":  # the trees alone; they ask for sets of shops, for missing weights and for dates
        table["shop"] = new["shop"] = ["" if i % 31 == 0 else f"shop {i % 11}" for i in range(ROWS)]
        table["price"] = [v + 9.0 * (i % 11 in (1, 2, 5)) for i, v in enumerate(table["price"])]
    warmstart.fit(
        table,
        "price",
        regime,
        tmp_path / "run",
        base=base.location,
        scale="linear",
        **ONE | {"length": 0.1},
    )
    kinds = {column.name: column.kind for column in warmstart.load(tmp_path / "run").stored.schema.columns}
    assert kinds == {"title": "text", "shop": "category", "weight": "number", "used": "boolean", "sold": "datetime"}
    done = warmstart.export(tmp_path / "run", "onnx", tmp_path / "out", data=table)
    assert done.drift < 1e-4
    card = (tmp_path / "out" / "README.md").read_text()
    assert (f"License of the base `{base.location}`" in card) == (regime == "embedded")
    assert ("No pretrained weights." in card) == (regime != "embedded")
    assert "`weight` (number)" in card and "one line `column: value`" not in card
    rows = [{name: new[name][i] for name in new if name != "price"} for i in range(40)]
    rows[3] |= {"sold": datetime(2024, 5, 6, 7, 8, 9), "weight": 2.5, "used": True, "shop": "never seen"}
    model = runpy.run_path(str(tmp_path / "out" / "predict.py"))["OnnxModel"](tmp_path / "out")
    expected = [row["prediction"] for row in warmstart.load(tmp_path / "run").predict(rows)]
    assert len(set(expected)) > 20
    assert [row["prediction"] for row in model.predict(rows)] == pytest.approx(expected, rel=1e-4)
    same = rows[3] | {"sold": "2024-05-06 07:08:09", "weight": "2.5", "used": "yes"}
    assert model.predict([same])[0]["prediction"] == pytest.approx(expected[3], rel=1e-4)
    if regime == "boosted":
        trees = next(n for n in onnx.load(tmp_path / "out" / "model.onnx").graph.node if "Tree" in n.op_type)
        assert len(trees.attribute) == 14
    nothing = dict.fromkeys(rows[0])
    assert model.predict([]) == [] and [row["prediction"] for row in model.predict([nothing, rows[3]])] == [
        None,
        pytest.approx(expected[3], rel=1e-4),
    ]
    with pytest.raises(ValueError, match="a row has no column 'weight'; the model reads: title, shop, weight"):
        model.predict([{"title": "a lamp", "shop": "north"}])
    with pytest.raises(ValueError, match="'weight': 'heavy' is not a plain number"):
        model.predict([rows[0] | {"weight": "heavy"}])
    with pytest.raises(ValueError, match="give each row as a mapping of title, shop"):
        model.predict(["a text"])


@pytest.mark.parametrize("text", [True, False])
def test_trees_that_stand_alone_read_in_the_graph_what_they_read_here(
    text: bool, base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boosted_fit, "LEAST_GAIN_ALONE", 100.0)  # both kinds of trees are kept
    monkeypatch.setattr(boosted_fit, "LEAST_MEAN_GAIN", -100.0)
    if not text:
        monkeypatch.setattr(boosted_fit, "MANY_ROWS", 100)
    table = {name: cells for name, cells in _typed(ROWS).items() if text or name != "title"}
    asked = {"scale": "linear", "base": base.location, "max_length": 32, "quiet": True, "log": False}
    warmstart.fit(table, "price", "boosted", tmp_path / "run", **asked)
    model = warmstart.load(tmp_path / "run").stored.predictor
    assert isinstance(model, Boosted) and model.added and model.alone_
    assert (model.words is not None, model.table.reads_linear) == (text, text)
    assert warmstart.export(tmp_path / "run", "onnx", tmp_path / "out", data=table).drift < 1e-4


@pytest.mark.parametrize("several", [False, True])
def test_an_ensemble_is_one_folder_whose_graphs_are_averaged(several: bool, base: Base, tmp_path: Path) -> None:
    table = _typed(ROWS)
    names = [["cheap", "middle", "dear"][int(price > 20) + int(price > 32)] for price in table.pop("price")]
    table["label"] = (
        [[name, *["used"] * used] for name, used in zip(names, table["used"], strict=True)] if several else names
    )
    asked = {"regimes": ["linear", "frozen", "ensemble"], "base": base.location, "seeds": 1, "refit": "none"}
    warmstart.compare(table, "label", tmp_path / "s", **asked, **ONE)
    (folder,) = (tmp_path / "s" / "runs").glob("ensemble-*")
    done = warmstart.export(folder, "onnx", tmp_path / "out", data=table)
    assert done.drift == 0.0 and len(list((tmp_path / "out" / "members").glob("*/model.onnx"))) == 2
    assert [path.parent.name for path in (tmp_path / "out").rglob("predict.py")] == ["out"], "one reader for all"
    rows = [{name: _typed(9)[name][i] for name in table if name != "label"} for i in range(9)]
    model = runpy.run_path(str(tmp_path / "out" / "predict.py"))["OnnxModel"](tmp_path / "out")
    found, expected = model.predict(rows), warmstart.load(folder).predict(rows)
    assert [row["prediction"] for row in found] == [row["prediction"] for row in expected]
    assert [row["probability"] for row in found] == [pytest.approx(row["probability"], rel=1e-4) for row in expected]
    with pytest.raises(ValueError, match="give each row as a mapping of title, shop"):
        model.predict(["a text"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_hf_is_a_folder_of_sentence_transformers(runs: dict[str, Path], tmp_path: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    done = warmstart.export(runs["full"], "hf", tmp_path / "out")
    assert done.drift < 1e-4
    scaled = sentence_transformers.SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(TEXTS)
    expected = [row["prediction"] for row in warmstart.load(runs["full"]).predict(TEXTS)]
    assert 10.0 ** scaled[:, 0] == pytest.approx(expected, rel=1e-3)
    warmstart.export(runs["lora"], "hf", tmp_path / "rooms")
    assert json.loads((tmp_path / "rooms" / "config.json").read_text())["id2label"] == {
        "0": "hall",
        "1": "kitchen",
        "2": "office",
    }
    assert "no `AutoModelForSequenceClassification`" in (tmp_path / "out" / "README.md").read_text()


def test_merged_adapters_need_no_base(runs: dict[str, Path], tmp_path: Path) -> None:
    warmstart.export(runs["lora"], "merged", tmp_path / "out")
    assert (tmp_path / "out" / "body" / "model.safetensors").exists() and not (tmp_path / "out" / "adapter").exists()
    before, after = (warmstart.load(folder).predict(TEXTS) for folder in (runs["lora"], tmp_path / "out"))
    assert [row["prediction"] for row in before] == [row["prediction"] for row in after]
    assert [row["probability"] for row in before] == pytest.approx([row["probability"] for row in after], rel=1e-4)


def test_what_does_not_exist_is_refused_with_what_does(runs: dict[str, Path], tmp_path: Path) -> None:
    for name, to, says in (
        (
            "full",
            "merged",
            "'full' does not exist as merged: it has no adapters.\nhint: use --to hf or --to onnx",
        ),
        ("linear", "hf", "it is no network.\nhint: use --to onnx"),
        ("constant", "onnx", "it predicts the same for every row.\nhint: use `warmstart predict`"),
        ("full", "gguf", "it writes no text.\nhint: use --to hf or --to onnx"),
        ("full", "tflite", "no format 'tflite'"),
    ):
        with pytest.raises(UsageError) as error:
            warmstart.export(runs[name], to, tmp_path / "out")
        assert says in str(error.value)
    with pytest.raises(UsageError, match="--int8 is for --to onnx and --to gguf"):
        warmstart.export(runs["full"], "hf", tmp_path / "out", int8=True)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    with pytest.raises(UsageError, match="already exists"):
        warmstart.export(runs["linear"], "onnx", tmp_path / "there")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]


def test_an_export_that_scores_otherwise_is_not_kept(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = onnx_baselines.BaselineGraph.forward
    monkeypatch.setattr(onnx_baselines.BaselineGraph, "forward", lambda self, *given: 1.01 * forward(self, *given))
    with pytest.raises(TrainingError, match=r"off by .* %, and 0.1 % is allowed. Nothing was kept"):
        warmstart.export(runs["prices"], "onnx", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_the_test_rows_come_from_the_data_or_from_what_was_kept(
    data: Path, base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_bytes(data.read_bytes())
    asked = {"text": "title", "regimes": ("constant", "linear"), "seeds": 1, "base": base.location, "log": False}
    warmstart.compare(mine, "price", tmp_path / "study", quiet=True, **asked)
    winner = tmp_path / "study"
    seen: list[Rows] = []
    with monkeypatch.context() as only:
        only.setattr(export_run, "export_model", lambda folder, rows, out, to, **more: seen.append(rows))
        warmstart.export(winner, "onnx", tmp_path / "a")
        mine.unlink()
        warmstart.export(winner, "onnx", tmp_path / "a")
        warmstart.export(winner, "onnx", tmp_path / "a", data=data)
    for again in seen[1:]:
        assert list(again.texts) == list(seen[0].texts) and again.targets.tolist() == pytest.approx(seen[0].targets)
    warmstart.export(winner, "onnx", tmp_path / "b")
    card = (tmp_path / "b" / "README.md").read_text()
    assert "Other regimes" in card and "No pretrained weights." in card
    advice = json.loads((winner / "advice.json").read_text())
    assert all(" ".join(said.split()) in card for said in (advice["reason"], *advice["caveats"]))
    (winner / "examples.parquet").unlink()
    with pytest.raises(InputError, match="were not kept, and its data is not where it was"):
        warmstart.export(winner, "onnx", tmp_path / "c")
    for gone, said in (("price", "column 'price', the target, is not there"), ("title", "column 'title' is not there")):
        without = pc.read_csv(data).drop_columns([gone])
        with pytest.raises(InputError, match=f"{said}.*\n.*--data FILE"):
            warmstart.export(winner, "onnx", tmp_path / "c", data=without)
    other = products(tmp_path / "other.csv", ROWS)
    lines = other.read_text().splitlines()
    other.write_text("\n".join([lines[0], *reversed(lines[1:])]))
    answer = call("export", winner, "--to", "onnx", "--data", other, "--out", tmp_path / "d")
    assert answer.code == 2 and "on its test rows, but" in answer.err and "--data" in answer.err


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_int8_is_smaller_and_close(runs: dict[str, Path], tmp_path: Path) -> None:
    done = warmstart.export(runs["linear"], "onnx", tmp_path / "small", int8=True)
    assert done.int8 and done.drift <= 0.01
    weights = onnx.load(tmp_path / "small" / "model.onnx").graph.initializer
    assert any(each.data_type == onnx.TensorProto.INT8 for each in weights)


def test_without_the_packages_the_extra_is_named(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_graph, "NEEDS", ("not_installed",))
    with pytest.raises(MissingError, match=r"warmstart\[onnx\]"):
        warmstart.export(runs["linear"], "onnx", tmp_path / "out")


DOCUMENT = Path(__file__).parents[2] / "docs" / "export.md"


def documented(regime: str) -> set[str]:
    """The formats that docs/export.md promises for a regime of a model that predicts a number or a class."""
    lines = [line.split("|")[1:-1] for line in DOCUMENT.read_text().splitlines() if line.startswith("|")]
    (header,) = [[cell.strip() for cell in line] for line in lines if line[0].strip() == "regime"]
    (row,) = [line for line in lines if f"`{regime}`" in line[0]]
    named = [re.search(r"`(\w+)`", cell) for cell in header[1:]]
    cells = zip(named, row[1:], strict=True)
    return {name[1] for name, cell in cells if name and not cell.strip().startswith("–")}


# The others are exported by the tests above.
@pytest.mark.parametrize("regime", ["constant", "ensemble", "scratch-dnn", "frozen", "hybrid", "qlora"])
def test_the_table_of_formats_is_true(regime: str, data: Path, base: Base, tmp_path: Path) -> None:
    if regime == "qlora":
        pytest.importorskip("bitsandbytes")
    folder = tmp_path / "run"
    if regime == "ensemble":
        names = ["linear", "frozen", "ensemble"]
        asked = {"regimes": names, "text": "title", "base": base.location, "seeds": 1, "refit": "none"}
        warmstart.compare(data, "price", tmp_path / "s", **asked, **ONE)
        (folder,) = (tmp_path / "s" / "runs").glob("ensemble-*")
    else:
        warmstart.fit(data, "price", regime, folder, text="title", base=base.location, **ONE)
    works = set()
    for to in ("hf", "merged", "onnx", "gguf"):
        try:
            assert warmstart.export(folder, to, tmp_path / to, data=data).drift <= 0.01
            works.add(to)
        except UsageError as error:
            assert "does not exist as" in error.message and error.hint and not (tmp_path / to).exists()
    assert works == documented(regime)


@pytest.mark.parametrize(
    ("regime", "columns"),
    [("scratch-cnn", True), ("embedded", True), ("lora", False), ("linear", False), ("boosted", True)],
)
def test_images_go_into_the_graph_as_they_are_decoded(regime: str, columns: bool, tmp_path: Path) -> None:
    table, target = (priced_table(), "price") if columns else (table_of(picture_table().columns.drop("width")), "color")
    base = save_image_base(tmp_path / "base")
    if regime == "embedded":  # its images are made smaller, those of `lora` larger
        config = base / "preprocessor_config.json"
        config.write_text(config.read_text().replace("16", "8"))
    asked: dict[str, Any] = {"base": str(base), **ONE}
    warmstart.fit(table, target, regime, tmp_path / "run", **asked)
    done = warmstart.export(tmp_path / "run", "onnx", tmp_path / "out", data=table)
    assert done.rows >= 10 and done.drift < 1e-4
    names = [name for name in table.columns.column_names if name != target]
    rows = table.columns.select(names).slice(0, 9).to_pylist()
    rows += [dict.fromkeys(names), dict.fromkeys(names)]
    expected = warmstart.load(tmp_path / "run").predict(rows)
    for row in expected[-2:]:
        row["reason"] = "there is nothing to read"
    rows[-1]["photo"] = ""
    rows[1] |= {"photo": f"data:image/png;base64,{base64.b64encode(rows[1]['photo']).decode()}"}
    photo = tmp_path / "photo.png"
    photo.write_bytes(rows[0]["photo"])
    rows[0] = rows[0] | {"photo": photo}
    script = f"""import runpy, sys
sys.modules["warmstart"] = None
sys.path.insert(0, {str(tmp_path / "out")!r})
from pathlib import PosixPath
model = runpy.run_path({str(tmp_path / "out" / "predict.py")!r})["OnnxModel"]({str(tmp_path / "out")!r})
print(model.predict({rows!r}))
assert "torch" not in sys.modules"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    for found, wanted in zip(eval(said), expected, strict=True):
        assert found == {k: v if isinstance(v, str | None) else pytest.approx(v, rel=1e-3) for k, v in wanted.items()}
    if not columns:
        assert runpy.run_path(str(tmp_path / "out" / "predict.py"))["OnnxModel"](tmp_path / "out").predict([photo])


def test_models_of_images_are_not_stored_in_int8(tmp_path: Path) -> None:
    warmstart.fit(picture_table(), "color", "linear", tmp_path / "run", **ONE)
    with pytest.raises(UsageError, match="a model of images is not stored in int8"):
        warmstart.export(tmp_path / "run", "onnx", tmp_path / "out", int8=True)
