"""Mistakes: where is a regime wrong?"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from warmstart.data.tables.images import PNG_URI
from warmstart.reporting.formatting import format_probability, format_quantity
from warmstart.results.record import Run

WORST = 8  # examples shown for each regime
CLASSES = 10  # rows and columns of a confusion matrix
CONFUSED_PAIRS_SHOWN = 8
TEXT_LENGTH = 400
PICTURE = re.compile(re.escape(PNG_URI) + "[A-Za-z0-9+/]+=*")


@dataclass(frozen=True)
class Mistake:
    """A test row that a regime got badly wrong."""

    row: int
    text: str | None  # None: texts stay out of the page
    target: str
    prediction: str
    beside: str  # the interval of a number, the probability of a class
    error: float

    @property
    def picture(self) -> bool:
        """Whether the text is an image: a PNG as a `data:` URI, and nothing else."""
        return self.text is not None and PICTURE.fullmatch(self.text) is not None


@dataclass(frozen=True)
class ConfusedPair:
    """How often one class was taken for another."""

    target: str
    prediction: str
    count: int
    share: float  # of the rows of the target class


@dataclass(frozen=True)
class Matrix:
    """The most frequent classes against what was predicted for them; the rest is summed up in the last column."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]  # a row for each class, a column for each class and one for all others

    @property
    def has_others(self) -> bool:
        """Whether anything is in the last column."""
        return any(row[-1] for row in self.counts)

    def shares(self) -> list[list[float]]:
        """The counts of each row as shares of it."""
        return [[count / max(1, sum(row)) for count in row] for row in self.counts]


@dataclass(frozen=True)
class Label:
    """Of several labels a row can have, one: how often it was missed, and how often invented."""

    name: str
    there: int
    missed: int
    invented: int


def worst(run: Run, *, higher_is_better: bool, examples: Mapping[int, str] | None) -> tuple[Mistake, ...]:
    """The rows with the largest error; of equal errors the one the model was surest about."""
    columns = run.predictions
    errors = _errors(run, higher_is_better)
    sure = [max(_probabilities(run, i), default=0.0) for i in range(len(errors))]
    order = sorted(range(len(errors)), key=lambda i: (-errors[i], -sure[i], i))[:WORST]
    return tuple(
        Mistake(
            row=int(columns["row"][i]),
            text=None if examples is None else _shown(examples.get(int(columns["row"][i]), "")),
            target=format_quantity(columns["target"][i]),
            prediction=format_quantity(columns["prediction"][i]),
            beside=_beside(run, i),
            error=errors[i],
        )
        for i in order
        if errors[i] > 0
    )


def _shown(text: str) -> str:
    """Shortened, if it is a text."""
    return text if PICTURE.fullmatch(text) else shorten_text(text)


def confused_pairs(run: Run) -> tuple[ConfusedPair, ...]:
    """The most frequent confusions of one class with another."""
    targets, predictions = _classes(run)
    sizes = Counter(targets)
    wrong = Counter((t, p) for t, p in zip(targets, predictions, strict=True) if t != p)
    return tuple(
        ConfusedPair(t, p, count, count / sizes[t]) for (t, p), count in wrong.most_common(CONFUSED_PAIRS_SHOWN)
    )


def confusion_matrix(run: Run) -> Matrix:
    """The most frequent classes of the test rows, against what was predicted for them."""
    targets, predictions = _classes(run)
    names = [name for name, _ in Counter(targets).most_common(CLASSES)]
    place = {name: index for index, name in enumerate(names)}
    counts = [[0] * (len(names) + 1) for _ in names]
    for target, prediction in zip(targets, predictions, strict=True):
        if target in place:
            counts[place[target]][place.get(prediction, len(names))] += 1
    return Matrix(tuple(names), tuple(map(tuple, counts)))


def labels(run: Run) -> tuple[Label, ...]:
    """For rows with several labels: those most often missed or invented."""
    there: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    invented: Counter[str] = Counter()
    for target, prediction in zip(run.predictions["target"], run.predictions["prediction"], strict=True):
        there.update(map(str, target))
        missed.update(map(str, set(target) - set(prediction)))
        invented.update(map(str, set(prediction) - set(target)))
    return tuple(
        Label(name, there[name], missed[name], invented[name])
        for name, _ in (missed + invented).most_common(CONFUSED_PAIRS_SHOWN)
    )


def has_label_sets(run: Run) -> bool:
    """Whether a row can have several labels."""
    return any(isinstance(target, list | tuple) for target in run.predictions.get("target", [])[:1])


def _classes(run: Run) -> tuple[list[str], list[str]]:
    return [str(t) for t in run.predictions["target"]], [str(p) for p in run.predictions["prediction"]]


def _errors(run: Run, higher_is_better: bool) -> list[float]:
    """How far each row's score is from that of a perfect answer: 1 where higher is better, else 0."""
    scores = [float(value) / float(weight) if weight else None for value, weight in run.scores]
    return [0.0 if score is None else 1.0 - score if higher_is_better else score for score in scores]


def _probabilities(run: Run, index: int) -> list[float]:
    """Of the class that was predicted, or of each label; none where a model gives none."""
    found = run.predictions.get("probability")
    if not found:
        return []
    return list(found[index]) if isinstance(found[index], list | tuple) else [found[index]]


def _beside(run: Run, index: int) -> str:
    columns = run.predictions
    if "probability" in columns:
        return ", ".join(map(format_probability, _probabilities(run, index)))
    if "low" in columns and columns["low"][index] is not None:
        return f"[{format_quantity(columns['low'][index])}, {format_quantity(columns['high'][index])}]"
    return ""


def shorten_text(text: str) -> str:
    return text if len(text) <= TEXT_LENGTH else text[: TEXT_LENGTH - 1] + "…"
