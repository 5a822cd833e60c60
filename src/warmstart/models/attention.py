"""Attention: how do rows that share a line attend only to themselves?

Instead of a mask, `packing.PackingLayout` says where each row begins. Attention then runs row by row: on a GPU in one
kernel made for this, elsewhere in one call per row. No mask of tokens x tokens is made or read, and nothing is computed
that it would hide.

With attention dropout, a CPU computes a few rows at a time: torch has no kernel for this there, makes several tensors
of rows x heads x tokens x tokens, and takes three times as long at 256 tokens.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from warmstart.data.encoding.packing import PACKED
from warmstart.models.dropout import dropout_mask, fast_dropout

ATTENTION_NAME = "row_by_row"  # what it is called among transformers' implementations
FLASH = (torch.bfloat16, torch.float16)  # what the kernel computes in
MAX_ATTENTION_ELEMENTS = 2**20  # elements of heads x tokens x tokens: fewer took as long or longer, more were not tried
# Tokens: torch's CPU kernel (2.13) with its gradient in bf16 took 7 times as long as in fp32 at 24, 3.2 at 84, 1.9 at
# 128, about as long at 256, and three quarters at 512.
FLASH_MIN_TOKENS = 400


def attend_row_by_row(body: nn.Module) -> None:
    """Make a body of a supported kind attend within rows of a packed line. Ordinary masks work as before."""
    if getattr(getattr(body, "config", None), "model_type", None) in PACKED:
        from transformers import AttentionInterface, AttentionMaskInterface
        from transformers.masking_utils import sdpa_mask

        AttentionInterface.register(ATTENTION_NAME, attention)
        AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)
        body.set_attn_implementation(ATTENTION_NAME)  # type: ignore[operator]


def attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Attention with the interface of transformers: states [lines, heads, t, d] to [lines, t, heads, d].

    `attention_mask` is an ordinary mask, or int32 [1, 1, longest row, rows + 1]: the start of each row in the only
    line, and the line's end. A shape is known without waiting for a GPU, so it carries the length of the longest row.
    """
    apart = attention_mask is not None and attention_mask.dtype == torch.int32
    longest = attention_mask.shape[2] if attention_mask is not None and apart else key.shape[2]
    if not dropout and longest < FLASH_MIN_TOKENS and _halves_for_training(query):
        with torch.autocast("cpu", enabled=False):
            q, k, v = (states.float() for states in (query, key, value))
            return attention(module, q, k, v, attention_mask, dropout, scaling, is_causal, **more)
    if attention_mask is None or not apart:
        if _drops_quicker(query, key, attention_mask, dropout):
            looks_back = query.shape[2] > 1 and bool(
                getattr(module, "is_causal", True) if is_causal is None else is_causal
            )
            causal = looks_back and attention_mask is None
            return dropped(query, key, value, attention_mask, causal, scaling, dropout).transpose(1, 2), None
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        how: dict[str, Any] = {"dropout": dropout, "scaling": scaling, "is_causal": is_causal}
        found: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **how, **more)
        return found
    causal = bool(module.is_causal if is_causal is None else is_causal)
    kind = query.device.type
    computes_in = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else query.dtype
    if kind == "cuda" and computes_in in FLASH and not dropout:
        states = (query.to(computes_in), key.to(computes_in), value.to(computes_in))
        return in_one_kernel(*states, attention_mask, causal, scaling), None
    return one_by_one(query, key, value, attention_mask, causal, scaling, dropout), None


def in_one_kernel(
    query: Tensor, key: Tensor, value: Tensor, begins: Tensor, causal: bool, scaling: float | None
) -> Tensor:
    """For GPUs, in half precision, without dropout."""
    longest, begins = begins.shape[2], begins[0, 0, 0].contiguous()
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))  # [t, heads, d]
    window = (-1, 0) if causal else (-1, -1)
    grouped = key.shape[1] < query.shape[1]
    from torch.nn.attention.varlen import varlen_attn  # here: importing it takes a second

    found = varlen_attn(
        q, k, v, begins, begins, longest, longest, scale=scaling, window_size=window, enable_gqa=grouped
    )
    assert isinstance(found, Tensor)
    return found[None]


