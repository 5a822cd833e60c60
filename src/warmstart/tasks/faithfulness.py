"""Faithfulness: which numbers, dates and names of a text occur in its source?

It measures precision: of what the text says, not of what it leaves out, and only of what can be looked up. Numbers in
words, negations and who did what to whom are not seen; small numbers occur in many sources by chance. A name is a run
of capitalized words that does not begin a sentence, a word with capitals inside or only capitals, or text in quotation
marks: in German every noun is capitalized, and in scripts without capitals only quotations count.

>>> faithfulness(["It cost Ada Lovelace 1,200 € on 3 May 1842."], ["Ada Lovelace paid 1200 € on 1842-05-04."])[1]
[('3 May 1842',)]
"""

import datetime
import unicodedata
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import regex

from warmstart.types import Array

MONTHS = (
    "january januar janvier jan janv|february februar février feb fév févr|march märz mars mar mär|april avril apr avr|"
    "may mai|june juni juin jun|july juli juillet jul juil|august août aug|september septembre sep sept|"
    "october oktober octobre oct okt|november novembre nov|december dezember décembre dec dez déc"
)
_MONTH = {name: i for i, names in enumerate(MONTHS.split("|"), 1) for name in names.split()}
_NAMES = "|".join(sorted(_MONTH, key=len, reverse=True))
_DATE = regex.compile(
    r"(?<![\w.])(?:(?P<y1>\d{4})[-/.](?P<m1>\d{1,2})[-/.](?P<d1>\d{1,2})"
    r"|(?P<a>\d{1,2})[-/.](?P<b>\d{1,2})[-/.](?P<y2>\d{4})"
    rf"|(?P<d3>\d{{1,2}})(?:st|nd|rd|th|er|\.)?\ (?:of\ )?(?P<m3>{_NAMES})\.?,?\ (?P<y3>\d{{4}})"
    rf"|(?P<m4>{_NAMES})\.?\ (?P<d4>\d{{1,2}})(?:st|nd|rd|th)?,?\ (?P<y4>\d{{4}}))(?!\w)",
    regex.IGNORECASE,
)
_NUMBER = regex.compile(
    r"(?<![\p{L}\p{N}_]|\d[.,])"
    r"(?:\d{1,3}(?:\ \d{3})+(?:[.,]\d+)?|\d+(?:[.,:'’\u00a0\u202f]\d+)*)(?![\p{L}\p{N}_])"
)
_THOUSANDS = regex.compile(r"\d{1,3}([.,'’\ \u00a0\u202f])\d{3}(?:\1\d{3})*(?:[.,]\d+)?")
_QUOTED = regex.compile(r'"([^"\n]{2,80})"|“([^”\n]{2,80})”|„([^“”\n]{2,80})[“”]|«\s*([^»\n]{2,80}?)\s*»')
_WORD = regex.compile(r"\p{L}[\p{L}\p{M}\p{N}]*(?:[-'’_.+][\p{L}\p{N}][\p{L}\p{M}\p{N}]*)*")
_SENTENCE_START = regex.compile(r"(?:^|[.!?:;…\n•*-])[\s\"'“„«(\[]*$")
GONE = "\0"  # stands for what was found already
_POSSESSIVE = regex.compile(r"['’]s$")


def faithfulness(texts: Sequence[str], sources: Sequence[str]) -> tuple[Array, list[tuple[str, ...]]]:
    """[n, 2]: how many numbers, dates and names stand in the source, and how many there are; and those that do not."""
    scores = np.zeros((len(texts), 2))
    missing = []
    for i, (text, source) in enumerate(zip(texts, sources, strict=True)):
        said = claims(text)
        absent = tuple(_absent(said, source))
        scores[i] = len(said) - len(absent), len(said)
        missing.append(absent)
    return scores, missing


