"""Quantities: how are amounts, sizes, times and percentages written?

>>> parse_duration("1h30m"), parse_share("1%"), parse_amount("tokens", "1.5M")
(5400.0, 0.01, 1500000)
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from warmstart.errors import UsageError, flag, shorten

MISSING = "–"
WITH_EXPONENT = 1e12  # from here on numbers are written with an exponent
REFERENCE_FLOPS = 5e10  # a second: a study with --compute counts in seconds of such a device, about a core in fp32
WORD_PATTERN = re.compile(r"\w+")  # where words of texts are counted or compared


def format_number(value: float) -> str:
    """0.642, 12.34, 123.4, 1,234: three decimals, fewer where the number is large, more where it is tiny."""
    size = abs(value)
    if 0 < size < 0.0005 or size >= WITH_EXPONENT:
        return f"{value:.1g}" if size < 1 else f"{value:.3g}"
    return f"{value:,.{3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0}f}"


def format_exact(value: float | None) -> str:
    """0.6424, 12.3400, 9.123e-10: four decimals; four digits where these would show nothing or take too much room."""
    if value is None:
        return MISSING
    return f"{value:,.4f}" if value == 0 or 0.001 <= abs(value) < WITH_EXPONENT else f"{value:.4g}"


def format_interval_bounds(interval: Iterable[float]) -> str:
    """[0.620, 0.660]"""
    return f"[{', '.join(format_number(bound) for bound in interval)}]"


def format_percent(share: float) -> str:
    """1.2 %, 12 %; never rounded up to all: over 99 %"""
    if 0.995 <= share < 1:
        return "over 99 %"
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def round_to_two_digits(number: float) -> int:
    """To two digits: what is said with 'about' should not look exact."""
    return int(float(f"{number:.1e}"))


def capitalize_first(text: str) -> str:
    """The same as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def describe_forgetting(found: Mapping[str, Any]) -> list[str]:
    """What one run forgot (`retention` of a `run.json`), and what mixing its weights with the base's brought.

    >>> describe_forgetting({"nats": 0.0312, "progress_lost": 0.004, "kl": 1.2, "frontier": []})
    ['forgot 0.031 nats a token of general text, 0.4 % of what pre-training had gained']
    """
    words: list[str] = []
    if (found.get("nats") or 0) < 0:
        words.append(f"forgot nothing: its loss on general text is {format_number(-found['nats'])} nats a token lower")
    elif found.get("nats") is not None:
        lost = found.get("progress_lost")
        share = "" if lost is None else f", {format_percent(lost)} of what pre-training had gained"
        words.append(f"forgot {format_number(found['nats'])} nats a token of general text{share}")
    elif found.get("drift") is not None:
        words.append(f"its features moved from the base's by {format_number(found['drift'])} (1 - cosine)")
    elif found.get("kl") is not None:
        words.append(f"moved {format_number(found['kl'])} nats a token from what the base says of these inputs")
    if found.get("frontier"):
        by, taken, tuned = found["frontier_by"], found["matched"], found["frontier"][-1]
        scores = f"validation {by['score']} {format_number(taken['score'])}, as tuned {format_number(tuned['score'])}"
        fell = f"{by['forgotten']} fell from {format_number(tuned['forgotten'])} to {format_number(taken['forgotten'])}"
        words.append(
            f"weights {format_percent(taken['mix'])} tuned and {format_percent(1 - taken['mix'])} the base's: "
            f"{fell} ({scores})"
            if taken["mix"] < 1
            else f"weights as tuned: none nearer to the base's forgot less at as good a {by['score']}"
        )
    return words


def format_size(number: float | None) -> str:
    """340 MB"""
    return format_scaled(number, 1000, ("bytes", "KB", "MB", "GB", "TB"))


def format_disk_size(model: float, base: float) -> str:
    """370 KB, with the base that it needs too: 370 KB + base 91 MB"""
    return f"{format_size(model)} + base {format_size(base)}" if base else format_size(model)


def format_duration(seconds: float | None) -> str:
    """0.4 s, 12 s, 1.2 min, 2.3 h"""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 0.05:
        return "under 0.1 s"
    if seconds < 60:
        return f"{_short(seconds)} s"
    return f"{_short(seconds / 60)} min" if seconds < 3600 else f"{_short(seconds / 3600)} h"


def format_flops(number: float | None) -> str:
    """20 TFLOP"""
    return format_scaled(number, 1000, ("FLOP", "KFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP", "ZFLOP"))


def format_energy(kilowatt_hours: float) -> str:
    """0.062, <0.001: in kWh, which is not said again."""
    return "<0.001" if 0 <= kilowatt_hours < 0.001 else f"{kilowatt_hours:.2g}"


def format_effort(seconds: float, *, by_compute: bool) -> str:
    """What a study counts in: time, or with --compute the arithmetic of so many seconds of the reference device."""
    return format_flops(seconds * REFERENCE_FLOPS) if by_compute else format_duration(seconds)


def format_latency(milliseconds: float | None) -> str:
    """2.4 ms"""
    if milliseconds is None or not math.isfinite(milliseconds):
        return MISSING
    return f"{_short(milliseconds)} ms" if milliseconds < 1000 else format_duration(milliseconds / 1000)


