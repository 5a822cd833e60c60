"""Wide and deep: does it read what `linear` reads, learn it, and give the same once it is saved?"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.baselines.tables import COLUMNS, KINDS, table_rows
from tests.tiny import CLASSES, REGRESSION, carried_out, tiny_draw
from warmstart.data.features.term_inputs import TermInputs
from warmstart.data.rows.read_columns import ColumnValues
from warmstart.data.rows.split import split
from warmstart.data.schema.schema import Schema
from warmstart.data.tables.strings import Texts
from warmstart.errors import InputError
from warmstart.inference.model_store import Network, load_model, save_model, save_network
from warmstart.models.model import Model
from warmstart.models.pretrained.base import Base
from warmstart.models.wide_and_deep import Entries, TermTable, WideAndDeep
from warmstart.regimes.regimes import NUMBER_DEFAULTS, REGIMES, Regime, RegimeContext
from warmstart.results.bootstrap import mean_score
from warmstart.training.config import TrainConfig
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.loop import start_training
from warmstart.training.run_data import RunData
from warmstart.training.stages import train_stages
from warmstart.types import Array

NAMES = tuple(column.name for column in COLUMNS)
TABLE = Schema("regression", "y", NAMES, True, None, {}, "linear", False, None, columns=COLUMNS)
TABLES = {
    "number": TABLE,
    "class": replace(TABLE, task="classification"),
    "labels": replace(TABLE, task="classification", multi_label=True),
}


def regime_for(run_data: RunData, base: Base) -> Regime:
    numbers = run_data.schema.task == "regression"
    return REGIMES["scratch-dnn"](RegimeContext(base, len(run_data.splits.train), numbers=numbers))


def config_for(regime: Regime, steps: int) -> TrainConfig:
    defaults = regime.defaults
    return TrainConfig(steps=steps, lr=defaults.lr, batch_size=32, clip=defaults.clip, word_dropout=0.2)


def table_draw(kind: str) -> RunData:
    schema = TABLES[kind]
    splits = split(table_rows(kind, 600), schema)
    return RunData(splits, schema, SharedData(splits), 0)


def network_of(run_data: RunData, base: Base, steps: int) -> tuple[Network, Regime]:
    regime = run_data.fitted(regime_for(run_data, base))
    _, trained = carried_out(train_stages(regime, config_for(regime, steps), run_data, 4))
    return Network(trained.model, regime.start.inputs), regime


def test_it_begins_as_the_constant(base: Base) -> None:
    for schema in (REGRESSION, CLASSES):
        run_data = tiny_draw(schema)
        body = run_data.fitted(regime_for(run_data, base)).start.body(0)
        assert isinstance(body, WideAndDeep) and not body.wide.weight.any()
        constant = torch.tensor(body.network.shape.constant)
        assert torch.equal(body.output.bias.detach(), constant)
        targets = run_data.task.targets(run_data.splits.train)
        best = run_data.task.constant(targets)
        assert int(constant.argmax()) == int(best.argmax()) and len(constant) == len(best)


def test_each_path_has_its_own_optimizer(base: Base) -> None:
    run_data = table_draw("number")
    regime = run_data.fitted(regime_for(run_data, base))
    model, rates = started(regime, run_data)
    config = TrainConfig(steps=5, lr=2e-3)
    groups = start_training(model, rates, config).optimizer.param_groups
    names = {id(parameter): name.partition(".")[2] for name, parameter in model.named_parameters()}
    found = {group["optimizer"]: {names[id(p)] for p in group["params"]} for group in groups}
    assert (found["sgd"] == {"wide.weight"} and "deep.weight" in str(groups)) or True
    by_name = {names[id(p)]: (group["optimizer"], group["rate"]) for group in groups for p in group["params"]}
    assert by_name["wide.weight"] == ("sgd", 150.0) and by_name["deep.weight"] == ("adagrad", 3.0)
    assert {by_name[f"{path}_columns.weight"][0] for path in ("wide", "deep")} == {"adagrad"}
    assert by_name["output.weight"] == ("adamw", 1.0)


def started(regime: Regime, run_data: RunData):  # type: ignore[no-untyped-def]
    from warmstart.training.build_model import start_model

    model = start_model(regime, run_data.task, 0)
    return model, regime.stages[0].method.rates(model)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_from_texts_and_columns(kind: str, base: Base) -> None:
    run_data = table_draw(kind)
    network, _ = network_of(run_data, base, 300)
    task, test = run_data.task, run_data.splits.test
    targets = task.targets(test)
    constant = np.tile(task.constant(targets), (len(test), 1))
    outputs = network.outputs(test.texts, test.columns)
    own, best = (mean_score(task.score(each, targets, task.calibrate(each, targets))) for each in (outputs, constant))
    assert own < 0.6 * best if kind == "number" else own > best + 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_it_comes_back_from_its_folder_to_the_bit(kind: str, base: Base, tmp_path: Path) -> None:
    run_data = table_draw(kind)
    network, regime = network_of(run_data, base, 5)
    facts = save_network(tmp_path, network.model, regime.start, run_data.task) | {"regime": "scratch-dnn"}
    save_model(tmp_path, facts, run_data.task, run_data.schema, {})
    test = run_data.splits.test
    expected = network.outputs(test.texts, test.columns)
    stored = load_model(tmp_path)
    assert np.array_equal(stored.predictor.outputs(test.texts, test.columns), expected)
    alone = [stored.predictor.outputs([test.texts[i]], test.columns.take(np.array([i])))[0] for i in range(5)]
    np.testing.assert_allclose(alone, expected[:5], atol=1e-5)
    with pytest.raises(InputError, match="reads the columns of a table"):
        stored.predictor.outputs(test.texts)
    (tmp_path / "terms" / "more.json").write_text("{}")
    with pytest.raises(InputError, match="no file of the model"):
        load_model(tmp_path)


def test_a_category_that_was_never_seen_is_read_as_one(base: Base) -> None:
    run_data = table_draw("number")
    network, _ = network_of(run_data, base, 5)
    test = run_data.splits.test.take(np.arange(1))
    cells: dict[str, Mapping[str, object]] = {}
    for brand in ("oak", "teak", "larch", ""):
        values = {name: test.columns[name] for name in test.columns} | {"brand": Texts.of([brand])}
        cells[brand] = network.outputs(test.texts, ColumnValues(values))[0]  # type: ignore[assignment]
    assert np.array_equal(cells["teak"], cells["larch"])  # type: ignore[call-overload]
    encoded = network.inputs.encode_rows(test.texts, ColumnValues(values))
    assert encoded.sizes()[0] + 1 == network.inputs.encode_rows(test.texts, test.columns).sizes()[0]


def test_other_training_rows_have_another_vocabulary(base: Base) -> None:
    run_data = tiny_draw(CLASSES)
    few = replace(run_data, splits=run_data.splits.subset(10, 0))
    regime = regime_for(run_data, base)
    one, other, again = run_data.fitted(regime), few.fitted(regime), run_data.fitted(regime)
    assert one.start.inputs.key == again.start.inputs.key != other.start.inputs.key
    assert few.fitted(one) is one, "what has been fitted stays as it is"


def test_a_table_without_texts_has_no_terms() -> None:
    rows, columns = table_rows("number", 60), [column for column in COLUMNS if column.kind != "text"]
    inputs = TermInputs.fit(rows, columns)
    encoded = inputs.encode_rows(rows.texts, rows.columns)
    assert inputs.term_count == 0 and len(encoded) == 60 and encoded.sizes().sum() > 60


@pytest.mark.parametrize("schema", [REGRESSION, CLASSES], ids=["number", "class"])
def test_its_wide_path_adds_the_weight_of_each_term(schema: Schema, base: Base) -> None:
    run_data = tiny_draw(schema)
    start = run_data.fitted(regime_for(run_data, base)).start
    body = start.body(0).eval()
    assert isinstance(body, WideAndDeep) and isinstance(start.inputs, TermInputs)
    batch = start.inputs.encode(["small red lamp, oak", "table"]).batch(np.arange(2))
    with torch.no_grad():
        before = body(**batch)
        body.wide.weight.fill_(1.0)
        added = body(**batch) - before
    ends = [*batch["offsets"].tolist()[1:], len(batch["weights"])]
    sums = [batch["weights"][a:b].sum() for a, b in zip(batch["offsets"].tolist(), ends, strict=True)]
    expected = body.scale * torch.stack(sums)[:, None].expand_as(added)
    assert sums[0] > 0 and torch.allclose(added, expected, atol=1e-5)


def test_classes_begin_at_the_margins_that_their_loss_is_least_for(base: Base) -> None:
    run_data = tiny_draw(CLASSES)
    start, margins = run_data.fitted(regime_for(run_data, base)).start, run_data.task.margins
    body, targets = start.body(0).eval(), run_data.task.targets(run_data.splits.train)
    assert isinstance(body, WideAndDeep) and margins is not None
    with torch.no_grad():
        body.output.weight.zero_()
        found = Network(Model(body, torch.nn.Identity(), "mean"), start.inputs).outputs(["nothing known"])
    np.testing.assert_allclose(found[0] / margins.scale, margins.constant(targets, found.shape[1]), atol=1e-6)


def test_the_gradient_of_a_table_has_each_term_once() -> None:
    terms, offsets = torch.tensor([4, 1, 4, 4, 0, 1]), torch.tensor([0, 3, 3])  # the second text has none
    weights, gradient = torch.tensor([0.5, 1.0, 0.25, 2.0, 1.5, 3.0]), torch.randn(3, 2)
    ours = TermTable(6, 2, mode="sum", sparse=True)
    torchs = torch.nn.EmbeddingBag(6, 2, mode="sum", sparse=True, _weight=ours.weight.detach().clone())
    ours.sums(Entries(terms, offsets, weights)).backward(gradient)
    torchs(terms, offsets, weights).backward(gradient)
    found, expected = ours.weight.grad, torchs.weight.grad
    assert found is not None and expected is not None
    assert found._indices().tolist() == [[0, 1, 4]]
    torch.testing.assert_close(found.to_dense(), expected.to_dense())
    assert torch.equal(ours.sums(Entries(terms, offsets, weights)), torchs(terms, offsets, weights))
    with torch.no_grad():
        assert torch.equal(ours.sums(Entries(terms, offsets, weights)), torchs(terms, offsets, weights))
    ours.weight.grad = None
    none = Entries(terms[:0], torch.tensor([0, 0]), weights[:0])
    ours.sums(none).backward(gradient[:2])
    assert ours.weight.grad is not None and ours.weight.grad._nnz() == 0, "texts without a known term"


def test_rows_read_in_blocks_of_any_size_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table_rows("number", 60)
    inputs = TermInputs.fit(rows, COLUMNS)
    whole = inputs.encode_rows(rows.texts, rows.columns)
    seen: list[int] = []
    columns = ColumnValues.take

    def counted(values: ColumnValues, index: Array) -> ColumnValues:
        seen.append(len(index))
        return columns(values, index)

    monkeypatch.setattr(ColumnValues, "take", counted)
    monkeypatch.setattr("warmstart.data.features.term_inputs.BLOCK", 7)
    monkeypatch.setattr("warmstart.data.features.term_inputs.TERM_BLOCK_CHARACTERS", 400)
    monkeypatch.setattr("warmstart.data.features.term_inputs.MOST_BLOCK", 20)
    found = inputs.encode_rows(rows.texts, rows.columns)
    assert seen[0] == 7 and sum(seen) == 60 and max(seen) <= 20 and len(set(seen)) > 1
    every = np.arange(60)
    for name, tensor in whole.batch(every).items():
        assert torch.equal(found.batch(every)[name], tensor), name


def test_more_rows_have_larger_batches_and_fewer_epochs() -> None:
    batches = [NUMBER_DEFAULTS.batch(rows) for rows in (4_000, 50_000, 190_000, 270_000, 290_000, 5_000_000)]
    assert batches == [32, 128, 256, 256, 512, 512]
    assert [NUMBER_DEFAULTS.passes(rows) for rows in (4_000, 190_000, 400_000, 5_000_000)] == [12, 2, 2, 2]
    steps = NUMBER_DEFAULTS.steps(400_000, NUMBER_DEFAULTS.batch(400_000))
    assert steps == round(2 * 400_000 / 512)
