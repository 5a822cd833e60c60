"""One of two processes, started by torchrun: trains what it is told to, and writes down what came of it.

torchrun --nproc-per-node 2 tests/engine_worker.py FOLDER. Imports no pytest: it is imported by `test_engine` too.
"""

import json
import os
import signal
import sys
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from tests.cli_base import call
from tests.tiny import REGRESSION, carried_out, tiny_draw
from warmstart.errors import UsageError
from warmstart.models.dnn import Size
from warmstart.models.evaluate import outputs
from warmstart.models.model import Model
from warmstart.models.pretrained.base import Base, find_base
from warmstart.regimes.frozen import Frozen
from warmstart.regimes.full import Full
from warmstart.regimes.lora import LoRA
from warmstart.regimes.regimes import DEFAULTS, METHODS, Regime, Stage
from warmstart.regimes.starts import Pretrained, dnn
from warmstart.runtime.distributed import ALONE, Distributed, world
from warmstart.training.checkpoint import Checkpoints
from warmstart.training.config import TrainConfig
from warmstart.training.event import Event, Step
from warmstart.training.stages import TrainedStages, train_stages

# 84 training rows: an epoch of 6 steps, the last with 4 rows. At dropout 0.
PLAIN = TrainConfig(steps=8, lr=5e-3, batch_size=16)
FIRST = 5  # steps before a training is stopped, to be gone on with by another number of processes


@dataclass(frozen=True)
class Job:
    """A training that must come out the same whether one process does it or two."""

    method: str
    config: TrainConfig = PLAIN
    dropout: float = 0.0
    alone: TrainConfig | None = None  # what one process has to be told for it

    def regime(self, base: Base) -> Regime:
        if self.method == "scratch-dnn":
            network = replace(dnn(Size(features=500, width=8, dropout=self.dropout)), dropout=self.dropout)
            return Regime(self.method, network, (Stage(Full()),), DEFAULTS["full"])
        stages = {
            "lora": (Stage(LoRA(rank=2)),),
            "head-then-all": (Stage(Frozen(), share=0.4), Stage(Full(), share=0.6)),
        }
        start = Pretrained(base, self.dropout)
        return Regime(self.method, start, stages.get(self.method) or (Stage(METHODS[self.method]),), DEFAULTS["full"])


MOMENTUM = replace(PLAIN, optimizer="sgd", lr=0.02)  # Adam blows up a gradient of 1e-9 to a whole step
SHARDED = replace(PLAIN, shard=True)
JOBS = {
    "full": Job("full"),
    "lora": Job("lora"),
    "discriminative": Job("discriminative"),
    "scratch-dnn": Job("scratch-dnn"),
    "top-layers": Job("top-layers"),
    "head, then all": Job("head-then-all", MOMENTUM),
    "momentum": Job("full", MOMENTUM),
    "a process without a row": Job("full", replace(PLAIN, batch_size=83)),  # the second batch has one
    "in pieces": Job("full", replace(PLAIN, micro_batch=3)),
    # with dropout: the parts of two processes are drawn as two pieces of one process are
    "dropout": Job("full", replace(PLAIN, batch_size=12), 0.1, replace(PLAIN, batch_size=12, micro_batch=6)),
    "full, sharded": Job("full", SHARDED),
    "lora, sharded": Job("lora", SHARDED),
    "scratch-dnn, sharded": Job("scratch-dnn", SHARDED),
    "head, then all, sharded": Job("head-then-all", replace(MOMENTUM, shard=True)),
    "sharded in pieces": Job("discriminative", replace(SHARDED, micro_batch=3)),
}
CHANGES = ("full", "full, sharded")  # jobs that go on with another number of processes


def some(steps: Generator[Event, None, TrainedStages], count: int) -> list[float]:
    """The losses of the first steps; then it is stopped, and saves."""
    losses = [event.step.loss for _, event in zip(range(count), steps, strict=False) if event.step]
    steps.close()
    return losses


def facts_of(steps: list[Step], trained: TrainedStages) -> dict[str, object]:
    """What two processes must have in common, and with one."""
    model = trained.model
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    return {
        "losses": [step.loss for step in steps],
        "norms": [step.grad_norm for step in steps],
        "looks": [point.val_loss for point in trained.points],
        "weights": weights.tolist(),
    }


