"""Pace: is a few steps' time that of usual batches?"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from tests.decoders import save_decoder
from tests.tiny import REGRESSION, tiny_problem
from tests.tiny_language import splits_of
from warmstart.data.rows.split import Splits
from warmstart.data.schema.conversations import write_prompt
from warmstart.data.schema.schema import Schema
from warmstart.models.pretrained.base import Base, find_base
from warmstart.planning import computed_cost, memory_probe, throughput
from warmstart.planning.computed_cost import _leaves_room, tokens_of_batches
from warmstart.planning.estimates import (
    plan_summary,
    predicted_cost,
    rows_answered,
    rows_ranked,
    rows_scored,
    seconds_of_run,
    seconds_of_writing,
)
from warmstart.planning.problem import Options, Problem
from warmstart.planning.run_plan import first_plan
from warmstart.planning.throughput import measure_throughput
from warmstart.regimes.regimes import Regime
from warmstart.regimes.starts import Pretrained
from warmstart.request.launch import run_to_end
from warmstart.training.config import TrainConfig
from warmstart.training.run_data import RunData

TOLD = "Sum up the following text in one sentence."
OPTIONS = Options(regimes=("constant", "frozen", "full"), seeds=3, trials=3)


def test_a_few_steps_of_each_network_are_measured(problem: Problem) -> None:
    plan = first_plan(problem, OPTIONS)
    steps = measure_throughput(plan, plan.shared())
    names = []
    while True:
        try:
            names.append(next(steps).doing)
        except StopIteration as stop:
            measured = stop.value
            break
    assert names == ["measuring a few steps of frozen", "measuring a few steps of full"]
    assert measured.seconds_per_row.keys() == {"frozen", "full"} and all(
        seconds > 0 for seconds in measured.seconds_per_row.values()
    )
    assert "6 runs of 2 regimes" in plan_summary(measured)


def test_only_some_rows_are_read_to_measure_what_reads_terms(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoding all of 190,000 rows left no time to measure with."""
    for module in (throughput, computed_cost):
        monkeypatch.setattr(module, "COSTED_ROWS", 30)
    plan = first_plan(problem, replace(OPTIONS, regimes=("constant", "scratch-dnn"), seeds=1))
    shared = plan.shared()
    measured = run_to_end(measure_throughput(plan, shared))
    assert not shared._encoded, "none of the rows of the study"
    assert measured.seconds_per_row["scratch-dnn"] > 0 < measured.prefix_seconds["scratch-dnn"]


