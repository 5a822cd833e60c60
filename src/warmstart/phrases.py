"""Phrases: how are regimes named, scored and set against each other in the sentences of an answer?"""

from collections.abc import Iterable

from warmstart.comparison import Comparison, Difference, Row
from warmstart.naming import regime_of
from warmstart.standing import Field
from warmstart.wording import bounds, duration, figure, percent, rounded

VERDICTS = {"fine-tuned": "fine-tune", "scratch": "train from scratch", "baseline": "a linear model is enough"}
WAYS = {"fine-tuned": "fine-tuning", "scratch": "training from scratch", "baseline": "the linear model"}
BEST_MODELS = {
    "scratch": "the best model trained from scratch",
    "fine-tuned": "the best fine-tuned model",
    "baseline": "the linear model",
}
UNTRAINED = "the base as it is"  # what a baseline is where text is predicted
NO_TRAINING = "no training is needed"


def ways(comparison: Comparison) -> dict[str, str]:
    """What each family is called."""
    return WAYS | ({"baseline": UNTRAINED} if _has_untrained(comparison) else {})


def verdicts(comparison: Comparison) -> dict[str, str]:
    """What is answered where a family is best."""
    return VERDICTS | ({"baseline": NO_TRAINING} if _has_untrained(comparison) else {})


def cut_to_fit(comparison: Comparison) -> str:
    """What the budget cut, as a sentence; nothing where nothing was cut."""
    if not comparison.cuts:
        return ""
    took = comparison.uncut
    whole = "" if took is None else f" All of it was foretold to take {duration(took)}."
    return f"Cut to fit the budget: {'; '.join(comparison.cuts)}.{whole}"


def compared_instead(comparison: Comparison) -> str:
    """Of a study that is no race, though one was asked for, as a sentence; else nothing."""
    if comparison.command.split()[1:2] not in (["advise"], ["fit"]):
        return ""
    return "Comparing everything was quick here, so there was no race: every regime was trained on all rows."


def _has_untrained(comparison: Comparison) -> bool:
    return any(regime_of(name) == "zero-shot" for name in comparison.names)


def scores(comparison: Comparison, row: Row) -> str:
    """'`full` scores 0.642 accuracy [0.620, 0.660]'"""
    unit = f" in {comparison.units}" if comparison.units else ""
    return f"`{row.name}` scores {figure(row.score)} {comparison.metric}{unit} {bounds(row.interval)}"


def standing_of(comparison: Comparison, row: Row, as_family: bool) -> str:
    score = f"{figure(row.score)} {comparison.metric} {bounds(row.interval)}"
    return f"{ways(comparison)[row.family]} (`{row.name}`, {score})" if as_family else f"`{row.name}` ({score})"


def against_others(field: Field, choice: Row) -> str:
    """How the choice does against the best of each other family, ready to follow its score."""
    best = {row.family: row for row in reversed(field.rows) if row.family != choice.family}
    others = [_against(field, choice, best[family]) for family in BEST_MODELS if family in best]
    return f", {', and '.join(others)}" if others else ""


def _against(field: Field, choice: Row, rival: Row) -> str:
    found = field.difference(choice, rival)
    models = BEST_MODELS | ({"baseline": UNTRAINED} if _has_untrained(field.comparison) else {})
    name, cost = f"{models[rival.family]} (`{rival.name}`)", costs(rival, choice)
    if field.standing(choice, rival) == "tied":
        return f"less than {percent(field.comparison.worth)} from {name}, which {cost}"
    if found.interval.low > 0:
        return f"{spread(found)} better than {name}, which {cost}"
    return f"not measurably worse than {name} (difference {spread(found)}), which {cost}"


def costs(row: Row, reference: Row) -> str:
    if not row.flops or not reference.flops:
        return "costs next to nothing" if not row.flops else "costs more"
    times = row.flops / reference.flops
    if _times(times) == "1.0":
        return "costs as much"
    return f"costs {_times(times)} times as much" if times >= 0.1 else f"costs {_times(1 / times)} times less"


def _times(times: float) -> str:
    return f"{times:.1f}" if times < 10 else f"{rounded(round(times)):,}"


def spread(found: Difference) -> str:
    return f"{figure(found.difference)} {bounds(found.interval)}"


def named(rows: Iterable[Row]) -> str:
    *others, last = (f"`{row.name}`" for row in rows)
    return f"{', '.join(others)} and {last}" if others else last
