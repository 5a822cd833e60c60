"""Writing: do models learn to write, are they judged by what they write, and is what is saved what was measured?"""

import io
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

import warmstart
from tests.cli_base import call
from tests.decoders import byte_tokenizer, save_decoder, tiny_decoder
from tests.tiny_language import CHATML
from warmstart import api
from warmstart.data.schema.conversations import Turn, write_prompt
from warmstart.errors import InputError, UsageError
from warmstart.generation import answers as writing
from warmstart.generation.answers import Writer
from warmstart.inference.chat import EMPTY, Chat, Drawing, chat_with, converse
from warmstart.inference.model_store import load_model
from warmstart.inference.predict import text_writer
from warmstart.models.lm_head import LogitsHead
from warmstart.models.pretrained.base import Base
from warmstart.request.prepare import prepare_study
from warmstart.request.request import Request
from warmstart.results.record import load_run
from warmstart.types import Array

ANIMALS, DOES = ("fox", "dog", "cat", "hen"), ("jumps", "sleeps", "runs")
ROWS = 90


@pytest.fixture(scope="session")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a Llama of two layers with random weights."""
    return save_decoder(tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(0)
    animals, does = generator.choice(ANIMALS, ROWS), generator.choice(DOES, ROWS)
    texts = [f"the lazy {a} {d} at {i}" for i, (a, d) in enumerate(zip(animals, does, strict=True))]
    turns = [
        [{"role": "user", "content": text}, {"role": "assistant", "content": animal}]
        for text, animal in zip(texts, animals, strict=True)
    ]
    columns = {
        "text": texts,
        "summary": [f"{a} {d}" for a, d in zip(animals, does, strict=True)],
        "animal": animals.tolist(),
        "number": list(range(ROWS)),
        "messages": turns,
    }
    path = tmp_path_factory.mktemp("table") / "table.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def settings(decoder: str, **more: object) -> dict[str, object]:
    return {"base": decoder, "trials": 1, "seeds": 1, "max_length": 128, "log": False, **more}


@pytest.fixture(scope="session")
def study(table: Path, decoder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "study"
    regimes = ("zero-shot", "full", "lora", "scratch", "hybrid")
    asked = settings(decoder, task="summarise", text="text", regimes=regimes, lr=1e-2, length=0.2)
    warmstart.compare(table, "summary", out, **asked)
    return out


def test_regimes_are_compared_by_what_they_write(study: Path) -> None:
    found = json.loads((study / "comparison.json").read_text())
    assert (found["task"], found["metric"], found["higher_is_better"]) == ("summarise", "ROUGE-L", True)
    regimes = {row["name"]: row for row in found["regimes"]}
    assert regimes.keys() == {"zero-shot", "extractive", "full", "lora", "scratch", "hybrid"}
    assert regimes["zero-shot"]["family"] == "baseline" and regimes["zero-shot"]["cost"]["trainable"] == 0
    assert max(regimes["full"]["score"], regimes["scratch"]["score"]) > regimes["zero-shot"]["score"]
    run = load_run(next((study / "runs").glob("full-*")))
    assert {"faithfulness", "bits per byte", "ROUGE-1"} <= run.metrics.keys()
    assert all(isinstance(text, str) for text in run.predictions["prediction"])
    assert set(run.predictions["target"]) <= {f"{a} {d}" for a in ANIMALS for d in DOES}
    assert run.points and run.points[-1].val_score < 0, "watched by the likelihood of the references: minus bits"


def test_what_was_forgotten_is_measured_against_the_base(study: Path) -> None:
    regimes = {row["name"]: row for row in json.loads((study / "comparison.json").read_text())["regimes"]}
    for name in ("full", "lora", "hybrid"):
        kept = regimes[name]["retention"]
        assert kept["kl"] > 0 and kept["nats"] is not None and kept["drift"] is None, name
    assert regimes["scratch"]["retention"] is None and regimes["zero-shot"]["retention"] is None


def test_the_report_shows_what_they_write_side_by_side(study: Path) -> None:
    page = (study / "report.html").read_text(encoding="utf-8")
    assert 'id="samples"' in page and "the reference" in page and 'id="errors"' not in page


def test_a_person_judges_blind_and_the_report_tells(study: Path) -> None:
    made = call("report", study, "--pairs", "full, reference")
    assert (made.code, made.out.strip()) == (0, str(study / "blind.html")) and "--votes votes.json" in made.err
    page = (study / "blind.html").read_text(encoding="utf-8")
    assert '<div class="text source" dir="auto" tabindex="0" role="region" aria-label="Source">the lazy ' in page
    name, count = re.findall(r'data-page="([0-9a-f]+)"', page)[0], page.count("<article")
    file = study / "votes.json"
    file.write_text(json.dumps({"page": name, "votes": {str(i + 1): "same" for i in range(count)}}))
    voted = call("report", study, "--votes", file)
    assert voted.code == 0 and voted.out.startswith(f"Judged blind on {count} of {count} rows: `full` 0, `reference` 0")
    for _ in range(2):
        (known,) = json.loads((study / "comparison.json").read_text())["blind"]
        assert (known["a"], known["b"], known["no_difference"], known["share_a"]) == ("full", "reference", count, None)
        assert 'id="preferred"' in (study / "report.html").read_text(encoding="utf-8")
        assert call("report", study).code == 0
    file.write_text(json.dumps({"page": "x", "votes": {}}))
    for wrong, message in (
        (("--pairs", "full,loar"), "did you mean 'lora'?"),
        (("--votes", file), "no votes on a page of this study"),
        (("--pairs", "full,lora", "--no-examples"), "cannot be combined with --no-examples"),
    ):
        refused = call("report", study, *wrong)
        assert (refused.code, refused.out) == (2, "") and message in refused.err


def test_a_hybrid_says_what_its_first_stage_brought(study: Path) -> None:
    run = load_run(next((study / "runs").glob("hybrid-*")))
    assert any("on the language of the domain: bits per byte" in caveat for caveat in run.caveats)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT's business with transformers
@pytest.mark.parametrize("name", ["full", "lora"])
def test_what_is_saved_writes_what_was_judged_and_loads_elsewhere(name: str, study: Path, decoder: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = next((study / "runs").glob(f"{name}-r*-s0"))
    run = load_run(folder)
    stored = load_model(folder)
    ids = torch.arange(12)[None]
    with torch.no_grad():
        ours = stored.predictor.model.head.logits(stored.predictor.model.body(ids).last_hidden_state)
        if name == "full":
            theirs = AutoModelForCausalLM.from_pretrained(folder / "body")
        else:
            theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(decoder), folder / "adapter")
        assert torch.allclose(ours, theirs.eval()(ids).logits, atol=1e-5)
    assert run.disk_bytes > 0


def test_predictions_are_those_that_were_judged(study: Path, table: Path) -> None:
    folder = next((study / "runs").glob("full-r*-s0"))
    run = load_run(folder)
    source = pq.read_table(table, columns=["text"]).to_pylist()
    rows = [source[number - 1] for number in run.predictions["row"]]
    answers = [found["prediction"] for found in warmstart.load(folder).predict(rows)]
    assert answers == run.predictions["prediction"]


def test_long_documents_are_summarized_in_chunks(study: Path) -> None:
    stored = load_model(next((study / "runs").glob("full-r*-s0")))
    writer, head_tail = text_writer(stored), stored.task
    in_chunks, told = replace(head_tail, long="chunks"), head_tail.instruction
    short, long = (write_prompt(told, " ".join(["the fox jumps."] * n), "an answer") for n in (2, 80))
    prompts: list[int] = []

    def generate(body: nn.Module, head: LogitsHead, given: Sequence[Array], **more: Any) -> list[list[int]]:
        prompts.extend(map(len, given))
        return generated(body, head, given, **more)

    generated = writing.generate
    with patch.object(writing, "generate", generate):
        answers = writer.answers([short, long], in_chunks)
    assert answers[0] == writer.answers([short], head_tail)[0]
    assert len(prompts) > 5 and 0.6 * writer.inputs.template.room(0) < max(prompts) <= writer.inputs.template.room(0)


def test_chunks_are_asked_for_in_words(table: Path, decoder: str, tmp_path: Path) -> None:
    found = warmstart.check(table, "summary", task="summarise", text="text", long="chunks", base=decoder, max_length=8)
    said = next(finding for finding in found.findings if finding.kind == "truncated")
    assert found.schema.long == "chunks" and "the longest of" in said.message and "summarized in parts" in said.message
    with pytest.raises(UsageError, match="--long chunks is for summarise, but the task is translate"):
        warmstart.check(table, "summary", task="translate", text="text", long="chunks", base=decoder)
    asked = settings(decoder, task="summarise", text="text", long="chunks") | {"max_length": 64}
    with pytest.raises(InputError, match="--max-length 64 leaves 0 tokens for a part of a document"):
        warmstart.fit(table, "summary", "full", tmp_path / "run", **asked)
    with pytest.raises(UsageError, match="long is 'middle'"):
        warmstart.check(table, "summary", task="summarise", text="text", long="middle")


def test_json_is_held_to_its_schema(table: Path, decoder: str, tmp_path: Path) -> None:
    asked = settings(decoder, task="structured", text="text", fields="animal,number", lr=3e-3, length=0.3)
    run = warmstart.fit(table, None, "full", tmp_path / "run", **asked)
    assert run.metric == "field accuracy" and run.metrics["validity"] == 1.0
    assert all({"animal", "number"} >= json.loads(text).keys() for text in run.predictions["prediction"])
    talk = chat_with(warmstart.load(tmp_path / "run"))
    assert {"animal", "number"} >= json.loads("".join(talk.say("the lazy fox runs at 3"))).keys()


def test_what_summarizes_is_asked_for_each_line_as_it_was_trained(study: Path) -> None:
    folder = next((study / "runs").glob("full-r*-s0"))
    loaded, texts = warmstart.load(folder), ["the lazy fox runs at 3", "the lazy hen sleeps at 4"]
    out = io.StringIO()
    converse(chat_with(loaded), [f"{text}\n" for text in texts], out)
    assert [line.strip() for line in out.getvalue().splitlines()] == [
        row["prediction"] for row in loaded.predict(texts)
    ]
    with pytest.raises(UsageError, match=r"was trained to summarize texts: there is nothing to tell it before\."):
        chat_with(loaded, "Be brief.")


def test_a_chat_model_answers_and_remembers(table: Path, decoder: str, tmp_path: Path) -> None:
    run = warmstart.fit(
        table, None, "full", tmp_path / "run", **settings(decoder, text="messages", lr=3e-3, length=0.2)
    )
    assert (run.task, run.metric, run.higher_is_better) == ("chat", "bits per byte", False)
    assert 0 < run.test < 8
    chat = chat_with(warmstart.load(tmp_path / "run"), "Be brief.", most=5)
    assert isinstance(chat, Chat)
    said = "".join(chat.say("the lazy fox"))
    assert [turn.role for turn in chat.turns] == ["system", "user", "assistant"] and chat.turns[
        -1
    ].content == said.strip()
    out = io.StringIO()
    converse(chat, ["/new\n", "\n", "the cat\n", "/quit\n", "the dog\n"], out)
    assert [turn.content for turn in chat.turns[:2]] == ["Be brief.", "the cat"] and len(chat.turns) == 3
    assert out.getvalue().strip() == chat.turns[-1].content


def test_an_answer_ends_with_what_the_template_ends_it_with(table: Path, decoder: str, tmp_path: Path) -> None:
    """Templates of bases often end a turn with another token than the one that ends a text, such as Qwen's."""
    shutil.copytree(decoder, tmp_path / "base")
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    tokenizer.chat_template = CHATML.replace("<|im_start|>", "")
    tokenizer.save_pretrained(tmp_path / "base")
    model = tiny_decoder("llama", vocabulary=len(tokenizer), context=160)
    model.save_pretrained(tmp_path / "base")
    rows = [{"text": f"the lazy {a} sleeps at {i}", "summary": a} for i, a in enumerate(("fox", "dog") * 30)]
    asked = settings(str(tmp_path / "base"), task="summarise", text="text", lr=1e-2, epochs=8)
    run = warmstart.fit(pa.Table.from_pylist(rows), "summary", "full", tmp_path / "run", **asked)
    assert {"fox", "dog"} >= set(run.predictions["prediction"])
    said = json.loads((tmp_path / "run" / "body" / "generation_config.json").read_text())
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in said["eos_token_id"]


