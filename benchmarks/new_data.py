"""New data: keep the old model, continue training it, or retrain? Three tables on which each of the answers is right.

    python benchmarks/new_data.py debian.parquet [--work FOLDER] [--case moved]

Each case makes an old and a new table of one-line texts, fits a model to the old one, and compares it with what could
replace it: the commands of docs/new-data.md, through the public functions. Results are written after each case.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import warmstart
from warmstart.runtime.environment import current_environment

RESULTS = Path(__file__).parent / "results" / "new_data.json"
REGIMES = ("linear", "scratch-dnn")
SEEDS = 3
LENGTH = 0.25  # of the usual number of steps
Change = Callable[[pd.DataFrame], pd.DataFrame]


@dataclass(frozen=True)
class Case:
    """Old rows, new rows, and what has changed between them."""

    name: str
    target: str
    old: int  # rows
    new: int
    change: Change = lambda new: new  # what is different about the new rows
    first: str = "scratch-dnn"  # the regime of the old model
    regimes: tuple[str, ...] = REGIMES
    min_effect: float = 0.01
    shrink: float | None = None  # of its weights, before they are trained further


def moved(new: pd.DataFrame) -> pd.DataFrame:
    """Every section has the name of the next one, as after a reorganization: old rows teach what is wrong now."""
    names = sorted(new.section.unique())
    return new.assign(section=new.section.map(dict(zip(names, [*names[1:], names[0]], strict=True))))


CASES = (
    Case("same", "section", 2_500, 2_500, first="linear", regimes=("linear",), min_effect=0.05),
    Case("moved", "section", 1_000, 500, moved),
    Case("grown", "section", 200, 4_000, first="linear", regimes=("linear",)),
    Case("warm", "section", 200, 1_000, regimes=("linear",)),
    Case("warm, shrunk", "section", 200, 1_000, regimes=("linear",), shrink=0.4),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=Path("debian.parquet"))
    parser.add_argument("--work", type=Path, default=Path("build/new-data"))
    parser.add_argument("--case", choices=[case.name for case in CASES])
    given = parser.parse_args()
    for case in CASES:
        if given.case in (None, case.name):
            found = one(case, given.data, given.work / case.name.replace(", ", "-"))
            known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(known | {case.name: found}, indent=1) + "\n")
            print(json.dumps({case.name: {key: found[key] for key in ("verdict", "reason")}}, indent=1))


def one(case: Case, data: Path, work: Path) -> dict[str, Any]:
    """Fit the old model, compare it on the new rows; the answer and the score of each regime."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    old, new = tables(data, case)
    old.to_csv(work / "old.csv", index=False)
    new.to_csv(work / "new.csv", index=False)
    once: dict[str, Any] = {"trials": 1, "length": LENGTH, "log": False}
    warmstart.fit(work / "old.csv", case.target, regime=case.first, out=work / "old", **once)
    study = warmstart.compare(
        work / "new.csv",
        case.target,
        previous=str(work / "old"),
        regimes=case.regimes,
        min_effect=case.min_effect,
        seeds=SEEDS,
        shrink=case.shrink,
        budget="30m",
        out=work / "study",
        **once,
    )
    return summary(case, study)


def summary(case: Case, study: warmstart.Study) -> dict[str, Any]:
    """What is kept of a study."""
    regimes = json.loads((study.folder / "comparison.json").read_text())["regimes"]
    kept = ("name", "score", "interval", "old_rows", "cost")
    return {
        "rows": {"old": case.old, "new": case.new},
        "verdict": study.advice.verdict,
        "confidence": study.advice.confidence,
        "choice": study.advice.choice,
        "reason": study.advice.reason,
        "metric": study.comparison.metric,
        "regimes": [{name: row[name] for name in kept} for row in regimes],
        "environment": asdict(current_environment("fp32")),
    }


def tables(data: Path, case: Case) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One package of each source, so that rows are no near-copies, from the eight most common sections."""
    found = pd.read_parquet(data, columns=["source", "section", "synopsis"])
    found = found.drop_duplicates("source").drop_duplicates("synopsis").dropna()
    common = found.section.value_counts().index[:8]
    found = found[found.section.isin(common)]
    order = np.random.default_rng(0).permutation(len(found))[: case.old + case.new]
    taken = found.iloc[order][["synopsis", case.target]]
    return taken.iloc[: case.old], case.change(taken.iloc[case.old :].copy())


if __name__ == "__main__":
    main()
