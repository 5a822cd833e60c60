"""Race outcome: what did a race find? As stored in the study folder."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from warmstart.quantities import format_interval_bounds, format_number, format_percent
from warmstart.results.display import Display
from warmstart.results.record import Interval
from warmstart.runtime.files import read_fields


@dataclass(frozen=True)
class RaceForecast:
    """One regime in a race."""

    regime: str
    family: str
    rows: int  # the most that it was trained on
    chance: float  # to be the best on all rows
    score: float  # predicted for all rows
    interval: Interval  # of it, 90 %
    seconds: float  # of one run on all rows


@dataclass(frozen=True)
class RaceOutcome:
    """The result of a race."""

    whole: int  # training rows that it is about
    choice: str | None  # the leading regime, decided or not; None: nothing could be trained
    tie: tuple[str, ...]  # as good as each other, cheapest first; empty without a tie
    confidence: float  # chance that the choice is best, or short of it by less than matters
    decided: bool
    outlooks: tuple[RaceForecast, ...]  # likeliest first
    spent: float  # seconds
    allowed: float  # seconds
    exhaustive: float  # seconds that the whole comparison would take
    exhaustive_flops: float
    next_regime: str | None  # the run that would tell most, though it was not paid for
    next_rows: int | None
    next_seconds: float | None
    unseen: tuple[str, ...] = ()  # regimes that no run was made of
    by_compute: bool = False  # whether seconds are those of the reference device, which --compute counts in

    def of(self, name: str | None) -> RaceForecast | None:
        return next((each for each in self.outlooks if each.regime == name), None)

    def to_json(self) -> dict[str, Any]:
        """The public part "race" of `advice.json`."""
        outlooks = [asdict(each) | {"interval": list(each.interval)} for each in self.outlooks]
        return vars(self) | {"tie": list(self.tie), "outlooks": outlooks, "unseen": list(self.unseen)}


def race_display(raced: RaceOutcome) -> Display:
    """The estimates for each regime on all rows."""
    titles = ("regime", f"score at {raced.whole:,} rows (estimated)", "90 % band", "chance to be best", "rows used")
    lines = [
        (
            each.regime,
            format_number(each.score),
            format_interval_bounds(each.interval),
            format_percent(each.chance),
            f"{each.rows:,}",
        )
        for each in raced.outlooks
    ]
    return Display("", titles, tuple(lines))


def load_race(folder: Path) -> RaceOutcome | None:
    """The race that a study ran, from its folder; None if it ran none."""
    path = folder / "race.json"
    return RaceOutcome(**read_fields(path, RaceOutcome)) if path.exists() else None
