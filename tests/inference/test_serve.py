"""Does a server give the predictions of `predict`, within its bounds, and only to whom it should?"""

import base64
import json
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markupsafe import escape

import warmstart
from tests.cli_base import call, products, write_csv
from tests.pictures import drawn, encoded, picture_table, priced_table
from warmstart.data.rows.read_columns import ColumnValues
from warmstart.data.tables.in_memory import table_of
from warmstart.data.tables.strings import Texts
from warmstart.errors import UsageError
from warmstart.inference.explain import explain
from warmstart.inference.predict import NewRows, TrainedModel
from warmstart.inference.serve import serve
from warmstart.inference.serve.batching import Batcher, QueueFullError
from warmstart.inference.serve.limits import Limits
from warmstart.inference.serve.serve import create_app, hosts_for, is_loopback, read_token
from warmstart.models.pretrained.base import Base

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

ROWS = 210
TITLES = ["small oak table", "large lamp", "green shelf, pine"]
TOKEN = "a-token-of-some-length"
TABLE = "tricky <b>&\"'"  # the name of a column
PRICED = [{TABLE: title, "weight": 1.5} for title in TITLES]


@pytest.fixture(scope="module")
def priced(tmp_path_factory: pytest.TempPathFactory, base: Base) -> TrainedModel:
    """A price from a title and a weight, by the linear model."""
    into = tmp_path_factory.mktemp("priced")
    products(into / "plain.csv", ROWS)
    rows = [line.rsplit(",", 2) for line in (into / "plain.csv").read_text().splitlines()[1:]]
    table = [(title.strip('"'), i % 7 + 0.5, price) for i, (title, price, _) in enumerate(rows)]
    data = write_csv(into / "rows.csv", (TABLE, "weight", "price"), table)
    warmstart.fit(data, "price", "linear", into / "run", base=base.location, quiet=True, log=False)
    return warmstart.load(into / "run")


@pytest.fixture
def client(priced: TrainedModel) -> Iterator[TestClient]:
    with TestClient(create_app(priced), base_url="http://localhost") as client:
        yield client


def test_predictions_are_those_of_predict(client: TestClient, priced: TrainedModel) -> None:
    rows = PRICED
    expected = priced.predict(rows)
    assert client.post("/predict", json=rows).json() == {"predictions": expected, "warnings": []}
    assert client.post("/predict", json=rows[0]).json()["predictions"] == priced.predict(rows[:1])
    heavier = [row | {"weight": 6.5} for row in rows]
    assert client.post("/predict", json=heavier).json()["predictions"] == priced.predict(heavier) != expected
    blank = client.post("/predict", json=[{TABLE: " ", "weight": None}, rows[0]]).json()["predictions"]
    assert blank[0]["prediction"] is None and "nothing to read" in blank[0]["reason"] and blank[1] == expected[0]
    assert client.post("/predict", json=[]).json() == {"predictions": [], "warnings": []}
    odd = client.post("/predict", json=[rows[0] | {"weight": "heavy"}]).json()
    assert len(odd["predictions"]) == 1 and "'heavy'" in odd["warnings"][0]


def test_what_cannot_be_read_is_said_as_predict_says_it(client: TestClient) -> None:
    for content, status, says in (
        ([{"titel": "a"}], 422, "not there"),
        ([{TABLE: "a", "weight": 1}, "a text"], 422, "given together"),
        (["a text"], 422, "texts alone were given"),
        ([1], 422, "neither an object of its columns nor a text"),
        ([{TABLE: {"a": 1}, "weight": 1}], 422, "row 1: column"),
        ([{TABLE: "a", "weight": 1}, {TABLE: "a", "weight": [1]}], 422, "row 2: column 'weight' holds a list"),
    ):
        answer = client.post("/predict", json=content)
        assert answer.status_code == status and says in answer.json()["error"], answer.json()
    kind = {"content-type": "application/json"}
    for body, status, says in (
        (b"{", 400, "no JSON"),
        (b"\xff", 400, "no JSON"),
        (b"[NaN]", 400, "no JSON number"),
        (b"[" * 100_000, 400, "no JSON"),
        (b'[{"%s": "\\ud800", "weight": 1}]' % json.dumps(TABLE)[1:-1].encode(), 422, "half of a character"),
    ):
        answer = client.post("/predict", content=body, headers=kind)
        assert answer.status_code == status and says in answer.json()["error"]
    assert client.post("/predict", content=b"[]", headers={"content-type": "text/plain"}).status_code == 415
    for path, status, says in (("/predict", 405, "no GET /predict here"), ("/docs", 404, "no /docs here")):
        answer = client.get(path)
        assert (
            answer.status_code == status and says in answer.json()["error"] and "POST /predict" in answer.json()["hint"]
        )


