"""Does any command ask the network for anything, where all that it needs is here?"""

import io
import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Never

import pytest

from tests.cli_base import call, products, write_csv
from tests.decoders import save_decoder
from tests.tiny import save_tiny_base

FEW = ("--trials", "1", "--length", "0.01", "--quiet")
STUDY = ("--regimes", "constant,linear,frozen", "--seeds", "1", *FEW)


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What a connection was asked for to. Code that catches the error is found all the same."""
    found: list[str] = []

    def refuse(*given: object, **more: object) -> Never:
        found.append(str(given[-1]))
        raise OSError("no network here")

    for kind, function in (
        (socket.socket, "connect"),
        (socket.socket, "connect_ex"),
        (socket, "getaddrinfo"),
        (socket, "gethostbyname"),
        (socket, "create_connection"),
    ):
        monkeypatch.setattr(kind, function, refuse)
    yield found
    assert found == []


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, a base, a study, a run with adapters, and a run that writes."""
    folder = tmp_path_factory.mktemp("place")
    products(folder / "t.csv", 80)
    save_tiny_base(folder / "base")
    decoder = save_decoder(folder / "decoder")
    rows = [{"prompt": f"what is lamp {i}", "completion": f"lamp {i}"} for i in range(40)]
    (folder / "chat.jsonl").write_text("\n".join(map(json.dumps, rows)))
    write_csv(folder / "pairs.csv", ("red", "blue"), [("small", "large")])
    table = (folder / "t.csv", "--target", "price", "--text", "title", "--base", folder / "base")
    for words in (
        ("compare", *table, *STUDY, "--out", folder / "study"),
        ("fit", *table, "--regime", "lora", *FEW, "--out", folder / "lora"),
        ("fit", folder / "chat.jsonl", "--base", decoder, "--regime", "lora", *FEW, "--out", folder / "chat"),
    ):
        answer = call(*words)
        assert answer.code in (0, 1), answer.err  # 1: it learned nothing in so few steps
    return folder


def test_the_guard_sees_a_connection(asked: list[str]) -> None:
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("127.0.0.1", 9))
    assert asked.pop() == "('127.0.0.1', 9)"


COMMANDS: dict[str, tuple[str, ...]] = {
    "check": ("check", "t.csv", "--target", "price", "--text", "title", "--base", "base"),
    "plan": ("plan", "t.csv", "--target", "price", "--text", "title", "--base", "base", *STUDY),
    "compare": ("compare", "t.csv", "--target", "price", "--text", "title", "--base", "base", *STUDY, "--out", "s"),
    "advise": ("advise", "t.csv", "--target", "price", "--text", "title", "--base", "base", *STUDY, "--out", "a"),
    "fit": ("fit", "t.csv", "--target", "price", "--base", "base", "--regime", "frozen", *FEW, "--out", "f"),
    "predict of a study": ("predict", "study", "t.csv"),
    "predict with adapters": ("predict", "lora", "t.csv"),
    "predict by writing": ("predict", "chat", "chat.jsonl"),
    "chat": ("chat", "chat", "--max-tokens", "3"),
    "probe": ("probe", "study", "--swap", "pairs.csv"),
    "report": ("report", "study"),
    "runs": ("runs", "study"),
    "resume": ("resume", "study"),
    "init": ("init", "t.csv", "--target", "price", "--out", "y.yaml"),
    "regimes": ("regimes",),
    "doctor": ("doctor",),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_asks_the_network(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "stdin", io.StringIO("what is lamp 3\n/quit\n"))
    answer = call(*COMMANDS[name])
    assert answer.code == 0, answer.err