THINKS = (
    "{% for m in messages %}{{ m.role }}\n"
    "{% if loop.last and m.role == 'assistant' %}<think>\n\n</think>\n\n{{ m.content }}"
    "{% else %}{{ m.content.split('</think>')[-1].lstrip('\n') }}{% endif %}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant\n{% endif %}"
)


def test_a_thought_is_no_part_of_an_answer(table: Path, decoder: str, tmp_path: Path) -> None:
    """It was judged and predicted as one; in `chat` the second turn ended in an error, as templates leave it out."""
    shutil.copytree(decoder, tmp_path / "base")
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.chat_template = THINKS
    tokenizer.save_pretrained(tmp_path / "base")
    tiny_decoder("llama", vocabulary=len(tokenizer), context=160).save_pretrained(tmp_path / "base")
    rows = [{"text": f"the lazy {a} sleeps at {i}", "summary": a} for i, a in enumerate(("fox", "dog") * 30)]
    asked = settings(str(tmp_path / "base"), task="summarise", text="text", lr=1e-2, epochs=8)
    run = warmstart.fit(pa.Table.from_pylist(rows), "summary", "full", tmp_path / "run", **asked)
    assert {"fox", "dog"} >= set(run.predictions["prediction"])
    chat = Chat(text_writer(warmstart.load(tmp_path / "run").stored), Drawing(most=30))
    for text in (rows[0]["text"], rows[1]["text"]):
        assert "".join(chat.say(f"Summarise the following text in one or two sentences.\n\n{text}")).strip()
    assert {"fox", "dog"} >= {turn.content for turn in chat.turns if turn.role == "assistant"} and len(chat.turns) == 4


