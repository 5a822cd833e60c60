"""Do networks that start from a base read typed columns beside the text: learn, resume, share, and come back?"""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.baselines.tables import COLUMNS, table_rows, task_of
from warmstart.baselines.baseline import FitData
from warmstart.baselines.baselines import load_baseline
from warmstart.baselines.embedder import Embedder
from warmstart.baselines.linear import fit_embedded
from warmstart.data.features.column_inputs import ColumnInputs, TextColumns
from warmstart.data.rows.split import Rows, split
from warmstart.data.rows.term_swaps import TermPair
from warmstart.data.schema.schema import Schema
from warmstart.data.tables.read import Table
from warmstart.errors import InputError, UsageError
from warmstart.inference.export.export import check_format, export_model
from warmstart.inference.model_store import load_model
from warmstart.models.column_head import ColumnHead
from warmstart.models.pretrained.base import Base
from warmstart.planning.model_size import model_size
from warmstart.regimes.regimes import REGIMES, Regime, RegimeContext
from warmstart.results.record import Run
from warmstart.runs.run import TunedRegime, train_run
from warmstart.study.probe import probe_models
from warmstart.training.checkpoint import Checkpoints
from warmstart.training.config import TrainConfig
from warmstart.training.frozen_prefix import PrefixCache, SharedData
from warmstart.training.run_data import RunData
from warmstart.training.stages import TrainedStages, stage_data, train_stages

NAMES = tuple(column.name for column in COLUMNS)
TABLE = Schema("regression", "y", NAMES, True, None, {}, "linear", False, None, columns=COLUMNS)
ALL = ("frozen", "top-layers", "discriminative", "full", "lora", "scratch", "hybrid", "self-pretrained")
CONFIG = TrainConfig(steps=240, lr=1e-3, batch_size=16)


def mixed(kind: str = "number", seed: int = 0, n: int = 400) -> RunData:
    schema = TABLE if kind == "number" else replace(TABLE, task="classification", multi_label=kind == "labels")
    splits = split(table_rows(kind, n), schema)
    return RunData(splits, schema, SharedData(splits), seed)


def regime_of(name: str, base: Base) -> Regime:
    return REGIMES[name](RegimeContext(base, 280))


def config_of(regime: Regime, steps: int = 240) -> TrainConfig:
    return replace(CONFIG, steps=steps, lr=regime.defaults.lr)


def trained(events: Any) -> Any:
    """What a generator returns at its end."""
    while True:
        try:
            next(events)
        except StopIteration as end:
            return end.value


def error_of(found: TrainedStages) -> float:
    return min(point.val_score for point in found.points)


@pytest.mark.parametrize("name", ALL)
def test_every_regime_learns_from_a_number(name: str, base: Base) -> None:
    """The target is the square of a weight: without the column its error is about 2.2, however long it trains."""
    regime = regime_of(name, base)
    found: TrainedStages = trained(train_stages(regime, config_of(regime), mixed(), 4))
    assert isinstance(found.model.head, ColumnHead)
    assert error_of(found) < 1.3


@pytest.mark.parametrize("kind", ["class", "labels"])
def test_classes_and_labels_too(kind: str, base: Base) -> None:
    regime = regime_of("frozen", base)
    found: TrainedStages = trained(train_stages(regime, config_of(regime), mixed(kind), 4))
    assert max(point.val_score for point in found.points) > 0.8


def test_a_body_reads_the_text_alone_and_every_draw_shares_it(base: Base) -> None:
    first = mixed()
    second = replace(first, splits=replace(first.splits, train=first.splits.train.take(np.arange(100))), seed=1)
    inputs = [run_data.fitted(regime_of("full", base)).start.inputs for run_data in (first, second)]
    assert all(isinstance(each, ColumnInputs) for each in inputs) and inputs[0].key != inputs[1].key
    encoded = [first.shared.encoded(each) for each in inputs]
    assert encoded[0].of_body is encoded[1].of_body
    tokens = encoded[0].of_body.batch(np.arange(1))["input_ids"][0].tolist()
    title = first.shared.columns["title"][0]
    assert tokens == base.inputs.tokenizer(title)["input_ids"]
    both = regime_of("scratch", base)
    assert first.shared.encoded(first.fitted(both).start.inputs).of_body is encoded[0].of_body


