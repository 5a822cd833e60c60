"""Columns: of which kind is a column, and how is each of its cells read, whatever rows stand beside it?"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

ColumnKind = Literal["text", "number", "category", "boolean", "datetime"]
DateOrder = Literal["ymd", "dmy", "mdy"]  # of year, month and day where all three are written as numbers
KINDS: tuple[ColumnKind, ...] = get_args(ColumnKind)


@dataclass(frozen=True)
class Column:
    """How the cells of one column are read. It is decided once, before training, and stored with the model."""

    name: str
    kind: ColumnKind
    # How the cells are written, where that is not the kind: numbers, dates and true/false that are categories or text
    # (`--column zip=category`) are spelled as those kinds are, so that 1 and 1.0 are one category.
    written: ColumnKind = "text"
    decimal_mark: Literal[".", ","] = "."  # of numbers that are text: "," where 1.299,00 is a little under 1,300
    date_order: DateOrder = "ymd"
    day_only: bool = False  # no cell had a time of day, so that none is written into the texts
    spelling: tuple[str, str] = ("true", "false")  # of a boolean, in the texts

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "spelling": list(self.spelling)}

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> "Column":
        return cls(**{**known, "spelling": tuple(known["spelling"])})
