"""Explain mistakes: does the report say what moved the winner's worst predictions, and nothing where it must not?"""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.csv as pacsv
import pytest

import warmstart
from tests.cli_base import call, write_csv
from tests.oak_prices import oak_prices
from warmstart.data.rows.split import Rows
from warmstart.results.influences import EXPLAINED_FILE, ExplainedRun
from warmstart.study.explain_mistakes import explain_mistakes
from warmstart.study.study import read_study

HEADING = "What moved the prediction"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return oak_prices(tmp_path_factory.mktemp("data") / "t.csv", 300, noise=5.0)


def compared(data: Path, out: Path, *more: str) -> str:
    flags = ("--target", "price", "--regimes", "linear", "--scale", "linear", "--seeds", "1", "--out", out)
    answer = call("compare", data, *flags, *more)
    assert answer.code == 0, answer.err
    return (out / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def study(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "out"
    compared(data, out)
    return out


def test_the_report_names_what_moved_each_of_the_worst_predictions(study: Path) -> None:
    known = ExplainedRun.load(study / EXPLAINED_FILE)
    assert known and known.run == "linear-r210-s0" and len(known.rows) == 8
    page = (study / "report.html").read_text(encoding="utf-8")
    assert page.count(HEADING) == 1
    for influences in known.rows.values():
        assert {each.part for each in influences} & {"oak", "ash"} and len(influences) == 3
    made = warmstart.load(study / "runs" / known.run)
    assert made.regime == "linear"


def test_a_page_without_examples_names_no_words(study: Path, data: Path, tmp_path: Path) -> None:
    page = compared(data, tmp_path / "a", "--no-examples")
    assert HEADING not in page and not (tmp_path / "a" / EXPLAINED_FILE).exists()
    assert HEADING not in warmstart.report(study, examples=False).read_text(encoding="utf-8")
    assert HEADING in warmstart.report(study).read_text(encoding="utf-8")


@pytest.mark.parametrize(("latency", "count"), [(100.0, 3), (300.0, 1), (1_000.0, 0), (3_000.0, None)])
def test_a_slow_model_explains_fewer_rows(study: Path, data: Path, latency: float, count: int | None) -> None:
    """A row takes seven predictions: as it is, without each of five words, without its weight. Where not even one fits
    in 2.4 seconds, the model is not loaded.
    """
    found = read_study(study)
    (study / EXPLAINED_FILE).unlink(missing_ok=True)
    table = pacsv.read_csv(data)
    new = warmstart.load(study).new_rows(table)
    numbers = np.arange(1, len(new.texts) + 1)
    test = Rows(new.texts, np.zeros(len(new.texts)), numbers, list(map(str, numbers)), new.columns)
    schema = warmstart.load(study).stored.schema
    problem: Any = SimpleNamespace(own=(), splits=SimpleNamespace(test=test), schema=schema)
    comparison = replace(
        found.comparison, runs=tuple(replace(run, latency_ms=latency) for run in found.comparison.runs)
    )
    assert explain_mistakes(problem, comparison, found.advice, study, seconds=2.4) == ""
    known = ExplainedRun.load(study / EXPLAINED_FILE)
    assert (known and len(known.rows)) == count


def test_a_study_is_finished_without_them_where_they_fail(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where no memory is left for a second copy of the model."""

    def short_of_memory(*_: object) -> None:
        raise RuntimeError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr("warmstart.study.explain_mistakes.explain", short_of_memory)
    page = compared(data, tmp_path / "a")
    assert HEADING not in page and not (tmp_path / "a" / EXPLAINED_FILE).exists()
    assert (tmp_path / "a" / "winner" / "model.json").exists()


def test_what_another_winner_was_explained_by_is_not_shown(study: Path) -> None:
    other = ExplainedRun("boosted-r210-s0", {1: ()})
    (study / EXPLAINED_FILE).write_text('{"run": "boosted-r210-s0", "rows": {"1": []}}', encoding="utf-8")
    assert ExplainedRun.load(study / EXPLAINED_FILE) == other
    assert HEADING not in warmstart.report(study).read_text(encoding="utf-8")


def test_where_no_prediction_is_wrong_nothing_is_explained(tmp_path: Path) -> None:
    rows = [(f"{word} number {i}", word) for i in range(60) for word in ("oak", "ash")]
    data = write_csv(tmp_path / "t.csv", ("text", "kind"), rows)
    answer = call("compare", data, "--target", "kind", "--regimes", "linear", "--seeds", "1", "--out", tmp_path / "a")
    assert answer.code == 0 and "not known" not in answer.err, answer.err
    assert not (tmp_path / "a" / EXPLAINED_FILE).exists()


def test_a_study_over_its_budget_says_so_and_explains_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert HEADING in compared(data, tmp_path / "a")
    monkeypatch.setattr("warmstart.study.study._most_seconds", lambda options: 0.01)
    flags = ("--target", "price", "--regimes", "linear", "--scale", "linear", "--seeds", "1", "--budget", "3m")
    answer = call("compare", data, *flags, "--out", tmp_path / "b")
    assert answer.code == 0 and "more than its budget of 3 min: the machine was slower" in " ".join(answer.err.split())
    assert answer.err.count("linear-r210-s0: mean absolute error") == 1  # said once, also where it was fitted first
    assert HEADING not in (tmp_path / "b" / "report.html").read_text(encoding="utf-8")
