"""Next steps: what is the one thing to do now, and what would it take to know more?"""

from collections.abc import Sequence

from warmstart.advice.longer_run import longer_command
from warmstart.advice.more_data import next_purchase
from warmstart.advice.phrases import name_list
from warmstart.advice.ranking import Ranking
from warmstart.quantities import capitalize_first, format_number, format_percent, round_to_two_digits
from warmstart.results.bootstrap import FEWEST_SEEDS, rows_to_settle
from warmstart.results.comparison import Comparison
from warmstart.results.comparison_rows import Row

_NEAR_FLOOR = 0.15  # "near" the best reachable score
_FEW_ROWS = 0.01  # of the test rows: fewer are not worth asking for
_HARDLY_WORTH_IT = 20  # times the test rows and seeds there are


def after_decision(field: Ranking, choice: Row, unfinished: Sequence[Row]) -> str:
    """After a verdict: train what had not converged for longer, use the choice, or get more of what would help."""
    comparison = field.comparison
    if unfinished:
        return train_longer(comparison, unfinished)
    floor = comparison.noise_floor
    if floor is not None and abs(choice.score - floor) > _NEAR_FLOOR * abs(floor):
        return _towards_floor(comparison, choice, floor)
    buy = next_purchase(comparison, choice.name)
    after = f" {buy}" if buy else ""
    if len(choice.seeds) < FEWEST_SEEDS:
        ready = f"`{choice.name}` is ready for `warmstart predict`."
        return f"For more confidence, run again with {_more_runs(comparison)}; {ready}{after}"
    return f"Use it: `{choice.name}` is ready for `warmstart predict`.{after}"


def _towards_floor(comparison: Comparison, choice: Row, floor: float) -> str:
    """How close the scores are to the best reachable one: only what was measured."""
    away = abs(choice.score - floor) / abs(floor)
    gap = f"`{choice.name}` is {format_percent(away)} away from the best reachable score, {format_number(floor)}."
    if not choice.converged:
        return f"{gap} {train_longer(comparison, [choice])}"
    points = comparison.curve(choice.name)
    if len(points) == 1:
        return f"{gap} Try more training rows; --rows {choice.rows // 4},{choice.rows} would show how much they help."
    fewest = points[0]
    return (
        f"{gap} From {fewest.rows:,} to {choice.rows:,} training rows it went from {format_number(fewest.score)} to"
        f" {format_number(choice.score)}. Try more training rows: nothing beyond {choice.rows:,} was measured."
    )


def train_longer(comparison: Comparison, unfinished: Sequence[Row]) -> str:
    """The command that trains these for longer."""
    command = longer_command(comparison, unfinished)
    it = "it" if len(unfinished) == 1 else "them"
    how = f": `{command}`" if command else ", use more --epochs, or a larger --budget if that cut the steps"
    return f"{capitalize_first(name_list(unfinished))} had not converged. To train {it} longer{how}."


def settle(field: Ranking, a: Row, b: Row) -> str:
    """The price of knowing more."""
    seeds = len(set(a.seeds) & set(b.seeds))
    need = rows_to_settle(field.comparison.paired(a.name, b.name, a.rows), field.margin)
    rows = need.rows if need.rows is not None and need.rows >= _FEW_ROWS * field.comparison.rows["test"] else None
    ways = [f"about {round_to_two_digits(rows):,} more test rows"] if rows is not None else []
    if seeds < FEWEST_SEEDS:
        return f"Run again with {_more_runs(field.comparison)}{f', and with {ways[0]}' if ways else ''}."
    if need.seeds is not None:
        ways.append(f"--seeds {seeds + need.seeds} instead of {seeds}")
    if ways:
        return f"{capitalize_first(' or '.join(ways))} would probably settle it."
    many = f"{max(2, round_to_two_digits(round(need.times))):,}"
    times = f"about {many} times as many {'rows' if field.comparison.splits > 1 else 'test rows and seeds'}"
    hardly = ", which is hardly worth it" if need.times > _HARDLY_WORTH_IT else ""
    return f"It would take {times} to settle it{hardly}."


def _more_runs(comparison: Comparison) -> str:
    """What to type for enough seeds, or for the splits that the budget left out."""
    return (
        f"--seeds {FEWEST_SEEDS}" if comparison.splits == 1 else f"a larger --budget for all {comparison.splits} splits"
    )
