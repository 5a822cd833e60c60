"""Do flags, files and saved requests become the same request, and back?"""

import os
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.cli_base import call
from warmstart import api
from warmstart.data.schema.schema import PIECE_BYTES
from warmstart.errors import UsageError
from warmstart.planning.problem import Options
from warmstart.request.parse import parse_value, read_yaml
from warmstart.request.request import Request, forget_place, from_mapping, load_request, save_request
from warmstart.request.serialize import command_line, commented_yaml
from warmstart.results.constraints import Constraints

PLAIN = Request(("a table.csv",), "price")
FULL = Request(
    data=("a.csv", "b c.csv"),
    target="what it costs, $",
    text=("title", "the, description"),
    group="maker's",
    task="regression",
    scale="log10(1+x)",
    bad_rows="drop",
    instruction="Say, in one word:",
    fields=("room", "tags"),
    schema="a schema.json",
    regimes=("linear", "full"),
    base=("org/name", "a,b"),
    init="he",
    parameters=10_000_000,
    corpus=("texts, all", "more/*.txt"),
    general_text="general.txt",
    rows=(250, 1000),
    tokens=(10_000_000, 1_500_000_000),
    seeds=2,
    seed=7,
    trials=4,
    lr=1.25e-05,
    epochs=2.5,
    length=0.1,
    micro_batch=4,
    batch_size=8,
    max_length=64,
    optimizer="sgd",
    schedule="cosine",
    weight_decay=0.123456789,
    dropout=0.0,
    word_dropout=0.1,
    precision="fp32",
    budget=1_000_000.0,
    min_effect=0.025,
    reduce_forgetting=("replay=5%", "interpolation"),
    max_size=50_000_000,
    max_latency=0.02,
    licence=("apache-2.0", "MIT"),
    max_training_time=7200.0,
    pretrained=False,
    examples=False,
    offline=True,
)


ONE = replace(
    FULL,
    command="fit",
    regime="lora",
    regimes=(),
    rows=(9,),
    tokens=(10**7,),
    seeds=3,
    budget=1800.0,
    max_size=None,
    max_latency=None,
    licence=(),
    max_training_time=None,
    pretrained=True,
    examples=True,
)
SHORT = Request(("a.csv",), "price", budget=30.0, max_training_time=20.5)  # a number of seconds below 60 needs its unit
RACE = Request(("a.csv",), "price", command="advise", budget="5%")
CORPUS = Request(("texts",), task="causal-lm", command="fit", regime="scratch", parameters=10_000_000)


@pytest.mark.parametrize("asked", [PLAIN, FULL, ONE, SHORT, RACE, CORPUS])
def test_the_repeating_command_makes_the_same_request(asked: Request) -> None:
    words = shlex.split(command_line(asked, "some where"))
    with patch.object(api, "start", side_effect=UsageError("enough")) as begin:
        assert call(*words[1:]).err == "error: enough\n"
    assert begin.call_args.args == (asked, Path("some where"))


def test_the_command_of_a_fit_has_none_of_the_flags_of_compare() -> None:
    fit = replace(FULL, command="fit", regime="full", rows=(9,), tokens=(10**7,))
    assert command_line(fit, "x") == command_line(ONE, "x").replace("lora", "full")


