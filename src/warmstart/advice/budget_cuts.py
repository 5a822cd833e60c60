"""Budget cuts: what is reported if the budget did not allow every regime to be trained on all rows?"""

from collections.abc import Sequence
from dataclasses import dataclass

from warmstart.advice.longer_run import larger_budget_command, on_all_rows_command
from warmstart.advice.phrases import error_beside, name_list, noise_phrase, resamples_phrase, scores
from warmstart.advice.ranking import Ranking, rank_regimes
from warmstart.errors import join_phrases
from warmstart.quantities import format_effort, format_interval_bounds, format_number, format_percent
from warmstart.results.comparison import CONSTANT, Comparison
from warmstart.results.comparison_rows import Row
from warmstart.results.constraints import BUDGET
from warmstart.results.names import ENSEMBLE, PREVIOUS


def not_run_in_time(comparison: Comparison) -> tuple[str, ...]:
    """The regimes that there was no time to train at all."""
    return tuple(each.regime for each in comparison.excluded if each.constraint == BUDGET)


def why_undecided(ranking: Ranking, rivals: Sequence[Row]) -> str:
    """Which regime leads, and what is known of each regime that may be better on all rows."""
    comparison, ahead = ranking.comparison, ranking.ahead
    leader = ahead or ranking.best
    than = better_on_a_part(ranking, ahead) if ahead else "the best so far"
    sentences = [f"Undecided: on {_rows_of(comparison, leader)}, {scores(comparison, leader)}, {than}."]
    sentences += [f"{on_a_part(comparison, row)}{_at_common_rows(ranking, row)}; it may be better." for row in rivals]
    missing = not_run_in_time(comparison)
    if missing:
        sentences.append(
            f"{join_phrases([f'`{name}`' for name in missing])} could not be trained enough within the budget."
        )
    others = [] if ahead else ranking.rows[1:]
    alike = [row for row in others if ranking.difference(leader, row).interval.low <= 0]
    if alike:
        scored = f"{comparison.rows['test']:,} test rows{' and these seeds' if len(leader.seeds) > 1 else ''}"
        either = " either" if rivals or missing else ""
        sentences.append(f"The {scored} cannot separate it from {name_list(alike)}{either}.")
    return " ".join(sentences)


@dataclass(frozen=True)
class Lead:
    """How far ahead the best regime of an undecided comparison is."""

    regime: str
    share: float  # of resamples
    meaning: str  # what the share counts, to go after 'in 73 % of resamples'

    @property
    def sentence(self) -> str:
        """'`embedded` leads in 73 % of resamples of the test rows: ...'"""
        return f"`{self.regime}` leads in {format_percent(self.share)} of {self.meaning}."


def lead_of(comparison: Comparison) -> Lead | None:
    """The lead of the best regime that the constraints allow; None if there is no regime to compare it with,
    or one scores the same in every resample.
    """
    barred = {each.regime for each in comparison.excluded if each.constraint != BUDGET}
    ranking = rank_regimes(comparison.without(barred) if barred else comparison)
    if ranking is None or ranking.nothing_right or not (ranking.ahead or len(ranking.rows) > 1 or not ranking.choices):
        return None
    leader = ranking.ahead or ranking.best
    resamples = resamples_phrase(comparison, leader)
    if ranking.ahead:
        share = ranking.comparison.paired_rows(leader, ranking.best).p_above_zero
        return Lead(leader.name, share, f"{resamples}: it is better than `{ranking.best.name}`")
    small = format_percent(comparison.min_effect)
    if not ranking.choices and ranking.constant and not ranking.reaching and not not_run_in_time(comparison):
        than = f"it is better than the constant{f' by more than {small}' if comparison.min_effect else ''}"
        return Lead(leader.name, ranking.gain_over_constant, f"{resamples}: {than}")
    if ranking.level:
        return None
    among = f"of those that ran, it is best{f' or within {small} of the best' if comparison.min_effect else ''}"
    return Lead(leader.name, ranking.share([leader]), f"{resamples}: {among}")


def better_on_a_part(ranking: Ranking, ahead: Row) -> str:
    """'better by 0.04 [0.02, 0.06] than `linear` on all of them', of a regime that was trained on a part of the rows"""
    best, found = ranking.best, ranking.comparison.paired_rows(ahead, ranking.best)
    gain = f"{format_number(found.mean)} {format_interval_bounds(found.interval)}"
    whole = ranking.comparison.rows["train"]
    return f"better by {gain} than `{best.name}` on {'all of them' if best.rows == whole else f'{best.rows:,} rows'}"


