"""Pull: how strong should the pull toward the base be (`--reduce-forgetting l2-sp=N`)?

    python benchmarks/pull.py debian.parquet [--work FOLDER] [--quick]

Sections of 3,000 packages from their synopses, `full` at its usual rate and length on 500 of them, three draws, MiniLM:
its accuracy, and how far its features of test texts moved from the base's, for each strength beside none. Resumable in
FOLDER; the results file is written after each strength. `--quick` only sees that it runs: nothing is written.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forgetting import packages
from harness import RESULTS, environment
from warmstart import api
from warmstart.request.request import Request
from warmstart.results.comparison import Comparison
from warmstart.runtime.files import write_json

FILE = RESULTS / "pull.json"
STRENGTHS = (0, 30, 100, 300, 1000, 3000)  # times the rate


@dataclass(frozen=True)
class Size:
    """Of the whole comparison."""

    packages: int = 3_000  # a fifth of them are test rows
    rows: int = 500
    seeds: int = 3
    length: float = 1.0
    regime: str = "full"


QUICK = Size(packages=120, rows=24, seeds=1, length=0.02)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="debian.parquet")
    parser.add_argument("--work", type=Path, default=Path("build/pull"))
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    if not Path(given.data).exists():
        sys.exit(f"skipped: {given.data} is not here; name the table of packages")
    size = QUICK if given.quick else Size()
    work = given.work / "quick" if given.quick else given.work
    table = packages(Path(given.data), work / "packages.parquet", ("synopsis", "section"), size.packages)
    done: list[Comparison] = []
    for strength in STRENGTHS:
        done.append(carried_out(strength, table, work, size))
        rows = results(done, size)
        print(said(rows[-1]), flush=True)
        if not given.quick:
            FILE.parent.mkdir(exist_ok=True)
            write_json(FILE, rows)


def carried_out(strength: int, data: Path, work: Path, size: Size) -> Comparison:
    """All draws with one strength, or what there is of them already; the regime under the strength's name."""
    out = work / f"{size.regime}-{strength}"
    request = Request(
        (str(data),),
        "section",
        text=("synopsis",),
        group="source",
        regimes=(size.regime,),
        reduce_forgetting=(f"l2-sp={strength}",) if strength else (),
        rows=(size.rows,),
        length=size.length,
        seeds=size.seeds,
        trials=1,
        max_length=64,
        budget=100_000.0,
        bad_rows="drop",
        log=False,
    )
    known = (out / "request.json").exists()
    begun = api.restart(request, out) if known else api.start(request, out)
    found = api.run_to_end(api.compare_steps(begun, {})).comparison
    return replace(found, runs=tuple(replace(run, regime=str(strength)) for run in found.runs))


def results(done: Sequence[Comparison], size: Size) -> list[dict[str, Any]]:
    """A row for each strength that is done: score and drift, and the score beside that of none."""
    together = replace(done[0], runs=tuple(run for each in done for run in each.runs))
    rows = []
    for strength in STRENGTHS[: len(done)]:
        row = together.row(str(strength))
        facts: dict[str, Any] = {
            "test": "sections from synopses",
            "setting": strength,
            "regime": size.regime,
            "rows": size.rows,
            "seeds": len(row.seeds),
            "lr": row.lr,
            "score": {together.metric: row.score, "interval": list(row.interval)},
            "drift": row.retention and row.retention.drift,
            "converged": row.converged,
        }
        if strength:
            gap = together.difference(str(strength), "0")
            facts["minus none"] = {"difference": gap.difference, "interval": list(gap.interval)}
        rows.append(facts | {"environment": environment()})
    return rows


def said(row: dict[str, Any]) -> str:
    """A row in one line."""
    (metric, score), interval = next(iter(row["score"].items())), row["score"]["interval"]
    words = f"l2-sp={row['setting']}: {metric} {score:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
    drift = "not measured" if row["drift"] is None else f"{row['drift']:.3f}"
    beside = row.get("minus none")
    gap = (
        f", {beside['difference']:+.3f} [{beside['interval'][0]:+.3f}, {beside['interval'][1]:+.3f}]" if beside else ""
    )
    return f"{words}, drift {drift}{gap}"


if __name__ == "__main__":
    main()