def test_a_row_does_not_hang_on_how_another_is_written(client: TestClient) -> None:
    row = {TABLE: "oak table", "weight": 2.5}
    plain = client.post("/predict", json=row).json()["predictions"]
    assert client.post("/predict", json=[row, row | {"weight": "2.5"}]).json()["predictions"] == plain * 2


def test_requests_have_bounds(priced: TrainedModel) -> None:
    with TestClient(create_app(priced, limits=Limits(body_bytes=200, rows=2)), base_url="http://localhost") as small:
        assert small.post("/predict", json=[{TABLE: "a", "weight": 1}] * 2).status_code == 200
        assert small.post("/predict", json=["a"] * 3).status_code == 413
        assert small.post("/predict", json=["a" * 300]).status_code == 413
        pieces = iter([b'["', b"a" * 150, b"a" * 150])  # without a length said before
        assert small.post("/predict", content=pieces, headers={"content-type": "application/json"}).status_code == 413
    with TestClient(create_app(priced, limits=Limits(queued_rows=1)), base_url="http://localhost") as full:
        answer = full.post("/predict", json=PRICED)
        assert answer.status_code == 503 and answer.headers["retry-after"] == "1"


def test_an_answer_has_its_time(priced: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainedModel, "stream", lambda self, texts: time.sleep(0.5) or iter([{}]))
    with TestClient(create_app(priced, limits=Limits(seconds=0.05)), base_url="http://localhost") as slow:
        assert slow.post("/predict", json=PRICED).status_code == 504


def test_a_token_is_asked_for_everywhere_but_health(priced: TrainedModel) -> None:
    with TestClient(create_app(priced, token=TOKEN), base_url="http://localhost") as closed:
        assert closed.get("/health").json() == {"status": "ok"}
        for path in ("/", "/metrics", "/openapi.json", "/nothing"):
            assert closed.get(path).status_code == 401, path
        for header in ("", TOKEN, "Bearer", "Bearer wrong-token-of-some-length", f"Basic {TOKEN}"):
            answer = closed.post("/predict", json=PRICED, headers={"authorization": header})
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        allowed = {"authorization": f"Bearer {TOKEN}"}
        assert closed.post("/predict", json=PRICED, headers=allowed).status_code == 200
        assert closed.get("/", headers=allowed).status_code == 404


def test_no_answer_is_stored_or_taken_for_another_kind(client: TestClient) -> None:
    """Pages and refusals too; each header stands once."""
    for path in ("/health", "/", "/nowhere"):
        headers = client.get(path).headers
        assert headers.get_list("cache-control") == ["no-store"]
        assert headers.get_list("x-content-type-options") == ["nosniff"]


def test_the_token_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(serve.TOKEN_VARIABLE, raising=False)
    assert read_token(None) is None
    monkeypatch.setenv(serve.TOKEN_VARIABLE, TOKEN)
    assert read_token(None) == TOKEN
    (tmp_path / "token").write_text(f"another-{TOKEN}\n")
    assert read_token(tmp_path / "token") == f"another-{TOKEN}"
    for content in ("", "short", "a token with spaces in it", "ü" * 20):
        (tmp_path / "token").write_text(content)
        with pytest.raises(UsageError, match="at least 16 ASCII"):
            read_token(tmp_path / "token")
    with pytest.raises(UsageError, match="cannot be read"):
        read_token(tmp_path / "nothing")


def test_names_of_other_sites_are_refused(priced: TrainedModel) -> None:
    assert hosts_for("127.0.0.1", ()) == ("127.0.0.1", "localhost", "::1") and hosts_for("0.0.0.0", ()) == ("*",)
    assert hosts_for("0.0.0.0", ["m.example.org"])[0] == "m.example.org"
    assert is_loopback("127.0.0.5") and is_loopback("::1") and not is_loopback("0.0.0.0")
    with TestClient(create_app(priced), base_url="http://evil.example") as elsewhere:
        refused = elsewhere.get("/")
        assert refused.status_code == 400 and 'the name "evil.example"' in refused.json()["error"]
        assert elsewhere.post("/predict", json=TITLES).status_code == 400


