"""Influences: which parts of a row moved its prediction, and by how much? The results, as facts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from warmstart.errors import shorten
from warmstart.quantities import format_number
from warmstart.runtime.files import read_json

EXPLAINED_FILE = "explained.json"


@dataclass(frozen=True)
class Influence:
    """A part of a row, and what it does to the prediction."""

    column: str  # "" where a row is a text alone
    part: str  # the words that were taken away, or the value of the column
    effect: float  # prediction with it minus without it: in the target's units, or of the predicted class's probability

    def __str__(self) -> str:
        """'weight 2.5 (+12.3)'"""
        name = f"{self.column} " if self.column else ""
        return f"{name}{shorten(self.part, 40)} ({'+' if self.effect >= 0 else ''}{format_number(self.effect)})"


@dataclass(frozen=True)
class ExplainedRun:
    """What moved some predictions of a run."""

    run: str  # its name
    rows: Mapping[int, tuple[Influence, ...]]  # by row number in the table; the largest effect first

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def load(cls, path: Path) -> "ExplainedRun | None":
        """The inverse of `to_json`, read from a file; None if there is none."""
        return read_json(path, cls, "delete it") if path.exists() else None
