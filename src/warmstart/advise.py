"""Advise: a regime, a tie, or the price of knowing more.

The question is which *way* to train: from scratch, by fine-tuning, or is a linear model enough. So regimes stand for
their family, and the verdict can be sure of the family while the method within it is open. The rules:

- Behind: the difference to the best is clear of zero, or the best is cheaper and not worse by more than the smallest
  gain that matters. Tied: the interval lies within that gain. Open: anything else.
- Clear of zero, with several regimes held against one, is what Holm's rule leaves at 5 % for all of them together; so
  too where each is held against the constant. The intervals shown are those of each difference alone.
- The choice is the cheapest (FLOPs of one run) of those tied with the best. Where a regime of another family is open
  against it there is no choice, but a price for knowing more.
- A failed regime cannot win, `constant` is never chosen, and what had not converged cannot lose with confidence.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from warmstart.comparison import CONSTANT, Comparison, Difference, Row
from warmstart.evaluate import FEWEST_SEEDS, holm, rows_to_settle
from warmstart.outlook import between, overtaking, what_to_buy
from warmstart.wording import bounds, capital, figure, percent, rounded

VERDICTS = {"fine-tuned": "fine-tune", "scratch": "train from scratch", "baseline": "a linear model is enough"}
WAYS = {"fine-tuned": "fine-tuning", "scratch": "training from scratch", "baseline": "the linear model"}
_BEST_MODELS = {
    "scratch": "the best model trained from scratch",
    "fine-tuned": "the best fine-tuned model",
    "baseline": "the linear model",
}
_MOST_BY_SEEDS = {1: 0.8, 2: 0.9}  # the spread of seeds is unknown: no interval holds it
_MOST = 0.99  # of what was measured on one split of one table
_MOST_IF_UNFINISHED = 0.75  # a rival was still improving when it was stopped, or a whole family came to no score
_MOST_IF_UNDECIDED = 0.75  # the best measured may lead in more draws, but not in enough to be called
_MOST_IF_ALONE = 0.5  # nothing to compare with
_PROBABLY = 0.8  # a verdict less sure than this says so in its first word
_FEW_GROUPS = 10  # of test rows
_NEAR_FLOOR = 0.15  # "near" the best reachable score
_HARDLY_WORTH_IT = 20  # times the test rows and seeds there are


@dataclass(frozen=True)
class Advice:
    """The answer in the words of the question, and what it rests on."""

    choice: str | None  # None: undecided, or nothing beats the constant
    verdict: str  # those of VERDICTS, "undecided" or "nothing beats the constant"
    confidence: float  # 0..1: share of draws in which the verdict's best is best, or short of it by less than matters
    reason: str  # one to three sentences with numbers
    also_fine: tuple[str, ...]  # tied with the choice
    caveats: tuple[str, ...]
    next_step: str  # the one thing to do now
    predicted: dict[str, Any]  # {"regime", "score", "interval"}: of the choice; without one, of the best measured
    compute: dict[str, float]  # {"spent_flops", "exhaustive_flops"}

    def to_json(self) -> dict[str, Any]:
        """The public `advice.json`."""
        return asdict(self) | {"also_fine": list(self.also_fine), "caveats": list(self.caveats)}


@dataclass(frozen=True)
class _Field:
    """The regimes that can be chosen, best first, and how they stand to the best of them."""

    comparison: Comparison
    rows: tuple[Row, ...]
    constant: Row | None

    @property
    def best(self) -> Row:
        return self.rows[0]

    @property
    def margin(self) -> float:
        """The smallest gain that matters, in the metric's unit."""
        return self.comparison.worth * abs(self.best.score)

    @property
    def families(self) -> set[str]:
        return {row.family for row in self.rows}

    @property
    def tied(self) -> list[Row]:
        """The best, and those tied with it."""
        return [row for row in self.rows if row is self.best or self.standing(self.best, row) == "tied"]

    @property
    def open(self) -> list[Row]:
        return [row for row in self.rows if row is not self.best and self.standing(self.best, row) == "open"]

    @property
    def unfinished(self) -> list[Row]:
        return [row for row in self.rows if not row.converged]

    @property
    def unmeasured(self) -> list[str]:
        """The families that were tried, none of whose regimes came to a score."""
        tried = {row.family for row in self.comparison.table if row.name != CONSTANT}
        scored = {row.family for row in self.comparison.table if row.name != CONSTANT and not math.isnan(row.score)}
        return sorted(tried - scored)

    def difference(self, a: Row, b: Row) -> Difference:
        return self.comparison.difference(a.name, b.name, self.best.rows)

    def standing(self, reference: Row, row: Row) -> str:
        """How `row` stands to `reference`: "tied", "behind" or "open"."""
        low, high = self.difference(reference, row).interval
        if -self.margin <= low and high <= self.margin:
            return "tied"
        clear = row.name in self._clearly_worse[reference.name]
        return "behind" if clear or (low >= -self.margin and reference.flops <= row.flops) else "open"

    def beats_constant(self, row: Row) -> bool:
        return self.constant is None or row.name in self._clear_of_constant

    @cached_property
    def _clearly_worse(self) -> dict[str, set[str]]:
        """Of each regime, those that are worse by more than chance."""
        return {row.name: self._clear_of(row, -1) for row in self.rows}

    @cached_property
    def _clear_of_constant(self) -> set[str]:
        assert self.constant, "only asked where there is one"
        return self._clear_of(self.constant, 1)

    def _clear_of(self, reference: Row, sign: int) -> set[str]:
        """The regimes that differ from `reference` by more than chance, and are better (1) or worse (-1)."""
        others = [row for row in self.rows if row is not reference]
        found = [self.comparison.paired(row.name, reference.name, self.best.rows) for row in others]
        clear = holm([each.p_value for each in found])
        return {row.name for row, each, yes in zip(others, found, clear, strict=True) if yes and sign * each.mean > 0}

    def share(self, rows: Sequence[Row]) -> float:
        """Of the draws: in how many one of `rows` is best, or short of the best by less than matters."""
        drawn = self.comparison.drawn([row.name for row in self.rows], self.best.rows)
        columns = [place for place, row in enumerate(self.rows) if row in rows]
        return float((drawn[:, columns].max(axis=1) >= drawn.max(axis=1) - self.margin).mean())

    def most(self, unfinished: Sequence[Row]) -> float:
        """As sure as anyone may be, whatever the draws say."""
        seeds = min(len(row.seeds) for row in self.rows)
        return min(
            _MOST_BY_SEEDS.get(seeds, _MOST),
            _MOST_IF_UNFINISHED if unfinished or self.unmeasured else _MOST,
            _MOST_IF_ALONE if len(self.rows) == 1 else _MOST,
        )


