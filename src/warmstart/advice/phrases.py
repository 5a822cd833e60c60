"""Phrases: how are regimes, scores and differences put into sentences?"""

import math
from collections.abc import Iterable
from statistics import fmean

from warmstart.advice.ranking import Ranking
from warmstart.quantities import (
    format_effort,
    format_interval_bounds,
    format_number,
    format_percent,
    round_to_two_digits,
)
from warmstart.results.comparison import Comparison
from warmstart.results.comparison_rows import Difference, Row
from warmstart.results.metrics import PERCENTAGE_ERROR
from warmstart.results.names import CONTINUED_MIXED, PREVIOUS, regime_of


def original_scale_sentence(comparison: Comparison) -> str:
    """The metric's name among those of the runs, "MAE (price)"; '' if the ranking is in these units."""
    name = f"MAE ({comparison.target})"
    elsewhere = comparison.units not in ("", comparison.target)
    return name if elsewhere and any(name in run.metrics for run in comparison.runs) else ""


def original_scale_error(comparison: Comparison, row: Row) -> float | None:
    """Mean over the seeds of this table row; None: unknown."""
    runs = [run for run in comparison.runs if (run.regime, run.rows) == (row.name, row.rows) and run.seed in row.seeds]
    errors = [run.metrics[name] for run in runs if (name := original_scale_sentence(comparison)) in run.metrics]
    return fmean(errors) if errors else None


def error_in_words(comparison: Comparison, row: Row) -> str:
    """How good a regime is, for readers who know no metrics: 'right in 60 of 100 test rows (60 %)'; '' if none fits."""
    if math.isnan(row.score):
        return ""
    if comparison.metric == "accuracy" and comparison.splits_run > 1:
        return f"right in {_percent_right(row)} of the test rows of {comparison.splits_run} splits"
    if comparison.metric == "accuracy":
        of = comparison.rows["test"]
        return f"right in {round(of * row.score):,} of {of:,} test rows ({_percent_right(row)})"
    runs = [run for run in comparison.runs if (run.regime, run.rows) == (row.name, row.rows) and run.seed in row.seeds]
    shares = [run.metrics[PERCENTAGE_ERROR] for run in runs if PERCENTAGE_ERROR in run.metrics]
    own = original_scale_error(comparison, row)
    if own is not None:
        share = f"typically off by {fmean(shares):,.0f} %, on average" if shares else "on average off"
        return f"{share} by {format_number(own)} ({comparison.target})"
    if comparison.units == comparison.target and comparison.metric == "mean absolute error":
        return f"on average off by {format_number(row.score)} ({comparison.target})"
    return ""


def error_beside(comparison: Comparison, row: Row, other: Row | None) -> str:
    """The same beside that of another row: 'right in 60 of 100 test rows (60 %; `constant`: 20 %)'."""
    own, others = error_in_words(comparison, row), error_in_words(comparison, other) if other else ""
    if not own or not other or not others:
        return own
    if comparison.metric == "accuracy":
        opened = f"{own.removesuffix(')')};" if own.endswith(")") else f"{own} ("
        return f"{opened}{' ' * opened.endswith(';')}`{other.name}`: {_percent_right(other)})"
    return f"{own} (`{other.name}`: {others})"


def _percent_right(row: Row) -> str:
    return f"{100 * row.score:.1f} %" if 0.99 < row.score < 1 else format_percent(row.score)


EXTRACTIVE = "extractive"
VERDICT_BY_FAMILY = {
    "fine-tuned": "fine-tune",
    "scratch": "train from scratch",
    "baseline": "a linear model is enough",
    "ensemble": "combine several models",
    "previous": "keep the old model",
    "continued": "continue training the old model",
}
# Of baselines each has its own, since they are no one way of training.
VERDICT_BY_BASELINE = {
    "boosted": "a boosted tree is enough",
    "embedded": "TF-IDF with frozen features is enough",
    "zero-shot": "no training is needed",
    "few-shot": "prompt, do not train",
    "prompted": "prompt, do not train",
    "prompted-endpoint": "prompt, do not train",
}
BASELINE_MODELS = {
    "boosted": "the model of boosted trees",
    "embedded": "TF-IDF with frozen features",
    "zero-shot": "the base as it is",
    "few-shot": "the base with examples in its prompt",
    "prompted": "the base with a prompt",
    "prompted-endpoint": "the chat model at the endpoint",
}
EXTRACTED = {  # what `extractive` is, by task
    "summarise": "the leading sentences",
    "translate": "the source itself",
    "structured": "the most common value of each field",
}
WAYS_TO_TRAIN = {
    "fine-tuned": "fine-tuning",
    "scratch": "training from scratch",
    "baseline": "the linear model",
    "ensemble": "combining models",
    "previous": "the old model as it is",
    "continued": "continuing to train the old model",
}
BEST_MODELS = {
    "scratch": "the best model trained from scratch",
    "fine-tuned": "the best fine-tuned model",
    "baseline": "the linear model",
    "ensemble": "the mean of several models",
    "previous": "the old model as it is",
    "continued": "the old model trained further",
}
UNTRAINED_FAMILY = "the base as it is"  # what the family of baselines is called where text is predicted


def distinct_ways(comparison: Comparison) -> dict[str, str]:
    """What each family is called."""
    return WAYS_TO_TRAIN | ({"baseline": UNTRAINED_FAMILY} if _has_untrained(comparison) else {})