def test_the_frozen_prefix_is_stored_without_columns_and_shared(base: Base) -> None:
    run_data = mixed()
    models, rows = [], []
    for seed in (0, 1):
        draw = replace(run_data, seed=seed)
        regime = draw.fitted(regime_of("frozen", base))
        found: TrainedStages = trained(train_stages(regime, replace(config_of(regime, 8), seed=seed), draw, 1))
        models.append(found.model)
        rows.append(found.reads)
    assert isinstance(rows[0].of_body, PrefixCache) and rows[0].of_body is rows[1].of_body
    start = run_data.fitted(regime_of("frozen", base)).start
    view = stage_data(models[0], start, run_data, run_data.task, 20, stored=False)
    batch = view.validation.take(np.arange(20))
    assert set(batch.inputs) >= {"input_ids", "joined_features", "joined_offsets", "joined_weights"}


def test_rates_of_columns_do_not_depend_on_the_regime(base: Base) -> None:
    """`full` learns at 2e-4, `frozen` at 1e-2; the layers on columns at 4e-3 in both."""
    for name in ("full", "frozen", "lora"):
        regime = regime_of(name, base)
        found = model_size(mixed().fitted(regime), mixed().task)
        assert any(each.startswith("head.columns.") for each in found.rates)
        events = train_stages(regime, config_of(regime, 10), mixed(), 1)
        step = next(event.step for event in events if event.step)
        assert step.finite


def test_plan_counts_the_part(base: Base) -> None:
    run_data = mixed()
    regime = regime_of("frozen", base)
    plain, joined = (model_size(each, run_data.task) for each in (regime, run_data.fitted(regime)))
    columns = run_data.fitted(regime).start.columns
    assert columns is not None
    more = columns.width * 65 + 64 + 64 * 64 + 64 + 64
    assert joined.trainable - plain.trainable == joined.total - plain.total == more
    tokens = np.array([10])
    assert joined.cost.forward(tokens)[0] - plain.cost.forward(tokens)[0] == 2.0 * (columns.most * 65 + 64 * 64 + 64)


