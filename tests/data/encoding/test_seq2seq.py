"""Pairs: does an encoder-decoder read, learn, write and come back as transformers has it?"""

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import warmstart
from tests.tiny import carried_out
from tests.tiny_pairs import BEGIN, END, KINDS, PAD, pair_model, save_pair, save_table
from warmstart.data.encoding.batches import Batch
from warmstart.data.encoding.packing import UNLABELED
from warmstart.data.encoding.seq2seq import Seq2Seq
from warmstart.data.rows.split import Rows, Splits
from warmstart.data.schema.conversations import Turn, write_turns
from warmstart.data.schema.schema import Schema
from warmstart.errors import UsageError
from warmstart.generation.answers import Writer, doubts
from warmstart.generation.generate import cache_bytes, generate
from warmstart.inference.model_store import load_model, save_model, save_network
from warmstart.models.layers import layers
from warmstart.models.model import UNPOOLED, Model
from warmstart.models.pretrained.base import Base, find_base, suited
from warmstart.planning.model_size import model_size
from warmstart.regimes.discriminative import Discriminative
from warmstart.regimes.frozen import Frozen
from warmstart.regimes.full import Full
from warmstart.regimes.lora import LoRA
from warmstart.regimes.regimes import DEFAULTS, Regime, Stage
from warmstart.regimes.starts import Architecture, Pretrained, Scratch
from warmstart.tasks.language import Language
from warmstart.training.checkpoint import Checkpoints
from warmstart.training.config import TrainConfig
from warmstart.training.flops import flops
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.loop import start_training, train
from warmstart.training.run_data import RunData
from warmstart.training.stages import train_stages

TEXTS = ["the bell tolls at nine", "all the walls of the hall", "a", "Tür und Tor, the end of it", "hello there", "so"]
ANSWERS = ["bell", "walls, all", "a", "Tür", "hello", "so it is"]
TASK = Language("summarise", "answer", most_tokens=12)


def row(text: str, answer: str) -> str:
    return write_turns([Turn("user", text), Turn("assistant", answer)])


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Base]:
    folder = tmp_path_factory.mktemp("pairs")
    return {kind: find_base(str(save_pair(folder / kind, kind)), max_length=40) for kind in (*KINDS, "bert")}


def model_of(base: Base) -> Model:
    start = Pretrained(base)
    body = start.body(0)
    return Model(body, start.language_head(body), UNPOOLED).eval()


def pairs_of(base: Base) -> Seq2Seq:
    found = TASK.reads(base.inputs)
    assert isinstance(found, Seq2Seq)
    return found


def batch_of(base: Base) -> dict[str, torch.Tensor]:
    encoded = pairs_of(base).encode([row(*pair) for pair in zip(TEXTS, ANSWERS, strict=True)])
    return encoded.batch(np.arange(len(TEXTS)))


def theirs(model: Any, batch: dict[str, torch.Tensor]) -> dict[str, Any]:
    """What transformers gives for the texts, the labels alone telling it what is written."""
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # EncoderDecoderModel tells of its own past
        return dict(model(**inputs, use_cache=False))


