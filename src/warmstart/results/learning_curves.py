"""Learning curves: what would more rows bring, and where does one regime overtake another?

A curve is the error (1 - score if higher is better) over training rows, both on a logarithmic scale. It is straight
between the measured sizes, and continues beyond them with the mean slope of its last three intervals: with few points,
free fits of a law with more parameters predict worse. More rows are assumed never to hurt: a rising end continues flat.

Every resample of test rows and seeds has its own curves, with the same resample for all regimes and sizes. So slopes,
forecasts and crossings have intervals as scores have. Beyond the measured sizes two things widen them: the spread of
the slope counts 1.6 times, and if the slopes of the last intervals differ by more than the resamples explain, so does
the next one.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from warmstart.quantities import format_interval_bounds, format_number, format_percent, round_to_two_digits
from warmstart.results.bootstrap import Resampled
from warmstart.results.names import name_at_base, split_name
from warmstart.results.record import Interval
from warmstart.types import Array

FORECAST_FACTORS = (2, 10)  # times the most rows measured
MAX_EXTRAPOLATION = 10  # times the most rows measured: nothing is said of more
_INTERVALS = 3  # whose mean slope goes on
_WIDER = 1.6  # bands from resampling alone, on 42 public curves of fine-tuning, had to be so much wider to hold
_LIKELY = 0.95  # of draws; a statement that holds in fewer says in how many
_TOLD = 0.75  # of draws; what holds in fewer is not stated
_RANDOM_SEED = 20240608  # any fixed number: the same runs give the same intervals

RowRange = tuple[int | None, int | None]  # of an interval of rows; None: outside what was measured or may be predicted


@dataclass(frozen=True)
class Curve:
    """A quantity over the logarithm of the rows, linear between its points: as measured, and for each resample."""

    rows: tuple[int, ...]  # two or more, ascending
    measured: Array  # [sizes]
    drawn: Array  # [draws, sizes]
    falls: bool = False  # more rows never raise it
    apart: "tuple[Curve, Curve] | None" = None  # the two whose difference it is

    def __sub__(self, other: "Curve") -> "Curve":
        assert self.rows == other.rows, "not the same sizes"
        return Curve(self.rows, self.measured - other.measured, self.drawn - other.drawn, apart=(self, other))

    @property
    def slope(self) -> tuple[float, Array]:
        """Slope beyond the last point, per factor e of rows: as measured, and [draws]."""
        (mean, drawn), (held, each) = self._free, self._held
        return mean + held, drawn + each

    @property
    def _held(self) -> tuple[float, Array]:
        """Correction to a slope, since a curve that would rise continues flat."""
        if self.apart:
            (one, ones), (other, others) = (line._held for line in self.apart)
            return one - other, ones - others
        mean, drawn = self._free
        return (min(mean, 0.0) - mean, np.minimum(drawn, 0.0) - drawn) if self.falls else (0.0, np.zeros_like(drawn))

    @cached_property
    def _free(self) -> tuple[float, Array]:
        """The slope of the last points alone."""
        first = max(0, len(self.rows) - 1 - _INTERVALS)
        widths = np.diff(np.log(self.rows[first:]))
        slopes = np.diff(self.measured[first:]) / widths
        each = np.diff(self.drawn[:, first:]) / widths
        mean = float((slopes * widths).sum() / widths.sum())
        drawn = (each * widths).sum(axis=1) / widths.sum()
        bend = 0.0
        if len(slopes) > 1:
            by_chance = float(np.median((each - slopes).var(axis=1, ddof=1)))
            bend = math.sqrt(max(0.0, float(slopes.var(ddof=1)) - by_chance))
        random = np.random.default_rng(_RANDOM_SEED)
        drawn = mean + _WIDER * (drawn - mean) + bend * random.standard_normal(len(drawn))
        return mean, drawn

    def at(self, rows: float) -> tuple[float, Array]:
        """As measured and [draws], at `rows`, from the smallest measured size on."""
        places, place = np.log(self.rows), math.log(rows)
        assert place >= places[0] - 1e-9, "nothing is known below the fewest rows"
        if rows > self.rows[-1]:
            slope, slopes = self.slope
            ahead = place - places[-1]
            return float(self.measured[-1] + slope * ahead), self.drawn[:, -1] + slopes * ahead
        after = int(np.clip(np.searchsorted(places, place), 1, len(places) - 1))
        share = (place - places[after - 1]) / (places[after] - places[after - 1])
        between = np.array([1 - share, share])
        return float(self.measured[after - 1 : after + 1] @ between), self.drawn[:, after - 1 : after + 1] @ between

    def crossing(self) -> tuple[float, Array]:
        """Number of rows from which on the curve stays below zero, as measured and [draws].

        0 if it is below at all sizes, infinite if it is not below at `MAX_EXTRAPOLATION` times the most rows.
        """
        far = self.rows[-1] * MAX_EXTRAPOLATION
        end, ends = self.at(far)
        places = np.log([*self.rows, far])
        values = np.vstack([np.append(self.measured, end), np.column_stack([self.drawn, ends])])
        above = values >= 0
        last = len(places) - 1 - above[:, ::-1].argmax(axis=1)  # place that is above zero
        before = np.minimum(last, len(places) - 2)
        each = np.arange(len(values))
        high, low = values[each, before], values[each, before + 1]
        share = np.divide(high, high - low, out=np.zeros_like(high), where=(high >= 0) & (low < 0))
        found = np.exp(places[before] + share * (places[before + 1] - places[before]))
        found[above[:, -1]] = np.inf
        found[~above.any(axis=1)] = 0.0
        return float(found[0]), found[1:]


@dataclass(frozen=True)
class CurveForecast:
    """A predicted score at a number of training rows."""

    rows: int
    score: float
    interval: Interval

    def to_json(self) -> dict[str, Any]:
        return {"rows": self.rows, "score": self.score, "interval": list(self.interval)}


@dataclass(frozen=True)
class Law:
    """How one regime's error falls with training rows."""

    regime: str
    family: str
    line: Curve  # log of the error
    higher_is_better: bool
    least: float  # error that nothing stays below
    top: float = 1.0  # the best possible score, where more is better

    def at(self, rows: int) -> CurveForecast:
        """The score at a number of rows between the fewest measured and `MAX_EXTRAPOLATION` times the most."""
        measured, drawn = self._scores(rows)
        return CurveForecast(rows, measured, _middle(drawn))

    @property
    def predicted(self) -> tuple[CurveForecast, ...]:
        """At twice and ten times the most rows measured."""
        return tuple(self.at(times * self.line.rows[-1]) for times in FORECAST_FACTORS)

    def gain(self, rows: int) -> tuple[float, Interval]:
        """How much better the score gets from the most rows measured to `rows`."""
        sign = 1 if self.higher_is_better else -1
        (now, each_now), (then, each_then) = self._scores(self.line.rows[-1]), self._scores(rows)
        return sign * (then - now), _middle(sign * (each_then - each_now))

    @property
    def departures(self) -> tuple[str, ...]:
        """In words, where more rows made the score worse, beyond chance."""
        found = []
        for place in range(1, len(self.line.rows)):
            if _middle(self.line.drawn[:, place] - self.line.drawn[:, place - 1]).low > 0:
                fewer, more = self.line.rows[place - 1 : place + 1]
                found.append(
                    f"`{self.regime}` got worse from {fewer:,} to {more:,} rows: "
                    f"{format_number(self.at(fewer).score)}, then"
                    f" {format_number(self.at(more).score)}, a significant difference. More rows rarely "
                    "cause this; a run that was cut short does."
                )
        return tuple(found)

    @property
    def statement(self) -> str:
        """'`full` should score about 0.700 [0.680, 0.720] with 8,000 rows and 0.790 [0.750, 0.820] with 40,000.'"""
        twice, far = (f"{format_number(f.score)} {format_interval_bounds(f.interval)}" for f in self.predicted)
        rows = [f"{f.rows:,}" for f in self.predicted]
        return f"`{self.regime}` should score about {twice} with {rows[0]} rows and {far} with {rows[1]}."

    def to_json(self) -> dict[str, Any]:
        slope, slopes = self.line.slope
        return {
            "slope": slope,
            "interval": list(_middle(slopes)),
            "sizes": list(self.line.rows),
            "predicted": [forecast.to_json() for forecast in self.predicted],
            "departures": list(self.departures),
            "statement": self.statement,
        }

    def _scores(self, rows: int) -> tuple[float, Array]:
        measured, drawn = self.line.at(rows)
        # What was measured may lie below the least that is known; what is predicted may not.
        least = self.least if rows > self.line.rows[-1] else 0.0
        error, errors = max(math.exp(measured), least), np.maximum(np.exp(drawn), least)
        return (self.top * (1 - error), self.top * (1 - errors)) if self.higher_is_better else (error, errors)


