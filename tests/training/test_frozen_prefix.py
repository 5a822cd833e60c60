"""Prefix: is what is shared the same as what each run would have computed for itself?"""

import math

import numpy as np
import pytest
import torch

from tests.tiny import REGRESSION, examples_of, tiny_splits
from warmstart.data.encoding.inputs import Encoded, Tokens
from warmstart.models.evaluate import _batches, outputs
from warmstart.models.model import Model
from warmstart.models.pretrained.base import Base
from warmstart.regimes.frozen import Frozen
from warmstart.regimes.starts import Pretrained
from warmstart.tasks.head import linear_head
from warmstart.training.event import OutOfTime
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.loop import set_trainable
from warmstart.training.run_data import RunData


def probe_of(base: Base, unfrozen: int) -> Model:
    method = Frozen(unfrozen)
    model = Model(Pretrained(base).body(0), linear_head(16, 1, 0))
    set_trainable(model, method.rates(model))
    return model.eval()


def test_stored_features_are_what_the_body_gives(base: Base, regression: RunData) -> None:
    model, shared = probe_of(base, unfrozen=0), SharedData(regression.splits)
    found, encoded = shared.below(model, base.inputs), shared.encoded(base.inputs)
    index = np.array([5, 0, 119])
    with torch.no_grad():
        expected = model.features(encoded.batch(index))
    batch = found.batch(index)
    torch.testing.assert_close(batch["below"], expected, atol=1e-6, rtol=0)
    assert batch.keys() == {"below"}
    assert len(found) == 120 and found.sizes().tolist() == encoded.sizes().tolist()
    assert shared.below(model, base.inputs) is found


def test_stored_hidden_states_are_what_the_blocks_give_and_zero_where_there_is_no_token(
    base: Base, regression: RunData
) -> None:
    model, shared = probe_of(base, unfrozen=1), SharedData(regression.splits)
    encoded = shared.encoded(base.inputs)
    index = np.array([5, 0, 119])
    inputs = encoded.batch(index)
    with torch.no_grad():
        expected = model.body(**inputs, output_hidden_states=True).hidden_states[1]
    batch = shared.below(model, base.inputs).batch(index)
    assert batch.keys() == {*inputs, "below"}
    mask = inputs["attention_mask"].unsqueeze(-1)
    assert not mask.all()
    torch.testing.assert_close(batch["below"], expected * mask, atol=1e-6, rtol=0)


def test_reading_stops_at_the_deadline_and_may_go_on_later(base: Base, regression: RunData) -> None:
    model, shared = probe_of(base, unfrozen=0), SharedData(regression.splits, deadline=-math.inf)
    with pytest.raises(OutOfTime):
        shared.below(model, base.inputs)
    shared.deadline = math.inf
    assert len(shared.below(model, base.inputs)) == 120 and shared.reading_seconds > 0


def test_rows_are_read_once_for_each_architecture(base: Base) -> None:
    splits = tiny_splits(REGRESSION)
    shared = SharedData(splits)
    first = shared.encoded(base.inputs)
    assert shared.encoded(Tokens(base.location, base.inputs.max_length)) is first
    other: Encoded = shared.encoded(Tokens(base.location, 5))
    assert other is not first and other.sizes().max() == 5


def test_examples_are_the_rows_that_were_asked_for(base: Base, regression: RunData) -> None:
    test = regression.splits.test
    examples = regression.shared.examples(base.inputs, test, regression.task.targets(test))
    expected = base.inputs.encode(test.texts)
    some = np.array([3, 1])
    assert examples.take(some).inputs["input_ids"].tolist() == expected.batch(some)["input_ids"].tolist()
    assert examples.take(some).targets.tolist() == regression.task.targets(test)[some].tolist()
    assert examples.sizes().tolist() == expected.sizes().tolist()


def test_outputs_come_in_the_order_of_the_rows(base: Base, regression: RunData) -> None:
    model = Model(Pretrained(base).body(0), linear_head(16, 1, 0)).train()
    examples = examples_of(regression, base)
    found = outputs(model, examples)
    with torch.no_grad():
        one_by_one = [model.eval()(examples.take(np.array([i])).inputs)[0].tolist() for i in range(len(examples))]
    np.testing.assert_allclose(found, one_by_one, atol=1e-6)
    assert found.dtype == np.float32


def test_a_cpu_reads_few_tokens_at_once() -> None:
    of_cpu, of_gpu = (_batches(np.full(64, 256), torch.device(kind)) for kind in ("cpu", "cuda"))
    assert [len(rows) for rows in of_cpu] == [8] * 8 and [len(rows) for rows in of_gpu] == [64]