def verdict_for(comparison: Comparison, name: str, family: str) -> str:
    """The answer if the regime of this name and family is best."""
    way = _verdict(comparison, name, family)
    again = PREVIOUS in comparison.names and family not in ("previous", "continued")
    return f"retrain: {way}" if again else way


def _verdict(comparison: Comparison, name: str, family: str) -> str:
    regime = regime_of(name)
    if family != "baseline":
        both = " on old and new rows" if regime == CONTINUED_MIXED else ""
        return VERDICT_BY_FAMILY[family] + both
    if regime == EXTRACTIVE:
        one = comparison.task != "summarise"
        return f"{EXTRACTED[comparison.task]} {'is' if one else 'are'} enough"
    return VERDICT_BY_BASELINE.get(regime, VERDICT_BY_FAMILY[family])


def baseline_model(comparison: Comparison, name: str) -> str | None:
    """What a baseline is called among models; None for one that is called like its family."""
    regime = regime_of(name)
    return EXTRACTED[comparison.task] if regime == EXTRACTIVE else BASELINE_MODELS.get(regime)


def _way(comparison: Comparison, row: Row) -> str:
    """What a row is called among the ways of training."""
    return baseline_model(comparison, row.name) or distinct_ways(comparison)[row.family]


def cut_to_fit(comparison: Comparison) -> str:
    """What the budget cut, as a sentence; '' if nothing was cut."""
    if not comparison.cuts:
        return ""
    took = comparison.full_estimate
    by_compute = "--compute" in comparison.command.split()
    whole = "" if took is None else f" The full study was estimated at {format_effort(took, by_compute=by_compute)}."
    return f"Cut to fit the budget: {'; '.join(comparison.cuts)}.{whole}"


def splits_sentence(comparison: Comparison) -> str:
    """That the rows were split several times; '' if they were split once."""
    if comparison.splits_run == 1:
        return ""
    many = f"{comparison.splits_run} splits of the rows"
    return f"Every regime was trained and tested on {many}: the intervals hold the draw of the split."


def resamples_phrase(comparison: Comparison, row: Row) -> str:
    """What the intervals of a row are made of: 'resamples of the test rows and seeds'."""
    if len(row.seeds) > 1 and comparison.splits > 1:
        return "resamples of the splits"
    return f"resamples of the test rows{' and seeds' if len(row.seeds) > 1 else ''}"


def compared_instead(comparison: Comparison) -> str:
    """For a study that is no race though one was requested, a sentence; else ''."""
    if comparison.command.split()[1:2] not in (["advise"], ["fit"]):
        return ""
    return "A full comparison was quick, so there was no race: every regime was trained on all rows."


def _has_untrained(comparison: Comparison) -> bool:
    return any(regime_of(name) in ("zero-shot", EXTRACTIVE) for name in comparison.names)


def scores(comparison: Comparison, row: Row) -> str:
    """'`full` scores 0.642 accuracy [0.620, 0.660]'"""
    score = f"{format_number(row.score)} {metric_phrase(comparison)} {format_interval_bounds(row.interval)}"
    return f"`{row.name}` scores {score}"


def metric_phrase(comparison: Comparison) -> str:
    """'mean absolute error in price', 'accuracy'; R2, which has no unit, is 'R2 of price'."""
    if not comparison.units:
        return comparison.metric
    return f"{comparison.metric} {'of' if comparison.metric == 'R2' else 'in'} {comparison.units}"


def compared_with_others(comparison: Comparison, row: Row, as_family: bool) -> str:
    score = f"{format_number(row.score)} {comparison.metric} {format_interval_bounds(row.interval)}"
    return f"{_way(comparison, row)} (`{row.name}`, {score})" if as_family else f"`{row.name}` ({score})"


def against_others(field: Ranking, choice: Row) -> str:
    """How the choice compares with the best of each other family, to be appended to its score."""
    best = {row.family: row for row in reversed(field.rows) if row.family != choice.family}
    others = [_against(field, choice, best[family]) for family in BEST_MODELS if family in best]
    return f", {', and '.join(others)}" if others else ""


def _against(field: Ranking, choice: Row, rival: Row) -> str:
    found = field.difference(choice, rival)
    models = BEST_MODELS | ({"baseline": UNTRAINED_FAMILY} if _has_untrained(field.comparison) else {})
    model = baseline_model(field.comparison, rival.name) or models[rival.family]
    name, cost = f"{model} (`{rival.name}`)", costs(rival, choice)
    if field.standing(choice, rival) == "tied":
        return f"within {format_percent(field.comparison.min_effect)} of {name}, which {cost}"
    if found.interval.low > 0:
        return f"{noise_phrase(found)} better than {name}, which {cost}"
    return f"not measurably worse than {name} (difference {noise_phrase(found)}), which {cost}"


def costs(row: Row, reference: Row) -> str:
    if not row.flops or not reference.flops:
        return "costs next to nothing" if not row.flops else "costs more"
    times = row.flops / reference.flops
    if _times(times) == "1.0":
        return "costs the same"
    return f"costs {_times(times)} times as much" if times >= 0.5 else f"costs {_times(1 / times)} times less"


def _times(times: float) -> str:
    return f"{times:.1f}" if times < 10 else f"{round_to_two_digits(round(times)):,}"


def noise_phrase(found: Difference) -> str:
    return f"{format_number(found.difference)} {format_interval_bounds(found.interval)}"


def name_list(rows: Iterable[Row]) -> str:
    *others, last = (f"`{row.name}`" for row in rows)
    return f"{', '.join(others)} and {last}" if others else last
