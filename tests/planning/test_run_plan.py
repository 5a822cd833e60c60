"""Budget: is what is configured what was asked for, on the rows there are, and is its time what its paces come to?"""

from dataclasses import replace

import pytest

from tests.tiny import REGRESSION, tiny_problem
from warmstart.errors import UsageError
from warmstart.models.pretrained.base import Base
from warmstart.planning.estimates import seconds_of_run, seconds_of_search, seconds_of_step
from warmstart.planning.problem import Options, Problem
from warmstart.planning.run_plan import RunPlan, first_plan, nested_sizes
from warmstart.regimes.regimes import DEFAULTS

OPTIONS = Options(regimes=("constant", "frozen", "full"), seeds=3, trials=3)


@pytest.fixture
def plan(base: Base) -> RunPlan:
    """1,000 rows, of which 700 are for training; a row takes 10 ms."""
    made = first_plan(tiny_problem(REGRESSION, base, 1000), OPTIONS)
    return replace(made, seconds_per_row=dict.fromkeys(made.networks, 0.01))


def test_rows_are_nested_and_never_more_than_there_are(base: Base) -> None:
    problem = tiny_problem(REGRESSION, base)
    plan = first_plan(problem, replace(OPTIONS, rows=(40, 20, 5000)))
    assert plan.sizes == (20, 40, 84)
    shared = plan.shared()
    few, many = (set(plan.run_data(rows, 1, shared).splits.train.numbers.tolist()) for rows in (20, 40))
    assert few < many
    assert set(plan.run_data(20, 2, shared).splits.train.numbers.tolist()) != few


def test_rows_auto_are_a_factor_of_four_apart(base: Base) -> None:
    assert nested_sizes(24_000) == (375, 1_500, 6_000, 24_000)
    assert nested_sizes(6_400) == (100, 400, 1_600, 6_400) and nested_sizes(6_399) == (399, 1_599, 6_399)
    assert nested_sizes(1_200) == (100, 346, 1_200), "or closer, where rows are few"
    assert nested_sizes(300) == (100, 300) and nested_sizes(199) == (199,) and nested_sizes(40) == (40,)
    plan = first_plan(tiny_problem(REGRESSION, base, 1000), replace(OPTIONS, rows="auto"))
    assert plan.sizes == (100, 265, 700)


def test_what_is_asked_for_is_what_is_configured(plan: RunPlan) -> None:
    asked = replace(
        plan.options, epochs=2.0, lr=0.5, batch_size=10, training={"weight_decay": 0.3}, first_seed=7, seeds=2
    )
    plan = replace(plan, options=asked)
    config = plan.config(plan.regime("full", 700), 700, 7)
    assert (config.steps, config.lr, config.batch_size, config.weight_decay, config.seed) == (140, 0.5, 10, 0.3, 7)
    assert list(plan.seeds) == [7, 8]
    assert not plan.searches and seconds_of_search(plan, "full", 700) == 0
    usual = replace(plan, options=OPTIONS)
    assert usual.config(usual.regime("full", 700), 700, 0).lr == DEFAULTS["full"].lr


def test_an_unknown_regime_is_named_with_the_nearest_one(problem: Problem) -> None:
    plan = first_plan(problem, replace(OPTIONS, regimes=("ful",)))
    with pytest.raises(UsageError, match=r"regime 'ful' is not known.\nhint: did you mean 'full'"):
        assert plan.names


def test_an_alias_is_the_same_regime_and_is_run_once(problem: Problem) -> None:
    plan = first_plan(problem, replace(OPTIONS, regimes=("differential", "discriminative", "linear")))
    assert plan.names == ("discriminative", "linear") and plan.networks == ("discriminative",)


def test_a_step_of_half_the_rows_is_predicted_to_take_half_as_long(base: Base) -> None:
    """Under 2,000 rows a step has 16 rows instead of 32. Taken for as long, cutting rows seemed to save nothing."""
    plan = replace(
        first_plan(tiny_problem(REGRESSION, base, 4_000), replace(OPTIONS, regimes=("full",))),
        seconds_per_row={"full": 0.1},
    )
    assert seconds_of_step(plan, "full", 2_000) == 2 * seconds_of_step(plan, "full", 1_000)
    assert seconds_of_run(plan, "full", 1_000) < 0.8 * seconds_of_run(plan, "full", 2_000)


def test_a_run_on_few_rows_takes_its_part_of_the_steps_but_no_fewer_than_a_floor(base: Base) -> None:
    def steps(rows: int, length: float) -> int:
        options = Options(regimes=("full",), length=length)
        raced = replace(first_plan(tiny_problem(REGRESSION, base), options), total_rows=800)
        return raced.config(raced.regime("full", rows), rows, 0).steps

    assert steps(800, 1.0) == 300 and steps(400, 1.0) == 150 and steps(50, 1.0) == 40
    assert steps(800, 0.5) == 150 and steps(50, 0.5) == 20, "half the length, half the floor"


def test_augmentations_count_as_trials_where_they_are_tried(plan: RunPlan) -> None:
    regime = replace(plan.regime("full", 700), augmentations=("none", "light", "strong"))
    config = plan.config(regime, 700, 0)
    plans = [replace(plan, options=replace(plan.options, **more)) for more in ({}, {"trials": 2}, {"lr": 1e-3})]
    assert [each.trial_count(regime, config) for each in plans] == [5.5, 2.5, 0.0]
    assert plan.trial_count(plan.regime("full", 700), config) == 3.5
