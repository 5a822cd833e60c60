"""Hybrid: does learning the language of the domain first help, on real texts that the base was not made for?

    python benchmarks/hybrid.py --packages debian.parquet --licences licences.parquet [--work FOLDER]

Categories of license texts (the language of law), and sections of packages from their German synopses by an English
base: `hybrid` beside `full` and the linear model, each at its own rate, over several draws of the rows. Each line
is one comparison of its own, resumable in FOLDER; the results file is written after each of them, and what is in it
already is kept but for --again.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from warmstart import api
from warmstart.request.request import Request
from warmstart.runtime import device
from warmstart.runtime.environment import current_environment

RESULTS = Path(__file__).parent / "results" / "hybrid.json"
REGIMES = ("linear", "full", "hybrid")


@dataclass(frozen=True)
class Case:
    """One comparison."""

    name: str
    table: str  # which of the two files
    text: str
    target: str
    rows: int
    group: str | None = None
    max_length: int = 64


CASES = (
    Case("licence category", "licences", "text", "category", 250, max_length=128),
    Case("section from German synopsis", "packages", "synopsis_de", "section", 250, "source"),
    Case("section from German synopsis", "packages", "synopsis_de", "section", 1000, "source"),
    Case("licence category", "licences", "text", "category", 850, max_length=128),  # nearly all there are
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, default=Path("debian.parquet"))
    parser.add_argument("--licences", type=Path, default=Path("licences.parquet"))
    parser.add_argument("--work", type=Path, default=Path("build/hybrid"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--again", action="store_true", help="measure what is there already")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() and not given.again else []
    done = {(row["test"], row["rows"]) for row in rows}
    for case in (case for case in CASES if (case.name, case.rows) not in done):
        data: Path = getattr(given, case.table)
        if not data.exists():
            sys.exit(f"skipped: {data} is not here; name it with --{case.table}")
        rows += one(case, data, given.work, given.seeds)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


def one(case: Case, data: Path, work: Path, seeds: int) -> list[dict[str, Any]]:
    """One comparison; a row for each regime, with its difference to `full`."""
    out = work / f"{case.target}-{case.text}-{case.rows}"
    request = Request(
        (str(data),),
        case.target,
        text=(case.text,),
        group=case.group,
        rows=(case.rows,),
        seeds=seeds,
        regimes=REGIMES,
        max_length=case.max_length,
        budget=24 * 3600.0,  # nothing is cut
        bad_rows="drop",
    )
    known = (out / "request.json").exists()
    begun = api.restart(request, out) if known else api.start(request, out)
    found = api.run_to_end(api.compare_steps(begun, {})).comparison
    table = []
    for row in found.table:
        quality: dict[str, Any] = {found.metric: row.score, "interval": list(row.interval)}
        if row.name != "full":
            apart = found.difference(row.name, "full")
            quality["minus full"] = {"difference": apart.difference, "interval": list(apart.interval)}
        print(f"{case.name} {case.rows} {row.name}: {quality}", flush=True)
        table.append(
            {"test": case.name, "peer": "full", "setting": row.name, "rows": case.rows, "seeds": seeds}
            | {"quality": quality, "lr": row.lr, "converged": row.converged, "flops": row.flops}
            | {"environment": asdict(current_environment(device.precision()))}
        )
    return table


if __name__ == "__main__":
    main()