def test_loading_a_base_is_no_part_of_reading_rows_with_it(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(self: Pretrained, seed: int) -> nn.Module:
        time.sleep(0.5)
        return body(self, seed)

    body = Pretrained.body
    monkeypatch.setattr(Pretrained, "body", slow)
    plan = first_plan(problem, replace(OPTIONS, regimes=("constant", "frozen"), seeds=1))
    measured = run_to_end(measure_throughput(plan, plan.shared()))
    assert 0 < measured.prefix_seconds["frozen"] < 0.5 / 120


def test_scoring_a_row_is_measured_for_itself(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training may be in bf16 where scoring is in fp32: a study was planned at half its time."""
    asked = first_plan(problem, replace(OPTIONS, regimes=("full",)))

    quick = run_to_end(measure_throughput(asked, asked.shared()))
    slowly = memory_probe.outputs
    monkeypatch.setattr(memory_probe, "outputs", lambda *given: (time.sleep(0.5), slowly(*given))[1])
    slow = run_to_end(measure_throughput(asked, asked.shared()))
    assert slow.forward_shares["full"] > 2 * quick.forward_shares["full"] > 0
    each = (
        seconds_of_run(replace(slow, seconds_per_row=quick.seconds_per_row), "full", 84),
        seconds_of_run(quick, "full", 84),
    )
    assert each[0] > 1.5 * each[1]


def test_the_first_steps_which_take_longer_do_not_count(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.2 * n for n in range(1, 6)] + [1.0 + 0.001 * n for n in range(1, 1000)])
    monkeypatch.setattr(throughput, "_since", lambda began: next(clock))
    asked = first_plan(problem, replace(OPTIONS, regimes=("full",)))
    batch = asked.config(asked.regime("full", 84), 84, 0).batch_size
    assert 0.0008 < run_to_end(measure_throughput(asked, asked.shared())).seconds_per_row["full"] * batch < 0.0013


def test_a_peak_grows_with_what_is_held() -> None:
    assert memory_probe.PeakMemory(100, 1.0, 20).from_(40) == memory_probe.PeakMemory(120, 1.0, 40)


def test_the_most_expensive_step_is_sought_in_the_whole_run(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the steps that are timed alone it was not: step 90 of MiniLM took 180 MB more than any of the first 30."""
    asked = first_plan(problem, replace(OPTIONS, regimes=("full",)))
    steps = []

    def noted(regime: Regime, config: TrainConfig, run_data: RunData, at_most: int) -> memory_probe.StepMeasurement:
        steps.append(config.steps)
        return memory_probe.measure_step(regime, config, run_data, at_most)

    monkeypatch.setattr(throughput, "measure_step", noted)
    monkeypatch.setattr(throughput, "MOST_STEPS", 5)
    run_to_end(measure_throughput(asked, asked.shared()))
    assert steps == [asked.config(asked.regime("full", 84), 84, 0).steps] and steps[0] > 7


def test_a_run_twice_as_long_is_scored_once(problem: Problem) -> None:
    """It was predicted as two runs: a third too long, where scoring takes as long as training."""
    plan = replace(first_plan(problem, replace(OPTIONS, regimes=("full",))), seconds_per_row={"full": 0.01})
    once = seconds_of_run(plan, "full", 84)
    config = plan.config(plan.regime("full", 84), 84, 0)
    assert seconds_of_run(plan, "full", 84, 2) - once == pytest.approx(0.01 * config.steps * config.batch_size)
    predicted = predicted_cost(plan, "full", 84, 0, 2)
    assert predicted is not None and predicted["seconds"] == seconds_of_run(plan, "full", 84, 2) < 2 * once


def test_a_pace_is_that_of_usual_batches_not_of_the_first_ones(base: Base) -> None:
    """Batches hold texts of one length, so that the first may all be long: a study was planned 3 times too long."""
    plan = first_plan(tiny_problem(REGRESSION, base, 1000), OPTIONS)
    shared = plan.shared()
    run_data = plan.run_data(700, 0, shared)
    regime = plan.regime("full", 700)
    each = tokens_of_batches(run_data, regime, plan.config(regime, 700, 0), 256)
    sizes = shared.encoded(regime.start.inputs).sizes()
    assert len(each) == 44 and each.max() <= sizes.max() and sizes.mean() <= each.mean() < 1.1 * sizes.mean()


def summaries(folder: Path, rows: int) -> Problem:
    texts = [write_prompt(TOLD, f"the bell in the hall {i}", "bell") for i in range(rows)]
    schema = Schema("summarise", "y", ("x",), False, None, {}, "linear", False, None, instruction=TOLD)
    splits = splits_of(texts)
    parts = (
        replace(part, targets=np.array(["bell"] * len(part), dtype=object))
        for part in (splits.train, splits.val, splits.test)
    )
    return Problem(Splits(*parts, ""), schema, (find_base(save_decoder(folder), max_length=1000),))


def test_answers_are_part_of_a_run_and_of_its_time(tmp_path: Path) -> None:
    """They were left out: of a short run of a language model they are a tenth and more."""
    plan = first_plan(summaries(tmp_path, 20), Options(regimes=("full",)))
    measured = run_to_end(measure_throughput(plan, plan.shared()))
    each = measured.answers["full"]
    without = replace(measured, answers={})
    once = seconds_of_run(without, "full", 18)
    assert each > 0 and seconds_of_run(measured, "full", 18) == pytest.approx(once + each)
    interpolate = replace(measured, options=replace(measured.options, interpolate=True))
    assert seconds_of_writing(interpolate, "full") == pytest.approx((1 + 4) * each)


def test_what_answers_hold_is_part_of_the_peak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = first_plan(summaries(tmp_path, 20), Options(regimes=("full",)))
    monkeypatch.setattr(memory_probe, "bytes_unread", lambda *_: 1 << 40)
    peak = run_to_end(measure_throughput(plan, plan.shared())).memory_peaks["full"]
    assert 1 << 40 < peak.bytes < (1 << 40) + (1 << 34)


def test_what_answers_rank_is_scored_on_the_rows_that_are_answered(tmp_path: Path) -> None:
    problem = summaries(tmp_path, 20)
    many = problem.splits.train.take(np.zeros(300, dtype=np.int64))
    plan = first_plan(replace(problem, splits=replace(problem.splits, test=many)), Options(regimes=("full",)))
    assert rows_answered(plan) == rows_ranked(plan) == 200 and rows_scored(plan, 18) == 1 + 200 + 18
    chat = replace(plan.problem, schema=replace(plan.problem.schema, task="chat"))
    assert rows_scored(replace(plan, problem=chat), 18) == 1 + 300 + 18


def test_no_budget_lets_an_instruction_leave_no_room_for_its_text(tmp_path: Path) -> None:
    plan = first_plan(summaries(tmp_path, 20), Options(regimes=("full",)))
    run_data = plan.run_data(18, 0, plan.shared())
    fits = [_leaves_room(run_data, plan.regime("full", 18), limit) for limit in (500, 200, 100, 64)]
    assert fits == [True, True, False, False]
