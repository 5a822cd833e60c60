"""Fit to budget: what is never cut, which regimes run on parts of the rows, and that a study goes on with its plan."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import REGRESSION, tiny_problem
from warmstart.errors import InputError
from warmstart.models.pretrained.base import Base
from warmstart.planning import estimates, fit_budget
from warmstart.planning.computed_cost import computed_throughput
from warmstart.planning.estimates import (
    seconds_of_embedding,
    seconds_of_regime,
    seconds_of_run,
    seconds_of_scoring,
    total_seconds,
)
from warmstart.planning.fit_budget import RESERVE, fit_to_budget
from warmstart.planning.problem import Options
from warmstart.planning.run_plan import MIN_STEPS, PLANNED_SHARE, RunPlan, first_plan
from warmstart.planning.saved_plan import load_plan, save_plan
from warmstart.regimes.full import Full
from warmstart.regimes.regimes import DEFAULTS, Regime, Stage
from warmstart.regimes.starts import Scratch
from warmstart.results.constraints import Excluded

OPTIONS = Options(regimes=("constant", "frozen", "full"), seeds=3, trials=3)


@pytest.fixture
def plan(base: Base) -> RunPlan:
    """1,000 rows, of which 700 are for training; a row takes 10 ms."""
    made = first_plan(tiny_problem(REGRESSION, base, 1000), OPTIONS)
    return replace(made, seconds_per_row=dict.fromkeys(made.networks, 0.01))


def within(plan: RunPlan, seconds: float) -> RunPlan:
    """The plan that fits a budget which leaves so many seconds for jobs."""
    return fit_to_budget(replace(plan, options=replace(plan.options, budget=seconds / PLANNED_SHARE)))


def test_what_fits_is_not_cut(plan: RunPlan) -> None:
    fitted = within(plan, total_seconds(plan) + 1)
    assert fitted.cuts == () and fitted.options.seeds == 3 and fitted.sizes == plan.sizes == (700,)


def test_of_repeated_splits_some_are_cut_and_called_so(plan: RunPlan) -> None:
    assert "1 seed instead of 3" in within(plan, 0.3 * total_seconds(plan)).cuts
    problem = replace(plan.problem, more_splits=(plan.problem.splits,) * 2)
    assert "1 split instead of 3" in within(replace(plan, problem=problem), 0.3 * total_seconds(plan)).cuts


def test_trials_are_cut_first_then_seeds_then_the_search(plan: RunPlan) -> None:
    seen: list[tuple[int, int, int]] = []
    seconds, fitted = total_seconds(plan), plan
    while not fitted.regime_sizes:
        fitted = within(plan, seconds)
        state = (fitted.options.trials, fitted.options.seeds, max(fitted.sizes))
        if not fitted.regime_sizes and (not seen or state != seen[-1]):
            seen.append(state)
            assert total_seconds(fitted) <= seconds
        seconds *= 0.97
    assert seen == [(3, 3, 700), (2, 3, 700), (2, 2, 700), (2, 1, 700), (1, 1, 700)]
    assert fitted.options.trials == 2, "parts of the rows are a better saving than a rate that does not suit"


def with_cheap(plan: RunPlan) -> RunPlan:
    """`frozen` takes next to nothing; no rate is searched."""
    return replace(
        plan, seconds_per_row={"frozen": 1e-6, "full": 0.01}, options=replace(plan.options, lr=1e-3, trials=1)
    )


def alone(plan: RunPlan, name: str) -> float:
    """Seconds of its search and one run on all rows."""
    options = replace(plan.options, seeds=1, trials=min(plan.options.trials, 2), regimes=(name,))
    return total_seconds(replace(plan, options=options))


def test_what_is_cheap_is_never_cut_and_what_is_expensive_climbs(plan: RunPlan) -> None:
    uneven = with_cheap(plan)
    fitted = within(uneven, 0.9 * alone(uneven, "full"))
    assert fitted.sizes_of("frozen") == (100, 265, 700) == fitted.sizes == fitted.sizes_of("constant")
    assert fitted.sizes_of("full") == (100, 265)
    assert total_seconds(fitted) <= (1 - RESERVE) * fitted.for_jobs
    assert fitted.cuts[0] == "`full` on 100, 265 of 700 training rows, with proportionally fewer steps"


def test_a_larger_budget_never_gives_a_regime_fewer_rows(plan: RunPlan) -> None:
    uneven, most = with_cheap(plan), alone(with_cheap(plan), "full")
    tops = [max(within(uneven, share * most).sizes_of("full")) for share in (0.3, 0.5, 0.9, 1.1)]
    assert tops == [100, 100, 265, 700]


def test_a_network_that_is_much_cheaper_per_row_climbs_first(plan: RunPlan) -> None:
    """Many rows of it say more than few of another."""
    options = replace(plan.options, seeds=1, lr=1e-3, trials=1)
    quick = replace(
        plan, forward_shares={"frozen": 0.0, "full": 0.0}, options=options, total_rows=700
    )  # scoring is free
    uneven = replace(quick, seconds_per_row={"frozen": 1e-4, "full": 1.0})
    first = seconds_of_regime(replace(uneven, regime_sizes={"full": (100,)}), "full")
    top = seconds_of_regime(replace(uneven, regime_sizes={"frozen": (100, 265)}), "frozen")
    assert top < 0.1 * first
    fitted = within(uneven, 1.1 * top / (1 - RESERVE))
    assert fitted.sizes_of("frozen") == (100, 265) and [each.regime for each in fitted.excluded] == ["full"]
    alike = replace(quick, seconds_per_row={"frozen": 0.25, "full": 1.0})  # which take about as long
    one, two = (seconds_of_regime(replace(alike, regime_sizes={name: (100,)}), name) for name in ("frozen", "full"))
    both = within(alike, 1.05 * (one + two) / (1 - RESERVE))
    assert both.regime_sizes == {"frozen": (100,), "full": (100,)} and not both.excluded


def test_all_expensive_regimes_share_their_sizes(plan: RunPlan) -> None:
    """Or no two of them could be compared on the same rows."""
    fitted = within(plan, 0.5 * alone(plan, "full") + 0.5 * alone(plan, "frozen"))
    assert fitted.sizes_of("full")[0] == fitted.sizes_of("frozen")[0] == 100


def test_a_regime_that_cannot_learn_in_the_budget_is_not_run_and_says_which_budget_would_do(plan: RunPlan) -> None:
    uneven = with_cheap(plan)
    fitted = within(uneven, 0.05 * alone(uneven, "full"))
    (out,) = fitted.excluded
    assert (out.regime, out.constraint) == ("full", "budget") and "full" not in fitted.names
    found = re.fullmatch(r"there was no time for 43 steps on 100 rows; --budget (\d+)m would be enough", out.reason)
    assert found
    assert "full" in within(uneven, 60.0 * int(found[1])).names
    assert fitted.cuts[0] == "`full` not run" and fitted.sizes_of("frozen") == (700,)


def test_steps_are_never_fewer_than_a_regime_needs_to_learn(plan: RunPlan) -> None:
    uneven = with_cheap(plan)
    fitted = within(uneven, 0.5 * alone(uneven, "full"))
    assert [fitted.config(fitted.regime("full", n), n, 0).steps for n in (100, 700)] == [43, 300]
    assert fitted.config(fitted.regime("full", 10), 10, 0).steps == MIN_STEPS


def test_the_rate_of_a_part_is_searched_once_and_not_on_too_few_rows(plan: RunPlan) -> None:
    parts = replace(plan, sizes=(100, 265, 700), regime_sizes={"full": (100, 265)})
    assert parts.searched_at("full") == (265,) and parts.searched_at("frozen") == (700,)
    assert replace(parts, regime_sizes={"full": (100,)}).searched_at("full") == ()
    assert plan.searched_at("full") == (700,)


def test_sizes_that_were_asked_for_are_the_parts(plan: RunPlan) -> None:
    uneven = replace(with_cheap(plan), sizes=(50, 700))
    fitted = within(uneven, 0.6 * alone(with_cheap(plan), "full"))
    assert fitted.sizes == (50, 700) and fitted.sizes_of("full") == (50,)


def test_every_cut_is_said(plan: RunPlan) -> None:
    said = within(plan, 0.5 * alone(plan, "full")).cuts
    assert said[-2:] == ("1 seed instead of 3", "each learning-rate search starts with 2 rates instead of 3")
    assert all("training rows, with proportionally fewer steps" in cut or "not run" in cut for cut in said[:-2])
    assert "each learning-rate search starts with 2 rates instead of 3" in within(plan, 0.9 * total_seconds(plan)).cuts


def test_what_all_of_it_would_take_is_kept(plan: RunPlan, tmp_path: Path) -> None:
    cut = within(plan, total_seconds(plan) / 8)
    assert cut.full_estimate == total_seconds(plan) and within(plan, total_seconds(plan) + 1).full_estimate is None
    save_plan(cut, tmp_path / "plan.json")
    assert load_plan(first_plan(plan.problem, cut.options), tmp_path / "plan.json").full_estimate == cut.full_estimate


def test_a_plan_goes_on_with_its_cuts(plan: RunPlan, tmp_path: Path) -> None:
    cut = replace(within(plan, total_seconds(plan) / 8), forward_shares={"full": 2.5})
    save_plan(cut, tmp_path / "plan.json")
    asked = first_plan(plan.problem, replace(OPTIONS, budget=total_seconds(plan) / 8))
    assert load_plan(asked, tmp_path / "plan.json") == cut


def test_a_larger_budget_allows_more_and_changes_nothing_that_was_measured_by(plan: RunPlan, tmp_path: Path) -> None:
    few = total_seconds(plan) / 8
    cut = replace(within(plan, few), scored=0.5)
    assert cut.regime_sizes and cut.options.seeds == 1
    cut = replace(cut, options=replace(cut.options, budget=few - 3))  # planning took 3 s
    save_plan(cut, tmp_path / "plan.json", few)
    path = tmp_path / "plan.json"
    raised = {
        times: load_plan(first_plan(plan.problem, replace(OPTIONS, budget=times * few)), path)
        for times in (0.5, 1, 3, 40)
    }
    assert raised[0.5] == raised[1] == cut
    assert raised[3].options.budget == pytest.approx(3 * few - 3)
    assert max(raised[3].sizes_of("full")) > max(cut.sizes_of("full")) or raised[3].options.seeds > 1
    assert (raised[40].regime_sizes, raised[40].sizes, raised[40].options.seeds) == ({}, (700,), 3)
    for each in raised.values():
        assert (each.scored, each.options.trials, each.total_rows) == (0.5, cut.options.trials, 700)
    assert raised[40].cuts == (
        "100 test rows scored instead of 200",
        "each learning-rate search starts with 2 rates instead of 3",
    )
    raced = load_plan(first_plan(plan.problem, replace(OPTIONS, budget=3 * few)), path, cut=False)
    assert replace(raced, options=cut.options) == cut and raced.options.budget == pytest.approx(3 * few - 3)


def test_what_the_budget_excluded_comes_back_and_what_a_constraint_excluded_does_not(
    plan: RunPlan, tmp_path: Path
) -> None:
    uneven = replace(with_cheap(plan), excluded=(Excluded("frozen", "licence", "not allowed"),))
    cut = within(uneven, 0.01 * alone(with_cheap(plan), "full"))
    assert [each.constraint for each in cut.excluded] == ["licence", "budget"]
    save_plan(cut, tmp_path / "plan.json", cut.options.budget)
    asked = first_plan(plan.problem, replace(uneven.options, budget=1e6))
    assert load_plan(asked, tmp_path / "plan.json").excluded == uneven.excluded


def test_changed_data_is_refused(plan: RunPlan, base: Base, tmp_path: Path) -> None:
    save_plan(plan, tmp_path / "plan.json")
    other = first_plan(tiny_problem(REGRESSION, base, 999), OPTIONS)
    with pytest.raises(InputError, match=r"the data has changed since .*\nhint: restore the data"):
        load_plan(other, tmp_path / "plan.json")


def test_rows_to_score_are_cut_where_they_take_more_than_training(base: Base, tmp_path: Path) -> None:
    """Or long texts on a slow machine would be trained on 125 rows, and judged on 3,000 for two hours."""
    few = Options(regimes=("full",), seeds=1, trials=1, length=0.05)
    asked = replace(first_plan(tiny_problem(REGRESSION, base, 8_000), few), seconds_per_row={"full": 0.1})
    assert len(asked.splits.test) == 1_600 and seconds_of_scoring(asked, "full", 5_600) > 0.5 * total_seconds(asked)
    each = [within(asked, share * total_seconds(asked)) for share in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)]
    cut = next(plan for plan in each if len(plan.splits.test) < 1_600)
    assert len(cut.splits.test) == 800 and "800 test rows scored instead of 1,600" in cut.cuts  # at least 500
    assert set(cut.splits.test.numbers) <= set(asked.splits.test.numbers)
    save_plan(cut, tmp_path / "plan.json")
    assert load_plan(asked, tmp_path / "plan.json").splits.test.numbers.tolist() == cut.splits.test.numbers.tolist()


def test_long_texts_are_read_less_far_before_few_rows_are_left(plan: RunPlan, tmp_path: Path) -> None:
    """Package descriptions, read to 256 tokens on two cores, once left 125 rows of 4,000 to learn from."""
    base = replace(plan.problem.base, reads=256, max_length=256)
    mine = Regime("mine", Scratch(lambda: None, base.inputs, "mean"), (Stage(Full()),), DEFAULTS["full"])
    long = replace(
        plan,
        problem=replace(plan.problem, bases=(base,), own=(mine,)),
        seconds_per_row=plan.seconds_per_row | {"scratch-dnn": 1e-9},
    )
    seconds = total_seconds(long) / 25
    even = replace(long, tokens={name: {256: 100.0, 128: 98.0, 64: 95.0} for name in ("frozen", "full")})
    assert within(even, seconds).problem.base.max_length == 256, "reading less would save too little"
    long = replace(long, tokens={name: {256: 100.0, 128: 95.0, 64: 40.0} for name in ("frozen", "full")})
    short = within(long, seconds)
    assert short.problem.base.max_length == short.problem.own[0].start.inputs.max_length == 64
    assert short.seconds_per_row["full"] == pytest.approx(0.4 * long.seconds_per_row["full"])
    assert sum(map(len, short.regime_sizes.values())) > sum(map(len, within(even, seconds).regime_sizes.values()))
    assert short.seconds_per_row["scratch-dnn"] == 1e-9, "hashed words are all read"
    assert "at most 64 tokens per text instead of 256: 40% of the work per text" in short.cuts
    asked = replace(long, options=replace(long.options, read_so_far=True))
    assert within(asked, seconds).problem.base.max_length == 256
    save_plan(short, tmp_path / "plan.json")
    assert load_plan(long, tmp_path / "plan.json") == short


def test_with_compute_nothing_is_timed_and_cuts_name_the_compute(base: Base) -> None:
    options = replace(OPTIONS, by_compute=True, budget=1e-4)
    asked = first_plan(tiny_problem(REGRESSION, base, 1000), options)
    plans = [computed_throughput(asked, asked.shared()) for _ in range(2)]
    assert plans[0].seconds_per_row == plans[1].seconds_per_row and plans[0].seconds_per_row["full"] > 0
    assert plans[0].prefix_seconds.keys() == {"frozen"}, "what a frozen base reads counts once"
    out = [each.reason for each in fit_to_budget(plans[0]).excluded]
    assert out and all("--compute " in each and "TFLOP would be enough" in each for each in out)


def test_a_base_that_takes_most_of_the_budget_to_read_all_rows_is_not_read(plan: RunPlan) -> None:
    read = replace(plan, options=replace(plan.options, regimes=("constant", "embedded", "full")))
    seconds = seconds_of_embedding(read, "embedded")
    assert seconds > 0
    lost = next(each for each in within(read, 1.5 * seconds).excluded if each.regime == "embedded")
    found = re.search(r"reading all rows with the base .*--budget (\d+)m would be", lost.reason)
    assert found
    later = within(replace(read, spent=900.0), 1.5 * seconds)
    again = next(each for each in later.excluded if each.regime == "embedded")
    more = re.search(r"--budget (\d+)m", again.reason)
    assert more and int(more[1]) == int(found[1]) + 14, "what planning took is part of the budget"
    assert "embedded" in within(read, 1.8 * seconds).names


def test_what_a_base_reads_for_embedded_is_not_read_again_for_frozen(plan: RunPlan) -> None:
    """They share what a base makes of a row: counting it twice left other regimes out."""
    both = replace(
        plan, prefix_seconds={"frozen": 0.1}, options=replace(plan.options, regimes=("embedded", "frozen", "full"))
    )
    alone = replace(both, options=replace(both.options, regimes=("frozen", "full")))
    read = 0.1 * sum(len(rows) for rows in (plan.splits.train, plan.splits.val, plan.splits.test))
    assert seconds_of_regime(alone, "frozen") == pytest.approx(seconds_of_regime(both, "frozen") + read)
    part = {"frozen": (100,)}
    both, alone = (replace(each, sizes=(100, 700), regime_sizes=part, total_rows=700) for each in (both, alone))
    assert seconds_of_regime(both, "frozen") == seconds_of_regime(alone, "frozen"), "a part is read by itself"
    without = replace(both, excluded=(Excluded("embedded", "budget", "no time"),))
    assert seconds_of_regime(without, "frozen") == seconds_of_regime(alone, "frozen")


def test_reading_for_embedded_counts_also_where_nothing_else_can_run(plan: RunPlan) -> None:
    asked = replace(plan, options=replace(plan.options, regimes=("embedded", "full")))
    lost = replace(asked, excluded=(Excluded("full", "budget", "no time"),))
    assert seconds_of_embedding(lost, "embedded") == seconds_of_embedding(asked, "embedded") > 0


def test_time_is_kept_for_all_rows_only_where_it_would_be_enough_for_a_regime(plan: RunPlan) -> None:
    uneven = with_cheap(replace(plan, options=replace(plan.options, seeds=1)))
    first = seconds_of_regime(replace(uneven, regime_sizes={"full": (100,)}, total_rows=700), "full")
    cheap = seconds_of_regime(uneven, "frozen") + 1
    assert alone(uneven, "full") > RESERVE * 1.1 * (first + cheap)
    assert within(uneven, 1.1 * (first + cheap)).regime_sizes == {"full": (100,)}, "none of the time is kept"


def test_time_is_kept_for_the_most_promising_of_many_that_fit_alone(plan: RunPlan) -> None:
    """Each takes 19 % of the budget on all rows, beside a search; all six of them take more than all of it."""
    names = ("full", "lora", "scratch", "discriminative", "top-layers", "frozen")
    many = replace(
        plan,
        options=replace(plan.options, regimes=names, seeds=1, trials=2),
        seconds_per_row=dict.fromkeys(names, 0.01),
    )
    seconds = {name: 0.01 / seconds_of_run(many, name, 700) for name in names}
    fitted = within(replace(many, seconds_per_row=seconds), 1 / 0.19)
    assert fitted.regime_sizes
    assert total_seconds(fitted) <= (1 - RESERVE) * fitted.for_jobs


def test_a_base_as_it_is_comes_back_where_nothing_else_takes_its_time(
    plan: RunPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody named them, and each takes more than `FLOOR_SHARE` of the budget; there is no time for `full`."""
    took = {"few-shot": 30.0, "zero-shot": 60.0}
    for module in (fit_budget, estimates):
        monkeypatch.setattr(module, "seconds_of_untrained", lambda plan, name: took.get(name, 0.0))
    options = replace(plan.options, regimes=("few-shot", "zero-shot", "full"), seeds=1)
    asked = replace(plan, problem=replace(plan.problem, unnamed=tuple(took)), options=options)
    slow = replace(asked, seconds_per_row={"full": 10.0})
    assert within(slow, 20.0).names == ()
    assert within(slow, 50.0).names == ("few-shot",)
    assert within(slow, 95.0).names == ("few-shot", "zero-shot")
    quick = replace(asked, seconds_per_row={"full": 0.01})
    room = alone(quick, "full") + 10.0
    assert 0.15 * room / PLANNED_SHARE < 30.0
    assert within(quick, room).names == ("full",)
