"""Damages: cases that follow from combining what is there: keys and odd values, formats and odd contents."""

import gzip
import zipfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

from hostile.cases import CHECK, FIT, PREDICT, REPORT, Case, Kind
from hostile.material import change

EITHER = (0, 2)  # some of these values mean something harmless: what counts is that there is no traceback, and no hang
ODD_VALUES: dict[str, object] = {
    "null": None,
    "-1": -1,
    "a text": "x",
    "a list": [],
    "an object": {"a": 1},
    "10^18": 10**18,
    "a fraction": 0.3,
    "true": True,
}
CONFIG_KEYS = (
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "vocab_size",
    "hidden_act",
    "model_type",
    "architectures",
    "layer_norm_eps",
    "initializer_range",
    "pad_token_id",
    "type_vocab_size",
)
JUNK: dict[str, bytes] = {
    "empty": b"",
    "zero bytes": b"\0" * 4096,
    "all bytes": bytes(range(256)) * 8,
    "a deep list": b"[" * 50_000,
    "a deep object": b'{"a":' * 20_000,
    "half a character": b'{"title": "\xff\xfe", "price": 1}\n',
    "a surrogate": b'{"title": "\\ud800", "price": 1}\n' * 30,
    "a number of 5,000 digits": b'{"title": "a", "price": ' + b"9" * 5_000 + b"}\n",
}
ENDINGS: tuple[str, ...] = ("csv", "jsonl", "json", "parquet", "arrow", "xlsx", "csv.gz", "zip", "sqlite")
OURS: tuple[str, ...] = (
    "run/model.json",
    "run/run.json",
    "run/request.json",
    "study/study.json",
    "study/comparison.json",
    "study/advice.json",
    "study/plan.json",
    "study/findings.json",
    "study/examples.parquet",
)
OUR_JUNK = {"null": b"null", "a number": b"7", "a text": b'"x"', "a list of one": b"[1]", "deep": b"[" * 50_000}
OUR_JUNK |= {"nothing": b"", "bytes": b"\xff\xfe\0"}


def _value(key: str, value: object) -> Callable[[Path], object]:
    return lambda folder: change(folder / "bert" / "config.json", **{key: value})


def _content(file: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_bytes(content)


def _packed(ending: str, content: bytes) -> bytes:
    """The content in what its ending says it is packed in."""
    return gzip.compress(content) if ending.endswith(".gz") else content


def _zip(names: list[str], content: bytes) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.writestr(name, content)

    return write


def _cut(file: str, share: float) -> Callable[[Path], object]:
    def cut(folder: Path) -> None:
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[: int(share * len(content))])

    return cut


def _header(length: int) -> Callable[[Path], object]:
    """A safetensors file whose header says that it is so long."""
    return lambda folder: (folder / "bert/model.safetensors").write_bytes(length.to_bytes(8, "little") + b"{}")


def _tokenizer(**values: object) -> Callable[[Path], object]:
    return lambda folder: change(folder / "bert" / "tokenizer.json", **values)


def _with(kind: Kind, name: str, make: Callable[[Path], object], words: tuple[str, ...]) -> Case:
    return Case(name, kind, make, words, EITHER)


CONFIGS = [
    _with("model folder", f"config.json: {key} is {name}", _value(key, value), FIT)
    for (name, value), key in product(ODD_VALUES.items(), CONFIG_KEYS)
]
WEIGHTS = [
    *(
        _with("model folder", f"check of a config.json whose {key} is {name}", _value(key, value), CHECK)
        for key, (name, value) in product(("max_position_embeddings", "model_type"), ODD_VALUES.items())
    ),
    *(
        _with("model folder", f"weights cut to {share:.0%}", _cut("bert/model.safetensors", share), FIT)
        for share in (0.1, 0.9)
    ),
    *(_with("model folder", f"a header of {size} bytes", _header(size), FIT) for size in (0, 10**9, 2**63 - 1)),
    *(
        _with("model folder", f"tokenizer.json: {key} is {name}", _tokenizer(**{key: value}), CHECK)
        for key, (name, value) in product(("model", "pre_tokenizer", "added_tokens"), ODD_VALUES.items())
    ),
]
TABLES = [
    *(
        _with(
            "table",
            f"{name} as .{ending}",
            _content(f"x.{ending}", _packed(ending, content)),
            ("check", f"x.{ending}", "--target", "price"),
        )
        for (name, content), ending in product(JUNK.items(), ENDINGS)
    ),
    *(
        _with("table", f"an archive of {name}", _zip(names, content), ("check", "x.zip", "--target", "price"))
        for name, names, content in (
            ("a path outside", ["../../x.csv"], b"title,price\na,1\n"),
            ("two tables", ["a.csv", "b.csv"], b"title,price\na,1\n"),
            ("nothing", [], b""),
            ("a bomb", ["a.csv"], b"title,price\n" + b"a,1\n" * 50_000_000),
        )
    ),
]
STUDY_FOLDERS = [
    _with(
        "study folder",
        f"{file} is {name}",
        _content(file, content),
        PREDICT if file.endswith("model.json") else ("runs", "run") if file.startswith("run/") else REPORT,
    )
    for (name, content), file in product(OUR_JUNK.items(), OURS)
]

RUNS = ("runs", "study")
SURROUNDINGS = [
    *(
        Case(f"{name} is {value!r}", "surroundings", lambda folder: None, RUNS, 0, "linear", {name: value})
        for name, value in (
            ("COLUMNS", "-3"),
            ("COLUMNS", "x"),
            ("COLUMNS", "100000000000"),
            ("LINES", "0"),
            ("TERM", ""),
            ("TERM", "dumb"),
            ("NO_COLOR", "1"),
            ("LC_ALL", "tr_TR.UTF-8"),
            ("LC_ALL", "xx"),
            ("LANG", ""),
            ("TZ", "x/y"),
            ("PYTHONUTF8", "0"),
            ("PYTHONIOENCODING", "latin-1"),
            ("PYTHONWARNINGS", "error"),
            ("HOME", "/nonexistent"),
            ("XDG_CACHE_HOME", "/nonexistent"),
            ("OMP_NUM_THREADS", "x"),
            ("CUDA_VISIBLE_DEVICES", "7"),
        )
    ),
    Case(
        "no folder for temporary files", "surroundings", lambda f: None, RUNS, 0, "linear", {"TMPDIR": "/nonexistent"}
    ),
    Case(
        "an output folder that is a file",
        "surroundings",
        lambda f: (f / "o").write_text("x", encoding="utf-8"),
        FIT,
        2,
    ),
    Case(
        "an output folder below a file",
        "surroundings",
        lambda f: None,
        (*FIT[:-2], "t.csv/o", "--quiet"),
        2,
    ),
]

DAMAGES = [*CONFIGS, *WEIGHTS, *TABLES, *STUDY_FOLDERS, *SURROUNDINGS]
