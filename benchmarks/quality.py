"""Quality: does each regime reach what a careful hand-made script reaches? Real package descriptions, real weights.

    python benchmarks/quality.py debian.parquet [--work FOLDER]

The table has one row a package of a Linux distribution: synopsis -> section (57 classes), synopsis -> installed size.
Each line below is one comparison of its own, resumable in FOLDER; the results file is written after each of them.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from warmstart import api
from warmstart.request.request import Request
from warmstart.runtime import device
from warmstart.runtime.environment import current_environment

RESULTS = Path(__file__).parent / "results" / "quality.json"

# target, training rows, regimes, {regime: the score to reach}
CASES: tuple[tuple[str, int, tuple[str, ...], dict[str, float]], ...] = (
    ("section", 250, ("linear", "frozen", "full"), {"full": 0.49}),
    ("section", 250, ("discriminative",), {"discriminative": 0.49}),
    ("section", 1000, ("linear", "frozen", "full"), {"full": 0.58, "frozen": 0.48}),
    ("installed_kb", 250, ("linear", "full"), {"full": 0.72, "linear": 0.74}),
    ("section", 4000, ("linear", "full"), {"full": 0.64, "linear": 0.60}),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", default="debian.parquet")
    parser.add_argument("--work", type=Path, default=Path("build/quality"))
    given = parser.parse_args()
    if not Path(given.data).exists():
        sys.exit(f"skipped: {given.data} is not here; name the table of packages")
    rows: list[dict[str, Any]] = []
    for target, size, regimes, goals in CASES:
        rows += one(given.data, given.work, target, size, regimes, goals)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


def one(
    data: str, work: Path, target: str, size: int, regimes: tuple[str, ...], goals: dict[str, float]
) -> list[dict[str, Any]]:
    """One comparison; a row for each regime."""
    out = work / f"{target}-{size}-{'-'.join(regimes)}"
    settings = {"text": ("synopsis",), "group": "source", "rows": (size,), "seeds": 1, "budget": 3600.0}
    request = Request((data,), target, regimes=regimes, **settings)  # type: ignore[arg-type]
    known = (out / "request.json").exists()
    begun = api.restart(request, out) if known else api.start(request, out)
    found = api.run_to_end(api.compare_steps(begun, {})).comparison
    sign = 1 if found.higher_is_better else -1
    rows = []
    for row in found.table:
        goal = goals.get(row.name)
        met = None if goal is None else bool(sign * (row.score - goal) >= 0)
        quality = {found.metric: row.score, "interval": list(row.interval), "goal": goal, "met": met}
        print(f"{target} {size} {row.name}: {row.score:.4f} goal {goal} met {met}", flush=True)
        facts = {"rows": size, "lr": row.lr, "seconds": row.seconds, "converged": row.converged}
        rows.append(
            {"test": f"{target} from synopsis", "peer": "hand-made", "setting": row.name, "quality": quality}
            | facts
            | {"environment": asdict(current_environment(device.precision()))}
        )
    return rows


if __name__ == "__main__":
    main()
