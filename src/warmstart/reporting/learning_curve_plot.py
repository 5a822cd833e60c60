"""Learning curve plot: how does each regime's score grow with the number of training rows?"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from warmstart.reporting import plot_style
from warmstart.reporting.entries import Entry
from warmstart.reporting.formatting import format_count, format_interval, format_score
from warmstart.reporting.plot_style import Figure, escape_plotly
from warmstart.results.comparison import CONSTANT, Comparison
from warmstart.results.learning_curves import MAX_EXTRAPOLATION, Crossover, CurveForecast, Law

BAND_POINTS = 9  # of a band, between two numbers of rows
MORE_SYMBOLS = ("triangle-up", "star", "cross", "hexagon", "pentagon", "triangle-down")  # of a family's further members


def learning_curves(entries: Sequence[Entry], comparison: Comparison) -> Figure | None:
    """Score over training rows with its band, dashed where predicted; a cross where two kinds change places.

    None where no regime was trained on several numbers of rows.
    """
    shown = [
        entry for entry in entries if entry.name in comparison.laws and not entry.failed and entry.name != CONSTANT
    ]
    if not shown:
        return None
    data: list[Figure] = []
    members: dict[str, int] = {}
    for entry in shown:
        family = entry.row.family
        place = members[family] = members.get(family, 0) + 1
        symbol = plot_style.SYMBOLS[family] if place == 1 else MORE_SYMBOLS[(place - 2) % len(MORE_SYMBOLS)]
        data += _regime(comparison.laws[entry.name], symbol, comparison)
    best = {entry.row.family: entry.name for entry in reversed(shown)}  # of each family; entries come best first
    for found in comparison.crossovers:
        if found.rows and {found.a, found.b} <= set(best.values()):
            data.append(_crossing(found, comparison.laws[found.a], comparison.laws[found.b]))
    sizes = sorted({rows for entry in shown for rows in comparison.laws[entry.name].line.rows})
    ticks = [*sizes, MAX_EXTRAPOLATION * sizes[-1]]
    x = {
        "type": "log",
        "tickmode": "array",
        "tickvals": ticks,
        "ticktext": [format_count(rows) for rows in ticks],
    }
    layout = plot_style.layout(xaxis=plot_style.axis("training rows", **x), yaxis=plot_style.axis(""), height=460)
    return {"data": data, "layout": layout | {"legend": plot_style.legend(), "showlegend": True}}


def _regime(law: Law, symbol: str, comparison: Comparison) -> list[Figure]:
    """A band, the line through what was measured, and the dashed line on to `MAX_EXTRAPOLATION` times the rows."""
    color, measured = plot_style.color(law.family), law.line.rows
    ends = (*measured, *(forecast.rows for forecast in law.predicted))
    places = [np.geomspace(low, high, BAND_POINTS) for low, high in pairwise(ends)]
    band = [law.at(round(rows)) for rows in dict.fromkeys(np.concatenate(places).round().tolist())]
    points = {point.rows: point for point in comparison.curve(law.regime)}
    at_sizes = [CurveForecast(rows, points[rows].score, points[rows].interval) for rows in measured]
    ahead = [at_sizes[-1], *law.predicted]
    common = {"type": "scatter", "legendgroup": escape_plotly(law.regime), "hoverinfo": "text"}
    marker = {"color": color, "size": 9, "symbol": symbol}
    return [
        common
        | {
            "mode": "lines",
            "x": [f.rows for f in (*band, *reversed(band))],
            "y": [*(f.interval.high for f in band), *(f.interval.low for f in reversed(band))],
            "fill": "toself",
            "fillcolor": color,
            "line": {"width": 0, "color": color},
            "opacity": 0.13,
            "hoverinfo": "skip",
            "showlegend": False,
        },
        common | _line(law, at_sizes, "measured", {"color": color, "width": 2}, marker) | {"showlegend": True},
        common
        | _line(law, ahead, "predicted", {"color": color, "width": 1.5, "dash": "dash"}, marker | {"opacity": 0.6})
        | {"showlegend": False},
    ]


def _line(law: Law, points: Sequence[CurveForecast], how: str, line: Figure, marker: Figure) -> Figure:
    named = [
        f"{law.regime}, {format_count(f.rows)} rows, {'measured' if f.rows <= law.line.rows[-1] else how}:"
        f" {format_score(f.score)} {format_interval(f.interval)}"
        for f in points
    ]
    return {
        "mode": "lines+markers",
        "name": escape_plotly(law.regime),
        "x": [f.rows for f in points],
        "y": [f.score for f in points],
        "text": [escape_plotly(text) for text in named],
        "line": line,
        "marker": marker,
    }


def _crossing(found: Crossover, a: Law, b: Law) -> Figure:
    """A cross with the interval of its place; where that is open, it goes on to the edge of what may be said."""
    assert found.rows is not None and found.interval is not None, "only what crosses is drawn"
    low = found.interval[0] or a.line.rows[0]
    high = found.interval[1] or MAX_EXTRAPOLATION * a.line.rows[-1]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [found.rows],
        "y": [(a.at(found.rows).score + b.at(found.rows).score) / 2],
        "text": [escape_plotly(found.statement.replace("`", ""))],
        "hoverinfo": "text",
        "showlegend": False,
        "marker": {"symbol": "x-thin", "size": 12, "line": {"width": 2.5, "color": "var(--ink)"}},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [max(0, high - found.rows)],
            "arrayminus": [max(0, found.rows - low)],
            "color": "var(--ink)",
            "thickness": 1.2,
            "width": 4,
        },
    }
