"""Limits: a template or a pattern without end comes to one."""

import re
import time

import pytest

from warmstart.errors import InputError
from warmstart.runtime.limits import bounded


def test_what_takes_too_long_is_stopped() -> None:
    began = time.process_time()
    with pytest.raises(InputError, match=r"a loop did not come to an end in 0\.2 seconds"), bounded("a loop", "", 0.2):
        while True:
            pass
    assert time.process_time() - began < 3


def test_a_pattern_that_searches_for_ever_is_stopped() -> None:
    with pytest.raises(InputError, match="did not come to an end"), bounded("a pattern", "simplify it", 0.2):
        re.search(r"(a+)+$", "a" * 40 + "b")


def test_what_takes_too_much_memory_is_stopped() -> None:
    with pytest.raises(InputError, match="takes more than"), bounded("a text", ""):
        bytes(1 << 33)
    bytes(1 << 20)


def test_what_is_within_the_limits_is_left_alone_and_errors_of_its_own_pass() -> None:
    with bounded("a sum", ""):
        assert sum(range(10)) == 45
    with pytest.raises(KeyError), bounded("a look", ""):
        {}["x"]
