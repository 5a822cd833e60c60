"""Wording: how are numbers written in the sentences of an answer?

>>> figure(0.6421), figure(1234.5), bounds((0.62, 0.66)), percent(0.012), rounded(6183)
('0.642', '1,234', '[0.620, 0.660]', '1.2 %', 6200)
>>> size(340e6), duration(72), latency(2.4)
('340 MB', '1.2 min', '2.4 ms')
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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


def forgotten(found: Mapping[str, Any]) -> list[str]:
    """What one run forgot (`retention` of a `run.json`), and what mixing its weights with the base's brought.

    >>> forgotten({"nats": 0.0312, "progress_lost": 0.004, "kl": 1.2, "frontier": []})
    ['forgot 0.031 nats a token of general text, 0.4 % of what pre-training had gained']
    """
    words: list[str] = []
    if (found.get("nats") or 0) < 0:
        words.append(f"forgot nothing: its loss on general text is {figure(-found['nats'])} nats a token lower")
    elif found.get("nats") is not None:
        lost = found.get("progress_lost")
        share = "" if lost is None else f", {percent(lost)} of what pre-training had gained"
        words.append(f"forgot {figure(found['nats'])} nats a token of general text{share}")
    elif found.get("drift") is not None:
        words.append(f"its features moved from the base's by {figure(found['drift'])} (1 - cosine)")
    elif found.get("kl") is not None:
        words.append(f"moved {figure(found['kl'])} nats a token from what the base says of these inputs")
    if found.get("frontier"):
        by, taken, tuned = found["frontier_by"], found["matched"], found["frontier"][-1]
        scores = f"validation {by['score']} {figure(taken['score'])}, as tuned {figure(tuned['score'])}"
        fell = f"{by['forgotten']} fell from {figure(tuned['forgotten'])} to {figure(taken['forgotten'])}"
        words.append(
            f"weights {percent(taken['mix'])} tuned and {percent(1 - taken['mix'])} the base's: {fell} ({scores})"
            if taken["mix"] < 1
            else f"weights as tuned: none nearer to the base's forgot less at as good a {by['score']}"
        )
    return words


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
