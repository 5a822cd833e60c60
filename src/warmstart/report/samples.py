"""Samples: what does each regime write, side by side?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from warmstart.report.entries import Entry
from warmstart.report.mistakes import shortened

SHOWN = 10


@dataclass(frozen=True)
class Sample:
    """A test row, its reference, and what every regime wrote for it."""

    row: int
    text: str | None  # None: the study kept no texts
    reference: str
    written: tuple[tuple[Entry, str], ...]


def samples(main: Sequence[Entry], examples: Mapping[int, str] | None) -> tuple[Sample, ...]:
    """Random test rows that every regime wrote an answer for; the same ones each time the page is made."""
    columns = [(entry, entry.shown.predictions) for entry in main if entry.shown and not entry.failed]
    answers = [(entry, _by_row(known, "prediction")) for entry, known in columns]
    if not answers:
        return ()
    references = _by_row(columns[0][1], "target")
    common = sorted(set(references).intersection(*(written for _, written in answers)))
    chosen = np.random.default_rng(0).permutation(len(common))[:SHOWN]
    return tuple(
        Sample(
            row=row,
            text=None if examples is None else shortened(examples.get(row, "")),
            reference=shortened(references[row]),
            written=tuple((entry, shortened(written[row])) for entry, written in answers),
        )
        for row in sorted(common[i] for i in chosen)
    )


def _by_row(columns: Mapping[str, Sequence[object]], name: str) -> dict[int, str]:
    """Row number to text, where there is a text."""
    pairs = zip(columns.get("row", ()), columns.get(name, ()), strict=True)
    return {int(str(row)): text for row, text in pairs if isinstance(text, str)}
