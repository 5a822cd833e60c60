"""AutoGluon: is our winner as good as AutoGluon Tabular's, on the same rows and in the same time?

    python benchmarks/autogluon.py --peer VENV/bin/python --data FOLDER [--tables diamonds digits] [--work FOLDER]

Ten tables with texts, numbers, categories and dates. `warmstart compare` gets a table and four minutes; the rows that
it holds out are the test rows. AutoGluon gets all other rows and four minutes, with each of its presets. Both may use
one core. What is scored is the model that each of them hands over: the mean absolute error, or the share of wrong
classes. Intervals are of the paired difference, by group where the table has groups.

AutoGluon wants other versions of pandas, so it has an environment of its own:
`pip install 'autogluon.tabular[lightgbm]' catboost xgboost torch pyarrow`. FOLDER holds `debian.parquet`,
`releases.parquet` and `licences.parquet` (see README.md here); other tables come with scikit-learn (installed),
plotnine and vega_datasets (`pip install plotnine vega_datasets`; a table whose package is missing is skipped).
Each result is written as soon as it is there, and kept later but for --again.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness import RESULTS
from real_tables import CASES, Case
from warmstart import api
from warmstart.results.bootstrap import resample
from warmstart.runtime.environment import current_environment
from warmstart.runtime.files import write_json

SECONDS = 240
PRESETS = ("medium_quality", "best_quality")  # AutoGluon's default, and the one that its documentation calls the best
KEY = ("table", "preset")


def ours(case: Case, work: Path, seconds: float) -> tuple[Path, dict[str, Any]]:
    """Our study of the table in `work`, and its facts: made once."""
    facts = work / "ours.json"
    if not facts.exists():
        columns = [name for name in pd.read_parquet(work / "table.parquet") if name not in (case.target, case.group)]
        began, used = time.monotonic(), time.process_time()
        study = api.compare(
            str(work / "table.parquet"),
            case.target,
            work / "study",
            text=columns,
            group=case.group,
            task="classification" if case.classes else "regression",
            scale=None if case.classes else "linear",
            budget=f"{seconds:.0f}s",
            offline=True,
            log=False,
            bad_rows="drop",
            quiet=True,
        )
        told: dict[str, Any] = {"regime": api.load(work / "study").regime, "verdict": study.advice.verdict}
        told |= {"seconds": round(time.monotonic() - began), "cpu_seconds": round(time.process_time() - used)}
        write_json(facts, told)
    return work / "study", json.loads(facts.read_text())


def compare(name: str, preset: str, asked: argparse.Namespace) -> dict[str, Any]:
    """One line: both errors on the same rows, and their paired difference."""
    case, work = CASES[name], asked.work / name.replace(" ", "-")
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "table.parquet").exists():
        case.make(asked.data).reset_index(drop=True).to_parquet(work / "table.parquet")
    table = pd.read_parquet(work / "table.parquet")
    study, facts = ours(case, work, asked.seconds)
    tested = pd.read_parquet(next((study / "runs").glob("constant-*/scores.parquet")))["row"].to_numpy() - 1
    test = table.iloc[tested]
    known = np.setdiff1d(np.arange(len(table)), tested)
    columns = [column for column in table if column != case.group]
    table.iloc[known][columns].to_parquet(work / "train.parquet")
    test[columns].to_parquet(work / "test.parquet")
    peer = subprocess.run(
        [
            *(asked.peer, "-P", Path(__file__).with_name("autogluon_peer.py"), work, case.target, preset),
            *(str(asked.seconds), "classes" if case.classes else "numbers"),
        ],
        check=True,
        stdout=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    theirs = pd.read_parquet(work / "predictions.parquet")["prediction"].to_numpy()
    predicted = [row["prediction"] for row in api.load(study).predict(test.drop(columns=case.target))]
    errors = [_errors(found, test[case.target].to_numpy(), case.classes) for found in (predicted, theirs)]
    groups = None if case.group is None else np.unique(test[case.group], return_inverse=True)[1]
    paired = resample([np.stack([errors[0] - errors[1], np.ones(len(test))], axis=1)], groups=groups)
    mean = round(float(errors[0].mean()), 4), round(float(errors[1].mean()), 4)
    return {
        "table": name,
        "preset": preset,
        "rows": len(known),
        "test_rows": len(test),
        "error": "wrong classes" if case.classes else "mean absolute error",
        "ours": mean[0],
        "autogluon": mean[1],
        "difference": round(float(paired.mean), 4),
        "interval": [round(float(end), 4) for end in paired.interval],
        "our_winner": facts,
        "autogluon_winner": json.loads(peer.stdout.splitlines()[-1]),
    }


def _errors(predicted: Any, truth: Any, classes: bool) -> Any:
    if classes:
        return (np.asarray(predicted, dtype=str) != np.asarray(truth, dtype=str)).astype(np.float64)
    return np.abs(np.asarray(predicted, dtype=np.float64) - np.asarray(truth, dtype=np.float64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="the Python of AutoGluon's environment")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/autogluon"))
    parser.add_argument("--tables", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--out", type=Path, default=RESULTS / "autogluon.json")
    parser.add_argument("--again", action="store_true", help="measure what is there already")
    asked = parser.parse_args()
    asked.work = asked.work.resolve()
    for preset in asked.presets:
        for name in asked.tables:
            results = json.loads(asked.out.read_text())["results"] if asked.out.exists() else []
            there = any([line[part] for part in KEY] == [name, preset] for line in results)
            if there and not asked.again:
                continue
            if not find_spec(CASES[name].package):
                print(f"{name}: {CASES[name].package} is not installed", file=sys.stderr)
                continue
            line = compare(name, preset, asked)
            print(*(line[part] for part in (*KEY, "ours", "autogluon", "difference", "interval")), flush=True)
            others = [each for each in results if any(each[part] != line[part] for part in KEY)]
            facts = {"seconds": asked.seconds, "environment": vars(current_environment("fp32"))}
            write_json(asked.out, facts | {"results": [*others, line]})


if __name__ == "__main__":
    main()
