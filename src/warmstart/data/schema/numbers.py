"""Numbers: which texts are amounts or dates and no classes, which numbers mark a missing value, or lie far off?"""

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from warmstart.data.schema.cell_values import EXACT
from warmstart.data.schema.dates import date_orders
from warmstart.data.schema.kinds import count_cells
from warmstart.data.tables.cells import PLAIN_NUMBER, as_numbers, count_different, each_text, likely_separator, present
from warmstart.data.tables.formats import NA_MARKS
from warmstart.data.tables.read import Table
from warmstart.data.tables.strings import ArrowColumn
from warmstart.errors import InputError, count_phrase, join_phrases, shorten
from warmstart.types import Array

MANY_VALUES = 20  # whole numbers with more different values are quantities, with fewer they may be classes
AMOUNT_SHARE = 0.95  # of the cells that must hold an amount for the column to be one of amounts
STAND_INS = (-1, -9, -99, -999, -9999, 0)  # written where a number is missing
FEWEST_OTHERS = 20  # different numbers beside one of these: with fewer they may be a scale, such as -1, 1, 2
FAR = 10  # the least number beside 0, for that to be no amount
OUTLIER_SPREADS = (
    1_000  # from the median: a slip of the pen or another unit; heavy tails with their own scale end before
)
OUTLIER_SHARE = 0.01  # of the values: as many are a group of their own; a single one is an outlier in any case
LARGEST_TARGET = 1e100  # either side of 0: squares, and sums of them, stay far below the largest float64
EXAMPLES_SHOWN = 3  # ways of writing that are shown
_UNIT = r"(?:[$€£¥₹%°]|[^\W\d_]{1,4}\.?)"
_AMOUNT = re.compile(rf"(?:{_UNIT}\s*)?([+-]?[0-9]+(?:[.,'\s][0-9]+)*)(?:\s*{_UNIT})?")

_DIGITS = r"[0-9]+(?:[.,'\s][0-9]+)*"
QUANTITY = re.compile(
    rf"[<>~≈±≤≥+-]?\s*(?:{_UNIT}\s*)?{_DIGITS}(?:\s*(?:-|–|to|/|:|\s)\s*(?:{_UNIT}\s*)?{_DIGITS}){{0,2}}(?:\s*{_UNIT})?"
)
ODD_QUANTITY = re.compile(r"[<>~≈±≤≥$€£¥₹%°:/]|\d\s*[-–]\s*\d")  # more than a name made of digits


def amounts(column: ArrowColumn) -> dict[int, str]:
    """A cell of each way in which amounts are written here, three at most, by row from 1; {} where they are none.

    Those that can be read are left out.
    """
    cells, read = 0, 0
    ways: dict[str, tuple[int, str]] = {}
    for row, cell in _filled(column):
        number = _number(cell)
        cells, read = cells + 1, read + (number is not None)
        if number is not None and not PLAIN_NUMBER.match(cell):
            ways.setdefault(cell.replace(number, ""), (row, cell))
    return dict(list(ways.values())[:EXAMPLES_SHOWN]) if read >= AMOUNT_SHARE * cells else {}


def are_quantities(column: ArrowColumn) -> bool:
    """Whether the cells are quantities that cannot be read: in several currencies, 20-30, <5, 12 1/2, 00:12:30.

    Names made of digits, such as 007, 10.0.0.1 and 1.2.3, are none.
    """
    found = [QUANTITY.fullmatch(cell) is not None for _, cell in _filled(column)]
    return (
        bool(found)
        and sum(found) >= AMOUNT_SHARE * len(found)
        and any(ODD_QUANTITY.search(cell) for _, cell in _filled(column))
    )


def check_moments(name: str, target: ArrowColumn) -> None:
    """Raises InputError for dates, however often they recur."""
    if pa.types.is_large_string(target.type) and date_orders(count_cells(target), AMOUNT_SHARE):
        raise InputError(
            f"column {name!r} holds dates, such as {shorten(next(present(target)))}, expected numbers or classes",
            "write it as a number, for example days; if each date is a class: --task classification",
        )


