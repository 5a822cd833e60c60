"""Methods: their rates, in figures. What all of them keep is in contract/."""

import pytest
from torch import nn

from tests.tiny import REGRESSION, Tower, model_of, tiny_draw
from warmstart.errors import UsageError
from warmstart.models.pretrained.base import Base
from warmstart.regimes.discriminative import Discriminative
from warmstart.regimes.frozen import Frozen
from warmstart.regimes.full import Full
from warmstart.regimes.lora import LoRA
from warmstart.regimes.regimes import METHODS
from warmstart.regimes.starts import Pretrained


def test_each_layer_learns_slower_than_the_one_above(base: Base) -> None:
    _, rates = model_of(Discriminative(decay=0.5), Pretrained(base).body(0), tiny_draw(REGRESSION).task)
    by_layer = {
        "head.1.weight": 1.0,
        "body.encoder.layer.1.output.dense.weight": 0.5,
        "body.encoder.layer.0.output.dense.weight": 0.25,
        "body.embeddings.word_embeddings.weight": 0.125,
    }
    assert {name: rates[name] for name in by_layer} == by_layer


def test_the_lowest_layers_may_stay_frozen(base: Base) -> None:
    task = tiny_draw(REGRESSION).task
    _, all_rates = model_of(Discriminative(), Pretrained(base).body(0), task)
    _, rates = model_of(Discriminative(frozen=2), Pretrained(base).body(0), task)
    below = ("body.embeddings.", "body.encoder.layer.0.")
    assert rates == {name: rate for name, rate in all_rates.items() if not name.startswith(below)}
    with pytest.raises(UsageError, match="the lowest 3 of 3 layers cannot stay frozen"):
        model_of(Discriminative(frozen=3), Pretrained(base).body(0), task)


def test_the_top_layers_learn_with_the_head() -> None:
    _, rates = model_of(Frozen(unfrozen=2), Tower(10), tiny_draw(REGRESSION).task)
    assert {name.rsplit(".", 2)[0] for name in rates if name.startswith("body")} == {"body.blocks.1", "body.blocks.2"}
    _, probe = model_of(Frozen(), Tower(10), tiny_draw(REGRESSION).task)
    assert probe == {"head.1.weight": 1.0, "head.1.bias": 1.0}


def test_more_layers_than_there_are_is_an_error(base: Base) -> None:
    with pytest.raises(UsageError, match="3 layers cannot be unfrozen: the body has 2 beside its embeddings"):
        model_of(Frozen(unfrozen=3), Pretrained(base).body(0), tiny_draw(REGRESSION).task)


def test_a_body_whose_layers_cannot_be_told_apart_still_learns_whole_or_not_at_all() -> None:
    class Flat(nn.Sequential):
        width = 4

    body = Flat(nn.Linear(4, 4))
    task = tiny_draw(REGRESSION).task
    assert len(model_of(Full(), body, task)[1]) == 4 and len(model_of(Frozen(), body, task)[1]) == 2
    for method in (Discriminative(), Frozen(unfrozen=1), LoRA()):
        with pytest.raises(UsageError, match="layers of Flat cannot be identified"):
            model_of(method, body, task)


def test_adapters_have_their_rank(base: Base) -> None:
    model, rates = model_of(LoRA(rank=3), Pretrained(base).body(0), tiny_draw(REGRESSION).task)
    downward = [model.get_parameter(name) for name in rates if "lora_A" in name]
    assert len(downward) == 12 and {p.shape[0] for p in downward} == {3}


def test_adapters_of_the_top_layers_alone(base: Base) -> None:
    task = tiny_draw(REGRESSION).task
    _, rates = model_of(LoRA(layers=1), Pretrained(base).body(0), task)
    adapted = {name.partition(".lora_")[0] for name in rates if ".lora_" in name}
    assert len(adapted) == 6 and all(name.startswith("body.encoder.layer.1.") for name in adapted)
    for layers in (0, 3):
        with pytest.raises(UsageError, match=f"{layers} layers cannot have adapters: the body has 2"):
            model_of(LoRA(layers=layers), Pretrained(base).body(0), task)


def test_every_method_says_in_words_what_it_does() -> None:
    words = [method.words for method in METHODS.values()]
    assert len(set(words)) == len(words) and all(words)


def test_a_body_that_takes_no_adapters_is_told() -> None:
    """A traceback of PEFT's before."""
    from transformers import AutoModel, MambaConfig

    body = AutoModel.from_config(MambaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, state_size=4))
    with pytest.raises(UsageError, match=r"MambaModel takes no adapters: .*\nhint: use full, or another base"):
        LoRA().prepare(body)
