"""Plots: what does each plot of the report show?"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from warmstart.quantities import format_flops
from warmstart.reporting import plot_style
from warmstart.reporting.entries import Entry, on_all_rows, taken_trial
from warmstart.reporting.forgetting import ForgettingRow, forgetting_measures
from warmstart.reporting.formatting import (
    FAMILIES,
    family_name,
    format_interval,
    format_probability,
    format_quantity,
    format_rate,
    format_score,
    format_settings,
)
from warmstart.reporting.label_positions import NARROW, WIDE, places
from warmstart.reporting.plot_style import Figure, escape_plotly, finite, thin
from warmstart.results.comparison import CONSTANT, Comparison
from warmstart.results.record import Evaluation, Run

POINTS = 400  # of a scatter plot of predictions


def score_against_compute(entries: Sequence[Entry], comparison: Comparison, partial: Sequence[Entry] = ()) -> Figure:
    """Score with its interval over compute on a log scale, the line of the best score at each cost, what is free.

    Regimes of `partial` were run on a part of the rows: open markers show what is predicted for all rows.

    `constant` is a line, and only where it is near: far from the others it would press them together.
    """
    shown = [entry for entry in entries if not entry.failed and not _free(entry)]
    ahead = [on_all_rows(entry, comparison) for entry in partial if entry.name in comparison.predictions]
    span_x, span_y = _log_range([e.row.flops for e in (*shown, *ahead)]), _score_range([*shown, *ahead], comparison)
    front = _front(shown, comparison.higher_is_better)
    wide, narrow = (places(shown, front, span_x, span_y, inside) for inside in (WIDE, NARROW))
    data = [_pareto(front)]
    for family in FAMILIES:
        members = [entry for entry in shown if entry.row.family == family]
        if members:
            data.append(_points(members, family, wide, narrow))
    for family in dict.fromkeys(entry.row.family for entry in ahead):
        data.append(_predicted([entry for entry in ahead if entry.row.family == family], family))
    layout = plot_style.layout(
        xaxis=plot_style.axis(
            "compute of one run (FLOP)", type="log", range=list(span_x), exponentformat="power", dtick=1
        ),
        yaxis=plot_style.axis("", range=list(span_y)),
        height=460,
    )
    layout |= {"shapes": [], "annotations": [], "legend": plot_style.legend(), "showlegend": True}
    for value, label in _levels(entries, comparison):
        if span_y[0] < value < span_y[1]:
            _level(layout, value, label)
    return {"data": data, "layout": layout}


def curves(entry: Entry, span: tuple[float, float] | None) -> Figure:
    """Training and validation loss over the steps, the gap between them marked where the weights were kept."""
    color = plot_style.color(entry.row.family)
    data: list[Figure] = []
    for run in sorted(entry.runs, key=lambda run: run is entry.shown):
        data += _curve(run, color, faint=run is not entry.shown)
    axis = plot_style.axis("", range=list(span)) if span else plot_style.axis("")
    layout = plot_style.layout(xaxis=plot_style.axis("step", rangemode="tozero"), yaxis=axis, height=250)
    kept = _kept(entry.shown) if entry.shown else None
    if kept is not None:
        _mark_gap(layout, kept)
    return {"data": data, "layout": layout}


def loss_span(entries: Iterable[Entry]) -> tuple[float, float] | None:
    """One loss axis for all curves, so that they can be compared; the few highest losses may leave it."""
    losses = sorted(
        loss
        for entry in entries
        for run in entry.usable
        for point in run.points
        for loss in (point.train_loss, point.val_loss)
        if math.isfinite(loss)
    )
    if not losses:
        return None
    low, high = losses[0], losses[math.ceil(0.99 * (len(losses) - 1))]
    margin = 0.08 * (high - low) or 0.1
    return low - margin, high + margin


def rate_search(entry: Entry, span: tuple[float, float] | None, higher_is_better: bool) -> Figure:
    """Validation score of each trial over its learning rate; the rate taken is filled, a failed trial a cross."""
    run = entry.shown
    trials = [t for t in run.trials if isinstance(t.settings.get("lr"), int | float)] if run else []
    worst = (0.0, 1.0) if span is None else span if higher_is_better else span[::-1]
    color = plot_style.color(entry.row.family)
    taken = taken_trial(run) if run else None
    symbols = ["x-thin" if t.val is None else "circle" if t is taken else "circle-open" for t in trials]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [t.settings["lr"] for t in trials],
        "y": [worst[0] if t.val is None else finite(t.val) for t in trials],
        "text": [
            escape_plotly(f"{format_settings(t.settings)}: {'failed' if t.val is None else format_score(t.val)}")
            for t in trials
        ],
        "hoverinfo": "text",
        "cliponaxis": False,
        "marker": {"color": color, "size": 10, "symbol": symbols, "line": {"width": 2, "color": color}},
    }
    low, high = _log_range([float(t.settings["lr"]) for t in trials], margin=0.3)
    decades = _decades(low, high)
    axis = plot_style.axis("", range=list(span)) if span else plot_style.axis("")
    ticks = {"tickmode": "array", "tickvals": decades, "ticktext": [format_rate(v) for v in decades]}
    return {
        "data": [trace],
        "layout": plot_style.layout(
            xaxis=plot_style.axis("learning rate", type="log", range=[low, high], **ticks), yaxis=axis, height=220
        ),
    }


def trial_span(entries: Iterable[Entry]) -> tuple[float, float] | None:
    """One score axis for the searches of all regimes."""
    scores = [t.val for e in entries if e.shown for t in e.shown.trials if t.val is not None and math.isfinite(t.val)]
    if not scores:
        return None
    margin = 0.08 * (max(scores) - min(scores)) or 0.05
    return min(scores) - margin, max(scores) + margin


@dataclass(frozen=True)
class Span:
    """From where to where an axis goes; powers of ten where it is a log axis."""

    low: float
    high: float
    log: bool


def value_span(entries: Iterable[Entry], units: str) -> Span:
    """One axis for the targets and predictions of all regimes: log where the task was learned on a log scale."""
    sampled = [_sample(entry.shown) for entry in entries if entry.shown and not entry.failed]
    values = [value for rows in sampled for _, *pair in rows for value in pair] or [1.0]
    log = units.startswith("log") and min(values) > 0
    low, high = (math.log10(min(values)), math.log10(max(values))) if log else (min(values), max(values))
    margin = 0.04 * (high - low) or 0.5
    return Span(low - margin, high + margin, log)


def predicted_against_true(entry: Entry, span: Span) -> Figure:
    """Each test row's prediction over its true value."""
    rows = _sample(entry.shown) if entry.shown else []
    ends = [span.low, span.high]
    diagonal = [10**end for end in ends] if span.log else ends
    scale = {"type": "log", "dtick": 1} if span.log else {"type": "linear"}
    axis = {"range": ends, "exponentformat": "SI"} | scale
    color, symbol = plot_style.color(entry.row.family), plot_style.SYMBOLS.get(entry.row.family)
    dots = {
        "type": "scatter",
        "mode": "markers",
        "x": [target for _, target, _ in rows],
        "y": [prediction for *_, prediction in rows],
        "text": [f"row {n}: {format_quantity(t)}, predicted {format_quantity(p)}" for n, t, p in rows],
        "hoverinfo": "text",
        "marker": {"color": color, "size": 5, "opacity": 0.45, "symbol": symbol},
    }
    line = {"type": "scatter", "mode": "lines", "x": diagonal, "y": diagonal, "hoverinfo": "skip", "line": thin()}
    layout = plot_style.layout(
        xaxis=plot_style.axis("true", **axis), yaxis=plot_style.axis("predicted", **axis), height=280
    )
    return {"data": [line, dots], "layout": layout}


