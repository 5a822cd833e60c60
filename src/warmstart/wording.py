"""Wording: how are numbers written in the sentences of an answer?

>>> figure(0.6421), figure(1234.5), bounds((0.62, 0.66)), percent(0.012), rounded(6183)
('0.642', '1,234', '[0.620, 0.660]', '1.2 %', 6200)
"""

from collections.abc import Iterable


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
