"""Dropout: is it torch's in all but the time?"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from warmstart.models import attention
from warmstart.models.dropout import MIN_ELEMENTS, Dropout, dropout, dropout_mask, use_fast_dropout

ROWS, HEADS, TOKENS, WIDTH = 3, 4, 72, 8  # heads x tokens x tokens: enough to be drawn in our way
SHARE = 0.3


def test_the_share_is_dropped_and_the_rest_makes_up_for_it() -> None:
    x = torch.ones(1_000, 1_000)
    for share in (0.1, 0.5, 0.9):
        found = dropout(x, share)
        lost = (found == 0).float().mean().item()
        assert lost == pytest.approx(share, abs=4 * (share * (1 - share)) ** 0.5 / 1_000)
        assert found[found > 0].unique().tolist() == pytest.approx([1 / (1 - share)], rel=1e-4)
        assert (found == 0).float().mean(0).std() < 0.02  # no column is spared


def test_gradients_pass_where_values_did() -> None:
    x = torch.randn(200, 200, requires_grad=True)
    found = dropout(x, SHARE)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(gradient * x, found)


def test_the_random_state_of_torch_alone_decides() -> None:
    x = torch.ones(MIN_ELEMENTS)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append((dropout(x, SHARE), dropout(x, SHARE)))
    assert torch.equal(torch.stack(draws[0]), torch.stack(draws[1]))
    assert not torch.equal(draws[0][0], draws[2][0]) and not torch.equal(*draws[0])


def test_a_model_is_told_once_and_stays_what_it_was() -> None:
    model = nn.Sequential(nn.Linear(8, MIN_ELEMENTS), nn.Dropout(SHARE), nn.ReLU())
    names = list(model.state_dict())
    use_fast_dropout(model)
    use_fast_dropout(model)
    in_place = nn.Dropout(SHARE, inplace=True)
    use_fast_dropout(in_place)
    assert type(in_place) is nn.Dropout
    assert isinstance(model[1], Dropout) and model[1].p == SHARE and list(model.state_dict()) == names
    x = torch.randn(1, 8)
    assert (model.train()(x) != model.eval()(x)).any()
    torch.testing.assert_close(model(x), nn.functional.relu(model[0](x)))


def test_little_is_drawn_by_torch() -> None:
    x = torch.ones(MIN_ELEMENTS - 1)
    torch.manual_seed(0)
    found = dropout(x, SHARE)
    torch.manual_seed(0)
    assert torch.equal(found, nn.functional.dropout(x, SHARE))


def states(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(ROWS, HEADS, TOKENS, WIDTH, dtype=dtype, requires_grad=True) for _ in range(3)]


def padding() -> Tensor:
    mask = torch.ones(ROWS, 1, TOKENS, TOKENS, dtype=torch.bool)
    mask[0, ..., 50:] = False
    return mask


def by_hand(
    states: list[Tensor],
    mask: Tensor | None,
    causal: bool,
    scaling: float,
    at_once: int = attention.MAX_ATTENTION_ELEMENTS,
) -> Tensor:
    """The same draws, in so many words."""
    query, key, value = states
    scores = query @ key.transpose(2, 3) * scaling
    if causal:
        mask = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    size = max(1, at_once // (HEADS * TOKENS**2))
    shapes = [torch.Size((len(some) * HEADS, TOKENS, TOKENS)) for some in query.split(size)]
    draws = torch.cat([dropout_mask(shape, SHARE, scores.dtype) for shape in shapes])
    return (scores.softmax(-1) * draws.unflatten(0, (-1, HEADS))) @ value


class Layer:
    is_causal = False


@pytest.mark.parametrize("at_once", [attention.MAX_ATTENTION_ELEMENTS, 2 * HEADS * TOKENS**2])
@pytest.mark.parametrize("how", ["plain", "padded", "causal"])
def test_attention_drops_what_is_attended_to(how: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "MAX_ATTENTION_ELEMENTS", at_once)  # all rows, or two and the last one
    given = states()
    mask, causal = (padding() if how == "padded" else None), how == "causal"
    weights = torch.randn(ROWS, TOKENS, HEADS, WIDTH)
    torch.manual_seed(5)
    expected = by_hand(given, mask, causal, 0.3, at_once).transpose(1, 2)
    torch.manual_seed(5)
    found, _ = attention.attention(Layer(), *given, mask, dropout=SHARE, scaling=0.3, is_causal=causal)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad((each * weights).sum(), given) for each in (expected, found)]
    torch.testing.assert_close(gradients[1], gradients[0])


def test_rows_that_share_a_line_are_dropped_in_the_same_way() -> None:
    given = states()
    line = [each.transpose(1, 2).reshape(1, ROWS * TOKENS, HEADS, WIDTH).transpose(1, 2) for each in given]
    begins = (torch.arange(ROWS + 1) * TOKENS).int().expand(1, 1, TOKENS, -1)
    torch.manual_seed(5)
    expected = by_hand(given, None, False, 0.3, at_once=1).transpose(1, 2).reshape(1, ROWS * TOKENS, HEADS, WIDTH)
    torch.manual_seed(5)
    found, _ = attention.attention(Layer(), *line, begins, dropout=SHARE, scaling=0.3)
    torch.testing.assert_close(found, expected)


def test_in_bf16_it_is_the_same_to_its_precision() -> None:
    given = states()
    torch.manual_seed(5)
    expected = by_hand(given, None, False, 0.3).transpose(1, 2)
    torch.manual_seed(5)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = attention.attention(Layer(), *given, None, dropout=SHARE, scaling=0.3)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, atol=3e-2, rtol=3e-2)
    gradients = torch.autograd.grad(found.float().sum(), given)
    assert all(each.dtype == torch.float32 for each in gradients)


@pytest.mark.parametrize("packed", [False, True])
def test_short_rows_on_a_cpu_are_attended_in_fp32_where_a_gradient_goes_back(packed: bool) -> None:
    given = states()
    line = [each.transpose(1, 2).reshape(1, ROWS * TOKENS, HEADS, WIDTH).transpose(1, 2) for each in given]
    begins = (torch.arange(ROWS + 1) * TOKENS).int().expand(1, 1, TOKENS, -1)
    how: tuple[list[Tensor], Tensor | None] = (line, begins) if packed else (given, None)
    expected, _ = attention.attention(Layer(), *how[0], how[1], scaling=0.3)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = attention.attention(Layer(), *how[0], how[1], scaling=0.3)
        looked_at, _ = attention.attention(Layer(), *(each.detach() for each in how[0]), how[1], scaling=0.3)
    assert found.dtype == torch.float32 and torch.equal(found, expected)
    assert looked_at.dtype == torch.bfloat16


def test_a_body_of_bert_kind_is_trained_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
    body = BertModel(BertConfig(vocab_size=50, **sizes), add_pooling_layer=False)
    attention.attend_row_by_row(body)
    calls: list[Any] = []
    monkeypatch.setattr(attention, "dropped", lambda *given: calls.append(given[-1]) or _values(given))
    ids = torch.randint(1, 50, (ROWS, TOKENS))
    mask = torch.ones_like(ids)
    mask[0, 50:] = 0
    body.train()(input_ids=ids, attention_mask=mask)
    assert calls == [0.1, 0.1]
    body.eval()(input_ids=ids, attention_mask=mask)
    assert len(calls) == 2


def _values(given: tuple[Any, ...]) -> Tensor:
    found: Tensor = given[2]
    return found
