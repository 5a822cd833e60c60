"""Run: how does one regime with one seed get from its start to its record, or back from a finished run's folder?"""

import os
import shutil
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from warmstart.baselines.baselines import BASELINE_DESCRIPTIONS
from warmstart.errors import TrainingError, join_phrases
from warmstart.inference.model_store import Network, save_model, save_network
from warmstart.inference.verify_saved import check_saved
from warmstart.models.pretrained.base import weight_file_bytes
from warmstart.models.pretrained.base_reference import hub_revision
from warmstart.regimes.regimes import Regime
from warmstart.results.bootstrap import standard_error_share
from warmstart.results.names import regime_of
from warmstart.results.outputs import save_outputs
from warmstart.results.record import Cost, Run, SettingsSearch, Trial, load_run, save_run
from warmstart.runs.final_evaluation import FinalScores, evaluate_run
from warmstart.runs.measure_forgetting import measure_forgetting
from warmstart.runs.weight_mixing import interpolate_run
from warmstart.runtime.device import peak_memory, reset_peak_memory
from warmstart.runtime.distributed import world
from warmstart.runtime.environment import current_environment
from warmstart.runtime.files import sync
from warmstart.training.checkpoint import Checkpoints, disk_full_message
from warmstart.training.config import TrainConfig
from warmstart.training.event import Event, JobProgress
from warmstart.training.loop import DivergedError
from warmstart.training.run_data import RunData
from warmstart.training.stages import TrainedStages, train_stages
from warmstart.types import Array

CHECKED_ROWS = 4  # that a saved model has to give the same outputs for
NO_COST = Cost(flops=0.0, seconds=0.0, peak_memory_bytes=None, trainable=0, total=0, bytes_saved=0)
RETREATS = 2  # times that a run goes back to its best weights, after steps without a finite loss


@dataclass(frozen=True)
class TunedRegime:
    """A regime with the settings that the search chose, and the search itself."""

    regime: Regime
    config: TrainConfig
    trials: tuple[Trial, ...] = ()
    flops: float = 0.0
    seconds: float = 0.0
    search: SettingsSearch | None = None  # of more settings than rate and size; None: not asked for
    shorter: Trial | None = None  # the same with the same seed, for half as long


def tried_settings(regime: Regime, config: TrainConfig) -> dict[str, Any]:
    """The settings that a search varies: trainings with the same ones can be compared across lengths."""
    return {"lr": config.lr} | _size_words(regime) | dict(regime.chosen)


def checkpoint_purpose(regime: Regime, config: TrainConfig, run_data: RunData) -> str:
    """What identifies a checkpoint: the trained weights, the rows and the settings."""
    rows = f"{len(run_data.splits.train)} rows of {run_data.splits.fingerprint} drawn with {run_data.seed}"
    settings = _size_words(regime) | dict(regime.chosen)
    return f"{regime.name} from {regime.start.name} {settings}: {regime.words}; {config}; {rows}"


def _size_words(regime: Regime) -> dict[str, Any]:
    size = regime.start.size
    return {"width": size.width, "depth": size.depth, "dropout": size.dropout} if size else {}


def train_run(
    chosen: TunedRegime,
    run_data: RunData,
    folder: Path,
    predicted: dict[str, float] | None = None,
    progress: JobProgress | None = None,
) -> Generator[Event, None, Run]:
    """Train, score the test rows once, write model and record into `folder`. A finished run is read back.

    `predicted`: its estimated cost, kept in the record.
    """
    if world().on_main((folder / "run.json").exists):
        left = folder / "checkpoint"  # by one that was stopped just before its end
        world().on_main(lambda: shutil.rmtree(left, ignore_errors=True))
        return load_run(folder)
    progress = progress or JobProgress()
    yield progress.began()
    regime, config = run_data.fitted(chosen.regime), chosen.config
    chosen = replace(chosen, regime=regime)
    reset_peak_memory()
    began = time.perf_counter()
    checkpoints = Checkpoints(folder / "checkpoint", checkpoint_purpose(regime, config, run_data))
    evaluations = regime.defaults.evaluations
    trained, reason = None, ""
    try:
        trained = yield from train_stages(regime, config, run_data, evaluations, checkpoints, RETREATS, progress)
    except DivergedError as error:
        reason = f"diverged: {error.message}"
    except TrainingError as error:
        reason = error.message
    if trained is None:
        spent = replace(NO_COST, seconds=time.perf_counter() - began, peak_memory_bytes=peak_memory())
        return failed_run(regime.name, run_data, folder, reason, chosen, spent, predicted)
    began = time.perf_counter()
    mix = interpolate_run(trained, regime.start, run_data) if run_data.interpolate else None
    network = Network(trained.model, run_data.task.reads(regime.start.inputs))
    found = evaluate_run(network, run_data, network, trained.reads)
    beaten = bool(regime.stages) and not run_data.better(found.train, found.floor)
    cost = Cost(
        flops=trained.train_flops + (mix.flops if mix else 0.0) + _evaluation_flops(trained, regime, run_data),
        seconds=trained.seconds + time.perf_counter() - began,
        peak_memory_bytes=peak_memory(),
        trainable=trained.trainable,
        total=trained.total,
        bytes_saved=trained.bytes_learned,
    )
    kept = measure_forgetting(trained, regime.start, run_data)  # charged to nobody
    kept = mix.described(kept) if mix and kept else kept
    record = record_of(
        regime.name,
        run_data,
        folder,
        cost,
        found,
        **_of_network(chosen),
        points=tuple(trained.points),
        steps=trained.steps,
        best_step=trained.best_step,
        epochs=trained.points[-1].epoch if trained.points else 0.0,
        failed="does not beat the constant on its own training rows" if beaten else None,
        converged=not beaten and _converged(trained, chosen, mix.tuned_val if mix else found.val, run_data),
        caveats=trained.caveats + (mix.caveats if mix else ()),
        retention=kept.to_json() if kept else None,
        predicted=predicted,
    )

    def save(staging: Path) -> None:
        save_trained(staging, trained, regime, run_data, found.calibration)

    return finish_run(record, folder, save, found.outputs)


