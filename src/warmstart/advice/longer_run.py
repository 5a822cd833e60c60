"""Longer run: which command repeats a study with more steps for the regimes that had not converged?"""

import math
import shlex
from collections.abc import Sequence

from warmstart.quantities import parse_duration
from warmstart.results.comparison import Comparison
from warmstart.results.names import LENGTH_MULTIPLIERS
from warmstart.results.record import Run
from warmstart.results.rows import Row
from warmstart.settings.choices import DEFAULT_BUDGET

MARGIN = 1.25  # of forecasts, which were too low at times
_TO_MINUTES, _TO_HOURS = 15 * 60, 2 * 3600  # a budget is rounded up to quarters of an hour, from two hours on to hours


def longer_command(comparison: Comparison, unfinished: Sequence[Row]) -> str:
    """The study's own command with a larger --budget, if the budget cut it or left no time; otherwise with twice the
    length.

    Empty if the command is unknown, or is that of a race.
    """
    words = shlex.split(comparison.command)
    if words[1:2] != ["compare"]:
        return ""
    asked = _value(words, "--budget")
    budget = parse_duration(asked) if asked else DEFAULT_BUDGET
    runs = [run for run in comparison.runs if run.regime in {row.name for row in unfinished}]
    if comparison.cuts or not all(run.id.endswith(f"-x{LENGTH_MULTIPLIERS[-1]}") for run in runs):
        needed = _whole(comparison) + sum(LENGTH_MULTIPLIERS) * sum(run.cost.seconds for run in runs)
        words = _with(words, "--budget", _time(max(MARGIN * needed, budget + 1)))
    else:
        needed, length = 2 * MARGIN * _whole(comparison), "--epochs" if "--epochs" in words else "--length"
        words = _with(words, length, f"{2 * float(_value(words, length) or 1.0):g}")
        words = _with(words, "--budget", _time(needed)) if needed > budget else words
    return shlex.join(_with(words, "--out", f"{_value(words, '--out')}-longer"))


def larger_budget_command(comparison: Comparison) -> str:
    """The study's own command with the budget that the uncut study was estimated at; empty if that is unknown."""
    words = shlex.split(comparison.command)
    if words[1:2] != ["compare"] or "--out" not in words or comparison.full_estimate is None:
        return ""
    asked = _value(words, "--budget")
    budget = parse_duration(asked) if asked else DEFAULT_BUDGET
    words = _with(words, "--budget", _time(max(MARGIN * comparison.full_estimate, budget + 1)))
    return shlex.join(_with(words, "--out", f"{_value(words, '--out')}-longer"))


def _whole(comparison: Comparison) -> float:
    """Seconds of the study without cuts."""
    return comparison.full_estimate or sum(map(_seconds, comparison.runs))


def _seconds(run: Run) -> float:
    return run.cost.seconds + run.tuning_seconds


def _value(words: Sequence[str], flag: str) -> str | None:
    """Value of a flag in a command."""
    return words[words.index(flag) + 1] if flag in words else None


def _with(words: Sequence[str], flag: str, value: str) -> list[str]:
    """The command with this value instead of another; a new flag goes before --out, which is the last."""
    at = words.index(flag) if flag in words else words.index("--out")
    return [*words[:at], flag, value, *words[at + 2 * (flag in words) :]]


def _time(seconds: float) -> str:
    """As typed on the command line, rounded up: 45m, 3h."""
    if seconds < _TO_HOURS:
        return f"{15 * math.ceil(seconds / _TO_MINUTES)}m"
    return f"{math.ceil(seconds / 3600)}h"
