"""What every test of the engine starts from: one thread, a tiny base, small tables."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.tiny import CLASSES, REGRESSION, save_tiny_base, tiny_draw, tiny_problem
from warmstart.models.pretrained.base import Base, find_base
from warmstart.planning.problem import Problem
from warmstart.training.run_data import RunData


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Models this small only lose by a second thread, and wait for it where other work is running."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def the_random_state_as_it_was() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_log_of_the_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What several tests share is made before any of them, and logged too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def a_log_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes into the user's log of runs, or reads it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A two-layer BERT of width 16 in a folder, with dropout."""
    return find_base(str(save_tiny_base(tmp_path_factory.mktemp("tiny") / "base")), max_length=32)


@pytest.fixture(scope="session")
def regression() -> RunData:
    """120 titles with prices: 84 for training."""
    return tiny_draw(REGRESSION)


@pytest.fixture(scope="session")
def classes() -> RunData:
    """120 titles of three rooms."""
    return tiny_draw(CLASSES)


@pytest.fixture
def problem(base: Base) -> Problem:
    return tiny_problem(REGRESSION, base)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for a study."""
    (tmp_path / "study").mkdir()
    return tmp_path / "study"
