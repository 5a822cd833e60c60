"""Term swaps: which terms are exchanged, and what do the texts say afterwards?"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from warmstart.errors import InputError
from warmstart.quantities import WORD_PATTERN
from warmstart.types import Array

TRIES = 20  # words drawn, to find one that is another
EXAMPLE = "write a CSV file without a header, two terms a line, e.g. he,she"


@dataclass(frozen=True)
class TermPair:
    """Two terms that are swapped for each other."""

    left: str
    right: str

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Either term as a whole word, in any case."""
        terms = sorted((self.left, self.right), key=len, reverse=True)  # 'New York' before 'New'
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, terms))})(?!\w)", re.IGNORECASE)

    def __str__(self) -> str:
        return f"{self.left} / {self.right}"


@dataclass(frozen=True)
class TermSwap:
    """A text in which one term of a pair was swapped."""

    text: str  # with the other term in its place
    towards_right: bool  # whether the left one stood there
    times: int


def read_pairs(path: Path) -> tuple[TermPair, ...]:
    """The pairs of a CSV file without a header. Raises InputError naming file and line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [(number, cells) for number, cells in enumerate(csv.reader(file, strict=True), 1) if cells]
    except FileNotFoundError as error:
        raise InputError(f"there is no file {str(path)!r}.", EXAMPLE) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}.", EXAMPLE) from error
    pairs = tuple(dict.fromkeys(_pair(path, number, cells) for number, cells in lines))
    if not pairs:
        raise InputError(f"{path} holds no pair of terms.", EXAMPLE)
    return pairs


def _pair(path: Path, number: int, cells: Sequence[str]) -> TermPair:
    if len(cells) != 2:
        columns = f"{len(cells)} column{'s' if len(cells) > 1 else ''}"
        raise InputError(f"{path}, line {number}: {columns}, expected two: a term and the one to put there.", EXAMPLE)
    left, right = (" ".join(cell.split()) for cell in cells)
    if not left or not right:
        raise InputError(f"{path}, line {number}: a term is empty.", "a term cannot be swapped for nothing; " + EXAMPLE)
    if left.casefold() == right.casefold():
        raise InputError(f"{path}, line {number}: {left!r} would be swapped for itself.", EXAMPLE)
    return TermPair(left, right)


def swap_terms(text: str, pair: TermPair) -> TermSwap | None:
    """The text with the other term; None where neither stands in it, or both do: there is no other side to those.

    >>> swap_terms("He said that he would.", TermPair("he", "she"))
    TermSwap(text='She said that she would.', towards_right=True, times=2)
    """
    found = {match.casefold() for match in pair.pattern.findall(text)}
    if len(found) != 1:
        return None
    towards_right = found == {pair.left.casefold()}
    old, new = (pair.left, pair.right) if towards_right else (pair.right, pair.left)
    text, times = pair.pattern.subn(lambda match: as_case(new, match[0], old), text)
    return TermSwap(text, towards_right, times)


def has_both(text: str, pair: TermPair) -> bool:
    """Whether both terms of a pair occur in a text."""
    return len({match.casefold() for match in pair.pattern.findall(text)}) == 2


def as_case(new: str, found: str, written: str) -> str:
    """`new` in the case of `found`, which is in the text; unchanged if the text has the term as `written`."""
    if found == written:
        return new
    if found.isupper() and len(found) > 1:
        return new.upper()
    if found.islower():
        return new.lower()
    return new[:1].upper() + new[1:]


def random_swap(text: str, pair: TermPair, times: int, pool: Array, random: np.random.Generator) -> str | None:
    """The baseline: as many other words of the text, chosen at random, each replaced by a random word of the `pool`.

    None if the text has too few other words.
    """
    taken = [match.span() for match in pair.pattern.finditer(text)]
    words = [
        match for match in WORD_PATTERN.finditer(text) if not any(start <= match.start() < end for start, end in taken)
    ]
    if len(words) < times:
        return None
    chosen = sorted(random.choice(len(words), times, replace=False).tolist(), reverse=True)
    for place in chosen:
        old = words[place]
        others = [word for word in random.choice(pool, TRIES).tolist() if word.casefold() != old[0].casefold()]
        if not others:
            return None
        new = others[0]
        text = text[: old.start()] + as_case(new.lower(), old[0], "") + text[old.end() :]
    return text
