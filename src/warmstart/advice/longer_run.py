"""Longer run: which command repeats a study with more steps for the regimes that had not converged?"""

import math
import shlex
from collections.abc import Sequence

from warmstart.quantities import REFERENCE_FLOPS, parse_duration, parse_flops
from warmstart.results.comparison import CONSTANT, Comparison
from warmstart.results.comparison_rows import Row
from warmstart.results.names import CONTINUED, CONTINUED_MIXED, LENGTH_MULTIPLIERS, PREVIOUS, regime_of
from warmstart.results.record import Run
from warmstart.settings.choices import DEFAULT_BUDGET

MARGIN = 1.25  # of forecasts, which were too low at times
JOBS_SHARE = 0.75  # of a budget: the rest is for measuring, estimates that were too low, and the report
READING = 30.0  # seconds for starting and reading the data
# Regimes that --regimes does not name: every comparison has them, or every one with --previous.
NEVER_NAMED = (PREVIOUS, CONTINUED, CONTINUED_MIXED, CONSTANT)
# A budget is rounded up to minutes, from a quarter of an hour on to quarters, from two hours on to hours.
_QUARTER, _TO_HOURS = 15 * 60, 2 * 3600


def longer_command(comparison: Comparison, unfinished: Sequence[Row]) -> str:
    """The study's own command with a larger --budget, if the budget cut it or left no time; otherwise with twice the
    length.

    Empty if the command is unknown, or is that of a race.
    """
    words = shlex.split(comparison.command)
    if words[1:2] != ["compare"]:
        return ""
    by_compute = "--compute" in words
    runs = [run for run in comparison.runs if run.regime in {row.name for row in unfinished}]
    if comparison.cuts or not all(run.id.endswith(f"-x{LENGTH_MULTIPLIERS[-1]}") for run in runs):
        needed = _whole(comparison) + sum(LENGTH_MULTIPLIERS) * sum(_cost(run, by_compute=by_compute) for run in runs)
        words = _with_budget(words, MARGIN * needed)
    else:
        needed, length = 2 * MARGIN * _whole(comparison), "--epochs" if "--epochs" in words else "--length"
        words = _with(words, length, f"{2 * float(_value(words, length) or 1.0):g}")
        words = _with_budget(words, needed) if needed > _budget(words) else words
    return shlex.join(_with(words, "--out", f"{_value(words, '--out')}-longer"))


def larger_budget_command(comparison: Comparison) -> str:
    """The study's own command with the budget that the uncut study was estimated at; empty if that is unknown."""
    words = shlex.split(comparison.command)
    if words[1:2] != ["compare"] or "--out" not in words or comparison.full_estimate is None:
        return ""
    words = _with_budget(words, MARGIN * comparison.full_estimate)
    return shlex.join(_with(words, "--out", f"{_value(words, '--out')}-longer"))


def on_all_rows_command(comparison: Comparison, leader: Row, rival: str) -> str:
    """The study's own command for two regimes alone, with a budget that trains both on all rows.

    Empty if the command or what the rival takes is unknown. Searching and reading the data are counted too.
    """
    words, needed = shlex.split(comparison.command), comparison.estimates.get(rival)
    if words[1:2] != ["compare"] or "--out" not in words or needed is None:
        return ""
    by_compute = "--compute" in words
    again = [_seconds(run, by_compute=by_compute) for run in comparison.runs if run.regime == leader.name]
    needed = (MARGIN * (needed + max(again, default=0.0))) / JOBS_SHARE + (0 if by_compute else READING)
    names = [regime_of(name) for name in (leader.name, rival)]
    words = _with(words, "--regimes", ",".join(dict.fromkeys(name for name in names if name not in NEVER_NAMED)))
    words = _with_budget(words, needed)
    return shlex.join(_with(words, "--out", f"{_value(words, '--out')}-longer"))


def _budget(words: Sequence[str]) -> float:
    """Seconds of a command's budget; with --compute those of the reference device."""
    if compute := _value(words, "--compute"):
        return parse_flops("compute", compute) / REFERENCE_FLOPS
    asked = _value(words, "--budget")
    return parse_duration(asked) if asked else DEFAULT_BUDGET


def _with_budget(words: Sequence[str], seconds: float) -> list[str]:
    """The command with a budget of so many seconds, and more than it has."""
    more = max(seconds, _budget(words) + 1)
    if "--compute" in words:
        return _with(words, "--compute", f"{math.ceil(more * REFERENCE_FLOPS / 1e12)}TFLOP")
    return _with(words, "--budget", _time(more))


def _whole(comparison: Comparison) -> float:
    """Seconds of the study without cuts."""
    by_compute = "--compute" in comparison.command.split()
    return comparison.full_estimate or sum(_seconds(run, by_compute=by_compute) for run in comparison.runs)


def _cost(run: Run, *, by_compute: bool) -> float:
    return run.cost.flops / REFERENCE_FLOPS if by_compute else run.cost.seconds


def _seconds(run: Run, *, by_compute: bool) -> float:
    if by_compute:
        return (run.cost.flops + run.tuning_flops) / REFERENCE_FLOPS
    return run.cost.seconds + run.tuning_seconds


def _value(words: Sequence[str], flag: str) -> str | None:
    """Value of a flag in a command."""
    return words[words.index(flag) + 1] if flag in words else None


def _with(words: Sequence[str], flag: str, value: str) -> list[str]:
    """The command with this value instead of another; a new flag goes before --out, which is the last."""
    at = words.index(flag) if flag in words else words.index("--out")
    return [*words[:at], flag, value, *words[at + 2 * (flag in words) :]]


def _time(seconds: float) -> str:
    """As typed on the command line, rounded up: 4m, 45m, 3h."""
    if seconds < _QUARTER:
        return f"{math.ceil(seconds / 60)}m"
    if seconds < _TO_HOURS:
        return f"{15 * math.ceil(seconds / _QUARTER)}m"
    return f"{math.ceil(seconds / 3600)}h"
