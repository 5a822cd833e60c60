"""Ray study: how much faster is a study on two workers than on one, and is it the same study?

    python benchmarks/ray_study.py [--pairs 3] [--epochs 40]

Twelve runs: `linear`, `scratch-dnn` and `frozen` (on a small BERT with random weights) with four seeds each, on titles
of the demo's catalog; the constant, searches of one rate, and no ensemble or refit. Each worker has one thread.
Both sides are whole calls of `warmstart.compare`, with the start of Ray and of its workers; `jobs` is the part from the
first job on a worker to the end of the last. One worker, two, two, one ...: each pair gives a ratio, and the median
counts. The work is limited by compute, so that both sides plan the same jobs.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from warmstart.api import compare_steps, start
from warmstart.cli.demo_data import catalog
from warmstart.request.request import from_mapping
from warmstart.runtime.environment import current_environment, version
from warmstart.runtime.files import write_json, write_parquet

RESULTS = Path(__file__).parent / "results" / "ray_study.json"
ROWS, SEEDS, WORKERS, GOAL = 1_000, 4, 2, 1.6
REGIMES = ("linear", "scratch-dnn", "frozen")
WIDTH, LAYERS, TOKENS = 64, 2, 24
MEASURED = {"seconds", "seconds_range", "latency_ms", "peak_memory_bytes"}  # by a clock, or of the whole process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=40.0, help="of each training: how long the jobs are")
    given = parser.parse_args()
    torch.set_num_threads(1)
    sides: dict[int, list[dict[str, float]]] = {1: [], WORKERS: []}
    results: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_parquet(place / "catalog.parquet", catalog(ROWS).table)
        save_base(place / "base", [str(text) for text in catalog(ROWS).table["title"]])
        for pair in range(given.pairs):
            for workers in (1, WORKERS) if pair % 2 == 0 else (WORKERS, 1):
                load = os.getloadavg()[0]
                found, seconds = one_study(place, workers, given.epochs)
                results.append(found)
                sides[workers].append(seconds | {"load_before": load})
                print(workers, "workers:", seconds, "load before:", load, flush=True)
    pairs = list(zip(sides[1], sides[WORKERS], strict=True))
    ratios = {part: sorted(one[part] / more[part] for one, more in pairs) for part in ("study", "jobs")}
    speedups = {part: {"median": statistics.median(each), "all": each} for part, each in ratios.items()}
    facts: dict[str, Any] = {
        "test": "ray-study",
        "runs": len(REGIMES) * SEEDS,
        "epochs": given.epochs,
        "seconds": {str(workers): each for workers, each in sides.items()},
        "speedup": speedups,
        "goal": GOAL,
        "identical": all(found == results[0] for found in results),
        "ray": version("ray"),
        "environment": asdict(current_environment("fp32")),
    }
    print(json.dumps({name: facts[name] for name in ("speedup", "identical")}))
    write_json(RESULTS, facts)


def one_study(place: Path, workers: int, epochs: float) -> tuple[Any, dict[str, float]]:
    """The comparison without measured values, and the seconds that it took."""
    out = Path(tempfile.mkdtemp(dir=place)) / "study"
    asked = {
        "data": (str(place / "catalog.parquet"),),
        "target": "price",
        "text": ("title",),
        "base": (str(place / "base"),),
        "regimes": ("constant", *REGIMES),
        "seeds": SEEDS,
        "trials": 1,
        "epochs": epochs,
        "max_length": TOKENS,
        "compute": 1e15,
        "refit": "none",
        "precision": "fp32",
        "log": False,
        "on": "ray",
        "workers": workers,
    }
    began = time.perf_counter()
    first = last = 0.0
    for event in compare_steps(start(from_mapping(asked), out)):
        if " workers: " in event.doing:
            first = first or time.perf_counter()
        if event.finished is not None:
            last = time.perf_counter()
    facts = {"study": time.perf_counter() - began, "jobs": last - first}
    return without_measured(json.loads((out / "comparison.json").read_text())), facts


def without_measured(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_measured(each) for key, each in value.items() if key not in MEASURED}
    return [without_measured(each) for each in value] if isinstance(value, list) else value


def save_base(folder: Path, titles: list[str]) -> None:
    """A small BERT with random weights, which knows the words of the titles."""
    folder.mkdir()
    words = sorted({word for title in titles for word in title.lower().replace(",", " ").split()})
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    vocabulary = {word: place for place, word in enumerate([*special.values(), *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)


if __name__ == "__main__":
    main()
