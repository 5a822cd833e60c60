"""Cases: each makes something hostile of good material, and says which command meets it and what must come of it."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hostile.material import change, header, repeated_cell, replaced, rows_of_keys

Kind = Literal["model folder", "table", "study folder", "surroundings"]

CHECK = ("check", "t.csv", "--target", "price", "--base", "bert")
FIT = ("fit", "t.csv", "--target", "price", "--base", "bert", "--regime", "frozen", "--out", "o", "--quiet")
PREDICT = ("predict", "run", "t.csv", "--quiet")
REPORT = ("report", "study")


@dataclass(frozen=True)
class Case:
    """One hostile input. `make` changes the material in a folder; `words` is the command that meets it."""

    name: str
    kind: Kind
    make: Callable[[Path], object]
    words: tuple[str, ...]
    code: int | tuple[int, ...] = 2  # the exit code that is right, or several
    says: str = ""  # a part of what must be said, on stdout or stderr
    environment: dict[str, str] = field(default_factory=dict)
    stdin: str = ""
    shell: str = ""  # redirections, in surroundings alone

    @property
    def codes(self) -> tuple[int, ...]:
        return self.code if isinstance(self.code, tuple) else (self.code,)


def _evil(folder: Path, body: Path) -> None:
    """A model that brings code: it makes the file EXECUTED where it is run."""
    (body / "evil.py").write_text(
        f"open({str(folder / 'EXECUTED')!r}, 'w')\nfrom transformers import BertConfig as EvilConfig\n",
        encoding="utf-8",
    )
    change(body / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.EvilConfig"})


def _config(name: str, **values: object) -> Case:
    return Case(f"config.json: {name}", "model folder", lambda f: change(f / "bert" / "config.json", **values), FIT)


def _text(name: str, file: str, content: str, words: tuple[str, ...], kind: Kind) -> Case:
    return Case(f"{name} is {content[:12]}", kind, lambda f: (f / file).write_text(content, encoding="utf-8"), words)


def _victim(folder: Path, link: str) -> None:
    """A link in a folder of ours, to a file in the same place: links that lead elsewhere are refused anyway."""
    victim = folder / Path(link).parts[0] / "victim"
    victim.write_text("precious", encoding="utf-8")
    path = folder / link
    path.unlink(missing_ok=True)
    path.symlink_to(victim)


MODEL_FOLDERS = [
    Case("code, y on stdin", "model folder", lambda f: _evil(f, f / "bert"), FIT, says="never run", stdin="y\n" * 99),
    _config("a width of 10^9", hidden_size=10**9),
    _config("labels of 10^9", num_labels=10**9),
    _config("a million layers", num_hidden_layers=10**6),
    _config("no heads", num_attention_heads=0),
    _config("no such activation", hidden_act="x"),
    _config("a small vocabulary", vocab_size=3),
    _config("padding far away", pad_token_id=10**9),
    _config("dropout that is a text", hidden_dropout_prob="x"),
    _config("a type that is a module", dtype="os"),
    _config("a quantization that is a list", quantization_config=[1]),
    _text("config.json", "bert/config.json", "[]", CHECK, "model folder"),
    _text("config.json", "bert/config.json", "[" * 100_000, CHECK, "model folder"),
    _text("tokenizer.json", "bert/tokenizer.json", "{", CHECK, "model folder"),
    _text("tokenizer_config.json", "bert/tokenizer_config.json", "[]", FIT, "model folder"),
    Case(
        "tokenizer that makes 10^8 of one",
        "model folder",
        lambda f: change(f / "bert" / "tokenizer.json", normalizer=replaced("e", 5)),
        CHECK,
        says="characters of one",
    ),
    Case(
        "adapters beside the model",
        "model folder",
        lambda f: change(f / "bert" / "adapter_config.json", peft_type="LORA"),
        FIT,
        says="which of the two",
    ),
    Case(
        "weights that are none",
        "model folder",
        lambda f: (f / "bert" / "model.safetensors").write_bytes(b"\xff" * 99),
        FIT,
    ),
    Case("a pipe", "model folder", lambda f: os.mkfifo(f / "bert" / "generation_config.json"), FIT),
]

TABLES = [
    Case("200,000 columns", "table", lambda f: header(f / "x.csv", 200_000), ("check", "x.csv", "--target", "c0")),
    Case(
        "a key of its own in each row",
        "table",
        lambda f: rows_of_keys(f / "x.jsonl", 20_000),
        ("check", "x.jsonl", "--target", "price"),
    ),
    Case(
        "Parquet of 4 KB that unpacks to 4 GB",
        "table",
        lambda f: repeated_cell(f / "x.parquet", 400_000, 10_000),
        ("check", "x.parquet", "--target", "price"),
        says="would unpack",
    ),
    Case("a pipe", "table", lambda f: os.mkfifo(f / "x.csv"), ("check", "x.csv", "--target", "price")),
    Case(
        "escapes in a column's name",
        "table",
        lambda f: (f / "x.csv").write_text("title,\x1b]0;owned\x07x\na,1\nb,2\n", encoding="utf-8"),
        ("check", "x.csv", "--target", "price"),
    ),
    Case(
        "a schema that is fetched",
        "table",
        lambda f: (f / "s.json").write_text(
            json.dumps({"type": "object", "properties": {"t": {"$dynamicRef": "http://127.0.0.1:9/x.json"}}}),
            encoding="utf-8",
        ),
        ("check", "t.csv", "--task", "structured", "--text", "title", "--target", "price", "--schema", "s.json"),
        says="not in it",
    ),
]

STUDY_FOLDERS = [
    *(_text("model.json", "run/model.json", text, PREDICT, "study folder") for text in ("[]", "null", '{"format": 1}')),
    *(_text("run.json", "run/run.json", text, ("runs", "run"), "study folder") for text in ("[1]", "{}", "{")),
    _text("request.json", "run/request.json", "[" * 100_000, ("runs", "run"), "study folder"),
    *(_text("study.json", "study/study.json", text, REPORT, "study folder") for text in ("[1]", "{}", "{")),
    _text("findings.json", "study/findings.json", "[1]", REPORT, "study folder"),
    Case(
        "a run outside",
        "study folder",
        lambda f: change(f / "study" / "study.json", runs=["../../run"]),
        REPORT,
        says="not a name of something in its folder",
    ),
    Case("head.safetensors is none", "study folder", lambda f: (f / "run/head.safetensors").write_text("x"), PREDICT),
    Case("code, y on stdin", "study folder", lambda f: _evil(f, f / "run" / "body"), PREDICT, stdin="y\n" * 99),
    Case("report.html is a link", "study folder", lambda f: _victim(f, "study/report.html"), REPORT, 0),
    Case("report.html.tmp is a link", "study folder", lambda f: _victim(f, "study/report.html.tmp"), REPORT, 0),
    Case(
        "a link that leads out",
        "study folder",
        lambda f: (f / "study" / "runs" / "out").symlink_to(f / "run"),
        REPORT,
        says="is a link to something outside",
    ),
    Case("lock is a link", "study folder", lambda f: _victim(f, "study/lock"), ("resume", "study"), 0),
]


def nothing(folder: Path) -> None:
    """Nothing is made: the surroundings alone are hard."""


RUNS = ("runs", "study")

SURROUNDINGS = [
    Case("a width of 0", "surroundings", nothing, RUNS, 0, "linear", {"COLUMNS": "0"}),
    Case(
        "a locale that is not UTF-8",
        "surroundings",
        lambda f: (f / "x.csv").write_text(
            "title,größe\n" + "".join(f"oak {i},€ 1\nelm {i},ß\n" for i in range(40)), encoding="utf-8"
        ),
        ("check", "x.csv", "--target", "größe"),
        0,
        "größe",
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ),
    Case("a full disk for the output", "surroundings", nothing, RUNS, 1, "space", shell="> /dev/full"),
    Case("a closed output", "surroundings", nothing, RUNS, 0, shell=">&-"),
    Case("a closed input", "surroundings", nothing, RUNS, 0, "linear", shell="<&-"),
    Case("closed errors", "surroundings", nothing, RUNS, 0, "linear", shell="2>&-"),
]

CASES = [*MODEL_FOLDERS, *TABLES, *STUDY_FOLDERS, *SURROUNDINGS]