def test_the_page_shows_a_prediction_and_escapes_everything(client: TestClient, priced: TrainedModel) -> None:
    page = client.get("/")
    assert page.status_code == 200 and TABLE not in page.text and TABLE in unescape(page.text)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src" not in policy and "<script" not in page.text
    assert "http" not in page.text
    typed = "<img src=x onerror=alert(1)> oak \"table'"
    answer = client.post("/", data={"c0": typed, "c1": "2.5"})
    assert "<img" not in answer.text and typed in unescape(answer.text)
    expected = priced.predict([{TABLE: typed, "weight": "2.5"}])[0]
    assert f">prediction</th><td>{expected['prediction']:.5g}</td>" in answer.text
    assert f">90 % interval</th><td>{expected['low']:.5g} to {expected['high']:.5g}</td>" in answer.text
    (moved,) = explain(priced, priced.new_rows([{TABLE: typed, "weight": "2.5"}]))
    assert moved and "What moved it" in answer.text and "What moved it" not in page.text
    for each in moved:
        assert f"<td>{escape(each.part)}</td><td>{each.effect:+.3g}</td>" in answer.text
    odd = client.post("/", data={"c0": typed, "c1": "<heavy>"})
    assert odd.status_code == 200 and 'role="alert"' in odd.text and "<heavy>" not in odd.text


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainedModel]:
    """Linear models of images: of their colors, and of images beside columns."""
    into, asked = tmp_path_factory.mktemp("pictured"), {"quiet": True, "log": False}
    warmstart.fit(table_of(picture_table().columns.drop("width")), "color", "linear", into / "color", **asked)
    warmstart.fit(priced_table(), "price", "linear", into / "price", **asked)
    return {name: warmstart.load(into / name) for name in ("color", "price")}


def test_images_are_sent_in_base64_or_as_they_are_and_no_file_is_read(
    pictured: dict[str, TrainedModel], tmp_path: Path
) -> None:
    trained = pictured["color"]
    content = encoded(drawn(3)[0])
    (tmp_path / "photo.png").write_bytes(content)
    wanted = trained.predict([{"photo": content}])
    plain = base64.b64encode(content).decode()
    with TestClient(create_app(trained), base_url="http://localhost") as client:
        for row in (plain, f"data:image/png;base64,{plain}", {"photo": plain}, [{"photo": plain}]):
            assert client.post("/predict", json=row).json()["predictions"] == wanted
        sent = client.post("/predict", content=content, headers={"content-type": "image/png"})
        assert sent.json()["predictions"] == wanted
        for row in (str(tmp_path / "photo.png"), {"photo": "photo.png"}, {"photo": 7}):
            refused = client.post("/predict", json=row)
            assert refused.status_code == 422 and "holds no image in base64" in refused.json()["error"]
        damaged = client.post("/predict", content=content[:60], headers={"content-type": "image/png"})
        assert damaged.json()["predictions"][0]["prediction"] is None
        assert client.post("/predict", json={"photo": None}).json()["predictions"][0]["prediction"] is None
    with TestClient(create_app(pictured["price"]), base_url="http://localhost") as client:
        row = {"photo": plain, "weight": 2.5, "shop": "north", "title": "lamp of oak"}
        (expected,) = pictured["price"].predict([row | {"photo": content}])
        assert client.post("/predict", json=row).json()["predictions"] == [expected]
        assert client.post("/predict", content=content, headers={"content-type": "image/png"}).status_code == 422


def test_the_page_takes_a_file_and_shows_it(pictured: dict[str, TrainedModel]) -> None:
    for name, others in (("color", {}), ("price", {"c1": "2.5", "c2": "north", "c3": "lamp of oak"})):
        with TestClient(create_app(pictured[name]), base_url="http://localhost") as client:
            assert 'enctype="multipart/form-data"' in client.get("/").text
            assert '<input type="file"' in client.get("/").text
            assert re.search(r"test rows: [\d.]+ \(95 % interval", client.get("/").text)
            answer = client.post("/", files={"c0": ("photo.png", encoded(drawn(3)[0]))}, data=others)
            assert answer.status_code == 200 and 'src="data:image/png;base64,' in answer.text
            assert ("What moved it" in answer.text) == (name == "price")  # the color is certain without any part
            assert "img-src data:" in answer.headers["content-security-policy"]
            if others:  # a file where a number belongs
                sent = {"c0": ("a.png", encoded(drawn(3)[0])), "c1": ("b.png", b"\xff\xd8")}
                answer = client.post("/", files=sent)
                assert answer.status_code == 200 and "xff" not in answer.text
            empty = client.post("/", files={"c0": ("", b"")}, data=others)
            assert empty.status_code == 200
            assert client.post("/", content=b"c0=1", headers={"content-type": "multipart/form-data"}).status_code == 200


