"""Draw: the learning curves of all problems as one picture, written from the results file and nothing else."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

PICTURE = Path(__file__).parent.parent.parent / "docs" / "evidence.svg"
COLUMNS, WIDTH, HEIGHT, GAP, TOP = 4, 220, 150, 30, 110
STYLES = {  # color and dashes of each regime: from scratch in oranges, fine-tuned in blues, the rest in between
    "constant": ("#9a9a9a", "2 3"),
    "linear": ("#444444", ""),
    "boosted": ("#2b8a3e", ""),
    "embedded": ("#7b2d9e", ""),
    "frozen": ("#b37fd0", "5 3"),
    "full": ("#1c5fd1", ""),
    "lora": ("#5aa2f0", "5 3"),
    "scratch": ("#e8590c", "5 3"),
    "scratch-dnn": ("#e8590c", ""),
    "scratch-cnn": ("#e8590c", "2 2"),
}


def drawing(problems: Sequence[Mapping[str, Any]]) -> str:
    """The picture: one panel for each problem, its score over the number of training rows."""
    lines = math.ceil(len(problems) / COLUMNS)
    width = COLUMNS * (WIDTH + GAP) + GAP
    height = TOP + lines * (HEIGHT + 2 * GAP)
    panels = [
        _panel(each, GAP + i % COLUMNS * (WIDTH + GAP), TOP + i // COLUMNS * (HEIGHT + 2 * GAP))
        for i, each in enumerate(problems)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="10" role="img" aria-label="Learning curves of {len(problems)} problems">\n'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n{_legend(problems)}\n'
        + "\n".join(panels)
        + "\n</svg>\n"
    )


def _legend(problems: Sequence[Mapping[str, Any]]) -> str:
    names = [name for name in STYLES if any(name in each["curves"] for each in problems)]
    parts = [
        f'<text x="{GAP}" y="20" font-size="13" fill="#222">Score on test rows (better upwards) by training rows (on a '
        "logarithmic scale); means of two or three seeds</text>"
    ]
    for i, name in enumerate(names):
        x, y = GAP + i % 5 * 180, 40 + i // 5 * 18
        parts.append(f'<path d="M{x} {y}h28" {_stroke(name)}/><text x="{x + 34}" y="{y + 4}" fill="#222">{name}</text>')
    return "\n".join(parts)


def _stroke(name: str) -> str:
    color, dashes = STYLES[name]
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'fill="none" stroke="{color}" stroke-width="1.6"{dashed}'


def _panel(problem: Mapping[str, Any], left: float, top: float) -> str:
    curves = problem["curves"]
    rows = sorted({point[0] for curve in curves.values() for point in curve})
    # the constant is shown where it is in sight, but does not squeeze the others
    shown = [score for name, curve in curves.items() if name != "constant" for _, score in curve]
    low, high = min(shown), max(shown)
    room = 0.05 * (high - low) or 0.05 * max(abs(high), 1e-9)
    low, high = low - room, high + room

    def place(point: Sequence[float]) -> str:
        x = left + WIDTH * math.log(point[0] / rows[0]) / max(math.log(rows[-1] / rows[0]), 1e-9)
        share = (point[1] - low) / (high - low)
        return f"{x:.1f} {top + HEIGHT * ((1 - share) if problem['higher_is_better'] else share):.1f}"

    parts = [
        f'<text x="{left}" y="{top - 18}" fill="#222" font-weight="bold">{escape(problem["name"])}</text>',
        f'<text x="{left}" y="{top - 6}" fill="#555">{escape(problem["words"])}</text>',
        f'<rect x="{left}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#ccc"/>',
    ]
    ends = (high, low) if problem["higher_is_better"] else (low, high)
    for score, y in zip(ends, (top + 10, top + HEIGHT - 4), strict=True):
        parts.append(f'<text x="{left + 3}" y="{y}" fill="#888">{score:.3g}</text>')
    for size, x, anchor in ((rows[0], left, "start"), (rows[-1], left + WIDTH, "end")):
        parts.append(f'<text x="{x}" y="{top + HEIGHT + 12}" fill="#888" text-anchor="{anchor}">{size:,}</text>')
    for name in (name for name in STYLES if name in curves):
        seen = [point for point in curves[name] if low <= point[1] <= high]
        if len(seen) == 1 or (name == "constant" and len(seen) < len(curves[name])):
            continue
        if seen:
            parts.append(f'<path d="M{"L".join(map(place, seen))}" {_stroke(name)}/>')
    return "\n".join(parts)
