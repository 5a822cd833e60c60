"""Label positions: where are labels put so that they cover neither each other nor the markers?

Labels are placed one after the other, best regime first, at the freest of eight positions around their marker. Plotly
has no label placement, so widths are estimated.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from warmstart.reporting.entries import Entry

WIDE, NARROW = (820.0, 380.0), (270.0, 320.0)  # pixels between the axes, on a desk and on a telephone
LABEL_POSITIONS = (
    *("middle right", "middle left", "top center", "bottom center"),
    *("top right", "bottom right", "top left", "bottom left"),
)
LETTER = 7.5  # pixels, at 13 pixels' type

Box = tuple[float, float, float, float]  # left, top, right, bottom


def places(
    shown: Sequence[Entry],
    front: Sequence[Entry],
    span_x: tuple[float, float],
    span_y: tuple[float, float],
    inside: tuple[float, float],
    across: Callable[[Entry], float] = lambda entry: math.log10(entry.row.flops),
) -> dict[str, str]:
    """Plotly's `textposition` of each name, by the entry's key, in a plot of `inside` pixels between its axes.

    `across`: where a mark stands on the horizontal axis.
    """
    centers = {
        entry.key: (
            inside[0] * (across(entry) - span_x[0]) / (span_x[1] - span_x[0]),
            inside[1] * (span_y[1] - entry.row.score) / (span_y[1] - span_y[0]),
        )
        for entry in shown
    }
    taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in centers.values()]
    taken += [_bar(entry, centers[entry.key][0], span_y, inside[1]) for entry in shown]
    for here, there in pairwise(centers[entry.key] for entry in front):
        taken += [(here[0], here[1] - 2, there[0], here[1] + 2), _upright(there[0], here[1], there[1])]
    found: dict[str, str] = {}
    for entry in shown:
        boxes = {place: _box(centers[entry.key], place, LETTER * len(entry.name)) for place in LABEL_POSITIONS}
        place = min(
            LABEL_POSITIONS, key=lambda p: sum(_overlap(boxes[p], b) for b in taken) + _outside(boxes[p], inside)
        )
        found[entry.key] = place
        taken.append(boxes[place])
    return found


def _bar(entry: Entry, x: float, span_y: tuple[float, float], height: float) -> Box:
    low, high = (height * (span_y[1] - bound) / (span_y[1] - span_y[0]) for bound in entry.row.interval)
    return _upright(x, low, high)


def _upright(x: float, y: float, other: float) -> Box:
    return (x - 2, min(y, other), x + 2, max(y, other))


def _box(center: tuple[float, float], place: str, width: float) -> Box:
    vertical, horizontal = place.split()
    x = {"left": center[0] - 8 - width, "center": center[0] - width / 2, "right": center[0] + 8}[horizontal]
    y = {"top": center[1] - 24, "middle": center[1] - 8, "bottom": center[1] + 8}[vertical]
    return (x, y, x + width, y + 16)


def _overlap(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _outside(box: Box, inside: tuple[float, float]) -> float:
    width = box[2] - box[0]
    return (width * 16 - _overlap(box, (0, 0, *inside))) * 2
