"""Moments: do steps with moments in half the memory go where AdamW goes, and do they go on the same after a stop?"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.cli_base import call
from tests.tiny import STEPS, carried_out
from warmstart.models.pretrained.base import Base
from warmstart.regimes.full import Full
from warmstart.regimes.regimes import DEFAULTS, Regime, Stage
from warmstart.regimes.starts import Pretrained
from warmstart.training.checkpoint import Checkpoints
from warmstart.training.optimizer import AdamWBf16State, stochastic_round
from warmstart.training.run_data import RunData
from warmstart.training.stages import train_stages

LEAN = replace(STEPS, optimizer_state="bf16")


def moved(optimizer: type[torch.optim.Optimizer], steps: int) -> torch.Tensor:
    """Weights after steps on noisy gradients around the same mean, half of it negative."""
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.ones(4000))
    made = optimizer([{"params": [weight], "lr": 1e-3, "weight_decay": 0.1}], lr=1e-3)
    for _ in range(steps):
        weight.grad = torch.linspace(-1, 1, 4000) + torch.randn(4000, generator=generator)
        made.step()
    return weight.detach()


def test_rounding_is_right_on_average_and_exact_where_nothing_is_to_be_rounded() -> None:
    generator = torch.Generator().manual_seed(0)
    value = 1 + 1 / 512  # a quarter of the way from 1 to the next number above
    found = stochastic_round(torch.full((100_000,), value), generator)
    assert found.dtype == torch.bfloat16 and set(found.tolist()) == {1.0, 1.0078125}
    assert found.float().mean().item() == pytest.approx(value, abs=5e-5)
    assert stochastic_round(torch.tensor([0.0, -1.5, 3e-30]).bfloat16().float(), generator).tolist() == [
        0.0, -1.5, torch.tensor(3e-30).bfloat16().item()
    ]  # fmt: skip


def test_steps_go_where_adamw_goes() -> None:
    lean, exact = moved(AdamWBf16State, 200), moved(torch.optim.AdamW, 200)
    assert (exact - 1).abs().mean() > 0.05
    assert (lean - exact).abs().mean() < 0.02 * (exact - 1).abs().mean()
    torch.testing.assert_close(moved(AdamWBf16State, 1), moved(torch.optim.AdamW, 1), atol=1e-5, rtol=0)


def test_the_second_moment_decays() -> None:
    """Rounded to the nearest, it would stay for ever at what the first gradients made it."""
    weight = nn.Parameter(torch.ones(1000))
    optimizer = AdamWBf16State([{"params": [weight], "weight_decay": 0.0}], lr=1e-3)
    for step in range(301):
        weight.grad = torch.full_like(weight, float(step == 0))
        optimizer.step()
    kept = optimizer.state[weight]
    assert kept["exp_avg"].dtype == kept["exp_avg_sq"].dtype == torch.bfloat16
    assert kept["exp_avg_sq"].float().mean().item() == pytest.approx(1e-3 * 0.999**300, rel=0.01)


def test_a_training_goes_on_bit_for_bit(base: Base, regression: RunData, tmp_path: Path) -> None:
    regime = Regime("full", Pretrained(base), (Stage(Full()),), DEFAULTS["full"])
    steps, whole = carried_out(train_stages(regime, LEAN, regression, evaluations=1))
    begun = train_stages(regime, LEAN, regression, 1, Checkpoints(tmp_path, "this", every=1e9))
    for _ in range(3):
        next(begun)
    begun.close()
    rest, again = carried_out(train_stages(regime, LEAN, regression, 1, Checkpoints(tmp_path, "this", every=1e9)))
    assert [step.loss for step in rest] == [step.loss for step in steps[3:]]
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)
    _, exact = carried_out(train_stages(regime, STEPS, regression, evaluations=1))
    assert exact.points[-1].val_loss == pytest.approx(whole.points[-1].val_loss, rel=0.05)


@pytest.mark.parametrize("words", [("--optimizer", "sgd"), ("--shard",)])
def test_what_has_no_such_moments_is_refused(words: tuple[str, ...], tmp_path: Path) -> None:
    given = ("fit", tmp_path / "none.csv", "--target", "price", "--regime", "full", "--out", tmp_path / "run")
    answer = call(*given, "--optimizer-state", "bf16", *words)
    assert answer.code == 2
    assert (
        f"error: optimizer_state is bf16, which is for adamw on whole weights, not for {' '.join(words)}." in answer.err
    )