def advise(comparison: Comparison) -> Advice:
    """What the runs say, as an answer."""
    field = _field(comparison)
    if field is None:
        return _nothing_usable(comparison)
    choices = [row for row in field.tied if field.beats_constant(row)]
    choices = choices or [row for row in field.rows if field.beats_constant(row)][:1]
    if not choices:
        return _constant_stands(field)
    choice = min(choices, key=lambda row: row.flops)
    rivals = [row for row in field.open if row is not choice and field.standing(choice, row) == "open"]
    # Siblings may stay open: they do not change the way to train. In a study of one family they are all there is.
    others = [row for row in rivals if row.family != choice.family or len(field.families) == 1]
    return _undecided(field, choice, others[0]) if others else _decided(field, choice, rivals)


def _field(comparison: Comparison) -> _Field | None:
    """Those that did not fail, at the largest number of training rows, with a seed that all have in common."""
    usable = [row for row in comparison.table if row.failed is None]
    rows = [row for row in usable if row.name != CONSTANT]
    if not rows:
        return None
    ranked: list[Row] = []
    shared = set(rows[0].seeds)
    for row in usable:
        if row.rows == rows[0].rows and shared & set(row.seeds):
            shared &= set(row.seeds)
            ranked.append(row)
    constant = next((row for row in ranked if row.name == CONSTANT), None)
    return _Field(comparison, tuple(row for row in ranked if row is not constant), constant)