def test_the_commented_file_holds_every_setting_and_its_remark(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    for request in (PLAIN, replace(FULL, noise_floor=None, text=("title",))):
        path.write_text(commented_yaml(request), encoding="utf-8")
        assert from_mapping(read_yaml(path)) == request
    lines = commented_yaml(PLAIN).splitlines()
    assert "seeds: 3  # Number of seeds. Each draws its own training rows." in lines
    assert len(lines) == len(asdict(PLAIN)) - 2  # the command, and the noise floor that only the demo knows


def test_init_then_compare_with_flags_over_pairs_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = call("init", "data.csv", "--target", "price")
    assert (answer.code, answer.out) == (
        0,
        "wrote warmstart.yaml; use it with: warmstart compare --config warmstart.yaml --out study\n",
    )
    again = call("init", "data.csv", "--target", "price")
    assert again.code == 2 and "already exists" in again.err
    with patch.object(api, "start", side_effect=UsageError("enough")) as begin:
        words = ("--config", "warmstart.yaml", "--out", "study")
        call("compare", *words)
        call(
            "compare", *words, "--seeds", "1", "lr=1e-3", "batch-size=8", "regimes=full, lora", "base=null", "rows=90,"
        )
    plain, changed = (each.args[0] for each in begin.call_args_list)
    assert plain == Request(("data.csv",), "price")
    assert changed == replace(plain, seeds=1, lr=1e-3, batch_size=8, regimes=("full", "lora"), rows=(90,))


def test_rows_may_be_auto_everywhere_but_in_fit(tmp_path: Path) -> None:
    asked = replace(PLAIN, rows="auto")
    path = tmp_path / "settings.yaml"
    path.write_text(commented_yaml(asked), encoding="utf-8")
    assert from_mapping(read_yaml(path)) == asked
    save_request(asked, tmp_path)
    assert load_request(tmp_path) == asked
    words = shlex.split(command_line(asked, "x"))
    with patch.object(api, "start", side_effect=UsageError("enough")) as begin:
        call(*words[1:])
        call("compare", "a table.csv", "--target", "price", "--out", "x", "rows=auto")
    assert [each.args[0] for each in begin.call_args_list] == [asked, asked]
    with pytest.raises(UsageError, match="rows is auto; fit trains on one number of rows"):
        replace(asked, command="fit")
    with pytest.raises(UsageError, match="'some' is no number of rows"):
        from_mapping({"data": ("a.csv",), "target": "price", "rows": parse_value("rows", "some")})


def test_constraints_are_written_as_people_write_them(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(
        "max-size: 50MB\nmax_latency: 20ms\nlicence: [apache-2.0, mit]\nmax_training_time: 2h\npretrained: false\n"
    )
    asked = replace(PLAIN, **read_yaml(path))
    words = ("--max-size", "50MB", "--max-latency", "20ms", "--licence", "apache-2.0,mit", "--max-training-time", "2h")
    with patch.object(api, "start", side_effect=UsageError("enough")) as begin:
        call("compare", *PLAIN.data, "--target", "price", *words, "--no-pretrained", "--out", tmp_path)
    assert begin.call_args.args[0] == asked
    assert asked.constraints == Constraints(50_000_000, 0.02, ("apache-2.0", "mit"), 7200.0, False)
    assert asked.options(()).constraints == asked.constraints


def test_american_spelling_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("license: [mit]\ntask: summarize\n")
    assert read_yaml(tmp_path / "s.yaml") == {"licence": ("mit",), "task": "summarise"}
    for words in (("--license", "mit", "--task", "summarize"), ("license=mit", "task=summarize")):
        with patch.object(api, "start", side_effect=UsageError("enough")) as begin:
            call("compare", "a.csv", *words, "--target", "price", "--out", tmp_path / "s")
        asked = begin.call_args.args[0]
        assert (asked.licence, asked.task, asked.data) == (("mit",), "summarise", ("a.csv",))


def test_a_path_with_an_equals_sign_is_data(tmp_path: Path) -> None:
    with patch.object(api, "start", side_effect=UsageError("enough")) as begin:
        call("compare", "year=2024/*.csv", "seeds=2", "--target", "price", "--out", tmp_path / "s")
    assert begin.call_args.args[0] == Request(("year=2024/*.csv",), "price", seeds=2)


def test_task_auto_is_no_task(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("task: auto\ntokens: [10M, 2000]\n")
    assert read_yaml(tmp_path / "s.yaml") == {"task": None, "tokens": (10**7, 2000)}
    with patch.object(api, "start", side_effect=UsageError("enough")) as begin:
        call("compare", "texts", "--task", "auto", "--out", tmp_path / "s")
    assert begin.call_args.args[0] == Request(("texts",))


def test_documents_are_cut_to_what_is_read_of_a_text() -> None:
    assert PLAIN.columns.piece_bytes == PIECE_BYTES == 768
    assert replace(PLAIN, max_length=100).columns.piece_bytes == 300


def test_a_request_survives_its_folder(tmp_path: Path) -> None:
    save_request(FULL, tmp_path / "new" / "study")
    assert load_request(tmp_path / "new" / "study") == FULL


def test_options_carry_every_setting() -> None:
    options = FULL.options(("full",))
    same = set(asdict(options)) & set(asdict(FULL)) - {"regimes"}
    assert {name: getattr(options, name) for name in same} == {name: getattr(FULL, name) for name in same}
    assert options.training == {
        "micro_batch": FULL.micro_batch,
        "optimizer": "sgd",
        "optimizer_state": "fp32",
        "schedule": "cosine",
        "weight_decay": 0.123456789,
        "word_dropout": 0.1,
        "augment": "auto",
        "gradient_checkpointing": FULL.gradient_checkpointing,
        "compile": FULL.compile,
        "shard": FULL.shard,
    }
    assert (options.forgetting, options.interpolate) == ({"replay": 0.05}, True)
    plain, defaults = asdict(PLAIN.options(Options().regimes)), asdict(Options())
    del plain["training"], defaults["training"]
    assert plain == defaults


def test_a_request_names_the_same_files_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Case 33: a study begun with a relative path could not be gone on with from another folder, or after a move."""
    here, elsewhere = tmp_path / "here", tmp_path / "else where"
    for folder in (here, elsewhere):
        folder.mkdir()
        (folder / "data.csv").write_text(f"text,price\n{folder.name},1\n")  # another file of the same name
    monkeypatch.chdir(here)
    asked = from_mapping({"data": ["data.csv"], "target": "price", "base": ["org/name"], "corpus": ["data.cs?"]})
    save_request(asked, Path("study"))
    assert load_request(Path("study")).data == ("data.csv",)
    monkeypatch.chdir(elsewhere)
    found = load_request(Path("../here/study"))
    assert Path(found.data[0]).read_text() == "text,price\nhere,1\n"
    assert found.base == ("org/name",) and Path(found.corpus[0]).parent.resolve() == here
    here.rename(tmp_path / "moved")
    assert Path(load_request(tmp_path / "moved" / "study").data[0]).read_text() == "text,price\nhere,1\n"
    (tmp_path / "moved" / "data.csv").unlink()
    assert load_request(tmp_path / "moved" / "study").data == (str(here / "data.csv"),)  # names where it began


def test_what_is_finished_names_nobody_and_is_found_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hostile case 42: the absolute path of the directory, and with it the name of its owner, stayed in a folder."""
    here = tmp_path / "here"
    (here / "below").mkdir(parents=True)
    (here / "data.csv").write_text("text,price\na,1\n")
    monkeypatch.chdir(here)
    save_request(from_mapping({"data": ["data.csv"], "target": "price"}), Path("study"))
    assert str(tmp_path) in (here / "study" / "request.json").read_text(), "as long as it may have to be resumed"
    forget_place(Path("study"))
    assert str(tmp_path) not in (here / "study" / "request.json").read_text()
    for place in (here, here / "below", tmp_path):
        monkeypatch.chdir(place)
        found = load_request(Path(os.path.relpath(here / "study")))
        assert Path(found.data[0]).resolve() == here / "data.csv"
    (here / "study").rename(tmp_path / "study")
    monkeypatch.chdir(here)
    assert load_request(tmp_path / "study").data == ("data.csv",), "moved alone: from the directory where it began"


@pytest.mark.parametrize(
    ("timed", "message"),
    [
        ({"search": "10m"}, "search is 10m, a time, and with compute nothing is timed"),
        ({"max_training_time": 60.0}, "max_training_time is a time, and with compute nothing is timed"),
    ],
)
def test_with_compute_nothing_may_be_limited_by_time(timed: dict[str, str | float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(PLAIN, compute=2e13, **timed)  # type: ignore[arg-type]
    assert replace(PLAIN, compute=2e13, search=20).compute == 2e13
