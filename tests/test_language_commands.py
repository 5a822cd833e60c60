"""Language through the command line: do corpora, models from random weights, plans and advice come to an end?"""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.cli_base import call
from tests.decoders import byte_tokenizer, save_decoder
from warmstart.results.record import load_run

ANIMALS = ("fox", "dog", "cat", "hen")
FEW = ("--trials", "1", "--length", "0.02", "--max-length", "96")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_decoder(tmp_path_factory.mktemp("of") / "decoder")


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_decoder(tmp_path_factory.mktemp("of") / "gpt", "gpt2")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of text files, each different from the others."""
    folder = tmp_path_factory.mktemp("corpus")
    for i in range(30):
        told = (f"The {ANIMALS[i % 4]} number {i * n} jumps over {n} lazy {ANIMALS[n % 4]}s." for n in range(1, 8))
        (folder / f"{i}.txt").write_text(" ".join(told))
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = [{"text": f"the lazy {ANIMALS[i % 4]} jumps {i}", "summary": f"{ANIMALS[i % 4]} {i}"} for i in range(60)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_a_corpus_is_compared_over_its_tokens(corpus: Path, decoder: str, tmp_path: Path) -> None:
    words = ("--task", "causal-lm", "--regimes", "zero-shot,scratch,lora", "--tokens", "2k,4k", "--seeds", "1")
    answer = call("compare", corpus, *words, *FEW, "--base", decoder, "--out", tmp_path / "study", "--quiet")
    assert answer.code == 0, answer.err
    assert "bits per byte, lower is better" in answer.out and "linear model" not in answer.out
    found = json.loads((tmp_path / "study" / "comparison.json").read_text())
    assert {curve["regime"]: len(curve["points"]) for curve in found["curves"]} == {
        "zero-shot": 2,
        "scratch": 2,
        "lora": 2,
    }
    untrained = next(row for row in found["regimes"] if row["name"] == "zero-shot")
    assert untrained["lr"] is None and untrained["cost"]["flops"] > 0, "it reads the rows, and learns at no rate"


def test_more_tokens_than_there_are_is_said_of_tokens(corpus: Path, decoder: str, tmp_path: Path) -> None:
    words = ("--task", "causal-lm", "--regimes", "zero-shot", "--tokens", "10M,50M", "--seeds", "1")
    answer = call("compare", corpus, *words, *FEW, "--base", decoder, "--out", tmp_path / "study", "--quiet")
    assert answer.code == 0, answer.err
    caveats = json.loads((tmp_path / "study" / "comparison.json").read_text())["caveats"]
    said = "10,000,000, 50,000,000 training tokens were asked for, but the 42 pieces of text hold fewer: all were used."
    assert said in caveats


@pytest.mark.parametrize("task", ["causal-lm", "masked-lm"])
def test_a_language_model_of_a_given_size_from_random_weights(task: str, corpus: Path, tmp_path: Path) -> None:
    words = ("--task", task, "--regime", "scratch", "--parameters", "200k", "--tokens", "3k", *FEW, "--quiet")
    assert call("fit", corpus, *words, "--out", tmp_path / "run").code == 0
    done = load_run(tmp_path / "run")
    assert (
        done.metric == "bits per byte" and 100_000 < done.cost.total < 300_000 and done.metrics["bytes per token"] > 1
    )
    told = call("predict", tmp_path / "run", corpus)
    assert told.code == 0 and "bits per byte of each text (lower is likelier)" in told.err


def test_what_was_trained_here_is_a_base(corpus: Path, pairs: Path, decoder: str, tmp_path: Path) -> None:
    words = ("--task", "causal-lm", "--regime", "scratch", "--parameters", "200k", "--tokens", "3k", *FEW, "--quiet")
    assert call("fit", corpus, *words, "--out", tmp_path / "model").code == 0
    pretrained = ("--task", "summarise", "--target", "summary", "--text", "text", "--base", tmp_path / "model")
    for regime in ("full", "lora"):
        answer = call("fit", pairs, *pretrained, "--regime", regime, *FEW, "--quiet", "--out", tmp_path / regime)
        assert answer.code == 0, answer.err
    assert load_run(tmp_path / "full").start == str(tmp_path / "model")
    assert call("predict", tmp_path / "lora", pairs, "--out", tmp_path / "said.csv", "--quiet").code == 0
    adapters = call("check", pairs, *pretrained[:-1], tmp_path / "lora")
    assert adapters.code == 2 and "holds adapters" in adapters.err and "such as full or scratch" in adapters.err


def test_forgetting_is_measured_on_the_text_that_was_given(corpus: Path, decoder: str, tmp_path: Path) -> None:
    (tmp_path / "general.txt").write_text("Nothing of the kind. " * 60)
    words = ("--task", "causal-lm", "--regime", "full", "--general-text", tmp_path / "general.txt", "--base", decoder)
    assert call("fit", corpus, *words, *FEW, "--quiet", "--out", tmp_path / "run").code == 0
    kept = load_run(tmp_path / "run").retention
    assert kept is not None and kept["nats"] is not None


@pytest.mark.parametrize("device", ["cpu", "h100"])
def test_a_plan_of_what_writes(device: str, pairs: Path, decoder: str) -> None:
    words = ("--task", "summarise", "--target", "summary", "--text", "text", "--base", decoder, "--device", device)
    answer = call("plan", pairs, *words, *FEW, "--quiet", "--json")
    assert answer.code == 0, answer.err
    found = {one["regime"]: one for one in json.loads(answer.out)}
    usual = ["extractive", "few-shot", "zero-shot", "scratch", "full", "lora"]
    assert list(found) == usual and found["zero-shot"]["trainable"] == found["few-shot"]["trainable"] == 0
    assert 0 < found["zero-shot"]["flops"] < found["full"]["flops"]
    assert all(one["seconds"] > 0 and one["fits"] for name, one in found.items() if name in usual[3:])


def test_a_plan_of_a_corpus_for_another_device(corpus: Path, decoder: str) -> None:
    words = ("--task", "causal-lm", "--base", decoder, "--device", "h100", "--regimes", "full,lora")
    assert "generating answers to test rows and measuring forgetting are not included" in " ".join(
        call("plan", corpus, *words, *FEW).out.split()
    )
    found = json.loads(call("plan", corpus, *words, *FEW, "--quiet", "--json").out)
    full, lora = (one["peak_memory_bytes"] for one in found if one["regime"] != "zero-shot")
    assert full > 16 * 25_000 and lora > 0, "weights, gradients and what Adam keeps, at least"


def test_several_decoders_write(pairs: Path, decoder: str, gpt: str, tmp_path: Path) -> None:
    words = ("--task", "summarise", "--target", "summary", "--text", "text", "--regimes", "zero-shot,full")
    both = ("--base", decoder, "--base", gpt, "--rows", "20", "--seeds", "1", "--quiet")
    answer = call("advise", pairs, *words, *both, *FEW, "--out", tmp_path / "study")
    assert answer.code == 0, answer.err
    found = json.loads((tmp_path / "study" / "comparison.json").read_text())
    names = {"zero-shot@decoder", "zero-shot@gpt", "full@decoder", "full@gpt"}
    assert {row["name"] for row in found["regimes"]} == names
    assert "linear model" not in answer.out
    report = " ".join((tmp_path / "study" / "report.html").read_text().split())
    said = r"bits per byte of the references: [\d.]+ training rows, [\d.]+ validation; ROUGE-L: [\d.]+ test"
    assert re.search(said, report)
    assert "ROUGE-L: −" not in report and "ROUGE-L: -" not in report


def test_a_translation_says_how_validation_was_scored(pairs: Path, decoder: str, tmp_path: Path) -> None:
    words = ("--task", "translate", "--target", "summary", "--text", "text", "--regime", "lora", "--base", decoder)
    answer = call("fit", pairs, *words, *FEW, "--quiet", "--out", tmp_path / "run")
    assert answer.code == 0, answer.err
    assert "chrF on the test rows" in answer.out and "bits per byte)" in answer.out


@pytest.mark.parametrize("asked", [("--task", "causal-lm"), ("--target", "kind")])
def test_a_tokenizer_of_another_model(asked: tuple[str, ...], decoder: str, tmp_path: Path) -> None:
    shutil.copytree(decoder, tmp_path / "base")
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["zebra"])
    tokenizer.save_pretrained(tmp_path / "base")
    rows = [{"text": f"the {'zebra' if i == 40 else 'fox'} {i} jumps", "kind": "ab"[i % 2]} for i in range(60)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = (*asked, "--text", "text", "--regime", "full", "--base", tmp_path / "base", *FEW, "--quiet")
    answer = call("fit", tmp_path / "rows.jsonl", *words, "--out", tmp_path / "run")
    assert answer.code == 2 and "its model knows only 300: the tokenizer belongs to another model" in answer.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('only one turn') }}", "template does not take these turns (user, assistant): only one"),
        ("{% for m in messages %", "template does not take these turns"),
    ],
)
def test_a_chat_template_that_fails(template: str, said: str, pairs: Path, decoder: str, tmp_path: Path) -> None:
    shutil.copytree(decoder, tmp_path / "base")
    (tmp_path / "base" / "chat_template.jinja").write_text(template)
    words = ("--task", "summarise", "--target", "summary", "--text", "text", "--regime", "full")
    asked = ("--base", tmp_path / "base", *FEW, "--quiet", "--out", tmp_path / "run")
    answer = call("fit", pairs, *words, *asked)
    assert answer.code == 2 and said in answer.err and answer.err.startswith("error: row ")


def test_files_that_hold_no_text(tmp_path: Path, decoder: str) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "one.txt").write_bytes(bytes(range(256)) * 40)
    words = ("--task", "causal-lm", "--regime", "full", "--base", decoder, "--out", tmp_path / "run")
    answer = call("fit", tmp_path / "texts", *words)
    assert answer.code == 2 and "one.txt is not UTF-8" in answer.err
