"""Do models that write answer OpenAI clients, whole and streamed, and go to transformers as they are?"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import warmstart
from tests.decoders import save_decoder
from warmstart.errors import InputError, TrainingError, UsageError
from warmstart.inference.export import gguf_file
from warmstart.inference.serve.limits import Limits
from warmstart.inference.serve.openai_api import _until, read_request
from warmstart.inference.serve.serve import create_app
from warmstart.runtime.load_pretrained import load_gguf

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

ANIMALS = ("fox", "dog", "cat", "hen")
QUICK: dict[str, Any] = {"trials": 1, "length": 0.02, "max_length": 96, "quiet": True, "log": False}


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_decoder(tmp_path_factory.mktemp("of") / "decoder")


@pytest.fixture(scope="module")
def chatting(decoder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters that were trained to chat."""
    out = tmp_path_factory.mktemp("chats") / "run"
    asked = [f"the lazy {ANIMALS[i % 4]} jumps {i}" for i in range(60)]
    turns = [
        [{"role": "user", "content": text}, {"role": "assistant", "content": f"{ANIMALS[i % 4]} {i}"}]
        for i, text in enumerate(asked)
    ]
    data = out.parent / "chats.jsonl"
    data.write_text("\n".join(json.dumps({"messages": each}) for each in turns))
    warmstart.fit(data, None, "lora", out, task="chat", base=decoder, **QUICK)
    return out


def app(folder: Path, **limits: Any) -> TestClient:
    return TestClient(create_app(warmstart.load(folder), limits=Limits(**limits)), base_url="http://localhost")


def test_a_chat_is_answered_whole_and_streamed(chatting: Path) -> None:
    asked = {"model": "any", "messages": [{"role": "user", "content": "the lazy fox"}], "max_tokens": 12, "seed": 3}
    with app(chatting) as client:
        answer = client.post("/v1/chat/completions", json=asked)
        whole = answer.json()
        assert answer.status_code == 200, whole
        text = whole["choices"][0]["message"]["content"]
        assert whole["object"] == "chat.completion" and whole["choices"][0]["message"]["role"] == "assistant"
        assert whole["usage"]["total_tokens"] > whole["usage"]["prompt_tokens"] > 0
        assert client.post("/v1/chat/completions", json=asked).json()["choices"] == whole["choices"]
        with client.stream("POST", "/v1/chat/completions", json=asked | {"stream": True}) as stream:
            events = [line.removeprefix("data: ") for line in stream.iter_lines() if line]
        chunks = [json.loads(event)["choices"][0] for event in events[:-1]]
        assert events[-1] == "[DONE]" and chunks[0]["delta"]["role"] == "assistant"
        assert "".join(chunk["delta"].get("content", "") for chunk in chunks) == text
        assert chunks[-1]["finish_reason"] == "stop"
        plain = client.post("/v1/completions", json={"prompt": "the lazy fox", "max_tokens": 3}).json()
        assert plain["object"] == "text_completion" and isinstance(plain["choices"][0]["text"], str)
        assert client.get("/v1/models").json()["data"][0]["id"] == "warmstart"
        bad = client.post("/v1/chat/completions", json=asked | {"max_tokens": 10**6})
        assert bad.status_code == 400 and "max_tokens" in bad.json()["error"]["message"]


def test_a_model_that_predicts_does_not_write(tmp_path: Path) -> None:
    rows = {"t": [f"{ANIMALS[i % 4]} {i}" for i in range(60)], "y": ["u", "v"] * 30}
    warmstart.fit(rows, "y", "constant", tmp_path / "r", text="t", quiet=True, log=False)
    with app(tmp_path / "r") as client:
        answer = client.post("/v1/chat/completions", json={})
        assert answer.status_code == 404 and "no /v1/chat/completions here" in answer.json()["error"]["message"]


def test_what_is_not_understood_is_refused() -> None:
    said = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    asked = read_request({"messages": said, "stop": "x", "temperature": 0}, False, 100)
    assert asked.turns[0].content == "ab" and asked.stop == ("x",) and asked.temperature == 0 and asked.most == 100
    for given in (
        [],
        {},
        {"messages": []},
        {"messages": [{"role": "tool", "content": "a"}]},
        {"messages": [{"role": "user", "content": " "}]},
        {"messages": [{"role": "user", "content": "\ud800"}]},
        {"messages": [{"role": "assistant", "content": "a"}]},
        {"messages": said, "n": 2},
        {"messages": said, "tools": [{}]},
        {"messages": said, "temperature": "hot"},
        {"messages": said, "top_p": True},
        {"messages": said, "max_tokens": 101},
        {"messages": said, "stop": [1]},
    ):
        with pytest.raises(InputError):
            read_request(given, False, 100)


def test_a_stop_text_ends_an_answer_even_across_pieces() -> None:
    assert "".join(_until(iter(["ab", "cS", "TOP", "d"]), ("STOP",), 1e18)) == "abc"
    assert "".join(_until(iter(["ab", "cS", "TO", "d"]), ("STOP",), 1e18)) == "abcSTOd"
    assert "".join(_until(iter(["ab", "c"]), (), 0.0)) == "ab"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_language_model_goes_to_transformers_as_it_is(chatting: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    done = warmstart.export(chatting, "hf", tmp_path / "out")
    assert done.drift < 1e-4
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    ids = torch.tensor([AutoTokenizer.from_pretrained(tmp_path / "out")("the lazy fox")["input_ids"]])
    network = warmstart.load(chatting).stored.network
    assert network is not None and network.model.language_head is not None
    with torch.no_grad():
        expected = network.model.language_head.logits(network.model.body(input_ids=ids).last_hidden_state[0])
        assert torch.allclose(model(input_ids=ids).logits[0], expected, atol=1e-4)
    merged = warmstart.export(chatting, "merged", tmp_path / "merged")
    assert merged.drift < 1e-4 and warmstart.load(tmp_path / "merged").predict(["the lazy fox"])
    with pytest.raises(UsageError, match="one step of writing"):
        warmstart.export(chatting, "onnx", tmp_path / "no")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_language_model_becomes_one_gguf_file(
    chatting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gguf")
    done = warmstart.export(chatting, "gguf", tmp_path / "out")
    assert done.drift < 1e-3 and sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        "model.gguf",
    ]
    small = warmstart.export(chatting, "gguf", tmp_path / "small", int8=True)
    sizes = [(tmp_path / name / "model.gguf").stat().st_size for name in ("out", "small")]
    assert small.int8 and sizes[1] < sizes[0]
    held = load_gguf(tmp_path / "out" / "model.gguf")[0].state_dict()
    warmstart.export(chatting, "hf", tmp_path / "hf")
    expected = load_file(tmp_path / "hf" / "model.safetensors")
    assert all(torch.allclose(held[name], weight, atol=1e-3, rtol=1e-3) for name, weight in expected.items())
    paired = gguf_file._paired
    monkeypatch.setattr(gguf_file, "_paired", lambda weight, heads: 3.0 * paired(weight, heads))
    with pytest.raises(TrainingError, match="Nothing was kept"):
        warmstart.export(chatting, "gguf", tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()
