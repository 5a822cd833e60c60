"""Prompting: how many labeled rows is it worth to ask a base, compared with training on them?"""

from warmstart.quantities import format_number
from warmstart.results.comparison import CONSTANT, Comparison
from warmstart.results.comparison_rows import Row
from warmstart.results.learning_curves import matching_rows, rows_phrase
from warmstart.results.names import regime_of

PROMPTING = ("prompted", "prompted-endpoint", "few-shot")
NOT_TRAINED = (*PROMPTING, "zero-shot", "extractive", CONSTANT)


def prompting_worth(comparison: Comparison) -> str:
    """'Prompting is worth about 320 labeled rows [250, 410]: ...'; '' where nothing was prompted, or nothing trained.

    At several numbers of rows, the learning curve of each trained regime is inverted at the score of the prompt; the
    regime that reaches it first counts, and nothing is extrapolated. At a single number of rows there are bounds only.
    """
    usable = [row for row in comparison.table if row.failed is None]
    asked = next((row for row in usable if regime_of(row.name) in PROMPTING), None)
    trained = [row for row in usable if regime_of(row.name) not in NOT_TRAINED and row.family != "ensemble"]
    if asked is None or not trained:
        return ""
    constant = next((row for row in usable if row.name == CONSTANT), None)
    if constant is not None and comparison.difference(asked.name, CONSTANT).interval.low <= 0:
        return f"Prompting is worth no labeled rows: `{asked.name}` is not measurably better than the constant."
    pairs = [(row, comparison.laws_of([row.name, asked.name])) for row in trained]
    found = [(*matching_rows(*pair), row, pair[0].line.rows) for row, pair in pairs if pair]
    if not found:
        return _bound(comparison, asked, trained[0])
    needed, interval, first, measured = min(found, key=lambda each: each[0])
    score = f"{format_number(asked.score)} {comparison.metric}"
    if needed == 0.0:
        better = f"`{first.name}` trained on {measured[0]:,} rows is better than `{asked.name}` ({score})"
        return f"Prompting is worth fewer than {measured[0]:,} labeled rows: {better}."
    if needed > measured[-1]:
        better = f"no regime trained on {measured[-1]:,} rows is better than `{asked.name}` ({score})"
        return f"Prompting is worth more than {measured[-1]:,} labeled rows: {better}."
    about = rows_phrase(needed, interval, measured)
    return f"Prompting is worth about {about} labeled rows: with so many, `{first.name}` is as good as `{asked.name}`."


def _bound(comparison: Comparison, asked: Row, best: Row) -> str:
    """What a single number of rows says."""
    found = comparison.difference(asked.name, best.name)
    rows, both = f"{found.rows:,}", f"than `{best.name}`, which was trained on them"
    if found.interval.low > 0:
        return f"Prompting is worth more than {rows} labeled rows: `{asked.name}` is better {both}."
    if found.interval.high < 0:
        return (
            f"Prompting is worth fewer than {rows} labeled rows: `{asked.name}` is worse {both}. Use --rows auto to "
            "estimate how many."
        )
    return (
        f"Prompting is worth about as much as the {rows} labeled rows: `{asked.name}` and `{best.name}`, which was "
        "trained on them, cannot be told apart."
    )
