"""Retention: are the measures what their formulas say, and zero where nothing was forgotten?"""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.language import KINDS, VOCABULARY, examples_of, language_model, sentences
from warmstart.data.encoding.examples import Examples
from warmstart.models.evaluate import outputs
from warmstart.models.model import Model
from warmstart.runs import forgetting_measures
from warmstart.runs.forgetting_measures import (
    InterpolationPoint,
    Retention,
    cka_distance,
    drift,
    features,
    kl_divergence,
    language_retention,
    progress_lost,
    rise,
)
from warmstart.training.general_text import sample_from_base


def moved(model: Model, size: float = 0.1, kind: str = "llama") -> Model:
    """The same model with noise on every weight."""
    other = language_model(kind)
    with torch.no_grad():
        for mine, its in zip(other.body.parameters(), model.body.parameters(), strict=True):
            mine.copy_(its + size * torch.randn_like(its))
    return other


def said_by(base: Model) -> Examples:
    """General text of which the base knows more than a guess does."""
    return examples_of(sample_from_base(base, first=1, texts=30, tokens=10))


def by_hand(base: Model, tuned: Model, examples: Examples) -> np.ndarray:
    """KL of each text, one text at a time, with all its logits at once."""
    found = []
    for i in range(len(examples)):
        batch = examples.take(np.array([i])).inputs
        given = {name: batch[name] for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            both = [model.head.logits(model.body(**given).last_hidden_state)[0, :-1] for model in (base, tuned)]
        expected, mine = (logits.log_softmax(-1) for logits in both)
        found.append([functional.kl_div(mine, expected, log_target=True, reduction="sum").item(), len(mine)])
    return np.array(found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("logits", [1 << 24, 3 * VOCABULARY], ids=["at once", "three tokens at a time"])
def test_kl_is_that_of_all_logits_at_once(kind: str, logits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting_measures, "LOGITS", logits)
    base = language_model(kind)
    tuned, examples = moved(base, kind=kind), sentences(40)
    found = kl_divergence(base, tuned, examples)
    assert np.allclose(found, by_hand(base, tuned, examples), rtol=1e-4, atol=1e-5)
    assert (found[:, 0] > 0).all() and kl_divergence(base, base, examples)[:, 0].max() == 0


def test_never_more_logits_at_once_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting_measures, "LOGITS", 3 * VOCABULARY)
    base, sizes = language_model(), []
    whole = base.head.logits
    base.head.logits = lambda hidden: sizes.append(len(hidden)) or whole(hidden)
    kl_divergence(base, language_model(seed=1), sentences(20))
    assert max(sizes) == 3


def test_nothing_is_forgotten_by_the_base_itself() -> None:
    base = language_model()
    found = language_retention(base, base, sentences(), said_by(base))
    assert (found.nats, found.kl, found.progress_lost, found.drift) == (0, 0, 0, None)


def test_random_weights_have_lost_all_progress() -> None:
    base, random = language_model(), language_model(seed=7)
    general = said_by(base)
    found = language_retention(base, random, sentences(), general, random)
    assert found.progress_lost == pytest.approx(1)
    assert found.nats is not None and found.kl is not None and found.kl > 0
    before, after = outputs(base, general), outputs(random, general)
    assert found.nats == pytest.approx(after[:, 0].sum() / after[:, 1].sum() - before[:, 0].sum() / before[:, 1].sum())


def test_half_the_way_to_a_uniform_guess_is_half_the_progress() -> None:
    tokens = np.array([10.0, 30.0])
    before = np.stack([1.0 * tokens, tokens, 4 * tokens], axis=1)
    after = before + np.stack([(math.log(VOCABULARY) - 1) / 2 * tokens, 0 * tokens, 0 * tokens], axis=1)
    lost = Retention.of({"nats": rise(before, after), "progress_lost": progress_lost(before, after, VOCABULARY)})
    assert lost.progress_lost == pytest.approx(0.5) and lost.nats == pytest.approx((math.log(VOCABULARY) - 1) / 2)


def test_a_base_no_better_than_a_guess_has_no_progress_to_lose() -> None:
    before = np.array([[100.0, 10.0, 40.0]])
    assert Retention.of({"progress_lost": progress_lost(before, before, VOCABULARY)}).progress_lost is None


def test_without_general_text_only_the_divergence_is_known() -> None:
    base = language_model()
    found = language_retention(base, moved(base), sentences())
    assert found.kl is not None and (found.nats, found.progress_lost, found.drift) == (None, None, None)
    written = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert written["nats"] is None and len(written["by_text"]["kl"]["value"]) == 12 and "nats" not in written["by_text"]


def test_drift_of_the_same_features_is_zero_and_of_unrelated_ones_about_one() -> None:
    generator = np.random.default_rng(0)
    some, other = generator.normal(size=(2, 200, 384)).astype(np.float32)
    same, apart = drift(some, some), drift(some, other)
    assert (same.drift, same.drift_cka) == (0, 0)
    assert apart.drift == pytest.approx(1, abs=0.02) and apart.drift_cka == pytest.approx(1, abs=0.05)


def test_rotation_and_scale_change_the_direction_but_not_the_shape() -> None:
    some = np.random.default_rng(0).normal(size=(100, 8))
    turned, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))
    found = drift(some, 3 * some @ turned)
    assert found.drift is not None and found.drift > 0.3 and found.drift_cka == pytest.approx(0, abs=1e-9)


def test_cka_needs_texts_that_differ_and_numbers() -> None:
    some = np.random.default_rng(0).normal(size=(10, 4))
    assert cka_distance(some[:3], some[:3]) is None
    assert cka_distance(np.ones((10, 4)), some) is None
    assert cka_distance(some, np.where(some > 1, np.nan, some)) is None
    broken = drift(some, np.full_like(some, np.nan))
    assert (broken.drift, broken.drift_cka) == (None, None) and broken.to_json()["by_text"] == {}


def test_features_of_a_moved_body_drift_more_the_further_it_moved() -> None:
    base, examples = language_model("bert"), sentences(20)
    only = replace(examples, encoded=Plain(examples))
    before = features(base.body, "mean", only)
    distances = [drift(before, features(moved(base, size, "bert").body, "mean", only)) for size in (0.02, 0.2)]
    near, far = (found.drift for found in distances)
    assert near is not None and far is not None and 0 < near < far


def test_the_frontier_is_written() -> None:
    half = InterpolationPoint(0.5, 0.8, 0.1)
    written = Retention(frontier=(half,), matched=half).to_json()
    assert written["frontier"] == [written["matched"]] == [{"mix": 0.5, "score": 0.8, "forgotten": 0.1}]
    assert Retention().to_json()["matched"] is None


class Plain:
    """What an encoder reads, without labels."""

    def __init__(self, examples: Examples):
        self.whole = examples.encoded

    def sizes(self) -> np.ndarray:
        return self.whole.sizes()

    def batch(self, index: np.ndarray) -> dict[str, torch.Tensor]:
        found = self.whole.batch(index)
        return {name: found[name] for name in ("input_ids", "attention_mask")}
