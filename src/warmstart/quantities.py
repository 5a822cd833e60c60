"""Quantities: how do people write amounts, sizes, times and shares?

>>> duration("1h30m"), share("1%"), amount("tokens", "1.5M"), size("max_size", "50MB"), wait("max_latency", "20ms")
(5400.0, 0.01, 1500000, 50000000, 0.02)
"""

import re
from fractions import Fraction
from typing import Any

from warmstart.errors import UsageError, shortened
from warmstart.keys import flag

TIME = (
    r"(?:(\d+(?:\.\d+)?) ?h(?:ours?)? ?)?"
    r"(?:(\d+(?:\.\d+)?) ?m(?:in(?:ute)?s?)? ?)?"
    r"(?:(\d+(?:\.\d+)?)(?: ?s(?:ec)?)?)?"
)
UNSAID = 60  # seconds, from which on a number needs no unit
AMOUNTS = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def duration(text: str) -> float:
    """Seconds in '90', '90s', '10m', '10 min', '1h30m'. A number below 60 alone is more likely to be of minutes."""
    match = re.fullmatch(TIME, text.strip())
    if not match or not any(match.groups()):
        raise UsageError(f"{text!r} is no length of time.", "write for example 90s, 10m or 1h30m")
    if text.strip() == match[3] and 0 < float(match[3]) < UNSAID:
        raise UsageError(f"{text!r} has no unit.", f"write {match[3]}s, {match[3]}m or {match[3]}h")
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


def size(key: str, value: Any) -> int:
    """Bytes in '50MB', '1.5 GB', '200MiB' and 50000000."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d+)?) ?([kmgt]?i?)b?", str(value).strip().lower(), re.ASCII)
    if match is None or match[2] not in UNITS:
        raise UsageError(f"{key} is {shortened(value)}; it must be a size.", f"write for example {flag(key)} 50MB")
    return round(Fraction(match[1]) * UNITS[match[2]])


def wait(key: str, value: Any) -> float:
    """Seconds in '20ms' and '0.5s'; a number that was not typed is one of seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = re.fullmatch(r"(\d+(?:\.\d+)?(?:e-?\d+)?) ?(ms|s)", str(value).strip().lower(), re.ASCII)
    if match is None:
        raise UsageError(
            f"{key} is {shortened(value)}; it must be a time for one row.", f"write for example {flag(key)} 20ms"
        )
    return float(match[1]) / (1000 if match[2] == "ms" else 1)


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