def law(
    regime: str,
    family: str,
    sizes: Sequence[int],
    scores: Sequence[Resampled],
    higher_is_better: bool,
    best: float | None = None,
    top: float = 1.0,
) -> Law | None:
    """The curve through a regime's scores at these sizes, on the same seeds. `best`: the best reachable score, if
    known.

    `top`: the best possible score, if more is better. None for a single size, or if scores exceed `top`.
    """
    if len(sizes) < 2 or (higher_is_better and any(score.mean > top for score in scores)):
        return None
    # No error among n rows is not none ever: half a row's is taken, and a logarithm exists.
    smallest = [max(score.unseen / (6 * top), 1e-12) for score in scores]

    def error(score: Array | float) -> Array:
        return np.asarray(1 - score / top if higher_is_better else score)

    measured = [math.log(max(float(error(score.mean)), s)) for score, s in zip(scores, smallest, strict=True)]
    drawn = [np.log(np.maximum(error(score.draws), s)) for score, s in zip(scores, smallest, strict=True)]
    line = Curve(tuple(sizes), np.array(measured), np.stack(drawn, axis=1), falls=True)
    return Law(regime, family, line, higher_is_better, 0.0 if best is None else max(float(error(best)), 0.0), top)


@dataclass(frozen=True)
class Crossover:
    """The number of rows from which on `a`, the final winner, is better than `b`."""

    a: str
    b: str
    rows: int | None  # None: nowhere from the fewest rows measured to ten times the most, or it is unknown
    interval: RowRange | None
    ahead: bool  # of what was measured: predicted
    statement: str

    def to_json(self) -> dict[str, Any]:
        interval = None if self.interval is None else list(self.interval)
        return {"a": self.a, "b": self.b, "rows": self.rows, "interval": interval, "statement": self.statement}


