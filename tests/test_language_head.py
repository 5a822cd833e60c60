"""Language head: the nats and gradients of plain cross entropy, without its memory, whatever the pieces of a batch."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.tiny_language import conversation, language_body, language_model, save_language_base, splits_of
from warmstart.data.encoding.batches import Batch
from warmstart.data.encoding.examples import BatchStream, Examples
from warmstart.data.encoding.inputs import Encoded
from warmstart.data.encoding.language_inputs import Conversations, Documents, Masked
from warmstart.data.encoding.packing import UNLABELED
from warmstart.models import lm_head
from warmstart.models.lm_head import LanguageHead, token_nats
from warmstart.models.model import UNPOOLED, Model
from warmstart.training.config import TrainConfig
from warmstart.training.flops import flops
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.loop import start_training, train

TEXTS = ["the bell", "all the walls of the hall", "a", "Tür und Tor, the end", "hello there, you", "so it is"]


@dataclass(frozen=True)
class Likelihood:
    """Nats a token."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        outputs: Tensor = model(batch.inputs)
        return outputs[:, 0].sum() / outputs[:, 1].sum()


def plain(hidden: Tensor, weight: Tensor, labels: Tensor, bias: Tensor | None, softcap: float | None) -> Tensor:
    logits = functional.linear(hidden, weight, bias)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return functional.cross_entropy(logits, labels, reduction="none")


Case = tuple[Tensor, Tensor, Tensor, Tensor | None, float | None]


def case(bias: bool = False, softcap: float | None = None, tokens: int = 30, vocabulary: int = 50) -> Case:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, 8, generator=generator)
    weight = torch.randn(vocabulary, 8, generator=generator)
    labels = torch.randint(0, vocabulary, (tokens,), generator=generator)
    return hidden, weight, labels, torch.randn(vocabulary, generator=generator) if bias else None, softcap


def gradients(of: Callable[..., Tensor], given: Case, by: Tensor | float, frozen: bool = False) -> list[Tensor | None]:
    hidden, weight, labels, bias, softcap = given
    learning = [None if t is None else t.clone().requires_grad_() for t in (hidden, weight, bias)]
    if frozen:
        learning[1] = weight
    nats = of(learning[0], learning[1], labels, learning[2], softcap)
    (nats * by).sum().backward()
    return [nats.detach(), *(None if t is None else t.grad for t in learning)]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("by", [0.125, torch.linspace(-1, 2, 30)], ids=["a sum", "each its own"])
