"""Amounts: how are numbers written that have units, thousands separators or a decimal comma?

>>> found = number_format({"1.299,00 €": 1, "980,50 €": 1})
>>> found, read_amount("1.299,00 €", found)
(NumberFormat(decimal_mark=',', unit='€', ambiguous=False), 1299.0)

Also read are negative numbers as accountants write them, (27.50) and 27.50-, the minus sign and the digits of other
scripts, and thousands and millions beside other amounts: 980, 1.2K, $3M.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from warmstart.data.schema.columns import DecimalMark
from warmstart.data.tables.cells import PLAIN_NUMBER

CURRENCY = r"[$€£¥₹]|[A-Z]{2}\$|(?:USD|EUR|GBP|CHF|JPY|INR|CAD|AUD|Rs\.?)"
TIMES = {"k": 1e3, "K": 1e3, "Tsd": 1e3, "M": 1e6, "mn": 1e6, "Mio": 1e6, "B": 1e9, "bn": 1e9, "Mrd": 1e9}
UNIT_PATTERN = rf"{CURRENCY}|[%‰°]|[^\W\d_]{{1,4}}(?:\.|/[^\W\d_]{{1,4}})?"
AMOUNT_PATTERN = re.compile(
    rf"(?P<sign>[+-]?)(?:(?P<before>{CURRENCY})\s*)?(?P<number>[+-]?[0-9]+(?:[.,'\s][0-9]+)*)"
    rf"(?:\s*(?P<times>{'|'.join(TIMES)})\.?(?![^\W\d_]))?(?:\s*(?P<after>{UNIT_PATTERN}))?"
)
DASHES = dict.fromkeys(map(ord, "\u2212\u2013\ufe63\uff0d"), "-")  # the minus sign, and what is typed in its place
ARABIC_MARKS = {ord("\u066b"): ".", ord("\u066c"): ","}  # of Arabic
IN_BRACKETS = re.compile(r"\(([^()+-]*\d[^()+-]*)\)")
MINUS_BEHIND = re.compile(r"([^()+-]*\d[.,]\d+)\s*-")  # not of whole numbers: 2- is a mark at school
CODE_PATTERN = re.compile(r"[+-]?0\d")  # "007" is a name that happens to be written in digits
GROUPED = {  # by the mark between thousands; in India lakhs are parted as well: 1,23,456
    ".": re.compile(r"[1-9]\d{0,2}(?:\.\d{3})+"),
    ",": re.compile(r"[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d?(?:,\d{2})+,\d{3}"),
}
WRITTEN = {  # by decimal mark
    ".": re.compile(r"[+-]?(?:\d+|\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3}|\d{1,3}(?:[\s']\d{3})+)(?:\.\d+)?"),
    ",": re.compile(r"[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+|\d{1,3}(?:[\s']\d{3})+)(?:,\d+)?"),
}
PERCENT = ("%", "‰")
GROUPS = re.compile(r"[\s']")
FEWEST_FRACTIONS = 2  # all of three digits, beside whole numbers below 1,000: a point may part thousands


@dataclass(frozen=True)
class NumberFormat:
    """How the numbers of a column are written."""

    decimal_mark: DecimalMark = "."
    unit: str = ""  # beside each number, or beside some: "$", "%", "kg"
    ambiguous: bool = False  # 1.200 beside 980 may be 1200


def read_amount(cell: str, form: NumberFormat) -> float | None:
    """The number of a cell without blank space around it; None where it is no number, or one of another unit."""
    if form.decimal_mark == "." and PLAIN_NUMBER.match(cell):
        return float(cell)
    found = AMOUNT_PATTERN.fullmatch(_sign_first(cell))
    if found is None or (found["before"] and found["after"]):
        return None
    times, unit = found["times"] or "", found["before"] or found["after"]
    if times and times == form.unit:  # beside every number: it is their unit
        times, unit = "", times
    number = found["number"]
    if (unit and unit != form.unit) or not WRITTEN[form.decimal_mark].fullmatch(number):
        return None
    if found["sign"] and number[0] in "+-":
        return None
    thousands = "," if form.decimal_mark == "." else "."
    return TIMES.get(times, 1.0) * float(
        GROUPS.sub("", found["sign"] + number.replace(thousands, "")).replace(",", ".")
    )


def number_format(cells: Mapping[str, int], share: float = 1.0) -> NumberFormat | None:
    """How numbers are written in these cells (and how often each occurs), or None where they are none.

    At least this share must be numbers, of one unit; and a cell that is none must have no digits. It is decided by how
    cells are written, never by how often they recur.
    """
    marks: set[str] = set()
    units: set[str] = set()
    times: set[str] = set()
    whole, fractions, unread = True, 0, 0
    plain = False  # whether a cell is no negative number in another notation
    alone = behind = False  # whether K stands beside a number without a unit, and whether a unit stands behind one
    for cell, count in cells.items():
        written = _sign_first(cell)
        plain = plain or written == cell
        found = AMOUNT_PATTERN.fullmatch(written)
        if found is None:
            if not PLAIN_NUMBER.match(cell):  # 1e-5 is one
                if any(map(str.isdigit, cell)):
                    return None
                unread += count
            continue
        number = found["number"].lstrip("+-")
        mark = _mark(number)
        if mark is None or CODE_PATTERN.match(number) or (found["before"] and found["after"]):
            return None
        marks.add(mark)
        units.add(found["before"] or found["after"] or "")
        times.add(found["times"] or "")
        alone = alone or bool(found["times"] and not (found["before"] or found["after"]))
        behind = behind or bool(found["after"])
        whole = whole and (mark != "" or len(number) <= 3)
        fractions += mark == ".?"
    total = sum(cells.values())
    if unread > (1 - share) * total or unread == total or len(units - {""}) > 1:
        return None
    if (alone and behind) or (not plain and any(cell.startswith("(") for cell in cells)):
        return None  # 3 M and 4 L are of two units; (1) and (2) are no negative numbers
    unit = max(units, default="")
    if percent_beside_plain(cells):
        return None
    if len(times) == 1 and not unit:
        unit = max(times)
    certain = marks & {".", ","}
    if len(certain) > 1 or (not certain and {".?", ",?"} <= marks):
        return None
    if certain:
        return NumberFormat("," if "," in certain else ".", unit)
    ambiguous = ".?" in marks and "" in marks and whole and fractions >= FEWEST_FRACTIONS
    return NumberFormat(".", unit, ambiguous)


def percent_beside_plain(cells: Iterable[str]) -> tuple[str, str] | None:
    """A percentage and a plain number other than 0, which may be a hundredth of one; None where there are not both.

    >>> percent_beside_plain(["36.5 %", "0", "0.36"]), percent_beside_plain(["36.5 %", "0"])
    (('36.5 %', '0.36'), None)
    """
    cells = list(cells)
    percent = next((cell for cell in cells if cell.endswith(PERCENT) and any(map(str.isdigit, cell))), None)
    plain = next((cell for cell in cells if not cell.endswith(PERCENT) and any(map("123456789".count, cell))), None)
    return (percent, plain) if percent is not None and plain is not None else None


def _mark(number: str) -> str | None:
    """The decimal mark: "" where there is none, ".?" or ",?" where it may part thousands; None for no number."""
    grouped = GROUPS.search(number)
    bare = GROUPS.sub("", number)
    points, commas = bare.count("."), bare.count(",")
    if not points and not commas:
        return "" if not grouped or WRITTEN["."].fullmatch(number) else None
    if points and commas:
        mark: DecimalMark = "." if bare.rindex(".") > bare.rindex(",") else ","
        return mark if WRITTEN[mark].fullmatch(number) else None
    own: DecimalMark = "." if points else ","
    other: DecimalMark = "," if points else "."
    if points + commas > 1:
        return other if GROUPED[own].fullmatch(bare) and not grouped else None
    if not WRITTEN[own].fullmatch(number):
        return None
    return f"{own}?" if GROUPED[own].fullmatch(bare) and not grouped else own


def _sign_first(cell: str) -> str:
    """The cell with ASCII digits, and a minus before a number that is negative in another notation.

    >>> _sign_first("(1,200)"), _sign_first("27.50-"), _sign_first("\u22123"), _sign_first("\u0663\u066b\u0665")
    ('-1,200', '-27.50', '-3', '3.5')
    """
    if not cell.isascii():
        cell = cell.translate(DASHES).translate(ARABIC_MARKS)
        digits = (unicodedata.decimal(letter, None) for letter in cell)
        cell = "".join(letter if digit is None else str(digit) for letter, digit in zip(cell, digits, strict=True))
    negative = IN_BRACKETS.fullmatch(cell) or MINUS_BEHIND.fullmatch(cell)
    return f"-{negative[1].strip()}" if negative else cell
