"""Prompted endpoint: is a chat model elsewhere asked once, within its bound, and never without leave?"""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli_base import call
from tests.tiny import save_tiny_base
from warmstart.baselines.baseline import FitData
from warmstart.baselines.baselines import load_baseline
from warmstart.baselines.prompted_endpoint import PromptedEndpoint, fit_prompted_endpoint, named_label
from warmstart.data.rows.split import Rows
from warmstart.errors import InputError, MissingError, TrainingError, UsageError
from warmstart.runtime import endpoint as module
from warmstart.runtime.endpoint import KEY_VARIABLE, Endpoint
from warmstart.tasks.classification import Classification
from warmstart.tasks.regression import Regression

KINDS = Classification("kind", ("cat", "dog", "fox"))
TEXTS = [f"a {kind} number {i}" for i in range(8) for kind in KINDS.classes]


class Stub(BaseHTTPRequestHandler):
    """Answers with the animal of the last question; logs nothing."""

    asked: list[dict[str, Any]]
    keys: list[str | None]
    statuses: list[int]  # that come first
    reply: str | None  # instead of an answer
    url: str

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = self.statuses.pop(0) if self.statuses else 200
        self.asked.append(body)
        self.keys.append(self.headers.get("Authorization"))
        text = body["messages"][-1]["content"].rpartition("\n")[2]
        said = next((f"It is a **{kind}**." for kind in KINDS.classes if kind in text), "no idea")
        if "number 3" in text:
            said = "who knows"
        made = {"choices": [{"message": {"content": said}}], "usage": {"total_tokens": 7}}
        sent = (self.reply or json.dumps(made)).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *given: object) -> None: ...


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Stub]]:
    monkeypatch.setattr(module, "WAITS", (0.0, 0.0))
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    Stub.asked, Stub.keys, Stub.statuses, Stub.reply = [], [], [], None
    server = HTTPServer(("127.0.0.1", 0), Stub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    Stub.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield Stub
    server.shutdown()
    thread.join()
    server.server_close()


def endpoint_at(stub: type[Stub], folder: Path, tokens: int = 100_000) -> Endpoint:
    return Endpoint.of(stub.url, "tiny", tokens, 0.5).at(folder / "endpoint.jsonl")


def rows_of(targets: list[Any], texts: list[str]) -> Rows:
    column = np.array(targets, dtype=object if isinstance(targets[0], str) else np.float64)
    return Rows(tuple(texts), column, np.arange(1, len(texts) + 1), tuple(texts))


CLASSES = rows_of([text.split()[1] for text in TEXTS], TEXTS)


def test_answers_are_parsed_and_unreadable_ones_counted(stub: type[Stub], tmp_path: Path) -> None:
    fitted = fit_prompted_endpoint(FitData(KINDS, CLASSES, endpoint=endpoint_at(stub, tmp_path)))
    asked = fitted.baseline
    assert isinstance(asked, PromptedEndpoint) and [t.settings["examples"] for t in fitted.trials] == [0, 4, 16]
    outputs = asked.outputs(TEXTS)
    right = outputs.argmax(1) == KINDS.targets(CLASSES)
    assert right[[i for i, text in enumerate(TEXTS) if "number 3" not in text]].all()
    assert fitted.caveats == (
        "3 of 24 answers to validation rows named no answer that was offered: they count as the most common class.",
    )
    roles = [message["role"] for message in stub.asked[-1]["messages"]]
    assert roles[::2] == ["user"] * len(roles[::2]) and stub.asked[0]["temperature"] == 0
    assert stub.keys[0] is None


def test_what_was_answered_is_not_asked_again(stub: type[Stub], tmp_path: Path) -> None:
    asked = endpoint_at(stub, tmp_path)
    first = fit_prompted_endpoint(FitData(KINDS, CLASSES, endpoint=asked)).baseline.outputs(TEXTS)
    count = len(stub.asked)
    with (tmp_path / "endpoint.jsonl").open("a") as file:
        file.write('{"key": "cut sho')  # the process was killed while it wrote
    again = fit_prompted_endpoint(FitData(KINDS, CLASSES, endpoint=asked)).baseline
    assert (again.outputs(TEXTS) == first).all() and len(stub.asked) == count
    again.outputs(["a new dog"])
    again.outputs(["a new dog"])
    assert len(stub.asked) == count + 1
    assert "dog number" not in (tmp_path / "endpoint.jsonl").read_text(), "no text of a row is kept"
    again.alone().outputs(["a new dog"])
    assert len(stub.asked) == count + 2, "how long an answer takes is measured by asking"


def test_a_saved_model_asks_only_with_leave(stub: type[Stub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = fit_prompted_endpoint(FitData(KINDS, CLASSES, endpoint=endpoint_at(stub, tmp_path))).baseline
    fitted.save(tmp_path / "saved")
    count = len(stub.asked)
    loaded = load_baseline(tmp_path / "saved")
    assert (loaded.outputs(TEXTS) == fitted.outputs(TEXTS)).all() and len(stub.asked) == count
    with pytest.raises(MissingError, match="rows would leave this machine"):
        loaded.outputs(["a new fox"])
    assert len(stub.asked) == count
    monkeypatch.setenv(KEY_VARIABLE, "secret-key")
    assert loaded.outputs(["a new fox"]).argmax() == 2 and stub.keys[-1] == "Bearer secret-key"
    assert not any("secret-key" in file.read_text(errors="replace") for file in tmp_path.rglob("*") if file.is_file())


def test_numbers_are_the_nearest_of_those_offered(stub: type[Stub], tmp_path: Path) -> None:
    stub.reply = json.dumps({"choices": [{"message": {"content": "about 1,040 I think"}}]})
    rows = rows_of([float(10**i) for i in range(1, 5) for _ in range(6)], TEXTS)
    task = Regression("price", "log10", 2.5, 1.0)
    found = fit_prompted_endpoint(FitData(task, rows, endpoint=endpoint_at(stub, tmp_path)))
    assert found.baseline.outputs(["x"]).tolist() == [[pytest.approx(0.5)]]
    assert named_label("none", ["1", "2"], numbers=True) == -1 == named_label("a dog or a fox", KINDS.classes)


def test_the_bound_of_tokens_holds_over_calls(stub: type[Stub], tmp_path: Path) -> None:
    asked = endpoint_at(stub, tmp_path, tokens=1_000)
    with pytest.raises(TrainingError, match="the bound of 1,000 tokens"):
        for i in range(200):
            asked.ask([[{"role": "user", "content": f"a dog {i}"}]], 10)
    assert 100 < len(stub.asked) < 1_000 / 7


@pytest.mark.parametrize(
    ("statuses", "reply", "message"),
    [
        ([401], None, "status 401"),
        ([302], None, "status 302"),
        ([500, 500, 500], None, "status 500"),
        ([], "[]", "does not answer as OpenAI's API does"),
        ([], "nothing", "does not answer as OpenAI's API does"),
    ],
)
def test_an_endpoint_that_does_not_answer_is_one_message(
    statuses: list[int], reply: str | None, message: str, stub: type[Stub], tmp_path: Path
) -> None:
    stub.statuses, stub.reply = statuses, reply
    with pytest.raises(InputError, match=message):
        endpoint_at(stub, tmp_path).ask([[{"role": "user", "content": "a dog"}]], 10)


def test_a_busy_endpoint_is_asked_again(stub: type[Stub], tmp_path: Path) -> None:
    stub.statuses = [429, 503]
    assert endpoint_at(stub, tmp_path).ask([[{"role": "user", "content": "a dog"}]], 10) == ["It is a **dog**."]


def test_a_study_asks_resumes_and_keeps_its_key(
    stub: type[Stub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "secret-key")
    base = save_tiny_base(tmp_path / "base")
    table = tmp_path / "t.csv"
    table.write_text("text,kind\n" + "".join(f"{i} {text},{text.split()[1]}\n" for i in range(5) for text in TEXTS))
    words = (table, "--target", "kind", "--text", "text", "--base", base, "--seeds", "1", "--regimes", "linear")
    sent = ("--prompted-endpoint", stub.url, "--prompted-model", "tiny")
    planned = call("plan", *words, *sent, "--prompted-price", "0.5", "--quiet")
    assert planned.code == 0 and "sends rows to" in planned.out and "about $" in planned.out and not stub.asked
    few = call("compare", *words, *sent, "--prompted-tokens", "2k", "--out", tmp_path / "few", "--quiet")
    assert few.code == 2 and "--prompted-tokens" in few.err and not stub.asked
    done = call("compare", *words, *sent, "--out", tmp_path / "study", "--quiet")
    assert done.code == 0, done.err
    count = len(stub.asked)
    assert count and "prompted-endpoint" in done.out and "Prompting is worth" in " ".join(done.out.split())
    run = next((tmp_path / "study" / "runs").glob("prompted-endpoint-*"))
    before = (run / "scores.parquet").read_bytes()
    for name in ("run.json", "scores.parquet"):
        (run / name).unlink()
    for name in ("study.json", "comparison.json", "advice.json", "report.html"):
        (tmp_path / "study" / name).unlink(missing_ok=True)
    resumed = call("resume", tmp_path / "study", "--quiet")
    assert resumed.code == 0, resumed.err
    assert (run / "scores.parquet").read_bytes() == before
    assert len(stub.asked) <= count + 10, "the ten that are timed, and no others"
    assert not any(b"secret-key" in file.read_bytes() for file in (tmp_path / "study").rglob("*") if file.is_file())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--regimes", "prompted-endpoint"), "sends rows to another machine"),
        (("--prompted-endpoint", "ftp://x"), "is no address"),
        (("--prompted-endpoint", "https://me:secret@example.org/v1", "--prompted-model", "m"), "holds a password"),
        (("--prompted-endpoint", "https://example.org/v1"), "--prompted-model"),
    ],
)
def test_what_is_wrong_with_it_is_one_message(more: tuple[str, ...], message: str, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("text,kind\n" + "".join(f"{i} {text},{text.split()[1]}\n" for i in range(5) for text in TEXTS))
    base = save_tiny_base(tmp_path / "base")
    named = () if "--regimes" in more else ("--regimes", "linear")
    words = ("compare", table, "--target", "kind", "--text", "text", "--base", base, *named, *more)
    answer = call(*words, "--out", tmp_path / "s", "--quiet")
    assert answer.code == 2 and message in answer.err and answer.err.count("error:") == 1


def test_no_address_is_no_endpoint() -> None:
    with pytest.raises(UsageError, match="is no address"):
        Endpoint.of("example.org", "m", 10, None)
