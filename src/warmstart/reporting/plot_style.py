"""Plot style: what do all plots have in common?

Figures are plain dictionaries as plotly.js reads them. A color is written `var(--name)`: the page's script replaces it
by the style sheet's value, so that a plot follows the reader's light or dark setting.
"""

import html
import math
from typing import Any

from warmstart.reporting.formatting import FAMILIES

Figure = dict[str, Any]  # JSON

SYMBOLS = {"baseline": "square", "scratch": "diamond", "fine-tuned": "circle", "ensemble": "hexagon"}
SYMBOLS |= {"previous": "cross", "continued": "star"}


def escape_plotly(text: str) -> str:
    """Text that plotly shows as it is: it reads a subset of HTML in labels and hover boxes."""
    return html.escape(text, quote=False)


def layout(*, xaxis: Figure, yaxis: Figure, height: int) -> Figure:
    """A plot without a mode bar, on the page's own ground, `height` pixels high."""
    return {
        "height": height,
        "margin": {"l": 58, "r": 14, "t": 12, "b": 44},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "var(--sans)", "size": 12, "color": "var(--muted)"},
        "hoverlabel": {"bgcolor": "var(--card)", "bordercolor": "var(--line)", "font": {"color": "var(--ink)"}},
        "dragmode": False,
        "showlegend": False,
        "xaxis": xaxis,
        "yaxis": yaxis,
    }


def axis(title: str, **more: Any) -> Figure:
    """An axis; `more` is what plotly calls its attributes."""
    return {
        "title": {"text": escape_plotly(title), "standoff": 8},
        "gridcolor": "var(--line)",
        "linecolor": "var(--line)",
        "zeroline": False,
        "fixedrange": True,
        "automargin": True,
    } | more


def legend() -> Figure:
    """Above the plot, from the left."""
    return {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"color": "var(--ink)"}}


def thin() -> Figure:
    """A line that is only there to be read off."""
    return {"color": "var(--muted)", "width": 1, "dash": "dash"}


def color(family: str) -> str:
    """Of a family of regimes."""
    return f"var(--{family})" if family in FAMILIES else "var(--baseline)"


def finite(number: float) -> float | None:
    """JSON knows no infinity; plotly leaves out what is null."""
    return number if math.isfinite(number) else None