def score_against_forgetting(shown: Sequence[ForgettingRow], metric: str) -> Figure:
    """One mark a regime over the first measure there is; a line where its weights were mixed with the base's.

    Where these are scored by another metric than the tests, they have a plot of their own: `frontiers`.
    """
    measure = forgetting_measures(shown)[0]
    at = {each.entry.key: value for each in shown if (value := each.value(measure)) is not None}
    members = [each for each in shown if each.entry.key in at]
    entries = [each.entry for each in members]
    lines = [each for each in members if each.scored_by == metric and each.frontier_measure == measure]
    swept = [point for each in lines for point in each.forgotten.frontier]
    span_x = _span([0.0, *at.values(), *(point["forgotten"] for point in swept)])
    scores = [value for entry in entries for value in (entry.row.score, *entry.row.interval)]
    span_y = _span([*scores, *(point["score"] for point in swept)])
    wide, narrow = (places(entries, [], span_x, span_y, inside, lambda e: at[e.key]) for inside in (WIDE, NARROW))
    marks = _points(entries, "fine-tuned", wide, narrow) | {
        "x": [at[entry.key] for entry in entries],
        "hovertext": [
            escape_plotly(
                f"{each.entry.name}: {format_score(each.entry.row.score)} {format_interval(each.entry.row.interval)}, "
                f"{measure.heading.lower()} {format_score(at[each.entry.key])} "
                f"{format_interval(each.interval(measure))}"
            )
            for each in members
        ],
    }
    layout = plot_style.layout(
        xaxis=plot_style.axis(f"{measure.heading.lower()}, less is better", range=list(span_x)),
        yaxis=plot_style.axis("", range=list(span_y)),
        height=400,
    )
    return {"data": [*map(_frontier, lines), marks], "layout": layout}


