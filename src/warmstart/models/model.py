"""Model: how do a body and a head work as one module?"""

from typing import Any

import torch
from torch import Tensor, nn

from warmstart.data.features.column_inputs import HEAD_KEYS
from warmstart.models.lm_head import LanguageHead

POOLINGS = ("mean", "cls", "last")
UNPOOLED = "none"  # for language models: the head reads every hidden state, and what is to be said there


class Model(nn.Module):
    """`head(pool(body(**inputs)))`; for a head that reads columns `head(pool(body(**inputs)), inputs)`.

    Without pooling: `head(body(**inputs), inputs)`.

    The body is any module that takes a batch as keyword arguments and gives features [n, d], hidden states [n, t, d],
    or what Hugging Face models give (`last_hidden_state`). Hidden states are pooled over the tokens, not over padding.
    """

    def __init__(self, body: nn.Module, head: nn.Module, pooling: str = "mean"):
        super().__init__()
        self.body = body
        self.head = head
        self.pooling = pooling

    @property
    def language_head(self) -> LanguageHead | None:
        """The head if it scores the vocabulary at every token; None if it uses pooled features."""
        return self.head if isinstance(self.head, LanguageHead) else None

    def features(self, inputs: dict[str, Tensor]) -> Tensor:
        """Input of the head, [n, d]; [lines, t, d] without pooling."""
        found: Any = self.body(**{name: tensor for name, tensor in inputs.items() if name not in HEAD_KEYS})
        hidden: Tensor = found if isinstance(found, Tensor) else found.last_hidden_state
        if hidden.ndim == 2 or self.pooling == UNPOOLED:
            return hidden
        return pool(hidden, inputs.get("attention_mask"), self.pooling)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        features = self.features(inputs)
        beside = self.pooling == UNPOOLED or reads_columns(self.head)
        outputs: Tensor = self.head(features, inputs) if beside else self.head(features)
        return outputs


def pool(hidden: Tensor, mask: Tensor | None, how: str) -> Tensor:
    """One vector per text, [n, d], from hidden states [n, t, d] and a mask [n, t] with 1 for tokens, 0 for padding."""
    if how == "cls":
        return hidden[:, 0]
    if how == "last":
        if mask is None:
            return hidden[:, -1]
        return hidden[torch.arange(len(hidden)), mask.sum(1) - 1]
    if mask is None:
        return hidden.mean(1)
    weight = mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weight).sum(1) / weight.sum(1)


def is_head(body: nn.Module) -> bool:
    """Whether a body's outputs are final, without a head."""
    return bool(getattr(body, "is_head", False))


def reads_columns(head: nn.Module) -> bool:
    """Whether a head reads the columns of a batch beside a body's features."""
    return bool(getattr(head, "reads_columns", False))


def body_width(body: nn.Module) -> int:
    """How many features a body gives: its `width`, or its configuration's `hidden_size`."""
    width = getattr(body, "width", None) or getattr(getattr(body, "config", None), "hidden_size", None)
    if not isinstance(width, int):
        raise TypeError(f"{type(body).__name__} has neither `width` nor `config.hidden_size`")
    return width
