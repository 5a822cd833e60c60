"""Untrained: are floors and prompted bases predicted with, served and refused like any other model?"""

import json
from pathlib import Path
from typing import Any

import pytest

import warmstart
from tests.decoders import save_decoder
from warmstart.errors import UsageError
from warmstart.inference.export.export import check_format
from warmstart.inference.serve.serve import create_app

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

ANIMALS = ("fox", "dog", "cat", "hen")
QUICK: dict[str, Any] = {"max_length": 96, "quiet": True, "log": False}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "texts.jsonl"
    rows = [
        {"text": f"A {ANIMALS[i % 4]} {i}. It runs.", "summary": f"A {ANIMALS[i % 4]}", "animal": ANIMALS[i % 4]}
        for i in range(40)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_decoder(tmp_path_factory.mktemp("of") / "decoder")


def test_leading_sentences_are_predicted_and_served(table: Path, decoder: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    asked: dict[str, Any] = {"task": "summarise", "text": "text", "base": decoder, **QUICK}
    warmstart.fit(table, "summary", "extractive", out, **asked)
    record = json.loads((out / "run.json").read_text())
    assert record["failed"] is None and record["test"] > 0.5 and record["cost"]["flops"] == 0
    trained = warmstart.load(out)
    found = trained.predict(["An owl. It sleeps.", "no end", ""])
    assert [row["prediction"] for row in found] == ["An owl.", "no end", None] and "reason" in found[2]
    with pytest.raises(UsageError, match="'extractive' does not exist as onnx"):
        check_format(trained.stored, "onnx", False)
    said = {"model": "any", "messages": [{"role": "user", "content": "An owl. It sleeps."}]}
    with TestClient(create_app(trained), base_url="http://localhost") as client:
        answer = client.post("/v1/chat/completions", json=said).json()
        assert answer["choices"][0]["message"]["content"] == "An owl."
        assert answer["usage"] == {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}


def test_a_prompted_base_is_predicted_with(table: Path, decoder: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    asked: dict[str, Any] = {"text": "text", "base": decoder, **QUICK, "max_length": 32}
    warmstart.fit(table, "animal", "prompted", out, **asked)
    record = json.loads((out / "run.json").read_text())
    assert record["failed"] is None and record["cost"]["trainable"] == 0 < record["cost"]["flops"]
    assert next(trial["settings"]["examples"] for trial in record["trials"]) == 0
    assert sum(file.stat().st_size for file in (out / "baseline").iterdir()) < 20_000
    found = warmstart.load(out).predict(["A fox", "A hen"], every_class=True)
    assert {row["prediction"] for row in found} <= set(ANIMALS)
    assert sum(found[0][f"probability of {animal}"] for animal in ANIMALS) == pytest.approx(1.0)