def frontiers(shown: Sequence[ForgettingRow]) -> Figure:
    """A line from the base's weights to the tuned ones for each regime that was mixed; the mix taken is large."""
    lines = [each for each in shown if each.scored_by]
    named = [_frontier(each) | {"name": escape_plotly(each.entry.name)} for each in lines]
    for each, line in zip(lines, named, strict=True):
        taken = each.forgotten.matched or {}
        mixes = [point["mix"] for point in each.forgotten.frontier]
        nearest = min(mixes, key=lambda mix: abs(mix - taken.get("mix", 1.0)))
        line["marker"] = line["marker"] | {"size": [11 if mix == nearest else 5 for mix in mixes]}
        line["mode"] = "lines+markers+text"
        line["text"] = [escape_plotly(each.entry.name) if mix == mixes[-1] else "" for mix in mixes]
        line["textposition"] = "top left"
        line["textfont"] = {"color": line["line"]["color"], "size": 13}
    heading = lines[0].frontier_measure.heading.lower()
    layout = plot_style.layout(
        xaxis=plot_style.axis(f"{heading}, less is better", rangemode="tozero"),
        yaxis=plot_style.axis(""),
        height=400,
    )
    return {"data": named, "layout": layout}


def _points(members: Sequence[Entry], family: str, wide: Mapping[str, str], narrow: Mapping[str, str]) -> Figure:
    rows = [entry.row for entry in members]
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": family_name(family),
        "x": [row.flops for row in rows],
        "y": [row.score for row in rows],
        "text": [escape_plotly(row.name) for row in rows],
        "textposition": [wide[entry.key] for entry in members],
        "meta": {"narrow": [narrow[entry.key] for entry in members]},
        "textfont": {"color": plot_style.color(family), "size": 13},
        "hovertext": [
            escape_plotly(
                f"{row.name}: {format_score(row.score)} {format_interval(row.interval)}, {format_flops(row.flops)}"
            )
            for row in rows
        ],
        "hoverinfo": "text",
        "cliponaxis": False,
        "marker": {"color": plot_style.color(family), "size": 11, "symbol": plot_style.SYMBOLS[family]},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [finite(row.interval.high - row.score) for row in rows],
            "arrayminus": [finite(row.score - row.interval.low) for row in rows],
            "color": plot_style.color(family),
            "thickness": 1.2,
            "width": 0,
        },
    }


def _predicted(members: Sequence[Entry], family: str) -> Figure:
    """Open markers, fainter than what was measured."""
    made = _points(members, family, *[dict.fromkeys([entry.key for entry in members], "top center")] * 2)
    marker = made["marker"] | {"symbol": f"{made['marker']['symbol']}-open"}
    said = [f"predicted for all rows: {text}" for text in made["hovertext"]]
    return made | {"name": f"{made['name']}, predicted", "opacity": 0.65, "marker": marker, "hovertext": said}


def _frontier(each: ForgettingRow) -> Figure:
    """From the base's weights to the tuned ones."""
    points, color = each.forgotten.frontier, plot_style.color(each.entry.row.family)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [point["forgotten"] for point in points],
        "y": [point["score"] for point in points],
        "hovertext": [
            escape_plotly(
                f"{each.entry.name}, {format_probability(point['mix'])} of the way: {format_score(point['score'])}"
            )
            for point in points
        ],
        "hoverinfo": "text",
        "line": {"color": color, "width": 1.5, "dash": "dot"},
        "marker": {"color": color, "size": 5},
    }


def _front(shown: Sequence[Entry], higher_is_better: bool) -> list[Entry]:
    """The regimes that are better than all that cost less."""
    front: list[Entry] = []
    for entry in sorted(shown, key=lambda e: (e.row.flops, -e.row.score if higher_is_better else e.row.score)):
        gain = entry.row.score - front[-1].row.score if front else math.inf
        if not front or (gain > 0 if higher_is_better else gain < 0):
            front.append(entry)
    return front


