"""Attention: do rows that share a line see all of themselves and nothing of each other?"""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from warmstart.models import attention
from warmstart.models.attention import in_one_kernel, one_by_one

SIZES = (5, 1, 7, 3)
TOKENS, HEADS, WIDTH = sum(SIZES), 4, 8


def states(groups: int = HEADS, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    shapes = (HEADS, groups, groups)
    query, key, value = (torch.randn(1, n, TOKENS, WIDTH, dtype=dtype, requires_grad=True) for n in shapes)
    return query, key, value


def begins() -> Tensor:
    return torch.tensor([0, *SIZES]).cumsum(0).int().expand(1, 1, max(SIZES), -1)


def masked(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tensor:
    """With a mask of tokens x tokens."""
    row = torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))
    seen = row[:, None] == row[None]
    if causal:
        seen = seen.tril()
    found = scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=0.3, enable_gqa=True)
    return found.transpose(1, 2)


def kernel_by_hand(
    query: Tensor, key: Tensor, value: Tensor, cu_q: Tensor, cu_k: Tensor, *more: Any, **how: Any
) -> Tensor:
    """What torch's kernel says that it does, for a CPU."""
    assert how["window_size"] in ((-1, 0), (-1, -1)) and more == (max(SIZES), max(SIZES))
    assert how["enable_gqa"] or query.shape == key.shape
    found = []
    for start, end in zip(cu_q[:-1].tolist(), cu_k[1:].tolist(), strict=True):
        row = [part[start:end].transpose(0, 1)[None] for part in (query, key, value)]
        causal = how["window_size"] == (-1, 0)
        found.append(scaled_dot_product_attention(*row, is_causal=causal, scale=how["scale"], enable_gqa=True))
    return torch.cat(found, dim=2)[0].transpose(0, 1)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("groups", [HEADS, 2])
@pytest.mark.parametrize("way", [one_by_one, in_one_kernel])
def test_it_is_attention_under_a_mask(way: Any, groups: int, causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel_by_hand)
    given = states(groups)
    expected, found = masked(*given, causal), way(*given, begins(), causal, 0.3)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad((each * weights).sum(), given) for each in (expected, found)]
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernel is a GPU's")
@pytest.mark.parametrize("causal", [True, False])
def test_the_kernel_gives_what_is_computed_row_by_row(causal: bool) -> None:
    given = [part.detach().cuda().requires_grad_() for part in states(dtype=torch.bfloat16)]
    where = begins().cuda()
    expected, found = (way(*given, where, causal, 0.3) for way in (one_by_one, in_one_kernel))
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=2e-2)


class Layer:
    is_causal = True


def test_masks_of_transformers_mean_what_they_did() -> None:
    given = states()
    padding = torch.ones(1, 1, TOKENS, TOKENS, dtype=torch.bool).tril()
    padding[..., :2] = False
    padding[..., 0] = True
    for mask in (padding, None):
        found, _ = attention.attention(Layer(), *given, mask, scaling=0.3)
        seen = {"is_causal": True} if mask is None else {"attn_mask": mask}
        expected = scaled_dot_product_attention(*given, scale=0.3, **seen)
        torch.testing.assert_close(found, expected.transpose(1, 2))


def test_dropout_is_drawn_in_each_row() -> None:
    given = states()
    whole, dropped = (attention.attention(Layer(), *given, begins(), dropout=share)[0] for share in (0.0, 0.5))
    changed = (whole - dropped).abs().amax((0, 2, 3)) > 0
    assert all(row.any() for row in changed.split(SIZES) if len(row) > 1)
