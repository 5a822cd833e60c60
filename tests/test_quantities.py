"""Quantities: what people write, and what is no amount, time or share."""

import pytest

from warmstart.errors import UsageError
from warmstart.quantities import (
    format_exact,
    format_number,
    format_percent,
    parse_amount,
    parse_duration,
    parse_latency,
    parse_number,
    parse_share,
    parse_size,
)
from warmstart.reporting.formatting import format_score
from warmstart.request.parse import parse_value
from warmstart.request.request import from_mapping


@pytest.mark.parametrize(
    ("value", "exact", "short", "score"),
    [
        (0.61239, "0.6124", "0.612", "0.612"),
        (1234.5678, "1,234.5678", "1,235", "1,235"),
        (9.1234e-10, "9.123e-10", "9e-10", "9.12e-10"),
        (9.6e29, "9.6e+29", "9.6e+29", "9.6e+29"),
        (0.0, "0.0000", "0.000", "0.000"),
    ],
)
def test_numbers_of_any_size_show_their_digits(value: float, exact: str, short: str, score: str) -> None:
    assert (format_exact(value), format_number(value), format_score(value)) == (exact, short, score)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("10m", 600),
        ("1h30m", 5400),
        ("0.5h", 1800),
        (" 2m5s ", 125),
        ("3min", 180),
        ("3 min", 180),
        ("10 minutes", 600),
        ("1 hour 5 min", 3900),
        ("9s", 9),
        ("0", 0),
    ],
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "10 moments", "-5m", "1m1h", "nan"])
def test_no_lengths_of_time(text: str) -> None:
    with pytest.raises(UsageError, match="no length of time"):
        parse_duration(text)


def test_a_small_number_alone_is_likely_to_be_of_minutes() -> None:
    with pytest.raises(UsageError, match=r"'3' has no unit.\nhint: write 3s, 3m or 3h"):
        parse_duration("3")
    assert parse_value("budget", 3) == parse_value("budget", "3s") == 3.0


def test_shares() -> None:
    assert (parse_share("1%"), parse_share("0.02"), parse_share(" 2.5 % ".replace(" %", "%"))) == (0.01, 0.02, 0.025)


@pytest.mark.parametrize(
    ("text", "number"), [("10M", 10**7), ("1.5B", 1_500_000_000), ("250k", 250_000), (4000, 4000), (" 1_000 ", 1000)]
)
def test_amounts(text: object, number: int) -> None:
    assert parse_amount("tokens", text) == number
    assert from_mapping({"data": ["a"], "parameters": parse_value("parameters", "10M")}).parameters == 10**7


@pytest.mark.parametrize("text", ["", "M", "1.5", "10 M", "-1M", "1e6", "0.00001k", "١M"])
def test_no_amounts(text: str) -> None:
    with pytest.raises(UsageError, match="is no number of parameters"):
        parse_amount("parameters", text)


def test_numbers_after_flags() -> None:
    assert (parse_number("seeds", "3", int), parse_number("lr", "1e-3", float)) == (3, 1e-3)
    with pytest.raises(UsageError, match=r"lr is 'abc'; it must be a number.\nhint: correct --lr"):
        parse_number("lr", "abc", float)
    with pytest.raises(UsageError, match=r"seeds is '2.5'; it must be a whole number.\nhint: correct --seeds"):
        parse_number("seeds", "2.5", int)


@pytest.mark.parametrize(
    ("text", "number"),
    [("50MB", 5 * 10**7), ("1.5 GB", 1_500_000_000), ("200MiB", 200 * 2**20), ("1k", 1000), (4096, 4096), ("7B", 7)],
)
def test_sizes(text: object, number: int) -> None:
    assert parse_size("max_size", text) == number


@pytest.mark.parametrize("text", ["", "MB", "50 apples", "-1MB", "1e9", "1.5.2MB", "iB", "9" * 5000, "٥MB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"max_size is .*; it must be a size.\nhint: write for example --max-size 50MB"
    ):
        parse_size("max_size", text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("20ms", 0.02), ("0.5 s", 0.5), (0.02, 0.02), (2, 2.0), ("1e-05s", 1e-5)]
)
def test_times_for_a_row(text: object, seconds: float) -> None:
    assert parse_latency("max_latency", text) == seconds


@pytest.mark.parametrize("text", ["20", "fast", "20 min", "-1ms", "nans", True])
def test_no_times_for_a_row(text: object) -> None:
    with pytest.raises(
        UsageError, match=r"max_latency is .*; it must be a time for one row.\nhint: .* --max-latency 20ms"
    ):
        parse_latency("max_latency", text)


@pytest.mark.parametrize(
    ("share", "said"), [(0.0123, "1.2 %"), (0.12, "12 %"), (0.994, "99 %"), (0.9996, "over 99 %"), (1.0, "100 %")]
)
def test_a_share_is_not_rounded_up_to_all(share: float, said: str) -> None:
    assert format_percent(share) == said
