"""Is the memory of the most expensive step what it takes, also where fewer rows are measured?"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.tiny import STEPS
from warmstart.models.pretrained.base import Base
from warmstart.planning.memory_probe import longest_rows, measure_step
from warmstart.regimes.full import Full
from warmstart.regimes.regimes import DEFAULTS, REGIMES, Regime, RegimeContext, Stage
from warmstart.regimes.starts import Scratch
from warmstart.training.run_data import RunData

WIDE = 80_000  # 8 rows take more than 32 MB: from there on glibc gives back what is freed


class Wide(nn.Module):
    """Next to no weights, and megabytes for each row."""

    width = 4

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(WIDE))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        spread = input_ids.float()[:, :, None] * self.scale
        found: Tensor = (spread * spread).mean(1)[:, :4]
        return found


@pytest.fixture
def wide(base: Base) -> Regime:
    return Regime("wide", Scratch(Wide, base.inputs), (Stage(Full()),), DEFAULTS["full"])


def test_the_dearest_batch_has_most_tokens_with_padding(base: Base, regression: RunData) -> None:
    regime = REGIMES["full"](RegimeContext(base, 84))
    rows = longest_rows(regression, regime, replace(STEPS, steps=100))
    train = regression.splits.train
    sizes = regression.shared.examples(base.inputs, train, regression.task.targets(train)).sizes()
    assert len(rows) == STEPS.batch_size and sizes[rows].max() >= np.sort(sizes)[-STEPS.batch_size]
    assert (np.diff(sizes[rows]) >= 0).all()


def test_a_peak_holds_the_activations_and_grows_with_the_rows(wide: Regime, base: Base, regression: RunData) -> None:
    config = replace(STEPS, batch_size=32)
    whole, part = (measure_step(wide, config, regression, at_most).peak for at_most in (32, 16))
    assert whole is not None and part is not None
    tensor = 4 * 32 * int(regression.shared.encoded(base.inputs).sizes().max()) * WIDE  # bytes of one such tensor
    assert 2 * tensor < whole.bytes - whole.before < 6 * tensor
    # extrapolated from pieces that the allocator keeps instead of giving them back: rather too much than too little
    assert 0.75 < (part.bytes - part.before) / (whole.bytes - whole.before) < 1.8
    assert 2 * tensor / 32 < whole.a_row < 10 * tensor / 32


class Heavy(Wide):
    """Adam's moments of its weights take more than what a few rows compute."""

    def __init__(self) -> None:
        super().__init__()
        self.heavy = nn.Parameter(torch.zeros(12_000_000))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return super().forward(input_ids, attention_mask) + self.heavy.mean()


def test_a_row_is_told_from_the_moments_of_many_weights(base: Base, regression: RunData) -> None:
    """Of SmolLM2 two rows can be afforded; the six others of its batch were predicted to take next to nothing."""
    regime = Regime("heavy", Scratch(Heavy, base.inputs), (Stage(Full()),), DEFAULTS["full"])
    peak = measure_step(regime, replace(STEPS, batch_size=32), regression, 4).peak
    tensor = 4 * int(regression.shared.encoded(base.inputs).sizes().max()) * WIDE  # bytes of one for a row
    assert peak is not None and tensor < peak.a_row < 10 * tensor


def test_fewer_rows_at_a_time_take_less(wide: Regime, regression: RunData) -> None:
    config = replace(STEPS, batch_size=64)  # of many rows: what scoring 12 of them takes is in both
    whole, small = (measure_step(wide, replace(config, micro_batch=rows), regression, 64).peak for rows in (None, 2))
    assert whole is not None and small is not None
    assert small.bytes - small.before < 0.6 * (whole.bytes - whole.before)
