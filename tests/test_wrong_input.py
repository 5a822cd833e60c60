"""Is every wrong input one clear message, exit code 2, and nothing left behind or lost?"""

import math
import os
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli_base import Answer, call, products, write_csv
from tests.decoders import save_decoder
from warmstart.models.pretrained.base import Base

TURNS = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
MESSAGE = re.compile(r"error: [^\n]+\nhint: [^\n]+\n")
TITLES = [f"title number {i}" for i in range(40)]


def refused(answer: Answer, *said: str) -> None:
    """One message of one form with these words in it, exit code 2, nothing on stdout."""
    assert MESSAGE.fullmatch(answer.err), answer.err
    for words in said:
        assert words in answer.err
    assert (answer.code, answer.out) == (2, "")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("compare x.csv --target price", ("error: missing option '--out'.", "`warmstart compare --help`")),
        ("compare x.csv --targt price --out s", ("no such option: --targt", "hint: did you mean '--target'?")),
        ("compare --out", ("option '--out' requires an argument", "--help`")),
        ("compaer x.csv", ("no such command 'compaer'", "`warmstart --help`")),
        ("predict", ("missing argument 'DIR'", "`warmstart predict --help`")),
        ("chat run --max-tokens x", ("invalid value for '--max-tokens'", "`warmstart chat --help`")),
    ],
)
def test_what_is_typed_wrongly_is_told_like_all_that_is_wrong(typed: str, said: tuple[str, ...]) -> None:
    refused(call(*typed.split()), *said)


def test_no_word_at_all_shows_the_help() -> None:
    answer = call()
    assert answer.code == 2 and "Usage: warmstart" in answer.out + answer.err and "error:" not in answer.err


def table(*prices: object) -> Callable[[Path], Path]:
    """A CSV file of these targets."""
    return lambda path: write_csv(path, ("title", "price"), list(zip(TITLES, prices, strict=False)))


def content(data: bytes, suffix: str = ".csv") -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path = path.with_suffix(suffix)
        path.write_bytes(data)
        return path

    return write


def parquet(prices: list[float]) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path = path.with_suffix(".parquet")
        pq.write_table(pa.table({"title": TITLES[: len(prices)], "price": prices}), path)
        return path

    return write


GOOD = [float(i) + 0.5 for i in range(40)]
DATA: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "empty": (content(b""), ("is empty",)),
    "blank": (content(b"\n \n"), ("nothing but blank",)),
    "header only": (content(b"title,price\n"), ("no rows",)),
    "one row": (table(1.5), ("price", "every row")),
    "four rows": (table(1.5, 1.5, 2.5, 2.5), ("4 of 4 rows", "20 are needed")),
    "target missing": (table(*[""] * 40), ("'price' has no value",)),
    "target equal": (table(*[7] * 40), ("'price' is '7' in every row",)),
    "class of one row": (table(*["a"] * 20, *["b"] * 19, "c"), ("single row", "40", "--bad-rows drop")),
    "not a number": (table(*GOOD[:38], "12,50", "?"), ("not numbers", "rows 39, 40", "12,50")),
    "broken quoting": (
        content(b'title,price\nan "oak" table,3\n"a lamp,4\na chair,5\n'),
        ("quoting of row 2", "line 3"),
    ),
    "ragged": (content(b"title,price\na,1\nb,2,3\n"), ("row 2 (line 3) has 3",)),
    "wrong encoding": (content("title,price\ncafé,3\n".encode("latin-1")), ("not UTF-8", "line 2", "iconv")),
    "not Parquet": (content(b"title,price\na,1\n", ".parquet"), ("is not a Parquet file",)),
    "half a Parquet": (content(b"PAR1" + b"\0" * 50, ".parquet"), ("is not a Parquet file",)),
    "giant cell": (content(b"title,price\n" + b"a" * 10_000_000 + b",1\nb,2\n"), ("row 1", "'title'", "10,000,000")),
    "NaN": (parquet([*GOOD[:39], math.nan]), ("1 missing value", "row 40")),
    "infinity": (parquet([*GOOD[:38], math.inf, -math.inf]), ("2 infinite values", "rows 39, 40")),
    "unknown ending": (content(b"title,price\n", ".docx"), (".docx", "known endings")),
}


