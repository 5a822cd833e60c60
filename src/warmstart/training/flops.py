"""FLOPs: what does a forward or a training pass cost, from shapes alone?

A multiply-add counts as two. Counters at run time miss the embedding bag and the CPU's attention kernel, so this is
arithmetic: 2 x weights of matrix multiplications per token, 4 x width x tokens² for attention in each block, and twice
that again in the backward pass, for what has to be differentiated.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from warmstart.models.layers import blocks_paths, layers
from warmstart.models.lm_head import LanguageHead
from warmstart.models.model import Model, body_width
from warmstart.regimes.method import Rates
from warmstart.types import Array

# Of a decoder, what looks at the tokens read: T5's, BART's, BERT's names for keys and values.
_KEYS = re.compile(r"(EncDecAttention\.[kv]|encoder_attn\.[kv]_proj|crossattention\.self\.(key|value))(\.base_layer)?$")


@dataclass(frozen=True)
class Flops:
    """FLOPs of one example with `tokens` tokens (or hashed words), for arrays [n] -> [n].

    `answers` [n]: how often the head is computed; for a language model, once per labeled token.
    """

    per_token: float = 0.0
    per_answer: float = 0.0  # the head, and every layer of a body that reads bags of words
    per_token_squared: float = 0.0
    backward: float = 0.0  # share of the forward cost that is spent again on activations
    weights: float = 0.0  # share of the forward cost that is spent again on weights
    decoder: "Decoder | None" = None  # of an encoder-decoder: then the rest is the encoder's

    def forward(self, tokens: Array, answers: Array | float = 1.0) -> Array:
        tokens = tokens.astype(np.float64)
        if self.decoder is not None:
            read = tokens - answers
            return self._encoder(read, 0.0) + self.decoder.forward(read, answers)
        return self._encoder(tokens, answers)

    def training(self, tokens: Array, answers: Array | float = 1.0) -> Array:
        own = 1 + self.backward + self.weights
        if self.decoder is not None:
            read = tokens - answers
            return self._encoder(read, 0.0) * own + self.decoder.forward(read, answers) * self.decoder.again
        return self.forward(tokens, answers) * own

    def _encoder(self, tokens: Array, answers: Array | float) -> Array:
        cost: Array = self.per_token * tokens + self.per_token_squared * tokens**2 + self.per_answer * answers
        return cost


@dataclass(frozen=True)
class Decoder:
    """Additional FLOPs of the decoder of an encoder-decoder, for one example with so many source and target tokens."""

    per_answer: float  # token that is written, the head included
    per_read: float  # token that is read: keys and values for the attention to it
    per_pair: float  # of attention
    again: float  # times the forward cost, in training

    def forward(self, read: Array, answers: Array | float) -> Array:
        cost: Array = self.per_answer * answers + self.per_read * read + self.per_pair * answers * (answers + read)
        return cost


def flops(model: Model, rates: Rates) -> Flops:
    """FLOPs of `model` when the weights in `rates` are trained."""
    bags = [m for m in model.body.modules() if isinstance(m, nn.EmbeddingBag)]
    body, head = _matrices(model.body), _matrices(model.head) + getattr(model.head, "weights_looked_up", 0)
    language = model.language_head
    if language is not None and language.output_layer is None:
        head += language.weight.numel()  # the body's token table, which is only looked up there
    config = getattr(model.body, "config", None)
    squared = 4.0 * getattr(config, "num_hidden_layers", 0) * getattr(config, "hidden_size", 0)
    if language is not None and getattr(config, "is_encoder_decoder", False):
        return _of_both(model, language, rates, head)
    backward, weights = _differentiated(model, rates)
    pictures = getattr(model.body, "image_config", None)
    if pictures is not None:
        return Flops(0.0, 2.0 * (pictures.multiplications + head), 0.0, backward, weights)
    if bags:
        width = getattr(model.body, "bag_width", bags[0].embedding_dim)  # of all tables that a word is looked up in
        return Flops(2.0 * width, 2.0 * (body + head), 0.0, backward, weights)
    return Flops(2.0 * body, 2.0 * head, squared, backward, weights)


def _of_both(model: Model, language: LanguageHead, rates: Rates, head: int) -> Flops:
    """FLOPs of an encoder-decoder: the encoder runs over the source tokens, the decoder over the target tokens."""
    body: Any = model.body
    depth, tall = (len(list(body.get_submodule(path).children())) for path in blocks_paths(body))
    found = layers(model)
    learns = [any(name in rates for name in layer.parameters) for layer in found]
    lowest = learns.index(True) if any(learns) else len(found)

    def again(chosen: range) -> tuple[int, int]:
        """Weights of these layers that need gradients of their activations, and gradients of their own."""
        above = sum(_matrices(module) for i in chosen if i >= lowest for module in found[i].modules)
        return above, sum(_learning(model, rates, found[i].parameters) for i in chosen)

    read, written = _matrices(body.encoder), _matrices(body.decoder)
    keys = [m for name, m in body.decoder.named_modules() if isinstance(m, nn.Linear) and _KEYS.search(name)]
    looking = sum(linear.in_features * linear.out_features for linear in keys)
    backward, weights = again(range(1, depth + 1))
    above, own = again(range(depth + 1, depth + tall + 1))
    if any(learns):
        above += head
    if any(name in rates for name, parameter in model.named_parameters() if parameter is language.weight):
        own += head
    width, whole = body_width(body), written + head
    decoder = Decoder(2.0 * (whole - looking), 2.0 * looking, 4.0 * tall * width, 1 + (above + own) / whole)
    return Flops(2.0 * read, 0.0, 4.0 * depth * width, backward / read, weights / read, decoder)


def _differentiated(model: Model, rates: Rates) -> tuple[float, float]:
    """Shares of the matrix weights that need gradients of their activations, and gradients of their own."""
    if all(name in rates for name, _ in model.named_parameters()):
        return 1.0, 1.0
    if all(name.startswith("head.") for name in rates):
        share = _matrices(model.head) / max(1, _matrices(model))
        return 0.0, share
    found = layers(model)
    sizes = [sum(_matrices(module) for module in layer.modules) for layer in found]
    learns = [any(name in rates for name in layer.parameters) for layer in found]
    total = max(1, sum(sizes))
    learning = _learning(model, rates, [name for name, _ in model.named_parameters()])
    return sum(sizes[learns.index(True) :]) / total, learning / total


def _learning(model: Model, rates: Rates, names: Sequence[str]) -> int:
    """How many of these weights are trained and take part in matrix multiplications."""
    tables = {f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)}
    matrices = [model.get_parameter(name) for name in names if name in rates and name not in tables]
    return sum(parameter.numel() for parameter in matrices if parameter.ndim > 1)


def _matrices(module: nn.Module) -> int:
    """Weights that take part in matrix multiplications; lookup tables do not."""
    total = 0
    counted: set[int] = set()
    for part in module.modules():
        if isinstance(part, nn.Embedding | nn.EmbeddingBag):
            counted |= {id(p) for p in part.parameters(recurse=False)}
        elif isinstance(part, nn.Linear):  # 4-bit layers store two weights in a byte: count by shape
            total += part.in_features * part.out_features
            counted |= {id(p) for p in part.parameters(recurse=False)}
    return total + sum(p.numel() for p in module.parameters() if p.ndim > 1 and id(p) not in counted)
