"""Stages: from a start through its stages to the best weights."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from tests.tiny import CLASSES, REGRESSION, carried_out, tiny_draw
from warmstart.models.compile import compile_blocks
from warmstart.models.evaluate import outputs
from warmstart.models.pretrained.base import Base
from warmstart.regimes.discriminative import Discriminative
from warmstart.regimes.frozen import Frozen
from warmstart.regimes.full import Full
from warmstart.regimes.lora import LoRA
from warmstart.regimes.regimes import DEFAULTS, Regime, Stage
from warmstart.regimes.starts import Pretrained
from warmstart.results.bootstrap import mean_score
from warmstart.training import stages
from warmstart.training.build_model import start_model
from warmstart.training.config import TrainConfig
from warmstart.training.early_stopping import BestWeights
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.run_data import RunData
from warmstart.training.stages import FORWARD_SHARE, train_stages, validation_rows
from warmstart.training.validation import evaluation_mode

CONFIG = TrainConfig(steps=12, lr=5e-3, batch_size=8)


def regime(base: Base, *stages: Stage) -> Regime:
    return Regime("some", Pretrained(base), stages, DEFAULTS["full"])


def fresh(run_data: RunData) -> RunData:
    return replace(run_data, shared=SharedData(run_data.splits))


def test_a_frozen_run_on_stored_features_has_the_losses_of_one_without(
    base: Base, regression: RunData, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = regime(base, Stage(Frozen()))
    run_data = fresh(regression)
    stored, _ = carried_out(train_stages(frozen, CONFIG, run_data, evaluations=2))
    again, _ = carried_out(train_stages(frozen, CONFIG, run_data, evaluations=2))  # the features are there already
    monkeypatch.setattr(SharedData, "below", lambda shared, model, inputs: shared.encoded(inputs))
    computed, _ = carried_out(train_stages(frozen, CONFIG, fresh(regression), evaluations=2))
    assert [s.loss for s in stored] == [s.loss for s in again]
    np.testing.assert_allclose([s.loss for s in stored], [s.loss for s in computed], atol=1e-6)


def test_the_model_has_its_body_again_after_training_on_features(base: Base, regression: RunData) -> None:
    _, trained = carried_out(train_stages(regime(base, Stage(Frozen())), CONFIG, fresh(regression), evaluations=2))
    start = Pretrained(base).body(0)
    assert all(torch.equal(a, b) for a, b in zip(trained.model.body.parameters(), start.parameters(), strict=True))
    assert not trained.model.training
    head = trained.model.get_parameter("head.1.weight")
    assert not torch.equal(
        head, start_model(regime(base, Stage(Full())), regression.task, 0).get_parameter("head.1.weight")
    )


def test_the_same_head_for_every_regime_of_a_seed(base: Base, regression: RunData) -> None:
    heads = [
        start_model(regime(base, Stage(method)), regression.task, seed).get_parameter("head.1.weight")
        for method, seed in ((Full(), 0), (LoRA(), 0), (Full(), 1))
    ]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_the_weights_of_the_best_look_are_kept(base: Base, regression: RunData) -> None:
    """A rate that is too large makes later looks worse; the model gives the score of the best one again."""
    config = replace(CONFIG, steps=24, lr=0.1, schedule="constant")
    _, trained = carried_out(train_stages(regime(base, Stage(Full())), config, regression, evaluations=8))
    scores = [point.val_score for point in trained.points]
    assert trained.best_step == trained.points[int(np.argmin(scores))].step
    val = regression.splits.val
    targets = regression.task.targets(val)
    found = outputs(trained.model, regression.shared.examples(base.inputs, val, targets))
    assert mean_score(regression.task.score(found, targets, {})) == pytest.approx(min(scores), abs=1e-6)


def test_training_stops_when_no_look_finds_better(base: Base, regression: RunData) -> None:
    config = replace(CONFIG, steps=60, lr=0.3, schedule="constant", optimizer="adam")
    steps, trained = carried_out(train_stages(regime(base, Stage(Full())), config, regression, evaluations=10))
    assert len(steps) == trained.steps == trained.best_step + 5 * 6 < 60  # half of the looks


def test_a_look_changes_nothing(base: Base, regression: RunData) -> None:
    one, _ = carried_out(train_stages(regime(base, Stage(Full())), CONFIG, regression, evaluations=1))
    many, _ = carried_out(train_stages(regime(base, Stage(Full())), CONFIG, regression, evaluations=3))
    assert one == many


def test_a_keeper_turns_the_score_the_way_of_the_metric(base: Base) -> None:
    for schema, best in ((REGRESSION, 2), (CLASSES, 1)):
        run_data = tiny_draw(schema)
        best_weights = BestWeights(
            start_model(regime(base, Stage(Full())), run_data.task, 0), run_data.task, evaluations=4
        )
        for step, score in enumerate([0.5, 0.9, 0.1, 0.3]):
            best_weights.update(score, step)
        assert best_weights.step == best
        assert best_weights.should_stop == (schema is CLASSES)


def test_the_last_weights_count_unless_others_are_better_by_more_than_noise(base: Base) -> None:
    """After a schedule that has cooled down."""
    for schema, scores in ((REGRESSION, (0.50, 0.52)), (CLASSES, (0.52, 0.50))):
        run_data = tiny_draw(schema)
        for noise, kept in ((0.0, 1), (0.05, 2), (0.01, 1)):
            model = start_model(regime(base, Stage(Full())), run_data.task, 0)
            best_weights = BestWeights(model, run_data.task, evaluations=4, noise=noise)
            best_weights.update(scores[0], 1)
            best_weights.update(scores[1], 2, last=True)
            assert best_weights.step == kept


def test_evaluation_mode_puts_each_module_back(base: Base, regression: RunData) -> None:
    model = start_model(regime(base, Stage(Full())), regression.task, 0)
    model.train()
    model.body.embeddings.eval()
    before = [module.training for module in model.modules()]
    with evaluation_mode(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before


def test_two_stages_share_the_steps_and_the_second_goes_on_from_the_first(base: Base, regression: RunData) -> None:
    """Probe, then all weights."""
    stages = (Stage(Frozen(), share=0.25), Stage(Discriminative(), share=0.75, lr=1e-3))
    steps, trained = carried_out(train_stages(regime(base, *stages), CONFIG, fresh(regression), evaluations=2))
    assert [step.index for step in steps] == [*range(3), *range(9)]
    assert max(step.lr for step in steps[:3]) == 5e-3 and max(step.lr for step in steps[3:]) == 1e-3
    assert [point.step for point in trained.points] == [2, 3, 7, 12]
    alone, _ = carried_out(
        train_stages(regime(base, Stage(Frozen())), replace(CONFIG, steps=3), fresh(regression), evaluations=2)
    )
    assert [s.loss for s in alone] == [s.loss for s in steps[:3]]


def test_what_training_cost_is_counted(base: Base, regression: RunData) -> None:
    costs = {}
    for name, method in (("full", Full()), ("frozen", Frozen())):
        _, trained = carried_out(train_stages(regime(base, Stage(method)), CONFIG, regression, evaluations=1))
        costs[name] = trained
    assert costs["frozen"].trainable == 17 and costs["full"].trainable == costs["full"].total
    assert costs["frozen"].bytes_learned == 4 * 17
    assert 0.3 < costs["frozen"].train_flops / costs["full"].train_flops < 0.5  # forward of three passes


def test_word_dropout_changes_what_is_read_and_computes_the_body_anew(base: Base, regression: RunData) -> None:
    frozen = regime(base, Stage(Frozen()))
    plain, _ = carried_out(train_stages(frozen, CONFIG, regression, evaluations=1))
    dropped, _ = carried_out(train_stages(frozen, replace(CONFIG, word_dropout=0.3), regression, evaluations=1))
    assert [s.loss for s in plain] != [s.loss for s in dropped]


def test_looks_take_at_most_a_quarter_of_the_time_of_training() -> None:
    usual = replace(CONFIG, steps=300, batch_size=16)
    assert validation_rows(1_000, usual, 6) == 500 and validation_rows(80, usual, 6) == 80
    short = replace(usual, steps=100)
    assert validation_rows(1_000, short, 6) * 6 * FORWARD_SHARE == pytest.approx(0.25 * 100 * 16, rel=0.01)
    assert validation_rows(1_000, replace(usual, steps=1), 6) == 50


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # of torch's own, while it compiles
@pytest.mark.parametrize("method", [Full(), LoRA(layers=1), Frozen()])
def test_compiled_blocks_learn_the_same(
    method: Full | LoRA | Frozen, base: Base, regression: RunData, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> object:
        ran.append(1)
        return graph

    monkeypatch.setattr(stages, "compile_blocks", partial(compile_blocks, backend=backend))
    config = replace(CONFIG, steps=4)
    plain, fast = (
        carried_out(train_stages(regime(base, Stage(method)), each, fresh(regression), evaluations=2))
        for each in (config, replace(config, compile=True))
    )
    np.testing.assert_allclose([s.loss for s in fast[0]], [s.loss for s in plain[0]], atol=1e-5)
    assert bool(ran) == (not isinstance(method, Frozen))
    assert fast[1].model.state_dict().keys() == plain[1].model.state_dict().keys()
    assert all(module._compiled_call_impl is None for module in fast[1].model.modules())
