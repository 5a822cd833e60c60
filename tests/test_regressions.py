"""Bugs that were found once, each held down by the test that showed it."""

import copy
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import warmstart
from tests.cli_base import products
from tests.run_factory import make_run, make_scores
from tests.tiny import CLASSES, REGRESSION, Tower, a_batch, model_of, save_tiny_base, tiny_rows, tiny_splits
from tests.tiny_language import save_language_base
from warmstart import api
from warmstart.api import finished as finished_runs
from warmstart.data.encoding.batches import WordDropout
from warmstart.data.encoding.examples import BatchStream
from warmstart.data.encoding.inputs import Tokens
from warmstart.data.encoding.language_inputs import Conversations
from warmstart.data.rows.split import Rows, Splits, split
from warmstart.data.schema.conversations import write_prompt
from warmstart.data.tables.in_memory import table_of
from warmstart.errors import UsageError
from warmstart.inference.model_store import load_model
from warmstart.models.layers import layers, repeated_blocks
from warmstart.models.model import Model
from warmstart.models.pretrained.base import Base, find_base
from warmstart.planning.problem import Options, Problem
from warmstart.planning.run_plan import first_plan
from warmstart.regimes.discriminative import Discriminative
from warmstart.regimes.frozen import Frozen
from warmstart.regimes.full import Full
from warmstart.regimes.lora import LoRA
from warmstart.regimes.method import Method
from warmstart.regimes.regimes import DEFAULTS, Regime, Stage
from warmstart.regimes.starts import Architecture, Pretrained, Scratch
from warmstart.request.launch import compare_steps, plan_steps, run_to_end
from warmstart.request.parse import parse_value
from warmstart.request.prepare import options_of, prepare_study
from warmstart.request.request import from_mapping
from warmstart.request.start import start as begin_request
from warmstart.results.bootstrap import resample
from warmstart.results.probe_result import SwapCases, prediction_change
from warmstart.results.record import Evaluation, load_run
from warmstart.runs.run import TunedRegime, finish_run, train_run
from warmstart.runtime.files import write_json
from warmstart.runtime.lock import locked
from warmstart.study import run_race
from warmstart.study.begin import _spent
from warmstart.study.compare import ComparisonJobs
from warmstart.study.study import Study, race_study, read_study
from warmstart.tasks.language import Language
from warmstart.tasks.regression import Regression
from warmstart.training.checkpoint import Checkpoints
from warmstart.training.config import TrainConfig
from warmstart.training.early_stopping import BestWeights
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.loop import start_training
from warmstart.training.run_data import RunData
from warmstart.training.stage_state import StageState, TrainingHistory
from warmstart.training.stages import train_stages

SHORT = TrainConfig(steps=3, lr=1e-3, batch_size=8)


def finished(steps):  # type: ignore[no-untyped-def]
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


class WithToken(Tower):
    """A body with a parameter that no module inside it owns."""

    def __init__(self) -> None:
        super().__init__(50)
        self.token = nn.Parameter(torch.zeros(16))


def test_a_parameter_directly_on_the_body_belongs_to_the_embeddings() -> None:
    model = Model(WithToken(), nn.Linear(16, 1))
    assert "body.token" in layers(model)[0].parameters
    assert "body.token" in Discriminative().rates(model)


def test_adapters_on_random_weights_are_saved_merged(base: Base, regression: RunData, tmp_path: Path) -> None:
    start = Scratch(Architecture(base), base.inputs, base.pooling)
    regime = Regime("scratch-lora", start, (Stage(LoRA(rank=2)),), DEFAULTS["scratch"])
    record = finished(train_run(TunedRegime(regime, replace(SHORT, lr=1e-2)), regression, tmp_path))
    stored = load_model(tmp_path)
    outputs = stored.predictor.outputs(regression.splits.test.texts)
    predicted = stored.task.predictions(outputs, stored.calibration)["prediction"]
    assert predicted == pytest.approx(record.predictions["prediction"], rel=1e-4)


