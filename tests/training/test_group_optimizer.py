"""Group optimizer: does each group go where torch's own optimizer goes, also with sparse gradients?"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from warmstart.models.learning_rule import GroupOptimizer
from warmstart.runtime.distributed import ALONE
from warmstart.training.group_optimizer import GroupedOptimizer
from warmstart.training.loop import clip_gradients

OWN: dict[GroupOptimizer, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
    "sgd": lambda weights: torch.optim.SGD(weights, lr=0.1),
    "adagrad": lambda weights: torch.optim.Adagrad(weights, lr=0.1),
    "adamw": lambda weights: torch.optim.AdamW(weights, lr=0.1, weight_decay=0.01),
}


def moved(weight: nn.Parameter, optimizer: torch.optim.Optimizer, *, sparse: bool) -> Tensor:
    """Weights of a table after steps in which a row is looked up twice, and some rows never."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        rows = torch.tensor([1, 4, 1, 7])
        values = torch.randn(4, 3, generator=generator)
        gradient = torch.sparse_coo_tensor(rows[None], values, weight.shape, check_invariants=True)
        weight.grad = gradient if sparse else gradient.to_dense()
        optimizer.step()
    return weight.detach().clone()


def table() -> nn.Parameter:
    return nn.Parameter(torch.linspace(-1, 1, 30).reshape(10, 3))


@pytest.mark.parametrize(("name", "sparse"), [("sgd", True), ("adagrad", True), ("adagrad", False), ("adamw", False)])
def test_a_group_goes_where_torch_s_optimizer_goes(name: GroupOptimizer, sparse: bool) -> None:
    mine, own = table(), table()
    group: dict[str, Any] = {"params": [mine], "optimizer": name, "lr": 0.1, "weight_decay": 0.01}
    found = moved(mine, GroupedOptimizer([group], 0.1), sparse=sparse)
    torch.testing.assert_close(found, moved(own, OWN[name]([own]), sparse=False), atol=1e-6, rtol=1e-5)
    assert torch.equal(found[0], table()[0]) == (name != "adamw"), "a row without a gradient stays, but for decay"


def test_sparse_gradients_are_clipped_with_the_others() -> None:
    rows, values = torch.tensor([[1, 4, 1]]), torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    sparse, dense, beside = (nn.Parameter(torch.zeros(6, 2)) for _ in range(3))
    whole = torch.sparse_coo_tensor(rows, values, (6, 2), check_invariants=True).to_dense()
    norms = []
    for weight, gradient in (
        (sparse, torch.sparse_coo_tensor(rows, values, (6, 2), check_invariants=True)),
        (dense, whole.clone()),
    ):
        weight.grad, beside.grad = gradient, torch.ones(6, 2)
        norms.append(clip_gradients(ALONE, [weight, beside], 2.0))
    assert norms[0] == pytest.approx(norms[1]) == pytest.approx((whole.square().sum().item() + 12) ** 0.5)
    assert sparse.grad is not None and dense.grad is not None
    torch.testing.assert_close(sparse.grad.to_dense(), dense.grad)
    assert dense.grad.norm() < 2.0
