"""Stream: what memory and time does a table of 5 million texts take, from the file to encoded rows?

    python benchmarks/stream.py [--rows 5000000] [--encoded 100000] [--check]

Makes a Parquet file of texts of about 60 characters, then prints seconds and resident memory after each phase.
`--encoded` is how many training rows a run would use: only those are encoded. Pages of mapped files count as resident.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from warmstart.data.encoding import special_tokens as controls
from warmstart.data.features.hashed_words import HashedWords
from warmstart.data.rows.check import find_problems
from warmstart.data.rows.lengths import Reach
from warmstart.data.rows.split import make_rows, split
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import ColumnChoices
from warmstart.data.tables.read import read_table
from warmstart.models.pretrained.base import Base, find_base
from warmstart.runtime.environment import current_environment
from warmstart.training.frozen_prefix import SharedData

RESULTS = Path(__file__).parent / "results" / "stream.json"
PART = 50_000  # rows written at a time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--encoded", type=int, default=100_000)
    parser.add_argument("--check", action="store_true", help="also look for copies and leaks, as `warmstart check`")
    given = parser.parse_args()
    phases: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        write(path, given.rows)
        through(path, given.encoded, given.check, phases)
    environment = asdict(current_environment("fp32"))
    facts = {"test": "stream", "peer": None, "setting": f"{given.rows:,} rows", "goal_bytes": 4 << 30}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps([facts | {"phases": phases, "environment": environment}], indent=1) + "\n")


def write(path: Path, rows: int) -> None:
    generator = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = np.array(["".join(generator.choice(letters, generator.integers(3, 9))) for _ in range(5000)])
    columns: dict[str, pa.DataType] = {"text": pa.string(), "price": pa.float64()}
    schema = pa.schema(columns)
    with pq.ParquetWriter(path, schema) as file:
        for start in range(0, rows, PART):
            count = min(PART, rows - start)
            texts = [" ".join(row) for row in words[generator.integers(len(words), size=(count, 9))].tolist()]
            file.write_table(pa.table({"text": texts, "price": generator.lognormal(3, 1, count)}, schema=schema))


def through(path: Path, encoded: int, checks: bool, phases: list[dict[str, object]]) -> None:
    base = find_base(None)
    with phase("read", phases):
        table = read_table(path)
    with phase("recognize", phases):
        schema = infer_schema(table, ColumnChoices("price"))
    with phase("rows", phases):
        rows, _ = make_rows(table, schema)
    with phase("split", phases):
        splits = split(rows, schema)
    if checks:
        with phase("check", phases):
            find_problems(table, schema, readers=[reader(base)])
    with phase("draw", phases):
        shared = SharedData(splits.subset(encoded, 0))
    for name, inputs in (("tokens", base.inputs), ("hashed words", HashedWords())):
        with phase(name, phases):
            shared.encoded(inputs)


def reader(base: Base) -> Reach:
    """How much the base reads and what steers it, as `warmstart check` asks it."""
    inputs = base.inputs
    return Reach(
        inputs.max_length, inputs.count, controls=tuple(controls.special_token_names(inputs.tokenizer).values())
    )


@contextmanager
def phase(name: str, phases: list[dict[str, object]]) -> Iterator[None]:
    """Seconds of this process's own work, and the most memory it has held so far."""
    began = time.process_time()
    yield
    facts = {"phase": name, "cpu_seconds": time.process_time() - began, "peak_bytes": peak()}
    print(f"{name:13} {facts['cpu_seconds']:7.1f} s of CPU   peak so far {peak() / 2**30:.2f} GiB", flush=True)
    phases.append(facts)


def peak() -> int:
    """The high-water mark of resident memory, in bytes; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
