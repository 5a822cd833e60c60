"""Constraint cost: how much score does each constraint cost?

A regime whose model is too large or too slow was trained anyway, so its cost is measured, not guessed. For a regime
that was not trained the cost is unknown, and the answer says so.
"""

from dataclasses import dataclass

from warmstart.advice.phrases import name_list, noise_phrase
from warmstart.quantities import format_number
from warmstart.results.comparison import Comparison
from warmstart.results.comparison_rows import Difference, Row
from warmstart.results.record import Interval


@dataclass(frozen=True)
class ConstraintCost:
    """The best regime that one constraint alone excludes, beside the best that remains."""

    constraint: str  # "max-size"
    regime: str | None  # None: nothing that it alone excludes was trained
    score: float | None
    difference: float | None  # how much better than the best that is left; below zero: worse
    interval: Interval | None
    statement: str


def constraint_cost(comparison: Comparison, left: str | None) -> tuple[ConstraintCost, ...]:
    """For each constraint that excludes something, in the order of the exclusions.

    `left`: the best regime that meets all of them, None if there is none.
    """
    constraints = dict.fromkeys(each.constraint for each in comparison.excluded)
    return tuple(_forgone(comparison, constraint, left) for constraint in constraints)


def _forgone(comparison: Comparison, constraint: str, left: str | None) -> ConstraintCost:
    others = {each.regime for each in comparison.excluded if each.constraint != constraint}
    alone = [e.regime for e in comparison.excluded if e.constraint == constraint and e.regime not in others]
    flag = f"`--{constraint}`"
    if not alone:
        statement = f"{flag} costs nothing by itself: another constraint excludes the same regimes."
        return ConstraintCost(constraint, None, None, None, None, statement)
    measured = [row for row in comparison.table if row.name in alone and row.failed is None]
    if not measured:
        names = ", ".join(f"`{name}`" for name in alone)
        were = "was" if len(alone) == 1 else "were"
        why = "without a score" if set(alone) & set(comparison.names) else f"{were} not trained"
        return ConstraintCost(
            constraint, None, None, None, None, f"The cost of {flag} in score is unknown: {names} {why}."
        )
    return _beside(comparison, constraint, measured[0], left)


def _beside(comparison: Comparison, constraint: str, best: Row, left: str | None) -> ConstraintCost:
    flag = f"`--{constraint}`"
    beside = comparison.row(left) if left is not None else None
    if beside is None or not set(best.seeds) & set(beside.seeds):
        statement = f"The best regime that {flag} excludes is {name_list([best])}: {format_number(best.score)}."
        return ConstraintCost(constraint, best.name, best.score, None, None, statement)
    paired = comparison.paired_rows(best, beside)
    found = Difference(best.name, beside.name, best.rows, paired.mean, paired.interval, paired.p_above_zero)
    against = f"{format_number(best.score)} against {format_number(beside.score)}"
    if found.interval.low > 0:
        statement = f"Without {flag}, you could use `{best.name}`: {against}, better by {noise_phrase(found)}."
    elif found.interval.high < 0:
        statement = f"{flag} costs nothing: `{best.name}`, the best it excludes, is worse than `{left}` ({against})."
    else:
        statement = (
            f"It is unclear whether {flag} costs anything: `{best.name}`, the best it excludes, scores {against},"
            f" a difference of {noise_phrase(found)}."
        )
    return ConstraintCost(constraint, best.name, best.score, found.difference, found.interval, statement)