def start(
    job: Job, base: Base, config: TrainConfig, folder: Path | None = None
) -> Generator[Event, None, TrainedStages]:
    checkpoints = Checkpoints(folder, "this", every=1e9) if folder else None
    return train_stages(job.regime(base), config, tiny_draw(REGRESSION), 2, checkpoints)


# --- what the two processes do ----------------------------------------------------------------------------------------


def stopped_by_a_signal_to_one(base: Base, folder: Path) -> dict[str, object]:
    """SIGTERM reaches process 1 alone."""

    class Stopped(BaseException):
        pass

    def stop(number: int, frame: object) -> None:
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    steps, taken = start(JOBS["full"], base, PLAIN, folder), 0
    try:
        for _ in steps:
            taken += 1
            if taken == 3 and world().rank == 1:
                os.kill(os.getpid(), signal.SIGTERM)
    except Stopped:
        return {"steps": taken, "saved": sorted(entry.name for entry in folder.iterdir())}
    finally:
        signal.signal(signal.SIGTERM, before)
    return {"steps": taken, "saved": []}


def short_of_memory_in_one(base: Base) -> dict[str, object]:
    """Process 1 has room for 4 rows."""
    forward = Model.forward

    def scarce(self: Model, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        if world().rank == 1 and self.training and len(inputs["input_ids"]) > 4:
            raise MemoryError
        return forward(self, inputs)

    with patch.object(Model, "forward", scarce):
        return facts_of(*carried_out(start(JOBS["full"], base, PLAIN)))


def through_ddp(base: Base) -> dict[str, object]:
    """As on a GPU."""
    asked = {"broadcast_buffers": False, "gradient_as_bucket_view": True}
    with patch.object(Distributed, "wrap_ddp", lambda self, model: DistributedDataParallel(model, **asked)):
        return facts_of(*carried_out(start(JOBS["full"], base, PLAIN)))


def shared_evaluation(base: Base) -> dict[str, object]:
    """The same outputs, to the last bit, as one process gives."""
    _, trained = carried_out(start(JOBS["full"], base, PLAIN))
    run_data = tiny_draw(REGRESSION, n=400)
    rows = run_data.splits.train
    examples = run_data.shared.examples(base.inputs, rows, run_data.task.targets(rows))
    alone, together = outputs(trained.model, examples, ALONE), outputs(trained.model, examples, world())
    return {"same": bool(np.array_equal(alone, together)), "batches": -(-len(rows) // 64)}


def errors_are_everybody_s() -> dict[str, object]:
    def fails() -> None:
        raise UsageError("only here.", "nothing")

    said = []
    for action in (lambda: world().on_main(fails), lambda: world().gather(fails if world().rank else dict)):
        try:
            action()
        except UsageError as error:
            said.append(error.message)
    return {
        "said": said,
        "agreed": world().on_main(lambda: world().rank),
        "most": world().all_reduce_max(world().rank, 5),
    }


def work(folder: Path) -> None:
    base = find_base(str(folder / "base"), max_length=32)
    found: dict[str, object] = {}
    for name, job in JOBS.items():
        found[name] = facts_of(*carried_out(start(job, base, job.config)))
    for name in CHANGES:
        job = JOBS[name]
        some(start(job, base, job.config, folder / "begun by two" / name), FIRST)
        found[f"{name}, gone on with"] = facts_of(
            *carried_out(start(job, base, job.config, folder / "begun by one" / name))
        )
    found["signal"] = stopped_by_a_signal_to_one(base, folder / "stopped")
    found["memory"] = short_of_memory_in_one(base)
    found["ddp"] = through_ddp(base)
    found["evaluation"] = shared_evaluation(base)
    found["errors"] = errors_are_everybody_s()
    fit = ("fit", folder / "products.csv", "--target", "price", "--base", folder / "base", "--regime", "full")
    fit = (*fit, "--length", "0.02", "--precision", "fp32")
    found["fit"] = vars(call(*fit, "--out", folder / "run", "--dropout", "0"))
    found["fit, sharded"] = vars(call(*fit, "--out", folder / "sharded", "--dropout", "0", "--shard", "--trials", "1"))
    found["there already"] = vars(call(*fit, "--out", folder / "run"))
    found["resume"] = vars(call("resume", folder / "run"))
    found["compare"] = vars(call("compare", folder / "products.csv", "--target", "price", "--out", folder / "study"))
    (folder / f"found-{world().rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    work(Path(sys.argv[1]))
