"""Torture: a small part of `make torture`, and whether the torture itself notices what is broken."""

import random
from collections.abc import Iterator

import pytest

from torture.processes import start_server
from torture.trials import TABLE
from torture.workshop import Workshop

SMALL = {  # of each kind the numbers of some trials, most of them on the same command
    "kill -9 at a random moment, resume": (3,),
    "kill -9 inside a save, resume": (3, 8),
    "a bit of a checkpoint flipped": (3, 6, 9, 12, 15),
    "a checkpoint truncated": (3, 6),
    "disk full": (9, 15),
    "SIGTERM": (2, 1),
    "NaN or infinity": (0, 12),
    "out of memory": (4,),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    start_server()
    return Workshop(tmp_path_factory.mktemp("torture"))


@pytest.mark.parametrize("name", SMALL)
def test_what_was_saved_survives(name: str, shop: Workshop) -> None:
    trials = next(trials for trials in TABLE if trials.name == name)
    for number in SMALL[name]:
        trials.trial(shop, number, random.Random(f"0 {name} {number}"))
