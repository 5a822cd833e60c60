"""Forgetting: what did each regime lose of what its base could do, and for which score?"""

from collections.abc import Sequence
from dataclasses import dataclass

from warmstart.forgotten import Forgotten
from warmstart.record import Interval
from warmstart.report.entries import Entry


@dataclass(frozen=True)
class Measure:
    """A way to say how much was forgotten."""

    name: str  # of the field in `Forgotten`
    heading: str
    meaning: str


MEASURES = (
    Measure(
        "nats", "Loss on general text", "rise of the loss on general text over the untuned base's, in nats a token"
    ),
    Measure(
        "kl", "Divergence", "KL divergence of the tuned model from the base on this task's inputs, in nats a token"
    ),
    Measure("progress_lost", "Progress lost", "share of what pre-training had gained on general text that is lost"),
    Measure(
        "drift",
        "Drift",
        "one minus the cosine between what the base and the tuned model make of a test text: 0 unchanged, 1 unrelated",
    ),
    Measure(
        "drift_cka", "Drift by CKA", "one minus linear CKA, which turning or stretching the whole space does not change"
    ),
)


@dataclass(frozen=True)
class Lost:
    """One regime's line of the table."""

    entry: Entry
    forgotten: Forgotten

    def value(self, measure: Measure) -> float | None:
        found: float | None = getattr(self.forgotten, measure.name)
        return found

    def interval(self, measure: Measure) -> Interval | tuple[()]:
        return self.forgotten.intervals.get(measure.name, ())

    @property
    def scored_by(self) -> str:
        """The metric of the frontier's scores; empty where no weights were mixed."""
        return (self.forgotten.frontier_by or {}).get("score", "")

    @property
    def frontier_measure(self) -> Measure:
        """The measure of what the frontier forgot."""
        name = (self.forgotten.frontier_by or {}).get("forgotten")
        return next(measure for measure in MEASURES if measure.name == name)


def lost(main: Sequence[Entry]) -> tuple[Lost, ...]:
    """The regimes that had something to forget, best score first."""
    shown = [(entry, entry.row.retention) for entry in main if not entry.failed]
    return tuple(Lost(entry, found) for entry, found in shown if found is not None and any_known(found))


def any_known(found: Forgotten) -> bool:
    """Whether anything could be measured."""
    return any(getattr(found, measure.name) is not None for measure in MEASURES)


def measures(shown: Sequence[Lost]) -> tuple[Measure, ...]:
    """Those that any of the regimes has."""
    return tuple(measure for measure in MEASURES if any(each.value(measure) is not None for each in shown))
