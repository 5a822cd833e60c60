"""Replay: does a race come to the answer that running everything gives, and sooner than simpler rules?

    python benchmarks/advice/replay.py [--log FOLDER]

Nothing is trained: what a race asks for is looked up in the log that `measure.py` made. Every problem whose log is
whole is raced at several budgets, once with each order of the seeds, with the prior that the other problems teach
(never the problem itself) and with none, and held against rules that people go by. Writes
../results/advice.json and the tables in README.md and docs/advise.md.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

import tables
from learn import described, learned
from measure import LENGTH, LOG, SEEDS, read_log
from problems import PROBLEMS
from warmstart.regimes.regimes import DEFAULT_REGIMES, WITHOUT_TRAINING
from warmstart.study import race as racing
from warmstart.study.curve_model import CurvePrior, NextRun, Prior
from warmstart.study.race import RaceArm, RaceRanking, Result, race, rungs
from warmstart.types import Array

RESULTS = Path(__file__).parent.parent / "results" / "advice.json"
PARTS = (0.02, 0.05, 0.1, 0.2)  # of what comparing everything takes
WORTH = 0.01
COMPARED = 3  # seeds of that comparison: what `compare` runs unless told otherwise
LITTLE = 0.01  # of it: an arm that costs less is run on all rows first, as in `study.run_race`
BOOTSTRAPS = 2_000
# As races were before: nothing in common between arms, and the same luck on few rows as on many.
APART = Prior(usual=CurvePrior(-0.18, 0.15), common=0.0, bend=0.15, seeds=0.04, draw=0.0, common_draw=0.0)
FEW, ABUNDANT = 300, 10_000  # rows, for the rules


@dataclass(frozen=True)
class Logged:
    """A problem with every run of it: [n] losses of the same test rows each time."""

    name: str
    whole: int
    higher_is_better: bool
    losses: Mapping[NextRun, Array]
    costs: Mapping[tuple[str, int], float]  # of a run of a regime on so many rows, in full fine-tunings on all rows
    searches: Mapping[str, tuple[float, float]]  # of its rate, as a race and as a comparison do it

    @cached_property
    def truth(self) -> dict[str, Array]:
        """[n] losses with all rows, the mean of the seeds."""
        names = dict.fromkeys(ask.arm for ask in self.losses)
        return {
            name: np.mean([self.losses[NextRun(name, self.whole, seed)] for seed in range(SEEDS)], axis=0)
            for name in names
        }

    @cached_property
    def best(self) -> str:
        return min(self.truth, key=lambda name: float(self.truth[name].mean()))

    def score(self, name: str) -> float:
        """1 - loss where higher is better, else the loss."""
        loss = float(self.truth[name].mean())
        return 1 - loss if self.higher_is_better else loss

    def regret(self, name: str) -> float:
        """How far a regime falls short of the best, as a share of the best one's score."""
        return float(self.truth[name].mean() - self.truth[self.best].mean()) / max(abs(self.score(self.best)), 1e-9)

    def as_good(self, name: str) -> bool:
        """Short of the best by no more than matters, or by no more than the test rows and seeds can tell (95 %)."""
        if self.regret(name) <= WORTH:
            return True
        apart = self.truth[name] - self.truth[self.best]
        by_seed = [
            float((self.losses[NextRun(name, self.whole, s)] - self.losses[NextRun(self.best, self.whole, s)]).mean())
            for s in range(SEEDS)
        ]
        error = math.hypot(apart.std(ddof=1) / math.sqrt(len(apart)), np.std(by_seed, ddof=1) / math.sqrt(SEEDS))
        return float(apart.mean()) <= 1.96 * error

    @cached_property
    def everything(self) -> float:
        """What comparing all regimes with several seeds takes."""
        return sum(COMPARED * self.costs[name, self.whole] + self.searches[name][1] for name in self.truth)


@dataclass(frozen=True)
class Answer:
    """What a way of choosing chose on one problem."""

    problem: str
    order: int  # of the seeds
    choice: str
    spent: float  # share of comparing everything
    right: bool
    regret: float
    confidence: float | None = None
    decided: bool = False
    held: tuple[bool, ...] = field(default=())  # for each regime predicted: its score lay within the 90 % band


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, default=LOG)
    problems = whole_ones(parser.parse_args().log)
    if len(problems) < 2:
        sys.exit("fewer than two problems are measured in full: go on with measure.py")
    RESULTS.write_text(json.dumps(results(problems), indent=1) + "\n")
    tables.write(RESULTS)
    print(tables.summary(json.loads(RESULTS.read_text())))


def whole_ones(log: Path) -> list[Logged]:
    """The problems of which every run is there, in the order of their names."""
    tables = [read_log(path) for path in sorted(log.glob("*.parquet"))]
    complete = [rows for rows in tables if len(rows) == len(DEFAULT_REGIMES) * SEEDS * len(rungs(rows[0]["whole"]))]
    seconds_per_row = _paces(complete)
    return [_logged(rows, seconds_per_row) for rows in complete]