def crossover(one: Law, other: Law) -> Crossover:
    """Where one regime overtakes the other for good. Both were measured at the same sizes with the same seeds."""
    between = one.line - other.line
    crossed, drawn = between.crossing()
    a, b = one, other
    if math.isinf(crossed):
        a, b = other, one
        crossed, drawn = (other.line - one.line).crossing()
    fewest, most = between.rows[0], between.rows[-1]
    far = MAX_EXTRAPOLATION * most
    if crossed == 0.0 or math.isinf(crossed):  # infinite: equal to the end
        overtaken = float(np.isinf(drawn).mean())
        if overtaken > 1 - _TOLD:
            return _untold(a, b)
        doubt = (
            f", but in {format_percent(overtaken)} of the resamples it is overtaken" if overtaken > 1 - _LIKELY else ""
        )
        always = f"`{a.regime}` stays ahead of `{b.regime}` up to {far:,} rows{doubt}"
        said = f"{'Probably not' if doubt else 'Not'} within {MAX_EXTRAPOLATION}x your data: {always}."
        return Crossover(a.regime, b.regime, None, None, False, said)
    low, high = _ends(drawn, 0.0, math.inf)
    if low is None and high is None:
        return _untold(a, b)
    ahead = crossed > most
    who = f"training from scratch (`{a.regime}`)" if a.family == "scratch" != b.family else f"`{a.regime}`"
    what = f"would overtake `{b.regime}`; {most:,} rows were measured" if ahead else f"overtakes `{b.regime}`"
    between_ends = _rows_words((low, high), f"under {fewest:,}", f"over {far:,}")
    statement = f"From about {round_to_two_digits(crossed):,} rows {between_ends} on, {who} {what}."
    return Crossover(a.regime, b.regime, round(crossed), (low, high), ahead, statement)


def _untold(a: Law, b: Law) -> Crossover:
    pair = f"`{a.regime}` and `{b.regime}`"
    said = f"Whether {pair} cross within {MAX_EXTRAPOLATION}x your data cannot be determined from these runs."
    return Crossover(a.regime, b.regime, None, None, False, said)


@dataclass(frozen=True)
class Transfer:
    """How many rows a pretrained start was worth: the additional rows that training from scratch needs for the same
    score.
    """

    a: str  # the regime with the pretrained start
    b: str  # from scratch
    at: int  # training rows of `a`
    rows: int | None  # more rows for `b`; negative: fewer; None: unknown
    interval: RowRange | None
    bound: str | None  # "lower": better than all that was measured of `b`; "upper": worse than all
    statement: str

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"interval": None if self.interval is None else list(self.interval)}


