"""Dates: which date and time does a cell contain, and is the day or the month written first?

>>> seconds("2023-01-15", "ymd"), seconds("15.01.2023 06:00", "dmy"), seconds("Jan 15, 2023", "ymd")
(1673740800.0, 1673762400.0, 1673740800.0)
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date

from warmstart.data.schema.columns import DateOrder

MONTH_ABBREVIATIONS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
LONG_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
MONTH_NUMBERS = {name: i for names in (MONTH_ABBREVIATIONS, LONG_MONTHS) for i, name in enumerate(names, 1)} | {
    "sept": 9
}
DAY = 86_400
EPOCH = date(1970, 1, 1).toordinal()
CENTURY_FROM = 69  # two digits of a year: 69 is 1969 and 68 is 2068, as POSIX has it
TIME = (
    r"(?:(?:[T ]|,\s*)(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?P<part>[.,]\d+)?)?"
    r"\s*(?P<half>[AaPp][Mm])?\s*(?P<zone>Z|UTC|[+-]\d{2}(?::?\d{2})?)?)?"
)
YEAR_FIRST = re.compile(r"(?P<year>\d{4})(?P<mark>[-/.])(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})" + TIME, re.ASCII)
YEAR_LAST = re.compile(
    r"(?P<first>\d{1,2})(?P<mark>[-/.])(?P<other>\d{1,2})(?P=mark)(?P<year>\d{4}|(?<=/)\d{2})" + TIME, re.ASCII
)
NAMED_MONTH_PATTERN = re.compile(
    r"(?:(?P<day>\d{1,2})[. -]\s*(?P<month>[A-Za-z]{3,9})\.?[ -]\s*|(?P<month2>[A-Za-z]{3,9})\.? (?P<day2>\d{1,2}),? )"
    r"(?P<year>\d{4})" + TIME,
    re.ASCII,
)


def seconds(cell: str, order: DateOrder) -> float | None:
    """Seconds since 1970 in UTC, where a time without a zone is in UTC; None where the cell names no moment.

    `order` decides 01/02/2023, and whether days may come first at all; 2023-01-15 and 15 Jan 2023 are always read.
    """
    if found := YEAR_FIRST.fullmatch(cell):
        return _moment(found, found["year"], int(found["month"]), found["day"])
    if order != "ymd" and (found := YEAR_LAST.fullmatch(cell)):
        day, month = (found["first"], found["other"]) if order == "dmy" else (found["other"], found["first"])
        return _moment(found, found["year"], int(month), day)
    if found := NAMED_MONTH_PATTERN.fullmatch(cell):
        month = (found["month"] or found["month2"]).lower()
        return _moment(found, found["year"], MONTH_NUMBERS.get(month, 0), found["day"] or found["day2"])
    return None


def _moment(found: re.Match[str], year: str, month: int, day: str) -> float | None:
    whole = int(year) if len(year) == 4 else int(year) + (1900 if int(year) >= CENTURY_FROM else 2000)
    try:
        days = date(whole, month, int(day)).toordinal() - EPOCH
    except ValueError:
        return None
    if found["hour"] is None:
        return float(days * DAY)
    hour, minute, second = int(found["hour"]), int(found["minute"]), int(found["second"] or 0)
    if found["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + 12 * (found["half"].lower() == "pm")
    if hour > 23 or minute > 59 or second > 60:
        return None
    part = float(found["part"].replace(",", ".")) if found["part"] else 0.0
    return days * DAY + hour * 3600 + minute * 60 + second + part - _offset(found["zone"])


def _offset(zone: str | None) -> int:
    """Seconds by which a zone is ahead of UTC."""
    if zone in (None, "Z", "UTC"):
        return 0
    assert zone is not None
    digits = zone[1:].replace(":", "").ljust(4, "0")
    return (-1 if zone[0] == "-" else 1) * (int(digits[:2]) * 3600 + int(digits[2:]) * 60)


def date_orders(cells: Mapping[str, int], share: float) -> Sequence[DateOrder]:
    """The orders by which at least this share of the cells are dates, the likeliest first; none has digits otherwise.

    `cells`: how often each occurs. Year first where that will do. Where days and months cannot be told apart, days
    come first if points part them, as in 01.02.2023, else months.
    """
    total = sum(cells.values())
    fitting: list[DateOrder] = []
    points = any("." in cell for cell in cells)
    orders: tuple[DateOrder, ...] = ("ymd", "dmy", "mdy") if points else ("ymd", "mdy", "dmy")
    for order in orders:
        unread = [cell for cell in cells if seconds(cell, order) is None]
        few = sum(cells[cell] for cell in unread) <= (1 - share) * total
        if few and len(unread) < len(cells) and not any(map(_has_digit, unread)):
            fitting.append(order)
            if order == "ymd":
                break
    return fitting


def _has_digit(cell: str) -> bool:
    return any(map(str.isdigit, cell))
