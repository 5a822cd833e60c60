"""Tax: what does the framework cost over a plain PyTorch loop of the same settings?

    python benchmarks/tax.py [--steps 12] [--repetitions 5]

Both train MiniLM fully on the same batches with the same optimizer, schedule and clipping, interleaved A B B A in one
process. The ratio is the plain loop's time over ours: 1 is no tax, above 1 we are faster. Both end with the same loss.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch

from warmstart.cli.demo_data import catalog
from warmstart.data.encoding.examples import BatchStream
from warmstart.data.rows.split import make_rows, split
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import ColumnChoices
from warmstart.data.tables.read import Table
from warmstart.models.model import Model
from warmstart.models.pretrained.base import find_base
from warmstart.models.used_embeddings import only_used_rows
from warmstart.regimes.full import Full
from warmstart.regimes.starts import Pretrained
from warmstart.runtime.environment import current_environment
from warmstart.tasks.tasks import task_for
from warmstart.training.config import TrainConfig
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.loop import set_trainable, start_training, train
from warmstart.training.optimizer import param_groups, schedule_factor

RESULTS = Path(__file__).parent / "results" / "tax.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--repetitions", type=int, default=5)
    given = parser.parse_args()
    made = catalog()
    table = Table(made.table, ("catalog",), (made.table.num_rows,))
    schema = infer_schema(table, ColumnChoices("price", ("title", "description", "category", "brand")))
    splits = split(make_rows(table, schema)[0], schema)
    task, start = task_for(schema, splits), Pretrained(find_base(None))
    shared = SharedData(splits)
    examples = shared.examples(start.inputs, splits.train, task.targets(splits.train))
    config = TrainConfig(steps=given.steps, lr=1e-4, batch_size=32)
    source = BatchStream(examples, examples.order(config.batch_size, config.seed))
    used = torch.from_numpy(np.unique(shared.encoded(start.inputs).tokens.values).astype(np.int64))  # type: ignore[attr-defined]

    def model() -> Model:
        body, head = start.body(0), task.head(384, 0)
        assert head is not None
        return Model(body, head, start.pooling)

    def plain() -> tuple[float, float]:
        ours = model()
        rates = Full().rates(ours)
        set_trainable(ours, rates)
        optimizer = torch.optim.AdamW(param_groups(ours, rates, config), lr=config.lr, fused=True)
        parameters = list(ours.parameters())
        began = time.perf_counter()
        loss = torch.zeros(())
        for step in range(config.steps):
            for group in optimizer.param_groups:
                group["lr"] = config.lr * schedule_factor(step, config)
            torch.manual_seed(hash((config.seed, step, 0)))
            batch = source.at(step)[0]
            loss = task.output_loss(ours(batch.inputs), batch.targets)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters, config.clip)
            optimizer.step()
            optimizer.zero_grad()
        return time.perf_counter() - began, loss.item()

    def framework(small_table: bool) -> tuple[float, float]:
        ours = model()
        rates = Full().rates(ours)
        set_trainable(ours, rates)
        with only_used_rows(ours.body, used if small_table else torch.arange(30_522)):
            state = start_training(ours, rates, config)
            began = time.perf_counter()
            *_, last = train(state, task, source, config)
            return time.perf_counter() - began, last.loss

    rows = []
    for setting, ours in (("the loop alone", False), ("with only the used rows of the token table", True)):
        rows.append(pair(setting, plain, partial(framework, ours), given.repetitions))
        print(rows[-1]["setting"], rows[-1]["ratio"], rows[-1]["quality"], flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


def pair(
    setting: str, plain: Callable[[], tuple[float, float]], ours: Callable[[], tuple[float, float]], repetitions: int
) -> dict[str, object]:
    """Interleaved repetitions; the ratio of times, and the last losses side by side."""
    plain(), ours()
    ratios, losses = [], set()
    for _ in range(repetitions):
        first, second, third, fourth = plain(), ours(), ours(), plain()
        ratios.append((first[0] + fourth[0]) / (second[0] + third[0]))
        losses |= {("plain", round(first[1], 6)), ("ours", round(second[1], 6))}
    ratio = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
    return {
        "test": "tax",
        "peer": "torch",
        "setting": setting,
        "ratio": ratio,
        "quality": {f"last loss, {who}": loss for who, loss in sorted(losses)},
        "environment": asdict(current_environment("fp32")),
    }


if __name__ == "__main__":
    main()
