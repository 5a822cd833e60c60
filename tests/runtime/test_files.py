"""Files: nothing is written through a link, nothing is half written, nothing damaged is read as if it were whole."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from warmstart.errors import InputError
from warmstart.runtime.files import (
    check_links,
    find_portable,
    plain_name,
    portable_path,
    read_fields,
    read_json,
    read_parquet,
    read_tensors,
    replacing,
    write_arrays,
    write_json,
    write_parquet,
    write_text,
)


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "study"
    victim.write_text("precious")
    folder.mkdir()
    for name in ("report.html", "report.html.tmp", "run.json", "run.json.tmp", "scores.parquet"):
        (folder / name).symlink_to(victim)
    write_text(folder / "report.html", "<p>")
    write_json(folder / "run.json", {"a": 1})
    write_parquet(folder / "scores.parquet", pa.table({"a": [1]}))
    assert victim.read_text() == "precious"
    assert not any((folder / name).is_symlink() for name in ("report.html", "run.json", "scores.parquet"))
    assert not list(folder.glob(".*.tmp"))


def test_a_file_that_was_not_written_to_its_end_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_text_is_utf_8_whatever_the_locale_and_half_a_character_does_not_stop_it(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "größer \ud83d")
    assert (tmp_path / "a").read_bytes() == "größer ?".encode()


@dataclass(frozen=True)
class Facts:
    name: str
    scores: tuple[float, ...]
    more: dict[str, int] | None = None


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "Expecting property name"),
        ("[1]", "valid dictionary"),
        ("null", "valid dictionary"),
        ("{}", "lacks 'name'"),
        ('{"name": "x", "scores": "no"}', "scores: it is 'no'"),
        ('{"name": [], "scores": []}', "name: it is \\[\\]"),
        ('{"name": "x", "scores": [1, null]}', "scores: 1 is None"),
        ('{"name": "x", "scores": [], "more": {"a": "b"}}', "more: a is 'b'"),
        ('{"name": "x", "scores": [], "other": 1}', "key 'other' is not known"),
        ("[" * 100_000, "nested too deeply"),
        ("\xff", "can.t decode byte"),
    ],
)
def test_a_file_of_ours_that_is_damaged_is_told_with_what_to_do(tmp_path: Path, content: str, what: str) -> None:
    path = tmp_path / "facts.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=f"(?s)facts.json is damaged.*{what}") as error:
        read_fields(path, Facts, "make it again")
    assert error.value.hint == "make it again"


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": "ä", "scores": [1, 0.1], "more": {"n": 3}})
    assert Facts(**read_fields(tmp_path / "a.json", Facts)) == Facts("ä", (1.0, 0.1), {"n": 3})
    assert read_json(tmp_path / "a.json", dict[str, object])["name"] == "ä"


@pytest.mark.timeout(10)
def test_a_pipe_or_a_folder_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    for name in ("pipe.json", "folder.json"):
        with pytest.raises(InputError, match="is damaged"):
            read_json(tmp_path / name, dict[str, int])


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 100])
def test_columns_that_are_damaged_or_of_another_kind_are_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.parquet is damaged"):
        read_parquet(tmp_path / "a.parquet", {})
    write_parquet(tmp_path / "b.parquet", pa.table({"row": ["x"]}))
    with pytest.raises(InputError, match="column 'row' is of type string"):
        read_parquet(tmp_path / "b.parquet", {"row": "integer"})
    with pytest.raises(InputError, match="no column 'text'"):
        read_parquet(tmp_path / "b.parquet", {"text": "text"})


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 16, (10**9).to_bytes(8, "little") + b"{}"])
def test_tensors_that_are_damaged_are_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.safetensors is damaged"):
        read_tensors(tmp_path / "a.safetensors")


def test_names_that_lead_out_of_a_folder_are_none() -> None:
    assert plain_name("full-r1200-s0") and plain_name("lora@org--base.1")
    assert not any(map(plain_name, ("", ".", "..", "../x", "a/b", "/etc", "a\\b", "a\n", "x" * 300, 3, None)))


def test_a_link_out_of_a_folder_of_ours_is_refused_and_one_inside_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    (folder / "runs").mkdir(parents=True)
    (folder / "inside").symlink_to(folder / "runs")
    check_links(folder)
    (folder / "runs" / "out").symlink_to(tmp_path)
    with pytest.raises(InputError, match="is a link to something outside"):
        check_links(folder)


def test_a_path_is_kept_without_the_folders_that_both_are_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, run = tmp_path / "models" / "bert", tmp_path / "studies" / "a" / "runs" / "x"
    for folder in (base, run):
        folder.mkdir(parents=True)
    assert portable_path(base, run) == "models/bert"
    assert find_portable("models/bert", run) == base
    monkeypatch.setenv("HOME", str(tmp_path / "studies"))
    assert portable_path(run, base) == "~/a/runs/x" and find_portable("~/a/runs/x", base) == run
    assert find_portable("models/none", run) is None


def test_no_module_writes_or_reads_text_in_the_encoding_of_the_locale() -> None:
    import warmstart

    wrong = []
    for path in sorted(Path(warmstart.__file__).parent.rglob("*.py")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if "/proc" in line or ("read_text()" in line and path.name in ("device.py", "environment.py")):
                continue  # of the system, in ASCII
            if re.search(r"\.(read_text\(\)|write_text\([^)]*\)$|open\(\)|open\(\"[wax]\"\))", line) and (
                "encoding" not in line
            ):
                wrong.append(f"{path.name}:{number}: {line.strip()}")
            if '".tmp"' in line and path.name not in ("files.py", "checkpoint.py", "gguf_import.py"):
                wrong.append(f"{path.name}:{number}: {line.strip()}")
    assert not wrong


def test_a_file_that_its_writer_makes_anew_can_be_read_like_the_others(tmp_path: Path) -> None:
    write_text(tmp_path / "a.json", "{}")
    write_arrays(tmp_path / "a.safetensors", {"a": np.zeros(2, dtype=np.float32)})
    modes = {(tmp_path / name).stat().st_mode for name in ("a.json", "a.safetensors")}
    assert len(modes) == 1