@pytest.mark.parametrize("name", DATA)
def test_data_that_cannot_be_learned_from(name: str, tmp_path: Path) -> None:
    write, said = DATA[name]
    data = write(tmp_path / "data.csv")
    before = data.read_bytes()
    words = ("--target", "price", "--bad-rows", "refuse")
    refused(call("compare", data, *words, "--out", tmp_path / "study"), *said)
    assert not (tmp_path / "study").exists()
    assert data.read_bytes() == before


def lines(*odd: str) -> Callable[[Path], Path]:
    """JSON lines of conversations, 40 good ones before these."""
    return content((TURNS * 40 + "".join(odd)).encode(), ".jsonl")


SPLIT = '{"text": "a", "facts": "{\\"n\\": \\"\\\\ud800\\"}"}\n'
COMMA = '{"text": "a", "facts": "{\\"n\\": 1,}"}\n'
CORPORA: dict[str, tuple[Callable[[Path], Path], tuple[str, ...], tuple[str, ...]]] = {
    "roles out of order": (lines(TURNS.replace("assistant", "user")), (), ("row 41: turn 2 is of the user",)),
    "empty turn": (lines(TURNS.replace('"a"', '" "')), (), ("row 41: turn 1 (user) is empty",)),
    "unknown role": (lines(TURNS.replace('"user"', '"bot"')), (), ("row 41: turn 1 has the role 'bot'",)),
    "cut short": (lines(TURNS[:-9]), (), ("row 41 (line 41) is not valid JSON", "was the file cut off?")),
    "no conversations": (lines(), ("--text", "messages", "--task", "causal-lm", "--target", "x"), ("no column 'x'",)),
    "no answers": (
        content((TURNS.replace("assistant", "user") * 30).encode(), ".jsonl"),
        (),
        ("30 conversations without a turn of the assistant", "too few rows would be left"),
    ),
    "binary": (content(b"\x7fELF\0\1", ".txt"), (), ("data.txt holds a NUL byte",)),
    "no UTF-8": (content(b"caf\xe9 au lait", ".txt"), (), ("data.txt is not UTF-8", "0xe9", "iconv")),
    "too short": (content(b"one line", ".md"), (), ("1 piece of at most 768 bytes", "20 are needed")),
    "blank": (content(b" \n", ".md"), (), ("nothing to read in 'text' (data.md)",)),
    "no schema": (
        content(b'{"text": "a lamp", "facts": "{}"}\n' * 30, ".jsonl"),
        ("--schema", "none.json", "--target", "facts", "--text", "text"),
        ("'none.json' cannot be read", "check --schema"),
    ),
    "parameters": (lines(), ("--parameters", "many"), ("'many' is no number of parameters", "--parameters 10M")),
    "half of a character": (
        lines(TURNS.replace('"a"', '"\\ud800"')),
        (),
        ("row 41, column 'messages'", "half of a char"),
    ),
    "a list in one row": (
        content(('{"text": "a lamp", "name": "lamp"}\n' * 30 + '{"text": "a", "name": ["b"]}\n').encode(), ".jsonl"),
        ("--task", "summarise", "--text", "text", "--target", "name"),
        ("column 'name' holds single values, but row 31 has ['b']",),
    ),
    "half of a character in an answer": (
        content(('{"text": "a", "facts": "{\\"n\\": 1}"}\n' * 30 + SPLIT).encode(), ".jsonl"),
        ("--task", "structured", "--target", "facts", "--text", "text"),
        ("row 31: it holds half of a character",),
    ),
    "no JSON": (
        content(('{"text": "a", "facts": "{\\"n\\": 1}"}\n' * 30 + COMMA).encode(), ".jsonl"),
        ("--task", "structured", "--target", "facts", "--text", "text"),
        ("row 31: '{\"n\": 1,}' is no JSON object: ", "at character "),
    ),
    "few parameters": (lines(), ("--parameters", "3"), ("parameters is 3", "correct --parameters")),
    "tokens": (lines(), ("--tokens", "1.5"), ("'1.5' is no number of tokens",)),
    "few tokens": (lines(), ("--tokens", "10M,9"), ("tokens is 10000000,9", "at least 1,000")),
}