def test_weights_written_anew_into_the_same_folder_are_read_anew(base: Base, tmp_path: Path) -> None:
    body = Pretrained(base).body(0)
    body.save_pretrained(tmp_path)  # type: ignore[operator]
    first = copy.deepcopy(Pretrained(find_base(str(tmp_path))).body(0).state_dict())
    with torch.no_grad():
        for parameter in body.parameters():
            parameter.add_(1.0)
    (tmp_path / "model.safetensors").unlink()
    body.save_pretrained(tmp_path)  # type: ignore[operator]
    second = Pretrained(find_base(str(tmp_path))).body(0).state_dict()
    assert all(torch.equal(second[name], first[name] + 1) for name in dict(body.named_parameters()))


def test_a_row_loses_the_same_words_whatever_other_rows_a_study_holds(base: Base) -> None:
    whole = tiny_splits(REGRESSION)
    fewer = Splits(whole.train.take(np.arange(40, 60)), whole.val, whole.test, "")
    targets = np.zeros(len(fewer.train), dtype=np.float32)
    seen = []
    for splits in (whole, fewer):
        examples = SharedData(splits).examples(base.inputs, fewer.train, targets)
        order = type("InOrder", (), {"per_epoch": 1, "epoch": lambda self, _: [np.arange(len(targets))]})()
        seen.append(BatchStream(examples, order, WordDropout(0.5, 0)).at(0)[0].inputs["input_ids"])
    assert torch.equal(*seen)


def test_adapters_are_drawn_from_the_seed(base: Base, regression: RunData) -> None:
    regime = Regime("lora", Pretrained(base), (Stage(LoRA(rank=2)),), DEFAULTS["lora"])
    weights = []
    for disturbance in (1, 2):
        torch.manual_seed(disturbance)
        trained = finished(train_stages(regime, SHORT, regression, evaluations=1))
        weights.append(torch.cat([p.detach().flatten() for p in trained.model.parameters()]))
    assert torch.equal(*weights)


def test_the_best_weights_come_with_the_running_statistics_they_had(base: Base, regression: RunData) -> None:
    from warmstart.training.early_stopping import BestWeights

    model = Model(Tower(200), regression.task.head(16, 0))
    best_weights = BestWeights(model, regression.task, evaluations=2)
    model.train()
    model(a_batch(regression, base).inputs)
    best_weights.update(1.0, 1)
    best = copy.deepcopy(model.state_dict())
    model(a_batch(regression, base).inputs)
    best_weights.update(2.0, 2)
    best_weights.restore()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, best[name]), name


# --- found by a second reading --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return products(tmp_path_factory.mktemp("data") / "products.csv")


def compared(bases: Sequence[str], folder: Path, **more: Any) -> Study:
    """A small study of tiny bases on prices."""
    rows = tiny_rows(REGRESSION, 160)
    data = warmstart.table_of({"title": list(rows.texts), "price": rows.targets.tolist()})
    asked: dict[str, Any] = {"base": bases, "regimes": ("full",), "seeds": 1, "trials": 1, "length": 0.05}
    return warmstart.compare(data, "price", folder, quiet=True, log=False, **asked | more)


def test_each_base_and_number_of_rows_has_a_search_of_its_own(tmp_path: Path) -> None:
    """The names of bases have dots: what stood after the last one was lost, and with it the base and the rows."""
    bases = [str(save_tiny_base(tmp_path / f"Tiny-{size}B")) for size in ("0.5", "0.5.1")]
    made = compared(bases, tmp_path / "study", rows=(40, 80), trials=2)
    searches = {path.name for path in (tmp_path / "study" / "tuning").glob("*.json")}
    assert searches == {f"full@Tiny-{size}B-r{rows}.json" for size in ("0.5", "0.5.1") for rows in (40, 80)}
    assert len({repr(run.trials) for run in made.comparison.runs if run.regime != "constant"}) == 2