def record_of(name: str, run_data: RunData, folder: Path, cost: Cost, found: FinalScores | None, **facts: Any) -> Run:
    """The record of a run. `found`: its scores; None: it failed before there were any.

    `facts`: other fields of `Run`; those left out are of a regime that is not trained in steps, starts from nothing and
    did not fail.
    """
    untrained: dict[str, Any] = {
        "family": "baseline",
        "start": "-",
        "settings": {},
        "lr": None,
        "trials": (),
        "tuning_flops": 0.0,
        "tuning_seconds": 0.0,
        "points": (),
        "steps": 0,
        "best_step": 0,
        "epochs": 0.0,
        "failed": None,
        "converged": True,
        "caveats": (),
    }
    facts = {"environment": current_environment("fp32")} | untrained | facts
    return Run(
        id=folder.name,
        regime=name,
        seed=run_data.seed,
        rows=run_data.rows,
        cost=cost,
        **measured(found, run_data),
        **facts,
    )


def _of_network(chosen: TunedRegime) -> dict[str, Any]:
    """The fields of a Run that say which network was trained, and how its settings were found."""
    regime, config = chosen.regime, chosen.config
    return {
        "family": regime.start.family if regime.stages else "baseline",
        "start": regime.start.name,
        "method": regime.words,
        "settings": _settings(regime, config),
        "lr": config.lr if regime.stages else None,
        "trials": chosen.trials,
        "tuning_flops": chosen.flops,
        "tuning_seconds": chosen.seconds,
        "search": chosen.search,
        "environment": current_environment(config.precision, world().size),
        "revision": hub_revision(regime.start.base.location) if regime.start.base else None,
        "base_bytes": _base_bytes(regime),
    }


def save_trained(
    staging: Path, trained: TrainedStages, regime: Regime, run_data: RunData, calibration: dict[str, float]
) -> None:
    """Save a trained network, and check that it gives the same outputs when loaded again."""
    few = run_data.splits.val.take(np.arange(min(CHECKED_ROWS, len(run_data.splits.val))))
    facts = save_network(staging, trained.model, regime.start, run_data.task)
    save_model(staging, facts | {"regime": regime.name}, run_data.task, run_data.schema, calibration)
    if world().size == 1:
        network = Network(trained.model, run_data.task.reads(regime.start.inputs))
        check_saved(staging, network.outputs(few.texts, few.columns), few, regime.start)


def failed_run(
    name: str,
    run_data: RunData,
    folder: Path,
    reason: str,
    chosen: TunedRegime | None = None,
    spent: Cost = NO_COST,
    predicted: dict[str, float] | None = None,
) -> Run:
    """The record of a run that is not retried: of a network that was `chosen`, or of a baseline."""
    if world().on_main((folder / "run.json").exists):
        return load_run(folder)
    facts = _of_network(chosen) if chosen else {"method": BASELINE_DESCRIPTIONS[regime_of(name)]}
    facts |= {"failed": reason, "converged": False, "predicted": predicted}
    return finish_run(record_of(name, run_data, folder, spent, None, **facts), folder, None)


def measured(found: FinalScores | None, run_data: RunData) -> dict[str, Any]:
    """The fields of a Run that hold scores; empty for a run that failed before scoring."""
    task = run_data.task
    common = {
        "task": task.name,
        "metric": task.metric,
        "higher_is_better": task.higher_is_better,
        "units": task.units,
        "disk_bytes": 0,
    }
    if found is None:
        nothing: dict[str, Any] = {"val": None, "test": None, "train": None, "metrics": {}, "calibration": {}}
        return common | nothing | {"latency_ms": None, "scores": np.zeros((0, 2)), "predictions": {}}
    facts = {k: v for k, v in vars(found).items() if k not in ("floor", "outputs")}
    return common | facts


