"""Scales: is a numeric target learned as it is, or by its logarithm?"""

import numpy as np

from warmstart.data.schema.schema import ColumnChoices, Scale
from warmstart.errors import UsageError
from warmstart.types import Array


def choose_scale(columns: ColumnChoices, numbers: Array) -> tuple[Scale, str]:
    """The scale that was asked for, or the fitting one; and a sentence about it. Raises UsageError for a wrong one."""
    values = numbers[np.isfinite(numbers)]
    low, high, name = values.min(), values.max(), repr(columns.target)
    if columns.scale is not None:
        if (columns.scale == "log10" and low <= 0) or (columns.scale == "log10(1+x)" and low < 0):
            needed = "positive" if columns.scale == "log10" else "no negative"
            raise UsageError(
                f"the scale {columns.scale!r} needs {needed} values, but the smallest of {name} is {low:g}",
                "choose another scale",
            )
        return columns.scale, f"{name} is learned on the scale {columns.scale}, as asked."
    spread = f"{name} lies between {_short(low)} and {_short(high)} with a median of {_short(np.median(values))}"
    scale = fitting_scale(values)
    how = "as it is" if scale == "linear" else f"as {scale}, which is undone in predictions"
    return scale, f"{spread}: it is learned {how}."


def _short(number: float) -> str:
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e15 else f"{number:g}"


def fitting_scale(values: Array) -> Scale:
    """Logarithm where finite values are never negative, lean far to small values, and lean half as much or less as one.

    They lean where the middle of their 10th and 90th percentile lies far above the median (by a third of their half
    distance), or where they have a heavy tail: the 99th percentile above 10 times the median and a skewness above 2.
    """
    low = values.min()
    if low < 0:
        return "linear"
    logarithms = np.log10(values) if low > 0 else np.log10(1 + values)
    leans = _lean(values) > 1 / 3 and abs(_lean(logarithms)) <= _lean(values) / 2
    heavy = np.percentile(values, 99) > 10 * np.median(values) and _skewness(values) > 2
    if leans or (heavy and abs(_skewness(logarithms)) <= _skewness(values) / 2):
        return "log10" if low > 0 else "log10(1+x)"
    return "linear"


def _lean(values: Array) -> float:
    """Between -1 and 1 (Kelly's skewness): 0 where the 10th and 90th percentile are equally far from the median."""
    low, middle, high = np.percentile(values, (10, 50, 90))
    return float(((high - middle) - (middle - low)) / (high - low)) if high > low else 0.0


def _skewness(values: Array) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        centered = values / (np.abs(values).max() or 1.0)  # powers of large values would overflow
        centered = centered - centered.mean()
        deviation = centered.std()
        return float((centered**3).mean() / deviation**3) if deviation > 0 else 0.0
