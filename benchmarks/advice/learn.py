"""Learn: which prior makes the learning curves of finished studies likeliest?

Its spreads and slopes are those of greatest likelihood, each held loosely to the prior's default: a factor of two is
usual, so that three problems do not teach what only ten could.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from scipy.optimize import minimize

from warmstart.study.curve_model import CurveModel, CurvePrior, NextRun, ObservedCurve, Prior
from warmstart.study.race import rungs
from warmstart.types import Array

SPREADS = ("common", "bend", "seeds", "draw", "common_draw")
LOOSE = math.log(2)  # standard deviation of a spread's logarithm around the default's
APART = 0.05  # standard deviation of an arm's usual slope around that of all arms
LEVELS = 0.3  # of an arm's usual level
SPREAD = 0.4  # of a level from task to task, before anything is learned
WIDER = 2.0  # times what levels were found to deviate by: what is to come may be unlike what was seen
UNTAUGHT = "constant"  # its curve is flat, and nothing of others'


class Log(Protocol):
    """A problem with all its runs."""

    @property
    def whole(self) -> int: ...

    @property
    def losses(self) -> Mapping[NextRun, Array]: ...


def learned(problems: Sequence[Log], passes: int = 60) -> Prior:
    """The prior that these problems teach, after so many passes of the search at most."""
    seen = [(_observed(each), each.whole) for each in problems]
    arms = sorted({ask.arm for observed, _ in seen for ask in observed.asks})
    usual = Prior()

    def prior(values: Array) -> Prior:
        mean, deviation, spread, *spreads = values[: 3 + len(SPREADS)]
        common, bend, seeds, draw, common_draw = map(math.exp, spreads)  # in the order of SPREADS
        offs, ups = np.split(values[3 + len(SPREADS) :], 2)
        levels = {arm: CurvePrior(up, math.exp(spread)) for arm, up in zip(arms, ups, strict=True)}
        slopes = {arm: CurvePrior(mean + off, math.exp(deviation)) for arm, off in zip(arms, offs, strict=True)}
        return Prior(
            levels=levels,
            slopes=slopes,
            usual=CurvePrior(mean, math.exp(deviation)),
            common=common,
            bend=bend,
            seeds=seeds,
            draw=draw,
            common_draw=common_draw,
        )

    def surprise(values: Array) -> float:
        made = prior(values)
        strictly = sum(CurveModel(made, rungs(whole)[0], whole).likelihood(observed) for observed, whole in seen)
        loosely = float((((values - start) / width) ** 2).sum()) / 2
        return loosely - strictly

    start = np.array(
        [usual.usual.mean, math.log(usual.usual.deviation), math.log(SPREAD)]
        + [math.log(getattr(usual, name)) for name in SPREADS]
        + [0.0] * (2 * len(arms))
    )
    width = np.array([0.1, *[LOOSE] * (2 + len(SPREADS)), *[APART] * len(arms), *[LEVELS] * len(arms)])
    found = prior(minimize(surprise, start, method="L-BFGS-B", options={"maxiter": passes}).x)
    return replace(
        found, levels={a: CurvePrior(level.mean, WIDER * level.deviation) for a, level in found.levels.items()}
    )


def described(prior: Prior) -> dict[str, object]:
    """For the results file."""
    slopes = {arm: [round(slope.mean, 3), round(slope.deviation, 3)] for arm, slope in prior.slopes.items()}
    spreads = {name: round(getattr(prior, name), 4) for name in SPREADS}
    levels = {arm: [round(level.mean, 3), round(level.deviation, 3)] for arm, level in prior.levels.items()}
    return (
        {"levels": levels}
        | {"usual": [round(prior.usual.mean, 3), round(prior.usual.deviation, 3)], "slopes": slopes}
        | spreads
    )


def _observed(problem: Log) -> ObservedCurve:
    asks = [ask for ask in problem.losses if ask.arm != UNTAUGHT]
    return ObservedCurve.of(asks, [problem.losses[ask] for ask in asks])
