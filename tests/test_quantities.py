"""Quantities: what people write, and what is no amount, time or share."""

import pytest

from warmstart import config
from warmstart.config import from_mapping
from warmstart.errors import UsageError
from warmstart.quantities import amount, duration, number, share


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("0.5h", 1800), (" 2m5s ", 125)]
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "10 minutes", "-5m", "1m1h", "nan"])
def test_no_lengths_of_time(text: str) -> None:
    with pytest.raises(UsageError, match="no length of time"):
        duration(text)


def test_shares() -> None:
    assert (share("1%"), share("0.02"), share(" 2.5 % ".replace(" %", "%"))) == (0.01, 0.02, 0.025)


@pytest.mark.parametrize(
    ("text", "number"), [("10M", 10**7), ("1.5B", 1_500_000_000), ("250k", 250_000), (4000, 4000), (" 1_000 ", 1000)]
)
def test_amounts(text: object, number: int) -> None:
    assert amount("tokens", text) == number
    assert from_mapping({"data": ["a"], "parameters": config.parsed("parameters", "10M")}).parameters == 10**7


@pytest.mark.parametrize("text", ["", "M", "1.5", "10 M", "-1M", "1e6", "0.00001k", "١M"])
def test_no_amounts(text: str) -> None:
    with pytest.raises(UsageError, match="is no number of parameters"):
        amount("parameters", text)


def test_numbers_after_flags() -> None:
    assert (number("seeds", "3", int), number("lr", "1e-3", float)) == (3, 1e-3)
    with pytest.raises(UsageError, match=r"lr is 'abc'; it must be a number.\nhint: correct --lr"):
        number("lr", "abc", float)
    with pytest.raises(UsageError, match=r"seeds is '2.5'; it must be a whole number.\nhint: correct --seeds"):
        number("seeds", "2.5", int)
