"""Call depth: how many of our functions does a call pass from the command to `backward()`?"""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import warmstart
from tests.cli_base import call, products
from warmstart.cli import app
from warmstart.models.pretrained.base import Base

OURS = str(Path(warmstart.__file__).parent)


def chain_to(command: Any) -> list[str]:
    """Our functions on the stack, from the one of a command to the innermost; a generator counts once."""
    found, frame = [], sys._getframe(1)
    while frame is not None and (not found or found[-1] != name_of(command.__code__)):
        if frame.f_code.co_filename.startswith(OURS):
            found.append(name_of(frame.f_code))
        frame = frame.f_back
    return found[::-1]


def name_of(code: Any) -> str:
    return f"{Path(code.co_filename).relative_to(OURS)}:{code.co_qualname}"


@pytest.mark.parametrize(("name", "most"), [("fit", 7), ("compare", 9)])
def test_few_functions_lie_between_the_command_and_backward(
    name: str, most: int, base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = getattr(app, name).__wrapped__
    chains: set[tuple[str, ...]] = set()
    backward = torch.Tensor.backward

    def counted(self: torch.Tensor, *given: Any, **more: Any) -> None:
        chains.add(tuple(chain_to(command)))
        backward(self, *given, **more)

    monkeypatch.setattr(torch.Tensor, "backward", counted)
    regime = ("--regime", "full") if name == "fit" else ("--regimes", "constant,full", "--seeds", "1")
    words = ("--target", "price", "--base", base.location, "--trials", "2", "--length", "0.01", "--quiet")
    table = products(tmp_path / "products.csv")
    assert call(name, table, *regime, *words, "--out", tmp_path / "out").code == 0
    # steps that only measure how long a step takes belong to no job
    mine = {chain for chain in chains if not any(step.startswith("planning/") for step in chain)}
    assert {"train_run", "search_settings"} <= {step.partition(":")[2] for chain in mine for step in chain}
    for chain in mine:
        assert len(chain) <= most, "\n".join((f"{len(chain)} functions, {most} allowed:", *chain))
