"""Wording: how are numbers written in the sentences of an answer?

>>> figure(0.6421), figure(1234.5), bounds((0.62, 0.66)), percent(0.012), rounded(6183)
('0.642', '1,234', '[0.620, 0.660]', '1.2 %', 6200)
>>> size(340e6), duration(72), latency(2.4)
('340 MB', '1.2 min', '2.4 ms')
"""

import math
from collections.abc import Iterable, Sequence

MISSING = "–"


def figure(value: float) -> str:
    """0.642, 12.34, 123.4, 1,234: three decimals, fewer where the number is large, more where it is tiny."""
    size = abs(value)
    if 0 < size < 0.0005:
        return f"{value:.1g}"
    return f"{value:,.{3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0}f}"


def bounds(interval: Iterable[float]) -> str:
    """[0.620, 0.660]"""
    return f"[{', '.join(figure(bound) for bound in interval)}]"


def percent(share: float) -> str:
    """1.2 %, 12 %"""
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def rounded(number: float) -> int:
    """To two digits: what is said with 'about' should not look exact."""
    return int(float(f"{number:.1e}"))


def capital(text: str) -> str:
    """The same as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def size(number: float | None) -> str:
    """340 MB"""
    return scaled(number, 1000, ("bytes", "KB", "MB", "GB", "TB"))


def duration(seconds: float | None) -> str:
    """0.4 s, 12 s, 1.2 min, 2.3 h"""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 0.05:
        return "under 0.1 s"
    if seconds < 60:
        return f"{_short(seconds)} s"
    return f"{_short(seconds / 60)} min" if seconds < 3600 else f"{_short(seconds / 3600)} h"


def latency(milliseconds: float | None) -> str:
    """2.4 ms"""
    if milliseconds is None or not math.isfinite(milliseconds):
        return MISSING
    return f"{_short(milliseconds)} ms" if milliseconds < 1000 else duration(milliseconds / 1000)


def scaled(number: float | None, step: int, names: Sequence[str]) -> str:
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
