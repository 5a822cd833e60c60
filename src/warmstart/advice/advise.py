"""Advise: which regime should be chosen, is it a tie, or what would it cost to know more?

The question is which *way* to train: from scratch, by fine-tuning, or is a linear model enough. So regimes stand for
their family, and the verdict can be sure of the family while the method within it is open. The rules:

- The choice is the cheapest (FLOPs of one run) of the regimes tied with the best. If a regime of another family is open
  against it, there is no choice, but a price for knowing more.
- The answer is about all rows. A regime of another family that the budget allowed only a part of them, and whose
  predicted score may reach the best, or that was not run at all, leaves it undecided (`advice/budget_cuts.py`). One
  that is clearly better on a part of the rows than all others on all of them is chosen, or leads if others are open.
- A failed regime cannot win, `constant` is never chosen, and a regime that had not converged cannot lose with
  confidence.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from warmstart.advice.budget_cuts import (
    better_on_a_part,
    not_run_in_time,
    on_a_part,
    what_would_tell,
    why_undecided,
)
from warmstart.advice.caveats import caveats_for, study_caveats
from warmstart.advice.constraint_cost import ConstraintCost, constraint_cost
from warmstart.advice.more_data import between_rows, crossover_sentences
from warmstart.advice.next_steps import after_decision, settle, train_longer
from warmstart.advice.old_rows import NEAR_ZERO, old_rows_sentence
from warmstart.advice.phrases import (
    against_others,
    compared_with_others,
    costs,
    distinct_ways,
    name_list,
    noise_phrase,
    scores,
    splits_sentence,
    verdict_for,
)
from warmstart.advice.prompting import prompting_worth
from warmstart.advice.ranking import MAX_CONFIDENCE, Ranking, rank_regimes
from warmstart.quantities import (
    capitalize_first,
    format_interval_bounds,
    format_number,
    format_percent,
)
from warmstart.results.comparison import CONSTANT, Comparison
from warmstart.results.comparison_rows import Difference, Row
from warmstart.results.constraints import BUDGET
from warmstart.results.names import ENSEMBLE

NOTHING_BEATS = "nothing beats the constant"
_MOST_IF_UNDECIDED = 0.75  # the best measured may lead in more draws, but not in enough to be called
_EVEN = 0.5  # an answer less likely than not is none
_PROBABLY = 0.8  # a verdict less sure than this says so in its first word


@dataclass(frozen=True)
class Advice:
    """The answer in the words of the question, and what it is based on."""

    choice: str | None  # None: undecided, nothing beats the constant, or nothing is allowed
    verdict: str  # those of `phrases.verdict_for`, "undecided", "nothing beats the constant" or "nothing is allowed"
    confidence: float  # 0..1: share of draws in which the verdict's best is best, or short of it by less than matters
    reason: str  # one to three sentences with numbers
    also_fine: tuple[str, ...]  # tied with the choice
    caveats: tuple[str, ...]
    next_step: str  # the one thing to do now
    predicted: dict[str, Any]  # {"regime", "score", "interval"}: of the choice; without one, of the best measured
    compute: dict[str, float]  # {"spent_flops", "exhaustive_flops"}
    constraints: tuple[ConstraintCost, ...] = ()  # what each costs in score

    @property
    def winner(self) -> str | None:
        """The regime whose model the study delivers: the choice; if undecided, the best-scored one, or the constant."""
        return CONSTANT if self.verdict == NOTHING_BEATS else self.choice or self.predicted.get("regime")

    def to_json(self) -> dict[str, Any]:
        """The public `advice.json`."""
        facts = asdict(self)
        return facts | {name: list(facts[name]) for name in ("also_fine", "caveats", "constraints")}


def advice_for(comparison: Comparison) -> Advice:
    """The answer from the runs, among what the constraints allow, with what they cost in score."""
    barred = tuple(each for each in comparison.excluded if each.constraint != BUDGET)
    if not barred:
        return _answer(comparison)
    allowed = comparison.without({each.regime for each in barred})
    if all(name == CONSTANT for name in allowed.names):
        return _nothing_allowed(comparison)
    advice = _answer(allowed)
    prices = constraint_cost(replace(comparison, excluded=barred), advice.predicted["regime"])
    return replace(
        advice,
        reason=" ".join([advice.reason, *(each.statement for each in prices if each.regime)]),
        caveats=(*advice.caveats, *(each.statement for each in prices if not each.regime)),
        compute=compute_spent(comparison),
        constraints=prices,
    )


def _answer(comparison: Comparison) -> Advice:
    """The answer from everything in the comparison, what of old rows was forgotten, and what prompting is worth."""
    advice = _ranked(comparison)
    old = old_rows_sentence(comparison, advice.winner)
    more = (splits_sentence(comparison), old, prompting_worth(comparison))
    return replace(advice, reason=" ".join(filter(None, (advice.reason, *more))))


def _ranked(comparison: Comparison) -> Advice:
    """The answer by the rules above."""
    field = rank_regimes(comparison)
    if field is None:
        return _nothing_usable(comparison)
    open_ways = _open_ways(field, field.ahead or field.best)
    if open_ways or not_run_in_time(comparison):
        return _undecided_on_all_rows(field, open_ways)
    if field.ahead:
        return _decided_on_a_part(field, field.ahead)
    if field.nothing_right:
        return _nothing_right(field)
    if not field.choices:
        return _constant_stands(field)
    choice = min(field.choices, key=lambda row: row.flops)
    rivals = [row for row in field.open if row is not choice and field.standing(choice, row) == "open"]
    # Siblings may stay open: they do not change the way to train. In a study of one family they are all there is.
    others = [row for row in rivals if row.family != choice.family or len(field.families) == 1]
    return _undecided(field, choice, others[0]) if others else _decided(field, choice, rivals)


def _open_ways(field: Ranking, leader: Row) -> list[Row]:
    """Regimes that were run on a part of the rows and may be better. A sibling of the leader may stay open: it does not
    change the way to train.
    """
    several = _several_families(field.comparison)
    others = [row for row in field.reaching if row is not leader and field.may_reach(row, leader)]
    return [row for row in others if row.family != leader.family or not several]


def _several_families(comparison: Comparison) -> bool:
    return len({row.family for row in comparison.table if row.failed is None and row.name != CONSTANT}) > 1


# The answers.


def _undecided_on_all_rows(field: Ranking, rivals: Sequence[Row]) -> Advice:
    """`rivals` were trained on a part of the rows, or some regimes were not run, and may be better."""
    leader = field.ahead or field.best
    share = field.comparison.paired_rows(leader, field.best).p_above_zero if field.ahead else field.share([field.best])
    return Advice(
        choice=None,
        verdict="undecided",
        confidence=round(min(share, field.most(rivals), _MOST_IF_UNDECIDED), 3),
        reason=why_undecided(field, rivals),
        also_fine=(),
        caveats=caveats_for(field, leader),
        next_step=what_would_tell(field, rivals),
        predicted=_predicted(leader),
        compute=compute_spent(field.comparison),
    )


def _decided_on_a_part(field: Ranking, choice: Row) -> Advice:
    """`choice` is better on a part of the rows than the others are on all of them."""
    comparison, verdict = field.comparison, verdict_for(field.comparison, choice.name, choice.family)
    sure = comparison.paired_rows(choice, field.best).p_above_zero
    better = better_on_a_part(field, choice)
    return Advice(
        choice=choice.name,
        verdict=verdict,
        confidence=round(min(sure, field.most([choice])), 3),
        reason=f"Probably {verdict}: {on_a_part(comparison, choice)}. {scores(comparison, choice)}, {better}.",
        also_fine=(),
        caveats=caveats_for(field, choice),
        next_step=what_would_tell(field, [choice]),
        predicted=_predicted(choice),
        compute=compute_spent(comparison),
    )


def _decided(field: Ranking, choice: Row, siblings: Sequence[Row]) -> Advice:
    """`siblings` cannot be distinguished from the choice, but belong to its family."""
    comparison, verdict = field.comparison, verdict_for(field.comparison, choice.name, choice.family)
    behind = [row for row in field.unfinished if row not in field.tied and row.family != choice.family]
    family = [row for row in field.rows if row.family == choice.family]
    confidence = round(min(field.share(family if siblings or field.reaching else [choice]), field.most(behind)), 3)
    answer = f"Probably {verdict}" if confidence < _PROBABLY else capitalize_first(verdict)
    reason = [f"{answer}: {scores(comparison, choice)}{against_others(field, choice)}."]
    if choice is not field.best and choice not in field.tied:
        reason.append(f"`{field.best.name}` scored best, but is not clearly better than the constant.")
    elif choice is not field.best:
        reason.append(
            f"`{field.best.name}` scored best, but `{choice.name}` is within "
            f"{format_percent(comparison.min_effect)} of it"
            f" and cheaper: `{field.best.name}` {costs(field.best, choice)}."
        )
    if field.reaching:
        reason.append(f"{name_list(field.reaching)} may be better still, but ran on part of the rows only.")
    if siblings:
        rivals = name_list([choice, *siblings])
        reason.append(f"Which of {rivals} is best is unclear: these test rows and seeds cannot tell them apart.")
    crossing = crossover_sentences(comparison, choice.name)
    if crossing:
        reason.append(crossing)
    return Advice(
        choice=choice.name,
        verdict=verdict,
        confidence=confidence,
        reason=" ".join(reason),
        also_fine=tuple(row.name for row in field.tied if row is not choice),
        caveats=caveats_for(field, choice),
        next_step=after_decision(field, choice, behind),
        predicted=_predicted(choice),
        compute=compute_spent(comparison),
    )


def _undecided(field: Ranking, choice: Row, rival: Row) -> Advice:
    """`rival` is open against the best and against `choice`, the cheapest of those tied with the best."""
    comparison = field.comparison
    first = choice if field.best.family == rival.family and choice.family != rival.family else field.best
    contenders = [*field.tied, *field.open]
    unfinished = [row for row in contenders if not row.converged]
    cheapest = min(contenders, key=lambda row: row.flops)
    behind = [
        way
        for family, way in distinct_ways(comparison).items()
        if family in field.families - {row.family for row in contenders}
    ]
    found = field.difference(first, rival)
    reason = (
        f"Undecided between {compared_with_others(comparison, first, first.family != rival.family)} and"
        f" {compared_with_others(comparison, rival, first.family != rival.family)}: the difference of"
        f" {noise_phrase(found)} may be zero{_corrected(field, found)}"
        f"{f', or more than the {format_percent(comparison.min_effect)} that matters' * (comparison.min_effect > 0)}."
    )
    sentences = [reason, f"{capitalize_first(' and '.join(behind))} did worse." if behind else ""]
    sentences.append(between_rows(comparison, first.name, rival.name))
    if cheapest is field.best and not unfinished:
        sentences.append(_ahead_and_cheapest(field, [row for row in contenders if row is not cheapest]))
    leads, name = cheapest is field.best, f"`{cheapest.name}`"
    hurry = f"take {name}" if leads else f"{name} is the cheapest candidate"
    step = train_longer(comparison, unfinished) if unfinished else settle(field, first, rival)
    return Advice(
        choice=None,
        verdict="undecided",
        confidence=round(min(field.share([field.best]), field.most(unfinished), _MOST_IF_UNDECIDED), 3),
        reason=" ".join(sentence for sentence in sentences if sentence),
        also_fine=(),
        caveats=caveats_for(field, field.best),
        next_step=f"{step} If you cannot wait, {hurry}.",
        predicted=_predicted(field.best),
        compute=compute_spent(comparison),
    )


def _ahead_and_cheapest(field: Ranking, others: Sequence[Row]) -> str:
    """If the best measured is also the cheapest: how much better each other regime may be, by its interval."""
    best = field.best.name
    most = {row.name: -field.difference(field.best, row).interval.low for row in others}
    gains = [f"`{name}` may be better by {format_number(gain)} at most" for name, gain in most.items() if gain > 0]
    gained = f"; {', '.join(gains)}" if gains else ""
    level = any(abs(field.difference(field.best, row).difference) <= NEAR_ZERO for row in others)
    return f"`{best}` {'scores as well as any and is' if level else 'is ahead and'} the cheapest candidate{gained}."


def _constant_stands(field: Ranking) -> Advice:
    """No regime is clearly better than the constant. If one probably is, that is undecided."""
    comparison, best, constant = field.comparison, field.best, field.constant
    assert constant, "without a constant there is nothing to stay below"
    found, gains = field.difference(best, constant), field.gain_over_constant
    look = "Check the inputs too: `warmstart check` lists the columns that are read and their problems."
    step = f"{settle(field, best, constant)} {look}" if found.interval.high > field.margin_over_constant else look
    if gains > _EVEN:
        verdict, sure = "undecided", min(gains, field.most(field.unfinished), _MOST_IF_UNDECIDED)
        answer = "Undecided: nothing is clearly better than the constant"
        step = f"{step} If you cannot wait, take `{best.name}`."
    else:
        verdict, sure = NOTHING_BEATS, round(min(1 - gains, field.most(field.unfinished)), 3)
        answer = f"Probably {verdict}" if sure < _PROBABLY else capitalize_first(verdict)
    beside = f"{scores(comparison, best)}, the constant {format_number(constant.score)}"
    return Advice(
        choice=None,
        verdict=verdict,
        confidence=round(sure, 3),
        reason=f"{answer}: {beside}; {_gain(field, found)}.",
        also_fine=(),
        caveats=caveats_for(field, best),
        next_step=step,
        predicted=_predicted(best),
        compute=compute_spent(comparison),
    )


def _gain(field: Ranking, found: Difference) -> str:
    """What the best gains over the constant, where that is not clear of zero."""
    if found.difference <= 0:
        low, high = found.interval
        bounds = format_interval_bounds((-high, -low))
        return f"the constant is better by {format_number(-found.difference)} {bounds}"
    return f"the gain of {noise_phrase(found)} may be zero{_corrected(field, found)}"


def _corrected(field: Ranking, found: Difference) -> str:
    """Why a difference may be zero although its own interval is clear of it; '' where it is not."""
    return f" (Holm correction for {len(field.rows)} regimes)" if found.interval.low > 0 else ""


def _nothing_usable(comparison: Comparison) -> Advice:
    failed = [row for row in comparison.table if row.failed is not None]
    return Advice(
        choice=None,
        verdict="undecided",
        confidence=0.0,
        reason=f"No usable result: {name_list(failed)} failed."
        if failed
        else "Undecided: only the constant was run, so there is no regime to choose from.",
        also_fine=(),
        caveats=study_caveats(comparison),
        next_step="The caveats say why. `warmstart check` lists problems with the data, row by row."
        if failed or comparison.excluded
        else "Compare it with others, such as --regimes constant,linear,scratch-dnn.",
        predicted={"regime": None, "score": None, "interval": None},
        compute=compute_spent(comparison),
    )


def _nothing_right(field: Ranking) -> Advice:
    """All regimes are equally bad: the cheapest of them is no answer."""
    return Advice(
        choice=None,
        verdict="undecided",
        confidence=0.0,
        reason=f"Undecided: no regime got a single row right ({scores(field.comparison, field.best)}).",
        also_fine=(),
        caveats=caveats_for(field, field.best),
        next_step="Read the answers in the report. Train longer (--epochs, --budget), or try another --base.",
        predicted=_predicted(field.best),
        compute=compute_spent(field.comparison),
    )


def _nothing_allowed(comparison: Comparison) -> Advice:
    """Before training there was something to choose from, but the trained models are too large or too slow."""
    reasons = dict.fromkeys(f"`{each.regime}`: {each.reason}" for each in comparison.excluded)
    cheap = [name for name in ("linear", "scratch-dnn") if name not in {each.regime for each in comparison.excluded}]
    cheaper = f", such as --regimes {','.join(cheap)}" if cheap else ""
    return Advice(
        choice=None,
        verdict="nothing is allowed",
        confidence=MAX_CONFIDENCE,
        reason=f"Nothing is allowed: {'; '.join(reasons)}.",
        also_fine=(),
        caveats=study_caveats(comparison),
        next_step=f"Relax a constraint, or compare cheaper regimes{cheaper}.",
        predicted={"regime": None, "score": None, "interval": None},
        compute=compute_spent(comparison),
        constraints=constraint_cost(comparison, None),
    )


# What they are made of.


def _predicted(row: Row) -> dict[str, Any]:
    return {"regime": row.name, "score": row.score, "interval": list(row.interval)}


def compute_spent(comparison: Comparison) -> dict[str, float]:
    """All compute that was spent. Runs with the same trials share one search; an ensemble is made of other runs."""
    runs = [run for run in comparison.runs if run.family != ENSEMBLE]
    searches = {(run.regime, run.rows, repr(run.trials)): run.tuning_flops for run in runs}
    spent = sum(run.cost.flops for run in runs) + sum(searches.values()) + comparison.unranked_flops
    return {"spent_flops": spent, "exhaustive_flops": spent}