class Silent:
    """Answers only what has a bell in it."""

    def stream(self, turns: Sequence[Turn], *_: object) -> Iterator[str]:
        assert all(turn.content.strip() for turn in turns) and turns[-1].role == "user"
        yield "ding" if "bell" in turns[-1].content else " "

    words = staticmethod(str.strip)


def test_an_empty_answer_is_said_and_not_remembered() -> None:
    chat, out = Chat(cast(Writer, Silent())), io.StringIO()
    converse(chat, ["the cat\n", "the bell\n"], out)
    assert [turn.content for turn in chat.turns] == ["the bell", "ding"]
    assert out.getvalue() == f" {EMPTY}\nding\n"


def test_half_of_a_character_ends_no_chat(table: Path, decoder: str, tmp_path: Path) -> None:
    """What a terminal leaves of a letter that was deleted ended the conversation in a traceback."""
    warmstart.fit(table, None, "full", tmp_path / "run", **settings(decoder, text="messages", length=0.02))
    chat, out = chat_with(warmstart.load(tmp_path / "run"), most=2), io.StringIO()
    converse(chat, ["the \udcc3 fox\n"], out)
    assert out.getvalue()


def test_rows_that_a_language_model_cannot_read(table: Path, decoder: str, tmp_path: Path) -> None:
    """A blank one ended a `predict`, and a system turn that is too long did not say which row it is in."""
    corpus = tmp_path / "corpus.csv"
    corpus.write_text("text\n" + "".join(f"the lazy fox {i} jumps over {i} dogs\n" for i in range(60)))
    asked = {"task": "masked-lm", "parameters": "200k", "tokens": "3k", "trials": 1, "max_length": 64, "length": 0.02}
    warmstart.fit(corpus, None, "scratch", tmp_path / "read", log=False, **asked)
    rows = warmstart.load(tmp_path / "read").predict(["the lazy fox", " ", "", "a dog"])
    assert [row["prediction"] is None for row in rows] == [False, True, True, False]
    assert warmstart.load(tmp_path / "read").predict([" "])[0]["reason"] == "there is nothing to read"

    warmstart.fit(table, None, "full", tmp_path / "run", **settings(decoder, text="messages", length=0.02))
    asked_of = [[{"role": "user", "content": f"the fox {i}"}] for i in range(20)]
    asked_of[17].insert(0, {"role": "system", "content": "Be brief. " * 90})
    found = warmstart.load(tmp_path / "run").predict({"messages": [[], *asked_of[1:]]})
    assert [i for i, row in enumerate(found) if row["prediction"] is None] == [0, 17]
    assert found[17]["reason"].startswith("even without the question")


