"""Image curve: up to how many images is fine-tuning better than a network from scratch, and where do they cross?

    python benchmarks/image_curve.py FOLDER --rows 250,1000,4000,16000 --work fashion-curve

FOLDER holds the files of Fashion-MNIST (see fashion_mnist.py). Two studies with the same training and test rows compare
the regimes at every number of rows: in one of them networks of ours read the images as they are, in the other one the
base reads them at --size. A second call goes on where the first was stopped. Once both are finished, the scores, and
where the curves of two regimes cross, with intervals over test rows and seeds, are added to results/image_curve.json.
With --so-far nothing is trained, and the scores that there are already are added.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

import warmstart
from fashion_mnist import TRAIN
from harness import RESULTS, environment
from warmstart.models.pretrained.image_base import LITE_PACKAGE
from warmstart.results.comparison import CONSTANT, Comparison
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
    parser.add_argument("--own", default="linear,scratch-cnn", help="regimes that read the images at their own size")
    parser.add_argument("--tuned", default="embedded,frozen,full", help="regimes that read them at --size")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--trials", type=int, default=1, help="learning rates that are tried for each regime")
    parser.add_argument("--size", type=int, help="of the images that a base reads, in pixels; default: its own")
    parser.add_argument("--budget", default="4h", help="of each study; what does not fit is left out")
    parser.add_argument("--work", type=Path, default=Path("fashion-curve"))
    parser.add_argument("--so-far", action="store_true", help="write the scores of the runs that are finished")
    given = parser.parse_args()
    rows = tuple(int(each) for each in given.rows.split(","))
    named = {"rows": list(rows), "seeds": given.seeds, "trials": given.trials, "size": given.size}
    if given.so_far:
        return write(named, [load_run(path.parent) for path in given.work.glob("*/runs/*/run.json")], [])
    pool = given.work / "pool.parquet"
    if not pool.exists():
        write_pool(given.folder, max(rows), pool)
    settings = {"rows": rows, "seeds": given.seeds, "trials": given.trials, "budget": given.budget, "log": False}
    own = finished(pool, given.work / "own", settings | {"regimes": tuple(given.own.split(","))})
    read = {"base": (LITE_PACKAGE,)} | ({"image_size": given.size} if given.size else {})
    tuned = finished(pool, given.work / "tuned", settings | read | {"regimes": tuple(given.tuned.split(","))})
    both = replace(tuned, runs=own.runs + tuned.without([CONSTANT]).runs)
    write(named, both.runs, both.to_json()["crossovers"])
    for each in both.crossovers:
        print(each.statement)


def finished(pool: Path, out: Path, settings: dict[str, Any]) -> Comparison:
    """The study's comparison, made or continued."""
    study = warmstart.resume(out, budget=settings["budget"]) if out.exists() else None
    study = study or warmstart.compare(pool, "label", out, **settings)
    assert isinstance(study, warmstart.Study)
    return study.comparison


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