@pytest.mark.parametrize("at_a_time", [7, 1000])
def test_nats_and_gradients_are_those_of_cross_entropy(
    bias: bool, softcap: float | None, frozen: bool, by: Any, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lm_head, "LOGIT_BYTES", 4 * 50 * at_a_time)
    given = case(bias, softcap)
    for found, expected in zip(
        gradients(token_nats, given, by, frozen), gradients(plain, given, by, frozen), strict=True
    ):
        assert (found is None) == (expected is None)
        if found is not None and expected is not None:
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_in_bf16_it_is_as_near_as_plain_cross_entropy() -> None:
    given = case()
    exact = gradients(plain, given, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = gradients(token_nats, given, 0.1), gradients(plain, given, 0.1)
    for found, other, truth in zip(ours[:3], theirs[:3], exact[:3], strict=True):
        assert found is not None and other is not None and truth is not None and found.dtype == torch.float32
        assert (found - truth).abs().max() <= 1.5 * (other - truth).abs().max()


def test_without_a_label_there_are_no_nats() -> None:
    hidden, weight, labels, *_ = case()
    hidden.requires_grad_()
    nats = token_nats(hidden[:0], weight.requires_grad_(), labels[:0])
    nats.sum().backward()
    assert nats.shape == (0,) and hidden.grad is not None and weight.grad is not None and not weight.grad.any()


class Largest(TorchDispatchMode):
    """The bytes of the largest tensor that any operation gives."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() * leaf.element_size() for leaf in tree_leaves(found) if isinstance(leaf, Tensor)]
        self.bytes = max(self.bytes, *sizes, 0)
        return found


@pytest.mark.parametrize("frozen", [True, False])
def test_all_logits_are_never_there(frozen: bool) -> None:
    given = case(tokens=1500, vocabulary=152_000)
    with Largest() as largest:
        gradients(token_nats, given, 1.0, frozen)
    assert lm_head.LOGIT_BYTES * 0.9 < largest.bytes <= lm_head.LOGIT_BYTES < 4 * 1500 * 152_000 / 10


def a_batch(model_kind: str, folder: Path) -> dict[str, Tensor]:
    save_language_base(folder, model_kind)
    return Documents(str(folder), 60).encode(TEXTS).batch(np.arange(len(TEXTS)))


def test_each_row_has_its_own_nats_tokens_and_bytes(tmp_path: Path) -> None:
    batch, model = a_batch("llama", tmp_path), language_model()
    hidden = model.features(batch)
    outputs = model(batch)
    logits = functional.linear(hidden, model.body.get_input_embeddings().weight)  # type: ignore[operator]
    each = functional.cross_entropy(logits.transpose(1, 2), batch["labels"], reduction="none")
    for i, text in enumerate(TEXTS):
        here = (batch["rows"] == i) & (batch["labels"] != UNLABELED)
        assert outputs[i, 0].item() == pytest.approx(each[here].sum().item(), rel=1e-5)
        assert outputs[i, 1:].tolist() == [here.sum().item(), len(text.encode())]


def test_the_body_is_not_told_what_is_to_be_said(tmp_path: Path) -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(270, 16)

        def get_input_embeddings(self) -> nn.Module:
            return self.table

        def forward(self, input_ids: Tensor, position_ids: Tensor, attention_mask: Tensor) -> Tensor:
            found: Tensor = self.table(input_ids)
            return found

    body = Words()
    assert Model(body, LanguageHead(body), UNPOOLED)(a_batch("llama", tmp_path)).shape == (len(TEXTS), 3)


def test_a_tied_head_is_the_body_s_table_also_after_a_copy(tmp_path: Path) -> None:
    batch, model = a_batch("llama", tmp_path), language_model()
    assert not list(model.head.parameters())
    other = copy.deepcopy(model)
    other(batch)[:, 0].sum().backward()
    table = other.body.get_input_embeddings().weight  # type: ignore[operator]
    assert isinstance(other.head, LanguageHead) and other.head.weight is table and table.grad is not None
    assert table.grad[100].abs().sum() > 0  # a token that no text has: only the head gives it a gradient
    assert model.body.get_input_embeddings().weight.grad is None  # type: ignore[operator]


def test_a_head_of_its_own_with_transform_and_scale(tmp_path: Path) -> None:
    batch, body = a_batch("gpt2", tmp_path), language_body("gpt2")
    output, transform = nn.Linear(16, 270), nn.Sequential(nn.Linear(16, 16), nn.GELU())
    with torch.no_grad():
        output.bias.zero_()
    model = Model(body, LanguageHead(body, output, transform=transform, scale=0.5, softcap=30.0), UNPOOLED)
    logits = 30 * torch.tanh(0.5 * output(transform(model.features(batch))) / 30)
    expected = functional.cross_entropy(logits.transpose(1, 2), batch["labels"], reduction="sum")
    torch.testing.assert_close(model(batch)[:, 0].sum(), expected)
    tied = LanguageHead(body, bias=torch.zeros(270))
    assert [name for name, _ in tied.named_parameters()] == ["bias"]


@pytest.mark.parametrize("kind", ["documents", "conversations", "masked"])
def test_pieces_of_a_batch_learn_what_the_whole_batch_learns(kind: str, tmp_path: Path) -> None:
    base = str(save_language_base(tmp_path, "bert" if kind == "masked" else "llama"))
    inputs = {
        "documents": Documents(base, 60),
        "conversations": Conversations(base, 100),
        "masked": Masked(base, 60, 0),
    }
    chats = [conversation("What is it?", text) for text in TEXTS]
    encoded: Encoded = inputs[kind].encode(chats if kind == "conversations" else TEXTS)
    assert len(set(encoded.loss_weights().tolist())) > 1
    n = len(TEXTS)
    examples = Examples(encoded, np.arange(n), torch.zeros(n), np.arange(n))
    weights = []
    for micro_batch in (None, 1, 4):
        config = TrainConfig(steps=4, lr=1e-3, batch_size=n, micro_batch=micro_batch, optimizer="sgd")
        model = language_model("bert" if kind == "masked" else "llama")
        rates = {name: 1.0 for name, _ in model.named_parameters()}
        state = start_training(model, rates, config)
        steps = list(train(state, Likelihood(), BatchStream(examples, examples.order(n, 0)), config))  # type: ignore[arg-type]
        weights.append((torch.cat([p.detach().flatten() for p in model.parameters()]), [s.loss for s in steps]))
    for found, losses in weights[1:]:
        torch.testing.assert_close(found, weights[0][0], atol=1e-6, rtol=0)
        assert losses == pytest.approx(weights[0][1], rel=1e-5)


def test_masked_rows_are_drawn_anew_in_each_epoch_of_training(tmp_path: Path) -> None:
    encoded = Masked(str(save_language_base(tmp_path, "bert")), 60, 0).encode(TEXTS)
    n = len(TEXTS)
    examples = Examples(encoded, np.arange(n), torch.zeros(n), np.arange(n))
    stream = BatchStream(examples, examples.order(n, 0))
    first, again, second = (sorted(stream.at(step)[0].inputs["labels"].flatten().tolist()) for step in (0, 0, 1))
    assert first == again != second


def test_nothing_is_stored_of_rows_in_lines(tmp_path: Path) -> None:
    base = str(save_language_base(tmp_path, "llama"))
    shared = SharedData(splits_of(["abc", "def", "ghi", "jkl"]))
    model = language_model()
    model.requires_grad_(False)
    inputs = Documents(base, 4)
    assert shared.below(model, inputs) is shared.encoded(inputs) and not shared.stores


def test_the_head_costs_what_its_labels_cost() -> None:
    model = language_model()
    rates = {name: 1.0 for name, _ in model.named_parameters()}
    cost = flops(model, rates)
    tokens = np.array([10, 10])
    few, many = cost.forward(tokens, np.array([1, 9]))
    assert many - few == 8 * 2 * 270 * 16
    own = language_body("llama")
    untied = flops(Model(own, LanguageHead(own, nn.Linear(16, 270, bias=False)), UNPOOLED), rates)
    assert replace(untied, backward=1.0, weights=1.0) == replace(cost, backward=1.0, weights=1.0)
