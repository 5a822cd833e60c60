"""Training only the used rows of the token table changes nothing but the time."""

import copy
from dataclasses import replace

import pytest
import torch

from tests.tiny import STEPS, examples_of, model_of, stream_of
from warmstart.data.encoding.batches import WordDropout
from warmstart.models.dnn import Size
from warmstart.models.pretrained.base import Base
from warmstart.models.used_embeddings import UsedRows, only_used_rows, table_name
from warmstart.regimes.frozen import Frozen
from warmstart.regimes.full import Full
from warmstart.regimes.starts import Pretrained, dnn
from warmstart.training.config import OptimizerName
from warmstart.training.loop import set_trainable, start_training, train
from warmstart.training.run_data import RunData
from warmstart.training.stages import StageData


def wide(base: Base) -> torch.nn.Module:
    """The tiny base with three times as many tokens as any text uses."""
    body = Pretrained(base).body(0)
    table = body.get_input_embeddings()  # type: ignore[operator]
    body.resize_token_embeddings(3 * table.num_embeddings, mean_resizing=False)  # type: ignore[operator]
    return body


def used_in(run_data: RunData, base: Base) -> torch.Tensor:
    tokens = run_data.shared.encoded(base.inputs).tokens.values  # type: ignore[attr-defined]
    return torch.unique(torch.from_numpy(tokens.astype("int64")))


def test_the_weights_are_those_of_training_the_whole_table(base: Base, classes: RunData) -> None:
    body = wide(base)
    whole, rates = model_of(Full(), copy.deepcopy(body), classes.task)
    part, _ = model_of(Full(), copy.deepcopy(body), classes.task)
    source = stream_of(examples_of(classes, base))
    losses = [step.loss for step in train(start_training(whole, rates, STEPS), classes.task, source, STEPS)]
    set_trainable(part, rates)
    with only_used_rows(part.body, used_in(classes, base)):
        assert isinstance(part.body.get_input_embeddings(), UsedRows)  # type: ignore[operator]
        again = [step.loss for step in train(start_training(part, rates, STEPS), classes.task, source, STEPS)]
    assert again == pytest.approx(losses, abs=1e-6)
    for (name, one), (_, other) in zip(whole.named_parameters(), part.named_parameters(), strict=True):
        torch.testing.assert_close(one, other, msg=name, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_so_are_those_of_the_network_on_hashed_words(optimizer: OptimizerName, classes: RunData) -> None:
    start, config = dnn(Size(features=2000, width=8)), replace(STEPS, optimizer=optimizer)
    examples = classes.shared.examples(start.inputs, classes.splits.train, classes.task.targets(classes.splits.train))
    whole, rates = model_of(Full(), start.body(0), classes.task)
    part, _ = model_of(Full(), copy.deepcopy(whole.body), classes.task)
    part.head.load_state_dict(whole.head.state_dict())
    dropped = WordDropout(0.1, seed=0)
    source = replace(stream_of(examples), dropout=dropped)
    losses = [step.loss for step in train(start_training(whole, rates, config), classes.task, source, config)]
    set_trainable(part, rates)
    used = StageData(part, examples, examples).used_tokens()
    with only_used_rows(part.body, used):
        assert len(part.body.first.bag.weight) == len(used) < 1000
        again = [step.loss for step in train(start_training(part, rates, config), classes.task, source, config)]
    assert again == pytest.approx(losses, abs=1e-6)
    for (name, one), (_, other) in zip(whole.named_parameters(), part.named_parameters(), strict=True):
        torch.testing.assert_close(one, other, msg=name, atol=1e-6, rtol=1e-5)


def test_a_frozen_table_and_a_table_in_full_use_stay_as_they_are(base: Base, classes: RunData) -> None:
    model, rates = model_of(Frozen(unfrozen=1), wide(base), classes.task)
    set_trainable(model, rates)
    with only_used_rows(model.body, used_in(classes, base)):
        assert not isinstance(model.body.get_input_embeddings(), UsedRows)  # type: ignore[operator]
    small, all_rates = model_of(Full(), Pretrained(base).body(0), classes.task)
    set_trainable(small, all_rates)
    table = small.body.get_input_embeddings()  # type: ignore[operator]
    with only_used_rows(small.body, torch.arange(table.num_embeddings)):
        assert small.body.get_input_embeddings() is table  # type: ignore[operator]


def test_the_whole_table_is_back_after_an_interruption(base: Base, classes: RunData) -> None:
    model, rates = model_of(Full(), wide(base), classes.task)
    set_trainable(model, rates)
    name = table_name(model.body)
    with pytest.raises(KeyboardInterrupt), only_used_rows(model.body, used_in(classes, base)):
        raise KeyboardInterrupt
    assert type(model.body.get_submodule(name)) is torch.nn.Embedding


def test_a_table_whose_weights_an_output_layer_shares_is_left_alone(base: Base) -> None:
    body = Pretrained(base).body(0)
    table = body.get_input_embeddings()  # type: ignore[operator]
    output = torch.nn.Linear(16, table.num_embeddings, bias=False)
    output.weight = table.weight
    body.output = output
    assert table_name(body) == ""
