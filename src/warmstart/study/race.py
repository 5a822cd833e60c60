"""Race: which regime will be best on all rows, judging by runs on few of them?

`curve_model` estimates every arm on all rows, with its uncertainty. The next run is always the one with the largest
expected improvement of the choice per cost, among arms that still have a chance. Nothing here trains: a race requests
runs and receives their scores.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import norm

from warmstart.study.curve_model import FIRST_RUNG_ROWS, CurveModel, NextRun, ObservedCurve, Prior
from warmstart.types import Array

RUNGS = 5  # all rows, half of them ...
CHANCE = 0.05  # an arm less likely to be best is not asked for again
SURE = 0.95  # decided
CURVES = 0.1  # of the budget, at most, for the curves of cheap arms: how much rows help is mostly the task's own
TIED = 0.9  # of the draws: an arm that is best in so many, or short of it by less than matters, is as good
MOST_SEEDS = 3  # of one arm at one number of rows
_DRAWS = 4000


@dataclass(frozen=True)
class RaceArm:
    """A way of training that may be chosen."""

    name: str
    cost: Callable[[int], float]  # of one run at so many rows; any unit, that of the budget
    whole: bool = False  # so cheap that it is run on all rows first, then on fewer
    flat: bool = False  # no better for more rows: its curve says nothing of the others'


@dataclass(frozen=True)
class Result:
    """The score of a run."""

    ask: NextRun
    losses: Array | None  # [n], of the same held-out rows every time, none negative; None: it failed
    cost: float


@dataclass(frozen=True)
class Prediction:
    """An arm's mean loss when trained on all rows, with 90 % bounds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class RaceRanking:
    """The state of knowledge at one moment of a race."""

    choice: str | None  # None: nothing came to a result
    tie: tuple[str, ...]  # with the choice: those as good as each other, cheapest first; empty without a tie
    confidence: float  # chance that the choice is best, or short of it by less than matters
    chances: dict[str, float]  # of each arm to be the best
    predicted: dict[str, Prediction]
    spent: float
    decided: bool
    dropped: dict[str, int]  # arms without a chance, with the most rows that they were seen at
    unseen: tuple[str, ...] = ()  # arms that no run was made of: all that is known of them was known before
    next_ask: NextRun | None = None  # the run that is most informative, whatever it costs; None: none is left
    next_cost: float | None = None


def rungs(whole: int) -> tuple[int, ...]:
    """Numbers of training rows, fewest first, each twice the one before, up to all.

    >>> rungs(2000), rungs(120)
    ((125, 250, 500, 1000, 2000), (60, 120))
    """
    halved = (whole >> power for power in reversed(range(RUNGS)))
    return tuple(rows for rows in halved if rows >= FIRST_RUNG_ROWS) or (whole,)


def race(
    arms: Sequence[RaceArm],
    whole: int,
    budget: float,
    *,
    min_effect: float = 0.01,
    higher_is_better: bool = False,
    generator: int = 0,
    prior: Prior | None = None,
    seeds: int = MOST_SEEDS,
) -> Generator[NextRun, Result, RaceRanking]:
    """Request runs until one arm is known to be best on `whole` rows, or the budget is spent.

    `min_effect`: the smallest gain that matters, as a share of the best score, which is 1 - loss if higher is better.
    `seeds`: the most runs of one arm at one number of rows.
    """
    model = CurveModel(prior or Prior(), rungs(whole)[0], whole)
    state = _RaceState(tuple(arms), whole, min_effect, higher_is_better, model, generator, min(seeds, MOST_SEEDS))
    for ask in state.cheap_on_all_rows():
        if state.spent + state.cost(ask) <= budget or not state.seen:
            state.add((yield ask))
    begun = state.spent
    for ask in state.cheap_on_fewer_rows():
        if state.spent + state.cost(ask) <= min(budget, begun + CURVES * budget):
            state.add((yield ask))
    while True:
        ranking = state.ranking()
        wanted = None if ranking.decided else state.next_ask(ranking, budget - state.spent)
        if wanted is None:
            return ranking
        state.add((yield wanted))


