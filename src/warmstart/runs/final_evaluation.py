"""Final evaluation: how does a finished model score on validation, test and some training rows? Once."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from warmstart.data.encoding.inputs import Encoded
from warmstart.data.rows.split import Rows
from warmstart.generation import continuations
from warmstart.generation.answers import AnswerWriter
from warmstart.inference.ensemble import Predictor
from warmstart.inference.model_store import Network
from warmstart.models.evaluate import outputs
from warmstart.results.bootstrap import mean_score
from warmstart.runtime.distributed import world
from warmstart.runtime.sampling import spread_places
from warmstart.tasks.language import MAX_JUDGED_ROWS
from warmstart.tasks.task import Judgment
from warmstart.training.frozen_prefix import use_prefix_cache
from warmstart.training.run_data import RunData
from warmstart.types import Array

ANSWERS_BESIDE = 50  # of validation and of training rows, to be judged beside the answers to test rows
ANSWERS_TIMED = 3  # answers that are timed: each may take seconds
TRAIN_ROWS_SCORED = 500  # training rows scored after training, for the overfitting gap


@dataclass(frozen=True)
class FinalScores:
    """A finished model on validation, test and some training rows."""

    val: float
    test: float
    train: float
    metrics: dict[str, float]
    calibration: dict[str, float]
    scores: Array
    predictions: dict[str, list[Any]]
    latency_ms: float
    floor: float  # the best constant on the same training rows
    train_scores: Array | None  # [n, 2]; None where test rows are judged by something else
    train_groups: Array | None  # int64 [n]; None where rows are not grouped
    old_scores: Array | None  # [n, 2] of what an earlier model was tested on; None where there is none
    old_groups: Array | None  # int64 [n]; None where rows are not grouped
    outputs: dict[str, Array]  # [n, k] of each part of `scored_rows`; none where texts are predicted


def evaluate_run(
    model: Predictor,
    run_data: RunData,
    network: Network | None = None,
    reads: Encoded | None = None,
    alone: Predictor | None = None,
) -> FinalScores:
    """Calibrate on validation rows, then score the test rows: the only place where test rows are used.

    `network`: the model, if it is a network. `reads`: all encoded rows, with cached outputs of a frozen prefix if there
    are any. `alone`: the same model without any cache of the study; its latency is measured.
    """
    task, splits = run_data.task, run_data.splits

    def at(rows: Rows) -> Array:
        if network is not None and reads is not None and rows is not run_data.old_test:  # which `reads` has not
            examples = run_data.shared.examples(network.inputs, rows, task.targets(rows))
            with use_prefix_cache(network.model, reads):
                return outputs(network.model, replace(examples, encoded=reads), world())
        return model.outputs(rows.texts, rows.columns)

    found = {name: at(rows) for name, rows in scored_rows(run_data).items()}
    return score_outputs(found, run_data, measure_latency(alone or model, splits.test), network)


def evaluate_answers(writer: AnswerWriter, run_data: RunData) -> FinalScores:
    """Generate answers to some rows of each part and score them, for models that give nothing but text.

    The test rows are those that every regime answers.
    """
    task, rows = run_data.task.generative, answered_rows(run_data)
    assert task is not None and task.ranks_by_writing, "without written answers there is nothing to score here"

    def judged(some: Rows) -> Judgment:
        return task.judge(writer.answers(some.texts, task), some)

    tested = rows["test"]
    test, val, train = (judged(rows[part]) for part in ("test", "val", "train"))
    assert test.scores is not None and val.scores is not None and train.scores is not None
    columns: dict[str, list[Any]] = {"row": tested.numbers.tolist()} | test.columns
    if run_data.schema.group:
        columns["group"] = _numbered(tested).tolist()
    return FinalScores(
        val=mean_score(val.scores),
        test=mean_score(test.scores),
        train=mean_score(train.scores),
        metrics=test.metrics,
        calibration={},
        scores=test.scores,
        predictions=columns,
        latency_ms=_latency(lambda row: writer.answers(row.texts, task), tested, ANSWERS_TIMED),
        floor=0.0,
        train_scores=None,
        train_groups=None,
        old_scores=None,
        old_groups=None,
        outputs={},
    )


def answered_rows(run_data: RunData) -> dict[str, Rows]:
    """The rows that such models answer: few besides the test rows, since each answer takes long."""
    return {
        part: rows if part == "test" else rows.take(spread_places(ANSWERS_BESIDE, len(rows)))
        for part, rows in scored_rows(run_data).items()
    }


def scored_rows(run_data: RunData) -> dict[str, Rows]:
    """The validation rows, the test rows used for ranking, some of the training rows, and any old test rows."""
    splits = run_data.splits
    tested = rows_to_judge(splits.test) if run_data.task.ranks_by_writing else splits.test
    some = splits.train.take(np.arange(min(TRAIN_ROWS_SCORED, len(splits.train))))
    old = {} if run_data.old_test is None else {"old": run_data.old_test}
    return {"val": splits.val, "test": tested, "train": some} | old


def score_outputs(
    outputs: Mapping[str, Array], run_data: RunData, latency_ms: float, network: Network | None = None
) -> FinalScores:
    """Scores of these outputs, [n, k] for each part of `scored_rows`; `network` produced them, if it generates text."""
    task, splits, rows = run_data.task, run_data.splits, scored_rows(run_data)
    tested, some = rows["test"], rows["train"]
    val_targets, test_targets, train_targets = (task.exact_targets(rows[name]) for name in ("val", "test", "train"))
    val, test, train_outputs = (outputs[name] for name in ("val", "test", "train"))
    calibration = task.calibrate(val, val_targets)
    scores = task.score(test, test_targets, calibration)
    columns = {"row": tested.numbers.tolist(), "target": task.truths(test_targets)}
    columns |= task.predictions(test, calibration)
    if "temperature" in calibration:
        columns["raw_probability"] = task.predictions(test, {})["probability"]
    metrics = task.metrics(test, test_targets, calibration)
    if not task.learns_language:
        columns["copied"] = run_data.copied.tolist()
    if run_data.schema.group:
        columns["group"] = _numbered(tested).tolist()
    generative, writer = task.generative, None if network is None else network.writer
    if generative is not None and writer is not None:
        answered = rows_to_judge(splits.test)
        judged = generative.judge(writer.answers(answered.texts, generative), answered)
        scores = scores if judged.scores is None else judged.scores
        columns |= _beside(tested, answered, judged.columns)
        metrics |= judged.metrics
    if network is not None and network.inputs.continuation is not None:
        some_tested, plain = sample_rows(splits.test), network.inputs.continuation
        columns |= _beside(
            tested, some_tested, continuations.sample_continuations(network.model, plain, some_tested.texts)
        )
    train_scores = task.score(train_outputs, train_targets, calibration)
    before = rows.get("old")
    constant = np.tile(task.constant(task.exact_targets(splits.train)), (len(some), 1))
    floor = mean_score(task.score(constant, train_targets, task.calibrate(constant, train_targets)))
    return FinalScores(
        val=mean_score(task.score(val, val_targets, calibration)),
        test=mean_score(scores),
        train=mean_score(train_scores),
        metrics=metrics,
        calibration=calibration,
        scores=scores,
        predictions=columns,
        latency_ms=latency_ms,
        floor=floor,
        train_scores=None if task.ranks_by_writing else train_scores,
        train_groups=_numbered(some) if run_data.schema.group and not task.ranks_by_writing else None,
        old_scores=None if before is None else task.score(outputs["old"], task.exact_targets(before), calibration),
        old_groups=None if before is None or not run_data.schema.group else _numbered(before),
        outputs={} if task.learns_language else dict(outputs),
    )


def _numbered(rows: Rows) -> Array:
    """Group number of each row, int64 [n]."""
    return np.asarray(np.unique(list(rows.keys), return_inverse=True)[1], dtype=np.int64)


def _beside(rows: Rows, some: Rows, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Expand columns of some rows to all rows; None if there are none."""
    place = {number: i for i, number in enumerate(some.numbers.tolist())}
    places = [place.get(number) for number in rows.numbers.tolist()]
    return {name: [None if i is None else column[i] for i in places] for name, column in columns.items()}


def rows_to_judge(test: Rows) -> Rows:
    """The rows that answers are generated for: the same for every regime, evenly spread."""
    return test.take(spread_places(MAX_JUDGED_ROWS, len(test)))


def sample_rows(test: Rows) -> Rows:
    """Some test rows whose generated texts are shown to people: the same random sample for every regime."""
    return test.take(np.sort(np.random.default_rng(0).permutation(len(test))[: continuations.CONTINUATIONS_SHOWN]))


def measure_latency(model: Predictor, rows: Rows, tries: int = 9) -> float:
    """Milliseconds for one row, encoding included: the median."""
    return _latency(lambda row: model.outputs([*row.texts], row.columns), rows, tries)


def _latency(answer: Callable[[Rows], object], rows: Rows, tries: int) -> float:
    times = []
    for i in range(tries + 1):
        row = rows.take(np.array([i % len(rows)]))
        began = time.perf_counter()
        answer(row)
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[1:])
