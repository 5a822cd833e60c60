"""More data: what would more rows change, and what is the next thing to spend on?"""

from warmstart.quantities import format_interval_bounds, format_number, format_percent
from warmstart.results.comparison import CONSTANT, Comparison
from warmstart.results.learning_curves import MAX_EXTRAPOLATION, Law, Transfer


def more_data(comparison: Comparison) -> tuple[str, ...]:
    """What the curves say: where they cross, what a pretrained start was worth, what more rows would bring.

    If every regime was trained on a single number of rows, one sentence on how to get curves.
    """
    laws = [law for name, law in comparison.laws.items() if name != CONSTANT]
    if not laws:
        return ("Each regime was trained on one number of rows. For learning curves, use --rows auto.",)
    crossing = [found.statement for found in comparison.crossovers if found.rows is not None]
    if comparison.crossovers and not crossing:
        crossing = [
            f"No regime overtakes another within {MAX_EXTRAPOLATION}x your data, as far as these runs can tell."
        ]
    min_effect = [_telling(comparison, law.regime) for law in laws if law.family == "fine-tuned"]
    departures = [said for law in laws for said in law.departures]
    return (*crossing, *(said for said in min_effect if said), *(law.statement for law in laws), *departures)


def crossover_sentences(comparison: Comparison, choice: str) -> str:
    """The crossing that matters for `choice`: where it will be overtaken, else where it overtook.

    "" if there is none with a regime of another family.
    """
    family = {row.name: row.family for row in comparison.table}
    rank = {row.name: place for place, row in enumerate(comparison.table)}
    ways = [found for found in comparison.crossovers if found.rows is not None and family[found.a] != family[found.b]]
    next_one = [found for found in ways if found.b == choice and found.ahead]
    won = sorted((found for found in ways if found.a == choice and not found.ahead), key=lambda found: rank[found.b])
    return next((found.statement for found in (*next_one, *won)), "")


def between_rows(comparison: Comparison, one: str, other: str) -> str:
    """Where these two change places; "" if they are not known to."""
    pair = {one, other}
    return next((f.statement for f in comparison.crossovers if f.rows is not None and {f.a, f.b} == pair), "")


def next_purchase(comparison: Comparison, choice: str) -> str:
    """The best next step: a longer run, more rows, a larger base, or more test rows and seeds.

    "" without a curve.
    """
    law, row = comparison.laws.get(choice), comparison.row(choice)
    if law is None:
        return ""
    if not row.converged:
        return f"To do better, first train longer: `{choice}` had not converged."
    margin = comparison.min_effect * abs(row.score)
    twice, far = law.predicted
    (gain, likely), (gain_far, likely_far) = law.gain(twice.rows), law.gain(far.rows)
    if gain >= margin and likely.low > 0:
        return f"To do better, get more rows: {_should(law, twice.rows)}, and {_should(law, far.rows)}."
    if gain_far >= margin and likely_far.low > 0:
        return f"To do better, get many more rows: {_should(law, far.rows)}."
    if likely.high < margin and gain_far < margin:
        hardly = f"More rows would hardly help: {_should(law, twice.rows)}"
        if comparison.noise_floor is not None:
            return f"{hardly}; the best reachable score is {format_number(comparison.noise_floor)}."
        return (
            f"{hardly}. To do better, try a {'larger' if row.family == 'fine-tuned' else 'pretrained or larger'} base."
        )
    return (
        f"It is unclear whether more rows would help: twice as many may gain {format_number(gain)} "
        f"{format_interval_bounds(likely)}; a gain of"
        f" {format_percent(comparison.min_effect)} matters. More test rows or seeds would tell."
    )


def _should(law: Law, rows: int) -> str:
    found = law.at(rows)
    return f"{rows:,} rows should score about {format_number(found.score)} {format_interval_bounds(found.interval)}"


def _telling(comparison: Comparison, regime: str) -> str:
    """What its pretrained start was worth: at the most rows with a number, else the most informative bound."""
    found = [each for each in comparison.transfers if each.a == regime]
    exact = [each for each in found if each.interval is not None]
    telling: list[Transfer] = exact[-1:] or found[:1]
    return telling[0].statement if telling else ""
