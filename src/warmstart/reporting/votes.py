"""Votes: which answers of a study are judged blind, and what was the result?

blind.html   the page that was made last
blind.json   every page: whose answers it shows, and the newest votes on it
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import TypedDict

from warmstart.data.schema.schema import TEXT_OUT
from warmstart.errors import InputError, UsageError, did_you_mean, join_phrases, shell_word, shorten
from warmstart.reporting.blind_comparison import AnswerPair, Preference, page_fingerprint, render_pairs, tally
from warmstart.reporting.entries import Entry, entries_of
from warmstart.results.comparison import Comparison
from warmstart.runtime.files import read_json, write_json, write_text

REFERENCE = "reference"  # what stands in the data
PAGE, BOOK = "blind.html", "blind.json"


class VotedPage(TypedDict):
    """What is kept of a page."""

    a: str  # whose answers
    b: str
    pairs: int
    identical: int
    votes: Any | None


QUESTIONS = {
    "summarise": "Which summary is better?",
    "translate": "Which translation is better?",
    "structured": "Which description is better?",
}


def write_blind_page(
    comparison: Comparison, texts: Mapping[int, str] | None, names: Sequence[str], folder: Path
) -> Path:
    """Write blind.html with the answers of two regimes, or of one and `reference`; rows that both answer alike are out.

    `texts`: the test rows' own, by row number; None: the study keeps none. Raises UsageError.
    """
    first, second = _two(comparison, names)
    if texts is None:
        raise UsageError(
            f"the study in {str(folder)!r} keeps no texts (--no-examples), so there is nothing to judge answers by.",
            "compare again without --no-examples",
        )
    answers = [_answers(comparison, name, first if second == REFERENCE else second) for name in (first, second)]
    common = sorted(set(answers[0]).intersection(answers[1], texts))
    differing = [row for row in common if answers[0][row].strip() != answers[1][row].strip()]
    if not differing:
        what = f"wrote the same for all {len(common):,} rows" if common else "wrote no answer for the same row"
        raise UsageError(f"{first!r} and {second!r} {what}: there is nothing to choose between.", "name two others")
    # by lot: whoever stops early has judged rows from all over
    drawn = np.random.default_rng(0).permutation(differing).tolist()
    pairs = [AnswerPair(texts[row], answers[0][row], answers[1][row]) for row in drawn]
    book = _book(folder)
    page = page_fingerprint(pairs)
    known = {"a": first, "b": second, "pairs": len(pairs), "identical": len(common) - len(pairs), "votes": None}
    write_json(folder / BOOK, {page: known} | book)
    write_text(folder / PAGE, render_pairs(pairs, QUESTIONS.get(comparison.task, "Which answer is better?")))
    return folder / PAGE


def enter_votes(folder: Path, file: Path) -> Preference:
    """Keep the votes of a votes.json with the page that they are for, in place of earlier ones. Raises InputError."""
    try:
        votes = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{str(file)!r} cannot be read: {said}.", "name the votes.json that the page gave") from error
    book = _book(folder)
    if not book:
        raise InputError(
            f"no page of the study in {str(folder)!r} was made to vote on.",
            f"make one with: warmstart report {shell_word(folder)} --pairs REGIME,REGIME",
        )
    page = votes.get("page") if isinstance(votes, dict) else None
    if not isinstance(page, str) or page not in book:
        raise InputError(
            f"{str(file)!r} holds no votes on a page of this study: its page is {shorten(page)}, expected "
            f"{join_phrases(list(book), 4, quote=True)}.",
            "name the votes.json that a page of this study gave",
        )
    known = book[page]
    found = _preference(known, page, votes)
    write_json(folder / BOOK, book | {page: known | {"votes": votes["votes"]}})
    return found


def preferences(folder: Path) -> tuple[Preference, ...]:
    """The result of every page that was voted on."""
    return tuple(
        _preference(known, page, {"page": page, "votes": known["votes"]})
        for page, known in _book(folder).items()
        if known["votes"] is not None
    )


def _preference(known: Mapping[str, Any], page: str, votes: object) -> Preference:
    found = tally(votes, page, known["pairs"])
    return Preference(known["a"], known["b"], known["pairs"], known["identical"], found)


def _book(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / BOOK
    if not path.exists():
        return {}
    remedy = f"delete it, and {PAGE}: the votes in it are lost"
    return {name: {**page} for name, page in read_json(path, dict[str, VotedPage], remedy).items()}


def _two(comparison: Comparison, names: Sequence[str]) -> tuple[str, str]:
    known = [*comparison.names, REFERENCE]
    if comparison.task not in TEXT_OUT:
        raise UsageError(
            f"the task of this study is {comparison.task}: its regimes wrote no answers.",
            f"blind judging is for {join_phrases(TEXT_OUT)}",
        )
    if len(names) != 2 or names[0] == names[1]:
        said = ",".join(names)
        raise UsageError(f"--pairs is {said!r}; it takes two different names.", f"choose two of: {join_phrases(known)}")
    for name in names:
        if name not in known:
            raise UsageError(f"{name!r} wrote no answers in this study.", did_you_mean(name, known))
        if name != REFERENCE and _entry(comparison, name) is None:
            raise UsageError(
                f"{name!r} failed in this study, and wrote no answers.", f"choose two of: {join_phrases(known)}"
            )
    return names[0], names[1]


def _answers(comparison: Comparison, name: str, other: str) -> dict[int, str]:
    """By row number. The reference is what stands beside the answers of the other."""
    entry = _entry(comparison, other if name == REFERENCE else name)
    columns = entry.shown.predictions if entry and entry.shown else {}
    rows = columns.get("row", ())
    answers = columns.get("target" if name == REFERENCE else "prediction", ())
    return {int(row): text for row, text in zip(rows, answers, strict=True) if isinstance(text, str)}


def _entry(comparison: Comparison, name: str) -> Entry | None:
    """The regime at the most rows; None where it failed."""
    found = [entry for entry in entries_of(comparison) if entry.name == name and not entry.failed]
    return max(found, key=lambda entry: entry.row.rows, default=None)
