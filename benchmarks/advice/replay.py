"""Replay: does a race come to the answer that running everything gives, and sooner than simpler rules?

    python benchmarks/advice/replay.py [--log FOLDER]

Nothing is trained: what a race asks for is looked up in the log that `measure.py` made. Every problem whose log is
whole is raced at several budgets, in seconds and in FLOPs, once with each order of the seeds, and held against rules
that people go by. What is learned from the log is learned from the sources on which constants were chosen, and used on
the others. Writes ../results/advice.json, and the tables and curves in README.md and in the documentation.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

import tables
from learn import described, learned
from logged import COMPARED, UNITS, WORTH, Logged, Unit, whole_ones
from measure import LENGTH, LOG, SEEDS_OF_NETWORKS, rungs_of
from problems import PROBLEMS
from rules import RULES, best_elsewhere
from warmstart.regimes.regimes import WITHOUT_TRAINING
from warmstart.runtime.files import write_json
from warmstart.study.curve_model import CurvePrior, NextRun, Prior
from warmstart.study.race import RaceArm, RaceRanking, Result, race
from warmstart.study.run_race import UNTUNED

RESULTS = Path(__file__).parent.parent / "results" / "advice.json"
PARTS = (0.05, 0.1, 0.2)  # of what comparing everything takes
LITTLE = 0.01  # of that: an arm that costs less is run on all rows first, as in `study.run_race`
BOOTSTRAPS = 2_000


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
    log = parser.parse_args().log
    in_units = {unit: whole_ones(log, unit) for unit in UNITS}
    if len(in_units["seconds"]) < 2:
        sys.exit("fewer than two problems are measured in full: go on with measure.py")
    write_json(RESULTS, results(in_units))
    tables.write(RESULTS)
    print(tables.summary(json.loads(RESULTS.read_text())))


# --- ways of choosing -------------------------------------------------------------------------------------------------


def raced(problem: Logged, part: float, order: int, prior: Prior | None) -> Answer:
    """The race, sent what the log holds."""
    budget = part * problem.everything
    searched: set[str] = set()
    arms = [
        RaceArm(
            name,
            partial(_cost, problem, searched, name),
            whole=name in WITHOUT_TRAINING or problem.cost(name, problem.whole, set()) < LITTLE * problem.everything,
            flat=name == "constant",
        )
        for name in problem.truth
    ]
    going = race(
        arms,
        problem.whole,
        budget,
        min_effect=WORTH,
        higher_is_better=problem.higher_is_better,
        prior=prior,
        seeds=SEEDS_OF_NETWORKS,  # the log holds no more of some
    )
    ask = next(going)
    while True:
        paid = problem.cost(ask.arm, ask.rows, searched)
        if ask.rows >= problem.searched_at:
            searched.add(ask.arm)
        losses = problem.losses[NextRun(ask.arm, ask.rows, (ask.seed + order) % SEEDS_OF_NETWORKS)]
        try:
            ask = going.send(Result(ask, losses, paid))
        except StopIteration as stop:
            return _judged(problem, order, stop.value)


def _cost(problem: Logged, searched: set[str], name: str, rows: int) -> float:
    return problem.cost(name, rows, searched)


def _judged(problem: Logged, order: int, ranking: RaceRanking) -> Answer:
    choice = ranking.choice or "constant"
    held = tuple(
        predicted.low <= float(problem.truth[name].mean()) <= predicted.high
        for name, predicted in ranking.predicted.items()
        if problem.costs[name, problem.whole] > 0 and name not in WITHOUT_TRAINING
    )
    answer = answered(problem, order, choice, ranking.spent / problem.everything)
    return Answer(**vars(answer) | {"confidence": ranking.confidence, "decided": ranking.decided, "held": held})


def answered(problem: Logged, order: int, choice: str, spent: float) -> Answer:
    return Answer(problem.name, order, choice, spent, problem.as_good(choice), problem.regret(choice))


def halved(problem: Logged, part: float, order: int) -> Answer:
    """Successive halving: every regime on the first rung, the better half on the next, until the budget is spent.

    It skips the rung that the grid of large regimes lacks.
    """
    left, spent, searched = problem.everything * part, 0.0, set[str]()
    alive = list(problem.truth)
    choice = "constant"
    ladder = rungs_of("full", problem.whole)
    for rows in ladder:
        losses: dict[str, float] = {}
        for name in sorted(alive, key=lambda name: problem.costs[name, rows]):
            cost = problem.cost(name, rows, searched)
            if spent + cost > left and losses:
                break
            spent += cost
            searched |= {name} if rows >= problem.searched_at else set()
            losses[name] = float(problem.losses[NextRun(name, rows, order)].mean())
        else:
            ranked = sorted(alive, key=losses.__getitem__)
            choice, alive = ranked[0], ranked[: max(1, len(ranked) // 2)]
            continue
        if rows == ladder[0]:  # part of the first rung still ranks those that it holds
            choice = min(losses, key=losses.__getitem__)
        break
    return answered(problem, order, choice, spent / problem.everything)


# --- results ----------------------------------------------------------------------------------------------------------


def results(in_units: Mapping[Unit, Sequence[Logged]]) -> dict[str, Any]:
    """Everything that the tables say: the ways of choosing on each half of the sources, and every problem.

    Where comparing everything takes under two minutes `advise` does that, so there is nothing to replay.
    """
    problems = in_units["seconds"]
    quick = {each.name for each in problems if each.everything < UNTUNED}
    slow = {unit: [each for each in found if each.name not in quick] for unit, found in in_units.items()}
    chosen = [each for each in slow["seconds"] if each.problem.chosen_on]
    prior = learned(chosen) if len(chosen) > 1 else None
    rows: list[dict[str, Any]] = []
    for half, chosen_on, taught in (("reported", False, prior), ("chosen on", True, None)):
        mine = {unit: [each for each in found if each.problem.chosen_on is chosen_on] for unit, found in slow.items()}
        rows += [{"half": half} | row for row in ways(mine, taught, chosen)]
    return {
        "problems": [_described(p) for p in problems],
        "compared_in_full": sorted(quick),
        "not_run": sorted(set(PROBLEMS) - {p.name for p in problems}),
        "length": LENGTH,
        "seeds": SEEDS_OF_NETWORKS,
        "compared": COMPARED,
        "ways": rows,
        "learned": described(prior) if prior else None,
    }


def ways(
    in_units: Mapping[Unit, Sequence[Logged]], prior: Prior | None, chosen: Sequence[Logged]
) -> list[dict[str, Any]]:
    """How each way of choosing does on some problems. `prior`: what other problems teach; None: nothing."""
    if not in_units["seconds"]:
        return []
    orders, rows = range(SEEDS_OF_NETWORKS), []
    races: dict[str, Prior | None] = {"race": None}
    if prior:
        races |= {"race, taught": prior, "race, slopes of the others": slopes_of(prior)}
    at_a_tenth: list[Answer] = []
    for unit, problems in in_units.items():
        for part in PARTS:
            for name, known in races.items():
                answers = [raced(p, part, order, known) for p in problems for order in orders]
                rows.append({"way": name, "unit": unit, "part": part} | figures(answers))
                if (name, unit, part) == ("race", "seconds", 0.1):
                    at_a_tenth = answers
            answers = [halved(p, part, order) for p in problems for order in orders]
            rows.append({"way": "last-value racing", "unit": unit, "part": part} | figures(answers))
    rules = RULES | ({"best elsewhere": best_elsewhere(chosen)} if prior else {})
    for name, rule in rules.items():
        answers = [_by_rule(p, rule, order) for p in in_units["seconds"] for order in orders]
        less = _mean_of([a.regret - b.regret for a, b in zip(at_a_tenth, answers, strict=True)], at_a_tenth)
        rows.append({"way": name, "unit": "seconds", "part": None, "race_less_this": less} | figures(answers))
    chances = [answered(p, 0, name, 0.0) for p in in_units["seconds"] for name in p.truth if name != "constant"]
    rows.append({"way": "random", "unit": "seconds", "part": None} | figures(chances))
    return rows


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
    asked = problem.problem
    return {
        "name": problem.name,
        "words": asked.words,
        "reads": asked.reads,
        "source": asked.source,
        "chosen_on": asked.chosen_on,
        "rows": problem.whole,
        "higher_is_better": problem.higher_is_better,
        "test_rows": len(next(iter(problem.truth.values()))),
        "best": problem.best,
        "as_good": [name for name in problem.truth if problem.as_good(name) and name != problem.best],
        "scores": {name: round(problem.score(name), 4) for name in problem.truth},
        "curves": {name: _curve(problem, name) for name in problem.truth},
    }


def _curve(problem: Logged, name: str) -> list[tuple[int, float]]:
    """Mean score over the seeds for each number of rows."""
    by_rows: dict[int, list[float]] = {}
    for ask, lost in problem.losses.items():
        if ask.arm == name:
            by_rows.setdefault(ask.rows, []).append(float(lost.mean()))
    means = {rows: fmean(values) for rows, values in sorted(by_rows.items())}
    return [(rows, round(1 - mean if problem.higher_is_better else mean, 4)) for rows, mean in means.items()]


def figures(answers: Sequence[Answer]) -> dict[str, Any]:
    """Means over problems, with 95 % bounds from drawing problems anew, and a problem's answers among its orders."""
    sure = [answer for answer in answers if answer.confidence is not None and answer.confidence > 0.9]
    return {
        "right": _mean(answers, lambda a: [float(a.right)]),
        "regret": _mean(answers, lambda a: [a.regret]),
        "worst_regret": float(np.quantile([answer.regret for answer in answers], 0.95)),
        "spent": fmean(answer.spent for answer in answers),
        "decided": fmean(answer.decided for answer in answers),
        "coverage": _mean(answers, lambda a: [float(h) for h in a.held]) if any(a.held for a in answers) else None,
        "sure": len(sure),
        "sure_and_wrong": sum(not answer.right for answer in sure),
        "answers": len(answers),
        "choices": {a.problem: a.choice for a in answers if a.order == 0},
        "wrong": sorted({answer.problem for answer in answers if not answer.right}),
    }


def _mean_of(values: Sequence[float], answers: Sequence[Answer]) -> list[float]:
    """The mean of one value for each answer, and its bounds."""
    known = dict(zip(map(id, answers), values, strict=True))
    return _mean(answers, lambda answer: [known[id(answer)]])


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
