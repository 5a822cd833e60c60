"""Bootstrap: how do per-example scores become a metric with an interval, and paired differences?

A score is a row [value, weight] for each test example; the metric is sum(value) / sum(weight). Accuracy is
[correct, 1], mean absolute error [error, 1], micro-F1 [2 TP, 2 TP + FP + FN].

Two things make a metric uncertain, and the intervals include both: which rows happened to be the test rows (resampled
with replacement, the same rows for every seed and both sides of a difference), and which seeds happened to be run.
There are too few seeds to resample: with three values that finds a spread a third too small (in variance) and never
leaves their range. So each resample moves the mean over seeds by a step from Student's t, as wide as the spread of the
seeds. With fewer than three seeds no spread can be estimated, and the intervals include test rows only.

Where the rows were split several times (`--splits`), each split is a seed, and the tests of two splits are not
independent: they share rows, and so do the trainings. The spread of the splits then stands for everything, with the
variance of their mean enlarged from 1/n to 1/n + test rows / training rows (the corrected resampled t-test, Nadeau
and Bengio 2003). In simulations (benchmarks/splits.py) this covers 95 to 98 %; resampling the mean of each row over its
splits 91 to 95 %, and that with the spread of the splits added 97 to 99 %.

If test rows come in groups (reviews of one product), groups are resampled instead of rows: what the rows of a group
have in common does not average out. Accuracy on fewer than 100 rows has Wilson's interval: resampling so few rows gives
an interval that is too narrow near 0 and 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from warmstart.results.record import Estimate, Interval
from warmstart.types import Array

BOOTSTRAP_DRAWS = 2000
FEWEST_SEEDS = 3  # fewer say nothing about their spread
_RANDOM_SEED = 20240607  # any fixed number: the same runs give the same intervals
_CHUNK = 1_000_000  # counts held at once, one byte each
_NORMAL_95 = 1.96
_SMALL = 100  # test rows, below which a share of right answers has Wilson's interval
_ROUNDING = 1e-12  # of the largest draw
_UNSEEN = 3.0  # "rule of three": what n rows never showed may still happen to 3 in n of them (95 %)


def mean_score(scores: Array) -> float:
    """Sum of values over sum of weights of `scores` [n, 2]; 0 if no row has weight (F1 without labels)."""
    value, weight = scores.sum(axis=0)
    return float(value / weight) if weight else 0.0


def standard_error_share(rows: int) -> float:
    """Approximately half the standard error of a score on so many rows, as a share of it: smaller differences are
    noise.
    """
    return float(0.5 / math.sqrt(rows))


@dataclass(frozen=True)
class Resampled:
    """A metric, or a difference of two, per seed: as measured, and for each resample of the test rows."""

    measured: Array  # [seeds]
    drawn: Array  # [draws, seeds]
    rows: int  # test rows
    unseen: float  # half the width of the interval where no draw differs from another
    bounds: Interval  # what the metric cannot leave
    share: bool = False  # of right answers among few rows
    test_share: float = 0.0  # test rows as a share of training rows, where each seed has its own split; 0: one split

    def __sub__(self, other: "Resampled") -> "Resampled":
        """Paired difference: both sides have the same seeds in the same order, and the same resamples."""
        assert self.drawn.shape == other.drawn.shape, "not the same seeds"
        assert self.rows == other.rows or self.test_share, "not the same test rows"
        return Resampled(
            self.measured - other.measured,
            self.drawn - other.drawn,
            self.rows,
            max(self.unseen, other.unseen),
            Interval(-math.inf, math.inf),
            test_share=self.test_share,
        )

    def __neg__(self) -> "Resampled":
        bounds = Interval(-self.bounds.high, -self.bounds.low)
        return Resampled(-self.measured, -self.drawn, self.rows, self.unseen, bounds, test_share=self.test_share)

    def only(self, seeds: Sequence[int]) -> "Resampled":
        """The same for some of the seeds, by position."""
        chosen = list(seeds)
        return replace(self, measured=self.measured[chosen], drawn=self.drawn[:, chosen])

    @property
    def mean(self) -> float:
        return float(self.measured.mean())

    @property
    def draws(self) -> Array:
        """[draws]: the mean over seeds for each resample of test rows and seeds, or of splits."""
        seeds = len(self.measured)
        if self.test_share and seeds > 1:
            larger = math.sqrt(1 + seeds * self.test_share)
            return _rounded(self.mean + larger * (_seed_steps(len(self.drawn), seeds) @ self.measured))
        means: Array = self.drawn.mean(axis=1)
        if seeds >= FEWEST_SEEDS:
            means = means + _seed_steps(len(means), seeds) @ self.measured
        return _rounded(means)

    @property
    def interval(self) -> Interval:
        """95 % of the resamples; Wilson's interval for a proportion of few rows."""
        if self.share and not (self.test_share and len(self.measured) > 1):
            return self._wilson()
        draws = self.draws
        if float(np.ptp(draws)) == 0.0:
            low, high = self.mean - self.unseen, self.mean + self.unseen
        else:
            low, high = (float(q) for q in np.quantile(draws, [0.025, 0.975]))
        return Interval(max(low, self.bounds.low), min(high, self.bounds.high))

    @property
    def estimate(self) -> Estimate:
        return Estimate(self.mean, self.interval)

    @property
    def p_value(self) -> float:
        """Two-sided p-value for the hypothesis that the metric or difference is zero."""
        draws = self.draws
        if float(np.ptp(draws)) == 0.0:
            return 1.0 if abs(self.mean) <= self.unseen else 1 / (len(draws) + 1)
        fewer = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
        return min(1.0, 2 * (fewer + 1) / (len(draws) + 1))

    def _wilson(self) -> Interval:
        """Wilson's interval (1927) for the mean over seeds; the spread of the seeds is added as an error."""
        seeds = len(self.measured)
        low, high = wilson(self.mean, self.rows)
        center, from_rows = (low + high) / 2, (high - low) / 2
        deviation = float(self.measured.std(ddof=1)) if seeds >= FEWEST_SEEDS else 0.0
        half = math.hypot(from_rows, _student_95(seeds) * deviation / math.sqrt(seeds))
        return Interval(max(center - half, 0.0), min(center + half, 1.0))

    @property
    def p_above_zero(self) -> float:
        """Share of resamples above zero; one at exactly zero counts half."""
        draws = self.draws
        return float((draws > 0).mean() + (draws == 0).mean() / 2)


