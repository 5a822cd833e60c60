"""Train: the schedule, the groups, and what happens when a loss is no number."""

import math
from dataclasses import replace

import pytest
import torch

from tests.tiny import STEPS, examples_of, model_of, stream_of
from warmstart.data.encoding.batches import Batch
from warmstart.data.encoding.examples import BatchStream
from warmstart.errors import TrainingError
from warmstart.models.model import Model
from warmstart.models.pretrained.base import Base
from warmstart.regimes.full import Full
from warmstart.regimes.method import Rates
from warmstart.regimes.regimes import DEFAULTS, Regime, Stage
from warmstart.regimes.starts import Pretrained
from warmstart.training.build_model import start_model
from warmstart.training.config import OPTIMIZERS, SCHEDULES, OptimizerName, ScheduleName, TrainConfig
from warmstart.training.loop import DivergedError, State, start_training, train
from warmstart.training.optimizer import schedule_factor
from warmstart.training.run_data import RunData


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rate_goes_up_over_the_warm_up_and_then_down(name: ScheduleName) -> None:
    config = TrainConfig(steps=100, lr=1.0, schedule=name, warmup=0.1)
    shares = [schedule_factor(i, config) for i in range(100)]
    assert shares[:10] == [(i + 1) / 10 for i in range(10)]
    assert all(0 < share <= 1 for share in shares)
    after = {"linear": 0.5, "cosine": 0.5, "constant": 1.0}[name]
    assert shares[55] == pytest.approx(after)
    assert shares[-1] == pytest.approx({"linear": 1 / 90, "cosine": 0.0003, "constant": 1.0}[name], abs=1e-3)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_shortest_runs_have_a_schedule(name: ScheduleName, steps: int) -> None:
    config = TrainConfig(steps=steps, lr=1.0, schedule=name)
    assert schedule_factor(0, config) == 1.0
    assert all(0 < schedule_factor(i, config) <= 1 for i in range(steps))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(name: OptimizerName, base: Base, regression: RunData) -> None:
    lr = 0.2 if name == "sgd" else 1e-2
    config = replace(STEPS, steps=44, lr=lr, optimizer=name)
    model, rates = model_of(Full(), Pretrained(base).body(0), regression.task)
    stream = stream_of(examples_of(regression, base), config)
    losses = [step.loss for step in train(start_training(model, rates, config), regression.task, stream, config)]
    epoch = stream.order.per_epoch
    assert sum(losses[-epoch:]) < 0.9 * sum(losses[:epoch])


def test_vectors_and_embedding_tables_do_not_decay(base: Base, regression: RunData) -> None:
    model, rates = model_of(Full(), Pretrained(base).body(0), regression.task)
    groups = start_training(model, rates, replace(STEPS, weight_decay=0.1)).optimizer.param_groups
    decaying = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    named = {name for name, p in model.named_parameters() if id(p) in decaying}
    assert "body.encoder.layer.0.output.dense.weight" in named and "head.1.weight" in named
    assert not any("embeddings" in name or "LayerNorm" in name or name.endswith("bias") for name in named)


def test_training_goes_on_from_the_state_s_step(base: Base, regression: RunData) -> None:
    stream = stream_of(examples_of(regression, base))
    whole, rates = model_of(Full(), Pretrained(base).body(0), regression.task)
    straight = list(train(start_training(whole, rates, STEPS), regression.task, stream, STEPS))
    halved, rates = model_of(Full(), Pretrained(base).body(0), regression.task)
    state = start_training(halved, rates, STEPS)
    parts = []
    for step in train(state, regression.task, stream, STEPS):
        parts.append(step)
        if step.index == 1:
            break
    torch.manual_seed(99)  # whatever was drawn in between
    parts += train(state, regression.task, stream, STEPS)
    assert parts == straight
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), halved.parameters(), strict=True))


class Poisoned:
    """Gives batches whose targets are no numbers at some steps."""

    def __init__(self, stream: BatchStream, steps: set[int]):
        self.stream, self.steps = stream, steps

    def at(self, step: int, at_most: int | None = None) -> list[Batch]:
        pieces = self.stream.at(step, at_most)
        return [Batch(p.inputs, p.targets * math.nan) if step in self.steps else p for p in pieces]


