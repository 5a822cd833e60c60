"""Old rows: what did the chosen model forget of the rows that an earlier model was tested on? In a sentence."""

from warmstart.quantities import format_interval_bounds, format_number
from warmstart.results.comparison import Comparison
from warmstart.results.record import Interval

NEAR_ZERO = 1e-9  # an interval that ends nearer to zero than this touches it


def old_rows_sentence(comparison: Comparison, name: str | None) -> str:
    """What the regime of this name scores on old test rows, and what it forgot of them; '' if that was not measured."""
    found = comparison.old_scores.get(name or "")
    if found is None:
        return ""
    score = f"{format_number(found.score.value)} {format_interval_bounds(found.score.interval)}"
    rows = f"the {found.rows:,} old test rows"
    if found.lost is None:
        return f"On {rows} it scores {score}."
    low, high = found.lost.interval
    if low > NEAR_ZERO:
        lost = f"{format_number(found.lost.value)} {format_interval_bounds(found.lost.interval)}"
        return f"On {rows} `{name}` scores {score}: it forgot {lost} of what the old model knew."
    if high < -NEAR_ZERO:
        gained = f"{format_number(-found.lost.value)} {format_interval_bounds(Interval(-high, -low))}"
        return f"On {rows} `{name}` scores {score}, {gained} better than the old model: it forgot nothing."
    lost = f"{format_number(found.lost.value)} {format_interval_bounds(found.lost.interval)}"
    return f"On {rows} `{name}` scores {score}: whether it forgot anything cannot be told (difference {lost})."