def wilson(share: float, rows: int) -> Interval:
    """Wilson's interval (1927) for a proportion of correct answers among so many rows."""
    square = _NORMAL_95**2
    shrunk = 1 + square / rows
    center = (share + square / (2 * rows)) / shrunk
    spread = share * (1 - share) / rows + square / (4 * rows**2)
    half = _NORMAL_95 * math.sqrt(max(spread, 0.0)) / shrunk
    return Interval(center - half, center + half)


def resample(scores: Sequence[Array], draws: int = BOOTSTRAP_DRAWS, groups: Array | None = None) -> Resampled:
    """Resample the test rows `draws` times. `scores`: [n, 2] per seed, with the same test rows in the same order.

    `groups`: int [n], the group of each test row, if whole groups are resampled. With a single group, rows are
    resampled instead.
    """
    rows = len(scores[0])
    assert rows and all(s.shape == (rows, 2) for s in scores), "each seed is scored on the same test rows"
    units = np.concatenate([np.asarray(s, dtype=np.float64) for s in scores], axis=1)
    ungrouped = groups is None or int(np.ptp(groups)) == 0
    if groups is not None and not ungrouped:
        units = _sums(units, groups)
    drawn = _drawn(units, draws)
    value, weight = units[:, 0::2], units[:, 1::2]
    weights = drawn[:, 1::2]
    measured = np.array([mean_score(s) for s in scores])
    metrics = np.divide(drawn[:, 0::2], weights, out=np.zeros_like(weights), where=weights != 0)
    if not ungrouped:
        metrics = measured + _few(len(units)) * (metrics - measured)
    return Resampled(
        measured=measured,
        drawn=metrics,
        rows=rows,
        unseen=_UNSEEN / len(units) * float(np.abs(value).max()) / max(float(weight.mean()), 1e-12),
        bounds=Interval(0.0 if (value >= 0).all() else -math.inf, 1.0 if (value <= weight).all() else math.inf),
        share=ungrouped and rows < _SMALL and bool((weight == 1).all() and np.isin(value, (0.0, 1.0)).all()),
    )


