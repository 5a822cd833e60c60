"""Pairs: does an encoder-decoder read, learn, write and come back as transformers has it?"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.tiny_pairs import BEGIN, END, KINDS, PAD, pair_model, save_pair
from warmstart.data.conversations import Turn, write
from warmstart.data.lines import UNLABELLED
from warmstart.data.pairs import Pairs
from warmstart.data.schema import Schema
from warmstart.flops import flops
from warmstart.generate import generate
from warmstart.methods import Discriminative, Frozen, Full, LoRA
from warmstart.models.layers import layers
from warmstart.models.model import UNPOOLED, Model
from warmstart.starts import Base, Pretrained, find_base
from warmstart.store import load_model, save_model, save_network
from warmstart.tasks import Language
from warmstart.train import TrainConfig, begin, train

TEXTS = ["the bell tolls at nine", "all the walls of the hall", "a", "Tür und Tor, the end of it", "hello there", "so"]
ANSWERS = ["bell", "walls, all", "a", "Tür", "hello", "so it is"]
TASK = Language("summarise", "answer", most_tokens=12)


def row(text: str, answer: str) -> str:
    return write([Turn("user", text), Turn("assistant", answer)])


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Base]:
    folder = tmp_path_factory.mktemp("pairs")
    return {kind: find_base(str(save_pair(folder / kind, kind)), max_length=40) for kind in (*KINDS, "bert")}


def model_of(base: Base) -> Model:
    start = Pretrained(base)
    body = start.body(0)
    return Model(body, start.language_head(body), UNPOOLED).eval()


def pairs_of(base: Base) -> Pairs:
    found = TASK.reads(base.inputs)
    assert isinstance(found, Pairs)
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
    said = batch["labels"] != UNLABELLED
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
    state = begin(model, Full().rates(model), config)
    found = [step.loss for step in train(state, TASK, Always(batch), config)]
    assert found == pytest.approx(losses, rel=2e-4) and found[-1] < found[0]


class Always:
    """The same batch at every step."""

    def __init__(self, batch: dict[str, torch.Tensor]):
        self.batch = batch

    def at(self, step: int, at_most: int | None = None) -> list[Any]:
        from warmstart.tasks import Batch

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
    said = batch["labels"] != UNLABELLED
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
    said = batch["labels"] != UNLABELLED
    logits = model.head.logits(model.features(batch))  # type: ignore[operator]
    torch.testing.assert_close(theirs(there, batch)["logits"][said], logits[said], atol=2e-4, rtol=1e-4)
    again: Any = load_model(folder).predictor
    assert torch.equal(again.model(batch), model(batch))


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_answers_are_those_of_transformers(kind: str, bases: dict[str, Base]) -> None:
    whole, model, inputs = pair_model(kind), model_of(bases[kind]), pairs_of(bases[kind])
    prompts = [np.array(inputs.prompt(write([Turn("user", text)]))) for text in TEXTS]
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
