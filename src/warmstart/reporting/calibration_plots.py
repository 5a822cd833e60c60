"""Calibration plots: can the confidence of each regime be trusted?"""

from collections.abc import Sequence
from dataclasses import dataclass

from warmstart.reporting import plot_style
from warmstart.reporting.entries import Entry
from warmstart.reporting.formatting import format_count, format_probability
from warmstart.reporting.plot_style import Figure, escape_plotly, thin
from warmstart.results.calibration import Calibration, RunCalibration
from warmstart.results.comparison import CONSTANT, Comparison


@dataclass(frozen=True)
class CalibrationRow:
    """One regime's line of the table."""

    entry: Entry
    found: Calibration


def calibration_rows(main: Sequence[Entry], comparison: Comparison) -> tuple[CalibrationRow, ...]:
    """The regimes of which something can be said, best score first."""
    known = comparison.calibrations
    return tuple(CalibrationRow(entry, known[entry.name]) for entry in main if not entry.failed and entry.name in known)


def calibration_plots(shown: Sequence[CalibrationRow]) -> dict[str, Figure]:
    """A reliability plot for each regime that gives probabilities, by the name that the template knows it under."""
    drawn = [line for line in shown if line.found.fitted and line.entry.name != CONSTANT]  # it has one
    return {f"sure-{line.entry.key}": _reliability(line) for line in drawn}


def _reliability(line: CalibrationRow) -> Figure:
    """Share right over the mean probability of each bin, with its interval; gray without the temperature."""
    color = plot_style.color(line.entry.row.family)
    fitted, raw = line.found.fitted, line.found.raw
    assert fitted is not None, "drawn only where there are probabilities"
    data = [_diagonal()]
    if raw:
        faint = {"color": "var(--muted)", "size": 7, "symbol": "circle-open"}
        data.append(_points(raw, "as trained") | {"marker": faint, "opacity": 0.7})
    marker = {"color": color, "size": 9, "symbol": plot_style.SYMBOLS.get(line.entry.row.family, "circle")}
    bars = {
        "type": "data",
        "symmetric": False,
        "array": [each.interval.high - each.right for each in fitted.bins],
        "arrayminus": [each.right - each.interval.low for each in fitted.bins],
        "color": color,
        "thickness": 1.2,
        "width": 0,
    }
    data.append(_points(fitted, "as predicted") | {"marker": marker, "error_y": bars})
    span = {"range": [-0.03, 1.03], "tickformat": ".0%", "dtick": 0.5}
    layout = plot_style.layout(
        xaxis=plot_style.axis("probability", **span), yaxis=plot_style.axis("", **span), height=250
    )
    return {"data": data, "layout": layout}


def _diagonal() -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [0, 1],
        "y": [0, 1],
        "line": thin(),
        "hoverinfo": "skip",
    }


def _points(found: RunCalibration, how: str) -> Figure:
    said = [
        f"{how} {format_probability(each.probability)}, right {format_probability(each.right)}; "
        f"{format_count(each.rows)} {found.unit}"
        for each in found.bins
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [each.probability for each in found.bins],
        "y": [each.right for each in found.bins],
        "text": [escape_plotly(text) for text in said],
        "hoverinfo": "text",
        "cliponaxis": False,
    }
