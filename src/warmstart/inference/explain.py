"""Explain: which columns, words and parts of an image moved the prediction of a row?

By occlusion (Zeiler and Fergus 2014): a value is taken away, some words of a text, or a ninth of an image, and the row
is predicted again.
The effect is the prediction with it minus the prediction without it. It holds for that row alone, and effects need not
add up: two words that say the same can each be left out without any effect.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from warmstart.data.rows.read_columns import ColumnValues, ReadColumns
from warmstart.data.rows.usable_rows import join_values
from warmstart.data.schema.cell_values import Values, spell
from warmstart.data.tables.images import ACROSS, DOWN
from warmstart.data.tables.strings import Texts
from warmstart.errors import UsageError
from warmstart.inference.model_store import StoredModel
from warmstart.inference.predict import NewRows, TrainedModel
from warmstart.results.influences import Influence
from warmstart.types import Array

MAX_SPANS = 40  # into which a text is cut: of a longer one, several words are left out at a time
EXPLAINED_AT_ONCE = 50  # rows explained at a time: each is predicted up to 41 times for every text that it has
IMAGE_PARTS = len(DOWN) * len(ACROSS)
NEGLIGIBLE_SHARE = 0.01  # of the largest effect: less is left out
ROUNDING_SHARE = 1e-6  # of the prediction: smaller effects are rounding errors
PIECES = re.compile(r"\S+")


@dataclass(frozen=True)
class _Row:
    """A row with something left out: the text that a model reads, the values by column, and what it was."""

    text: str
    values: dict[str, Values]
    column: str
    part: str


def can_explain(stored: StoredModel) -> bool:
    """Whether it predicts a number or a class."""
    task = stored.task
    return task.generative is None and not task.learns_language and not stored.schema.multi_label


def predictions_needed(stored: StoredModel, rows: NewRows) -> list[int]:
    """How many predictions it takes at most to explain each row."""
    counts = [1 + (0 if rows.columns else _pieces(text)) for text in rows.texts]
    for column in stored.schema.columns if rows.columns else ():
        if column.kind == "text":
            parts = [_pieces(text) for text in spell(rows.columns[column.name], column)]
        else:
            parts = [IMAGE_PARTS if column.kind == "image" else 1] * len(counts)
        counts = [count + more for count, more in zip(counts, parts, strict=True)]
    return counts


def _pieces(text: str) -> int:
    """How many parts a text is split into."""
    return min(MAX_SPANS, len(_word_spans(text)))


def _word_spans(text: str) -> list[tuple[int, int]]:
    """Spans of the words in a text: pieces with a letter or a digit."""
    return [found.span() for found in PIECES.finditer(text) if any(map(str.isalnum, found[0]))]


def explain(trained: TrainedModel, rows: NewRows, most: int = 5) -> Iterator[list[Influence]]:
    """The `most` largest influences on each row's prediction, largest first; none for rows without a prediction.

    Raises UsageError for a model that predicts sets of labels or writes texts.
    """
    stored = trained.stored
    if not can_explain(stored):
        raise UsageError("only a predicted number or class can be explained.", "leave out --explain")
    for start in range(0, len(rows.texts), EXPLAINED_AT_ONCE):
        places = range(start, min(start + EXPLAINED_AT_ONCE, len(rows.texts)))
        changed = {i: list(_changed(stored, rows, i)) for i in places if i not in rows.reasons}
        flat = [row for several in changed.values() for row in several]
        effects = _predicted(stored, flat, [len(several) for several in changed.values()]) if flat else np.zeros(0)
        found: dict[int, list[Influence]] = {}
        taken = 0
        for i, several in changed.items():
            some = effects[taken : taken + len(several)]
            taken += len(several)
            parts = zip(several[1:], (some[0] - some[1:]).tolist(), strict=True)
            every = [Influence(row.column, row.part, effect) for row, effect in parts]
            largest = max((abs(each.effect) for each in every), default=0.0)
            least = max(NEGLIGIBLE_SHARE * largest, ROUNDING_SHARE * abs(float(some[0])))
            shown = [each for each in every if each.effect and abs(each.effect) >= least]
            found[i] = sorted(shown, key=lambda each: -abs(each.effect))[:most]
        yield from (found.get(i, []) for i in places)


def _changed(stored: StoredModel, rows: NewRows, place: int) -> Iterator[_Row]:
    """The row as it is, then with one part after the other left out, as long as something is left."""
    row = rows.columns.take(np.array([place]))
    values = {name: row[name] for name in row}
    yield _Row(rows.texts[place], values, "", "")
    if not values:
        for part, rest in _without_words(rows.texts[place]):
            yield _Row(rest, {}, "", part)
        return
    for column in stored.schema.columns:
        own = values[column.name]
        (spelled,) = spell(own, column)
        if not spelled:
            continue
        less: list[tuple[str, Values]]
        if column.kind == "image":
            less = list(row.images.without_parts()) if row.images else []
        elif column.kind == "text":
            less = [(part, Texts.of([rest])) for part, rest in _without_words(spelled)]
        else:
            less = [(spelled, Texts.of([""]) if column.kind == "category" else np.full(1, np.nan))]
        for part, value in less:
            changed = values | {column.name: value}
            (text,) = join_values(ReadColumns(ColumnValues(changed), ()), stored.schema)
            if text.strip():
                yield _Row(text, changed, column.name, part)


def _without_words(text: str) -> Iterator[tuple[str, str]]:
    """Some words of a text, and the text without them."""
    words = _word_spans(text)
    size = -(-len(words) // MAX_SPANS) if words else 1
    for first in range(0, len(words), size):
        low, high = words[first][0], words[min(first + size, len(words)) - 1][1]
        rest = f"{text[:low].rstrip()} {text[high:].lstrip()}".strip()
        if rest:
            yield text[low:high], rest


def _predicted(stored: StoredModel, rows: Sequence[_Row], counts: Sequence[int]) -> Array:
    """float64 [n]: the number that is predicted, or the probability of what is predicted for the whole row.

    `counts`: how many belong to each row, the whole one first.
    """
    columns = ColumnValues.joined([ColumnValues(row.values) for row in rows])
    outputs = stored.predictor.outputs([row.text for row in rows], columns)
    shares = stored.task.probabilities(outputs, stored.calibration)
    if shares is None:
        return np.asarray(stored.task.predictions(outputs, stored.calibration)["prediction"], dtype=np.float64)
    guess = outputs.argmax(-1)
    if not stored.schema.multi_label:  # what is predicted need not be the most likely: mistakes may have costs
        place = {name: i for i, name in enumerate(stored.task.to_json()["classes"])}
        guess = np.array([place[name] for name in stored.task.predictions(outputs, stored.calibration)["prediction"]])
    firsts = np.repeat(np.cumsum([0, *counts[:-1]]), counts)
    found: Array = shares[np.arange(len(rows)), guess[firsts]]
    return found