def _pareto(front: Sequence[Entry]) -> Figure:
    """The best score that each amount of compute reaches: a step wherever a dearer regime is better."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "best for its compute",
        "x": [entry.row.flops for entry in front],
        "y": [entry.row.score for entry in front],
        "line": {"shape": "hv", "color": "var(--muted)", "width": 1.5, "dash": "dot"},
        "hoverinfo": "skip",
    }


def _free(entry: Entry) -> bool:
    """Whether it learns nothing: a FLOP for each row is no price."""
    return entry.row.flops <= 0 or entry.name == CONSTANT


def _levels(entries: Sequence[Entry], comparison: Comparison) -> list[tuple[float, str]]:
    free = [(entry.row.score, escape_plotly(entry.name)) for entry in entries if not entry.failed and _free(entry)]
    floor = comparison.noise_floor
    return free + ([(floor, "best reachable")] if floor is not None else [])


def _level(layout: Figure, value: float, label: str) -> None:
    """A horizontal line across the plot with its name at the left end."""
    layout["shapes"].append(
        {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": value,
            "y1": value,
            "line": thin(),
            "layer": "below",
        }
    )
    layout["annotations"].append(
        {"xref": "paper", "x": 0, "xanchor": "left", "y": value, "yanchor": "bottom", "text": label, "showarrow": False}
        | {"font": {"size": 12, "color": "var(--muted)"}}
    )


def _curve(run: Run, color: str, *, faint: bool) -> list[Figure]:
    steps = [point.step for point in run.points]
    common = {"type": "scatter", "mode": "lines", "x": steps, "opacity": 0.3 if faint else 1.0}
    if faint:
        common["hoverinfo"] = "skip"
    train_line, val_line = {"color": color, "dash": "dot", "width": 1.6}, {"color": color, "width": 2.2}
    train = {"name": "training", "y": [finite(p.train_loss) for p in run.points], "line": train_line}
    val = {"name": "validation", "y": [finite(p.val_loss) for p in run.points], "line": val_line}
    return [common | train, common | val]


def _kept(run: Run) -> Evaluation | None:
    """The look at the model nearest to the step whose weights were kept."""
    points = [p for p in run.points if math.isfinite(p.train_loss) and math.isfinite(p.val_loss)]
    return min(points, key=lambda point: abs(point.step - run.best_step), default=None)


def _mark_gap(layout: Figure, kept: Evaluation) -> None:
    gap = kept.val_loss - kept.train_loss
    upright = {"type": "line", "x0": kept.step, "x1": kept.step}
    bar = {"y0": kept.train_loss, "y1": kept.val_loss, "line": {"color": "var(--ink)", "width": 3}}
    layout["shapes"] = [upright | {"yref": "paper", "y0": 0, "y1": 1, "line": thin(), "layer": "below"}]
    if gap > 0:
        layout["shapes"].append(upright | bar)
    at_the_top = {"yref": "paper", "y": 1, "yanchor": "top", "xanchor": "right", "xshift": -4}
    text = {
        "text": f"gap {format_score(gap)}" if gap > 0 else "no gap",
        "font": {"size": 12, "color": "var(--ink)"},
    }
    layout["annotations"] = [{"x": kept.step, "showarrow": False} | at_the_top | text]


def _sample(run: Run) -> list[tuple[int, float, float]]:
    """Row number, target and prediction of at most `POINTS` test rows, evenly taken, where both are numbers."""
    columns = run.predictions
    rows = list(zip(columns.get("row", []), columns.get("target", []), columns.get("prediction", []), strict=True))
    finite = [(int(n), float(t), float(p)) for n, t, p in rows if math.isfinite(t) and math.isfinite(p)]
    return finite[:: math.ceil(len(finite) / POINTS)] if finite else []


def _score_range(shown: Sequence[Entry], comparison: Comparison) -> tuple[float, float]:
    values = [v for e in shown for v in (e.row.score, *e.row.interval) if math.isfinite(v)]
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    if comparison.noise_floor is not None and low - 0.6 * (high - low) < comparison.noise_floor < high:
        low = min(low, comparison.noise_floor)
    margin = 0.1 * (high - low) or 0.1
    return low - margin, high + margin


def _span(values: Sequence[float]) -> tuple[float, float]:
    finite = [value for value in values if math.isfinite(value)]
    margin = 0.1 * (max(finite) - min(finite)) or 0.1
    return min(finite) - margin, max(finite) + margin


def _log_range(values: Sequence[float], margin: float = 0.12) -> tuple[float, float]:
    logs = [math.log10(value) for value in values if value > 0] or [0.0]
    around = margin * (max(logs) - min(logs)) or 0.5
    return min(logs) - around, max(logs) + around


def _decades(low: float, high: float) -> list[float]:
    """1, 3, 10, 30 ... between two powers of ten."""
    values = [digit * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for digit in (1, 3)]
    return [value for value in values if low <= math.log10(value) <= high]
