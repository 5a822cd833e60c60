"""Do the commands of README and docs/ run? `make docs-test`; takes minutes, so `make test` only parses them.

All commands of a document run in their order in one folder with generated data, on bases with random weights. To take
seconds, a training gets a few steps, one learning rate and few regimes, unless the document says which. Some commands
need a study of a certain kind, which a sentence of the document speaks of: `BEFORE` makes it.
"""

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.cli_base import Answer, call
from tests.doc_commands import DOCUMENTS, ROOT, DocumentCommand, commands_of
from tests.doc_data import DECODER, ENCODER, make_all

WRITING = ("contracts.", "chats.", "news.", "packages.", "licences.", "articles.", "corpus/")  # data that are generated
IMAGES = ("photos/", "products.csv", "train-images")
TRAINS = ("compare", "advise", "fit")
START = [sys.executable, "-m", "warmstart"]
FEW = "--trials 1 --length 0.05"
TICKETS = f"warmstart fit tickets.csv --target team --text text {FEW} --base {ENCODER}"
CHATS = f"warmstart fit chats.jsonl {FEW} --base {DECODER}"
# What is there before a command, by document and its beginning: the study or run that it is about.
BEFORE = {
    ("export.md", "warmstart export study --to onnx --out model"): f"{TICKETS} --regime full --out study",
    ("export.md", "warmstart export study --to merged"): f"{TICKETS} --regime lora --out study",
    ("export.md", "warmstart export study --to gguf"): f"{CHATS} --regime full --out study",
    ("export.md", "warmstart push"): f"{TICKETS} --regime full --out study",
    ("inherits.md", "warmstart probe study"): f"warmstart compare tickets.csv --target team --text text {FEW} "
    f"--seeds 1 --base {ENCODER} --regimes linear,scratch,frozen --out study",
    ("inherits.md", "warmstart probe run"): f"{TICKETS} --regime linear --out run",
    ("plan.md", "warmstart plan --task"): f"warmstart fit prices.csv --target price {FEW} --regime linear --out run",
    ("new-data.md", "warmstart compare"): f"warmstart fit tickets.csv --target section --text text {FEW} "
    f"--base {ENCODER} --regime full --out old-study",
}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_all(folder)
    return folder


@pytest.mark.parametrize("document", [each for each in DOCUMENTS if any(commands_of(each))], ids=lambda path: path.name)
def test_the_commands_of_a_document_run(
    document: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "work"
    shutil.copytree(data, place)
    monkeypatch.chdir(place)
    failed = []
    for command in commands_of(document):
        if command.only_parsed:
            print(f"only parsed ({command.only_parsed}): {command.line}", file=sys.__stderr__)
            continue
        for (name, begin), before in BEFORE.items():
            if name == document.name and command.matches(begin):
                made = before.split()[1:]
                shutil.rmtree(made[-1], ignore_errors=True)
                assert call(*made, "--quiet").code == 0, before
        began = time.monotonic()
        answer = run(command)
        print(f"{time.monotonic() - began:5.1f} s  {document.name}: {command.line}", file=sys.__stderr__, flush=True)
        if answer.code != 0:
            failed.append(f"{command.line}\n{answer.err[-1500:]}{answer.out[-500:]}")
            print(f"FAILED with {answer.code}: {failed[-1]}", file=sys.__stderr__, flush=True)
    assert not failed, "\n\n".join(failed)


def run(command: DocumentCommand) -> Answer:
    """Run it as it is written, with fewer steps; what it writes is not there yet."""
    words = [*command.arguments, *smaller(command)]
    if command.name != "resume" and "--out" in words:
        out = Path(words[words.index("--out") + 1])
        shutil.rmtree(out, ignore_errors=True) if out.is_dir() else out.unlink(missing_ok=True)
    if command.launcher:
        return launched([*command.launcher, "warmstart", command.name, *words])
    if command.name == "serve":
        return served(words)
    if "--votes" in words:
        vote(Path(words[0]))
    with patch.object(sys, "stdin", io.StringIO("Where is the fox?\n/quit\n")):
        answer = call(command.name, *words)
    if command.written_to:
        Path(command.written_to).write_text(answer.out, encoding="utf-8")
    return answer


def smaller(command: DocumentCommand) -> list[str]:
    """Flags that make a training short, where the document says nothing else, and the base with random weights."""
    words = command.arguments
    more = []
    if command.name in (*TRAINS, "check", "plan") and "--base" not in words:
        more += base_for(words)
    short: dict[str, str] = {}
    if command.name in TRAINS:
        short = {"--trials": "1", "--length": "0.05"} | ({} if command.name == "fit" else {"--seeds": "1"})
    chosen = command.name in ("plan", "compare", "advise") and words[:1] != ("--task",)  # of the log: no data
    if chosen and not any(word.startswith(IMAGES) for word in words):
        short["--regimes"] = "full,lora" if DECODER in base_for(words) else "constant,linear,frozen"
    stated = " ".join(words)
    more += [word for flag, value in short.items() if flag[2:] not in stated for word in (flag, value)]
    return more


def base_for(words: tuple[str, ...]) -> list[str]:
    """The base with random weights for the data of a command; none for images, and where random weights are trained."""
    written = "--fields" in words or any(word.startswith(WRITING) for word in words)
    pictured = any(word.startswith(IMAGES) for word in words) and "--fields" not in words
    if not words or pictured or "--parameters" in words:
        return []
    return ["--base", DECODER if written else ENCODER]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}


def launched(words: list[str]) -> Answer:
    """Started by torchrun, as modules of this Python."""
    assert words[0] == "torchrun"
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words[1:]], env=environment(), capture_output=True, text=True
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def served(words: list[str]) -> Answer:
    """Started, asked how it is, and stopped."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [*START, "serve", *words, "--port", str(port)], env=environment(), stdout=pipe, stderr=pipe, text=True
    )
    healthy = False
    for _ in range(240):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
                healthy = reply.status == 200
            break
        except OSError:
            time.sleep(0.5)
            if process.poll() is not None:
                break
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    return Answer(0 if healthy else 1, out, err)


def vote(study: Path) -> None:
    """The votes of a person who always prefers the left answer, as the page's button saves them."""
    page = (study / "blind.html").read_text(encoding="utf-8")
    name = re.findall(r'data-page="([0-9a-f]+)"', page)[0]
    pairs = page.count("<article")
    Path("votes.json").write_text(json.dumps({"page": name, "votes": {str(i + 1): "left" for i in range(pairs)}}))