def test_rows_with_nothing_to_read_are_answered_with_nothing(table: Path, decoder: str, tmp_path: Path) -> None:
    """One blank cell ended a whole `predict`."""
    asked = settings(decoder, task="summarise", text="text", instruction="Sum up.") | {"length": 0.05}
    warmstart.fit(table, "summary", "full", tmp_path / "run", **asked)
    model = warmstart.load(tmp_path / "run")
    rows = model.predict([{"text": "the lazy fox"}, {"text": " "}, {"text": "the lazy cat"}])
    assert rows[1] == {"prediction": None, "reason": "there is nothing to read in 'text'"}
    again = model.predict(["the lazy fox", "", "the lazy cat"])
    assert [row["prediction"] for row in again] == [row["prediction"] for row in rows]
    assert [row for row in rows if row["prediction"]] == model.predict(
        [{"text": f"the lazy {a}"} for a in ("fox", "cat")]
    )


def test_a_model_of_a_given_size_learns_a_corpus(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    generator = np.random.default_rng(1)
    for i in range(40):
        words = " ".join(
            f"the {a} {d}." for a, d in zip(generator.choice(ANIMALS, 40), generator.choice(DOES, 40), strict=True)
        )
        (corpus / f"{i}.txt").write_text(words)
    out = tmp_path / "run"
    asked = {"parameters": "200k", "tokens": "40k", "trials": 1, "max_length": 64, "log": False}
    run = warmstart.fit(corpus, None, "scratch", out, task="causal-lm", **asked)
    assert run.metric == "bits per byte" and 0 < run.test < 4
    assert run.cost.total == pytest.approx(200_000, rel=0.1)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = (kind.from_pretrained(out / "body") for kind in (AutoModelForCausalLM, AutoTokenizer))
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer("the fox", add_special_tokens=False)["input_ids"]]])
    assert model(ids).logits.shape[-1] == len(tokenizer)
    talk, written = chat_with(warmstart.load(out), most=12), io.StringIO()
    converse(talk, ["the fox\n", "/new\n", "\n", "the fox\n"], written)
    first, second = written.getvalue().splitlines()
    text = "the fox" + first
    assert first == second and len(first.split()) > 2
    theirs = model.generate(ids, do_sample=False, max_new_tokens=12, eos_token_id=tokenizer.eos_token_id)
    assert tokenizer.decode(theirs[0], skip_special_tokens=True) == text
    with pytest.raises(UsageError, match="takes no system prompt"):
        chat_with(warmstart.load(out), "Be brief.")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"regime": "linear"}, "regime 'linear' is not for the task summarise"),
        ({"regime": "frozen"}, "regime 'frozen' is not for the task summarise"),
        ({"tokens": "10k"}, "--tokens is for causal-lm"),
    ],
)
def test_what_cannot_be_is_refused(
    changes: dict[str, object], message: str, table: Path, decoder: str, tmp_path: Path
) -> None:
    asked = settings(decoder, task="summarise", text="text") | changes
    regime = str(asked.pop("regime", "full"))
    with pytest.raises(UsageError, match=message):
        warmstart.fit(table, "summary", regime, tmp_path / "run", **asked)
    assert not (tmp_path / "run").exists()


