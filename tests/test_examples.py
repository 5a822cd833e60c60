"""Do the examples run, and do the documents say what the code does?"""

import re
import runpy
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.csv
import pytest
import typer

from tests.run_factory import make_comparison, make_curve_runs, make_runs
from warmstart.advice.advise import advice_for

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
QUICK = {"regimes": ("constant", "linear", "frozen"), "seeds": 1, "trials": 1, "length": 0.01}


def example(name: str, function: str = "main") -> Callable[..., Any]:
    found: Callable[..., Any] = runpy.run_path(str(ROOT / "examples" / name))[function]
    return found


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> str:
    from warmstart.cli.demo_data import catalog

    path = tmp_path_factory.mktemp("products") / "catalogue.csv"
    pyarrow.csv.write_csv(catalog(rows=150).table, path)
    return str(path)


@pytest.fixture(scope="module")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT of two narrow layers with random weights, and a tokenizer of letters."""
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("base")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789:"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    BertTokenizer(vocab={word: i for i, word in enumerate(vocabulary)}).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(folder)
    return str(folder)


def test_compare_prices(products: str, tiny_base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("compare_prices.py")(products, str(tmp_path / "study"), base=tiny_base, **QUICK)
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("constant", "linear", "frozen"))
    assert "'prediction'" in printed


def test_small_cnn(products: str, tiny_base: str, tmp_path: Path) -> None:
    import warmstart

    model = f"{ROOT / 'examples' / 'small_cnn.py'}:build"
    run = warmstart.fit(
        products, "price", "scratch-build", tmp_path / "run", model=model, base=tiny_base, trials=1, length=0.02
    )
    assert run.regime == "scratch-build" and run.family == "scratch"
    assert run.cost.trainable == run.cost.total
    predicted = warmstart.load(tmp_path / "run", code=model).predict(warmstart.read(products))
    assert len(predicted) == 150


def test_small_cnn_does_not_read_padding() -> None:
    import torch

    body = example("small_cnn.py", "build")(50).eval()
    text = torch.tensor([[5, 6, 7, 8]])
    padded = torch.tensor([[5, 6, 7, 8, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 0, 0]])
    assert torch.allclose(body(input_ids=text), body(input_ids=padded, attention_mask=mask))


@pytest.mark.parametrize(
    ("name", "options", "stages"), [("probe_then_full.py", {}, 2), ("gradual_unfreezing.py", {"top": 2}, 4)]
)
def test_stages(name: str, options: dict[str, int], stages: int, products: str, tiny_base: str, tmp_path: Path) -> None:
    run = example(name)(products, str(tmp_path / "run"), base=(tiny_base,), steps=10, **options)
    assert 1 <= run.steps <= 10 and run.test is not None
    assert run.method.count(", then ") == stages - 1
    assert run.cost.trainable == run.cost.total, "the last stage trains all weights"


# --- documents ------------------------------------------------------------------------------------------------------


def cells(document: str) -> list[list[str]]:
    """Every line of every table in a document of docs/, as its cells."""
    lines = (ROOT / "docs" / document).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def test_the_table_of_defaults_is_that_of_the_code() -> None:
    from warmstart.regimes.regimes import DEFAULTS
    from warmstart.reporting.formatting import format_rate

    written = {row[0].strip("`"): row[2:] for row in cells("regimes.md") if len(row) == 7 and row[0].startswith("`")}
    known = {
        name: [format_rate(h.lr), f"{h.epochs:g}", str(h.floor), str(h.batch_size or "16 / 32"), str(h.evaluations)]
        for name, h in DEFAULTS.items()
    }
    assert written == known


def test_the_defaults_in_words_are_those_of_the_code() -> None:
    from warmstart.data.schema.columns import Column
    from warmstart.regimes.discriminative import Discriminative
    from warmstart.regimes.lora import LoRA
    from warmstart.regimes.regimes import DEFAULTS, DESCRIPTIONS, NUMBER_DEFAULTS, WITHOUT_TRAINING, default_for
    from warmstart.regimes.scratch_dnn import CLASS_SIZE, NUMBER_SIZE
    from warmstart.request.request import Request

    text = " ".join((ROOT / "docs" / "regimes.md").read_text(encoding="utf-8").split())
    assert [DEFAULTS["full"].batch(rows) for rows in (1_999, 2_000)] == [16, 32]
    classes, numbers = DEFAULTS["scratch-dnn"], NUMBER_DEFAULTS
    for kind, said in (
        (classes, "15 epochs of batches of 32 at 4,000 rows, 10 of 64 at 16,000, 6 of 128"),
        (numbers, ""),
    ):
        assert [kind.by_rows[i][1] for i in range(4)] == ([15, 10, 6, 3] if kind is classes else [12, 6, 3, 2])
        assert said in text
    assert (classes.word_dropout, numbers.word_dropout, numbers.floor) == (0.2, 0.0, 1_200)
    assert "for numbers none is" in text and "at least 1,200 steps" in text
    assert (CLASS_SIZE.width, NUMBER_SIZE.width, NUMBER_SIZE.depth) == (256, 128, 1)
    assert f"multiplies the rate by {Discriminative().decay:g}" in text
    assert f"adapters of rank {LoRA().rank} " in text and f"alpha {LoRA().alpha:g}." in text
    request = Request(("x.csv",), "price")
    assert (request.optimizer, request.schedule, request.weight_decay) == ("adamw", "linear", 0.01)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in DESCRIPTIONS if f"\n| `{name}` |" in readme] == list(DESCRIPTIONS)
    assert set(DESCRIPTIONS) - set(default_for("regression", (Column("x", "number"), Column("y", "text")))) == {
        "top-layers",
        "qlora",
        "hybrid",
        "self-pretrained",
        "zero-shot",
        "few-shot",
        "extractive",
        "prompted",
        "prompted-endpoint",
        "scratch-cnn",
    }
    assert set(WITHOUT_TRAINING) - {"zero-shot", "few-shot", "extractive", "prompted", "prompted-endpoint"} < set(
        default_for("regression", (Column("x", "number"), Column("y", "text")))
    )


def test_the_list_of_packages_is_the_contract_of_imports() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(c for c in settings["tool"]["importlinter"]["contracts"] if c["containers"] == ["warmstart"])
    layers = [layer for layer in reversed(contract["layers"]) if not layer.startswith("(")]
    assert [row[0].strip("`") for row in cells("architecture.md") if row[0].startswith("`")] == layers


def test_the_public_keys_are_described() -> None:
    comparison = make_comparison(make_runs({"constant": 0.3, "linear": 0.5, "full": 0.7}, test_rows=200))
    public = comparison.to_json()
    advice = advice_for(comparison).to_json()
    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    nested = [public["regimes"][0], public["regimes"][0]["cost"], public["differences"][0]]
    found = make_comparison(make_curve_runs({"scratch": (2.0, 0.35), "full": (0.5, 0.12)})).to_json()
    nested += [found["curves"][0], found["curves"][0]["law"], found["crossovers"][0], found["transfers"][0]]
    for keys in (public, advice, advice["predicted"], advice["compute"], *nested):
        assert not [key for key in keys if f"`{key}`" not in text]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_and_links_exist(document: Path) -> None:
    from warmstart.cli.app import app

    known = typer.main.get_group(app).commands
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^warmstart .*$", text, re.MULTILINE):
        command, *words = shlex.split(line, comments=True)[1:]
        assert command in known, line
        flags = {flag for option in known[command].params for flag in (*option.opts, *option.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= flags, line
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert target.endswith(".png") or (document.parent / target).exists(), target


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_notebook_of_images_finds_a_linear_model_enough_only_while_digits_stand_upright(tmp_path: Path) -> None:
    """Executed without the network, which takes a minute."""
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.read(ROOT / "examples" / "images.ipynb", as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert '"scratch-cnn"]' in code[0].source
    code[0].source = code[0].source.replace(', "scratch-cnn"]', "]")
    NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = "".join(out.get("text", "") for cell in code for out in cell.outputs)
    straight, turned = map(float, re.findall(r"^linear-r\d+-s0: accuracy ([\d.]+)", said, re.MULTILINE))
    assert straight > 0.95 and turned < 0.75
    assert "image/png" in code[0].outputs[-1]["data"] and "digit" in str(code[-1].outputs)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_notebook_of_prices_shows_tables_and_a_plot(tmp_path: Path) -> None:
    """Executed in a kernel of its own, with fewer rows and regimes than it has."""
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.read(ROOT / "examples" / "prices.ipynb", as_version=4)
    source = book.cells[1].source
    few = re.sub(r"ROWS = \d+", "ROWS = 150", source)
    book.cells[1].source = re.sub(r"REGIMES = .*", 'REGIMES = ["constant", "linear"]', few)
    assert "ROWS = 150" in book.cells[1].source and '"linear"]' in book.cells[1].source
    NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [set(out.get("data", ())) for cell in book.cells for out in cell.get("outputs", ())]
    tables = {
        cell.source for cell in book.cells for out in cell.get("outputs", ()) if "text/html" in out.get("data", ())
    }
    assert any(source.startswith("study = ") for source in tables)
    assert any("warmstart.check" in source for source in tables)
    assert any("application/vnd.plotly.v1+json" in kinds for kinds in outputs)
    said = "".join(out.get("text", "") for cell in book.cells for out in cell.get("outputs", ()))
    assert "constant" in said and "[" not in said.splitlines()[0], "messages stay, the line that is replaced does not"