@pytest.mark.parametrize("name", CORPORA)
def test_texts_that_no_language_can_be_learned_from(name: str, tmp_path: Path) -> None:
    write, words, said = CORPORA[name]
    words = (*words, "--bad-rows", "refuse")
    refused(call("compare", write(tmp_path / "data.csv"), *words, "--out", tmp_path / "study"), *said)
    assert not (tmp_path / "study").exists()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return products(tmp_path_factory.mktemp("good") / "products.csv", 60)


USE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "unknown target": (("--target", "prices"), ("'prices'", "did you mean 'price'?")),
    "unknown text": (("--text", "titel"), ("'titel'", "did you mean 'title'?")),
    "unknown group": (("--group", "x"), ("'x'", "title, price, room")),
    "target as text": (("--text", "price"), ("'price' is both",)),
    "unknown task": (("--task", "ranking"), ("task is 'ranking'", "'regression', 'classification', 'causal-lm'")),
    "unknown scale": (("--scale", "ln"), ("scale is 'ln'",)),
    "unknown init": (("--init", "zero"), ("init is 'zero'",)),
    "budget": (("--budget", "soon"), ("'soon' is no length of time", "10m")),
    "no budget": (("--budget", "0s"), ("budget is 0",)),
    "rows": (("--rows", "many"), ("'many' is no number of rows", "--rows 1000")),
    "no rows": (("--rows", "0"), ("rows is 0", "at least 2")),
    "size": (("--max-size", "big"), ("max_size is 'big'", "--max-size 50MB")),
    "no size": (("--max-size", "0"), ("max_size is 0; it must lie between 1 and",)),
    "latency": (("--max-latency", "20"), ("max_latency is '20'", "--max-latency 20ms")),
    "low latency": (
        ("--max-latency", "0.0001ms"),
        ("is 0.0001 ms; it must lie between 0.001 ms and 3600 s",),
    ),
    "max train": (("--max-training-time", "soon"), ("'soon' is no length of time",)),
    "min_effect": (("--min-effect", "little"), ("'little' is no share", "1%")),
    "worth of nothing known": (("--min-effect", "nan"), ("min_effect is nan",)),
    "lr": (("--lr", "-1"), ("lr is -1", "correct --lr")),
    "lr without a number": (("--lr", "abc"), ("lr is 'abc'; it must be a number", "correct --lr")),
    "lr of nothing": (("--lr", "0"), ("lr is 0; it must lie between", "correct --lr")),
    "infinite lr": (("--lr", "inf"), ("lr is inf",)),
    "seeds": (("--seeds", "0"), ("seeds is 0", "between 1 and 100")),
    "seeds without a number": (("--seeds", "2.5"), ("seeds is '2.5'; it must be a whole number", "correct --seeds")),
    "dropout": (("--dropout", "1"), ("dropout is 1", "between 0 and 0.95")),
    "batch size": (("--batch-size", "0"), ("batch_size is 0", "correct --batch-size")),
    "unknown key": (("learning_rate=3",), ("'learning_rate' is not known",)),
    "near key": (("seed_s=3",), ("'seed_s' is not known", "did you mean 'seeds'?")),
    "key without a number": (("seeds=two",), ("seeds is 'two'", "correct seeds")),
    "no such file": (("productz.csv",), ("there is no file 'productz.csv'",)),
    "a near scale": (("--scale", "log1"), ("scale is 'log1'", "did you mean 'log10'?")),
    "no license": (("--licence", ""), ("--licence is empty", "leave it out")),
    "no numbers of rows": (("--rows", ","), ("--rows is empty",)),
    "a package without a model": (("--base", "numpy"), ("package 'numpy' holds no model",)),
    "no folder with a base": (("--base", "../none"), ("there is no folder '../none'",)),
    "no base": (("--base", "no_such_base"), ("base 'no_such_base'", "name a folder with config.json")),
    "unknown regime": (("--regimes", "constant,ful"), ("regime 'ful' is not known", "did you mean 'full'?")),
    "no code": (("--model", "net.py:build"), ("--model 'net.py:build'", "file.py:build")),
}