def one_by_one(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    begins: Tensor,
    causal: bool,
    scaling: float | None,
    dropout: float = 0.0,
) -> Tensor:
    """For any device and precision."""
    sizes = begins[0, 0, 0].diff().tolist()
    rows = zip(*(torch.split(states, sizes, dim=2) for states in (query, key, value)), strict=True)
    grouped = key.shape[1] < query.shape[1]
    found = [
        dropped(q, k, v, None, causal, scaling, dropout)
        if _drops_quicker(q, k, None, dropout)
        else scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, is_causal=causal, scale=scaling, enable_gqa=grouped
        )
        for q, k, v in rows
    ]
    return torch.cat([row.transpose(1, 2) for row in found], dim=1)


def _halves_for_training(query: Tensor) -> bool:
    """Whether it would be computed in half precision on a CPU, with gradients."""
    return query.device.type == "cpu" and torch.is_autocast_enabled("cpu") and query.requires_grad


def _drops_quicker(query: Tensor, key: Tensor, mask: Tensor | None, share: float) -> bool:
    """Whether `dropped` supports this case and is faster."""
    known = query.shape[1] == key.shape[1] and (mask is None or mask.dtype == torch.bool)
    return known and fast_dropout(query.shape[1] * query.shape[2] * key.shape[2], query.device, share)


def dropped(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, scaling: float | None, share: float
) -> Tensor:
    """Attention with dropout, [n, heads, t, d]; `mask`: True where a token [t] sees another."""
    kind = query.device.type
    if torch.is_autocast_enabled(kind):
        query, key, value = (states.to(torch.get_autocast_dtype(kind)) for states in (query, key, value))
    if causal:
        mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()[None, None]
    if mask is not None:
        mask = mask.expand(len(query), -1, query.shape[2], key.shape[2])
    found: Tensor = _Dropped.apply(query, key, value, mask, scaling or query.shape[-1] ** -0.5, share)  # type: ignore[no-untyped-call]
    return found


class _Dropped(torch.autograd.Function):
    """A few rows at a time, so that intermediate results stay in the processor's cache."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, share: float
    ) -> Tensor:
        rows, heads, t, _ = query.shape
        found = query.new_empty(*query.shape[:3], value.shape[3])
        ctx.size = max(1, MAX_ATTENTION_ELEMENTS // (heads * t * key.shape[2]))
        evaluations, stays = [], []
        with torch.autocast(query.device.type, enabled=False):
            for some in _slices(rows, ctx.size):
                q, k, v = (states[some].flatten(0, 1) for states in (query, key, value))
                scores = torch.bmm(q * scaling, k.transpose(1, 2))
                if mask is not None:
                    each = _by_row(scores, heads)
                    each.masked_fill_(~mask[some], torch.finfo(scores.dtype).min)
                look = scores.softmax(-1)
                stay = dropout_mask(look.shape, share, look.dtype)
                found[some] = _by_row(torch.bmm(look * stay, v), heads)
                evaluations.append(look)
                stays.append(stay)
        ctx.save_for_backward(query, key, value, *evaluations, *stays)
        ctx.scaling = scaling
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        query, key, value, *saved = ctx.saved_tensors
        of_query, of_key, of_value = (torch.empty_like(states) for states in (query, key, value))
        evaluations, stays = saved[: len(saved) // 2], saved[len(saved) // 2 :]
        for some, look, stay in zip(_slices(len(query), ctx.size), evaluations, stays, strict=True):
            q, k, v, of_found = (states[some].flatten(0, 1) for states in (query, key, value, gradient))
            of_look = torch.bmm(of_found, v.transpose(1, 2)).mul_(stay)
            of_scores = torch._softmax_backward_data(of_look, look, -1, look.dtype)
            for whole, part in (
                (of_query, torch.bmm(of_scores, k * ctx.scaling)),
                (of_key, torch.bmm(of_scores.transpose(1, 2), q * ctx.scaling)),
                (of_value, torch.bmm((look * stay).transpose(1, 2), of_found)),
            ):
                whole[some] = _by_row(part, query.shape[1])
        return of_query, of_key, of_value, None, None, None


def _slices(rows: int, size: int) -> list[slice]:
    return [slice(i, i + size) for i in range(0, rows, size)]


def _by_row(states: Tensor, heads: int) -> Tensor:
    """[rows x heads, ...] to [rows, heads, ...]."""
    return states.view(-1, heads, *states.shape[1:])
