"""Regimes: does every name make what its row says?"""

from dataclasses import replace

import pytest
import torch

from warmstart.data.schema.columns import Column
from warmstart.errors import UsageError
from warmstart.models.image_network import ImageNetworkConfig
from warmstart.models.pretrained.base import Base
from warmstart.models.pretrained.image_base import ImageBase
from warmstart.regimes.defaults import IMAGE_DEFAULTS, RegimeDefaults
from warmstart.regimes.full import Full
from warmstart.regimes.regimes import (
    ALIASES,
    DEFAULT_REGIMES,
    DEFAULTS,
    DESCRIPTIONS,
    LANGUAGE_DEFAULTS,
    READ_WITH_BASE,
    REGIMES,
    WITHOUT_TRAINING,
    Regime,
    RegimeContext,
    Stage,
    default_for,
    known_regime,
)
from warmstart.regimes.starts import Pretrained


@pytest.mark.parametrize("name", REGIMES)
def test_every_regime_is_made_from_a_base(name: str, base: Base) -> None:
    for defaults, language in ((DEFAULTS, False), (LANGUAGE_DEFAULTS, True)):
        if name in defaults:
            regime = REGIMES[name](RegimeContext(base, 1000, language=language))
            assert regime.name == name and regime.defaults is defaults[name]
            assert regime.start.family == ("scratch" if "scratch" in name or "self" in name else "fine-tuned")
            assert bool(regime.words) == (name != "zero-shot")


def test_every_name_has_its_words_and_its_habits() -> None:
    assert (
        DESCRIPTIONS.keys() == {*WITHOUT_TRAINING, *REGIMES}
        and DEFAULTS.keys() | LANGUAGE_DEFAULTS.keys() | IMAGE_DEFAULTS.keys() | set(READ_WITH_BASE) == REGIMES.keys()
    )
    assert set(DEFAULT_REGIMES) <= DESCRIPTIONS.keys() and set(ALIASES.values()) <= REGIMES.keys()


def test_an_alias_is_known_and_a_wrong_name_gets_a_hint() -> None:
    assert known_regime("differential") == "discriminative" and known_regime("linear") == "linear"
    with pytest.raises(UsageError, match=r"regime 'laura' is not known"):
        known_regime("laura")


def test_shares_that_do_not_make_a_whole_are_refused(base: Base) -> None:
    with pytest.raises(UsageError, match=r"the stages of regime 'half' take 50% of the steps"):
        Regime("half", Pretrained(base), (Stage(Full(), share=0.5),), DEFAULTS["full"])


def test_steps_follow_from_epochs_but_are_no_fewer_than_the_floor() -> None:
    defaults = RegimeDefaults(lr=1e-3, epochs=4, floor=300)
    assert defaults.steps(100, 16) == 300 and defaults.steps(4000, 32) == 500
    assert defaults.steps(4000, 32, length=0.5) == 250 and defaults.steps(10, 16, length=1e-9) == 1
    assert (defaults.batch(1999), defaults.batch(2000)) == (16, 32)
    assert RegimeDefaults(lr=1, epochs=1, batch_size=7).batch(9) == 7


def test_the_small_network_for_images_takes_more_steps_of_few_rows_and_fewer_passes_over_many() -> None:
    own = IMAGE_DEFAULTS["scratch-cnn"]
    assert [own.batch(rows) for rows in (500, 2_000, 8_000, 60_000)] == [32, 32, 64, 64]
    assert own.passes(2_000) == 30 and own.passes(60_000) == 10 and 10 < own.passes(20_000) < 30
    assert own.steps(500, 32) == 1_000 and own.steps(2_000, 32) == 1_875


def test_networks_of_convolutions_learn_faster_than_transformers_on_images(base: Base) -> None:
    image = ImageBase("tiny", "", kind="image", network=ImageNetworkConfig("efficientnet-lite0", 64))
    shape = {"num_attention_heads": 2}
    transformer = replace(image, network=ImageNetworkConfig("transformers", 64, shape))
    rates = [REGIMES["full"](RegimeContext(each, 1000)).defaults.lr for each in (base, transformer, image)]
    assert rates == [2e-4, 1e-4, 2e-3]
    words = [REGIMES["discriminative"](RegimeContext(each, 1000)).words for each in (base, image)]
    assert "each layer 0.8 times" in words[0] and "each layer 0.9 times" in words[1]


def test_the_init_and_the_dropout_reach_the_start(base: Base) -> None:
    made = REGIMES["scratch"](RegimeContext(base, 100, init="normal", dropout=0.3)).start.body(0)
    assert {m.p for m in made.modules() if isinstance(m, torch.nn.Dropout)} == {0.3}
    assert made.get_parameter("encoder.layer.0.output.dense.weight").std().item() == pytest.approx(0.02, rel=0.2)


def test_trees_are_compared_by_default_where_there_are_columns_for_them() -> None:
    text, category, number = (Column(kind, kind) for kind in ("text", "category", "number"))
    assert default_for("regression") == default_for("regression", (text, text)) == DEFAULT_REGIMES
    assert default_for("classification", (category,)) == DEFAULT_REGIMES
    for columns in ((text, number), (text, category)):
        assert set(default_for("regression", columns)) == {*DEFAULT_REGIMES, "boosted"}
    for columns in ((number,), (category, category)):  # nothing for a base to read, but for one that was named
        assert default_for("regression", columns) == ("constant", "linear", "boosted", "scratch-dnn", "ensemble")
        assert set(default_for("regression", columns, named_base=True)) == {*DEFAULT_REGIMES, "boosted"}
    assert "boosted" not in default_for("summarise", (number,))
