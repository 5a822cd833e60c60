"""Comparison table: which columns and values does the table of a comparison show?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from warmstart.quantities import (
    MISSING,
    format_duration,
    format_flops,
    format_interval_bounds,
    format_number,
    format_scaled,
)
from warmstart.results.display import Display, table_of_rows

if TYPE_CHECKING:
    from warmstart.results.comparison import Comparison
    from warmstart.results.comparison_rows import Row

COLUMNS: dict[str, pa.DataType] = {
    "regime": pa.string(),
    "family": pa.string(),
    "start": pa.string(),
    "rows": pa.int64(),
    "score": pa.float64(),
    "low": pa.float64(),
    "high": pa.float64(),
    "seeds": pa.int64(),
    "lr": pa.float64(),
    "converged": pa.bool_(),
    "failed": pa.string(),
    "latency_ms": pa.float64(),
    "disk_bytes": pa.int64(),
    "flops": pa.float64(),
    "seconds": pa.float64(),
    "peak_memory_bytes": pa.int64(),
    "trainable": pa.int64(),
    "total": pa.int64(),
}
TITLES = ("regime", "score", "95 % interval", "rows", "seeds", "learning rate", "trained weights", "compute", "time")


def comparison_table(rows: "Sequence[Row]") -> pa.Table:
    """One line for each regime, best first: its mean score over seeds with a 95 % interval, and its cost."""
    return table_of_rows([_facts(row) for row in rows], COLUMNS)


def comparison_display(comparison: "Comparison") -> Display:
    """The metric, then the table; below it, why regimes failed."""
    better = "higher" if comparison.higher_is_better else "lower"
    unit = f" of {comparison.units}" if comparison.units else ""
    test = comparison.rows.get("test", 0)
    headline = f"{comparison.metric}{unit} ({better} is better) on {test:,} test rows"
    headline += f" of each of {comparison.splits_run} splits" if comparison.splits_run > 1 else ""
    failed = tuple(f"{row.name} failed: {row.failed}" for row in comparison.table if row.failed)
    stopped = any(not row.converged and not row.failed for row in comparison.table)
    notes = ("* still improving when it stopped",) if stopped else ()
    lines = [line for row in comparison.table for line in (_line(row), *_predicted(comparison, row))]
    return Display(headline, TITLES, tuple(lines), (*notes, *failed))


def _facts(row: "Row") -> dict[str, Any]:
    low, high = row.interval
    return vars(row) | {"regime": row.name, "low": low, "high": high, "seeds": len(row.seeds)}


def _predicted(comparison: "Comparison", row: "Row") -> tuple[tuple[str, ...], ...]:
    """What is predicted for all rows, below a regime that was run on a part of them; else nothing."""
    found = comparison.predictions.get(row.name) if row in comparison.partial else None
    if found is None:
        return ()
    bounds = format_interval_bounds(found.interval)
    rest = ("",) * (len(TITLES) - 4)
    return ((f"{row.name}, predicted", format_number(found.score), bounds, f"{found.rows:,}", *rest),)


def _line(row: "Row") -> tuple[str, ...]:
    return (
        row.name + ("" if row.converged or row.failed else " *"),
        "failed" if row.failed else format_number(row.score),
        "" if row.failed else format_interval_bounds(row.interval),
        f"{row.rows:,}",
        str(len(row.seeds)),
        MISSING if row.lr is None else f"{row.lr:.0e}",
        format_scaled(row.trainable, 1000, ("", "k", "M", "G")),
        format_flops(row.flops),
        format_duration(row.seconds),
    )
