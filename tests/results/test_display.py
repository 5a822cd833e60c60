"""Are results shown as tables, the verdict first, whatever is in their names, with pandas and without?"""

import importlib.util
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest

from tests.run_factory import make_comparison, make_run, make_runs
from warmstart.advice.advise import Advice, advice_for
from warmstart.data.rows.check import CheckResult, find_problems
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import ColumnChoices
from warmstart.data.tables.in_memory import table_of
from warmstart.errors import MissingError
from warmstart.planning.forecast import PlanResult, RegimeForecast
from warmstart.results.display import MAX_LINES, Display, Tabular, display_as_html, display_as_text
from warmstart.results.race_outcome import RaceForecast, RaceOutcome
from warmstart.results.record import Interval
from warmstart.study.study import Study

HOSTILE = '<img src=x onerror="alert(1)">&\'\n\x1b[31m\u202ered'
FORECAST = RegimeForecast("full", 22_000_000, 22_000_000, 1e15, 8 * 10**9, 7200.0, 10**8, 1.5, False, "use lora")


def checked(column: str = "title") -> CheckResult:
    table = table_of(
        {column: [f"a thing, number {i}" for i in range(200)], "price": [float(i + 1) for i in range(200)]}
    )
    return find_problems(table, infer_schema(table, ColumnChoices("price", (column,))))


def study(name: str = "full", raced: RaceOutcome | None = None) -> Study:
    comparison = make_comparison(make_runs({"constant": 0.3, "linear": 0.5, name: 0.7}, test_rows=200))
    advice = Advice(name, "fine-tune", 0.99, f"`{name}` is best.", (), (), "Use it.", {}, {})
    return Study(comparison, advice, Path("study"), raced)


def race(name: str = "full") -> RaceOutcome:
    outlook = RaceForecast(name, "fine-tuned", 500, 0.9, 0.712, Interval(0.70, 0.72), 60.0)
    return RaceOutcome(4000, name, (), 0.9, True, (outlook,), 1.0, 2.0, 20.0, 1e12, None, None, None)


def shown(name: str = "full") -> list[Tabular]:
    run = replace(make_run(name, np.ones((9, 2))), metrics={"macro F1": 0.5}, caveats=(f"{name} stopped",))
    plan = PlanResult((replace(FORECAST, regime=name, advice=name),), name, None, (name,))
    return [study(name).comparison, study(name), study(name, race(name)), run, plan, checked(name.strip())]


class Tags(HTMLParser):
    """The tags of a page, the attributes that they have, and how many are open at its end."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("at", range(6))
def test_no_name_breaks_out_of_the_html_or_the_line(at: int) -> None:
    result = shown(HOSTILE)[at]
    page, text = result._repr_html_(), repr(result)
    found = Tags(page)
    assert found.open == [] and found.tags <= {"div", "p", "strong", "table", "thead", "tbody", "tr", "td", "th"}
    assert found.attributes == {"style"} and "&lt;img" in page
    for said in (page, text):
        assert "\x1b" not in said and "\u202e" not in said and "\\x1b[31m" in said


@pytest.mark.parametrize("at", range(6))
def test_the_verdict_comes_first_and_a_table_follows(at: int) -> None:
    result = shown()[at]
    display = result._display()
    page, text = result._repr_html_(), repr(result)
    assert text.splitlines()[0] == display.headline and max(map(len, text.splitlines())) < 200
    assert page.index("<strong>") < page.index("<table>") if display.columns else "<table>" not in page
    assert page.count("<tr>") == (len(display.lines) + 1 if display.columns else 0)


def test_what_is_said_first() -> None:
    comparison, done, raced, run, plan, found = (each._display().headline for each in shown())
    assert comparison == "accuracy (higher is better) on 200 test rows"
    assert done == raced == "fine-tune: `full` is best."
    assert run == "full: accuracy 1.000"
    assert plan == "2 h in total on full; does not fit in memory: full"
    assert found.startswith("200 rows, ready to train; task: regression of 'price' from 'full'")


def test_a_verdict_that_the_reason_begins_with_is_not_said_twice() -> None:
    made = make_runs({"constant": 0.2, "embedded": 0.75, "linear": 0.5, "full": 0.5}, flops={"embedded": 1e9})
    comparison = make_comparison(made)
    headline = Study(comparison, advice_for(comparison), Path("study"))._display().headline
    assert headline.startswith("TF-IDF with frozen features is enough: `embedded` scores")


def test_a_comparison_is_a_table_best_first() -> None:
    comparison = study().comparison
    table = comparison.to_table()
    assert table["regime"].to_pylist() == ["full", "linear", "constant"]
    assert table["score"].to_pylist() == [row.score for row in comparison.table]
    assert [*zip(table["low"].to_pylist(), table["high"].to_pylist(), strict=True)] == [
        tuple(row.interval) for row in comparison.table
    ]
    assert table.schema.field("peak_memory_bytes").type == pa.int64()  # though nothing is known here
    assert study().to_table() == table


def test_a_race_shows_what_is_estimated_for_all_rows() -> None:
    text = repr(study(raced=race()))
    assert re.search(r"full +0\.712 +\[0\.700, 0\.720\] +90 % +500", text) and "score at 4,000 rows (estimated)" in text


def test_lines_of_runs_can_be_put_below_each_other() -> None:
    runs = [make_run("full", np.ones((9, 2)), seed) for seed in (0, 1)]
    both = pa.concat_tables([run.to_table() for run in runs], promote_options="permissive")
    assert both["seed"].to_pylist() == [0, 1] and {"test", "seconds", "flops", "id"} <= set(both.column_names)


def test_a_run_that_failed_says_so_first() -> None:
    run = make_run("full", np.ones((9, 2)), failed="diverged at step 3")
    assert repr(run).startswith("full: failed: diverged at step 3\n")


def test_a_plan_is_iterated_like_its_forecasts() -> None:
    plan = PlanResult((FORECAST, replace(FORECAST, regime="lora", fits=None, money=None)), "cpu", None)
    assert [one.regime for one in plan] == ["full", "lora"] and plan[1].regime == "lora" and len(plan) == 2
    assert plan.to_table()["fits"].to_pylist() == [False, None]
    assert plan.to_table().num_rows == 2


def test_findings_are_a_table_even_without_any() -> None:
    found = checked()
    assert found.to_table().num_rows == len(found.findings)
    none = replace(found, findings=())
    assert none.to_table().column_names == ["severity", "kind", "message", "count", "rows", "hint"]
    assert "<table>" not in none._repr_html_()


def test_long_tables_are_cut_and_counted() -> None:
    lines = tuple((str(i), "x" * 300) for i in range(MAX_LINES + 7))
    long = Display("many", ("n", "words"), lines)
    assert "7 more in to_table()." in display_as_text(long) and display_as_html(long).count("<tr>") == MAX_LINES + 1
    assert max(map(len, display_as_text(long).splitlines())) < 100


def test_without_pandas_a_frame_is_refused_with_what_to_do() -> None:
    with (
        patch.object(importlib.util, "find_spec", return_value=None),
        pytest.raises(MissingError, match=r"pandas is not installed\.\nhint: pip install pandas, or use to_table\(\)"),
    ):
        study().to_frame()


def test_with_pandas_a_frame_holds_the_table() -> None:
    pytest.importorskip("pandas")
    frame = study().to_frame()
    assert frame.shape == study().to_table().shape and list(frame["regime"]) == ["full", "linear", "constant"]