def _converged(trained: TrainedStages, chosen: TunedRegime, val: float, run_data: RunData) -> bool:
    """False if doubling the length would still gain more than the smallest gain that matters, and more than noise.

    Judged by complete schedules: the trial with the same settings at a shorter length against this run. Without one, by
    the last third of this run, which has to gain three times as much, because a schedule that cools down gains by that
    alone. A run whose best point is before its end has converged.
    """
    if trained.best_step < trained.steps:
        return True
    settings = tried_settings(chosen.regime, chosen.config)
    searched = chosen.search.trials if chosen.search and chosen.search.settings else ()
    tried = (*chosen.trials, *searched, *([chosen.shorter] if chosen.shorter else []))
    shorter = [(t.steps, t.val) for t in tried if t.settings == settings and t.steps < trained.steps]
    known = [(steps, score) for steps, score in shorter if score is not None]
    matters = abs(val) * max(run_data.min_effect, standard_error_share(len(run_data.splits.val)))
    if not known:
        known = [(p.step, p.val_score) for p in trained.points if p.step <= 0.7 * trained.steps]
        matters *= 3
    if not known:
        return True
    steps, score = max(known)
    gain = (val - score) * (1 if run_data.task.higher_is_better else -1)
    return bool(gain / np.log2(trained.steps / steps) <= matters)


def _evaluation_flops(trained: TrainedStages, regime: Regime, run_data: RunData) -> float:
    parts = (run_data.splits.val, run_data.splits.test)
    inputs = run_data.task.reads(regime.start.inputs)
    encoded = [run_data.shared.examples(inputs, part, run_data.task.targets(part)) for part in parts]
    return float(sum(trained.cost.forward(part.sizes(), part.loss_weights).sum() for part in encoded))


def _base_bytes(regime: Regime) -> int:
    """Size of the base of a model that saves only its adapters; 0 for others."""
    adapted = bool(regime.stages) and regime.stages[-1].method.adapters
    return weight_file_bytes(regime.start.base.location) if adapted and regime.start.base else 0


def _settings(regime: Regime, config: TrainConfig) -> dict[str, Any]:
    facts = {k: v for k, v in vars(config).items() if k not in ("lr", "seed")}
    return facts | _size_words(regime) | dict(regime.chosen)


def finish_run(
    record: Run, folder: Path, save: Callable[[Path], None] | None, outputs: Mapping[str, Array] | None = None
) -> Run:
    """Write model, outputs and record under `checkpoint/`, then move them to their place; `run.json` comes last.

    Checkpoints are deleted only when nothing needs them any more.
    """
    record = _finite(record)
    return replace(record, disk_bytes=world().on_main(lambda: _written(record, folder, save, outputs or {})))


def _finite(record: Run) -> Run:
    """The record without non-finite scores; a run that has one is marked as failed."""
    scores = (record.val, record.test, record.train)
    val, test, train = known = tuple(score if score is None or isfinite(score) else None for score in scores)
    lost = [name for name, value in record.metrics.items() if not isfinite(value)]
    points = tuple(point for point in record.points if all(map(isfinite, vars(point).values())))
    return replace(
        record,
        val=val,
        test=test,
        train=train,
        metrics={name: value for name, value in record.metrics.items() if name not in lost},
        calibration={name: value for name, value in record.calibration.items() if isfinite(value)},
        points=points,
        caveats=(*record.caveats, *([f"too large or too small for a number: {join_phrases(lost)}"] if lost else [])),
        failed=record.failed or ("its score is not finite" if known != scores else None),
    )


def _written(record: Run, folder: Path, save: Callable[[Path], None] | None, outputs: Mapping[str, Array]) -> int:
    """Size of the model in bytes."""
    staging = folder / "checkpoint" / "finished"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    if save is not None:
        with disk_full_message(folder):
            save(staging)
    size = sum(f.stat().st_size for f in staging.rglob("*") if f.is_file())
    save_outputs(staging, outputs)
    save_run(replace(record, disk_bytes=size), staging)
    put_in_place(staging, folder, "run.json")
    return size


def put_in_place(staging: Path, folder: Path, last: str) -> None:
    """Move what was written under `checkpoint/` into `folder`, `last` at the end: its presence means 'finished'."""
    for file in staging.rglob("*"):
        sync(file)
    for entry in sorted(staging.iterdir(), key=lambda e: e.name == last):
        target = folder / entry.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(entry, target)
    sync(folder)
    shutil.rmtree(folder / "checkpoint")
