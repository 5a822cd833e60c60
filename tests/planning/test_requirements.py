"""Needs: is what a model would take close to what it takes, and are the constraints of a study kept?"""

import json
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli_base import QUICK, call, products
from tests.tiny import REGRESSION, tiny_problem
from warmstart.advice.advise import advice_for
from warmstart.errors import UsageError
from warmstart.models.pretrained.base import Base
from warmstart.planning.model_size import BESIDE
from warmstart.planning.problem import Options, Problem
from warmstart.planning.requirements import (
    constraints_after_training,
    exclude_by_constraints,
    exclude_by_time,
    predicted_requirements,
    shipped_bytes,
)
from warmstart.planning.run_plan import RunPlan, first_plan
from warmstart.results.comparison import Comparison
from warmstart.results.constraints import Constraints
from warmstart.results.record import load_run
from warmstart.study.compare import run_comparison
from warmstart.study.make_comparison import load_comparison

SHORT = Options(regimes=("constant", "linear", "scratch-dnn", "full", "lora"), seeds=1, lr=1e-3, length=0.03)


def to_the_end(steps: Generator[Any, None, Any]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def planned(problem: Problem, **asked: Any) -> RunPlan:
    return first_plan(problem, replace(SHORT, constraints=Constraints(**asked)))


def held(problem: Problem, **asked: Any) -> RunPlan:
    plan = planned(problem, **asked)
    found: RunPlan = to_the_end(exclude_by_constraints(plan, plan.shared()))
    return found


@pytest.fixture(scope="module")
def study(base: Base, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Comparison]:
    """Every regime trained, those that take more than 1.5 ms for a row not to be chosen."""
    folder = tmp_path_factory.mktemp("study")
    options = replace(SHORT, constraints=Constraints(max_latency=1.5e-3))
    return folder, to_the_end(run_comparison(tiny_problem(REGRESSION, base), options, folder))


def test_sizes_from_shapes_are_those_of_the_files(study: tuple[Path, Comparison], problem: Problem) -> None:
    folder, _ = study
    plan = planned(problem)
    base = sum(file.stat().st_size for file in Path(problem.base.location).glob("*.safetensors"))
    run_data = plan.run_data(84, 0, plan.shared())
    task = run_data.task
    for name in ("scratch-dnn", "full", "lora"):
        files = load_run(folder / "runs" / f"{name}-r84-s0").disk_bytes + base * (name == "lora")
        regime = run_data.fitted(plan.regime(name, 84))
        assert abs(shipped_bytes(regime, task) - files) < BESIDE + 30_000, name


def test_adapters_are_shipped_with_their_base(problem: Problem) -> None:
    plan = planned(problem)
    task = plan.run_data(84, 0, plan.shared()).task
    lora, full = (shipped_bytes(plan.regime(name, 84), task) for name in ("lora", "full"))
    assert lora > full > BESIDE


def test_only_what_is_asked_for_is_looked_at(problem: Problem) -> None:
    shared = planned(problem).shared()
    for asked, known in (
        ({"max_size": 10**9}, "size"),
        ({"max_latency": 9.0}, "latency"),
        ({"max_training_time": 9}, ""),
    ):
        plan = planned(problem, **asked)
        needs = predicted_requirements(plan, "full", plan.run_data(84, 0, shared))
        assert {name for name in ("size", "latency", "train") if getattr(needs, name) is not None} == {known} - {""}
    assert (
        0
        < (predicted_requirements(held(problem, max_latency=9.0), "full", plan.run_data(84, 0, shared)).latency or 0)
        < 1
    )


def test_what_starts_from_pretrained_weights_is_not_trained_where_none_may_be_used(problem: Problem) -> None:
    plan = held(problem, pretrained=False)
    assert plan.asked == SHORT.regimes and plan.names == ("constant", "linear", "scratch-dnn")
    assert [(each.regime, each.constraint) for each in plan.excluded] == [
        ("full", "no-pretrained"),
        ("lora", "no-pretrained"),
    ]


def test_the_license_of_the_base_is_that_of_its_card(problem: Problem, tmp_path: Path) -> None:
    assert "nothing says under which license" in held(problem, licenses=("mit",)).excluded[0].reason
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    carded = replace(problem, bases=(replace(problem.base, name=str(tmp_path)),))
    assert held(carded, licenses=("mit",)).excluded == ()
    assert held(carded, licenses=("bsd",)).names == ("constant", "linear", "scratch-dnn")


def test_what_takes_too_long_at_the_measured_pace_is_not_trained(problem: Problem) -> None:
    plan = planned(problem, max_training_time=60.0)
    seconds_per_row = {"scratch-dnn": 1e-4, "full": 1.0, "lora": 1e-4}
    late = exclude_by_time(replace(plan, seconds_per_row=seconds_per_row))
    assert late.names == ("constant", "linear", "scratch-dnn", "lora")
    assert late.excluded[0].reason.endswith("more than 1 min") and late.excluded[0].constraint == "max-training-time"
    assert exclude_by_time(replace(planned(problem), seconds_per_row=seconds_per_row)).excluded == ()


def test_nothing_left_is_told_before_anything_is_trained(problem: Problem, folder: Path) -> None:
    options = replace(SHORT, regimes=("constant", "full", "lora"), constraints=Constraints(max_size=1000))
    with pytest.raises(UsageError, match=r"nothing to choose from. `full`: it takes .* \(--max-size\), `lora`"):
        to_the_end(run_comparison(problem, options, folder))
    assert list(folder.iterdir()) == []
    slow = replace(
        planned(problem, max_training_time=1.0), seconds_per_row=dict.fromkeys(("scratch-dnn", "full", "lora"), 9.0)
    )
    assert exclude_by_time(slow).names == ("constant", "linear")
    with pytest.raises(UsageError, match="--max-training-time"):
        exclude_by_time(replace(slow, options=replace(slow.options, regimes=("full",))))


def test_what_is_too_slow_is_trained_and_cannot_be_chosen(study: tuple[Path, Comparison], problem: Problem) -> None:
    folder, comparison = study
    assert set(comparison.names) == set(SHORT.regimes)
    waits = {row.name: row.latency_ms or 0.0 for row in comparison.table if row.failed is None}
    assert {each.regime for each in comparison.excluded} == {name for name, wait in waits.items() if wait > 1.5}
    assert load_comparison(folder).excluded == comparison.excluded
    assert advice_for(comparison).choice not in {each.regime for each in comparison.excluded}
    again = to_the_end(run_comparison(problem, replace(SHORT, constraints=Constraints(max_latency=1.5e-3)), folder))
    assert again.excluded == comparison.excluded


def test_what_was_measured_counts_in_the_end_not_what_was_foreseen(
    study: tuple[Path, Comparison], problem: Problem
) -> None:
    _, comparison = study
    plan = replace(planned(problem, max_size=500_000), excluded=())
    large = {row.name: row.disk_bytes for row in comparison.table if row.disk_bytes > 500_000 and not row.failed}
    assert {each.regime for each in constraints_after_training(plan, comparison.runs)} == set(large)
    part = [replace(run, rows=run.rows // 2) if run.regime in large else run for run in comparison.runs]
    assert {each.regime for each in constraints_after_training(plan, part)} == set(large), "each at its most rows"
    kept = replace(planned(problem, pretrained=False, max_size=1), excluded=held(problem, pretrained=False).excluded)
    found = constraints_after_training(kept, [run for run in comparison.runs if run.regime == "linear"])
    assert [(each.regime, each.constraint) for each in found] == [
        ("full", "no-pretrained"),
        ("lora", "no-pretrained"),
        ("linear", "max-size"),
    ]


def test_from_the_command_line(base: Base, tmp_path: Path) -> None:
    data, out = products(tmp_path / "products.csv"), tmp_path / "study"
    usual = ("compare", data, "--target", "price", "--text", "title", "--base", base.location)
    answer = call(*usual, *QUICK, "--no-pretrained", "--quiet", "--out", out)
    assert answer.code == 0, answer.err
    assert "not allowed: `frozen` by --no-pretrained: it starts from pretrained weights" in answer.out
    assert max(map(len, (line for line in answer.out.splitlines() if str(out) not in line))) <= 80
    written = json.loads((out / "comparison.json").read_text())
    reason = "it starts from pretrained weights"
    assert written["excluded"] == [{"regime": "frozen", "constraint": "no-pretrained", "reason": reason}]
    assert [row["name"] for row in written["regimes"]] in (["linear", "constant"], ["constant", "linear"])
    advice = json.loads((out / "advice.json").read_text())
    assert advice["constraints"][0]["statement"].endswith("is unknown: `frozen` was not trained.")
    assert "was not trained" in (out / "report.html").read_text() and not list((out / "runs").glob("frozen*"))
    assert "--no-pretrained" in call("compare", *usual[1:], "--no-pretrained", "--out", "x", "--dry-run").out
    nothing = call(*usual, "--regimes", "constant,frozen", "--max-size", "1KB", "--quiet", "--out", tmp_path / "none")
    assert (nothing.code, nothing.out) == (2, "") and "leave nothing to choose from. `frozen`: it takes" in nothing.err
    assert not (tmp_path / "none").exists()