@pytest.mark.parametrize("kind", KINDS)
def test_nats_are_those_of_the_whole_model(kind: str, bases: dict[str, Base]) -> None:
    batch, model = batch_of(bases[kind]), model_of(bases[kind])
    outputs, whole = model(batch), pair_model(kind)
    expected = theirs(whole, batch)
    logits = model.head.logits(model.features(batch))  # type: ignore[operator]
    said = batch["labels"] != UNLABELED
    torch.testing.assert_close(logits[said], expected["logits"][said], atol=2e-4, rtol=1e-4)
    loss = outputs[:, 0].sum() / outputs[:, 1].sum()
    torch.testing.assert_close(loss, expected["loss"], atol=1e-5, rtol=1e-5)
    assert outputs[:, 2].tolist() == [len(answer.encode()) for answer in ANSWERS]


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_those_of_a_hand_written_loop(kind: str, bases: dict[str, Base]) -> None:
    batch, model, whole = batch_of(bases[kind]), model_of(bases[kind]), pair_model(kind)
    learns = {"lr": 1e-2, "weight_decay": 0.0}
    optimizer = torch.optim.AdamW([p for p in whole.parameters() if p.requires_grad], **learns)
    losses = []
    for _ in range(4):
        loss = theirs(whole, batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    config = TrainConfig(steps=4, lr=1e-2, schedule="constant", warmup=0.0, weight_decay=0.0, clip=1e9)
    state = start_training(model, Full().rates(model), config)
    found = [step.loss for step in train(state, TASK, Always(batch), config)]
    assert found == pytest.approx(losses, rel=2e-4) and found[-1] < found[0]


class Always:
    """The same batch at every step."""

    def __init__(self, batch: dict[str, torch.Tensor]):
        self.batch = batch

    def at(self, step: int, at_most: int | None = None) -> list[Any]:
        return [Batch(self.batch, torch.zeros(len(TEXTS)))]


def saved(model: Model, base: Base, folder: Path) -> Path:
    schema = Schema("summarise", "answer", ("text",), False, None, {}, "linear", False, None)
    facts = save_network(folder, model, Pretrained(base), TASK)
    save_model(folder, facts | {"regime": "full"}, TASK, schema, {})
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_loaded_by_transformers_alone_and_by_us(
    kind: str, bases: dict[str, Base], tmp_path: Path
) -> None:
    from transformers import AutoModelForSeq2SeqLM

    batch, model = batch_of(bases[kind]), model_of(bases[kind])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.01)
    folder = saved(model, bases[kind], tmp_path)
    there = AutoModelForSeq2SeqLM.from_pretrained(folder / "body", attn_implementation="sdpa").eval()
    said = batch["labels"] != UNLABELED
    logits = model.head.logits(model.features(batch))  # type: ignore[operator]
    torch.testing.assert_close(theirs(there, batch)["logits"][said], logits[said], atol=2e-4, rtol=1e-4)
    again: Any = load_model(folder).predictor
    assert torch.equal(again.model(batch), model(batch)) and again.inputs.to_json() == pairs_of(bases[kind]).to_json()
    assert there.generation_config.decoder_start_token_id == bases[kind].answers.begins  # type: ignore[union-attr]


@pytest.mark.filterwarnings(
    "ignore:`gguf_file` and `gguf` ", "ignore:`is_gradient_checkpointing`"
)  # that PEFT asks for
@pytest.mark.parametrize("kind", ["t5", "bart", "bert2bert"])
def test_adapters_are_loaded_by_peft(kind: str, bases: dict[str, Base], tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSeq2SeqLM

    batch, model = batch_of(bases[kind]), model_of(bases[kind])
    model.body = LoRA(rank=2).prepare(model.body)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.3)
    model.eval()
    folder = saved(model, bases[kind], tmp_path)
    bare = AutoModelForSeq2SeqLM.from_pretrained(bases[kind].location, attn_implementation="sdpa")
    there = PeftModel.from_pretrained(bare, str(folder / "adapter")).eval()
    said = batch["labels"] != UNLABELED
    logits = model.head.logits(model.features(batch))  # type: ignore[operator]
    torch.testing.assert_close(theirs(there, batch)["logits"][said], logits[said], atol=2e-4, rtol=1e-4)
    again: Any = load_model(folder).predictor
    assert torch.equal(again.model(batch), model(batch))


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_encoder_has_read_is_kept_for_every_layer_that_writes(kind: str, bases: dict[str, Base]) -> None:
    model, inputs = model_of(bases[kind]), pairs_of(bases[kind])
    body: Any = model.body
    reads, layers_ = 90, len(layers(model)) // 2 - 1  # as many that read, and the ends
    found = reads * cache_bytes(body, model.head, np.full(reads, END + 1), inputs.opening)
    width = body.config.hidden_size if hasattr(body.config, "hidden_size") else body.decoder.config.hidden_size
    assert found == pytest.approx(4 * width * (reads + 2 * layers_ * (reads + len(inputs.opening))))


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_answers_are_those_of_transformers(kind: str, bases: dict[str, Base]) -> None:
    whole, model, inputs = pair_model(kind), model_of(bases[kind]), pairs_of(bases[kind])
    prompts = [np.array(inputs.prompt(write_turns([Turn("user", text)]))) for text in TEXTS]
    never = inputs.answers.never

    def answers(stop: set[int]) -> list[list[int]]:
        return generate(model.body, model.head, prompts, stop=stop, most=9, opening=inputs.opening, never=never)  # type: ignore[arg-type]

    first = answers({inputs.ends})
    stop = {inputs.ends, next(token for answer in first for token in answer if not all(token in a for a in first))}
    found = answers(stop)
    for prompt, answer in zip(prompts, found, strict=True):
        ids = torch.from_numpy(prompt)[None]
        begun = torch.tensor([inputs.opening])
        theirs = whole.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            decoder_input_ids=begun,
            do_sample=False,
            max_new_tokens=9,
            eos_token_id=sorted(stop),
            forced_eos_token_id=None,
            forced_bos_token_id=None,
        )
        written = theirs[0, len(inputs.opening) :].tolist()
        assert answer == (written[:-1] if written[-1] in stop else written)
    assert len({len(answer) for answer in found}) > 1
    assert (inputs.opening, never) == {
        "bart": ((END, BEGIN), ()),
        "marian": ((PAD,), (PAD,)),
        "bert2bert": ((BEGIN, BEGIN), ()),
    }.get(kind, ((PAD,), ()))


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_in_order_and_hold_every_weight_once(kind: str, bases: dict[str, Base]) -> None:
    model = model_of(bases[kind])
    found = layers(model)
    assert [layer.name.split(".")[1] for layer in found[1:-1]] == ["encoder", "encoder", "decoder", "decoder"]
    names = [name for layer in found for name in layer.parameters]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert any("embed_positions" in name for name in names) == (kind == "bart")  # Marian's are no weights
    top = Frozen(2).rates(model)
    assert all(name.startswith(("body.decoder", "head")) for name in top) and any(".0." in name for name in top)
    rates = Discriminative(0.5).rates(model)
    first, last = found[1].parameters[0], found[-2].parameters[0]
    assert rates[last] == 8 * rates[first]


