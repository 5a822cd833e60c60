"""Cuts: what is left out, in which order, and that a study that goes on keeps its cuts."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import REGRESSION, tiny_problem
from warmstart.errors import InputError
from warmstart.models.pretrained.base import Base
from warmstart.planning import fit_budget as cuts
from warmstart.planning.estimates import seconds_of_scoring, total_seconds
from warmstart.planning.fit_budget import fit_to_budget
from warmstart.planning.problem import Options
from warmstart.planning.run_plan import MIN_TRAIN_ROWS, RunPlan, first_plan
from warmstart.regimes.full import Full
from warmstart.regimes.regimes import DEFAULTS, Regime, Stage
from warmstart.regimes.starts import Scratch

OPTIONS = Options(regimes=("constant", "frozen", "full"), seeds=3, trials=3)


@pytest.fixture
def plan(base: Base) -> RunPlan:
    """1,000 rows, of which 700 are for training; a row takes 10 ms."""
    made = first_plan(tiny_problem(REGRESSION, base, 1000), OPTIONS)
    return replace(made, seconds_per_row=dict.fromkeys(made.networks, 0.01))


def within(plan: RunPlan, seconds: float) -> RunPlan:
    return fit_to_budget(replace(plan, options=replace(plan.options, budget=seconds)))


def test_what_fits_is_not_cut(plan: RunPlan) -> None:
    fitted = within(plan, total_seconds(plan) + 1)
    assert fitted.cuts == () and fitted.options.seeds == 3 and fitted.sizes == plan.sizes == (700,)


def test_trials_are_cut_first_then_seeds_then_the_search_then_rows(plan: RunPlan) -> None:
    seen: list[tuple[int, int, int]] = []
    seconds = total_seconds(plan)
    while not seen or seen[-1][2] >= 2 * MIN_TRAIN_ROWS:
        fitted = within(plan, seconds)
        state = (fitted.options.trials, fitted.options.seeds, max(fitted.sizes))
        if not seen or state != seen[-1]:
            seen.append(state)
            assert total_seconds(fitted) <= seconds
        seconds *= 0.97
    assert seen == [(3, 3, 700), (2, 3, 700), (2, 2, 700), (2, 1, 700), (1, 1, 700), (1, 1, 350), (1, 1, 175)]


def test_few_rows_that_were_asked_for_stay_as_few(plan: RunPlan) -> None:
    fitted = within(replace(plan, sizes=(50, 700)), total_seconds(plan) / 30)
    assert min(fitted.sizes) == 50 and max(fitted.sizes) < 700


def test_every_cut_is_said(plan: RunPlan) -> None:
    said = within(plan, total_seconds(plan) / 30).cuts
    assert said[0].endswith("training rows instead of 700, and steps in proportion")
    assert said[1:3] == ("1 seed instead of 3", "each regime at its usual learning rate, none tried")
    assert within(plan, 0.001).cuts[-1] == "even so foretold to take longer than the budget"
    assert "2 learning rates tried for each regime instead of 3" in within(plan, 0.9 * total_seconds(plan)).cuts


def test_what_all_of_it_would_take_is_kept(plan: RunPlan, tmp_path: Path) -> None:
    cut = within(plan, total_seconds(plan) / 30)
    assert cut.full_estimate == total_seconds(plan) and within(plan, total_seconds(plan) + 1).full_estimate is None
    cuts.save_plan(cut, tmp_path / "plan.json")
    assert (
        cuts.load_plan(first_plan(plan.problem, cut.options), tmp_path / "plan.json").full_estimate == cut.full_estimate
    )


def test_cutting_rows_cuts_the_steps_of_all_regimes_alike(plan: RunPlan) -> None:
    small = within(plan, total_seconds(plan) / 30)
    for name in plan.networks:
        before, after = (p.config(p.regime(name, n), n, 0).steps for p, n in ((plan, 700), (small, max(small.sizes))))
        assert after / before == pytest.approx(max(small.sizes) / 700, rel=0.1)


def test_the_budget_cuts_rows_auto_from_the_top(plan: RunPlan) -> None:
    asked = first_plan(plan.problem, replace(OPTIONS, rows="auto"))
    assert within(replace(asked, seconds_per_row=plan.seconds_per_row), total_seconds(plan) / 30).sizes[-1] < 700


def test_a_plan_goes_on_with_its_cuts(plan: RunPlan, tmp_path: Path) -> None:
    cut = replace(within(plan, total_seconds(plan) / 30), forward_shares={"full": 2.5})
    cuts.save_plan(cut, tmp_path / "plan.json")
    asked = first_plan(plan.problem, replace(OPTIONS, budget=total_seconds(plan) / 30))
    assert cuts.load_plan(asked, tmp_path / "plan.json") == cut


def test_changed_data_is_refused(plan: RunPlan, base: Base, tmp_path: Path) -> None:
    cuts.save_plan(plan, tmp_path / "plan.json")
    other = first_plan(tiny_problem(REGRESSION, base, 999), OPTIONS)
    with pytest.raises(InputError, match=r"the data has changed since .*\nhint: restore the data"):
        cuts.load_plan(other, tmp_path / "plan.json")


def test_rows_are_not_cut_where_scoring_costs_more_than_training(base: Base) -> None:
    wide = tiny_problem(REGRESSION, base, n=2_000)
    short = Options(regimes=("full",), seeds=1, trials=1, length=0.001, budget=1e-6)
    asked = replace(first_plan(wide, short), seconds_per_row={"full": 1.0})
    assert fit_to_budget(asked).sizes == asked.sizes
    long = replace(asked, options=replace(short, length=10.0))
    assert max(fit_to_budget(long).sizes) < max(long.sizes)


def test_rows_to_score_are_cut_where_they_take_more_than_training(base: Base, tmp_path: Path) -> None:
    """Or long texts on a slow machine would be trained on 125 rows, and judged on 3,000 for two hours."""
    few = Options(regimes=("full",), seeds=1, trials=1, length=0.05)
    asked = replace(first_plan(tiny_problem(REGRESSION, base, 8_000), few), seconds_per_row={"full": 0.1})
    assert len(asked.splits.test) == 1_600 and seconds_of_scoring(asked, "full", 5_600) > 0.5 * total_seconds(asked)
    cut = within(asked, 0.85 * total_seconds(asked))
    assert (
        len(cut.splits.test) == 800 and cut.sizes == asked.sizes and "800 test rows scored instead of 1,600" in cut.cuts
    )
    assert set(cut.splits.test.numbers) <= set(asked.splits.test.numbers)
    cuts.save_plan(cut, tmp_path / "plan.json")
    assert (
        cuts.load_plan(asked, tmp_path / "plan.json").splits.test.numbers.tolist() == cut.splits.test.numbers.tolist()
    )
    assert within(asked, 1e-6).sizes < asked.sizes and len(within(asked, 1e-6).splits.test) == 800  # at least 500


def test_long_texts_are_read_less_far_before_few_rows_are_left(plan: RunPlan, tmp_path: Path) -> None:
    """Package descriptions, read to 256 tokens on two cores, once left 125 rows of 4,000 to learn from."""
    base = replace(plan.problem.base, reads=256, max_length=256)
    mine = Regime("mine", Scratch(lambda: None, base.inputs, "mean"), (Stage(Full()),), DEFAULTS["full"])
    long = replace(
        plan,
        problem=replace(plan.problem, bases=(base,), own=(mine,)),
        seconds_per_row=plan.seconds_per_row | {"scratch-dnn": 1e-9},
    )
    even = replace(long, tokens={name: {256: 100.0, 128: 98.0, 64: 95.0} for name in ("frozen", "full")})
    assert within(even, total_seconds(even) / 12).sizes == (175,), "reading less would save too little"
    long = replace(long, tokens={name: {256: 100.0, 128: 95.0, 64: 40.0} for name in ("frozen", "full")})
    short = within(long, total_seconds(long) / 12)
    assert short.problem.base.max_length == short.problem.own[0].start.inputs.max_length == 64
    assert short.sizes == (350,) and short.seconds_per_row["full"] == pytest.approx(0.4 * long.seconds_per_row["full"])
    assert short.seconds_per_row["scratch-dnn"] == 1e-9, "hashed words are all read"
    assert "64 tokens read of a text at most instead of 256: 40% of the work for each" in short.cuts
    asked = replace(long, options=replace(long.options, read_so_far=True))
    assert within(asked, total_seconds(long) / 12).problem.base.max_length == 256
    cuts.save_plan(short, tmp_path / "plan.json")
    assert cuts.load_plan(long, tmp_path / "plan.json") == short