# The four answers.


def _decided(field: _Field, choice: Row, siblings: Sequence[Row]) -> Advice:
    """`siblings` cannot be told apart from the choice, but they are of its family."""
    comparison, verdict = field.comparison, VERDICTS[choice.family]
    behind = [row for row in field.unfinished if row not in field.tied and row.family != choice.family]
    family = [row for row in field.rows if row.family == choice.family]
    confidence = min(field.share(family if siblings else [choice]), field.most(behind))
    answer = f"Probably {verdict}" if confidence < _PROBABLY else capital(verdict)
    reason = [f"{answer}: {_scores(comparison, choice)}{_against_others(field, choice)}."]
    if choice is not field.best:
        reason.append(
            f"`{field.best.name}` measured best, but `{choice.name}` is less than {percent(comparison.worth)} away"
            f" and cheaper: `{field.best.name}` {_costs(field.best, choice)}."
        )
    if siblings:
        names = _names([choice, *siblings])
        reason.append(f"Which of {names} is best stays open: these test rows and seeds cannot tell them apart.")
    crossing = overtaking(comparison, choice.name)
    if crossing:
        reason.append(crossing)
    return Advice(
        choice=choice.name,
        verdict=verdict,
        confidence=round(confidence, 3),
        reason=" ".join(reason),
        also_fine=tuple(row.name for row in field.tied if row is not choice),
        caveats=_caveats(field, choice),
        next_step=_after_decision(field, choice, behind),
        predicted=_predicted(choice),
        compute=compute_spent(comparison),
    )


def _undecided(field: _Field, choice: Row, rival: Row) -> Advice:
    """`rival` is open against the best and against `choice`, the cheapest of those tied with the best."""
    comparison = field.comparison
    first = choice if field.best.family == rival.family and choice.family != rival.family else field.best
    contenders = [*field.tied, *field.open]
    unfinished = [row for row in contenders if not row.converged]
    cheapest = min(contenders, key=lambda row: row.flops)
    behind = [way for family, way in WAYS.items() if family in field.families - {row.family for row in contenders}]
    found = field.difference(first, rival)
    several = f" when {len(field.rows)} are compared (Holm)" if found.interval.low > 0 else ""
    reason = (
        f"Undecided between {_standing_of(comparison, first, first.family != rival.family)} and"
        f" {_standing_of(comparison, rival, first.family != rival.family)}: the difference of"
        f" {_spread(found)} may be nothing{several}, and may be more than the"
        f" {percent(comparison.worth)} that matters."
    )
    told = [reason, f"{capital(' and '.join(behind))} did worse." if behind else ""]
    told.append(between(comparison, first.name, rival.name))
    step = _longer(unfinished) if unfinished else _settle(field, first, rival)
    return Advice(
        choice=None,
        verdict="undecided",
        confidence=round(min(field.share([field.best]), field.most(unfinished), _MOST_IF_UNDECIDED), 3),
        reason=" ".join(sentence for sentence in told if sentence),
        also_fine=(),
        caveats=_caveats(field, field.best),
        next_step=f"{step} If you cannot wait, `{cheapest.name}` is the cheapest of those in question.",
        predicted=_predicted(field.best),
        compute=compute_spent(comparison),
    )


def _constant_stands(field: _Field) -> Advice:
    comparison, best, constant = field.comparison, field.best, field.constant
    assert constant, "without a constant there is nothing to stay below"
    margin = comparison.worth * abs(constant.score)
    found = field.difference(best, constant)
    drawn = comparison.drawn([best.name, constant.name], best.rows)
    no_gain = float((drawn[:, 0] - drawn[:, 1] <= margin).mean())
    look = "Look at the inputs too: `warmstart check` lists the columns that are read and what is wrong with them."
    return Advice(
        choice=None,
        verdict="nothing beats the constant",
        confidence=round(min(no_gain, field.most(field.unfinished)), 3),
        reason=(
            f"Nothing beats the constant: {_scores(comparison, best)}, always giving the same answer"
            f" {figure(constant.score)}; the gain of {_spread(found)} is not clear of zero."
        ),
        also_fine=(),
        caveats=_caveats(field, best),
        next_step=f"{_settle(field, best, constant)} {look}" if found.interval.high > margin else look,
        predicted=_predicted(best),
        compute=compute_spent(comparison),
    )


