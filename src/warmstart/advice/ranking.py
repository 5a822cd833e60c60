"""Ranking: which regimes of a comparison are tied with the best, which are behind, and which are open?

- Behind: the difference to the best is clear of zero, or the best is cheaper and worse by at most the smallest gain
  that matters. Tied: the interval lies within that gain. Open: anything else.
- With several regimes compared with one, "clear of zero" is decided by Holm's method at 5 % for all of them together,
  also where each is compared with the constant. The intervals shown are those of each difference alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from warmstart.results.bootstrap import holm
from warmstart.results.comparison import CONSTANT, Comparison
from warmstart.results.comparison_rows import Difference, Row
from warmstart.results.names import ENSEMBLE

MAX_CONFIDENCE_BY_SEEDS = {1: 0.8, 2: 0.9}  # the spread of seeds is unknown: no interval holds it
MAX_CONFIDENCE = 0.99  # of what was measured on one split of one table
MAX_CONFIDENCE_UNFINISHED = 0.75  # a rival was still improving when it was stopped, or a whole family came to no score
MAX_CONFIDENCE_ALONE = 0.5  # nothing to compare with


@dataclass(frozen=True)
class Ranking:
    """The regimes that can be chosen, best first, and how they compare with the best."""

    comparison: Comparison
    rows: tuple[Row, ...]
    constant: Row | None
    partial: tuple[Row, ...] = ()  # those that were run on fewer rows, each at its most

    @property
    def best(self) -> Row:
        return self.rows[0]

    @property
    def margin(self) -> float:
        """The smallest gain that matters, in the metric's unit."""
        return self.comparison.min_effect * abs(self.best.score)

    @property
    def margin_over_constant(self) -> float:
        """The smallest gain over the constant that matters."""
        return self.comparison.min_effect * abs(self.constant.score) if self.constant else 0.0

    @property
    def gain_over_constant(self) -> float:
        """Share of resamples in which the best is better than the constant by more than matters; 1 without one."""
        if self.constant is None:
            return 1.0
        drawn = self.comparison.drawn([self.best.name, self.constant.name], self.best.rows)
        return float((drawn[:, 0] - drawn[:, 1] > self.margin_over_constant).mean())

    @property
    def nothing_right(self) -> bool:
        """Whether all regimes, the constant included, have the lowest score that there is, which is no answer."""
        worst = all(row.score == 0.0 for row in (*self.rows, self.constant) if row)
        return self.comparison.higher_is_better and worst

    @property
    def level(self) -> bool:
        """Whether another regime scores as the best does in every resample, such as if both make no mistake."""
        return any(
            not np.ptp(self.comparison.paired(self.best.name, row.name, self.best.rows).draws)
            and self.difference(self.best, row).difference == 0.0
            for row in self.rows[1:]
        )

    @property
    def families(self) -> set[str]:
        return {row.family for row in self.rows}

    @property
    def tied(self) -> list[Row]:
        """The best, and those tied with it."""
        return [row for row in self.rows if row is self.best or self.standing(self.best, row) == "tied"]

    @property
    def choices(self) -> list[Row]:
        """Those tied with the best that clearly beat the constant; if none does, the best that does."""
        better = [row for row in self.rows if self.beats_constant(row)]
        return [row for row in self.tied if row in better] or better[:1]

    @property
    def open(self) -> list[Row]:
        return [row for row in self.rows if row is not self.best and self.standing(self.best, row) == "open"]

    @property
    def unfinished(self) -> list[Row]:
        return [row for row in self.rows if not row.converged]

    @property
    def _on_a_part(self) -> bool:
        """Whether the answer concerns more rows than the ranking is based on, or a rival may be better there."""
        return self.best.rows < self.comparison.rows["train"] or bool(self.reaching)

    @property
    def _alone(self) -> bool:
        """Whether there was nothing to compare with but the constant."""
        return len(self.rows) + len(self.partial) == 1 and not self.comparison.excluded

    @property
    def unmeasured(self) -> list[str]:
        """Families that were tried without any regime getting a score."""
        tried = {row.family for row in self.comparison.table if row.name != CONSTANT}
        scored = {row.family for row in self.comparison.table if row.name != CONSTANT and not math.isnan(row.score)}
        return sorted(tried - scored)

    @cached_property
    def reaching(self) -> list[Row]:
        """Regimes that were run on fewer rows and may be better than the best on all of them: the most likely first."""
        turned = -1 if self.comparison.higher_is_better else 1
        predictions = self.comparison.predictions
        found = [row for row in self.partial if self.may_reach(row, self.best)]
        return sorted(
            found, key=lambda row: turned * (predictions[row.name].score if row.name in predictions else row.score)
        )

    @cached_property
    def ahead(self) -> Row | None:
        """The best of the regimes that are better on fewer rows than every other on all of them: clearly, and than the
        best by more than matters.
        """
        others = [*self.rows, self.constant] if self.constant else [*self.rows]
        found = [row for row in self.partial if all(set(row.seeds) & set(other.seeds) for other in others)]
        gains = [[self.comparison.paired_rows(row, other) for other in others] for row in found]
        clear = holm([gain.p_value for several in gains for gain in several])
        count = len(others)
        better = {
            row.name: several[0].mean
            for place, (row, several) in enumerate(zip(found, gains, strict=True))
            if all(clear[place * count : (place + 1) * count])
            and all(gain.mean > 0 for gain in several)
            and several[0].mean > self.margin
        }
        return max((row for row in found if row.name in better), key=lambda row: better[row.name], default=None)

    def may_reach(self, row: Row, leader: Row) -> bool:
        """Whether a regime that was run on a part of the rows may be as good as `leader` on all of them.

        By the interval of its predicted score; without one, unless it is clearly worse on the rows of both.
        """
        comparison, predicted = self.comparison, self.comparison.predictions.get(row.name)
        score = self.score_on_all(leader)
        if score is None and leader is self.ahead:
            score = leader.score  # at least
        if predicted and score is not None:
            low, high = predicted.interval
            return high >= score if comparison.higher_is_better else low <= score
        common = comparison.common_rows(leader.name, row.name)
        return not common or comparison.difference(leader.name, row.name).interval.low <= 0

    def score_on_all(self, row: Row) -> float | None:
        """Measured or predicted; None: neither."""
        if row.rows >= self.comparison.rows["train"]:
            return row.score
        predicted = self.comparison.predictions.get(row.name)
        return predicted.score if predicted else None

    def difference(self, a: Row, b: Row) -> Difference:
        return self.comparison.difference(a.name, b.name, self.best.rows)

    def standing(self, reference: Row, row: Row) -> str:
        """How `row` stands to `reference`: "tied", "behind" or "open"."""
        low, high = self.difference(reference, row).interval
        if -self.margin <= low and high <= self.margin:
            return "tied"
        clear = row.name in self._clearly_worse[reference.name]
        return "behind" if clear or (low >= -self.margin and reference.flops <= row.flops) else "open"

    def beats_constant(self, row: Row) -> bool:
        return self.constant is None or row.name in self._clear_of_constant

    @cached_property
    def _clearly_worse(self) -> dict[str, set[str]]:
        """For each regime, those that are worse by more than chance."""
        return {row.name: self._clear_of(row, -1) for row in self.rows}

    @cached_property
    def _clear_of_constant(self) -> set[str]:
        assert self.constant, "only asked where there is one"
        return self._clear_of(self.constant, 1)

    def _clear_of(self, reference: Row, sign: int) -> set[str]:
        """The regimes that differ from `reference` by more than chance, and are better (1) or worse (-1)."""
        others = [row for row in self.rows if row is not reference]
        found = [self.comparison.paired(row.name, reference.name, self.best.rows) for row in others]
        clear = holm([each.p_value for each in found])
        return {row.name for row, each, yes in zip(others, found, clear, strict=True) if yes and sign * each.mean > 0}

    def share(self, rows: Sequence[Row]) -> float:
        """Share of resamples in which one of `rows` is best, or within the margin of the best."""
        drawn = self.comparison.drawn([row.name for row in self.rows], self.best.rows)
        columns = [place for place, row in enumerate(self.rows) if row in rows]
        return float((drawn[:, columns].max(axis=1) >= drawn.max(axis=1) - self.margin).mean())

    def most(self, unfinished: Sequence[Row]) -> float:
        """The upper bound for any stated confidence, whatever the resamples say."""
        seeds = min(len(row.seeds) for row in self.rows)
        return min(
            MAX_CONFIDENCE_BY_SEEDS.get(seeds, MAX_CONFIDENCE),
            MAX_CONFIDENCE_UNFINISHED if unfinished or self.unmeasured or self._on_a_part else MAX_CONFIDENCE,
            MAX_CONFIDENCE_ALONE if self._alone else MAX_CONFIDENCE,
        )


