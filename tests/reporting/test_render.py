"""Render: does the page name the regime that the answer is about?"""

import re
from dataclasses import replace

import pytest

from tests.run_factory import make_comparison, make_curve_runs
from warmstart.advice.advise import advice_for
from warmstart.reporting.render import render


def test_a_leader_on_a_part_of_the_rows_stands_at_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own score, and not that of the best on all rows."""
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "window.Plotly = {};")
    laws = {"constant": (1.5, 0.0), "linear": (1.0, 0.1), "full": (0.9, 0.2), "scratch": (3.4, 0.4)}
    runs = make_curve_runs(laws, (100, 400, 1600))
    kept = [run for run in runs if run.regime in ("constant", "linear") or run.rows < 1600]
    numbers = list(range(len(runs[0].scores)))
    kept = [replace(run, predictions=dict.fromkeys(("row", "target", "prediction"), numbers)) for run in kept]
    comparison = make_comparison(kept)
    advice = advice_for(comparison)
    assert (advice.verdict, advice.winner) == ("undecided", "full")
    page = re.sub(r"<[^>]+>|\s+", " ", render(comparison, advice, examples=None, command="warmstart compare a.csv"))
    page = re.sub(r" +", " ", page)
    assert "ahead so far: full" in page
    assert f"Best {comparison.metric}" in page
    score = next(row.score for row in comparison.table if row.name == "full")
    assert f"{score:.3f}".rstrip("0") in page.split(f"Best {comparison.metric}")[1][:60]
    errors = page.split("Errors of each regime")[-1]
    assert errors.index("full 0.") < errors.index("linear 0."), "its mistakes come first"