def _nothing_usable(comparison: Comparison) -> Advice:
    failed = [row for row in comparison.table if row.failed is not None]
    return Advice(
        choice=None,
        verdict="undecided",
        confidence=0.0,
        reason=f"No usable result: {_names(failed)} failed." if failed else "Nothing to choose from was run.",
        also_fine=(),
        caveats=study_caveats(comparison),
        next_step="See in the caveats why; `warmstart check` finds what is wrong with the data, row by row.",
        predicted={"regime": None, "score": None, "interval": None},
        compute=compute_spent(comparison),
    )


# What they are made of.


def _after_decision(field: _Field, choice: Row, unfinished: Sequence[Row]) -> str:
    comparison = field.comparison
    if unfinished:
        return _longer(unfinished)
    floor = comparison.noise_floor
    if floor is not None and abs(choice.score - floor) > _NEAR_FLOOR * abs(floor):
        return _towards_floor(comparison, choice, floor)
    buy = what_to_buy(comparison, choice.name)
    after = f" {buy}" if buy else ""
    if len(choice.seeds) < FEWEST_SEEDS:
        ready = f"`{choice.name}` is ready for `warmstart predict`."
        return f"To be surer, run again with --seeds {FEWEST_SEEDS}; {ready}{after}"
    return f"Use it: `{choice.name}` is ready for `warmstart predict`.{after}"


def _towards_floor(comparison: Comparison, choice: Row, floor: float) -> str:
    """What is known of the way to the best reachable score: only what was measured."""
    away = abs(choice.score - floor) / abs(floor)
    gap = f"`{choice.name}` is {percent(away)} away from the best reachable score, {figure(floor)}."
    if not choice.converged:
        return f"{gap} {_longer([choice])}"
    points = comparison.curve(choice.name)
    if len(points) == 1:
        return f"{gap} Try more training rows; --rows {choice.rows // 4},{choice.rows} would show what rows bring."
    fewest = points[0]
    return (
        f"{gap} From {fewest.rows:,} to {choice.rows:,} training rows it went from {figure(fewest.score)} to"
        f" {figure(choice.score)}; get more training rows, as what lies beyond {choice.rows:,} is not measured."
    )


def _longer(unfinished: Sequence[Row]) -> str:
    were = "was" if len(unfinished) == 1 else "were"
    return (
        f"Give {_names(unfinished)} more steps (a larger --epochs, or --budget where that cut it):"
        f" still improving when stopped, so what {'it' if were == 'was' else 'they'} can reach was not measured."
    )


def _settle(field: _Field, a: Row, b: Row) -> str:
    """The price of knowing more."""
    seeds = len(set(a.seeds) & set(b.seeds))
    need = rows_to_settle(field.comparison.paired(a.name, b.name, a.rows), field.margin)
    ways = [f"about {rounded(max(1, need.rows)):,} more test rows"] if need.rows is not None else []
    if seeds < FEWEST_SEEDS:
        return f"Run again with --seeds {FEWEST_SEEDS}{f', and with {ways[0]}' if ways else ''}."
    if need.seeds is not None:
        ways.append(f"--seeds {seeds + need.seeds} instead of {seeds}")
    if ways:
        return f"{capital(' or '.join(ways))} would settle it."
    times = f"about {max(2, rounded(round(need.times))):,} times as many test rows and seeds"
    hardly = ", which is hardly worth it" if need.times > _HARDLY_WORTH_IT else ""
    return f"It would take {times} to settle it{hardly}."


