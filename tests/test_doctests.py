"""Do the examples in docstrings give what they say?"""

import doctest
import pkgutil
from importlib import import_module

import pytest

import warmstart

MODULES = sorted(module.name for module in pkgutil.walk_packages(warmstart.__path__, "warmstart."))


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_examples_in_docstrings(name: str) -> None:
    assert doctest.testmod(import_module(name)).failed == 0