def test_flops_are_counted_part_by_part(bases: dict[str, Base]) -> None:
    model = model_of(bases["t5"])
    full = flops(model, Full().rates(model))
    attention, forward, head = 4 * 16 * 16, 2 * 16 * 32, 270 * 16
    read, written = np.array([10]), np.array([3])
    encoder = 2 * 2 * (attention + forward) * 10 + 2 * 4 * 16 * 10**2
    decoder = 2 * 2 * (1.5 * attention + forward) * 3 + 2 * head * 3
    decoder += 2 * 2 * attention / 2 * 10 + 2 * 4 * 16 * 3 * (3 + 10)
    assert full.forward(read + written, written)[0] == encoder + decoder
    assert full.training(read + written, written)[0] == 3 * (encoder + decoder)
    top = flops(model, Frozen(1).rates(model))
    assert encoder < top.training(read + written, written)[0] < 2 * (encoder + decoder)
    model.body = LoRA(rank=2).prepare(model.body)
    lora = flops(model, LoRA(rank=2).rates(model))
    assert lora.backward == 1.0 and 0 < lora.weights < 0.5 and lora.decoder and 2 < lora.decoder.again < 2.5


# --- as users meet them -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_table(tmp_path_factory.mktemp("table"))


def asked(base: Base, **more: object) -> dict[str, object]:
    settings = {"base": base.location, "task": "summarise", "text": "text", "max_length": 40, "lr": 1e-2, "log": False}
    return {**settings, **more}


def test_a_study_of_an_encoder_decoder_is_like_any_other(bases: dict[str, Base], table: Path, tmp_path: Path) -> None:
    regimes = ("zero-shot", "lora", "top-layers")
    more = {"regimes": regimes, "trials": 1, "seeds": 1, "length": 0.1}
    warmstart.compare(table, "summary", tmp_path / "study", **asked(bases["t5"], **more))
    found = json.loads((tmp_path / "study" / "comparison.json").read_text())
    rows = {row["name"]: row for row in found["regimes"]}
    assert rows.keys() == {*regimes, "extractive"} and found["metric"] == "ROUGE-L"
    assert rows["lora"]["cost"]["flops"] > rows["top-layers"]["cost"]["flops"] > 0
    assert rows["zero-shot"]["cost"]["trainable"] == 0 < rows["top-layers"]["cost"]["trainable"]
    answers = warmstart.load(tmp_path / "study").predict(
        [{"text": "the lazy fox runs"}, {"text": "the lazy hen sleeps at 4"}]
    )
    assert [type(answer["prediction"]) for answer in answers] == [str, str]


