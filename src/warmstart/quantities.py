"""Quantities: how do people write amounts, times and shares?

>>> duration("1h30m"), share("1%"), amount("tokens", "1.5M")
(5400.0, 0.01, 1500000)
"""

import re
from fractions import Fraction
from typing import Any

from warmstart.errors import UsageError, shortened
from warmstart.keys import flag

AMOUNTS = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}


def duration(text: str) -> float:
    """Seconds in '90', '90s', '10m', '1h30m'."""
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    if not match or not any(match.groups()):
        raise UsageError(f"{text!r} is no length of time.", "write for example 90s, 10m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def share(text: str) -> float:
    """0.01 in '1%' and in '0.01'."""
    try:
        return float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError as error:
        raise UsageError(f"{text!r} is no share.", "write for example 1% or 0.01") from error


def amount(key: str, value: Any) -> int:
    """A whole number in '10M', '1.5B', '250k' and '4000'. `key` names it in messages."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmbt]?)", str(value).strip().replace("_", "").lower(), re.ASCII)
    number = Fraction(match[1]) * AMOUNTS.get(match[2], 1) if match else None
    if number is None or number.denominator > 1:
        raise UsageError(f"{str(value)!r} is no number of {key}.", f"write for example --{key} 10M")
    return int(number)


def count(text: Any) -> int:
    """A number of rows."""
    try:
        return int(str(text).replace("_", ""))
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no number of rows.", "write for example --rows 1000, --rows 250,1000 or --rows auto"
        ) from error


def number(key: str, text: str, kind: type[Any]) -> Any:
    """What is typed after a flag that takes a number."""
    try:
        return kind(text)
    except ValueError as error:
        whole = "whole " if kind is int else ""
        raise UsageError(f"{key} is {shortened(text)}; it must be a {whole}number.", f"correct {flag(key)}") from error
