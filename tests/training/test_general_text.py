"""General text: is what is sampled the base's own, always the same, and drawn only once?"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.language import VOCABULARY, examples_of, language_model
from warmstart.errors import UsageError
from warmstart.models.evaluate import outputs
from warmstart.runs.forgetting_measures import kl_divergence, rise
from warmstart.runtime.lock import locked
from warmstart.training.general_text import sample_from_base, sampled_text

END = 3


def spelling(bos: int | None = 1, eos: int | None = END) -> SimpleNamespace:
    """A tokenizer that writes numbers."""
    return SimpleNamespace(
        name_or_path="tiny",
        bos_token_id=bos,
        eos_token_id=eos,
        decode=lambda piece, skip_special_tokens: " ".join(map(str, piece)),
    )


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_tokens_come_as_often_as_the_base_says(kind: str) -> None:
    base = language_model(kind)
    said = np.array(sample_from_base(base, 1, texts=4000, tokens=2))
    with torch.no_grad():
        hidden = base.body(input_ids=torch.tensor([[1]])).last_hidden_state[0]
        expected = base.head.logits(hidden)[0].softmax(-1).numpy()
    assert np.abs(np.bincount(said[:, 0], minlength=VOCABULARY) / 4000 - expected).max() < 0.03
    likely = int(expected.argmax())
    with torch.no_grad():
        hidden = base.body(input_ids=torch.tensor([[1, likely]])).last_hidden_state[0, -1:]
        expected = base.head.logits(hidden)[0].softmax(-1).numpy()
    after = said[said[:, 0] == likely, 1]
    assert np.abs(np.bincount(after, minlength=VOCABULARY) / len(after) - expected).max() < 4 / len(after) ** 0.5


class Forgetful(nn.Module):
    """A body that gives nothing back of what it has read."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, input_ids: Tensor, past_key_values: None, use_cache: bool) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=self.body(input_ids=input_ids).last_hidden_state)


def test_what_keeps_no_keys_and_values_says_the_same() -> None:
    """Recurrent bases ended in a traceback."""
    base, other = language_model(), language_model()
    other.body = Forgetful(other.body)
    assert sample_from_base(other, 1, 5, 6) == sample_from_base(base, 1, 5, 6)


def test_the_same_seed_says_the_same() -> None:
    base = language_model()
    assert sample_from_base(base, 1, 5, 6) == sample_from_base(base, 1, 5, 6) != sample_from_base(base, 1, 5, 6, seed=1)


def test_the_rise_on_what_the_base_says_is_the_divergence() -> None:
    base, tuned = language_model(), language_model(seed=1)
    general = examples_of([[1, *said] for said in sample_from_base(base, 1, texts=1500, tokens=12)])
    risen = rise(outputs(base, general), outputs(tuned, general))
    kl = kl_divergence(base, tuned, general)
    assert risen[:, 0].sum() / risen[:, 1].sum() == pytest.approx(kl[:, 0].sum() / kl[:, 1].sum(), rel=0.05)


def test_it_is_sampled_once_for_each_base_and_cut_where_a_text_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = sampled_text(language_model(), spelling(), tmp_path, texts=20, tokens=30)
    assert len(said) > 20 and not any(str(END) in text.split() for text in said) and all(said)
    other = sampled_text(language_model(seed=1), spelling(), tmp_path, texts=20, tokens=30)
    assert other != said and len(list(tmp_path.glob("*.json"))) == 2
    monkeypatch.setattr("warmstart.training.general_text.sample_from_base", lambda *_: pytest.fail("sampled again"))
    assert sampled_text(language_model(), spelling(), tmp_path, texts=20, tokens=30) == said


def test_of_two_studies_that_begin_together_one_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both wrote the same file, and one of them ended with what it had trained."""
    monkeypatch.setattr("warmstart.runtime.lock.LOCK_TIMEOUT", 0.0)

    def busy(*given: object) -> list[list[int]]:
        with pytest.raises(UsageError, match="another process"), locked(tmp_path):
            pass
        return [[5, 6], [7]]

    monkeypatch.setattr("warmstart.training.general_text.sample_from_base", busy)
    assert sampled_text(language_model(), spelling(), tmp_path) == ["5 6", "7"]


def test_without_a_first_token_nothing_can_be_sampled(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"tokenizer of 'tiny' has no token that begins a text(.|\n)*--general-text FILE"
    ):
        sampled_text(language_model(), spelling(None, None), tmp_path)
    assert sampled_text(language_model(), spelling(None), tmp_path, texts=2, tokens=3)