def _caveats(field: _Field, answer: Row) -> tuple[str, ...]:
    """About the answer first, then about the study."""
    caveats = []
    seeds = min(len(row.seeds) for row in field.rows)
    if seeds < FEWEST_SEEDS:
        caveats.append(
            f"{'Only one seed' if seeds == 1 else 'Only two seeds'}: the intervals hold the test rows alone, not how"
            " much another seed or another draw of training rows would change."
        )
    groups = field.comparison.groups
    few = 0 if groups is None else len(set(groups.tolist()))
    if 0 < few < _FEW_GROUPS:
        of_them = "all of one group" if few == 1 else f"of {few} groups"
        caveats.append(f"The test rows are {of_them}: how another group would do is hardly known.")
    caveats += [
        f"{capital(WAYS[family])} came to no score: nothing is known of that way." for family in field.unmeasured
    ]
    if len(field.families) == 1:
        caveats.append(f"Only {WAYS[answer.family]} was compared here: whether another way does better is not known.")
    caveats += [f"`{row.name}` has not converged: it was still improving when stopped." for row in field.unfinished]
    caveats += [f"`{answer.name}`: {caveat}" for caveat in answer.caveats]
    ranked = {row.name for row in field.rows}
    caveats += [
        f"`{row.name}` is not ranked: it has no run on the rows and seeds of the others."
        for row in field.comparison.table
        if row.failed is None and row.name not in ranked and row.name != CONSTANT
    ]
    return (*caveats, *study_caveats(field.comparison))


def study_caveats(comparison: Comparison) -> tuple[str, ...]:
    failed = (
        f"`{row.name}` failed and cannot win: {row.failed}." for row in comparison.table if row.failed is not None
    )
    return (*failed, *comparison.cuts, *comparison.caveats)


def _predicted(row: Row) -> dict[str, Any]:
    return {"regime": row.name, "score": row.score, "interval": list(row.interval)}


def compute_spent(comparison: Comparison) -> dict[str, float]:
    """All that was spent. Runs with the very same trials share one search."""
    searches = {(run.regime, run.rows, repr(run.trials)): run.tuning_flops for run in comparison.runs}
    spent = sum(run.cost.flops for run in comparison.runs) + sum(searches.values())
    return {"spent_flops": spent, "exhaustive_flops": spent}


# Words.


def _scores(comparison: Comparison, row: Row) -> str:
    """'`full` scores 0.642 accuracy [0.620, 0.660]'"""
    unit = f" in {comparison.units}" if comparison.units else ""
    return f"`{row.name}` scores {figure(row.score)} {comparison.metric}{unit} {bounds(row.interval)}"


def _standing_of(comparison: Comparison, row: Row, as_family: bool) -> str:
    score = f"{figure(row.score)} {comparison.metric} {bounds(row.interval)}"
    return f"{WAYS[row.family]} (`{row.name}`, {score})" if as_family else f"`{row.name}` ({score})"


def _against_others(field: _Field, choice: Row) -> str:
    """How the choice does against the best of each other family, ready to follow its score."""
    best = {row.family: row for row in reversed(field.rows) if row.family != choice.family}
    others = [_against(field, choice, best[family]) for family in _BEST_MODELS if family in best]
    return f", {', and '.join(others)}" if others else ""


def _against(field: _Field, choice: Row, rival: Row) -> str:
    found = field.difference(choice, rival)
    name, cost = f"{_BEST_MODELS[rival.family]} (`{rival.name}`)", _costs(rival, choice)
    if field.standing(choice, rival) == "tied":
        return f"less than {percent(field.comparison.worth)} from {name}, which {cost}"
    if found.interval.low > 0:
        return f"{_spread(found)} better than {name}, which {cost}"
    return f"not measurably worse than {name} (difference {_spread(found)}), which {cost}"


def _costs(row: Row, reference: Row) -> str:
    if not row.flops or not reference.flops:
        return "costs next to nothing" if not row.flops else "costs more"
    times = row.flops / reference.flops
    return f"costs {_times(times)} times as much" if times >= 0.1 else f"costs {_times(1 / times)} times less"


def _times(times: float) -> str:
    return f"{times:.1f}" if times < 10 else f"{rounded(round(times)):,}"


def _spread(found: Difference) -> str:
    return f"{figure(found.difference)} {bounds(found.interval)}"


def _names(rows: Iterable[Row]) -> str:
    *others, last = (f"`{row.name}`" for row in rows)
    return f"{', '.join(others)} and {last}" if others else last
