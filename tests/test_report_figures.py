"""Figures of the report: names that can be read, numbers for people, curves with their bands."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from tests.report_samples import crossing, renamed, study
from warmstart.quantities import format_duration, format_flops, format_size
from warmstart.reporting import formatting
from warmstart.reporting.entries import entries_of
from warmstart.reporting.html_assets import _coded
from warmstart.reporting.label_positions import WIDE
from warmstart.reporting.learning_curve_plot import learning_curves
from warmstart.reporting.plots import score_against_compute


def test_names_of_marks_that_coincide_go_to_different_sides() -> None:
    runs = study(only=["full"]).runs
    comparison = study(runs=tuple(replace(run, regime=f"full-{i}") for i in range(4) for run in runs))
    figure = score_against_compute(entries_of(comparison), comparison)
    assert len(set(figure["data"][1]["textposition"])) == 4


def test_the_constant_does_not_stretch_the_axes() -> None:
    comparison = study()  # where it costs nothing; in real studies it costs a FLOP for each row
    made = [replace(run, cost=replace(run.cost, flops=140.0)) for run in comparison.runs if run.regime == "constant"]
    rest = [run for run in comparison.runs if run.regime != "constant"]
    figure = score_against_compute(entries_of(replace(comparison, runs=(*made, *rest))), comparison)
    assert not any("constant" in trace.get("text", ()) for trace in figure["data"])
    assert figure["layout"]["yaxis"]["range"][1] < 0.6 and figure["layout"]["xaxis"]["range"][0] > 5


def test_names_in_the_plot_do_not_lie_on_each_other() -> None:
    comparison = study()
    figure = score_against_compute(entries_of(comparison), comparison)
    low, high = figure["layout"]["xaxis"]["range"]
    bottom, top = figure["layout"]["yaxis"]["range"]
    boxes = []
    for trace in figure["data"][1:]:
        for x, y, name, place in zip(trace["x"], trace["y"], trace["text"], trace["textposition"], strict=True):
            across = WIDE[0] * (np.log10(x) - low) / (high - low)
            down = WIDE[1] * (top - y) / (top - bottom)
            left = {"left": across - 8 - 7 * len(name), "center": across - 3.5 * len(name), "right": across + 8}
            above = {"top": down - 22, "middle": down - 7, "bottom": down + 8}
            vertical, horizontal = place.split()
            boxes.append((left[horizontal], above[vertical], 7 * len(name), 14))
    for i, (x, y, width, height) in enumerate(boxes):
        for ox, oy, owidth, oheight in boxes[:i]:
            assert x + width <= ox or ox + owidth <= x or y + height <= oy or oy + oheight <= y


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (format_flops(2.13e15), "2.1 PFLOP"),
        (format_flops(0), "0 FLOP"),
        (format_duration(72), "1.2 min"),
        (format_duration(0.002), "under 0.1 s"),
        (format_size(340e6), "340 MB"),
        (format_size(None), "–"),
        (format_size(999_900), "1.0 MB"),
        (formatting.format_weights(22_713_216), "22.7 M"),
        (formatting.format_weights(4_097), "4,097"),
        (formatting.format_score(0.6118), "0.612"),
        (formatting.format_score(46.49), "46.49"),
        (formatting.format_score(float("nan")), "–"),
        (formatting.format_signed(-0.00035), "−0.0003"),
        (formatting.format_signed(0.0123), "+0.012"),
        (formatting.format_interval((0.594, 0.629)), "[0.594, 0.629]"),
        (formatting.format_interval((float("nan"), 1.0)), ""),
        (formatting.format_probability(0.9996), "over 99\u00a0%"),
        (formatting.format_probability(0.0004), "under 1\u00a0%"),
        (formatting.format_rate(3e-5), "3e-5"),
        (formatting.format_settings({"lr": 3e-3, "width": 512, "dropout": 0.2}), "lr 3e-3, width 512, dropout 0.2"),
        (formatting.format_factor(0.30103, "log10(price)"), "2.00"),
        (formatting.format_factor(0.3, "price"), ""),
        (formatting.format_quantity(12345.6), "12,346"),
        (formatting.format_quantity(["a", "b"]), "a, b"),
    ],
)
def test_numbers_for_people(written: str, expected: str) -> None:
    assert written == expected


def test_curves_have_bands_numbers_to_point_at_and_the_crossing() -> None:
    comparison = crossing()
    figure = learning_curves(entries_of(comparison), comparison)
    assert figure
    bands = [trace for trace in figure["data"] if trace.get("fill") == "toself"]
    lines = [trace for trace in figure["data"] if trace.get("showlegend")]
    assert len(bands) == 3 and {line["name"] for line in lines} == {"scratch", "full", "lora"}
    for band, line in zip(bands, lines, strict=True):
        half = len(band["x"]) // 2
        upper = dict(zip(band["x"][:half], band["y"][:half], strict=True))
        lower = dict(zip(band["x"][half:], band["y"][half:], strict=True))
        assert line["x"] == [100, 400, 1600] and max(upper) == 16_000
        for rows, score in zip(line["x"], line["y"], strict=True):
            assert lower[rows] < score < upper[rows]
    texts = [text for trace in figure["data"] for text in trace.get("text", [])]
    assert any(re.fullmatch(r"full, 400 rows, measured: 0\.2\d\d \[.*\]", text) for text in texts)
    assert any(re.fullmatch(r"full, 16,000 rows, predicted: 0\.1\d\d \[.*\]", text) for text in texts)
    crosses = [trace for trace in figure["data"] if "error_x" in trace]
    assert len(crosses) == 1 and all("overtakes" in trace["text"][0] for trace in crosses)
    assert all(100 < cross["x"][0] < 600 and cross["error_x"]["array"][0] > 0 for cross in crosses)
    json.dumps(figure, allow_nan=False)


def test_names_in_the_curves_are_only_text() -> None:
    comparison = renamed(crossing(), {"lora": "<b>bold</b>"})
    figure = learning_curves(entries_of(comparison), comparison)
    assert "<b>" not in json.dumps(figure) and "&lt;b&gt;" in json.dumps(figure)


def test_no_word_of_a_command_is_broken_at_its_hyphens() -> None:
    assert str(_coded("use `full`: `warmstart fit --lr 1`")) == (
        "use <code>full</code>: <code><span>warmstart</span> <span>fit</span> <span>--lr</span> <span>1</span></code>"
    )