def test_a_second_process_leaves_the_folder_of_the_first_alone(data: Path, base: Base, tmp_path: Path) -> None:
    """It took the claim back that was the other's: both were lost."""
    asked = from_mapping({"command": "compare", "data": (str(data),), "target": "price", "base": (base.location,)})
    first = begin_request(asked, tmp_path / "study")
    before = (tmp_path / "study" / "request.json").read_text()
    with locked(first.folder):
        with pytest.raises(UsageError, match="another process"):
            begin_request(replace(asked, seeds=7), tmp_path / "study")
        with pytest.raises(UsageError, match="another process"):
            run_to_end(compare_steps(first))
    assert (tmp_path / "study" / "request.json").read_text() == before


def test_a_prompt_is_cut_alike_with_an_answer_and_without(tmp_path: Path) -> None:
    """It was cut to what the reference left free: scores were of prompts that nobody would ever ask."""
    inputs = Conversations(str(save_language_base(tmp_path / "base")), 160, "Sum up.")
    document = " ".join(f"word {i}" for i in range(200))
    asked = inputs.prompt(write_prompt("Sum up.", document))
    for words in (5, 20, 60):
        assert inputs.prompt(write_prompt("Sum up.", document, "so " * words)) == asked


@pytest.mark.parametrize("second", [Frozen(), LoRA(rank=2), Full()])
def test_what_adapters_learned_is_there_after_a_stop_in_a_later_stage(
    second: Method, base: Base, regression: RunData, tmp_path: Path
) -> None:
    """Merged into weights that no stage had trained by name, it was not saved."""
    first = Stage(LoRA(rank=2), Language("masked-lm"), 0.5)
    regime = Regime("mine", Pretrained(base), (first, Stage(second, share=0.5)), DEFAULTS["full"])
    config = TrainConfig(steps=8, lr=1e-2, batch_size=8)
    whole = finished(train_stages(regime, config, regression, 2))
    checkpoints = Checkpoints(tmp_path, "this", every=1e9)
    steps = train_stages(regime, config, regression, 2, checkpoints)
    for _ in range(6):
        next(steps)
    steps.close()
    again = finished(train_stages(regime, config, regression, 2, checkpoints))
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


