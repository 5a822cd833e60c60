"""Probe result: how far do predictions move when terms are swapped in the texts? The results, as facts.

A case is a text that contains one term of a pair, and what each model predicted before and after the swap. Measures are
means over cases, per pair and in total; a text may be a case of several pairs, so texts are resampled for the
intervals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from warmstart.results.bootstrap import Resampled, resample
from warmstart.results.record import Estimate
from warmstart.runtime.files import read_json
from warmstart.types import Array

WIDE_INTERVAL_CASES = 30  # cases of a pair, below which its interval is said to be wide

# What is measured, in the order in which it is shown: heading, meaning.
CHANGE_MEASURES = {
    "changed": ("Changed", "share of predictions that differ after the swap"),
    "moved": ("Moved", "mean size of the change, of the number on its training scale or of the probability"),
    "moved_units": ("Moved, in units", "the same in the target's own units"),
    "shift": ("Toward the right", "mean change from the text with the left term to the one with the right term"),
    "shift_units": ("Toward it, in units", "the same in the target's own units"),
    "random": ("Any word", "the first measure if as many random words are swapped in each text"),
    "beyond": ("Beyond any word", "how much more the pair moves predictions than random words do"),
}


@dataclass(frozen=True)
class Effect:
    """How often the terms of a pair occur."""

    left: str
    right: str
    rows: int  # texts with one of its terms, which were swapped
    both: int  # texts with both, which were not


@dataclass(frozen=True)
class PredictionChange:
    """What swapping did to one regime's predictions, by name of the measure."""

    effects: dict[str, Estimate]


@dataclass(frozen=True)
class ProbedRegime:
    """One regime."""

    name: str
    family: str
    seeds: tuple[int, ...]
    together: PredictionChange  # every pair
    pairs: tuple[PredictionChange, ...]  # each, in the order of `ProbeResult.pairs`
    beyond_scratch: Estimate | None  # how much further it moves than the best from scratch; None: is not to be compared


@dataclass(frozen=True)
class ProbeResult:
    """What swapping terms did to every regime."""

    task: str
    target: str
    units: str  # of the scale that numbers are learned on; "" for classes and texts
    texts: int  # that were looked at
    pairs: tuple[Effect, ...]
    regimes: tuple[ProbedRegime, ...]
    caveats: tuple[str, ...]

    @property
    def measures(self) -> list[str]:
        """The measures that exist, in display order."""
        known = {name for regime in self.regimes for name in regime.together.effects}
        return [name for name in CHANGE_MEASURES if name in known]

    def to_json(self) -> dict[str, Any]:
        """For `probe.json`."""
        found: dict[str, Any] = asdict(self)
        return found

    @classmethod
    def load(cls, path: Path) -> "ProbeResult | None":
        """The inverse of `to_json`, read from a file; None if there is none."""
        return read_json(path, cls, "delete it, and probe again") if path.exists() else None


# --- from measures of cases -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SwapCases:
    """The text and the pair of each case."""

    texts: Array  # int64 [cases]
    pairs: Array  # int64 [cases]

    def of(self, pair: int | None) -> Array:
        """Positions of a pair's cases; None: of all."""
        return np.arange(len(self.pairs)) if pair is None else np.flatnonzero(self.pairs == pair)


def prediction_change(cases: SwapCases, pair: int | None, seeds: Sequence[Mapping[str, Array]]) -> PredictionChange:
    """The measures of a pair's cases (None: all), from those of every seed, float [cases], NaN if missing."""
    drawn = {name: drawn_of(cases, pair, name, seeds) for name in seeds[0]}
    first = "changed" if "changed" in drawn else "moved"
    if "random" in drawn:
        both = [{**seed, first: np.where(np.isfinite(seed["random"]), seed[first], np.nan)} for seed in seeds]
        if not any(np.isfinite(seed["random"][cases.of(pair)]).any() for seed in seeds):
            del drawn["random"]  # no other words were there to be drawn
        else:
            drawn["beyond"] = drawn_of(cases, pair, first, both) - drawn["random"]
    return PredictionChange({name: each.estimate for name, each in drawn.items()})


def drawn_of(cases: SwapCases, pair: int | None, name: str, seeds: Sequence[Mapping[str, Array]]) -> Resampled:
    """A measure for each seed in resamples of texts."""
    index = cases.of(pair)
    pairs = []
    for values in (seed[name][index] for seed in seeds):
        known = np.isfinite(values)
        pairs.append(np.stack([np.where(known, values, 0.0), known.astype(np.float64)], axis=1))
    texts = cases.texts[index]
    once = len(np.unique(texts)) == len(texts)
    return resample(pairs, groups=None if once else texts)