def _paces(tables: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """Of each regime: a run on all rows, in full fine-tunings; the median, since others used the machine as well."""
    found: dict[str, list[float]] = {}
    for rows in tables:
        planned = {row["regime"]: row["planned"] for row in rows if row["rows"] == row["whole"]}
        for name, seconds in planned.items():
            found.setdefault(name, []).append(seconds / planned["full"])
    return {name: median(values) for name, values in found.items()}


def _logged(rows: Sequence[Mapping[str, Any]], seconds_per_row: Mapping[str, float]) -> Logged:
    whole = rows[0]["whole"]
    planned = {row["regime"]: row["planned"] for row in rows if row["rows"] == whole}
    part = {name: seconds_per_row[name] / planned[name] for name in planned}
    return Logged(
        name=rows[0]["problem"],
        whole=whole,
        higher_is_better=rows[0]["higher_is_better"],
        losses={NextRun(row["regime"], row["rows"], row["seed"]): np.asarray(row["losses"], float) for row in rows},
        costs={(row["regime"], row["rows"]): row["planned"] * part[row["regime"]] for row in rows},
        searches={
            row["regime"]: (
                row["planned_search"] * part[row["regime"]],
                row["planned_whole_search"] * part[row["regime"]],
            )
            for row in rows
        },
    )


# --- ways of choosing -------------------------------------------------------------------------------------------------


def raced(problem: Logged, part: float, order: int, prior: Prior | None) -> Answer:
    """The race, sent what the log holds."""
    budget = part * problem.everything
    searched: set[str] = set()
    where = next(rows for rows in rungs(problem.whole) if 4 * rows >= problem.whole)

    def cost(rows: int, name: str) -> float:
        search = problem.searches[name][0] if rows >= where and name not in searched else 0.0
        return search + problem.costs[name, rows]

    arms = [
        RaceArm(
            name,
            partial(cost, name=name),
            whole=name in WITHOUT_TRAINING or cost(problem.whole, name) < LITTLE * problem.everything,
            flat=name == "constant",
        )
        for name in problem.truth
    ]
    going = race(arms, problem.whole, budget, min_effect=WORTH, higher_is_better=problem.higher_is_better, prior=prior)
    ask = next(going)
    while True:
        paid = cost(ask.rows, ask.arm)
        if ask.rows >= where:
            searched.add(ask.arm)
        losses = problem.losses[NextRun(ask.arm, ask.rows, (ask.seed + order) % SEEDS)]
        try:
            ask = going.send(Result(ask, losses, paid))
        except StopIteration as stop:
            return _judged(problem, order, stop.value)


def _judged(problem: Logged, order: int, standing: RaceRanking) -> Answer:
    choice = standing.choice or "constant"
    held = tuple(
        predicted.low <= float(problem.truth[name].mean()) <= predicted.high
        for name, predicted in standing.predicted.items()
        if problem.costs[name, problem.whole] > 0 and name not in WITHOUT_TRAINING
    )
    answer = answered(problem, order, choice, standing.spent / problem.everything)
    return Answer(**vars(answer) | {"confidence": standing.confidence, "decided": standing.decided, "held": held})


def answered(problem: Logged, order: int, choice: str, spent: float) -> Answer:
    return Answer(problem.name, order, choice, spent, problem.as_good(choice), problem.regret(choice))


def always(name: str) -> Callable[[Logged], str]:
    return lambda problem: name


def rule_of_thumb(problem: Logged) -> str:
    """Little data: fine-tune; abundant data: train from scratch."""
    return "full" if problem.whole < ABUNDANT else "scratch"


def rule_by_rows(problem: Logged) -> str:
    """Few rows: only the head learns; more: fine-tune; abundant: train from scratch."""
    return "frozen" if problem.whole < FEW else rule_of_thumb(problem)


RULES: dict[str, Callable[[Logged], str]] = {
    "always full": always("full"),
    "always lora": always("lora"),
    "always frozen": always("frozen"),
    "always linear": always("linear"),
    "rule of thumb": rule_of_thumb,
    "rule by rows": rule_by_rows,
}


def halved(problem: Logged, part: float, order: int) -> Answer:
    """Successive halving: every regime on the first rung, the better half on the next, until the budget is spent."""
    left, spent, searched = problem.everything * part, 0.0, set[str]()
    alive = list(problem.truth)
    choice = "constant"
    where = next(rows for rows in rungs(problem.whole) if 4 * rows >= problem.whole)
    for rows in rungs(problem.whole):
        losses: dict[str, float] = {}
        for name in sorted(alive, key=lambda name: problem.costs[name, rows]):
            cost = problem.costs[name, rows]
            if rows >= where and name not in searched:
                cost += problem.searches[name][0]
            if spent + cost > left and losses:
                break
            spent += cost
            searched |= {name} if rows >= where else set()
            losses[name] = float(problem.losses[NextRun(name, rows, order)].mean())
        else:
            ranked = sorted(alive, key=losses.__getitem__)
            choice, alive = ranked[0], ranked[: max(1, len(ranked) // 2)]
            continue
        if rows == rungs(problem.whole)[0]:  # part of the first rung still ranks those that it holds
            choice = min(losses, key=losses.__getitem__)
        break
    return answered(problem, order, choice, spent / problem.everything)


# --- results ----------------------------------------------------------------------------------------------------------


def results(problems: Sequence[Logged]) -> dict[str, Any]:
    """Everything that the tables say."""
    racing.MOST_SEEDS = SEEDS  # the log holds no more
    priors = {each.name: learned([other for other in problems if other is not each]) for each in problems}
    ways: tuple[tuple[str, Callable[[str], Prior | None]], ...] = (
        ("race, taught", priors.get),
        ("race", lambda _: None),
        ("race, slopes of the others", lambda name: slopes_of(priors[name])),
        ("race, arms apart", lambda _: APART),
    )
    orders = range(SEEDS)
    rows = []
    for part in PARTS:
        for name, prior_of in ways:
            answers = [raced(p, part, order, prior_of(p.name)) for p in problems for order in orders]
            rows.append({"way": name, "part": part} | figures(answers))
        answers = [halved(p, part, order) for p in problems for order in orders]
        rows.append({"way": "last-value racing", "part": part} | figures(answers))
    for name, rule in RULES.items():
        rows.append(
            {"way": name, "part": None} | figures([_by_rule(p, rule, order) for p in problems for order in orders])
        )
    chances = [answered(p, 0, name, 0.0) for p in problems for name in p.truth if name != "constant"]
    rows.append({"way": "random", "part": None} | figures(chances))
    return {
        "problems": [_described(p) for p in problems],
        "length": LENGTH,
        "seeds": SEEDS,
        "compared": COMPARED,
        "ways": rows,
        "learned": described(learned(problems)),
    }


def slopes_of(prior: Prior) -> Prior:
    """The default, but for how slopes are spread: for a problem that the default's were not found on."""
    usual = Prior().usual
    spread = CurvePrior(usual.mean, prior.usual.deviation)
    return replace(Prior(), usual=spread, common=prior.common, bend=prior.bend)


def _by_rule(problem: Logged, rule: Callable[[Logged], str], order: int) -> Answer:
    """A rule costs its one run, with the search for its rate."""
    name = rule(problem)
    cost = problem.costs[name, problem.whole] + problem.searches[name][1]
    return answered(problem, order, name, cost / problem.everything)


def _described(problem: Logged) -> dict[str, Any]:
    return {
        "name": problem.name,
        "words": PROBLEMS[problem.name].words if problem.name in PROBLEMS else "",
        "rows": problem.whole,
        "best": problem.best,
        "as_good": [name for name in problem.truth if problem.as_good(name) and name != problem.best],
        "scores": {name: round(problem.score(name), 4) for name in problem.truth},
    }


def figures(answers: Sequence[Answer]) -> dict[str, Any]:
    """Means over problems, with 95 % bounds from drawing problems anew, and a problem's answers among its orders."""
    sure = [answer for answer in answers if answer.confidence is not None and answer.confidence > 0.9]
    return {
        "right": _mean(answers, lambda a: [float(a.right)]),
        "regret": _mean(answers, lambda a: [a.regret]),
        "spent": fmean(answer.spent for answer in answers),
        "decided": fmean(answer.decided for answer in answers),
        "coverage": _mean(answers, lambda a: [float(h) for h in a.held]) if any(a.held for a in answers) else None,
        "sure": len(sure),
        "sure_and_wrong": sum(not answer.right for answer in sure),
        "answers": len(answers),
        "choices": {a.problem: a.choice for a in answers if a.order == 0},
    }


def _mean(answers: Sequence[Answer], of: Callable[[Answer], list[float]]) -> list[float]:
    """The mean and its bounds."""
    by_problem: dict[str, list[list[float]]] = {}
    for answer in answers:
        by_problem.setdefault(answer.problem, []).append(of(answer))
    groups = list(by_problem.values())
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(BOOTSTRAPS):
        some = [groups[i] for i in random.integers(0, len(groups), len(groups))]
        drawn.append(_pooled(each[i] for each in some for i in random.integers(0, len(each), len(each))))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return [_pooled(each for group in groups for each in group), float(low), float(high)]


def _pooled(values: Iterable[list[float]]) -> float:
    found = [value for each in values for value in each]
    return fmean(found) if found else math.nan


if __name__ == "__main__":
    main()
