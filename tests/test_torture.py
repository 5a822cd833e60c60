"""Torture: a small part of `make torture`, and whether the torture itself notices what is broken."""

import random
from collections.abc import Iterator

import pytest

from torture.processes import start_server
from torture.trials import TABLE
from torture.workshop import Workshop

SMALL = {  # of each kind the numbers of some trials, mostly on the quickest command
    "kill -9 at a random moment, resume": (8,),
    "kill -9 inside a save, resume": (3, 8),
    "killed in a study, supervised": (1, 2),
    "resume grid": (17, 18),  # a second stage, and hybrid
    "a bit of a checkpoint flipped": (4, 8, 12, 16, 20),
    "a checkpoint truncated": (4, 8),
    "disk full": (8, 24),
    "SIGTERM": (7, 8),
    "NaN or infinity": (2, 10),
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