def resample_splits(
    scores: Sequence[Array], trained: int, draws: int = BOOTSTRAP_DRAWS, groups: Sequence[Array | None] = ()
) -> Resampled:
    """The same for repeated splits. `scores`: [n, 2] per split, each with test rows of its own.

    `trained`: training rows of a split. `groups`: of each split, the group of each test row.
    """
    of_each = groups or [None] * len(scores)
    each = [resample([split], draws, own) for split, own in zip(scores, of_each, strict=True)]
    rows = min(split.rows for split in each)
    return replace(
        each[0],
        measured=np.concatenate([split.measured for split in each]),
        drawn=np.concatenate([split.drawn for split in each], axis=1),
        rows=rows,
        unseen=max(split.unseen for split in each),
        test_share=rows / trained,
    )


def redrawn(columns: Array, groups: Array | None = None, draws: int = BOOTSTRAP_DRAWS) -> Array:
    """Sums of `columns` [n, k] over the test rows, or groups, of each resample: [draws, k]. Same resamples as
    `resample`.
    """
    if groups is not None and int(np.ptp(groups)):
        columns = _sums(columns, groups)
    return _drawn(columns, draws)


def _drawn(units: Array, draws: int) -> Array:
    return np.concatenate([counts @ units for counts in _counts_in_chunks(len(units), draws)])


def _sums(columns: Array, groups: Array) -> Array:
    """Sum of `columns` [n, k] over the rows of each group: [groups, k]."""
    numbers, place = np.unique(groups, return_inverse=True)
    sums = np.zeros((len(numbers), columns.shape[1]))
    np.add.at(sums, place, columns)
    return sums


def _few(groups: int) -> float:
    """Correction for few groups, by which resamples spread too little: Student's t, and n - 1 instead of n."""
    return _student(groups) / _NORMAL_95 * math.sqrt(groups / (groups - 1))


def _rounded(means: Array) -> Array:
    """Without rounding errors around zero: 1e-17 is no difference, and is not counted as one."""
    found: Array = np.where(np.abs(means) <= _ROUNDING * np.abs(means).max(), 0.0, means)
    return found


def mean_interval(scores: Sequence[Array], draws: int = BOOTSTRAP_DRAWS) -> Interval:
    """95 % interval of the mean metric over seeds; `scores` is [n, 2] per seed."""
    return resample(scores, draws).interval


def paired(
    a: Sequence[Array],
    b: Sequence[Array],
    higher_is_better: bool = True,
    draws: int = BOOTSTRAP_DRAWS,
    groups: Array | None = None,
) -> tuple[float, Interval, float]:
    """How much better `a` is than `b`: the difference, its 95 % interval, the share of draws in which `a` is better.

    `a` and `b` hold [n, 2] for the same seeds in the same order. Positive means that `a` is better, also for errors.
    `groups`: as in `resample`.

    >>> right, wrong = np.array([[1.0, 1.0]] * 90), np.array([[0.0, 1.0]] * 10)
    >>> a, b = np.concatenate([right, wrong]), np.concatenate([wrong, wrong, right[:80]])
    >>> difference, (low, high), p_a_better = paired([a], [b])
    >>> round(difference, 3), low < 0.1 < high, p_a_better > 0.9
    (0.1, True, True)
    """
    difference = resample(a, draws, groups) - resample(b, draws, groups)
    turned = difference if higher_is_better else -difference
    return turned.mean, turned.interval, turned.p_above_zero


def holm(p_values: Sequence[float], level: float = 0.05) -> list[bool]:
    """Which of several hypotheses are refuted, so that with a chance of 1 - `level` none is refuted wrongly.

    The smallest p-value is held against level / n, the next against level / (n - 1), until one is too large
    (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [True, False, False]
    """
    refuted = [False] * len(p_values)
    for tried, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        if p_values[place] > level / (len(p_values) - tried):
            break
        refuted[place] = True
    return refuted


