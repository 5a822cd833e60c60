"""Findings: how is something worth knowing before training reported, with its rows?"""

from dataclasses import dataclass
from typing import Literal

from warmstart.types import Array

ROWS_SHOWN = 20  # row numbers kept with a finding

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """Something to know before training."""

    kind: str  # e.g. "missing-target", "duplicates", "leak", "truncated"
    severity: Severity  # error: training would refuse these rows
    message: str  # one sentence, with counts
    rows: tuple[int, ...] = ()  # the first few row numbers, from 1
    count: int = 0
    hint: str = ""

    @classmethod
    def of(cls, kind: str, severity: Severity, message: str, numbers: Array, hint: str = "") -> "Finding":
        """A finding about the rows with these numbers, from 1: all are counted, the first few are kept."""
        return cls(kind, severity, message, tuple(numbers[:ROWS_SHOWN].tolist()), len(numbers), hint)