def test_resume_is_bit_identical(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warmstart.training.checkpoint.SAVE_EVERY_SECONDS", 0.0)
    regime = regime_of("full", base)
    config = config_of(regime, 12)
    whole: TrainedStages = trained(train_stages(regime, config, mixed(), 2))
    checkpoints = Checkpoints(tmp_path / "checkpoint", "a test")
    events = train_stages(regime, config, mixed(), 2, checkpoints)
    for event in events:
        if event.step and event.step.index == 5:
            events.close()
            break
    again: TrainedStages = trained(train_stages(regime, config, mixed(), 2, checkpoints))
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


def run_of(name: str, base: Base, folder: Path, run_data: RunData) -> Run:
    regime = regime_of(name, base)
    run: Run = trained(train_run(TunedRegime(regime, config_of(regime)), run_data, folder))
    assert run.failed is None, run.failed
    return run


@pytest.mark.parametrize("name", ["frozen", "lora", "scratch"])
def test_a_saved_model_reads_the_same_columns(name: str, base: Base, tmp_path: Path) -> None:
    run_data = mixed()
    run = run_of(name, base, tmp_path / name, run_data)
    assert "columns joined" in run.method
    stored = load_model(tmp_path / name)
    test = run_data.splits.test
    outputs = stored.predictor.outputs(test.texts, test.columns)
    scored = stored.task.score(outputs, stored.task.targets(test), stored.calibration)
    assert scored[:, 0].mean() == pytest.approx(run.test, abs=1e-4)
    with pytest.raises(InputError, match="was not given"):
        stored.predictor.outputs(test.texts)
    facts = json.loads((tmp_path / name / "model.json").read_text())
    assert facts["columns"] is True and any(file.startswith("columns/") for file in facts["files"])
    (tmp_path / name / "columns" / "columns.json").write_text("{}")
    with pytest.raises(InputError, match="is not the file that was saved"):
        load_model(tmp_path / name)


def test_unseen_and_missing_values_are_read(base: Base, tmp_path: Path) -> None:
    run_data = mixed()
    run_of("frozen", base, tmp_path / "run", run_data)
    stored = load_model(tmp_path / "run")
    some = run_data.splits.test.take(np.arange(4))
    odd = {name: some.columns[name] for name in NAMES}
    odd["brand"] = type(odd["brand"]).of(["never seen"] * 4)
    odd["weight"] = np.full(4, np.nan)
    found = stored.predictor.outputs(some.texts, odd)
    assert np.isfinite(found).all() and not np.allclose(found, stored.predictor.outputs(some.texts, some.columns))


@pytest.mark.parametrize("to, name", [("onnx", "frozen"), ("merged", "lora")])
def test_exports_score_the_same(to: str, name: str, base: Base, tmp_path: Path) -> None:
    run_data = mixed()
    run = run_of(name, base, tmp_path / "run", run_data)
    done = export_model(
        tmp_path / "run", run_data.splits.test, tmp_path / "out", to, recorded=run.test, card=lambda done: "a card"
    )
    assert done.drift < 1e-4
    if to == "merged":
        stored = load_model(tmp_path / "out")
        test = run_data.splits.test
        assert np.isfinite(stored.predictor.outputs(test.texts, test.columns)).all()


def test_a_folder_of_sentence_transformers_is_refused(base: Base, tmp_path: Path) -> None:
    run_of("frozen", base, tmp_path / "run", mixed())
    with pytest.raises(UsageError, match="columns beside the text") as error:
        check_format(load_model(tmp_path / "run"), "hf", False)
    assert "--to onnx" in str(error.value.hint)


def test_a_probe_swaps_words_and_leaves_the_other_columns(base: Base, tmp_path: Path) -> None:
    run_data = mixed()
    run_of("frozen", base, tmp_path / "run", run_data)
    values = run_data.splits.test.columns
    cells = {"title": list(values["title"]), "brand": list(values["brand"]), "weight": values["weight"]}
    sold = pa.array(np.asarray(values["sold"]).astype("datetime64[s]"))
    flags = [bool(each) for each in values["in stock"]]
    table = Table(pa.table({**cells, "sold": sold, "in stock": flags}), ("rows.csv",), (len(flags),))
    with pytest.raises(InputError, match="5 columns; of the test rows only texts"):
        trained(probe_models(tmp_path / "run", (TermPair("big", "small"),)))
    found = trained(probe_models(tmp_path / "run", (TermPair("big", "small"), TermPair("oak", "pine")), table))
    assert [effect.rows > 10 for effect in found.pairs] == [True, True]
    moved = found.regimes[0].pairs[0].effects["moved"].value
    assert np.isfinite(moved) and moved > 0


def test_embedded_reads_the_texts_alone(base: Base, tmp_path: Path) -> None:
    rows = table_rows("number", 120)
    baseline: Any = fit_embedded(FitData(task_of("number"), rows, embedder=Embedder(base), columns=COLUMNS)).baseline
    embedder = baseline.features.embedder
    assert embedder.reads_texts_alone
    assert np.allclose(embedder.vectors(rows.texts, rows.columns), Embedder(base).vectors(list(rows.columns["title"])))
    baseline.save(tmp_path)
    loaded = load_baseline(tmp_path)
    assert np.array_equal(loaded.outputs(rows.texts, rows.columns), baseline.outputs(rows.texts, rows.columns))


def test_texts_alone_have_no_extra_part(base: Base, regression: RunData) -> None:
    for name in ("frozen", "scratch"):
        regime = regime_of(name, base)
        assert regression.fitted(regime) is regime
    two = replace(TABLE, text=("title", "brand"), columns=(COLUMNS[0], replace(COLUMNS[1], kind="text")))
    splits = split(table_rows("number"), two)
    run_data = RunData(splits, two, SharedData(splits), 0)
    regime = regime_of("full", base)
    assert run_data.fitted(regime) is regime


def test_a_table_without_text_is_read_as_words_too(base: Base) -> None:
    columns = COLUMNS[1:]
    schema = replace(TABLE, text=NAMES[1:], columns=columns)
    splits = split(table_rows("number"), schema)
    run_data = RunData(splits, schema, SharedData(splits), 0)
    inputs = run_data.fitted(regime_of("full", base)).start.inputs
    assert isinstance(inputs, ColumnInputs) and not isinstance(inputs.of_body, TextColumns)


def test_rows_are_the_rows(base: Base) -> None:
    """Columns of a batch belong to its rows."""
    run_data = mixed()
    rows: Rows = run_data.splits.train
    start = run_data.fitted(regime_of("full", base)).start
    assert start.columns is not None
    examples = run_data.shared.examples(start.inputs, rows, run_data.task.targets(rows))
    batch = examples.take(np.array([7, 3])).inputs
    expected = start.columns.encode(rows.take(np.array([7, 3])).columns).toarray()
    ends = [*batch["joined_offsets"].tolist(), len(batch["joined_features"])]
    for row, (low, high) in enumerate(itertools.pairwise(ends)):
        found = np.zeros(start.columns.width, dtype=np.float32)
        found[batch["joined_features"][low:high].numpy()] = batch["joined_weights"][low:high].numpy()
        assert found == pytest.approx(expected[row])
