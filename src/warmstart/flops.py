"""FLOPs: what a forward or a training pass costs, from the shapes alone.

A multiply-add counts as two. Counters at run time miss the embedding bag and the CPU's attention kernel, so this is
arithmetic: 2 x weights of matrix multiplications for each token, 4 x width x tokens² for attention in each block, and
twice that again backwards, for what has to be differentiated.
"""

from dataclasses import dataclass

import numpy as np
from torch import nn

from warmstart.methods.method import Rates
from warmstart.models.language import LanguageHead
from warmstart.models.layers import layers
from warmstart.models.model import Model
from warmstart.record import Array


@dataclass(frozen=True)
class Flops:
    """Of one example with `tokens` tokens (or hashed words), for arrays of tokens [n] -> [n].

    `answers` [n]: how often its head is computed; for a language model once a labelled token.
    """

    per_token: float = 0.0
    per_answer: float = 0.0  # the head, and every layer of a body that reads bags of words
    per_token_squared: float = 0.0
    backward: float = 0.0  # share of the forward cost that is spent again on activations
    weights: float = 0.0  # share of the forward cost that is spent again on weights

    def forward(self, tokens: Array, answers: Array | float = 1.0) -> Array:
        tokens = tokens.astype(np.float64)
        cost: Array = self.per_token * tokens + self.per_token_squared * tokens**2 + self.per_answer * answers
        return cost

    def training(self, tokens: Array, answers: Array | float = 1.0) -> Array:
        return self.forward(tokens, answers) * (1 + self.backward + self.weights)


def flops(model: Model, rates: Rates) -> Flops:
    """The cost of `model` when the weights in `rates` learn."""
    bags = [m for m in model.body.modules() if isinstance(m, nn.EmbeddingBag)]
    body, head = _matrices(model.body), _matrices(model.head)
    if isinstance(model.head, LanguageHead) and model.head.output_layer is None:
        head += model.head.weight.numel()  # the body's token table, which is only looked up there
    config = getattr(model.body, "config", None)
    squared = 4.0 * getattr(config, "num_hidden_layers", 0) * getattr(config, "hidden_size", 0)
    backward, weights = _differentiated(model, rates)
    if bags:
        return Flops(2.0 * bags[0].embedding_dim, 2.0 * (body + head), 0.0, backward, weights)
    return Flops(2.0 * body, 2.0 * head, squared, backward, weights)


def _differentiated(model: Model, rates: Rates) -> tuple[float, float]:
    """Shares of the matrix weights whose activations, and which themselves, need gradients."""
    if all(name in rates for name, _ in model.named_parameters()):
        return 1.0, 1.0
    if all(name.startswith("head.") for name in rates):
        share = _matrices(model.head) / max(1, _matrices(model))
        return 0.0, share
    found = layers(model)
    sizes = [sum(_matrices(module) for module in layer.modules) for layer in found]
    learns = [any(name in rates for name in layer.parameters) for layer in found]
    total = max(1, sum(sizes))
    sizes_of = {name: p.numel() for name, p in model.named_parameters() if p.ndim > 1}
    tables = {f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)}
    learning = sum(size for name, size in sizes_of.items() if name in rates and name not in tables)
    return sum(sizes[learns.index(True) :]) / total, learning / total


def _matrices(module: nn.Module) -> int:
    """Weights that take part in matrix multiplications; look-up tables do not."""
    total = 0
    counted: set[int] = set()
    for part in module.modules():
        if isinstance(part, nn.Embedding | nn.EmbeddingBag):
            counted |= {id(p) for p in part.parameters(recurse=False)}
        elif isinstance(part, nn.Linear):  # 4-bit layers store two weights in a byte: count by shape
            total += part.in_features * part.out_features
            counted |= {id(p) for p in part.parameters(recurse=False)}
    return total + sum(p.numel() for p in module.parameters() if p.ndim > 1 and id(p) not in counted)