def format_scaled(number: float | None, step: int, names: Sequence[str]) -> str:
    """A number in the unit that leaves it one to three digits."""
    if number is None or not math.isfinite(number):
        return MISSING
    place = 0
    while number >= 0.9995 * step and place < len(names) - 1:
        number, place = number / step, place + 1
    return f"{_short(number)} {names[place]}".strip()


def _short(number: float) -> str:
    """Two or three digits: 2.1, 22.7, 340."""
    return f"{number:.0f}" if number >= 99.95 or number == int(number) else f"{number:.1f}"


TIME_PATTERN = (
    r"(?:(\d+(?:\.\d+)?) ?h(?:ours?)? ?)?"
    r"(?:(\d+(?:\.\d+)?) ?m(?:in(?:ute)?s?)? ?)?"
    r"(?:(\d+(?:\.\d+)?)(?: ?s(?:ec)?)?)?"
)
MIN_UNITLESS_SECONDS = 60  # seconds, from which on a number needs no unit
AMOUNT_SUFFIXES = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
SIZE_UNITS = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}


FLOP_PREFIXES = {"": 1.0, "g": 1e9, "t": 1e12, "p": 1e15, "e": 1e18}


def parse_duration(text: str) -> float:
    """Seconds in '90', '90s', '10m', '10 min', '1h30m'. A number below 60 alone is more likely to be of minutes."""
    match = re.fullmatch(TIME_PATTERN, text.strip())
    if not match or not any(match.groups()):
        raise UsageError(f"{text!r} is no length of time.", "write for example 90s, 10m or 1h30m")
    if text.strip() == match[3] and 0 < float(match[3]) < MIN_UNITLESS_SECONDS:
        raise UsageError(f"{text!r} has no unit.", f"write {match[3]}s, {match[3]}m or {match[3]}h")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def parse_effort(value: Any) -> int | str:
    """A number of trials, or a length of time, which is kept as it was typed."""
    text = str(value).strip()
    if text.isdecimal():
        return int(text)
    parse_duration(text)
    return text


def parse_share(text: str) -> float:
    """0.01 in '1%' and in '0.01'."""
    try:
        return float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError as error:
        raise UsageError(f"{text!r} is no share.", "write for example 1% or 0.01") from error


def parse_amount(key: str, value: Any) -> int:
    """A whole number in '10M', '1.5B', '250k' and '4000'. `key` names it in messages."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmbt]?)", str(value).strip().replace("_", "").lower(), re.ASCII)
    number = Fraction(match[1]) * AMOUNT_SUFFIXES.get(match[2], 1) if match else None
    if number is None or number.denominator > 1:
        raise UsageError(f"{str(value)!r} is no number of {key}.", f"write for example --{key} 10M")
    return int(number)


def parse_size(key: str, value: Any) -> int:
    """Bytes in '50MB', '1.5 GB', '200MiB' and 50000000."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d+)?) ?([kmgt]?i?)b?", str(value).strip().lower(), re.ASCII)
    if match is None or match[2] not in SIZE_UNITS:
        raise UsageError(f"{key} is {shorten(value)}; it must be a size.", f"write for example {flag(key)} 50MB")
    return round(Fraction(match[1]) * SIZE_UNITS[match[2]])


def parse_flops(key: str, value: Any) -> float:
    """Floating-point operations in '20TFLOP', '1.5 PFLOP', '20T' and 2e13.

    >>> parse_flops("compute", "20TFLOP"), format_flops(2e13)
    (20000000000000.0, '20 TFLOP')
    """
    pattern = r"(\d{1,25}(?:\.\d+)?(?:e\+?\d{1,2})?) ?([gtpe]?)(?:flops?)?"
    match = re.fullmatch(pattern, str(value).strip().lower(), re.ASCII)
    if match is None:
        raise UsageError(
            f"{key} is {shorten(value)}; it must be a number of floating-point operations.",
            f"write for example {flag(key)} 20TFLOP",
        )
    return float(match[1]) * FLOP_PREFIXES[match[2]]


def parse_latency(key: str, value: Any) -> float:
    """Seconds in '20ms' and '0.5s'; a number that was not typed is one of seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = re.fullmatch(r"(\d+(?:\.\d+)?(?:e-?\d+)?) ?(ms|s)", str(value).strip().lower(), re.ASCII)
    if match is None:
        raise UsageError(
            f"{key} is {shorten(value)}; it must be a time for one row.", f"write for example {flag(key)} 20ms"
        )
    return float(match[1]) / (1000 if match[2] == "ms" else 1)


def parse_count(text: Any) -> int:
    """A number of rows."""
    try:
        return int(str(text).replace("_", ""))
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no number of rows.", "write for example --rows 1000, --rows 250,1000 or --rows auto"
        ) from error


def parse_number(key: str, text: str, kind: type[Any]) -> Any:
    """What is typed after a flag that takes a number."""
    try:
        return kind(text)
    except ValueError as error:
        whole = "whole " if kind is int else ""
        raise UsageError(f"{key} is {shorten(text)}; it must be a {whole}number.", f"correct {flag(key)}") from error