def transfers(tuned: Law, scratch: Law) -> tuple[Transfer, ...]:
    """For each measured size, by inverting the measured curve from scratch; nothing is extrapolated."""
    return tuple(_transfer(tuned, scratch, rows) for rows in tuned.line.rows)


def _transfer(tuned: Law, scratch: Law, at: int) -> Transfer:
    fewest, most = scratch.line.rows[0], scratch.line.rows[-1]
    needed, drawn = _reached(scratch, *tuned.line.at(at))
    a, b = tuned.regime, scratch.regime
    if needed > most:
        sure = float((drawn > most).mean())
        said = f"`{a}` with {at:,} rows is better than `{b}` with {most:,}{_in_draws(sure)}"
        words = f"{said}: its start was worth at least {most - at:,} rows." if at < most else f"{said}."
        return Transfer(a, b, at, most - at, None, "lower", words)
    if needed == 0.0:
        sure = float((drawn == 0.0).mean())
        words = f"`{a}` with {at:,} rows is worse than `{b}` with {fewest:,}{_in_draws(sure)}."
        return Transfer(a, b, at, fewest - at, None, "upper", words)
    low, high = _ends(drawn, 0.0, most)
    if low is None and high is None:
        words = f"How many rows the start of `{a}` was worth with {at:,} rows cannot be determined from these runs."
        return Transfer(a, b, at, None, None, None, words)
    rows = needed - at
    start = (
        f"its start was worth about {round_to_two_digits(rows):,} rows" if rows > 0 else "its start was worth no rows"
    )
    same = f"`{a}` with {at:,} rows is as good as `{b}` with about {round_to_two_digits(needed):,}"
    statement = f"{same} {_rows_words((low, high), f'under {fewest:,}', f'over {most:,}')}: {start}."
    interval = (None if low is None else low - at, None if high is None else high - at)
    return Transfer(a, b, at, round(rows), interval, None, statement)


def matching_rows(trained: Law, other: Law) -> tuple[float, RowRange]:
    """Rows with which `trained` is as good as `other` with its most rows, and their interval.

    0 if it is better with its fewest, more than its most rows if it is worse with these.
    """
    needed, drawn = _reached(trained, *other.line.at(other.line.rows[-1]))
    return needed, _ends(drawn, 0.0, trained.line.rows[-1])


def rows_phrase(rows: float, interval: RowRange, measured: Sequence[int]) -> str:
    """'320 [250, over 1,000]'"""
    bounds = _rows_words(interval, f"under {measured[0]:,}", f"over {measured[-1]:,}")
    return f"{round_to_two_digits(rows):,} {bounds}"


def _reached(law: Law, level: float, levels: Array) -> tuple[float, Array]:
    """Rows from which on the curve stays below a level, and those of each resample: see `Curve.crossing`."""
    drawn = law.line.drawn - levels[:, None]
    return Curve(law.line.rows, law.line.measured - level, drawn, falls=True).crossing()


def _in_draws(share: float) -> str:
    return f" (in {format_percent(share)} of the resamples)" if share < _LIKELY else ""


def _ends(drawn: Array, below: float, above: float) -> RowRange:
    """95 % interval of the resamples, which may be infinite; None for an end at or below `below`, or at or above
    `above`.
    """
    ordered = np.sort(drawn)
    low, high = ordered[math.floor(0.025 * (len(ordered) - 1))], ordered[math.ceil(0.975 * (len(ordered) - 1))]
    ends = [round(float(end)) if below < end < above else None for end in (low, high)]
    return ends[0], ends[1]


def _rows_words(ends: RowRange, below: str, above: str) -> str:
    low, high = ends
    bounds = (
        below if low is None else f"{round_to_two_digits(low):,}",
        above if high is None else f"{round_to_two_digits(high):,}",
    )
    return f"[{', '.join(bounds)}]"


def _middle(drawn: Array) -> Interval:
    low, high = (float(q) for q in np.quantile(drawn, [0.025, 0.975]))
    return Interval(low, high)


def best_scratch(laws: Iterable[Law], tuned: str) -> Law | None:
    """The regime from scratch to compare a pretrained start with: its base's own architecture, else the best."""
    found = [each for each in laws if each.family == "scratch"]
    _, base = split_name(tuned)
    own = name_at_base("scratch", base) if base else "scratch"
    same = next((each for each in found if each.regime == own), None)
    return same or min(found, key=lambda each: float(each.line.measured[-1]), default=None)
