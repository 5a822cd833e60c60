"""Pace: is a few steps' time that of usual batches?"""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import REGRESSION, tiny_problem
from tests.tiny_language import save_language_base, splits_of
from warmstart import memory
from warmstart.budget import Options, Problem, first_plan
from warmstart.carry_out import last
from warmstart.data.conversations import ask
from warmstart.data.schema import Schema
from warmstart.pace import _leaves_room, _tokens, measure
from warmstart.weights import Base, find_base

OPTIONS = Options(regimes=("constant", "frozen", "full"), seeds=3, trials=3)


def test_a_few_steps_of_each_network_are_measured(problem: Problem) -> None:
    plan = first_plan(problem, OPTIONS)
    steps = measure(plan, plan.shared())
    names = []
    while True:
        try:
            names.append(next(steps))
        except StopIteration as stop:
            measured = stop.value
            break
    assert names == ["frozen", "full"]
    assert measured.paces.keys() == {"frozen", "full"} and all(pace > 0 for pace in measured.paces.values())
    assert "6 runs of 2 regimes" in measured.words()


def test_scoring_a_row_is_measured_for_itself(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training may be in bf16 where scoring is in fp32: a study was planned at half its time."""
    asked = first_plan(problem, replace(OPTIONS, regimes=("full",)))

    quick = last(measure(asked, asked.shared()))
    slowly = memory.outputs
    monkeypatch.setattr(memory, "outputs", lambda *given: (time.sleep(0.5), slowly(*given))[1])
    slow = last(measure(asked, asked.shared()))
    assert slow.forwards["full"] > 2 * quick.forwards["full"] > 0
    each = replace(slow, paces=quick.paces).seconds_of_run("full", 84), quick.seconds_of_run("full", 84)
    assert each[0] > 1.5 * each[1]


def test_a_pace_is_that_of_usual_batches_not_of_the_first_ones(base: Base) -> None:
    """Batches hold texts of one length, so that the first may all be long: a study was planned 3 times too long."""
    plan = first_plan(tiny_problem(REGRESSION, base, 1000), OPTIONS)
    shared = plan.shared()
    draw = plan.draw(700, 0, shared)
    regime = plan.regime("full", 700)
    each = _tokens(draw, regime, plan.config(regime, 700, 0), 256)
    sizes = shared.encoded(regime.start.inputs).sizes()
    assert len(each) == 44 and each.max() <= sizes.max() and sizes.mean() <= each.mean() < 1.1 * sizes.mean()


def test_no_budget_lets_an_instruction_leave_no_room_for_its_text(tmp_path: Path) -> None:
    told = "Sum up the following text in one sentence."
    splits = splits_of([ask(told, f"the bell in the hall {i}", "bell") for i in range(20)])
    schema = Schema("summarise", "y", ("x",), False, None, {}, "linear", False, None, instruction=told)
    plan = first_plan(
        Problem(splits, schema, (find_base(str(save_language_base(tmp_path)), max_length=1000),)),
        Options(regimes=("full",)),
    )
    draw = plan.draw(18, 0, plan.shared())
    fits = [_leaves_room(draw, plan.regime("full", 18), limit) for limit in (500, 200, 100, 64)]
    assert fits == [True, True, False, False]
