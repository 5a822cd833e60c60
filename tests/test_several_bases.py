"""Several bases in one comparison: is each row a regime at a base, and does everything after it know which?"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli_base import Answer, call, products
from tests.decoders import save_decoder
from warmstart.errors import UsageError
from warmstart.models.pretrained.base import Base, find_base
from warmstart.planning import history
from warmstart.planning.problem import Options, Problem
from warmstart.planning.run_plan import RunPlan, first_plan
from warmstart.request.launch import compare_steps
from warmstart.request.request import Request, load_request
from warmstart.request.start import start
from warmstart.results.learning_curves import best_scratch
from warmstart.results.record import load_run
from warmstart.study.study import read_study

ONE = ("--trials", "1", "--length", "0.05", "--lr", "2e-2", "--quiet")
SHORT = ("--seeds", "1", *ONE)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_decoder(tmp_path_factory.mktemp("of") / "decoder")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return products(tmp_path_factory.mktemp("data") / "products.csv")


@pytest.fixture(scope="module")
def usual(data: Path, base: Base, decoder: str) -> tuple[str, ...]:
    return (str(data), "--target", "room", "--text", "title", "--base", base.location, "--base", decoder)


@pytest.fixture(scope="module")
def compared(usual: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    out = tmp_path_factory.mktemp("studies") / "study"
    regimes = ("--regimes", "constant,scratch-dnn,full,scratch")
    return out, call("compare", *usual, *regimes, *SHORT, "--rows", "30,60", "--out", out)


def plan_of(problem: Problem, *regimes: str) -> RunPlan:
    return first_plan(problem, Options(regimes=regimes))


def test_a_row_is_a_regime_at_a_base(compared: tuple[Path, Answer], base: Base) -> None:
    out, answer = compared
    assert answer.code == 0, answer.err
    found = json.loads((out / "comparison.json").read_text())
    names = {"constant", "scratch-dnn", "scratch@base", "scratch@decoder", "full@base", "full@decoder"}
    assert {row["name"] for row in found["regimes"]} == names
    starts = {row["name"]: Path(row["start"]).name for row in found["regimes"]}
    assert (starts["full@base"], starts["full@decoder"], starts["scratch-dnn"]) == ("base", "decoder", "random weights")
    assert {row["name"] for row in found["regimes"] if row["family"] == "scratch"} == {n for n in names if "scr" in n}
    ranked = [row for row in found["regimes"] if not row["failed"]]
    assert len(found["differences"]) == len(ranked) * (len(ranked) - 1) / 2, "every two are paired"
    assert "full@decoder" in (out / "report.html").read_text()
    said = answer.out.partition("pretrained weights (--base):")[2].partition("regime")[0]
    assert base.location in said and "decoder" in said
    assert max(len(line) for line in answer.out.splitlines() if "@" in line) <= 80 and "scratch@decoder" in answer.out


def test_a_pretrained_start_is_held_against_its_own_architecture(compared: tuple[Path, Answer]) -> None:
    measured = next(law for law in read_study(compared[0]).comparison.laws.values() if law.family == "scratch")
    laws = [replace(measured, regime=name) for name in ("scratch-dnn", "scratch@base", "scratch@decoder")]
    for name in ("full@base", "lora@decoder"):
        rival = best_scratch(laws, name)
        assert rival is not None and rival.regime == f"scratch@{name.partition('@')[2]}"


def test_each_base_reads_with_its_own_tokenizer_and_pooling(base: Base, decoder: str, problem: Problem) -> None:
    both = Problem(problem.splits, problem.schema, (base, find_base(decoder, max_length=16)))
    plan = plan_of(both, "full", "linear", "self-pretrained@decoder", "scratch-dnn", "differential")
    assert plan.names == (
        "linear", "scratch-dnn", "full@base", "discriminative@base",
        "full@decoder", "self-pretrained@decoder", "discriminative@decoder",
    )  # fmt: skip
    assert plan_of(both, *plan.names).names == plan.names, "what was made is read back"
    mine, its = (plan.regime(name, 84) for name in ("full@base", "full@decoder"))
    assert (mine.start.pooling, its.start.pooling) == ("mean", "last")
    assert mine.start.inputs == base.inputs != its.start.inputs and its.name == "full@decoder"
    objective = plan.regime("self-pretrained@decoder", 84).stages[0].objective
    assert objective is not None and objective.name == "causal-lm"
    assert plan_of(problem, "full@base", "full", "linear").names == ("full", "linear"), "one base needs no name"
    with pytest.raises(UsageError, match=r"'full@other' names a base that is not compared"):
        _ = plan_of(both, "full@other").names


def test_what_is_finished_is_read_back_and_predicts(compared: tuple[Path, Answer], data: Path) -> None:
    out, _ = compared
    assert "nothing is left to train" in call("resume", out).err
    winner = load_run(out / "winner")
    assert winner.regime in json.loads((out / "advice.json").read_text())["predicted"]["regime"]
    answer = call("predict", out / "runs" / "full@decoder-r60-s0", data)
    assert answer.code == 0 and len(answer.out.splitlines()) == 121


def test_a_study_of_several_bases_goes_on(usual: tuple[str, ...], base: Base, decoder: str, tmp_path: Path) -> None:
    asked = Request(
        (usual[0],), "room", text=("title",), base=(base.location, decoder), regimes=("full",), seeds=1, trials=1,
        length=0.1,
        lr=1e-2,
    )  # fmt: skip
    steps = compare_steps(start(asked, tmp_path / "study"))
    runs = tmp_path / "study" / "runs"
    while not (runs / "full@base-r84-s0" / "run.json").exists():
        next(steps)
    steps.close()
    before = (runs / "full@base-r84-s0" / "run.json").stat().st_mtime_ns
    assert load_request(tmp_path / "study") == asked
    assert call("resume", tmp_path / "study", "--quiet").code == 0
    assert {path.name for path in runs.iterdir()} >= {"full@base-r84-s0", "full@decoder-r84-s0"}
    assert (runs / "full@base-r84-s0" / "run.json").stat().st_mtime_ns == before


def test_fit_trains_one_of_them(usual: tuple[str, ...], decoder: str, tmp_path: Path) -> None:
    asked = ("fit", *usual, *ONE, "--out", tmp_path / "run")
    answer = call(*asked, "--regime", "full")
    assert answer.code == 2 and "can start from 2 bases" in answer.err and "full@base, full@decoder" in answer.err
    answer = call(*asked, "--regime", "full@thing")
    assert answer.code == 2 and "'full@thing' names a base that is not compared" in answer.err
    assert not (tmp_path / "run").exists()
    assert call(*asked, "--regime", "full@decoder").code == 0
    done = load_run(tmp_path / "run")
    assert (done.regime, done.start) == ("full", decoder)
    logged = history.read_history()[-1]
    assert (logged["regime"], logged["base"]) == ("full", decoder)


def test_the_log_speaks_of_each_base(usual: tuple[str, ...], decoder: str, tmp_path: Path) -> None:
    assert call("fit", *usual, *ONE, "--regime", "full@decoder", "--out", tmp_path / "run").code == 0
    words = ("plan", "--task", "classification", "--rows", "500", "--regimes", "full,linear", "--quiet", "--json")
    found = json.loads(call(*words, "--base", "other", "--base", decoder).out)
    assert [(one["regime"], one["seconds"] is None) for one in found] == [
        ("full@other", True),
        ("full@decoder", False),
        ("linear", True),
    ]


def test_plan_has_a_line_for_each_base(usual: tuple[str, ...]) -> None:
    answer = call("plan", *usual, "--regimes", "linear,full", "--rows", "40", "--quiet")
    assert answer.code == 0, answer.err
    assert [line.split()[0] for line in answer.out.splitlines()[3:7]] == [
        "constant",
        "linear",
        "full@base",
        "full@decoder",
    ]
    assert max(map(len, answer.out.splitlines()[2:7])) <= 80
    assert "Compared beside what was named, as a floor: `constant`." in " ".join(answer.out.split())


def test_the_lengths_are_told_for_each_base(usual: tuple[str, ...]) -> None:
    answer = call("check", *usual, "--max-length", "20")
    assert answer.code == 0 and "longer than 20 tokens that decoder reads" in " ".join(answer.out.split())


@pytest.mark.parametrize("again", ["{base}", "{base}/."])
def test_the_same_base_twice(usual: tuple[str, ...], base: Base, again: str, tmp_path: Path) -> None:
    words = ("compare", *usual[:5], "--base", base.location, "--base", again.format(base=base.location))
    answer = call(*words, "--regimes", "constant", *SHORT, "--out", tmp_path / "study")
    if again.endswith("."):
        assert answer.code == 2 and "is the same as base" in answer.err
    else:
        assert answer.code == 0


def test_old_requests_named_one_base(tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text(json.dumps({"data": ["x.csv"], "target": "price", "base": "org/name"}))
    assert load_request(tmp_path).base == ("org/name",)
    (tmp_path / "request.json").write_text(json.dumps({"data": ["x.csv"], "target": "price", "base": None}))
    assert load_request(tmp_path).base == ()
