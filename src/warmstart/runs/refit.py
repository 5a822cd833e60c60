"""Refit: how is a run's model trained again on more rows, with the settings that were chosen on fewer?

A network takes as many passes over its rows as it took to its best weights, and keeps the weights of the last step: no
rows are left to choose by. Thresholds and temperature are those of the run, found on rows that it did not learn from.
"""

import shutil
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from warmstart.inference.model_store import load_model, save_model
from warmstart.models.pretrained.base import Base
from warmstart.results.bootstrap import mean_score
from warmstart.results.record import Run
from warmstart.results.refit_record import REFIT_FILE, Refit
from warmstart.runs.baseline_run import fit_baseline, save_fitted
from warmstart.runs.run import TunedRegime, checkpoint_purpose, put_in_place, save_trained
from warmstart.runtime.files import write_json
from warmstart.training.checkpoint import Checkpoints, disk_full_message
from warmstart.training.config import TrainConfig
from warmstart.training.event import Event, JobProgress
from warmstart.training.run_data import RunData
from warmstart.training.stages import train_stages
from warmstart.types import Array


@dataclass(frozen=True)
class RefitPart:
    """One model to be trained again: the run that it is made after, and what that was trained with."""

    run: Run
    run_data: RunData  # whose training rows are all rows that it learns from now
    tuned: TunedRegime | None  # None: a baseline without the training loop
    base: Base | None = None  # what a baseline reads texts with, unchanged


@dataclass(frozen=True)
class Refitted:
    """What was written, and what its model gives for the rows it is scored on."""

    refit: Refit
    scores: Array | None  # [n, 2] of the test rows; None where they were trained on


def refit_run(
    whole: RefitPart, members: Mapping[str, RefitPart], parts: tuple[str, ...], folder: Path, progress: JobProgress
) -> Generator[Event, None, Refitted]:
    """Train the model of a run on all rows of `parts`, and write it with its record into `folder`, the record last.

    `members`: of an ensemble, its models by the folders that they had; their weights stay. Goes on after a stop.
    """
    yield progress.began()
    began = time.perf_counter()
    staging = folder / "checkpoint" / "finished"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    if members:
        for name, part in members.items():
            yield from _trained(part, staging / "members" / name, folder / "checkpoint" / name, progress)
        facts = {"regime": whole.run.regime, "members": {name: whole.run.settings["weights"][name] for name in members}}
        save_model(staging, facts, whole.run_data.task, whole.run_data.schema, whole.run.calibration)
    else:
        yield from _trained(whole, staging, folder / "checkpoint" / "steps", progress)
    run, run_data = whole.run, whole.run_data
    scores = None if "test" in parts else _test_scores(staging, whole)
    score = None if scores is None else mean_score(scores)
    rows = len(run_data.splits.train)
    found = Refit(run.id, run.regime, parts, rows, time.perf_counter() - began, score)
    write_json(staging / REFIT_FILE, found.to_json())
    put_in_place(staging, folder, REFIT_FILE)
    return Refitted(found, scores)


def longer_config(config: TrainConfig, run: Run, rows: int, stages: int) -> TrainConfig:
    """As many passes over `rows` as the run took to its best weights over its own; all of them where stages follow
    one another, as the best weights are the last one's alone.
    """
    taken = run.best_step if stages == 1 else run.steps
    return replace(config, steps=max(1, round(taken * rows / run.rows)))


def _trained(part: RefitPart, staging: Path, checkpoints: Path, progress: JobProgress) -> Generator[Event, None, None]:
    """Train one model and write it into `staging`."""
    run, run_data, tuned = part.run, part.run_data, part.tuned
    with disk_full_message(staging):
        staging.mkdir(parents=True, exist_ok=True)
        if tuned is None:
            save_fitted(staging, run.regime, fit_baseline(run.regime, run_data, part.base), run_data, run.calibration)
            return
        regime = run_data.fitted(tuned.regime)
        regime = replace(regime, defaults=replace(regime.defaults, last_weights=True))
        config = longer_config(tuned.config, run, run_data.rows, len(regime.stages))
        kept = Checkpoints(checkpoints, checkpoint_purpose(regime, config, run_data))
        trained = yield from train_stages(regime, config, run_data, 1, kept, 0, progress)
        save_trained(staging, trained, regime, run_data, run.calibration)


def _test_scores(folder: Path, part: RefitPart) -> Array:
    """What the model as it was written scores on the test rows: [n, 2]."""
    build = None if part.tuned is None else part.run_data.fitted(part.tuned.regime).start.build
    model, test, task = load_model(folder, build=build).predictor, part.run_data.splits.test, part.run_data.task
    return task.score(model.outputs(test.texts, test.columns), task.exact_targets(test), part.run.calibration)
