"""Caveats: what limits the answer of a comparison?"""

from collections.abc import Iterable

from warmstart.advice.budget_cuts import partial_caveats
from warmstart.advice.phrases import distinct_ways, name_list
from warmstart.advice.ranking import Ranking
from warmstart.quantities import capitalize_first
from warmstart.results.bootstrap import FEWEST_SEEDS
from warmstart.results.comparison import CONSTANT, Comparison
from warmstart.results.comparison_rows import Row
from warmstart.results.names import ENSEMBLE

_FEW_GROUPS = 10  # of test rows


def caveats_for(field: Ranking, answer: Row) -> tuple[str, ...]:
    """Everything that limits an answer: what was cut, few seeds or groups, regimes without a score or not ranked."""
    caveats = []
    seeds = min(len(row.seeds) for row in (*field.rows, answer))
    if seeds < FEWEST_SEEDS and field.comparison.splits > 1:
        caveats.append(_few_splits(field, seeds))
    elif seeds < FEWEST_SEEDS:
        caveats.append(
            f"{'Only one seed' if seeds == 1 else 'Only two seeds'}: the intervals cover the test rows only, not the"
            " variation between seeds and samples of training rows."
        )
    groups = field.comparison.groups
    few = 0 if groups is None else len(set(groups.tolist()))
    if 0 < few < _FEW_GROUPS:
        groups_there = "a single group" if few == 1 else f"only {few} groups"
        caveats.append(f"The test rows come from {groups_there}: the score on other groups is very uncertain.")
    called = distinct_ways(field.comparison)
    caveats += [
        f"{capitalize_first(called[family])} has no score, so nothing is known about it." for family in field.unmeasured
    ]
    if len(field.families | {row.family for row in field.partial}) == 1 and not field.comparison.excluded:
        ran = [row for row in field.comparison.table if row.name != CONSTANT] or [answer]
        was = "was" if len(ran) == 1 else "were"
        caveats.append(f"Only {name_list(ran)} {was} compared: another way to train may be better.")
    unfinished = field.unfinished if answer in field.rows or answer.converged else [*field.unfinished, answer]
    caveats += [f"`{row.name}` has not converged: it was still improving when it stopped." for row in unfinished]
    caveats += [f"`{answer.name}`: {caveat}" for caveat in answer.caveats]
    ranked = {row.name for row in field.rows}
    caveats += [
        f"`{row.name}` was not chosen: it is not clearly better than its best member, and costs as much as all members."
        if row.family == ENSEMBLE
        else f"`{row.name}` is not ranked: it was not run on the same rows and seeds as the others."
        for row in field.comparison.table
        if row.failed is None and row.name not in ranked and row.name != CONSTANT and row not in field.partial
    ]
    caveats += partial_caveats(field)
    return study_caveats(field.comparison, caveats)


def _few_splits(field: Ranking, run: int) -> str:
    asked = field.comparison.splits
    if run == 1:
        return f"Only one of {asked} splits: the intervals cover its test rows only, not the draw of the split."
    return f"Only two of {asked} splits: they say little about how much splits differ."


def study_caveats(comparison: Comparison, answer: Iterable[str] = ()) -> tuple[str, ...]:
    """What the budget cut, then caveats about the `answer`, then about the study."""
    failed = (
        f"`{row.name}` failed and cannot win: {row.failed}." for row in comparison.table if row.failed is not None
    )
    return (*comparison.cuts, *answer, *failed, *comparison.caveats)