@dataclass
class _RaceState:
    """The arms of a race, and their results so far."""

    arms: tuple[RaceArm, ...]
    whole: int
    min_effect: float
    higher_is_better: bool
    model: CurveModel
    generator: int
    seeds: int
    seen: list[Result] = field(default_factory=list)  # in the order of asking, failed ones apart
    failed: set[str] = field(default_factory=set)
    spent: float = 0.0

    def add(self, result: Result) -> None:
        self.spent += result.cost
        if result.losses is None or not np.isfinite(result.losses).all():
            self.failed.add(result.ask.arm)
        else:
            self.seen.append(result)

    def cost(self, ask: NextRun) -> float:
        return next(arm for arm in self.arms if arm.name == ask.arm).cost(ask.rows)

    def cheap_on_all_rows(self) -> list[NextRun]:
        """Cheap arms on all rows, cheapest first."""
        return sorted((NextRun(arm.name, self.whole, 0) for arm in self.arms if arm.whole), key=self.cost)

    def cheap_on_fewer_rows(self) -> list[NextRun]:
        """Cheap arms on fewer rows, cheapest first."""
        fewer = [rows for rows in rungs(self.whole) if rows < self.whole]
        cheap = [arm.name for arm in self.arms if arm.whole and not arm.flat and arm.name in self.known]
        return sorted((NextRun(name, rows, 0) for name in cheap for rows in fewer), key=self.cost)

    @property
    def known(self) -> list[str]:
        """The arms that have results and never failed."""
        return [arm.name for arm in self.arms if arm.name not in self.failed and self._asked(arm.name)]

    @property
    def running(self) -> list[str]:
        """The same, then the arms without results."""
        return [
            *self.known,
            *(arm.name for arm in self.arms if not self._asked(arm.name) and arm.name not in self.failed),
        ]

    def _unknown(self, arm: str) -> bool:
        """Whether nothing is known of it, neither from runs nor from the prior."""
        return not self._asked(arm) and arm not in self.model.prior.levels

    def _may_win(self, arm: str, chance: float) -> bool:
        return chance >= CHANCE or self._unknown(arm)

    def _asked(self, arm: str) -> list[NextRun]:
        return [result.ask for result in self.seen if result.ask.arm == arm]

    def ranking(self) -> RaceRanking:
        known = self.known
        if not known:
            return RaceRanking(None, (), 0.0, {}, {}, self.spent, decided=False, dropped={})
        names = self.running
        observed = self._observed()
        mean, spread = self.model.predict(observed, names)
        random = np.random.default_rng(self.generator)
        errors = self._possible_errors(random.multivariate_normal(mean, spread, _DRAWS, method="eigh"))
        best = errors.min(axis=1, keepdims=True)
        margin = self.min_effect * np.abs(1 - best if self.higher_is_better else best)
        chances = np.bincount(errors.argmin(axis=1), minlength=len(names)) / _DRAWS
        good = (errors <= best + margin).mean(axis=0)
        regret = (errors - best).mean(axis=0)
        whole_cost = {arm.name: arm.cost(self.whole) for arm in self.arms}
        as_good = sorted((i for i in range(len(known)) if good[i] >= TIED), key=lambda i: whole_cost[names[i]])
        place = as_good[0] if as_good else int(regret[: len(known)].argmin())
        low, high = np.quantile(errors, [0.05, 0.95], axis=0)
        middle = self._possible_errors(mean)
        may_win = [name for name, chance in zip(names, chances, strict=True) if self._may_win(name, float(chance))]
        candidates = list(self._possible(may_win))
        worthwhile = self._expected_improvements(observed, names, place, candidates)
        wanted = max(worthwhile, key=lambda ask: worthwhile[ask] / max(self.cost(ask), 1e-12), default=None)
        return RaceRanking(
            choice=names[place],
            tie=tuple(names[i] for i in as_good) if len(as_good) > 1 else (),
            confidence=float(good[place]),
            chances={name: float(chance) for name, chance in zip(names, chances, strict=True)},
            predicted={
                name: Prediction(float(middle[i]), float(low[i]), float(high[i])) for i, name in enumerate(known)
            },
            spent=self.spent,
            decided=bool(good[place] >= SURE) and not any(map(self._unknown, may_win)),
            dropped={
                name: max(ask.rows for ask in self._asked(name))
                for name, chance in zip(known, chances, strict=False)
                if chance < CHANCE and name != names[place]
            },
            unseen=tuple(names[len(known) :]),
            next_ask=wanted,
            next_cost=None if wanted is None else self.cost(wanted),
        )

    def _possible_errors(self, logs: Array) -> Array:
        """If higher is better, an error is 1 - score, and at most 1."""
        errors: Array = np.exp(logs)
        return np.minimum(errors, 1.0) if self.higher_is_better else errors

    def next_ask(self, ranking: RaceRanking, left: float) -> NextRun | None:
        """The most informative run for its cost, among those within the budget."""
        names = self.running
        if ranking.choice is None:  # whatever it costs: without a result nothing can be predicted
            asks = [NextRun(name, rungs(self.whole)[0], 0) for name in names]
            return min(asks, key=self.cost, default=None)
        matter = [n for n in names if n == ranking.choice or self._may_win(n, ranking.chances[n])]
        affordable = [ask for ask in self._possible(matter) if self.cost(ask) <= left]
        worthwhile = self._expected_improvements(self._observed(), names, names.index(ranking.choice), affordable)
        return max(worthwhile, key=lambda ask: worthwhile[ask] / max(self.cost(ask), 1e-12), default=None)

    def _possible(self, names: Sequence[str]) -> Iterator[NextRun]:
        """For each arm: more rows than before, or the same with another seed."""
        for name in names:
            most = max((ask.rows for ask in self._asked(name)), default=0)
            for rows in (rows for rows in rungs(self.whole) if rows >= most):
                seeds = {ask.seed for ask in self._asked(name) if ask.rows == rows}
                fresh = next(seed for seed in range(len(seeds) + 1) if seed not in seeds)
                if fresh < self.seeds:
                    yield NextRun(name, rows, fresh)

    def _observed(self) -> ObservedCurve:
        seen = [result for result in self.seen if result.ask.arm not in self.failed]
        return ObservedCurve.of([each.ask for each in seen], [each.losses for each in seen if each.losses is not None])

    def _expected_improvements(
        self, observed: ObservedCurve, names: Sequence[str], lead: int, candidates: Sequence[NextRun]
    ) -> dict[NextRun, float]:
        """Expected improvement of the choice by each run, in log error.

        It counts how probable and how large the gain is if an arm turns out better than the leading one. If an arm is
        probably better already but was never run, it counts that the arm can be chosen after a run. It depends on which
        rows and seeds are observed, not on their scores: the knowledge gradient (Frazier, Powell and Dayanik 2009), for
        each arm against the leading one alone.
        """
        mean, spread = self.model.predict(observed, names)
        ahead, now = mean[lead] - mean, _differences(spread, lead)
        never = np.array([not self._asked(name) for name in names])
        found = {}
        for ask in candidates:
            _, after = self.model.predict(observed.with_one_more(ask), names)
            moved = np.sqrt(np.maximum(now - _differences(after, lead), 1e-12))
            gained = moved * _expected_above(-ahead / moved) - np.maximum(ahead, 0)
            gained += never * np.maximum(ahead, 0) * (np.array(names) == ask.arm)
            found[ask] = float(gained[np.arange(len(names)) != lead].sum())
        return found


def _differences(spread: Array, lead: int) -> Array:
    """Variances [arms] of the differences to one arm."""
    found: Array = np.diag(spread) + spread[lead, lead] - 2 * spread[lead]
    return found


def _expected_above(bound: Array) -> Array:
    """Expected excess of a standard normal variable over this value; 0 where it is below."""
    found: Array = norm.pdf(bound) - bound * norm.sf(bound)
    return found