def check_magnitude(table: Table, name: str, values: Array) -> None:
    """Raises InputError for numbers of a target so large that their variance may be no number."""
    with np.errstate(invalid="ignore"):
        large = np.flatnonzero(np.isfinite(values) & (np.abs(values) > LARGEST_TARGET))
    if len(large):
        have = count_phrase(len(large), "value", "values")
        raise InputError(
            f"column {name!r} has {have} beyond {LARGEST_TARGET:g} or -{LARGEST_TARGET:g}, for example "
            f"{values[large[0]]:g} in {table.where(int(large[0]) + 1)}: errors of such predictions are no numbers",
            "correct or empty these cells, or divide the column by a power of ten",
        )


def check_repeats(table: Table, name: str, target: ArrowColumn) -> None:
    """Raises InputError for texts that are no classes: nearly all different, or many quantities."""
    distinct, rows = count_different(present(target))
    if distinct > MANY_VALUES and are_merged(target):
        raise InputError(
            f"column {name!r} has {distinct:,} different whole numbers, such as {next(present(target))}, which are so "
            "large that they cannot be told apart as numbers of 64 bits",
            "if they name the rows, choose another target; if they are quantities, subtract what they have in common; "
            "if they are classes: --task classification",
        )
    if distinct > MANY_VALUES and (distinct > rows / 2 or are_quantities(target)):
        separator = f" {found!r}" if (found := likely_separator(present(target))) else ""
        shown = [f"{shorten(cell)} in {table.where(row)}" for row, cell in amounts(target).items()]
        raise InputError(
            f"column {name!r} has {distinct:,} different values in {rows:,} rows "
            f"(for example {join_phrases(shown or [shorten(next(present(target)))])}): neither numbers nor classes",
            "choose another target; write numbers as 1234.56, without currency signs and thousands separators; "
            f"for several labels a cell, pass --separator{separator}; if they are classes: --task classification",
        )


def are_merged(column: ArrowColumn) -> bool:
    """Whether the column holds different numbers that become the same one or two values as float64."""
    values, bad = as_numbers(column)
    numbers = np.unique(values[np.isfinite(values)])
    if bad.any() or not 0 < len(numbers) <= 2 or np.abs(numbers).max() < EXACT:
        return False
    return count_different(present(column))[0] > len(numbers)


def stand_in(values: Array) -> float | None:
    """The number that comes again and again and lies below all others, which are positive; None where there is none.

    >>> stand_in(np.array([-1.0, -1.0, *range(1, 30)])), stand_in(np.array([0.0, 0.0, *range(1, 30)]))
    (-1.0, None)
    """
    present = values[np.isfinite(values)]
    least = float(present.min(initial=1))
    others = np.unique(present[present != least])
    again = (present == least).sum()
    if least not in STAND_INS or not 2 <= again < len(present) / 2 or len(others) < FEWEST_OTHERS:
        return None
    return least if others[0] > 0 and (least or others[0] >= FAR) else None


def outliers(values: Array) -> Array:
    """bool [n]: the few values that lie 1,000 times as far from the median as others do.

    >>> outliers(np.array([*range(40), 1e12])).nonzero()[0].tolist(), outliers(np.arange(40.0) ** 3).any()
    ([40], np.False_)
    """
    present = values[np.isfinite(values)]
    if not len(present):
        return np.zeros(len(values), dtype=bool)
    low, lower, middle, upper, high = np.percentile(present, (5, 25, 50, 75, 95))
    spread = (upper - lower) / 1.35 or (high - low) / 3.29  # a standard deviation, where they are normally distributed
    with np.errstate(invalid="ignore", over="ignore"):
        far: Array = np.isfinite(values) & (np.abs(values - middle) > OUTLIER_SPREADS * spread)
    return far if spread > 0 and far.sum() <= max(1, OUTLIER_SHARE * len(present)) else np.zeros_like(far)


def mean_and_deviation(values: Array) -> tuple[float, float]:
    """Of the values that are no outliers: a single 1e12 would make all others equal. NaN is left out."""
    usual = values[np.isfinite(values) & ~outliers(values)]
    return (float(usual.mean()), float(usual.std())) if len(usual) else (0.0, 0.0)


def _filled(column: ArrowColumn) -> Iterator[tuple[int, str]]:
    cells = enumerate(each_text(column), 1)
    return ((row, cell.strip()) for row, cell in cells if cell is not None and cell.strip().lower() not in NA_MARKS)


def _number(cell: str) -> str | None:
    """What is left of an amount without its unit."""
    found = _AMOUNT.fullmatch(cell)
    return found[1] if found else None
