"""Answer samples: what does each regime write, side by side?"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from warmstart.reporting.entries import Entry
from warmstart.reporting.mistakes import shorten_text

SAMPLES_SHOWN = 10
AFTER = 120  # characters of the document, at least, after its beginning; or after the last word left out


@dataclass(frozen=True)
class AnswerSample:
    """A test row, its reference, and what every regime wrote for it."""

    row: int
    text: str | None  # of a language model, what it read; None: the study kept no texts
    reference: str
    written: tuple[tuple[Entry, str], ...]


def samples(main: Sequence[Entry], examples: Mapping[int, str] | None) -> tuple[AnswerSample, ...]:
    """Random test rows that every regime wrote an answer for; the same ones each time the page is made."""
    columns = [(entry, entry.shown.predictions) for entry in main if entry.shown and not entry.failed]
    answers = [(entry, _by_row(known, "prediction")) for entry, known in columns]
    if not answers:
        return ()
    references = _by_row(columns[0][1], "target")
    common = sorted(set(references).intersection(*(written for _, written in answers)))
    chosen = np.random.default_rng(0).permutation(len(common))[:SAMPLES_SHOWN]
    return tuple(
        AnswerSample(
            row=row,
            text=None if examples is None else shorten_text(examples.get(row, "")),
            reference=shorten_text(references[row]),
            written=tuple((entry, shorten_text(written[row])) for entry, written in answers),
        )
        for row in sorted(common[i] for i in chosen)
    )


def continuations(main: Sequence[Entry], examples: Mapping[int, str] | None) -> tuple[AnswerSample, ...]:
    """What language models said after the beginning of test passages, or in the place of words left out of them.

    Those of another tokenizer go on from elsewhere, or left out other words: they have a sample of their own.
    """
    columns = [(entry, entry.shown.predictions) for entry in main if entry.shown and not entry.failed]
    answers = [(entry, _by_row(known, "written"), _read(known)) for entry, known in columns if "written" in known]
    if not answers or examples is None:
        return ()
    rows = sorted(set(examples).intersection(*(written for _, written, _ in answers)))
    found = []
    for row in rows:
        alike: dict[object, list[tuple[Entry, str]]] = {}
        for entry, written, read in answers:
            alike.setdefault(read.get(row) or _places(written[row]), []).append((entry, written[row]))
        for place, said in alike.items():
            text = examples[row]
            found.append(_continued(row, text, said, place) if isinstance(place, int) else _filled(row, text, said))
    return tuple(found)


def _read(columns: Mapping[str, Sequence[object]]) -> dict[int, int]:
    """Row number to the characters of the beginning that was gone on from; empty where words were left out."""
    pairs = zip(columns["row"], columns.get("read", ()), strict="read" in columns)
    return {int(str(row)): read for row, read in pairs if isinstance(read, int)}


def _places(written: str) -> tuple[tuple[int, int], ...]:
    """Where words were left out: first characters and last."""
    return tuple((start, end) for start, end, _ in json.loads(written))


def _continued(row: int, text: str, answers: Sequence[tuple[Entry, str]], read: int) -> AnswerSample:
    written = tuple((entry, f"…{said}") for entry, said in answers)
    longest = max(AFTER, *(len(said) for _, said in written))
    true = text[read:][:longest]
    return AnswerSample(row, f"{text[:read]}…", f"…{true}{'…' if len(true) == longest else ''}", written)


def _filled(row: int, text: str, answers: Sequence[tuple[Entry, str]]) -> AnswerSample:
    """Words left out are numbered."""
    places = _places(answers[0][1])
    shown, at = "", 0
    for number, (start, end) in enumerate(places, 1):
        gap = len(text[start:end]) - len(text[start:end].lstrip())
        shown += f"{text[at : start + gap]}[{number}]"
        at = end
    shown += text[at : at + AFTER]
    written = tuple((entry, _numbered([word for *_, word in json.loads(said)])) for entry, said in answers)
    return AnswerSample(row, shown, _numbered([text[start:end].strip() for start, end in places]), written)


def _numbered(words: Sequence[str]) -> str:
    return "  ".join(f"[{number}] {word}" for number, word in enumerate(words, 1))


def _by_row(columns: Mapping[str, Sequence[object]], name: str) -> dict[int, str]:
    """Row number to text, where there is a text."""
    pairs = zip(columns.get("row", ()), columns.get(name, ()), strict=True)
    return {int(str(row)): text for row, text in pairs if isinstance(text, str)}