def claims(text: str) -> dict[str, str]:
    """What can be looked up, as it is written, in order: 'date', 'number' or 'name' of each."""
    text = unicodedata.normalize("NFC", text)
    found: dict[int, tuple[str, str]] = {}
    for kind, pattern in (("name", _QUOTED), ("date", _DATE), ("number", _NUMBER)):
        for match in pattern.finditer(text):
            written = next(filter(None, match.groups()), match[0]) if pattern is _QUOTED else match[0]
            found[match.start()] = (written, kind)
        text = pattern.sub(lambda match: GONE * len(match[0]), text)
    found |= {start: (name, "name") for start, name in _names(text)}
    return {written: kind for _, (written, kind) in sorted(found.items())}


def _names(text: str) -> Iterator[tuple[int, str]]:
    """Runs of capitalized words, with where they start."""
    run: list[Any] = []
    for match in _WORD.finditer(text):
        word = _POSSESSIVE.sub("", match[0])
        begins = _SENTENCE_START.search(text[: match.start()]) is not None
        marked = sum(letter.isupper() for letter in word) > 1
        is_name = marked or (word[0].isupper() and len(word) > 1 and not begins)
        goes_on = is_name and not begins and run and text[run[-1].end() : match.start()] == " "
        if run and (not goes_on or _POSSESSIVE.search(run[-1][0])):
            yield _joined(run, text)
            run = []
        if is_name:
            run.append(match)
    if run:
        yield _joined(run, text)


def _joined(run: Sequence[Any], text: str) -> tuple[int, str]:
    return run[0].start(), _POSSESSIVE.sub("", text[run[0].start() : run[-1].end()])


def _absent(said: dict[str, str], source: str) -> Iterator[str]:
    source = unicodedata.normalize("NFC", source)
    dates = {day for match in _DATE.finditer(source) for day in _days(match)}
    numbers = {reading for match in _NUMBER.finditer(source) for reading in _readings(match[0])}
    words = _words(source)
    for written, kind in said.items():
        if kind == "date":
            match = _DATE.match(written)
            assert match is not None
            stands = not dates.isdisjoint(_days(match)) or written in source
        elif kind == "number":
            stands = not numbers.isdisjoint(_readings(written))
        else:
            stands = _words(written) in words
        if not stands:
            yield written


def _words(text: str) -> str:
    """Words and numbers in small letters, a space around each."""
    found = regex.findall(r"[\p{L}\p{M}\p{N}]+", regex.sub(r"['’]s\b", "", text).casefold())
    return f" {' '.join(found)} "


def _days(match: Any) -> set[datetime.date]:
    """What a date may mean: 3/5/1842 is in March or in May."""
    part = match.groupdict()
    if part["a"]:
        options = [(part["y2"], part["a"], part["b"]), (part["y2"], part["b"], part["a"])]
    else:
        options = [(part[f"y{i}"], part[f"m{i}"], part[f"d{i}"]) for i in (1, 3, 4) if part[f"d{i}"]]
    found = set()
    for year, month, day in options:
        name = month.casefold().replace("i\u0307", "i")  # AUGUſT and APRİL match too
        number = int(month) if month.isdecimal() else _MONTH.get(name, 0)
        if 1 <= number <= 12 and 1 <= int(day) <= 31 and int(year) >= 1:
            found |= _day(int(year), number, int(day))
    return found


def _day(year: int, month: int, day: int) -> set[datetime.date]:
    try:
        return {datetime.date(year, month, day)}
    except ValueError:  # 31 April
        return set()


def _readings(written: str) -> set[str]:
    """What a number may mean: 1.200 is one and a fifth, or one thousand two hundred."""
    found = {written}
    if _THOUSANDS.fullmatch(written):
        mark = next(character for character in written if not character.isdigit())
        found |= _decimal(written.replace(mark, ""))
    return found | _decimal(written)


def _decimal(written: str) -> set[str]:
    plain = written.replace(",", ".")
    return {str(Decimal(plain).normalize())} if regex.fullmatch(r"\d+(?:\.\d+)?", plain) else set()
