"""Forecast from history: what would a task take, judging by earlier runs, if there are no data to measure on?"""

import statistics
from collections.abc import Sequence
from typing import Any

from warmstart.errors import UsageError, join_phrases
from warmstart.models.pretrained.locate import usual
from warmstart.planning.forecast import LOGGED, PlanResult, RegimeForecast, TargetMachine, power, sources
from warmstart.planning.history import read_history
from warmstart.regimes.regimes import DEFAULT_REGIMES, RANDOM_START, known_regime
from warmstart.results.names import name_at_base, short_names
from warmstart.runtime.device import memory_room
from warmstart.runtime.environment import current_environment


def plan_from_history(
    task: str, regimes: Sequence[str], rows: int, bases: Sequence[str], where: TargetMachine
) -> PlanResult:
    """Estimates from the log of earlier runs for so many rows. Raises UsageError if it has none of these regimes.

    Without `bases`: runs that started from the default base; if there are none, from the last one used.
    """
    known = [e for e in read_history() if e["task"] == task and not e.get("failed")]
    from_bases = bases or _usual(known, task)
    known = [entry for entry in known if entry.get("base") in from_bases]
    names = [known_regime(name) for name in regimes or DEFAULT_REGIMES]
    if not any(entry["regime"] in names for entry in known):
        of_base = f" with base {join_phrases(bases, quote=True)}" if bases else ""
        raise UsageError(
            f"the log of earlier runs has none of task {task!r}{of_base}, so nothing can be said without data.",
            "name DATA and --target, and a few steps are measured; every run adds to the log",
        )
    runs: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        of_regime = [entry for entry in known if entry["regime"] == name]
        if len(bases) < 2 or name in RANDOM_START:
            runs[name] = of_regime
        else:
            each = zip(short_names(bases), bases, strict=True)
            runs |= {name_at_base(name, short): [e for e in of_regime if e.get("base") == base] for short, base in each}
    forecasts = tuple(_logged(name, found, rows, where) for name, found in runs.items())
    note = (
        f"{LOGGED} on this machine ({len(known)} of task {task}, base {join_phrases(from_bases)}), "
        "in proportion to their rows; one run each"
    )
    return PlanResult(
        forecasts, current_environment("-").device, memory_room(), (note, *sources(where, measured=False))
    )


def _usual(known: Sequence[dict[str, Any]], task: str) -> list[str]:
    """The default base if the log has it; otherwise the one used last."""
    logged = [str(entry["base"]) for entry in known if entry.get("base")]
    found = usual(task)
    return [found] if found in logged else logged[-1:]


def _logged(name: str, known: list[dict[str, Any]], rows: int, where: TargetMachine) -> RegimeForecast:
    """The median cost per row in the log, times the rows."""
    if not known:
        advice = "no run of it in the log"
        return RegimeForecast(name, None, None, None, None, None, None, None, None, advice, basis=LOGGED)
    last = known[-1]
    seconds = statistics.median(entry["seconds"] / entry["rows"] for entry in known) * rows
    flops = statistics.median(entry.get("flops", 0.0) / entry["rows"] for entry in known) * rows
    memory_peaks = [entry["peak_memory_bytes"] for entry in known if entry.get("peak_memory_bytes")]
    peak, room = max(memory_peaks, default=None), memory_room()
    watts, price = power(where)
    return RegimeForecast(
        regime=name,
        trainable=last.get("trainable"),
        total=last.get("total"),
        flops=flops,
        peak_memory_bytes=peak,
        seconds=seconds,
        disk_bytes=last.get("disk_bytes"),
        money=seconds / 3600 * price,
        fits=None if peak is None or room is None else peak <= room,
        advice="",
        seconds_of_run=seconds,
        energy_kwh=seconds * watts / 3.6e6,
        basis=LOGGED,
    )
