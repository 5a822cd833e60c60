"""LM head: how likely was each token, without ever holding all logits?

Logits are computed for labeled positions only, some at a time. So are their gradients, in the same pass: in a sum of
losses every token has the same weight, known up to one factor before the backward pass. That avoids computing the
logits twice, a quarter of the head's work, a third if its weight is frozen.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from warmstart.data.encoding.packing import UNLABELED
from warmstart.models.causal_lm import OutputLayer, token_table

LOGIT_BYTES = 64 << 20  # of fp32 logits at a time


class LogitsHead(Protocol):
    """A head that scores the vocabulary."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [m, d] to [m, vocabulary]."""
        ...


class LanguageHead(nn.Module):
    """Logits from hidden states, and the likelihood of the labels.

    Called with hidden states [lines, t, d] and the batch's `labels` [lines, t], `rows` [lines, t] and `bytes` [n].
    Returns float32 [n, 3] per row: the nats of its labeled tokens, their number, and their bytes of text.
    """

    bias: nn.Parameter | None
    offset: Tensor | None

    def __init__(
        self,
        body: nn.Module,
        output: nn.Linear | None = None,
        *,
        bias: Tensor | None = None,
        offset: Tensor | None = None,
        transform: nn.Module | None = None,
        scale: float = 1.0,
        softcap: float | None = None,
        fresh: bool = False,
    ):
        """`output` None: tied to the embedding table of `body`, without a weight of its own.

        `transform` is applied first (BERT kinds); logits are multiplied by `scale` and limited by `softcap` x tanh;
        `offset` is added to them and not trained (BART kinds). `fresh`: it was initialized at random.
        """
        super().__init__()
        self.output_layer = output
        self.transform = transform
        self.bias = None if bias is None else nn.Parameter(bias)
        self.register_buffer("offset", offset)
        self.scale = scale
        self.softcap = softcap
        self.fresh = fresh
        self._body = (body,)  # in a tuple: no part of this module, but copied with it

    @classmethod
    def of(cls, body: nn.Module, output: OutputLayer) -> "LanguageHead":
        """A head with this output layer."""
        linear = None
        if output.weight is not None:
            vocabulary, width = output.weight.shape
            linear = nn.Linear(width, vocabulary, bias=output.bias is not None, device="meta")
            linear.weight = nn.Parameter(output.weight)
            if output.bias is not None:
                linear.bias = nn.Parameter(output.bias)
        bias = output.bias if linear is None else None
        return cls(
            body,
            linear,
            bias=bias,
            offset=output.offset,
            transform=output.transform,
            scale=output.scale,
            softcap=output.softcap,
            fresh=output.fresh,
        )

    def output(self) -> OutputLayer:
        """The inverse: its output layer, sharing the weights."""
        weight = None if self.output_layer is None else self.output_layer.weight
        bias = self.bias if self.output_layer is None else self.output_layer.bias
        transform = self.transform if isinstance(self.transform, nn.Sequential) else None
        return OutputLayer(weight, bias, self.offset, transform, self.scale, self.softcap, self.fresh)

    def logits(self, hidden: Tensor) -> Tensor:
        """[n, vocabulary] from hidden states [n, d]."""
        if self.transform is not None:
            hidden = self.transform(hidden)
        found = functional.linear(hidden * self.scale, self.weight, self._added())
        return found if self.softcap is None else self.softcap * torch.tanh(found / self.softcap)

    @property
    def weight(self) -> Tensor:
        """[vocabulary, d]: its own, or the body's current embedding table."""
        if self.output_layer is not None:
            return self.output_layer.weight
        return token_table(self._body[0]).weight

    def _added(self) -> Tensor | None:
        """The bias of the logits, [vocabulary]."""
        bias = self.bias if self.output_layer is None else self.output_layer.bias
        if bias is None or self.offset is None:
            return self.offset if bias is None else bias
        return bias + self.offset

    def forward(self, hidden: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        labeled = inputs["labels"] != UNLABELED
        chosen = hidden[labeled]
        if self.transform is not None:
            chosen = self.transform(chosen)
        if self.scale != 1.0:
            chosen = chosen * self.scale
        nats = token_nats(chosen, self.weight, inputs["labels"][labeled], self._added(), self.softcap)
        rows = inputs["rows"][labeled]
        per_row = nats.new_zeros(len(inputs["bytes"]), 2)
        per_row = per_row.index_add(0, rows, torch.stack([nats, torch.ones_like(nats)], dim=1))
        return torch.cat([per_row, inputs["bytes"][:, None]], dim=1)


def token_nats(
    hidden: Tensor, weight: Tensor, labels: Tensor, bias: Tensor | None = None, softcap: float | None = None
) -> Tensor:
    """Cross entropy of each label [m] under the logits `hidden` [m, d] x `weight` [v, d] + `bias` [v], float32 [m].

    Never more than `LOGIT_BYTES` of logits at a time, forward and backward. Differentiable once.
    """
    learns = torch.is_grad_enabled()
    nats: Tensor = _TokenNats.apply(hidden, weight, bias, labels, softcap, learns)  # type: ignore[no-untyped-call]
    return nats


class _TokenNats(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        softcap: float | None,
        learns: bool,
    ) -> Tensor:
        kind = hidden.device.type
        autocast = torch.is_autocast_enabled(kind)
        ctx.computes_in = torch.get_autocast_dtype(kind) if autocast else hidden.dtype
        ctx.wanted = tuple(learns and wanted for wanted in ctx.needs_input_grad[:3])
        ctx.softcap = softcap
        ctx.save_for_backward(hidden, weight, bias, labels)
        nats, ctx.gradients = _computed(ctx, (hidden, weight, bias, labels), None)
        return nats

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        by = outer[0]
        gradients, ctx.gradients = ctx.gradients, None
        of_hidden, of_weight, of_bias = gradients
        one = by[:1].sum()
        if (of_weight is not None or of_bias is not None) and not (by == one).all():  # no plain sum of losses
            _, gradients = _computed(ctx, ctx.saved_tensors, by)
            return (*gradients, None, None, None)
        for gradient, factor in ((of_hidden, by[:, None]), (of_weight, one), (of_bias, one)):
            if gradient is not None:
                gradient.mul_(factor)
        return of_hidden, of_weight, of_bias, None, None, None


def _computed(
    ctx: Any, tensors: tuple[Tensor, Tensor, Tensor | None, Tensor], by: Tensor | None
) -> tuple[Tensor, list[Tensor | None]]:
    """Nats [m], and the requested gradients: of the sum of all nats, each weighted by `by` [m] if given."""
    hidden, weight, bias, labels = tensors
    to_hidden, to_weight, to_bias = (
        torch.zeros_like(tensor) if wanted and tensor is not None else None
        for tensor, wanted in zip((hidden, weight, bias), ctx.wanted, strict=True)
    )
    nats = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
    with torch.autocast(hidden.device.type, enabled=False):
        states, table = hidden.to(ctx.computes_in), weight.to(ctx.computes_in)
        added = None if bias is None else bias.to(ctx.computes_in)
        size = max(1, LOGIT_BYTES // (4 * len(weight)))
        for start in range(0, len(hidden), size):
            here = slice(start, start + size)
            label = labels[here, None]
            logits = functional.linear(states[here], table, added).float()
            if ctx.softcap is not None:
                bent = logits.div_(ctx.softcap).tanh_()
                slope = 1 - bent.square()
                logits = bent.mul(ctx.softcap)
            said, highest = logits.gather(1, label), logits.amax(1, keepdim=True)
            chances = logits.sub_(highest).exp_()
            total = chances.sum(1, keepdim=True)
            nats[here] = (total.log() + highest - said).squeeze(1)
            if not any(ctx.wanted):
                continue
            slopes = chances.div_(total).scatter_add_(1, label, torch.full_like(total, -1.0))
            if ctx.softcap is not None:
                slopes.mul_(slope)
            if by is not None:
                slopes.mul_(by[here, None])
            if to_bias is not None:
                to_bias += slopes.sum(0)
            slopes = slopes.to(ctx.computes_in)
            if to_hidden is not None:
                to_hidden[here] = slopes @ table
            if to_weight is not None:
                _add_product(to_weight, slopes.T, states[here])
    return nats, [to_hidden, to_weight, to_bias]


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a @ b, without a temporary tensor of that size if the dtypes allow it."""
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total += a @ b
