"""Bases: is what nobody named one that this machine can train?"""

import importlib.util

import pytest

from warmstart.bases import DECODER_PACKAGE, usual_decoder


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