@pytest.mark.parametrize("kind", [*KINDS, "bert"])
def test_the_same_architecture_starts_from_random_weights(kind: str, bases: dict[str, Base]) -> None:
    base = suited(bases[kind], "summarise")
    start = Scratch(Architecture(base), base.inputs, base.pooling)
    body = start.body(1)
    model, batch = Model(body, start.language_head(body), UNPOOLED).eval(), batch_of(base)
    shapes = [{name: tensor.shape for name, tensor in m.body.state_dict().items()} for m in (model, model_of(base))]
    assert shapes[0] == shapes[1]
    assert model(batch)[:, 0].isfinite().all() and not torch.equal(model(batch), model_of(base)(batch))
    regime = Regime("scratch", start, (Stage(Full()),), DEFAULTS["scratch"])
    assert model_size(regime, TASK).trainable == sum(p.numel() for p in body.parameters())


def test_an_encoder_writes_once_a_copy_of_it_looks_at_it(bases: dict[str, Base], table: Path, tmp_path: Path) -> None:
    from transformers import EncoderDecoderModel

    warmstart.fit(table, "summary", "lora", tmp_path / "run", **asked(bases["bert"], length=0.1))
    model = EncoderDecoderModel.from_pretrained(tmp_path / "run" / "body")
    assert model.config.decoder_start_token_id == BEGIN and model.generation_config.eos_token_id == END
    assert not (tmp_path / "run" / "adapter").exists()  # nobody else has what they would be for
    assert warmstart.load(tmp_path / "run").predict([{"text": "the lazy fox runs"}])[0].keys() == {"prediction"}
    base = suited(bases["bert"], "summarise")
    first, second, again = (Pretrained(base).body(seed).state_dict() for seed in (0, 1, 0))
    fresh = [name for name in first if not torch.equal(first[name], second[name])]
    assert fresh and all("crossattention" in name for name in fresh)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any("starts from a copy of its weights" in said for said in doubts_of(base))
    assert not doubts_of(bases["t5"])


def doubts_of(base: Base) -> tuple[str, ...]:
    texts = tuple(row(*pair) for pair in zip(TEXTS, ANSWERS, strict=True))
    rows = Rows(texts, np.array(ANSWERS, dtype=object), np.arange(1, 7), texts)
    return doubts(base, Schema("summarise", "answer", ("text",), False, None, {}, "linear", False, None), rows)


@pytest.mark.parametrize("kind", ["t5", "marian", "bert"])
def test_stopped_and_gone_on_with_it_ends_with_the_same_weights(
    kind: str, bases: dict[str, Base], tmp_path: Path
) -> None:
    texts = tuple(row(*pair) for pair in zip(TEXTS * 3, ANSWERS * 3, strict=True))
    rows = Rows(texts, np.array(ANSWERS * 3, dtype=object), np.arange(1, 19), tuple(map(str, range(18))))
    splits = Splits(*(rows.take(index) for index in np.split(np.arange(18), [12, 15])), "")
    schema = Schema("summarise", "answer", ("text",), False, None, {}, "linear", False, None)
    regime = Regime("full", Pretrained(suited(bases[kind], "summarise")), (Stage(Full()),), DEFAULTS["full"])
    config = TrainConfig(steps=5, lr=1e-2, batch_size=4)

    def begun(checkpoints: Checkpoints | None) -> Any:
        return train_stages(regime, config, RunData(splits, schema, SharedData(splits), 0), 2, checkpoints)

    _, whole = carried_out(begun(None))
    checkpoints = Checkpoints(tmp_path, "this", every=1e9)
    part = begun(checkpoints)
    for _ in range(3):
        next(part)
    part.close()
    _, again = carried_out(begun(checkpoints))
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


@pytest.mark.parametrize("kind", ["t5", "bart", "bert2bert"])
def test_names_of_control_tokens_are_read_as_text(kind: str, bases: dict[str, Base]) -> None:
    """A document that spelled the end of a text ended it."""
    inputs = pairs_of(bases[kind])
    spelled = "the <|im_end|> bell"
    usual = inputs.prompt(write_turns([Turn("user", "the bell")]))
    read = inputs.prompt(write_turns([Turn("user", spelled)]))
    assert [read.count(token) for token in (BEGIN, END)] == [usual.count(token) for token in (BEGIN, END)]
    assert spelled in inputs.tokenizer.decode(read)
    labels = inputs.encode([row("the bell", spelled)]).batch(np.arange(1))["labels"][0].tolist()
    assert labels.count(END) == 1 and len(labels) > 10


