"""Numbers: how are amounts written that cannot be parsed, and which numbers mark a missing value?"""

import re
from collections.abc import Iterator

import numpy as np

from warmstart.data.tables.cells import PLAIN_NUMBER, each_text
from warmstart.data.tables.formats import NA_MARKS
from warmstart.data.tables.strings import ArrowColumn
from warmstart.types import Array

AMOUNT_SHARE = 0.95  # of the cells that must hold an amount for the column to be one of amounts
STAND_INS = (-1, -9, -99, -999, -9999, 0)  # written where a number is missing
FEWEST_OTHERS = 20  # different numbers beside one of these: with fewer they may be a scale, such as -1, 1, 2
FAR = 10  # the least number beside 0, for that to be no amount
EXAMPLES_SHOWN = 3  # ways of writing that are shown
_UNIT = r"(?:[$€£¥₹%°]|[^\W\d_]{1,4}\.?)"
_AMOUNT = re.compile(rf"(?:{_UNIT}\s*)?([+-]?[0-9]+(?:[.,'\s][0-9]+)*)(?:\s*{_UNIT})?")


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


def _filled(column: ArrowColumn) -> Iterator[tuple[int, str]]:
    cells = enumerate(each_text(column), 1)
    return ((row, cell.strip()) for row, cell in cells if cell is not None and cell.strip().lower() not in NA_MARKS)


def _number(cell: str) -> str | None:
    """What is left of an amount without its unit."""
    found = _AMOUNT.fullmatch(cell)
    return found[1] if found else None
