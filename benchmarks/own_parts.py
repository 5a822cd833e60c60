"""Own parts: is dropout, which is ours, faster than torch's?

    python benchmarks/own_parts.py

Pairs, interleaved, fp32 on both sides; the ratio is the library's time over ours, the median of the pairs counts.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict

import torch
from torch.nn import functional

from harness import RESULTS
from warmstart.models.dropout import dropout
from warmstart.runtime.environment import current_environment
from warmstart.runtime.files import write_json

PAIRS = 7
ATTENTION = (32, 12, 256, 256)  # rows, heads, tokens, tokens: of one layer of MiniLM


def main() -> None:
    rows = [
        measured("dropout of attention, 32 rows of 256 tokens", torch_dropout, own_dropout),
    ]
    write_json(RESULTS / "own_parts.json", rows)


def measured(name: str, theirs: Callable[[], object], ours: Callable[[], object]) -> dict[str, object]:
    theirs(), ours()
    pairs = [(seconds(theirs), seconds(ours)) for _ in range(PAIRS)]
    ratio = statistics.median(their / our for their, our in pairs)
    facts = {"test": name, "ratio": ratio, "seconds": statistics.median(our for _, our in pairs)}
    print(f"{name}: {ratio:.2f} times as fast", flush=True)
    return facts | {"environment": asdict(current_environment("fp32"))}


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def torch_dropout() -> object:
    return functional.dropout(torch.ones(ATTENTION), 0.1)


def own_dropout() -> object:
    return dropout(torch.ones(ATTENTION), 0.1)


if __name__ == "__main__":
    main()
