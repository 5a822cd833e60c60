"""Formatting: how are numbers formatted for people?

>>> format_weights(22_713_216)
'22.7 M'
>>> format_score(0.6118), format_interval((0.594, 0.629)), format_rate(3e-5)
('0.612', '[0.594, 0.629]', '3e-5')
"""

import math
from collections.abc import Callable, Sequence

from warmstart.quantities import MISSING, WITH_EXPONENT, format_scaled

VERDICT_SENTENCES = {
    "fine-tune": "Fine-tune.",
    "train from scratch": "Train from scratch.",
    "a linear model is enough": "A linear model is enough.",
    "a boosted tree is enough": "A boosted tree is enough.",
    "TF-IDF with frozen features is enough": "TF-IDF with frozen features is enough.",
    "combine several models": "Combine several models.",
    "no training is needed": "No training is needed.",
    "undecided": "Undecided.",
    "nothing beats the constant": "Nothing beats the constant.",
    "nothing is allowed": "Nothing is allowed.",
}
FAMILIES = {"baseline": "baseline", "scratch": "from scratch", "fine-tuned": "fine-tuned", "ensemble": "ensemble"}
FAMILIES |= {"previous": "old model", "continued": "old model, trained further"}
PROBABLY = 0.8  # a verdict less sure than this says so in its first word
SURENESS = ((0.99, "almost certain"), (0.95, "sure"), (PROBABLY, "fairly sure"), (0.6, "leaning"), (0.0, "unsure"))


def is_number(number: float | None) -> bool:
    """Whether there is a number to show: None, NaN and infinities are not."""
    return number is not None and math.isfinite(number)


def format_count(number: float | None) -> str:
    """12,345"""
    return f"{number:,.0f}" if number is not None and math.isfinite(number) else MISSING


def format_score(number: float | None) -> str:
    """Three decimals, fewer where the number is large, more where it is tiny: 0.612, 46.49, 1,204, 0.0003."""
    if number is None or not math.isfinite(number):
        return MISSING
    size = abs(number)
    if 0 < size < 1e-6 or size >= WITH_EXPONENT:
        return f"{number:.3g}".replace("-", "−", 1) if number < 0 else f"{number:.3g}"
    if 0 < size < 0.001:
        decimals = math.ceil(-math.log10(size))
    else:
        decimals = 3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0
    return f"{number:,.{decimals}f}".replace("-", "−")


def format_metric(number: float | None, name: str) -> str:
    """A value of the metric of this name, or its deviation: shares and percentages as such, 11.8 %."""
    if number is None or not math.isfinite(number):
        return MISSING
    if name.startswith("coverage"):
        return f"{100 * number:.1f}\u00a0%"
    return f"{format_score(number)}\u00a0%" if name.endswith("percentage error") else format_score(number)


def format_signed(number: float | None) -> str:
    """A difference: +0.012 or −0.012."""
    written = format_score(number)
    return f"+{written}" if number is not None and number > 0 and written != MISSING else written


def format_interval(bounds: Sequence[float]) -> str:
    """[0.594, 0.629], or nothing where there are no bounds or one is unknown."""
    return (
        f"[{format_score(bounds[0])}, {format_score(bounds[1])}]"
        if bounds and all(is_number(bound) for bound in bounds)
        else ""
    )


def format_probability(share: float | None) -> str:
    """97 %, never broken over two lines; never rounded up to a certainty, nor down to an impossibility."""
    if share is None or not math.isfinite(share):
        return MISSING
    rounded = round(100 * share)
    if rounded == 100 and share < 1:
        return "over 99\u00a0%"
    return "under 1\u00a0%" if rounded == 0 and share > 0 else f"{rounded}\u00a0%"


def format_quantity(value: object) -> str:
    """A target or a prediction: numbers to four significant digits, labels as they are, label sets joined."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "(none)"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if not math.isfinite(value):
        return MISSING
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def format_weights(number: int) -> str:
    """4,097 or 22.7 M"""
    return format_count(number) if number < 10_000 else format_scaled(number, 1000, ("", "K", "M", "B", "T"))


def format_rate(number: float | None) -> str:
    """A learning rate: 3e-5, 0.001 as 1e-3."""
    if number is None or not math.isfinite(number) or number == 0:
        return MISSING
    digits, exponent = f"{number:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(exponent)}"


def format_settings(values: dict[str, object]) -> str:
    """lr 3e-5, width 512"""
    return ", ".join(f"{name} {_setting(value)}" for name, value in values.items())


def family_name(name: str) -> str:
    """A family of regimes, as people call it."""
    return FAMILIES.get(name, name)


def verdict_sentence(name: str, confidence: float) -> str:
    """The answer as a sentence, hedged where it is not sure."""
    sentence = VERDICT_SENTENCES.get(name) or f"{name[:1].upper()}{name[1:]}."
    if confidence >= PROBABLY or name == "undecided":
        return sentence
    return f"Probably {sentence if sentence[1:2].isupper() else sentence[:1].lower() + sentence[1:]}"


def confidence_phrase(confidence: float) -> str:
    """How sure, in a word or two."""
    return next((word for least, word in SURENESS if confidence >= least), SURENESS[-1][1])


def format_factor(error: float | None, units: str) -> str:
    """What an error on a log scale means: '2.0' for 0.3 of log10(price), '' on any other scale."""
    bases: dict[str, Callable[[float], float]] = {"log10(": lambda power: 10.0**power, "log(": math.exp}
    for start, raised in bases.items():
        if units.startswith(start) and error is not None and 0 <= error < 6:
            return f"{raised(error):.2f}" if raised(error) < 10 else f"{raised(error):,.0f}"
    return ""


def _setting(value: object) -> str:
    small = isinstance(value, float) and 0 < abs(value) < 0.01
    return format_rate(value) if isinstance(value, float) and small else format_quantity(value)
