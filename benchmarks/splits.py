"""Splits: of intervals for repeated splits of one table, which hold the truth as often as they say?

    python benchmarks/splits.py

Tables are drawn from a known law: a number is a sum of 10 inputs and noise with heavy tails. Ridge regression is
compared with the median, or with ridge regression on three of the inputs, on splits into 70 % of the rows for training
and 20 % for testing. An interval should hold the mean difference over all tables in 95 % of the tables.

- corrected: the corrected resampled t-test (Nadeau and Bengio 2003), which `--splits` uses
- naive: Student's t on the splits, as if they were independent
- rows: the mean of each row over the splits that test it, rows resampled (as an error of the mean)
- rows and splits: the errors of both added
- one split: the rows of the first split resampled
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

from warmstart.types import Array

RESULTS = Path(__file__).parent / "results" / "splits.json"
INPUTS, TABLES, FOR_TRUTH = 10, 1_000, 4_000
CASES = (
    ("median", 60, 5),
    ("median", 150, 3),
    ("median", 150, 5),
    ("median", 150, 10),
    ("median", 400, 5),
    ("three inputs", 60, 5),
    ("three inputs", 150, 5),
    ("three inputs", 400, 5),
)


def main() -> None:
    found = [one(*case) for case in CASES]
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def one(rival: str, rows: int, splits: int) -> dict[str, Any]:
    """How often each interval holds the truth, and half its width on average."""
    random = np.random.default_rng(0)
    truth = float(np.mean([np.nanmean(differences(random, rival, rows, 1)) for _ in range(FOR_TRUTH)]))
    each = [intervals(differences(random, rival, rows, splits), truth) for _ in range(TABLES)]
    return {
        "rival": rival,
        "rows": rows,
        "splits": splits,
        "holds": {name: float(np.mean([held[name][0] for held in each])) for name in each[0]},
        "half_width": {name: float(np.mean([held[name][1] for held in each])) for name in each[0]},
    }


def differences(random: np.random.Generator, rival: str, rows: int, splits: int) -> Array:
    """Error of the rival minus that of ridge regression, [splits, rows]; not a number where a row is not tested."""
    inputs = random.normal(size=(rows, INPUTS))
    targets = inputs @ np.full(INPUTS, 0.5 / math.sqrt(INPUTS)) + random.standard_t(4, size=rows)
    found = np.full((splits, rows), np.nan)
    for split in range(splits):
        order = random.permutation(rows)
        test, train = order[: rows // 5], order[rows // 5 + rows // 10 :]
        ours = _ridge(inputs[train], targets[train], inputs[test])
        if rival == "median":
            theirs = np.full(len(test), np.median(targets[train]))
        else:
            theirs = _ridge(inputs[train, :3], targets[train], inputs[test, :3])
        found[split, test] = np.abs(targets[test] - theirs) - np.abs(targets[test] - ours)
    return found


def intervals(found: Array, truth: float) -> dict[str, tuple[bool, float]]:
    """Whether each interval holds the truth, and half its width."""
    splits, rows = found.shape
    means = np.nanmean(found, axis=1)
    spread, student = means.std(ddof=1), float(stdtrit(splits - 1, 0.975))
    counts, sums = (~np.isnan(found)).sum(axis=0), np.nansum(found, axis=0)
    by_row = sums.sum() / counts.sum()
    tested = counts > 0
    left = (sums - by_row * counts)[tested]
    row_error = math.sqrt(len(left) / (len(left) - 1) * float((left**2).sum())) / counts.sum()
    first = found[0][~np.isnan(found[0])]
    share = (rows // 5) / (rows - rows // 5 - rows // 10)
    halves = {
        "corrected": (means.mean(), student * spread * math.sqrt(1 / splits + share)),
        "naive": (means.mean(), student * spread / math.sqrt(splits)),
        "rows": (by_row, 1.96 * row_error),
        "rows and splits": (by_row, math.hypot(1.96 * row_error, student * spread / math.sqrt(splits))),
        "one split": (first.mean(), 1.96 * first.std(ddof=1) / math.sqrt(len(first))),
    }
    return {name: (bool(abs(center - truth) <= half), float(half)) for name, (center, half) in halves.items()}


def _ridge(inputs: Array, targets: Array, new: Array) -> Array:
    weights = np.linalg.solve(inputs.T @ inputs + np.eye(inputs.shape[1]), inputs.T @ targets)
    found: Array = new @ weights
    return found


if __name__ == "__main__":
    main()
