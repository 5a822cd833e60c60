"""Is every wrong input one clear message, exit code 2, and nothing left behind or lost?"""

import math
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli_base import Answer, call, products, write_csv
from warmstart.weights import Base

TURNS = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
MESSAGE = re.compile(r"error: [^\n]+\nhint: [^\n]+\n")
TITLES = [f"title number {i}" for i in range(40)]


def refused(answer: Answer, *said: str) -> None:
    """One message of one form with these words in it, exit code 2, nothing on stdout."""
    assert MESSAGE.fullmatch(answer.err), answer.err
    for words in said:
        assert words in answer.err
    assert (answer.code, answer.out) == (2, "")


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
    "class of one row": (table(*["a"] * 20, *["b"] * 19, "c"), ("single row", "40", "--drop-bad-rows")),
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
    refused(call("compare", data, "--target", "price", "--out", tmp_path / "study"), *said)
    assert not (tmp_path / "study").exists()
    assert data.read_bytes() == before


def lines(*odd: str) -> Callable[[Path], Path]:
    """JSON lines of conversations, 40 good ones before these."""
    return content((TURNS * 40 + "".join(odd)).encode(), ".jsonl")


CORPORA: dict[str, tuple[Callable[[Path], Path], tuple[str, ...], tuple[str, ...]]] = {
    "roles out of order": (lines(TURNS.replace("assistant", "user")), (), ("row 41: turn 2 is of the user",)),
    "empty turn": (lines(TURNS.replace('"a"', '" "')), (), ("row 41: turn 1 (user) is empty",)),
    "unknown role": (lines(TURNS.replace('"user"', '"bot"')), (), ("row 41: turn 1 has the role 'bot'",)),
    "cut short": (lines(TURNS[:-9]), (), ("row 41 (line 41) is not valid JSON", "was the file cut off?")),
    "no conversations": (lines(), ("--text", "messages", "--task", "causal-lm", "--target", "x"), ("no column 'x'",)),
    "no answers": (
        content((TURNS.replace("assistant", "user") * 30).encode(), ".jsonl"),
        (),
        ("30 conversations without a turn of the assistant", "--drop-bad-rows"),
    ),
    "binary": (content(b"\x7fELF\0\1", ".txt"), (), ("data.txt holds a NUL byte",)),
    "no UTF-8": (content(b"caf\xe9 au lait", ".txt"), (), ("data.txt is not UTF-8", "0xe9", "iconv")),
    "too short": (content(b"one line", ".md"), (), ("1 pieces of at most 768 bytes", "20 are needed")),
    "blank": (content(b" \n", ".md"), (), ("nothing to read in 'text' (data.md)",)),
    "no schema": (
        content(b'{"text": "a lamp", "facts": "{}"}\n' * 30, ".jsonl"),
        ("--schema", "none.json", "--target", "facts", "--text", "text"),
        ("'none.json' cannot be read", "check --schema"),
    ),
    "parameters": (lines(), ("--parameters", "many"), ("'many' is no number of parameters", "--parameters 10M")),
    "few parameters": (lines(), ("--parameters", "3"), ("parameters is 3", "correct --parameters")),
    "tokens": (lines(), ("--tokens", "1.5"), ("'1.5' is no number of tokens",)),
    "few tokens": (lines(), ("--tokens", "10M,9"), ("tokens is 10000000,9", "at least 1,000")),
}


@pytest.mark.parametrize("name", CORPORA)
def test_texts_that_no_language_can_be_learned_from(name: str, tmp_path: Path) -> None:
    write, words, said = CORPORA[name]
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
    "max train": (("--max-train", "soon"), ("'soon' is no length of time",)),
    "worth": (("--worth", "little"), ("'little' is no share", "1%")),
    "worth of nothing known": (("--worth", "nan"), ("worth is nan",)),
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
    "no base": (("--base", "no_such_base"), ("base 'no_such_base'", "pip install no-such-base")),
    "unknown regime": (("--regimes", "constant,ful"), ("regime 'ful' is not known", "did you mean 'full'?")),
    "no code": (("--model", "net.py:build"), ("--model 'net.py:build'", "file.py:build")),
}


@pytest.mark.parametrize("name", USE)
def test_a_command_that_cannot_be_carried_out(name: str, good: Path, base: Base, tmp_path: Path) -> None:
    words, said = USE[name]
    usual = ("compare", good, "--target", "price", "--base", base.location, "--out", tmp_path / "study")
    refused(call(*usual, *words), *said)
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
        tmp_path / "file": "exists already",
        tmp_path / "full": "exists already",
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