def test_a_race_draws_no_more_seeds_than_were_asked_for(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third seed's rows were not among those that had been read."""
    monkeypatch.setattr(run_race, "UNTUNED", 0.0)
    generator = np.random.default_rng(1)
    rows = tiny_rows(CLASSES, 400)
    problem = Problem(
        split(replace(rows, targets=generator.choice(["a", "b"], 400).astype(object)), CLASSES), CLASSES, (base,)
    )
    options = Options(regimes=("linear", "frozen", "scratch-dnn"), rows=(120,), seeds=1, trials=1, length=0.02)
    made = run_to_end(race_study(problem, replace(options, log=False), tmp_path, 20.0, command=""))
    assert {run.seed for run in made.comparison.runs} == {0}


def test_runs_that_longer_ones_took_the_place_of_were_paid_too(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warmstart.runs.run._converged", lambda *_: False)
    made = compared([base.location], tmp_path / "study")
    every = [load_run(path.parent) for path in (tmp_path / "study" / "runs").glob("*/run.json")]
    assert sum(run.regime == "full" for run in every) == 3 and len(made.comparison.runs) == 2  # `constant` as well
    assert made.advice.compute["spent_flops"] == pytest.approx(sum(run.cost.flops for run in every))
    assert read_study(tmp_path / "study").advice.compute == made.advice.compute


def test_a_study_that_is_gone_on_with_trains_no_longer_than_in_one_go(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock began anew, and with it all of its budget."""
    monkeypatch.setattr("warmstart.runs.run._converged", lambda *_: False)
    monkeypatch.setattr(ComparisonJobs, "_affordable", lambda *_: False)
    compared([base.location], tmp_path / "study", budget=3600)
    folder = tmp_path / "study"
    assert _spent(folder) == pytest.approx(sum(run.cost.seconds for run in finished_runs(folder)))
    monkeypatch.undo()
    monkeypatch.setattr("warmstart.runs.run._converged", lambda *_: False)
    write_json(folder / "lengths.json", {"full-r112-s0-x2": False})
    for name in ("study.json", "comparison.json", "advice.json", "report.html"):
        (folder / name).unlink()
    shutil.rmtree(folder / "winner")
    warmstart.resume(folder, quiet=True)
    assert [run.id for run in finished_runs(folder)] == ["constant-r112-s0", "full-r112-s0"]


@pytest.mark.parametrize("scale", ["linear", "log10(1+x)"])
def test_zeros_stay_zeros_on_their_way_through_a_scale(scale: Any) -> None:
    """As 4e-6 they had a percentage error of a thousand million."""
    prices = np.array([0.0, 0, 0, 0, 0, 0, 11.5, 23, 310, 4])
    rows = Rows(("",) * 10, prices, np.arange(1, 11), ("",) * 10)
    task = Regression.fit(replace(REGRESSION, scale=scale), Splits(rows, rows, rows, ""))
    targets = task.targets(rows)
    assert task.truths(targets)[:6] == [0.0] * 6
    assert task.metrics(targets[:, None] + 0.1, targets, {})["median percentage error"] < 200


def test_a_draw_learns_the_language_from_its_own_rows(tmp_path: Path) -> None:
    """Conversations were all read, however few rows a draw had: curves of `hybrid` were too good on few rows."""
    table = {
        "prompt": [f"what is thing {i} here" for i in range(300)],
        "completion": [f"thing {i}" for i in range(300)],
    }
    asked = {"command": "compare", "data": ("x",), "base": (str(save_language_base(tmp_path / "base")),)}
    request = from_mapping(asked | {"regimes": ("hybrid",), "rows": (20, 200), "max_length": 64})
    problem = prepare_study(request, table_of(table), {}).problem
    plan = first_plan(problem, options_of(request, problem))
    for rows in (20, 200):
        run_data = plan.run_data(rows, 0, plan.shared())
        assert run_data.corpus is not None
        said = "\n".join(run_data.corpus.splits.train.texts)
        assert len(run_data.corpus.splits.train) == rows
        assert all(json.loads(text)[0]["content"] in said for text in run_data.splits.train.texts)
        assert set(run_data.corpus.splits.val.texts).isdisjoint(run_data.corpus.splits.train.texts)


def test_moves_are_held_against_random_ones_of_the_same_texts() -> None:
    cases = SwapCases(np.arange(12), np.zeros(12, dtype=np.int64))
    half = {"changed": np.repeat([1.0, 0.0], 6), "random": np.repeat([np.nan, 0.0], 6)}
    assert prediction_change(cases, None, [half]).effects["beyond"].value == 0.0
    nothing = {"changed": np.repeat([1.0, 0.0], 6), "random": np.full(12, np.nan)}
    assert prediction_change(cases, None, [nothing]).effects.keys() == {"changed"}


def test_two_groups_of_test_rows_are_hardly_anything() -> None:
    """One degree of freedom: Student's t is 12.7, not 4.3."""
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        group = np.repeat([0, 1], 40)
        scores = make_scores(0.5 + generator.normal(0, 0.3, 2)[group] + generator.normal(0, 0.1, 80))
        low, high = resample([scores], draws=400, groups=group).interval
        held += low <= 0.5 <= high
    assert held / 400 > 0.9


def test_networks_of_ones_own_are_named_in_every_request(data: Path, base: Base, tmp_path: Path) -> None:
    """`resume`, which has no code of theirs, went on without them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "run_with_progress", lambda steps, quiet: None)
        asked: dict[str, Any] = {"own": {"mine": Tower}, "regimes": ("linear",), "base": base.location}
        warmstart.advise(data, "price", tmp_path / "advise", **asked)
        warmstart.fit(data, "price", "auto", tmp_path / "auto", **asked)
    for name in ("advise", "auto"):
        assert json.loads((tmp_path / name / "request.json").read_text())["regimes"] == ["linear", "scratch-mine"]


@pytest.mark.parametrize("seed", [-1, 10**20])
def test_a_seed_that_no_generator_takes_is_refused(seed: int) -> None:
    with pytest.raises(UsageError, match="seed"):
        from_mapping({"command": "fit", "data": ("x",), "seed": parse_value("seed", seed)})


def test_an_empty_text_is_read_as_something(tmp_path: Path) -> None:
    """A decoder without a token that begins a text had nothing to read."""
    tokens = Tokens(str(save_language_base(tmp_path / "base")), 16)
    rows = tokens.encode(["a", ""])
    assert rows.sizes().tolist() == [1, 1] and [len(rows.word_of.row(i)) for i in range(2)] == [1, 1]
    assert rows.batch(np.array([1]))["input_ids"].shape == (1, 1)


def test_a_score_that_is_no_number_is_a_failed_run_and_not_the_end_of_a_study(tmp_path: Path) -> None:
    """JSON has no word for it, and writing the record ended everything."""
    made = make_run("full", make_scores(np.full(20, 0.5)))
    point = Evaluation(5, 1.0, 0.1, 0.2, 0.3, 1.0)
    metrics = {"RMSE (price)": float("inf"), "MAE (price)": 2.0}
    done = finish_run(
        replace(made, metrics=metrics, points=(point, replace(point, val_loss=float("nan")))), tmp_path, None
    )
    assert (done.failed, done.metrics, done.points) == (None, {"MAE (price)": 2.0}, (point,))
    assert "too large or too small for a number: RMSE (price)" in load_run(tmp_path).caveats
    lost = finish_run(replace(made, test=float("nan")), tmp_path, None)
    assert (lost.test, lost.failed) == (None, "its score is not finite")


def test_a_plan_builds_what_it_needs_where_it_stays(tmp_path: Path) -> None:
    """The folder of an architecture built to a size was gone before the plan looked at it."""
    (tmp_path / "corpus.txt").write_text(
        "\n\n".join(f"the bell tolls {i} times, and then once more" for i in range(400))
    )
    found = warmstart.plan(
        tmp_path / "corpus.txt", None, task="causal-lm", parameters="140k", regimes=("scratch",), quiet=True
    )
    assert found[0].regime == "scratch" and (found[0].total or 0) > 10_000


def test_a_body_of_one_block_has_layers(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    body = BertModel(
        BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    )
    assert [name for name, _ in repeated_blocks(body)] == ["encoder.layer.0"]


def test_a_plan_without_data_needs_a_number_of_rows() -> None:
    with pytest.raises(UsageError, match="rows is auto"):
        run_to_end(plan_steps(from_mapping({"command": "plan", "task": "regression", "rows": "auto"})))


def test_going_back_to_the_best_weights_forgets_the_looks_since(base: Base, regression: RunData) -> None:
    model, rates = model_of(Full(), base_body(base), regression.task)
    config = TrainConfig(steps=5, lr=1e-3)
    best_weights = BestWeights(model, regression.task, evaluations=6)
    for step, score in enumerate([0.5, 0.6, 0.6]):
        best_weights.update(score, step)
    assert best_weights.waited == 2
    StageState(0, start_training(model, rates, config), best_weights, TrainingHistory(6, 2), {}).retreat()
    assert best_weights.waited == 0


def test_a_first_look_that_gave_no_number_is_not_the_best(base: Base, regression: RunData) -> None:
    best_weights = BestWeights(model_of(Full(), base_body(base), regression.task)[0], regression.task, evaluations=6)
    for step, score in enumerate([float("nan"), 0.5, float("nan")]):
        best_weights.update(score, step)
    assert (best_weights.score, best_weights.step) == (0.5, 1)


def test_what_was_left_out_is_said_once(base: Base) -> None:
    table = {"title": [f"lamp {i}" for i in range(41)], "kind": ["a", "b"] * 20 + ["alone"]}
    request = from_mapping({"command": "compare", "data": ("x",), "target": "kind", "base": (base.location,)})
    caveats = prepare_study(replace(request, bad_rows="drop"), table_of(table), {}).problem.caveats
    assert sum(caveat.startswith("Left out: ") for caveat in caveats) == 1


def base_body(base: Base) -> nn.Module:
    return Pretrained(base).body(0)
