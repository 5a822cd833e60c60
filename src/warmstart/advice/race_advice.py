"""Race advice: what does a race conclude, as an answer that a person can check?"""

import math
from collections.abc import Sequence

from warmstart.advice.advise import NOTHING_BEATS, Advice, compute_spent
from warmstart.advice.caveats import study_caveats
from warmstart.advice.phrases import metric_phrase, verdict_for
from warmstart.advice.ranking import MAX_CONFIDENCE
from warmstart.quantities import (
    REFERENCE_FLOPS,
    capitalize_first,
    format_effort,
    format_interval_bounds,
    format_number,
    format_percent,
)
from warmstart.results.comparison import CONSTANT, Comparison
from warmstart.results.race_outcome import RaceForecast, RaceOutcome

_LEAST = 0.05  # chance of a rival that is worth a word


def race_advice(comparison: Comparison, raced: RaceOutcome) -> Advice:
    """The advice of a race. If undecided, it names no choice, but the cost of the next run."""
    leader = raced.of(raced.choice)
    compute = compute_spent(comparison) | {"exhaustive_flops": raced.exhaustive_flops}
    if leader is None:
        return Advice(
            choice=None,
            verdict="undecided",
            confidence=0.0,
            reason="Nothing could be trained.",
            also_fine=(),
            caveats=study_caveats(comparison),
            next_step="The caveats say why. `warmstart check` lists problems with the data, row by row.",
            predicted={"regime": None, "score": None, "interval": None},
            compute=compute,
        )
    nothing = leader.regime == CONSTANT
    tie = [each for each in map(raced.of, raced.tie) if each is not None and each is not leader]
    if nothing:
        name = NOTHING_BEATS if raced.decided else "undecided"
    else:
        name = verdict_for(comparison, leader.regime, leader.family) if raced.decided else "undecided"
    return Advice(
        choice=leader.regime if raced.decided and not nothing else None,
        verdict=name,
        confidence=round(min(raced.confidence, MAX_CONFIDENCE), 3),
        reason=_reason(comparison, raced, leader, tie, name),
        also_fine=tuple(each.regime for each in tie) if raced.decided else (),
        caveats=study_caveats(comparison, (*_doubts(raced, leader), *_left_out(comparison))),
        next_step=_next_step(raced, leader, nothing),
        predicted={"regime": leader.regime, "score": leader.score, "interval": list(leader.interval)},
        compute=compute,
    )


def compared_in_race(score: float, predicted: RaceForecast, *, higher: bool) -> str:
    """The score of a run on all rows beside the race's prediction, with an alarm if it is outside the interval."""
    low, high = predicted.interval
    if low <= score <= high:
        expected = f"{format_number(predicted.score)} {format_interval_bounds(predicted.interval)}"
        return f"The score of {format_number(score)} is as predicted: {expected}."
    better = (score > high) == higher
    sentence = f"The score of {format_number(score)} is {'better' if better else 'worse'} than predicted"
    sentence += f" ({format_number(predicted.score)} {format_interval_bounds(predicted.interval)})"
    return (
        f"{sentence}." if better else f"{sentence}: the race may have chosen wrongly; `warmstart compare` would tell."
    )


def _reason(
    comparison: Comparison, raced: RaceOutcome, leader: RaceForecast, tie: Sequence[RaceForecast], name: str
) -> str:
    min_effect = format_percent(comparison.min_effect)
    rest = [each for each in raced.outlooks if each is not leader and each not in tie]
    best = {each.family: each for each in reversed(rest) if each.regime != CONSTANT}
    others = [
        f"`{each.regime}` {format_number(each.score)} {format_interval_bounds(each.interval)}" for each in best.values()
    ]
    score = f"{format_number(leader.score)} {metric_phrase(comparison)} {format_interval_bounds(leader.interval)}"
    sentence = f"`{leader.regime}` should score {score}"
    sentence += f" with all {raced.whole:,} rows"
    sentence += f", {_listed(others)}." if others else "."
    if not raced.decided:
        sure = (
            f"the probability that `{leader.regime}` is best"
            f"{f', or within {min_effect} of the best,' if comparison.min_effect else ''} is "
            f"{format_percent(min(raced.confidence, MAX_CONFIDENCE))}"
        )
        never = f", but {_listed([f'`{each}`' for each in raced.unseen])} never ran" if raced.unseen else ""
        return f"Undecided: {sentence} So far, {sure}{never}."
    answer = f"{capitalize_first(name)}: {sentence}"
    if tie:
        same = _listed([f"`{each.regime}`" for each in tie])
        is_, costs = ("is", "costs") if len(tie) == 1 else ("are", "cost")
        answer += f" {capitalize_first(same)} {is_} equally good within {min_effect}, but {costs} more."
    doubt = format_percent(1 - min(raced.confidence, MAX_CONFIDENCE))
    by = f" by more than {min_effect}" if comparison.min_effect else ""
    return f"{answer} The probability that another regime is better{by} is {doubt}."


def _next_step(raced: RaceOutcome, leader: RaceForecast, nothing: bool) -> str:
    if nothing and raced.decided:
        return "Check the inputs: `warmstart check` lists the columns that are read and their problems."
    if raced.decided:
        if leader.rows == raced.whole:
            return f"Use it: `{leader.regime}` was trained on all rows, and is ready for `warmstart predict`."
        minutes = _effort(leader.seconds, raced)
        return f"Train it on all rows, in about {minutes}: `warmstart fit` with `--regime {leader.regime}`."
    if raced.next_regime is None or raced.next_rows is None or raced.next_seconds is None:
        return "The race has used all its rows and seeds: `warmstart compare` with more test rows would tell."
    needed = raced.spent + raced.next_seconds
    share = math.ceil(100 * needed / max(raced.exhaustive, 1e-9))  # in percent, never too little
    run = f"`{raced.next_regime}` on {raced.next_rows:,} rows, about {_effort(raced.next_seconds, raced)}"
    if raced.by_compute:
        enough = f"--compute {math.ceil(needed * REFERENCE_FLOPS / 1e12)}TFLOP"
        return f"The next run would be {run}: {enough} or more covers it."
    budget = f"{share} %" if share <= 100 else f"{math.ceil(needed / 60)}m"
    return f"The next run would be {run}: a --budget of {budget} or more covers it."


def _doubts(raced: RaceOutcome, leader: RaceForecast) -> tuple[str, ...]:
    """What could change the answer."""
    found = [
        f"`{each.regime}`, trained on {each.rows:,} rows, has a {format_percent(each.chance)} chance of being the best."
        for each in raced.outlooks
        if each is not leader and each.chance >= _LEAST
    ]
    if raced.unseen:
        names = _listed([f"`{name}`" for name in raced.unseen])
        found.insert(0, f"The race did not run {names}, which may be the best.")
    if leader.rows < raced.whole:
        ahead = raced.whole / leader.rows
        sentence = f"`{leader.regime}` was trained on {leader.rows:,} rows, and its score is predicted for"
        found.append(f"{sentence} {ahead:.0f} times as many.")
    return tuple(found)


def _left_out(comparison: Comparison) -> tuple[str, ...]:
    """Regimes excluded by constraints; only training would tell what that costs in score."""
    return tuple(
        f"`{each.regime}` is excluded by --{each.constraint} and was not in the race: {each.reason}."
        for each in comparison.excluded
    )


def _effort(seconds: float, raced: RaceOutcome) -> str:
    if raced.by_compute:
        return format_effort(seconds, by_compute=True)
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{max(seconds, 1):.0f} s"


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