def test_metrics_count_what_was_done(client: TestClient) -> None:
    client.post("/predict", json=PRICED)
    client.post("/predict", json=[1])
    client.get("/no%0Asuch%22page")
    client.get("/no%0Asuch%22page", headers={"host": "evil.example"})
    said = client.get("/metrics").text
    assert 'warmstart_requests_total{path="/predict",status="200"} 1' in said
    assert 'warmstart_requests_total{path="/predict",status="422"} 1' in said
    assert 'path="other",status="404"} 1' in said and 'path="other",status="400"} 1' in said and "such" not in said
    assert "warmstart_predicted_rows_total 3" in said and "warmstart_request_seconds_count 4" in said


def test_the_interface_is_described(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    assert {"/predict", "/health", "/metrics"} == set(described["paths"])
    example = described["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert list(example[0]) == [TABLE, "weight"]


def test_requests_that_wait_share_a_batch_and_fail_alone() -> None:
    batches: list[list[str]] = []
    first = threading.Event()

    def predict(rows: NewRows) -> list[dict[str, Any]]:
        texts = list(rows.texts)
        batches.append(texts)
        first.wait(5)
        if "bad" in texts:
            raise ValueError(texts)
        return [{"prediction": text} for text in texts]

    batcher = Batcher(predict, batch_rows=4, queued_rows=8)
    one = batcher.submit(NewRows(["a"]))
    while not batches:
        time.sleep(0.001)
    waiting = [batcher.submit(NewRows(texts)) for texts in (["b", "c"], ["bad"], ["d"], ["e", "f", "g"])]
    with pytest.raises(QueueFullError):
        batcher.submit(NewRows(["h", "i"]))
    first.set()
    assert one.result(5) == [{"prediction": "a"}]
    assert [len(each.result(5)) for each in (waiting[0], waiting[2], waiting[3])] == [2, 1, 3]
    with pytest.raises(ValueError):
        waiting[1].result(5)
    assert batches[:2] == [["a"], ["b", "c", "bad", "d"]] and batches[-1] == ["e", "f", "g"]
    first.clear()
    held = batcher.submit(NewRows(["k"]))
    alone = batcher.submit(NewRows(["l"]), lambda rows: [{"other": text} for text in rows.texts])
    after = [batcher.submit(NewRows([text])) for text in "mn"]
    first.set()
    assert [held.result(5), alone.result(5)] == [[{"prediction": "k"}], [{"other": "l"}]]
    assert [each.result(5) for each in after] == [[{"prediction": "m"}], [{"prediction": "n"}]]
    assert not any("l" in batch for batch in batches), "other work is done alone"
    assert batcher.queued == 0
    batcher.close()
    with pytest.raises(QueueFullError):
        batcher.submit(NewRows(["j"]))


def test_rows_of_several_requests_keep_their_columns_and_reasons() -> None:
    one = NewRows(["a", ""], {1: "blank"}, (), ColumnValues({"n": np.array([1.0, np.nan]), "t": Texts.of(["a", ""])}))
    two = NewRows(["b"], {0: "odd"}, ("said",), ColumnValues({"n": np.array([2.0]), "t": Texts.of(["b"])}))
    both = NewRows.joined([one, two])
    assert list(both.texts) == ["a", "", "b"] and both.reasons == {1: "blank", 2: "odd"} and both.warnings == ("said",)
    assert list(both.columns["t"]) == ["a", "", "b"] and both.columns["n"][[0, 2]].tolist() == [1.0, 2.0]


def test_a_real_server_answers_on_loopback(priced: TrainedModel) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "warmstart", "serve", str(priced.folder), "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, process.stderr.read() if process.stderr else ""
                time.sleep(0.1)
        content = json.dumps(PRICED).encode()
        asked = urllib.request.Request(f"{address}/predict", content, {"content-type": "application/json"})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert json.load(answer)["predictions"] == priced.predict(PRICED)
            assert "server" not in answer.headers
    finally:
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert f"serving {priced.folder} at http://127.0.0.1:{port}/" in said


def test_the_command_names_what_is_missing(tmp_path: Path) -> None:
    answer = call("serve", tmp_path)
    assert answer.code == 2 and "holds no trained model" in answer.err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answer = call("serve", tmp_path, "--port", str(taken.getsockname()[1]))
    assert answer.code == 2 and "Address already in use" in answer.err and "--port" in answer.err
    assert "serving" not in answer.err
    with serve.listen("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP  # by which asyncio knows to send small answers at once
