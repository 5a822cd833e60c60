"""Image curve: up to how many images is fine-tuning better than a network from scratch, and where do they cross?

    python benchmarks/image_curve.py FOLDER --rows 250,1000,4000,16000 --work fashion-curve

FOLDER holds the files of Fashion-MNIST (see fashion_mnist.py). One study compares the regimes at every number of rows,
on the same test rows; a base reads the images at --size, networks without one as they are. A second call goes on where
the first was stopped. Once it is finished, the scores, and where the curves of two regimes cross, with intervals over
test rows and seeds, are added to results/image_curve.json. With --so-far nothing is trained, and the scores that there
are already are added.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

import warmstart
from fashion_mnist import TRAIN
from harness import RESULTS, environment
from warmstart.models.pretrained.image_base import LITE_PACKAGE
from warmstart.results.record import Run, load_run
from warmstart.runtime.files import write_json

TRAINING_SHARE = 0.7  # of a small pool; of a large one all but these rows:
HELD_OUT = 4_000


def write_pool(folder: Path, most: int, path: Path) -> None:
    """So many rows of the training file, drawn at random, that `most` are for training."""
    columns = warmstart.read(folder / TRAIN).columns
    rows = min(round(most / TRAINING_SHARE) + 10, most + HELD_OUT + 10, columns.num_rows)
    drawn = np.sort(np.random.default_rng(0).permutation(columns.num_rows)[:rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(columns.take(drawn), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", default="250,1000,4000,16000")
    parser.add_argument("--regimes", default="linear,embedded,frozen,scratch-cnn,full")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--trials", type=int, default=1, help="learning rates that are tried for each regime")
    parser.add_argument("--size", type=int, help="of the images that a base reads, in pixels; default: its own")
    parser.add_argument("--budget", default="12h", help="of the study; what does not fit is left out")
    parser.add_argument("--work", type=Path, default=Path("fashion-curve"))
    parser.add_argument("--so-far", action="store_true", help="write the scores of the runs that are finished")
    given = parser.parse_args()
    rows = tuple(int(each) for each in given.rows.split(","))
    pool, out = given.work / "pool.parquet", given.work / "study"
    named = {"rows": list(rows), "seeds": given.seeds, "trials": given.trials, "size": given.size}
    if given.so_far:
        return write(named, [load_run(path.parent) for path in out.glob("runs/*/run.json")], [])
    if not pool.exists():
        write_pool(given.folder, max(rows), pool)
    if out.exists():
        study = warmstart.resume(out, budget=given.budget)
    else:
        settings: dict[str, Any] = {"image_size": given.size} if given.size else {}
        study = warmstart.compare(
            pool,
            "label",
            out,
            regimes=tuple(given.regimes.split(",")),
            base=(LITE_PACKAGE,),
            rows=rows,
            seeds=given.seeds,
            trials=given.trials,
            budget=given.budget,
            log=False,
            **settings,
        )
    assert isinstance(study, warmstart.Study)
    write(named, study.comparison.runs, study.comparison.to_json()["crossovers"])
    for each in study.comparison.crossovers:
        print(each.statement)


def write(named: dict[str, Any], runs: Sequence[Run], crossovers: list[dict[str, Any]]) -> None:
    """Add the accuracy on the test rows of every run to the results."""
    made = sorted(runs, key=lambda run: (run.regime, run.rows, run.seed))
    scores = [{"regime": run.regime, "rows": run.rows, "seed": run.seed, "accuracy": run.test} for run in made]
    result = named | {"scores": scores, "crossovers": crossovers, "environment": environment()}
    path = RESULTS / "image_curve.json"
    others = [each for each in (json.loads(path.read_text()) if path.exists() else []) if not _same(each, named)]
    write_json(path, [*others, result])


def _same(result: dict[str, Any], named: dict[str, Any]) -> bool:
    return all(result[key] == value for key, value in named.items())


if __name__ == "__main__":
    main()
