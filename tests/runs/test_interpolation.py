"""Keeping: replay, the pull toward the base, and weights between the base's and the tuned ones."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from tests.language import LanguageLoss, language_model, sentences, stream
from tests.tiny import STEPS, examples_of, model_of, stream_of
from warmstart.errors import UsageError
from warmstart.models.evaluate import outputs
from warmstart.models.model import Model
from warmstart.models.pretrained.base import Base
from warmstart.regimes.full import Full
from warmstart.regimes.lora import LoRA
from warmstart.regimes.regimes import DEFAULTS, Regime, Stage
from warmstart.regimes.starts import Pretrained
from warmstart.request.launch import run_to_end
from warmstart.runs.forgetting_measures import InterpolationPoint, rise
from warmstart.runs.interpolation import (
    INTERPOLATION_WEIGHTS,
    interpolate,
    interpolated_weights,
    interpolation_frontier,
    interpolation_start,
    least_forgetting,
    search_interpolation,
)
from warmstart.runtime.distributed import Distributed
from warmstart.training.checkpoint import Checkpoints
from warmstart.training.config import TrainConfig
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.loop import start_training, train
from warmstart.training.replay import Replay
from warmstart.training.run_data import RunData
from warmstart.training.stages import train_stages

TASK, GENERAL = sentences(40, seed=1, high=20), sentences(30, seed=2, low=20)
REPLAY = Replay(stream(TASK), stream(GENERAL, batch_size=1), share=0.1)


# --- replay -----------------------------------------------------------------------------------------------------------


def test_the_task_s_rows_stay_what_they_are() -> None:
    for step in range(30):
        kept = REPLAY.at(step)[0].inputs["input_ids"]
        assert torch.equal(kept, REPLAY.task.at(step)[0].inputs["input_ids"])


def test_general_rows_are_spread_evenly_and_none_comes_twice_before_all_came() -> None:
    rows = [REPLAY.replayed(step) for step in range(75)]  # 4 rows a step, a tenth of them: 30 rows
    assert {len(some) for some in rows} == {0, 1}
    assert Counter(np.concatenate(rows).tolist()) == dict.fromkeys(range(30), 1)
    again = np.concatenate([REPLAY.replayed(step) for step in range(75, 150)]).tolist()
    assert sorted(again) == list(range(30)) and again != np.concatenate(rows).tolist()


def test_every_row_counts_the_same_and_shares_add_up_to_one() -> None:
    much = replace(REPLAY, share=0.5)
    for step in range(12):
        for at_most in (None, 1, 3):
            pieces = much.at(step, at_most)
            assert sum(piece.share for piece in pieces) == pytest.approx(1)
            each = {round(piece.share / len(piece), 9) for piece in pieces}
            assert len(each) == 1


def test_a_step_s_rows_depend_on_the_step_and_the_seed_alone() -> None:
    fresh = Replay(stream(TASK), stream(GENERAL, batch_size=1), share=0.1)
    later = [fresh.replayed(step).tolist() for step in (40, 7, 41)]
    assert later == [REPLAY.replayed(step).tolist() for step in (40, 7, 41)]
    other = replace(REPLAY, general=stream(GENERAL, batch_size=1, seed=1))
    assert [other.replayed(s).tolist() for s in range(50)] != [REPLAY.replayed(s).tolist() for s in range(50)]


def test_processes_share_the_rows_and_take_as_many_pieces() -> None:
    parts = []
    for rank in range(2):
        world = Distributed(rank, 2)
        parts.append(
            Replay(replace(REPLAY.task, world=world), replace(REPLAY.general, world=world), share=0.3).at(2, at_most=1)
        )
    assert len(parts[0]) == len(parts[1])
    assert sum(piece.share for part in parts for piece in part) / 2 == pytest.approx(1)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_a_share_must_be_one(share: float) -> None:
    with pytest.raises(UsageError, match="general rows was asked for"):
        replace(REPLAY, share=share)


def test_replay_forgets_less() -> None:
    """Tuned on tokens below 20 alone, a model that knew the others unlearns them; not so where some are replayed."""
    config = TrainConfig(steps=60, lr=1e-2, batch_size=4, weight_decay=0.0, schedule="constant")
    known = trained(language_model(), config, stream(GENERAL))
    before = outputs(known, GENERAL)
    rises = []
    for source in (stream(TASK), replace(REPLAY, share=0.25)):
        tuned = language_model()
        tuned.load_state_dict(known.state_dict())
        after = rise(before, outputs(trained(tuned, config, source), GENERAL))
        rises.append(after[:, 0].sum() / after[:, 1].sum())
    assert 0 < rises[1] < 0.5 * rises[0]


def trained(model: Model, config: TrainConfig, source: object) -> Model:
    list(train(start_training(model, Full().rates(model), config), LanguageLoss(), source, config))
    return model.eval()


# --- toward the base --------------------------------------------------------------------------------------------------


def distance(model: nn.Module, base: dict[str, torch.Tensor]) -> float:
    named = model.state_dict()
    return sum(float((named[name] - tensor).square().sum()) for name, tensor in base.items()) ** 0.5


def regime(base: Base, method: object = None) -> Regime:
    return Regime("full", Pretrained(base), (Stage(method or Full()),), DEFAULTS["full"])


def test_a_pull_ends_nearer_to_the_base(base: Base, regression: RunData) -> None:
    start = {f"body.{name}": p.detach() for name, p in Pretrained(base).body(0).named_parameters()}
    config = replace(STEPS, steps=20)
    ends = [
        distance(run_to_end(train_stages(regime(base), replace(config, l2_sp=strength), regression, 1)).model, start)
        for strength in (0.0, 30.0, 1e9)
    ]
    assert ends[0] > 1.2 * ends[1] > 0 and ends[2] == 0


def test_a_pull_is_a_share_of_the_way_back_after_each_step(base: Base, regression: RunData) -> None:
    config = replace(STEPS, steps=1, warmup=0.0, schedule="constant", l2_sp=100.0)
    models = []
    for known in (False, True):
        model, rates = model_of(Full(), Pretrained(base).body(0), regression.task)
        start = {name: p.detach().clone() for name, p in model.named_parameters() if name.startswith("body.")}
        stream = stream_of(examples_of(regression, base), config)
        list(train(start_training(model, rates, config, start if known else {}), regression.task, stream, config))
        models.append(model)
    free, pulled = (dict(model.named_parameters()) for model in models)
    for name, known in start.items():
        expected = torch.lerp(free[name], known, 100.0 * config.lr)
        assert torch.equal(pulled[name], expected), name
    assert torch.equal(free["head.1.weight"], pulled["head.1.weight"])


def test_adapters_are_pulled_towards_adding_nothing(base: Base, regression: RunData) -> None:
    config = replace(STEPS, l2_sp=1e9)
    model = run_to_end(train_stages(regime(base, LoRA(rank=2)), config, regression, 1)).model
    assert all(not p.any() for name, p in model.named_parameters() if ".lora_B." in name)
    assert any(p.any() for name, p in model.named_parameters() if ".lora_A." in name)


@pytest.mark.parametrize("method", [Full(), LoRA(rank=2)], ids=["full", "lora"])
def test_a_pull_goes_on_as_if_never_stopped(method: object, base: Base, regression: RunData, tmp_path: object) -> None:
    config = replace(STEPS, steps=8, l2_sp=20.0, micro_batch=3)

    def begun(checkpoints: Checkpoints | None) -> object:
        run_data = replace(regression, shared=SharedData(regression.splits))
        return train_stages(regime(base, method), config, run_data, 2, checkpoints)

    whole = run_to_end(begun(None)).model.state_dict()
    checkpoints = Checkpoints(tmp_path, "this", every=1e9)
    part = begun(checkpoints)
    for _ in range(3):
        next(part)
    part.close()
    again = run_to_end(begun(checkpoints)).model.state_dict()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in again.items())


# --- between base and tuned -------------------------------------------------------------------------------------------


def tuned_and_base(method: object, base: Base, run_data: RunData) -> tuple[Model, dict[str, torch.Tensor]]:
    body = Pretrained(base).body(0)
    start = {f"body.{name}": tensor.clone() for name, tensor in body.state_dict().items()}
    model, rates = model_of(method, body, run_data.task)
    config = replace(STEPS, lr=1e-2)
    list(
        train(
            start_training(model, rates, config), run_data.task, stream_of(examples_of(run_data, base), config), config
        )
    )
    return model.eval(), start


def test_a_mix_is_exactly_the_base_at_0_and_the_tuned_at_1() -> None:
    base, tuned = {"w": torch.tensor([1.0, -3.3])}, {"w": torch.tensor([2.0, 1e-3])}
    assert torch.equal(interpolated_weights(base, tuned, 0)["w"], base["w"])
    assert torch.equal(interpolated_weights(base, tuned, 1)["w"], tuned["w"])
    assert torch.allclose(interpolated_weights(base, tuned, 0.25)["w"], torch.tensor([1.25, -2.47475]))
    with pytest.raises(UsageError, match=r"a mix of 1.1 is not between"):
        interpolated_weights(base, tuned, 1.1)


@pytest.mark.parametrize("method", [Full(), LoRA(rank=2)], ids=["full", "lora"])
def test_a_sweep_goes_from_the_base_to_the_tuned_and_leaves_no_trace(
    method: object, base: Base, classes: RunData
) -> None:
    model, start = tuned_and_base(method, base, classes)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    examples = examples_of(classes, base)
    batch = examples.take(np.arange(8)).inputs
    with torch.no_grad():
        of_tuned = model.features(batch)
        of_base = Model(Pretrained(base).body(0).eval(), nn.Identity(), base.pooling).features(batch)

    def off() -> float:
        with torch.no_grad():
            return float((model.features(batch) - of_base).norm())

    points = interpolation_frontier(model, start, score=lambda: float(outputs(model, examples).mean()), forgotten=off)
    assert [point.mix for point in points] == list(INTERPOLATION_WEIGHTS)
    assert points[0].forgotten < 1e-5 and points[-1].forgotten == pytest.approx(float((of_tuned - of_base).norm()))
    assert all(later.forgotten > earlier.forgotten for earlier, later in pairwise(points))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_weights_come_back_after_an_error_too(base: Base, classes: RunData) -> None:
    model, start = tuned_and_base(Full(), base, classes)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ZeroDivisionError):
        interpolation_frontier(model, start, score=lambda: 1 / 0, forgotten=lambda: 0.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_adapters_are_mixed_by_their_scale(base: Base, classes: RunData) -> None:
    model, start = tuned_and_base(LoRA(rank=2), base, classes)
    second = {name: p.detach().clone() for name, p in model.named_parameters() if ".lora_B." in name}
    first = {name: p.detach().clone() for name, p in model.named_parameters() if ".lora_A." in name}
    assert interpolation_start(model, start).keys() == second.keys()
    interpolate(model, start, 0.3)
    now = dict(model.named_parameters())
    assert all(torch.allclose(now[name], 0.3 * p) for name, p in second.items()) and any(
        p.any() for p in second.values()
    )
    assert all(torch.equal(now[name], p) for name, p in first.items())


def test_a_new_head_stays_tuned(base: Base, classes: RunData) -> None:
    model, start = tuned_and_base(Full(), base, classes)
    head = model.head[1].weight.detach().clone()
    interpolate(model, start, 0.0)
    assert torch.equal(model.head[1].weight, head)
    assert all(torch.equal(tensor, start[f"body.{name}"]) for name, tensor in model.body.state_dict().items())


def test_another_base_is_an_error(base: Base, classes: RunData) -> None:
    model, _ = tuned_and_base(Full(), base, classes)
    with pytest.raises(UsageError, match="no weight of this base"):
        interpolation_frontier(model, {"body.other": torch.zeros(2)}, lambda: 0.0, lambda: 0.0)


TABLE = "body.embeddings.word_embeddings.weight"
POINTS = (
    InterpolationPoint(0.0, 0.30, 0.00),
    InterpolationPoint(0.4, 0.795, 0.10),
    InterpolationPoint(0.6, 0.82, 0.20),
    InterpolationPoint(0.8, 0.81, 0.20),
    InterpolationPoint(1.0, 0.80, 0.50),
)


@pytest.mark.parametrize(("min_effect", "mix"), [(0.01, 0.4), (0.001, 0.8), (1.0, 0.0)])
def test_the_mix_that_forgets_least_at_the_same_score(min_effect: float, mix: float) -> None:
    assert least_forgetting(POINTS, higher_is_better=True, min_effect=min_effect).mix == mix
    errors = [replace(point, score=-point.score) for point in POINTS]
    assert least_forgetting(errors, higher_is_better=False, min_effect=min_effect).mix == mix


@pytest.mark.parametrize(("holds_from", "mix"), [(0.0, 0.3), (0.35, 0.4), (0.75, 0.8), (1.0, 1.0)])
def test_a_dear_score_is_looked_at_a_few_times(holds_from: float, mix: float, base: Base, classes: RunData) -> None:
    model, start = tuned_and_base(Full(), base, classes)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tuned = float((model.state_dict()[TABLE] - start[TABLE]).norm())
    calls = []

    def score() -> float:
        moved = float((model.state_dict()[TABLE] - start[TABLE]).norm())
        calls.append(moved / tuned)
        return 30.0 if calls[-1] >= holds_from - 1e-4 else 25.0

    points = [InterpolationPoint(i / 10, 1.0, i / 10) for i in range(3, 11)]
    assert search_interpolation(model, start, points, score, higher_is_better=True, min_effect=0.01).mix == mix
    assert len(calls) <= 4 and calls[0] == pytest.approx(1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
