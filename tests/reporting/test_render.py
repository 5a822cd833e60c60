"""Render: does the page name the regime that the answer is about?"""

import re
from dataclasses import replace

import numpy as np
import pytest

from tests.run_factory import make_comparison, make_curve_runs, make_run, make_runs, make_scores
from warmstart.advice.advise import advice_for
from warmstart.reporting.formatting import verdict_sentence
from warmstart.reporting.render import render
from warmstart.results.comparison import Comparison


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


def page_of(comparison: Comparison) -> str:
    """The words of a report without mistakes."""
    row = {"row": [*range(len(comparison.runs[0].scores))]}
    numbers = row | {"target": row["row"], "prediction": row["row"]}
    comparison = replace(comparison, runs=tuple(replace(run, predictions=numbers) for run in comparison.runs))
    page = render(comparison, advice_for(comparison), examples=None, command="warmstart compare a.csv")
    return re.sub(r" +", " ", re.sub(r"<[^>]+>|\s+", " ", page))


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "window.Plotly = {};")


@pytest.mark.parametrize(("metric", "said"), [("mean absolute error", True), ("R2", False)])
def test_only_an_error_on_a_log_scale_is_a_factor(metric: str, said: bool, no_plots: None) -> None:
    made = make_runs({"constant": 0.9, "full": 0.3}, higher_is_better=False)
    comparison = make_comparison([replace(run, metric=metric) for run in made])
    assert ("on average off by a factor of " in page_of(comparison)) == said


def test_who_is_ahead_is_not_the_ensemble_that_cannot_be_chosen(no_plots: None) -> None:
    """As in the terminal: its gain is too small for what it costs, though its score is the best."""
    random = np.random.default_rng(0)
    level = random.normal(0.6, 0.4, 200)
    made = [
        make_run(name, make_scores(level + gain + random.normal(0, 0.2, 200)), seed, flops=flops)
        for name, gain, flops in (("linear", 0.004, 1e6), ("full", 0.0, 1e12), ("ensemble", 0.02, 2e12))
        for seed in range(3)
    ]
    made += [make_run("constant", make_scores(level - 0.4), seed) for seed in range(3)]
    comparison = make_comparison(made)
    advice = advice_for(comparison)
    assert comparison.table[0].name == "ensemble" and advice.verdict == "undecided"
    assert f"ahead so far: {advice.winner} " in page_of(comparison) and advice.winner != "ensemble"


def test_a_probable_verdict_begins_with_a_small_letter() -> None:
    assert verdict_sentence("a linear model is enough", 0.5) == "Probably a linear model is enough."
    assert verdict_sentence("TF-IDF with frozen features is enough", 0.5).startswith("Probably TF-IDF")


def test_without_a_gain_that_matters_none_of_0_percent_is_named(no_plots: None) -> None:
    made = make_runs({"constant": 0.2, "linear": 0.6, "full": 0.6}, test_rows=300)
    comparison = make_comparison(made, min_effect=0.0)
    advice = advice_for(comparison)
    assert advice.verdict == "undecided" and "may be zero. " in f"{advice.reason} "
    assert "0 % of the best" not in page_of(comparison) and "that matters" not in page_of(comparison)


def test_the_constant_alone_is_no_leader(no_plots: None) -> None:
    comparison = make_comparison(make_runs({"constant": 0.2}))
    advice = advice_for(comparison)
    assert advice.reason == "Undecided: only the constant was run, so there is no regime to choose from."
    assert advice.next_step == "Compare it with others, such as --regimes constant,linear,scratch-dnn."
    assert "ahead so far" not in page_of(comparison)


def test_the_chosen_regime_stands_at_the_top_where_another_scores_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ensemble that is not clearly better than its best member is not chosen."""
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "window.Plotly = {};")
    runs = make_curve_runs({"constant": (1.5, 0.0), "full": (0.9, 0.2), "linear": (1.0, 0.1)}, (1600,))
    numbers = list(range(len(runs[0].scores)))
    comparison = make_comparison(
        [replace(run, predictions=dict.fromkeys(("row", "target", "prediction"), numbers)) for run in runs]
    )
    best, second = comparison.table[:2]
    advice = replace(advice_for(comparison), verdict="fine-tune", choice=second.name)
    tile = render(comparison, advice, examples=None, command="x").partition('<dl class="figures">')[2]
    tile = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", tile.partition("</div>")[0])).strip()
    score = f"{second.score:.3f}".rstrip("0")
    assert tile.startswith(f"{comparison.metric.capitalize()} of {comparison.units} {score}"), tile
    assert f"{second.name}, chosen" in tile and f"for {best.name}, the best" in tile, tile
    assert "Best " not in tile


def test_what_a_narrow_window_folds_away_is_in_another_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "window.Plotly = {};")
    runs = make_curve_runs({"constant": (1.5, 0.0), "linear": (1.0, 0.1)}, (1600,))
    numbers = list(range(len(runs[0].scores)))
    comparison = make_comparison(
        [replace(run, predictions=dict.fromkeys(("row", "target", "prediction"), numbers)) for run in runs]
    )
    page = render(comparison, advice_for(comparison), examples=None, command="x")
    table = page.partition('<table class="wide every">')[2].partition("</table>")[0]
    row = table.partition("<tbody>")[2].partition("</tr>")[0]
    wide = [re.sub(r"<[^>]+>", " ", cell).split() for cell in re.findall(r'<td class="unfolded">(.*?)</td>', row)]
    narrow = re.sub(r"<[^>]+>", " ", row.partition('<span class="folded">')[2].partition("</span>")[0]).split()
    assert len(wide) == table.count('<th scope="col" class="unfolded">') == 2
    assert narrow == ["memory", *wide[0], "disk", *wide[1]]
    rule = page.partition("@media screen and (max-width: 1179px) {")[2].partition("\n}")[0]
    assert ".unfolded { display: none; }" in rule and ".folded { display: inline; }" in rule
