"""Torture: how often does what was saved survive? Prints a table, writes benchmarks/results/torture.json.

    python -m torture [--time 10m] [--seed 0] [--only NAME [--number N]]

Every test does the same share of what is asked of it until the time is over. Exit code 1 where anything broke.
"""

import argparse
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from torture.processes import ROOT, call, start_server
from torture.trials import TABLE, Trials
from torture.workshop import BrokenError, Workshop, expect

RESULTS = ROOT / "benchmarks" / "results" / "torture.json"
SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Failure:
    """A broken promise, and how to see it again."""

    what: str
    repeat: str


@dataclass
class Row:
    """What came of one kind of trials."""

    trials: Trials
    done: int = 0
    failures: list[Failure] = field(default_factory=list)

    @property
    def share(self) -> float:
        return self.done / self.trials.asked

    def facts(self) -> dict[str, object]:
        return {
            "test": self.trials.name,
            "asked": self.trials.asked,
            "done": self.done,
            "passed": self.done - len(self.failures),
            "goal": self.trials.goal,
            "failures": [asdict(failure) for failure in self.failures],
        }


def main() -> int:
    given = arguments()
    ends = time.monotonic() + given.time
    chosen = [trials for trials in TABLE if given.only in (None, trials.name)]
    start_server()
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        shop = Workshop(Path(folder))
        environment = json.loads(expect(call("print_environment"), 0))
        if given.number is not None:
            rows = [Row(trials) for trials in chosen]
            for row in rows:
                attempt(shop, row, given.number, given.seed)
        else:
            rows = tortured(shop, chosen, given.seed, ends)
    print(table(rows))
    if given.only is None:
        facts = {"seed": given.seed, "rows": [row.facts() for row in rows], "environment": environment}
        RESULTS.write_text(json.dumps(facts, indent=1) + "\n")
    return int(any(row.failures for row in rows))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m torture", description="How often does what was saved survive?")
    parser.add_argument("--time", type=seconds, default=float("inf"), help="for example 10m; else until all is done")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[trials.name for trials in TABLE], help="one row of the table")
    parser.add_argument("--number", type=int, help="one trial of that row")
    return parser.parse_args()


def seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)([smh]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 90s, 10m or 2h")
    return float(found[1]) * SECONDS[found[2] or "s"]


def tortured(shop: Workshop, chosen: Sequence[Trials], seed: int, ends: float) -> list[Row]:
    """Always go on with the row of which the least is done: stopped at any time, all have had their share."""
    rows = [Row(trials) for trials in chosen]
    while any(row.share < 1 for row in rows) and time.monotonic() < ends:
        row = min(rows, key=lambda row: row.share)
        attempt(shop, row, row.done, seed)
        print(f"\r{sum(row.done for row in rows):,} trials", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return rows


def attempt(shop: Workshop, row: Row, number: int, seed: int) -> None:
    """One trial."""
    name = row.trials.name
    try:
        row.trials.trial(shop, number, random.Random(f"{seed} {name} {number}"))
    except BrokenError as broken:
        repeat = f'python -m torture --seed {seed} --only "{name}" --number {number}'
        row.failures.append(Failure(str(broken), repeat))
        print(f"\nBROKEN: {name}, {number}: {broken}\nrepeat: {repeat}", file=sys.stderr)
    row.done += 1


def table(rows: Sequence[Row]) -> str:
    """At most 80 columns."""
    lines = [f"{'test':34} {'done/asked':>10} {'passed':>6}  goal"]
    for row in rows:
        done, passed = f"{row.done}/{row.trials.asked}", row.done - len(row.failures)
        lines.append(f"{row.trials.name:34} {done:>10} {passed:>6}  {row.trials.goal}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