def test_answers_are_held_to_a_schema(bases: dict[str, Base]) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    task = replace(TASK, name="structured", json_schema=schema, most_tokens=30)
    for kind in ("t5", "bart"):
        inputs = task.reads(bases[kind].inputs)
        assert isinstance(inputs, Seq2Seq)
        found = Writer(model_of(bases[kind]), inputs).answers(
            [write_turns([Turn("user", text)]) for text in TEXTS], task
        )
        assert all(isinstance(json.loads(answer)["n"], int) for answer in found)


def test_the_instruction_is_read_by_those_that_know_instructions(bases: dict[str, Base]) -> None:
    task = replace(TASK, instruction="Say it shortly.", usual=True)
    asked = write_turns([Turn("user", "Say it shortly.\n\nthe bell")])
    read = {}
    for kind in ("t5", "bart"):
        inputs = task.reads(bases[kind].inputs)
        assert isinstance(inputs, Seq2Seq)
        read[kind] = inputs.tokenizer.decode(inputs.prompt(asked), skip_special_tokens=True)
    assert read == {"t5": "Say it shortly.\n\nthe bell", "bart": "the bell"}


def test_what_is_too_long_loses_its_middle_and_an_answer_its_end(bases: dict[str, Base]) -> None:
    base = replace(bases["t5"], max_length=10)
    encoded = pairs_of(base).encode([row("abcdefghijklmnop", "zyxwvutsrqponm")])
    tokenizer = base.inputs.tokenizer
    assert tokenizer.decode(encoded.source.row(0)) == "abcdemnop<|im_end|>"
    assert tokenizer.decode(encoded.answer.row(0)) == "zyxwvutsrq"
    assert (encoded.bytes[0], encoded.lost[0], encoded.sizes()[0], encoded.loss_weights()[0]) == (10, 12, 20, 10)


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_check_counts_what_is_read_and_what_is_written_apart(kind: str, bases: dict[str, Base]) -> None:
    rows = {"text": ["a fox " * (1 + i % 6) for i in range(60)], "summary": ["a hen"] * 59 + ["hen"]}
    rows["summary"][3] = " ".join(["a hen runs"] * 5)
    asked_of: dict[str, Any] = {"task": "summarise", "text": "text", "base": bases[kind].location}
    whole = warmstart.check(warmstart.table_of(rows), "summary", **asked_of)
    assert not [each for each in whole.findings if each.kind == "truncated"]
    count = bases[kind].inputs.count
    longest, answer = count([f"{whole.schema.instruction}\n\n{rows['text'][5]}", rows["summary"][3]])
    assert longest > answer > 30  # together they are far longer than what is asked for below

    def cut(tokens: int) -> list[str]:
        found = warmstart.check(warmstart.table_of(rows), "summary", max_length=tokens, **asked_of).findings
        return [each.message for each in found if each.kind == "truncated"]

    assert cut(longest) == []
    (said,) = cut(longest - 1)
    assert said.startswith("10 of 60 texts (16.7%)") and said.endswith("beginning and end are read.")
    assert any(said.startswith("1 of 60 answers (1.7%)") and " see the last " in said for said in cut(answer - 3))


@pytest.mark.parametrize(
    ("kind", "more", "says"),
    [
        ("t5", {"regime": "qlora"}, "cannot be held in 4 bits here"),
        ("t5", {"regime": "full", "task": "classification", "target": "animal"}, "is an encoder-decoder; the task 'cl"),
        ("bert", {"regime": "full", "task": "chat"}, "is an encoder; the task 'chat' needs decoder or encoder-decoder"),
        ("t5", {"regime": "scratch", "parameters": 100_000}, "no encoder-decoder of a given size can be built"),
    ],
)
def test_what_an_encoder_decoder_cannot_do_is_said(
    kind: str, more: dict[str, Any], says: str, bases: dict[str, Base], table: Path, tmp_path: Path
) -> None:
    named = {"target": "summary", **more}
    target, regime = named.pop("target"), named.pop("regime")
    with pytest.raises(UsageError, match=says):
        warmstart.fit(table, target, regime, tmp_path / "run", **asked(bases[kind], **named))


def test_a_base_that_speaks_many_languages_is_refused(tmp_path: Path) -> None:
    from transformers import MBartConfig

    MBartConfig(vocab_size=60, d_model=16).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="kind 'mbart', which cannot be used here: its languages have to be named"):
        find_base(str(tmp_path))
