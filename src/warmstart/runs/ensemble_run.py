"""Ensemble run: how are finished runs combined into one model that averages their predictions?"""

import os
import shutil
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import numpy as np

from warmstart.inference.model_store import save_model
from warmstart.inference.verify_saved import check_saved
from warmstart.quantities import format_percent
from warmstart.results.bootstrap import mean_score
from warmstart.results.outputs import load_outputs
from warmstart.results.record import Cost, Run, load_run
from warmstart.runs.final_evaluation import score_outputs, scored_rows
from warmstart.runs.run import CHECKED_ROWS, finish_run, record_of
from warmstart.runtime.distributed import world
from warmstart.runtime.files import read_json
from warmstart.tasks.task import Task
from warmstart.training.event import Event, JobProgress
from warmstart.training.run_data import RunData
from warmstart.types import Array

GREEDY_ROUNDS = 20  # of greedy selection, with replacement (Caruana et al. 2004): weights are multiples of 1/20
FEWEST_FOR_GREEDY = 100  # validation rows; below, weights would follow single rows


def combine_runs(
    name: str, members: Sequence[Path], run_data: RunData, folder: Path, progress: JobProgress | None = None
) -> Generator[Event, None, Run]:
    """Average the predictions of finished runs on the same rows, score them once, and save all members as one model.

    Its cost is that of all members together. A finished ensemble is read back.
    """
    if world().on_main((folder / "run.json").exists):
        return load_run(folder)
    yield (progress or JobProgress()).began()
    runs = [load_run(member) for member in members]
    outputs = [load_outputs(member) for member in members]
    calibrations = [run.calibration for run in runs]
    task = run_data.task
    targets = task.targets(run_data.splits.val)
    chosen, words = choose_weights(task, [each["val"] for each in outputs], calibrations, targets)
    kept = [place for place, weight in enumerate(chosen) if weight > 0]
    weights = {members[place].name: chosen[place] for place in kept}

    def averaged(part: str) -> Array:
        each = [outputs[place][part] for place in kept]
        return task.average(each, [calibrations[place] for place in kept], [*weights.values()])

    latency = sum(runs[place].latency_ms or 0.0 for place in kept)
    found = score_outputs({part: averaged(part) for part in scored_rows(run_data)}, run_data, latency)
    used = [runs[place] for place in kept]
    parts = zip(used, weights.values(), strict=True)
    shares = ", ".join(f"{run.regime} {format_percent(weight)}" for run, weight in parts)
    peaks = [run.cost.peak_memory_bytes for run in used if run.cost.peak_memory_bytes is not None]
    cost = Cost(
        flops=sum(run.cost.flops for run in used),
        seconds=sum(run.cost.seconds for run in used),
        peak_memory_bytes=max(peaks, default=None),
        trainable=sum(run.cost.trainable for run in used),
        total=sum(run.cost.total for run in used),
        bytes_saved=sum(run.cost.bytes_saved for run in used),
    )
    record = record_of(
        name,
        run_data,
        folder,
        cost,
        found,
        family="ensemble",
        method=f"mean of the predictions, {words}: {shares}",
        settings={"weights": weights},
        tuning_flops=sum(run.tuning_flops for run in used),
        tuning_seconds=sum(run.tuning_seconds for run in used),
        converged=all(run.converged for run in used),
        base_bytes=sum({run.start: run.base_bytes for run in used if run.base_bytes}.values()),
    )

    def save(staging: Path) -> None:
        for place in kept:
            _link_model(members[place], staging / "members" / members[place].name)
        facts = {"regime": name, "members": weights}
        save_model(staging, facts, task, run_data.schema, found.calibration)
        few = run_data.splits.val.take(np.arange(min(CHECKED_ROWS, len(run_data.splits.val))))
        check_saved(staging, found.outputs["val"][: len(few)], few)

    return finish_run(record, folder, save, found.outputs)


def choose_weights(
    task: Task, outputs: Sequence[Array], calibrations: Sequence[Mapping[str, float]], targets: Array
) -> tuple[list[float], str]:
    """Weights of several models, which sum to 1, and how they were found.

    `outputs`: [n, k] per model on the validation rows; `targets`: of the same rows. Greedy selection overfits the rows
    that it uses, so it is judged on the other half of them, and equal weights are used unless it is better.
    """
    n, models = len(targets), len(outputs)
    equal = [1 / models] * models
    if n < FEWEST_FOR_GREEDY:
        return equal, "equal weights"
    halves = np.arange(n) % 2 == 0

    def worth(weights: Sequence[float], rows: Array) -> float:
        mean = task.average([each[rows] for each in outputs], calibrations, weights)
        score = mean_score(task.score(mean, targets[rows], task.calibrate(mean, targets[rows])))
        return score if task.higher_is_better else -score

    def greedy(rows: Array) -> list[float]:
        counts = np.zeros(models)
        for _ in range(GREEDY_ROUNDS):
            tried = [counts + np.eye(models)[place] for place in range(models)]
            counts = max(tried, key=lambda each: worth(list(each / each.sum()), rows))
        return list(counts / counts.sum())

    of_greedy = sum(worth(greedy(half), ~half) * (~half).sum() for half in (halves, ~halves))
    of_equal = sum(worth(equal, half) * half.sum() for half in (halves, ~halves))
    if of_greedy > of_equal:
        return greedy(np.ones(n, dtype=bool)), "greedy weights"
    return equal, "equal weights"


def _link_model(source: Path, target: Path) -> None:
    """Hard links (copies if the disk has none) to the files of a saved model, and to no others."""
    names = read_json(source / "model.json", dict[str, object])["files"]
    assert isinstance(names, dict), "models that are combined were saved by this version"
    for name in (*names, "model.json"):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source / name, target / name)
        except OSError:
            shutil.copy2(source / name, target / name)
