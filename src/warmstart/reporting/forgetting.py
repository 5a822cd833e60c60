"""Forgetting: what did each regime forget, and for which score?"""

from collections.abc import Sequence
from dataclasses import dataclass

from warmstart.reporting.entries import Entry
from warmstart.results.forgetting_summary import ForgettingSummary
from warmstart.results.names import HEAD_ONLY, regime_of
from warmstart.results.record import Interval


@dataclass(frozen=True)
class ForgettingMeasure:
    """A way to say how much was forgotten."""

    name: str  # of the field in `ForgettingSummary`
    heading: str
    meaning: str


FORGETTING_MEASURES = (
    ForgettingMeasure(
        "nats", "Loss on general text", "increase in loss on general text over the base's, in nats per token"
    ),
    ForgettingMeasure(
        "kl", "Divergence", "KL divergence of the fine-tuned model from the base on task inputs, in nats per token"
    ),
    ForgettingMeasure(
        "progress_lost", "Progress lost", "share of the gain from pretraining on general text that was lost"
    ),
    ForgettingMeasure(
        "drift",
        "Drift",
        "one minus the cosine between the base's and the fine-tuned model's features of a test text: 0 is unchanged",
    ),
    ForgettingMeasure(
        "drift_cka", "Drift by CKA", "one minus linear CKA, which ignores rotation and scaling of the feature space"
    ),
)


@dataclass(frozen=True)
class ForgettingRow:
    """One regime's line of the table."""

    entry: Entry
    forgotten: ForgettingSummary

    def value(self, measure: ForgettingMeasure) -> float | None:
        found: float | None = getattr(self.forgotten, measure.name)
        return found

    def interval(self, measure: ForgettingMeasure) -> Interval | tuple[()]:
        return self.forgotten.intervals.get(measure.name, ())

    @property
    def scored_by(self) -> str:
        """The metric of the frontier's scores; empty where no weights were mixed."""
        return (self.forgotten.frontier_by or {}).get("score", "")

    @property
    def frontier_measure(self) -> ForgettingMeasure:
        """The measure of what the frontier forgot."""
        name = (self.forgotten.frontier_by or {}).get("forgotten")
        return next(measure for measure in FORGETTING_MEASURES if measure.name == name)


def forgetting_rows(main: Sequence[Entry]) -> tuple[ForgettingRow, ...]:
    """The regimes that had something to forget, best score first; none where only heads were trained on a base."""
    shown = [(entry, entry.row.retention) for entry in main if not entry.failed]
    if all(regime_of(entry.name) == HEAD_ONLY for entry, found in shown if found is not None):
        return ()
    return tuple(ForgettingRow(entry, found) for entry, found in shown if found is not None and any_known(found))


def any_known(found: ForgettingSummary) -> bool:
    """Whether anything could be measured."""
    return any(getattr(found, measure.name) is not None for measure in FORGETTING_MEASURES)


def forgetting_measures(shown: Sequence[ForgettingRow]) -> tuple[ForgettingMeasure, ...]:
    """Those that any of the regimes has."""
    return tuple(measure for measure in FORGETTING_MEASURES if any(each.value(measure) is not None for each in shown))
