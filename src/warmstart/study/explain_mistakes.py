"""Explain mistakes: what moved the winner's worst predictions? For the report."""

import math
from pathlib import Path

import numpy as np

from warmstart.advice.advise import Advice
from warmstart.advice.prompting import NOT_TRAINED
from warmstart.inference.explain import explain, predictions_needed
from warmstart.inference.model_store import load_model
from warmstart.inference.predict import NewRows, TrainedModel
from warmstart.planning.problem import Problem
from warmstart.reporting.entries import best_of, entries_of
from warmstart.reporting.mistakes import worst
from warmstart.results.comparison import Comparison
from warmstart.results.influences import EXPLAINED_FILE, ExplainedRun, Influence
from warmstart.results.names import PREVIOUS, regime_of
from warmstart.results.record import Run
from warmstart.runtime.files import write_json

MOST_SECONDS = 5.0
MOST_COLUMNS = 100  # a row is put together again without each of them
INFLUENCES_SHOWN = 3  # of each row


def explain_mistakes(problem: Problem, comparison: Comparison, advice: Advice, folder: Path, seconds: float) -> str:
    """Write `explained.json` into a study's folder, once: the largest influences on its winner's worst predictions.

    Left out where the winner predicts neither a number nor a class, was not trained, is built by somebody's own code,
    reads very many columns, or would take longer than `seconds`. Returns why it failed: a report without it is better
    than none.
    """
    run, path = _explained_run(problem, comparison, advice, folder), folder / EXPLAINED_FILE
    try:
        if run is None or ((known := ExplainedRun.load(path)) and known.run == run.id):
            return ""
        path.unlink(missing_ok=True)
        if found := _influences(problem, comparison, run, folder, min(seconds, MOST_SECONDS)):
            write_json(path, found.to_json())
    except Exception as error:  # the study is finished: whatever fails here is reported, not raised
        return f"what moved the worst predictions is not known: {str(error).splitlines()[0] if str(error) else error!r}"
    return ""


def _influences(
    problem: Problem, comparison: Comparison, run: Run, folder: Path, seconds: float
) -> ExplainedRun | None:
    """Influences on as many of a run's worst predictions as time allows; None if there is no time for one."""
    each = (run.latency_ms or math.inf) / 1000  # of one prediction; many at a time take less
    if each > seconds:
        return None
    test = problem.splits.test
    places = {int(number): place for place, number in enumerate(test.numbers)}
    numbers = [mistake.row for mistake in worst(run, higher_is_better=comparison.higher_is_better, examples=None)]
    there = [number for number in numbers if number in places]
    if not there:
        return None
    rows = test.take(np.array([places[number] for number in there], dtype=np.int64))
    stored = load_model(folder / "runs" / run.id)
    spent = np.cumsum(predictions_needed(stored, NewRows(rows.texts, columns=rows.columns))) * each
    count = int((spent <= seconds).sum())
    new = NewRows(rows.texts[:count], columns=rows.columns.take(np.arange(count)))
    found = explain(TrainedModel(stored, folder), new, INFLUENCES_SHOWN)
    said: dict[int, tuple[Influence, ...]] = {number: tuple(some) for number, some in zip(there, found, strict=False)}
    return ExplainedRun(run.id, said)


def _explained_run(problem: Problem, comparison: Comparison, advice: Advice, folder: Path) -> Run | None:
    """The winner's run whose mistakes the report shows, if its model is saved and needs no custom code."""
    ahead = best_of([entry for entry in entries_of(comparison) if entry.name == advice.winner])
    run = ahead.shown if ahead else None
    others = {*NOT_TRAINED, PREVIOUS, *(regime.name for regime in problem.own)}
    schema = problem.schema
    if schema.task not in ("regression", "classification") or schema.multi_label or len(schema.columns) > MOST_COLUMNS:
        return None
    if run is None or regime_of(run.regime) in others or not (folder / "runs" / run.id / "model.json").exists():
        return None
    return run
