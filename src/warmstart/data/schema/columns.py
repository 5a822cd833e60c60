"""Columns: what kind is a column, and how is each of its cells read, independent of other rows?"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from warmstart.errors import UsageError, did_you_mean, join_phrases

ColumnKind = Literal["text", "number", "category", "boolean", "datetime", "image"]
DateOrder = Literal["ymd", "dmy", "mdy"]  # of year, month and day where all three are written as numbers
DecimalMark = Literal[".", ","]
KINDS: tuple[ColumnKind, ...] = get_args(ColumnKind)

# Of a target:
ClassType = Literal["text", "integer", "number", "boolean"]
LabelNotation = Literal["separated", "list", "printed", "multi-hot", "printed multi-hot"]  # of several in a cell


@dataclass(frozen=True)
class Column:
    """How the cells of one column are read. It is decided once, before training, and stored with the model."""

    name: str
    kind: ColumnKind
    # How the cells are written. Where numbers, dates or true/false are asked to be a category or a text
    # (`--column zip=category`), they are spelled as those kinds are, so that 1 and 1.0 are one category.
    written: ColumnKind = "text"
    decimal_mark: DecimalMark = "."  # of numbers that are text: "," where 1.299,00 is a little under 1,300
    unit: str = ""  # of numbers that are text: "$", "%", "kg"
    date_order: DateOrder = "ymd"
    day_only: bool = False  # no cell had a time of day, so that none is written into the texts
    spelling: tuple[str, str] = ("true", "false")  # of a boolean, in the texts
    image_size: int = 0  # of images: pixels of each side, as they are kept

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "spelling": list(self.spelling)}

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> "Column":
        return cls(**{**known, "spelling": tuple(known["spelling"])})


def parse_kinds(said: Sequence[str]) -> dict[str, str]:
    """What `--column NAME=KIND` says, by column. Raises UsageError for what is no kind.

    >>> parse_kinds(["zip=category", "day=datetime:dmy"])
    {'zip': 'category', 'day': 'datetime:dmy'}
    """
    found = {}
    for one in said:
        name, equals, kind = one.rpartition("=")
        if not equals or not name:
            raise UsageError(f"--column {one} names no kind", f"write --column NAME=KIND ({join_phrases(KINDS)})")
        base, _, how = kind.partition(":")
        known = {"datetime": get_args(DateOrder), "number": (".", ",")}.get(base, ())
        if base not in KINDS:
            raise UsageError(f"--column {one}: {kind!r} is no kind of column", did_you_mean(kind, KINDS))
        if how and how not in known:
            more = f" after the colon, for example {base}:{known[0]}" if known else ": leave out what follows the colon"
            raise UsageError(f"--column {one}: {how!r} is not known", f"expected {join_phrases(known)}{more}")
        found[name] = kind
    return found
