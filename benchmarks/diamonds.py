"""Diamonds: are our trees as good as a LightGBM model that was tuned by hand, and how long do both take?

    python benchmarks/diamonds.py DIAMONDS.csv [--trials 40] [--out benchmarks/results/diamonds.json]

DIAMONDS.csv is the table of 53,940 diamonds in the package plotnine (`data/diamonds.csv`): six numbers and three grades
-> log10 of a price. A study's split: training, validation and test rows. By hand: settings drawn at random, each fitted
to the training rows until the validation rows say stop; the settings that do best there are scored on the test rows.
Ours: `boosted` with its defaults, fitted to the training rows alone. One thread each. The interval is 95 %, of the
paired difference, over the test rows.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np

from harness import RESULTS
from warmstart.baselines.baseline import FitData
from warmstart.baselines.boosted_fit import fit_boosted
from warmstart.data.features.reading import columns_of
from warmstart.data.rows.split import Rows
from warmstart.request.read_data import prepare_data
from warmstart.request.request import Request
from warmstart.runtime.environment import current_environment
from warmstart.runtime.files import write_json
from warmstart.tasks.tasks import task_for
from warmstart.types import Array

TRIALS, ROUNDS, PATIENCE = 40, 5_000, 100
RESAMPLES = 2_000


def settings(generator: np.random.Generator) -> dict[str, Any]:
    """One trial's settings."""
    return {
        "objective": str(generator.choice(["regression_l1", "regression"])),
        "num_leaves": int(np.exp(generator.uniform(np.log(31), np.log(255)))),
        "learning_rate": float(np.exp(generator.uniform(np.log(0.03), np.log(0.1)))),
        "min_data_in_leaf": int(np.exp(generator.uniform(np.log(5), np.log(60)))),
        "feature_fraction": float(generator.uniform(0.5, 1.0)),
        "bagging_fraction": float(generator.uniform(0.6, 1.0)),
        "bagging_freq": 1,
        "lambda_l2": float(np.exp(generator.uniform(np.log(0.01), np.log(10.0)))),
    }


def plain_table(rows: Rows, columns: Any, known: dict[str, list[str]]) -> tuple[Array, list[int]]:
    """Numbers as they are, and categories as the numbers of their values; and which columns hold categories."""
    reading = columns_of(rows, columns)
    parts = [reading.numbers(rows.columns)[1]]
    for name, values in reading.categories(rows.columns).items():
        places = {value: i for i, value in enumerate(known.setdefault(name, sorted(set(values))))}
        parts.append(np.array([places.get(value, np.nan) for value in values], dtype=np.float64)[:, None])
    table = np.concatenate(parts, axis=1)
    return table, list(range(parts[0].shape[1], table.shape[1]))


def interval(values: Array) -> tuple[float, float]:
    """95 % of the mean of values [n]."""
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(1), [0.025, 0.975])
    return round(float(low), 6), round(float(high), 6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--out", type=Path, default=RESULTS / "diamonds.json")
    asked = parser.parse_args()
    prepared = prepare_data(Request((str(asked.data),), "price"))
    splits, columns = prepared.splits, prepared.schema.columns
    task = task_for(prepared.schema, splits)
    truth = {name: task.targets(getattr(splits, name)) for name in ("train", "val", "test")}

    began = time.process_time()
    fitted = fit_boosted(FitData(task, splits.train, 0, None, columns))
    seconds = time.process_time() - began
    ours = task.score(fitted.baseline.outputs(splits.test.texts, splits.test.columns), truth["test"], {})[:, 0]
    print("ours", round(float(ours.mean()), 5), round(seconds, 1), "s", flush=True)

    known: dict[str, list[str]] = {}
    (train, categories), (val, _), (test, _) = (
        plain_table(each, columns, known) for each in (splits.train, splits.val, splits.test)
    )
    generator, best, tried, began = np.random.default_rng(0), np.inf, [], time.process_time()
    errors = np.zeros(0)
    for _ in range(asked.trials):
        chosen = settings(generator)
        params = chosen | {"metric": "l1", "num_threads": 1, "verbosity": -1, "seed": 0}
        rows = lgb.Dataset(train, truth["train"], categorical_feature=categories)
        booster = lgb.train(
            params,
            rows,
            ROUNDS,
            valid_sets=[lgb.Dataset(val, truth["val"], reference=rows)],
            callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
        )
        score = float(booster.best_score["valid_0"]["l1"])
        tried.append({"settings": chosen, "validation": round(score, 6), "trees": booster.best_iteration})
        if score < best:
            best = score
            errors = task.score(np.asarray(booster.predict(test))[:, None], truth["test"], {})[:, 0]
        spent = round(time.process_time() - began, 1)
        print(len(tried), chosen["num_leaves"], round(score, 5), "best on test rows", round(float(errors.mean()), 5))
        write_json(
            asked.out,
            {
                "rows": {"train": len(splits.train), "validation": len(splits.val), "test": len(splits.test)},
                "ours": round(float(ours.mean()), 6),
                "by_hand": round(float(errors.mean()), 6),
                "ours_less_by_hand": round(float((ours - errors).mean()), 6),
                "interval": interval(ours - errors),
                "cpu_seconds": {"ours": round(seconds, 1), "by_hand": spent},
                "our_trials": [each.settings for each in fitted.trials if "trees" in each.settings],
                "trials": tried,
                "environment": vars(current_environment("fp32")),
            },
        )
    print(json.dumps({"less": float((ours - errors).mean()), "interval": interval(ours - errors)}))


if __name__ == "__main__":
    main()
