"""Errors: what happened, what was expected, and what should be done about it?

    WarmstartError
    ├── InputError        the data is not what it should be         exit 2
    │   └── RowError      one of the given rows is the problem      exit 2
    ├── UsageError        a flag, key or argument is wrong          exit 2
    │   └── MissingError  something needed is not installed/there   exit 2
    └── TrainingError     training could not continue               exit 1

Every message names the file, row, column or key it is about; the hint says what to do.
"""

import re
import shlex
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

# Control characters but for the ends of lines and tabs, and those that reorder what is written around them.
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def flag(name: str) -> str:
    """--batch-size for batch_size"""
    return f"--{name.replace('_', '-')}"


class WarmstartError(ValueError):
    """What went wrong, for a person. `hint` is the next thing to try, without the word 'hint'."""

    exit_code = 2

    def __init__(self, message: str, hint: str = ""):
        super().__init__(f"{message}\nhint: {hint}" if hint else message)
        self.message = message
        self.hint = hint


class InputError(WarmstartError):
    """The data cannot be used as it is."""


class RowError(InputError):
    """One of the given rows cannot be used. `at`: where it stands among them, from 0."""

    def __init__(self, at: int, message: str, hint: str = ""):
        super().__init__(f"row {at + 1}: {message}", hint)
        self.at = at
        self.reason = message

    def in_table(self, number: int) -> InputError:
        """The same with the row's number in the table that it comes from."""
        return InputError(f"row {number}: {self.reason}", self.hint)


class UsageError(WarmstartError):
    """A flag, a configuration key or an argument cannot be used as it is."""


class MissingError(UsageError):
    """A package, a folder or a set of weights that is needed is not there."""


class TrainingError(WarmstartError):
    """Training could not go on; what was saved before is intact."""

    exit_code = 1


def shell_word(path: object) -> str:
    """A path as it is typed in a shell, for commands in messages."""
    return shlex.quote(str(path))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'did you mean 'price'?' or the list of what is known; made for hints."""
    known = [str(k) for k in known]
    lowered = {k.lower(): k for k in known}
    close = get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    if close:
        return f"did you mean {lowered[close[0]]!r}?"
    return f"there are: {join_phrases(known)}" if known else "there are none"


def join_phrases(items: Sequence[object], limit: int = 8, quote: bool = False) -> str:
    """'a, b, c and 12 more': a list short enough for one line of a message."""
    shown = [repr(i) if quote else str(i) for i in items[:limit]]
    more = len(items) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")


def count_phrase(count: int, one: str, several: str) -> str:
    """'1 row has', '1,204 rows have': a number and what is said of so many."""
    return f"{count:,} {one if count == 1 else several}"


def printable(text: str) -> str:
    """Text as it may be shown in a terminal: what could steer it, or turn the order of letters, is written out.

    Names of columns, classes and folders are somebody else's, and so are answers of models.

    >>> printable("price\\x1b]0;owned\\x07")
    'price\\\\x1b]0;owned\\\\x07'
    """
    return UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], text)


def shorten(value: object, limit: int = 60) -> str:
    """A value as it may stand in a message: one line, at most `limit` characters, control characters shown escaped."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