@pytest.mark.parametrize("name", USE)
def test_a_command_that_cannot_be_carried_out(name: str, good: Path, base: Base, tmp_path: Path) -> None:
    words, said = USE[name]
    target = () if "--target" in words else ("--target", "price")
    refused(call("compare", good, *target, "--base", base.location, "--out", tmp_path / "study", *words), *said)
    assert not (tmp_path / "study").exists()  # so the corrected command may use it


def test_what_must_be_named_is_asked_for(good: Path, base: Base, tmp_path: Path) -> None:
    out = tmp_path / "run"
    refused(call("compare", good, "--out", out), "no target was named", "--target")
    refused(call("compare", "--target", "price", "--out", out), "no data was named")
    usual = ("fit", good, "--target", "price", "--base", base.location, "--out", out)
    refused(call(*usual), "no regime was named", "--regime")
    refused(call(*usual, "--regime", "full", "--rows", "20,30"), "rows is 20,30")
    assert not out.exists()
    assert call("compare", good, "--target", "price").code == 2  # --out


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
CONFIGS = {
    "unknown key": ("target: price\nsedes: 2\n", ("'sedes' is not known", "did you mean 'seeds'?", "settings.yaml")),
    "wrong value": ("target: price\nseeds: two\n", ("settings.yaml: seeds is 'two'", "correct seeds")),
    "a number for a name": ("target: 2019\n", ("target is 2019",)),
    "alias bomb": (BOMB, ("alias ('a')",)),
    "not YAML": ("target: [price\n", ("is not YAML",)),
    "a list": ("- price\n", ("holds no keys",)),
    "nothing": ("", ("holds no keys",)),
    "nested": ("target: " + "[" * 5000 + "]" * 5000, ("nested too deeply",)),
    "no date": ("target: 2024-13-45\n", ("cannot be read", "quotes")),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_that_cannot_be_used(name: str, good: Path, tmp_path: Path) -> None:
    text, said = CONFIGS[name]
    (tmp_path / "settings.yaml").write_text(text)
    answer = call("compare", good, "--config", tmp_path / "settings.yaml", "--out", tmp_path / "study")
    refused(answer, *said)
    assert not (tmp_path / "study").exists()


def test_a_config_that_is_not_there_or_no_text(good: Path, tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name, said in (("none.yaml", "cannot be read"), ("binary.yaml", "not UTF-8")):
        refused(call("check", good, "--config", tmp_path / name), name, said)


def test_an_out_that_exists_or_cannot_be_written_is_left_as_it_is(good: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    cases = {
        tmp_path / "file": "already exists",
        tmp_path / "full": "already exists",
        tmp_path / "file" / "study": "cannot be written",
        Path("/proc/study"): "cannot be written",
        tmp_path / ("x" * 300): "File name too long",
    }
    for command in (("compare",), ("fit", "--regime", "linear")):
        for out, said in cases.items():
            refused(call(*command, good, "--target", "price", "--out", out), said, str(out), "--out")
    assert (tmp_path / "file").read_text() == (tmp_path / "full" / "thesis.txt").read_text() == "mine"
    assert [entry.name for entry in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_folders_without_what_is_asked_of_them(good: Path, tmp_path: Path) -> None:
    for command in ("resume", "runs", "report"):
        refused(call(command, tmp_path), str(tmp_path), "neither a run nor a study")
        refused(call(command, tmp_path / "none"), "there is no folder")
    refused(call("predict", tmp_path, good), "no trained model")
    refused(call("predict", tmp_path / "none", good), "there is no folder")
    refused(call("predict", tmp_path, good, "--out", tmp_path / "new.docx"), "no ending that is known", ".parquet")
    for damaged in ("{", "[]", '{"data": 3}'):
        (tmp_path / "request.json").write_text(damaged)
        refused(call("resume", tmp_path), "request.json" if damaged != '{"data": 3}' else "data is 3")


def test_check_and_a_dry_run_fail_where_training_would(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "data.csv", ("title", "price"), list(zip(TITLES, [*GOOD[:38], "?", "?"], strict=True)))
    asked = ("check", data, "--target", "price")
    wrong = call(*asked, "--bad-rows", "refuse")
    told = " ".join(wrong.out.split())
    assert wrong.code == 2 and "2 values that are not numbers" in told and "--bad-rows drop" in told
    right = call(*asked)
    assert right.code == 0 and "Left out: column 'price' has 2 values" in right.out.replace("\n", " ")
    trial = ("compare", *asked[1:], "--out", tmp_path / "study", "--dry-run")
    for more, code in ((("--bad-rows", "refuse"), 2), ((), 0), (("--bad-rows", "drop"), 0)):
        answer = call(*trial, *more)
        assert answer.code == code and ("would run: " in answer.out) is (code == 0)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: [path.unlink() for path in folder.glob("*token*")], "the tokenizer of"),
        (lambda folder: (folder / "model.safetensors").unlink(), "could not be loaded"),
        (lambda folder: os.truncate(folder / "model.safetensors", 1000), "whole model.safetensors"),
    ],
)
def test_a_base_that_is_not_whole(damage: Callable[[Path], object], said: str, good: Path, tmp_path: Path) -> None:
    folder = Path(save_decoder(tmp_path / "base"))
    damage(folder)
    out = tmp_path / "run"
    refused(call("fit", good, "--target", "price", "--regime", "lora", "--base", folder, "--out", out, "--quiet"), said)
    assert not out.exists()


def test_a_size_that_is_too_small_leaves_nothing_behind(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.md"
    corpus.write_text(" ".join(f"word {i} of many." for i in range(4000)))
    asked = ("--task", "causal-lm", "--regime", "scratch", "--parameters", "30K", "--out", tmp_path / "run", "--quiet")
    refused(call("fit", corpus, *asked), "30,000 weights are too few", "--parameters")
    assert not (tmp_path / "run").exists()


def test_predictions_never_take_the_place_of_what_they_are_made_of(good: Path, tmp_path: Path) -> None:
    rows, run = tmp_path / "rows.csv", tmp_path / "run"
    rows.write_bytes(good.read_bytes())
    assert call("fit", good, "--target", "price", "--regime", "linear", "--out", run, "--quiet").code == 0
    refused(call("predict", run, rows, "--out", rows), "holds the rows to predict from", "--out")
    assert rows.read_bytes() == good.read_bytes()
    assert call("predict", run, rows, "--out", tmp_path / "new.csv", "--quiet").code == 0


def test_a_foreign_folder_is_not_offered_to_be_resumed(good: Path, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text('{"mine": 1}')
    (tmp_path / "thesis.txt").write_text("mine")
    answer = call("compare", good, "--target", "price", "--out", tmp_path)
    refused(answer, "already exists", "choose another folder")
    assert "resume" not in answer.err


def test_more_rows_than_there_are_is_said(good: Path, tmp_path: Path) -> None:
    asked = ("--target", "price", "--rows", "20,1000", "--regimes", "constant,linear", "--seeds", "1", "--quiet")
    answer = call("compare", good, *asked, "--out", tmp_path / "study")
    assert answer.code == 0
    assert "20, 1,000 training rows were asked for, but there are 4" in " ".join(answer.out.split())


def test_a_schema_of_anything_but_an_object(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"text": "a lamp", "facts": "{}"}\n' * 30)
    (tmp_path / "schema.json").write_text('{"type": "string"}')
    asked = ("--schema", tmp_path / "schema.json", "--target", "facts", "--text", "text")
    refused(
        call("compare", data, *asked, "--out", tmp_path / "study"),
        "describes values of type string, but an answer is an object",
    )