def rank_regimes(comparison: Comparison) -> Ranking | None:
    """Regimes that did not fail, at the largest number of training rows, with a seed that all have in common.

    Regimes that were run on fewer rows are not ranked, but may be better on all.
    """
    usable = [row for row in comparison.table if row.failed is None]
    rows = [row for row in usable if row.name != CONSTANT]
    if not rows:
        return None
    ranked: list[Row] = []
    shared = set(rows[0].seeds)
    for name in (row.name for row in usable):
        row = comparison.row_at(name, rows[0].rows)  # the constant may have more
        if row and row.failed is None and shared & set(row.seeds):
            shared &= set(row.seeds)
            ranked.append(row)
    constant = next((row for row in ranked if row.name == CONSTANT), None)
    partial = tuple(row for row in rows if row.rows < rows[0].rows)
    found = Ranking(comparison, tuple(row for row in ranked if row is not constant), constant, partial)
    return _without_small_gain(found)


def _without_small_gain(ranking: Ranking) -> Ranking:
    """The ranking without an ensemble, unless it gains more than matters over its best member: it costs as all do."""
    parts = replace(ranking, rows=tuple(row for row in ranking.rows if row.family != ENSEMBLE))
    ensemble = next((row for row in ranking.rows if row.family == ENSEMBLE), None)
    if ensemble is None or not parts.rows:
        return ranking
    gain = ranking.comparison.difference(ensemble.name, parts.best.name, parts.best.rows)
    return ranking if gain.difference > parts.margin and gain.interval.low > 0 else parts