def test_an_encoder_writes_nothing(table: Path, base: Base, tmp_path: Path) -> None:
    asked = settings(base.location, task="structured", fields=("summary",), text="text")
    with pytest.raises(UsageError, match="is an encoder; the task 'structured' needs decoder"):
        warmstart.fit(table, None, "full", tmp_path / "run", **asked)


def test_an_answer_moves_with_the_term_that_is_swapped(study: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("fox,hen\n")
    found = api.probe(study, pairs)
    regimes = {each.name: each.together.effects for each in found.regimes}
    assert regimes.keys() == {"zero-shot", "extractive", "full", "lora", "scratch", "hybrid"}
    assert found.texts == 18 and found.pairs[0].rows == 7
    assert regimes["hybrid"]["changed"].value == 1.0  # it has learned to name the animal


@pytest.mark.parametrize(
    ("task", "named", "told"),
    [
        ("summarise", {"target": "summary", "text": ("text",)}, True),
        ("classification", {"target": "animal", "text": ("text",)}, True),
        ("causal-lm", {"target": None, "text": ("text",)}, True),
        ("chat", {"target": None, "text": ("messages",)}, False),
    ],
)
def test_a_corpus_that_holds_test_rows_is_told(
    task: str, named: dict[str, Any], told: bool, table: Path, decoder: str, tmp_path: Path
) -> None:
    texts = pq.read_table(table, columns=["text"])
    corpus = tmp_path / "corpus.parquet"
    pq.write_table(texts.slice(0, ROWS // 2), corpus)
    known = {"task": task, "base": (decoder,), "regimes": ("hybrid",), "corpus": (str(corpus),), "max_length": 64}
    request = Request((str(table),), **named, **known)
    problem = prepare_study(request, None, {}).problem
    (found,) = [said for said in problem.caveats if "The corpus holds the text of" in said] or [""]
    held = [text for text in problem.splits.test.numbers if text <= ROWS // 2]
    assert bool(found) == told
    assert not told or f"the text of {len(held)} of {len(problem.splits.test)} test rows" in found
