"""Train: the schedule, the groups, and what happens when a loss is no number."""

import math
from dataclasses import replace

import pytest
import torch

from tests.tiny import STEPS, examples_of, model_of, stream_of
from warmstart.errors import TrainingError
from warmstart.methods import Full
from warmstart.stages import Draw
from warmstart.starts import Base, Pretrained
from warmstart.tasks import Batch
from warmstart.train import OPTIMIZERS, SCHEDULES, OptimizerName, ScheduleName, TrainConfig, begin, schedule, train


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rate_goes_up_over_the_warm_up_and_then_down(name: ScheduleName) -> None:
    config = TrainConfig(steps=100, lr=1.0, schedule=name, warmup=0.1)
    shares = [schedule(i, config) for i in range(100)]
    assert shares[:10] == [(i + 1) / 10 for i in range(10)]
    assert all(0 < share <= 1 for share in shares)
    after = {"linear": 0.5, "cosine": 0.5, "constant": 1.0}[name]
    assert shares[55] == pytest.approx(after)
    assert shares[-1] == pytest.approx({"linear": 1 / 90, "cosine": 0.0003, "constant": 1.0}[name], abs=1e-3)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_shortest_runs_have_a_schedule(name: ScheduleName, steps: int) -> None:
    config = TrainConfig(steps=steps, lr=1.0, schedule=name)
    assert schedule(0, config) == 1.0
    assert all(0 < schedule(i, config) <= 1 for i in range(steps))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(name: OptimizerName, base: Base, regression: Draw) -> None:
    lr = 0.05 if name == "sgd" else 1e-2
    config = replace(STEPS, steps=40, lr=lr, optimizer=name)
    model, rates = model_of(Full(), Pretrained(base).body(0), regression.task)
    stream = stream_of(examples_of(regression, base), config)
    losses = [step.loss for step in train(begin(model, rates, config), regression.task, stream, config)]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


def test_vectors_and_embedding_tables_do_not_decay(base: Base, regression: Draw) -> None:
    model, rates = model_of(Full(), Pretrained(base).body(0), regression.task)
    groups = begin(model, rates, replace(STEPS, weight_decay=0.1)).optimizer.param_groups
    decaying = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    named = {name for name, p in model.named_parameters() if id(p) in decaying}
    assert "body.encoder.layer.0.output.dense.weight" in named and "head.1.weight" in named
    assert not any("embeddings" in name or "LayerNorm" in name or name.endswith("bias") for name in named)


def test_training_goes_on_from_the_state_s_step(base: Base, regression: Draw) -> None:
    stream = stream_of(examples_of(regression, base))
    whole, rates = model_of(Full(), Pretrained(base).body(0), regression.task)
    straight = list(train(begin(whole, rates, STEPS), regression.task, stream, STEPS))
    halved, rates = model_of(Full(), Pretrained(base).body(0), regression.task)
    state = begin(halved, rates, STEPS)
    parts = []
    for step in train(state, regression.task, stream, STEPS):
        parts.append(step)
        if step.index == 1:
            break
    torch.manual_seed(99)  # whatever was drawn in between
    parts += train(state, regression.task, stream, STEPS)
    assert parts == straight
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), halved.parameters(), strict=True))


def test_a_loss_that_is_no_number_ends_training_and_leaves_the_weights(base: Base, regression: Draw) -> None:
    model, rates = model_of(Full(), Pretrained(base).body(0), regression.task)
    stream = stream_of(examples_of(regression, base))

    class Poisoned:
        def at(self, step: int) -> Batch:
            batch = stream.at(step)
            return batch if step < 2 else Batch(batch.inputs, batch.targets * math.nan)

    steps = []
    with pytest.raises(TrainingError, match=r"the loss became nan .* at step 2"):
        for step in train(begin(model, rates, STEPS), regression.task, Poisoned(), STEPS):
            steps.append(step)
    assert [step.index for step in steps] == [0, 1]
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_the_gradient_is_clipped_to_its_norm(base: Base, regression: Draw) -> None:
    """With SGD without momentum, the first step moves the weights by at most rate times clip."""
    config = replace(STEPS, steps=1, lr=1.0, clip=0.01, optimizer="sgd")
    model, rates = model_of(Full(), Pretrained(base).body(0), regression.task)
    before = [p.detach().clone() for p in model.parameters()]
    stream = stream_of(examples_of(regression, base))
    (step,) = train(begin(model, rates, config), regression.task, stream, config)
    moved = math.sqrt(sum(((p - b) ** 2).sum().item() for p, b in zip(model.parameters(), before, strict=True)))
    assert step.grad_norm > 0.01
    assert moved == pytest.approx(0.01, rel=1e-3)
