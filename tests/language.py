"""Language: decoders and a masked model of two layers with random weights, and the least of a head and of rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from warmstart.data.encoding.batches import Batch
from warmstart.data.encoding.examples import BatchStream, Examples
from warmstart.data.encoding.inputs import Encoded
from warmstart.models.model import Model
from warmstart.types import Array

VOCABULARY = 50
KINDS = ("llama", "gpt2", "bert")


class TiedHead(nn.Module):
    """The body's own token table as output layer; nats, labeled tokens and bytes of each text, [n, 3]."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self._table = (body.get_input_embeddings(),)  # type: ignore[operator]  # in a tuple: no part of this module

    def logits(self, hidden: Tensor) -> Tensor:
        return functional.linear(hidden, self._table[0].weight)

    def forward(self, hidden: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        learned = inputs["labels"] >= 0
        nats = functional.cross_entropy(self.logits(hidden[learned]), inputs["labels"][learned], reduction="none")
        counts = torch.stack([nats, torch.ones_like(nats)], dim=1)
        of_rows = torch.zeros(len(inputs["bytes"]), 2).index_add(0, inputs["rows"][learned], counts)
        return torch.cat([of_rows, inputs["bytes"][:, None]], dim=1)


class LanguageModel(Model):
    """The body sees everything but what only the head reads."""

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        kept = {name: tensor for name, tensor in inputs.items() if name not in ("labels", "rows", "bytes")}
        found: Tensor = self.head(self.body(**kept).last_hidden_state, inputs)
        return found


@dataclass(frozen=True)
class Sentences(Encoded):
    """Rows of tokens; each token is to be told from those before it."""

    rows: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.rows)

    def sizes(self) -> Array:
        return np.array([len(row) for row in self.rows])

    def words(self, index: Array) -> list[int]:
        return [0] * len(index)

    def batch(self, index: Array, kept: Sequence[Array] | None = None) -> dict[str, Tensor]:
        rows = [self.rows[i] for i in index]
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        labels = torch.full_like(ids, -100)
        labels[:, :-1] = torch.where(mask[:, 1:] == 1, ids[:, 1:], -100)
        numbers = torch.arange(len(rows))[:, None].expand_as(ids)
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "labels": labels,
            "rows": numbers,
            "bytes": torch.tensor([4.0 * len(row) for row in rows]),
        }


class LanguageLoss:
    """Nats a token."""

    def head(self, width: int, seed: int) -> nn.Module:
        raise NotImplementedError

    def targets(self, rows: object) -> Array:
        raise NotImplementedError

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        nats, tokens, _ = model(batch.inputs).unbind(1)
        loss: Tensor = nats.sum() / tokens.sum()
        return loss


def language_model(kind: str = "llama", seed: int = 0) -> Model:
    """Two layers, width 16, weights so large that its next tokens are no uniform guess."""
    from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, LlamaConfig, LlamaModel

    torch.manual_seed(seed)
    size = {"vocab_size": VOCABULARY, "initializer_range": 0.3}
    if kind == "gpt2":
        body: nn.Module = GPT2Model(GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=64, **size))
    else:
        layers = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        config, model = {"llama": (LlamaConfig, LlamaModel), "bert": (BertConfig, BertModel)}[kind]
        body = model(config(**layers, **size))
    return LanguageModel(body, TiedHead(body), "mean").eval()


def sentences(n: int = 12, seed: int = 0, low: int = 1, high: int = VOCABULARY) -> Examples:
    """Texts of 4 to 11 tokens from `low` to `high`."""
    generator = np.random.default_rng(seed)
    return examples_of([generator.integers(low, high, generator.integers(4, 12)).tolist() for _ in range(n)])


def examples_of(rows: Sequence[Sequence[int]]) -> Examples:
    """Rows of tokens as a model reads them."""
    encoded, n = Sentences(tuple(map(tuple, rows))), len(rows)
    return Examples(encoded, np.arange(n), torch.zeros(n), np.arange(1, n + 1))


def stream(examples: Examples, batch_size: int = 4, seed: int = 0) -> BatchStream:
    return BatchStream(examples, examples.order(batch_size, seed))