def _rows_of(comparison: Comparison, row: Row) -> str:
    """'all 2,100 training rows', '525 of 2,100 training rows'"""
    whole = comparison.rows["train"]
    return f"all {whole:,} training rows" if row.rows == whole else f"{row.rows:,} of {whole:,} training rows"


def on_a_part(comparison: Comparison, row: Row) -> str:
    """'`full` was trained on at most 525 of 2,100 rows and should score about 0.91 [0.88, 0.94] on all'"""
    whole, predicted = comparison.rows["train"], comparison.predictions.get(row.name)
    seen = f"`{row.name}` was trained on at most {row.rows:,} of {whole:,} rows"
    if predicted is None:
        return f"{seen}, too few to predict its score on all"
    bounds = format_interval_bounds(predicted.interval)
    return f"{seen} and should score about {format_number(predicted.score)} {bounds} on all"


def _at_common_rows(ranking: Ranking, row: Row) -> str:
    """Comparison with the best on the most rows that both were trained on; nothing if its score on all is predicted."""
    comparison, best = ranking.comparison, ranking.best
    if row.name in comparison.predictions or not comparison.common_rows(row.name, best.name):
        return ""
    found, how = comparison.difference(row.name, best.name), "better"
    if found.difference < 0:
        found, how = comparison.difference(best.name, row.name), "worse"
    return f" (on {found.rows:,} rows it is {how} than `{best.name}` by {noise_phrase(found)})"


def what_would_tell(ranking: Ranking, rivals: Sequence[Row]) -> str:
    """The command that trains the cheapest of them on all rows beside the leader, and what to use until then."""
    comparison, best = ranking.comparison, ranking.ahead or ranking.best
    names = [*(row.name for row in rivals), *not_run_in_time(comparison)]
    known = [name for name in names if name in comparison.estimates]
    leader = next((row for row in ranking.rows if row.family != ENSEMBLE), ranking.best)
    nearest = min(known, key=lambda name: comparison.estimates[name], default=None)
    command = on_all_rows_command(comparison, leader, nearest) if nearest else ""
    if command and nearest:
        what, more = [nearest], _all_of_them(comparison, names)
    else:
        command, what, more = larger_budget_command(comparison), names, ""
    how = f"`{command}`" if command else "run it again with a larger --budget"
    rows = "all rows" if best.rows == comparison.rows["train"] else f"{best.rows:,} rows"
    trained = join_phrases([f"`{name}`" for name in what])
    until = f"Until then use {name_list([best])}, which is trained on {rows}."
    return f"To train {trained} on all rows: {how}. {more}{until}"


def _all_of_them(comparison: Comparison, names: Sequence[str]) -> str:
    """What it takes to train several on all rows, as the budget that was asked for is counted; '' for one."""
    seconds = [comparison.estimates[name] for name in names if name in comparison.estimates]
    if len(names) < 2 or len(seconds) < len(names):
        return ""
    effort = format_effort(sum(seconds), by_compute="--compute" in comparison.command.split())
    return f"Training all of them takes about {effort} with one seed. "


def partial_caveats(ranking: Ranking) -> list[str]:
    """Caveats for every regime that was trained on a part of the rows."""
    comparison = ranking.comparison
    return [f"{on_a_part(comparison, row)}." for row in comparison.partial if row is not ranking.constant]


def winner_sentence(comparison: Comparison, name: str | None) -> str:
    """What winner/ contains, the rows it was trained on, and its score beside the constant's; '' if it is empty."""
    rows = max((run.rows for run in comparison.runs if run.regime == name and not run.failed), default=0)
    if name is None or not rows:
        return ""
    whole, refit = comparison.rows["train"], comparison.refit
    on = f"all {whole:,} training rows" if rows >= whole else f"{rows:,} of {whole:,} training rows"
    constant = comparison.row(CONSTANT) if CONSTANT in comparison.names and name != CONSTANT else None
    good = error_beside(comparison, comparison.row(name), constant)
    if name == PREVIOUS:
        return f"The model in winner/ is `{name}`, the earlier model as it is{f': {good}' if good else ''}."
    if refit is None or refit.regime != name:
        return f"The model in winner/ is `{name}`, trained on {on}{f': {good}' if good else ''}."
    if refit.rejected:
        why = f"({refit.rejected}, so it is not used)"
        return f"The model in winner/ is `{name}`, trained on {on} {why}{f': {good}' if good else ''}."
    before = f" Trained on {on}, it was {good}." if good else ""
    return f"The model in winner/ is `{name}`, trained on {refit.described}.{before}"
