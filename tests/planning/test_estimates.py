"""Estimates: are rows that a base reads once counted where they are read?"""

from dataclasses import replace

import pytest

from tests.tiny import REGRESSION, tiny_problem
from warmstart.models.pretrained.base import Base
from warmstart.planning.estimates import FORWARD_SHARE, seconds_of_reading, seconds_of_score
from warmstart.planning.problem import Options
from warmstart.planning.run_plan import first_plan


def test_a_base_that_is_read_once_takes_its_time_too(base: Base) -> None:
    """A frozen base is kept: a step takes nothing, and `embedded` was planned to take 0 s."""
    plan = first_plan(tiny_problem(REGRESSION, base), Options(regimes=("frozen", "full")))
    plan = replace(plan, seconds_per_row={"frozen": 1e-6, "full": 0.03}, prefix_seconds={"frozen": 0.01})
    assert seconds_of_score(plan, "frozen") == pytest.approx(1e-6 * FORWARD_SHARE)
    assert seconds_of_reading(plan, "frozen") == pytest.approx(0.01, rel=1e-3)
    assert seconds_of_reading(plan, "full") == pytest.approx(0.03 * FORWARD_SHARE)
