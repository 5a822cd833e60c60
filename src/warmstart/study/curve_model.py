"""Curve model: what would each regime score on all rows, judging by runs on few of them, and how certain is that?

The logarithm of an arm's error over the logarithm of the rows is nearly straight. Its slope has a usual value (the
prior, from earlier studies), is partly shared by all arms of a task, and varies a little. That is a Gaussian process,
so what is known about every arm at all rows follows from the observations by solving one linear system. Three sources
of noise: the held-out rows, which are the same for all arms, so that most of it cancels between two; the sample of
training rows, which is the same for all arms of one seed, and matters less the more rows there are; and the seed
itself.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from warmstart.types import Array

FIRST_RUNG_ROWS = 50  # training rows of the first rung; the noise of a draw is known for so many
_CENTER = 3.0  # standard deviation of what the log errors of all arms of a task have in common: it may be anything
_TRUST = 4.0  # pairs of seeds that the prior's spread counts for


@dataclass(frozen=True)
class NextRun:
    """A run that a race requests, or has received the score of."""

    arm: str
    rows: int
    seed: int  # 0, 1 ...: which draw of the training rows


@dataclass(frozen=True)
class CurvePrior:
    """Mean and standard deviation across tasks for one arm, in addition to what all arms have in common."""

    mean: float
    deviation: float


@dataclass(frozen=True)
class Prior:
    """Prior knowledge of learning curves. All values except means are standard deviations of the log error.

    Slopes are the maximum-likelihood values on a log of finished studies (benchmarks/advice), with that of a single
    regime somewhat widened: how much rows help depends on the task far more than on the regime. Levels are set by hand,
    much wider than in that log, where the order of regimes hardly changes: with its values, a regime that stands out on
    another table would be mistaken for a lucky one. `bend` is the
    likeliest on 13 problems that constants were chosen on.
    """

    levels: Mapping[str, CurvePrior] = field(
        default_factory=dict
    )  # log error on the first rung, by the name of the arm
    level: CurvePrior = CurvePrior(0.0, 1.0)  # of any other
    slopes: Mapping[str, CurvePrior] = field(default_factory=dict)  # of the log error, for each factor e of rows
    usual: CurvePrior = CurvePrior(-0.18, 0.05)  # of any other
    common: float = 0.15  # of the slope that all arms of a task share
    bend: float = 0.08  # of a slope's change over one factor e of rows
    seeds: float = 0.03  # from seed to seed, however many the rows
    draw: float = 0.06  # from draw to draw of 50 rows, each arm by itself; falls with the root of the rows
    common_draw: float = 0.06  # the same for all arms together

    def level_of(self, arm: str) -> CurvePrior:
        return self.levels.get(arm, self.level)

    def slope_of(self, arm: str) -> CurvePrior:
        return self.slopes.get(arm, self.usual)


@dataclass(frozen=True)
class ObservedCurve:
    """Finished runs as arrays for the equations."""

    asks: tuple[NextRun, ...]
    values: Array  # [runs] log of the mean loss
    rows: Array  # [runs, n]: products of two are the covariance that the held-out rows bring

    @classmethod
    def of(cls, asks: Sequence[NextRun], losses: Sequence[Array]) -> "ObservedCurve":
        """`losses` [n] of each run, on the same held-out rows every time, none negative."""
        found = np.stack(losses).astype(np.float64)
        count = found.shape[1]
        smallest = max(float(found.max()), 1e-9) / (2 * count)  # half a row's worst: an error of none has no logarithm
        means = np.maximum(found.mean(axis=1), smallest)
        relative = (found - found.mean(axis=1, keepdims=True)) / means[:, None]
        return cls(tuple(asks), np.log(means), relative / math.sqrt(count * max(count - 1, 1)))

    def with_one_more(self, ask: NextRun) -> "ObservedCurve":
        """The model as if `ask` had been run too: its uncertainty does not depend on the score."""
        like = [i for i, other in enumerate(self.asks) if other.arm == ask.arm]
        value = self.values[like[-1]] if like else self.values.mean()
        noise = self.rows[like[-1]] if like else self.rows.mean(axis=0)  # with the held-out rows
        return ObservedCurve((*self.asks, ask), np.append(self.values, value), np.vstack([self.rows, noise]))


@dataclass(frozen=True)
class CurveModel:
    """A Gaussian process over the learning curves of a task's arms (arm: a regime in a race)."""

    prior: Prior
    first: int  # rows of the first rung
    whole: int

    def predict(self, observed: ObservedCurve, names: Sequence[str]) -> tuple[Array, Array]:
        """Mean [arms] and covariance [arms, arms] of the log errors on all rows."""
        asks = observed.asks
        targets = [NextRun(name, self.whole, 0) for name in names]
        across = self._curve_covariance(asks, targets)
        gains = np.linalg.solve(self._observed_covariance(observed), across).T
        off = observed.values - self._prior_means(asks)
        center = float(off.mean())
        mean: Array = center + self._prior_means(targets) + gains @ (off - center)
        spread: Array = self._curve_covariance(targets, targets) - gains @ across
        return mean, (spread + spread.T) / 2 + 1e-12 * np.eye(len(names))

    def likelihood(self, observed: ObservedCurve) -> float:
        """Log marginal likelihood of the observations: used to learn priors from finished studies."""
        root = np.linalg.cholesky(self._observed_covariance(observed) + 1e-9 * np.eye(len(observed.asks)))
        off = observed.values - self._prior_means(observed.asks)
        # the center is not known: take the likeliest
        ones = np.linalg.solve(root, np.ones(len(off)))
        white = np.linalg.solve(root, off)
        white = white - ones * float(ones @ white) / float(ones @ ones)
        return float(-0.5 * white @ white - np.log(np.diag(root)).sum() - 0.5 * len(off) * math.log(2 * math.pi))

    def _observed_covariance(self, observed: ObservedCurve) -> Array:
        """Covariance of the observations, [runs, runs]."""
        found: Array = self._curve_covariance(observed.asks, observed.asks) + observed.rows @ observed.rows.T
        return found + self._noise_covariance(observed)

    def _prior_means(self, asks: Sequence[NextRun]) -> Array:
        """Log errors around their center, before any observation."""
        found = [self.prior.level_of(a.arm).mean + self.prior.slope_of(a.arm).mean * self._log_rows(a) for a in asks]
        return np.array(found)

    def _curve_covariance(self, some: Sequence[NextRun], others: Sequence[NextRun]) -> Array:
        """Covariance of the true log errors: a level, a slope, and a slope that varies along the curve."""
        one, other = (np.array([self._log_rows(ask) for ask in asks]) for asks in (some, others))
        same = np.array([[a.arm == b.arm for b in others] for a in some])
        near, far = np.minimum.outer(one, other), np.maximum.outer(one, other)
        levels = np.array([self.prior.level_of(ask.arm).deviation for ask in some])[:, None]
        slopes = np.array([self.prior.slope_of(ask.arm).deviation for ask in some])[:, None]
        bends = self.prior.bend**2 * near**2 * (3 * far - near) / 6
        own = levels**2 + slopes**2 * near * far + bends
        found: Array = same * own + _CENTER**2 + self.prior.common**2 * near * far
        return found

    def _noise_covariance(self, observed: ObservedCurve) -> Array:
        """Covariance of the noise from seeds and from samples of training rows."""
        asks = observed.asks
        fewer = np.array([math.sqrt(FIRST_RUNG_ROWS / ask.rows) for ask in asks])
        together = np.array([[a.rows == b.rows and a.seed == b.seed for b in asks] for a in asks])
        own = self.prior.seeds**2 + (self.prior.draw * fewer) ** 2
        noise: Array = np.diag(own) + together * np.outer(fewer, fewer) * self.prior.common_draw**2
        return noise * self._noise_ratio(observed, np.diag(noise))

    def _noise_ratio(self, observed: ObservedCurve, expected: Array) -> float:
        """Ratio of the noise variance to the prior's, as estimated from arms with several seeds."""
        square, degrees = _TRUST, _TRUST
        by_size: dict[tuple[str, int], list[int]] = {}
        for i, ask in enumerate(observed.asks):
            by_size.setdefault((ask.arm, ask.rows), []).append(i)
        for places in by_size.values():
            values = observed.values[places]
            square += float(((values - values.mean()) ** 2).sum()) / float(expected[places[0]])
            degrees += len(places) - 1
        return square / degrees

    def _log_rows(self, ask: NextRun) -> float:
        """Log of the rows relative to the first rung."""
        return math.log(ask.rows / self.first)