@dataclass(frozen=True)
class Settling:
    """About how much more data would settle an undecided difference: more rows or more seeds alone or, if neither is
    enough, `times` as many of both.
    """

    rows: int | None  # more test rows; None: rows alone never would
    seeds: int | None  # more seeds; None: seeds alone never would
    times: float  # how many times as many rows and seeds, taken together


def rows_to_settle(difference: Resampled, margin: float) -> Settling:
    """What would bring `difference` either clear of zero or within +-`margin`, whichever is closer.

    Extrapolated from the present spread of test rows and of seeds; accurate to a factor of about two.
    """
    seeds = len(difference.measured)
    from_rows = float(difference.drawn.mean(axis=1).var())
    spread = float(difference.measured.var(ddof=1)) if seeds >= FEWEST_SEEDS else 0.0
    least = max(abs(difference.mean), margin - abs(difference.mean), 1e-12)
    objective = least**2
    if difference.test_share and seeds > 1:  # both parts of the variance fall with the rows of the table
        squared = _student(seeds) ** 2 * float(difference.measured.var(ddof=1)) * (1 / seeds + difference.test_share)
        times = max(1.0, squared / objective)
        return Settling(rows=math.ceil((times - 1) * difference.rows), seeds=None, times=times)
    if float(np.ptp(difference.draws)) == 0.0:  # no spread to go by: the interval narrows with the number of rows alone
        times = max(1.0, difference.unseen / least)
        return Settling(rows=math.ceil((times - 1) * difference.rows), seeds=None, times=times)

    def width(row_factor: float, seeds: int) -> float:
        """Squared half width of the interval with so many times the test rows and so many seeds."""
        return _NORMAL_95**2 * from_rows / row_factor + (_student_95(seeds) ** 2 * spread / seeds if spread else 0.0)

    left_for_rows = objective - width(math.inf, seeds)
    row_factor = _NORMAL_95**2 * from_rows / left_for_rows if left_for_rows > 0 else math.inf
    many = (seeds + n for n in range(1, 51))
    enough_seeds = next((n for n in many if spread and width(1.0, n) <= objective), None)
    return Settling(
        rows=math.ceil(max(0.0, row_factor - 1) * difference.rows) if math.isfinite(row_factor) else None,
        seeds=enough_seeds - seeds if enough_seeds else None,
        times=max(1.0, width(1.0, seeds) / objective),
    )


def _student_95(seeds: int) -> float:
    """97.5 % quantile of Student's t with seeds - 1 degrees of freedom; fewer than `FEWEST_SEEDS` count as so many."""
    return _student(max(seeds, FEWEST_SEEDS))


def _student(values: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(values - 1, 0.975))


def _counts_in_chunks(rows: int, draws: int) -> list[Array]:
    """How often each resample takes each row: [draws, rows] in chunks, always the same ones."""
    size = max(1, _CHUNK // rows)
    return [_counts(rows, min(size, draws - start), start) for start in range(0, draws, size)]


@lru_cache(maxsize=16)
def _counts(rows: int, draws: int, start: int) -> Array:
    random = np.random.default_rng([_RANDOM_SEED, rows, start])
    taken = random.integers(0, rows, size=(draws, rows)) + np.arange(draws)[:, None] * rows
    # A byte holds them: the chance that a row is taken over 255 times is below 1e-500, and below 256 rows it is none.
    return np.bincount(taken.ravel(), minlength=draws * rows).astype(np.uint8).reshape(draws, rows)


@lru_cache(maxsize=16)
def _seed_steps(draws: int, seeds: int) -> Array:
    """[draws, seeds]: weights with sum zero that turn the seeds' metrics into steps of t(seeds - 1) standard errors."""
    random = np.random.default_rng([_RANDOM_SEED, seeds])
    normal = random.standard_normal((draws, seeds))
    heavier = np.sqrt((seeds - 1) / random.chisquare(seeds - 1, size=(draws, 1)))
    steps: Array = (normal - normal.mean(axis=1, keepdims=True)) * heavier / math.sqrt(seeds * (seeds - 1))
    return steps
