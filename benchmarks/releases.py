"""Releases: from how many rows on is a network from scratch better than a linear model, and what does it take?

Summaries of packages -> log10(1 + months since the last release), noisy on purpose. Texts with the same words (numbers
and punctuation aside) are one group; groups are divided by a hash. `--tuning` scores other test rows, which settings
may be chosen on.

    python benchmarks/releases.py RELEASES --cells FOLDER --rows 50000 400000 --regimes constant linear scratch-dnn

RELEASES is a Parquet file with the columns summary and age_months. FOLDER keeps what is measured, so that an
interrupted run goes on.
"""

import argparse
import hashlib
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from harness import RESULTS
from many_rows import Cell, Parts, numbered, rows_of, run_cells, summary, write_results
from warmstart.data.schema.schema import Schema
from warmstart.types import Array

AGE = Schema("regression", "age_months", ("summary",), False, None, {}, "log10(1+x)", False, None)
TEST_SHARE, TEST_ROWS = 0.03, 6_000
SIZES = (1_000, 4_000, 16_000, 50_000, 150_000, 400_000)
REGIMES = ("constant", "linear", "scratch-dnn")


def read_parts(data: Path | None, *, tuning: bool = False) -> Parts:
    """Pool and test rows; with `tuning` other test rows."""
    assert data is not None
    table = pq.read_table(data, columns=["summary", "age_months"])
    texts = [text or "" for text in table["summary"].to_pylist()]
    groups = [" ".join(re.findall(r"[^\W\d_]+", text.lower())) or text for text in texts]
    share = np.array([int(hashlib.sha256(f"releases{group}".encode()).hexdigest()[:8], 16) / 2**32 for group in groups])
    rows = rows_of(texts, table["age_months"].to_numpy().astype(np.float64), groups)
    first = TEST_SHARE if tuning else 0.0
    tested = np.flatnonzero((share >= first) & (share < first + TEST_SHARE))
    some: Array = np.sort(np.random.default_rng(0).permutation(tested)[:TEST_ROWS])
    return Parts(AGE, rows.take(np.flatnonzero(share >= 2 * TEST_SHARE)), rows.take(some))


def read_tuning(data: Path | None) -> Parts:
    return read_parts(data, tuning=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--cells", type=Path, required=True, help="folder for what is measured")
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--regimes", nargs="+", default=REGIMES)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--tuning", action="store_true", help="other test rows; nothing is written to OUT")
    parser.add_argument("--out", type=Path, default=RESULTS / "releases.json")
    asked = parser.parse_args()
    read = read_tuning if asked.tuning else read_parts
    cells = [Cell(name, rows, seed) for rows in asked.rows for name in asked.regimes for seed in range(asked.seeds)]
    run_cells(cells, read, asked.data, asked.cells)
    parts = read(asked.data)
    lines = summary(asked.regimes, asked.rows, asked.seeds, asked.cells, numbered(parts.test.keys))
    for line in lines:
        print({name: value for name, value in line.items() if name != "settings"}, flush=True)
    if not asked.tuning:
        write_results(asked.out, lines, {"test_rows": len(parts.test)})


if __name__ == "__main__":
    main()