def test_a_step_without_a_finite_loss_is_left_out(base: Base, regression: RunData) -> None:
    model, rates = model_of(Full(), Pretrained(base).body(0), regression.task)
    source = Poisoned(stream_of(examples_of(regression, base)), {2})
    state = start_training(model, rates, STEPS)
    seen = []
    for step in train(state, regression.task, source, STEPS):
        seen.append([parameter.detach().clone() for parameter in model.parameters()])
        assert step.finite == (step.index != 2)
    assert len(seen) == STEPS.steps and state.skipped == [2] and state.strikes == 0
    assert all(torch.equal(a, b) for a, b in zip(seen[1], seen[2], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(seen[2], seen[3], strict=True))
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_several_in_a_row_end_training_and_leave_the_weights(base: Base, regression: RunData) -> None:
    model, rates = model_of(Full(), Pretrained(base).body(0), regression.task)
    source = Poisoned(stream_of(examples_of(regression, base)), {1, 2, 3})
    with pytest.raises(DivergedError, match=r"3 steps in a row .* step 3, had loss nan"):
        list(train(start_training(model, rates, STEPS), regression.task, source, STEPS))
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def without_dropout(base: Base, run_data: RunData) -> tuple[Model, Rates]:
    regime = Regime("full", Pretrained(base, dropout=0.0), (Stage(Full()),), DEFAULTS["full"])
    model = start_model(regime, run_data.task, 0)
    return model, Full().rates(model)


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_a_batch_in_pieces_gives_the_same_weights(rows: int, base: Base, regression: RunData) -> None:
    """At dropout 0: it is drawn for each piece. Not with Adam, which blows up a gradient of 1e-9 to a whole step."""
    stream = stream_of(examples_of(regression, base))
    found = []
    plain = replace(STEPS, optimizer="sgd", lr=0.01)
    for config in (plain, replace(plain, micro_batch=rows)):
        model, rates = without_dropout(base, regression)
        losses = [step.loss for step in train(start_training(model, rates, config), regression.task, stream, config)]
        found.append((losses, torch.cat([p.detach().flatten() for p in model.parameters()])))
    assert len(stream.at(1, rows)) == -(-8 // rows)
    assert found[1][0] == pytest.approx(found[0][0], abs=1e-6)
    torch.testing.assert_close(found[1][1], found[0][1], atol=1e-6, rtol=0)


def test_a_step_that_does_not_fit_into_memory_is_done_in_smaller_pieces(
    base: Base, regression: RunData, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = stream_of(examples_of(regression, base))
    config = replace(STEPS, optimizer="sgd", lr=0.01)

    def trained() -> tuple[State, Model]:
        model, rates = without_dropout(base, regression)
        state = start_training(model, rates, config)
        list(train(state, regression.task, stream, config))
        return state, model

    _, whole = trained()
    enough, forward = 4, Model.forward

    def scarce(self: Model, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        if len(inputs["input_ids"]) > enough:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory")
        return forward(self, inputs)

    monkeypatch.setattr(Model, "forward", scarce)
    state, small = trained()
    assert state.micro_batch == 4 and not state.skipped
    for ours, theirs in zip(small.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    enough = 0
    with pytest.raises(TrainingError, match="not even one row at a time"):
        trained()


def test_other_errors_are_not_taken_for_a_lack_of_memory(
    base: Base, regression: RunData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Model, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    model, rates = model_of(Full(), Pretrained(base).body(0), regression.task)
    monkeypatch.setattr(Model, "forward", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        list(
            train(start_training(model, rates, STEPS), regression.task, stream_of(examples_of(regression, base)), STEPS)
        )


def test_the_gradient_is_clipped_to_its_norm(base: Base, regression: RunData) -> None:
    """With SGD without momentum, the first step moves the weights by at most rate times clip."""
    config = replace(STEPS, steps=1, lr=1.0, clip=0.01, optimizer="sgd")
    model, rates = model_of(Full(), Pretrained(base).body(0), regression.task)
    before = [p.detach().clone() for p in model.parameters()]
    stream = stream_of(examples_of(regression, base))
    (step,) = train(start_training(model, rates, config), regression.task, stream, config)
    moved = math.sqrt(sum(((p - b) ** 2).sum().item() for p, b in zip(model.parameters(), before, strict=True)))
    assert step.grad_norm > 0.01
    assert moved == pytest.approx(0.01, rel=1e-3)
