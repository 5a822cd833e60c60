"""Baseline run: how is a regime without the training loop fitted, evaluated and saved?"""

import time
from collections.abc import Generator
from pathlib import Path

import numpy as np

from warmstart.baselines.baseline import FitData, Fitted
from warmstart.baselines.baselines import BASELINE_DESCRIPTIONS, FIT_BASELINE
from warmstart.baselines.embedder import Embedder
from warmstart.errors import TrainingError
from warmstart.inference.earlier_model import EarlierModel
from warmstart.inference.model_store import save_model
from warmstart.inference.verify_saved import check_answers, check_saved
from warmstart.models.pretrained.base import Base, weight_file_bytes
from warmstart.models.pretrained.base_reference import hub_revision
from warmstart.regimes.search_space import NO_SEARCH, SearchEffort
from warmstart.results.names import PREVIOUS, regime_of
from warmstart.results.record import Cost, Run, load_run
from warmstart.runs.final_evaluation import answered_rows, evaluate_answers, evaluate_run
from warmstart.runs.run import CHECKED_ROWS, failed_run, finish_run, record_of
from warmstart.runtime.device import peak_memory, reset_peak_memory
from warmstart.runtime.distributed import world
from warmstart.training.event import Event, JobProgress
from warmstart.training.run_data import RunData


def run_baseline(
    name: str,
    run_data: RunData,
    folder: Path,
    progress: JobProgress | None = None,
    base: Base | None = None,
    effort: SearchEffort = NO_SEARCH,
    earlier: EarlierModel | None = None,
) -> Generator[Event, None, Run]:
    """Fit, score and save a regime without the training loop, with the same record as `train_run`.

    `base`: the unchanged base whose features it uses; `effort`: how much to search of its own settings;
    `earlier`: the model that is scored as it is, where it is that.
    """
    if world().on_main((folder / "run.json").exists):
        return load_run(folder)
    yield (progress or JobProgress()).began()
    reset_peak_memory()
    began = time.perf_counter()
    try:
        if earlier:
            fitted = earlier.fitted(run_data.task)
        else:
            fitted = fit_baseline(name, run_data, base, effort, folder / "checkpoint" / "trials")
        writer = fitted.baseline.writer
        if writer is None:
            found = evaluate_run(fitted.baseline, run_data, alone=fitted.baseline.alone())
        else:
            found = evaluate_answers(writer, run_data)
    except TrainingError as error:
        return failed_run(name, run_data, folder, error.message)
    parts = (run_data.splits.val, run_data.splits.test) if writer is None else answered_rows(run_data).values()
    cost = Cost(
        flops=fitted.flops + sum(fitted.baseline.flops(part.texts, part.columns) for part in parts),
        seconds=time.perf_counter() - began,
        peak_memory_bytes=peak_memory(),
        trainable=fitted.baseline.weights,
        total=fitted.baseline.weights,
        bytes_saved=4 * fitted.baseline.weights,
    )
    record = record_of(
        name,
        run_data,
        folder,
        cost,
        found,
        family=PREVIOUS if earlier else "baseline",
        start=base.name if base else "-",
        method=BASELINE_DESCRIPTIONS[regime_of(name)],
        trials=fitted.trials,
        tuning_flops=fitted.tuning_flops,
        caveats=fitted.caveats,
        search=fitted.search,
        revision=hub_revision(base.location) if base else None,
        base_bytes=weight_file_bytes(base.location) if base else 0,
    )

    def save(staging: Path) -> None:
        if earlier:
            earlier.copy_to(staging, name, run_data.schema.other_names)
        else:
            save_fitted(staging, name, fitted, run_data, found.calibration)

    return finish_run(record, folder, save, found.outputs)


def fit_baseline(
    name: str, run_data: RunData, base: Base | None, effort: SearchEffort = NO_SEARCH, trials: Path | None = None
) -> Fitted:
    """Fit a regime without the training loop to the training rows. `trials`: the folder of finished ones."""
    embedder = Embedder(base, run_data.shared) if base else None
    splits = run_data.splits
    data = FitData(
        run_data.task,
        splits.train,
        run_data.seed,
        embedder,
        run_data.schema.columns,
        effort,
        trials,
        splits.val,
        run_data.endpoint,
        run_data.shared.deadline,
    )
    return FIT_BASELINE[regime_of(name)](data)


def save_fitted(staging: Path, name: str, fitted: Fitted, run_data: RunData, calibration: dict[str, float]) -> None:
    """Save a fitted baseline, and check that it gives the same outputs when loaded again."""
    fitted.baseline.save(staging / "baseline")
    facts = {"regime": name, "baseline": regime_of(name)}
    save_model(staging, facts, run_data.task, run_data.schema, calibration)
    few = run_data.splits.val.take(np.arange(min(CHECKED_ROWS, len(run_data.splits.val))))
    writer, task = fitted.baseline.writer, run_data.task.generative
    if writer is None:
        check_saved(staging, fitted.baseline.outputs(few.texts, few.columns), few)
    elif task is not None:
        check_answers(staging, writer.answers(few.texts, task), few)
