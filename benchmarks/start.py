"""Start: how long until the command line answers?

    python benchmarks/start.py [debian.parquet]

Whole processes, five times each: `warmstart --help`, and `warmstart check` on the table if it is named.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from warmstart.runtime.environment import current_environment

RESULTS = Path(__file__).parent / "results" / "start.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", default="debian.parquet")
    given = parser.parse_args()
    cases = {"--help": (["--help"], 0.5)}
    if Path(given.data).exists():
        columns = ["--text", "synopsis", "--text", "description", "--target", "installed_kb"]
        cases["check, 34,235 rows"] = (["check", given.data, *columns], 10.0)
    rows = []
    for name, (arguments, goal) in cases.items():
        seconds = [once(arguments) for _ in range(5)]
        spread = {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds)}
        print(name, spread, "goal", goal, flush=True)
        facts = {"test": "start", "peer": None, "setting": name, "seconds": spread, "goal_seconds": goal}
        rows.append(facts | {"environment": asdict(current_environment("fp32"))})
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


def once(arguments: list[str]) -> float:
    """Seconds of one process."""
    began = time.perf_counter()
    command = [str(Path(sys.executable).with_name("warmstart")), *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
