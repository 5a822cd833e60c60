"""C2: how long do 7 regimes x 3 seeds take together, against the same 21 runs one after another in Trainer and PEFT?

200 synopses, 40 steps of 16 rows, each run judged on 100 held-out rows in the time of both sides. `one process`: all 21
in this process, weights loaded before the clock. `processes`: 21 Python processes as a shell loop would start them,
against one of ours; imports and loading are in the time of both sides. Both sides train the same models: PEFT's own
adapters, the same frozen layers, the same rates. The peer tokenizes for each run, as separate scripts do.
"""

import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

import peers
import texts
from harness import Contest, Gate, Outcome, Side
from warmstart.data.features.hashed_words import HashedWords
from warmstart.data.rows.split import Rows
from warmstart.regimes.regimes import REGIMES, Regime, RegimeContext
from warmstart.regimes.starts import random_state
from warmstart.runtime import device
from warmstart.training.build_model import start_model
from warmstart.training.config import TrainConfig
from warmstart.training.loop import set_trainable
from warmstart.training.optimizer import param_groups
from warmstart.types import Array

# The mean of 21 runs on the same 100 rows; other orders of rows and other dropout move it by about 0.01.
GATE = Gate("accuracy", higher_is_better=True, tolerance=0.03)
NAMES = ("scratch-dnn", "scratch", "frozen", "top-layers", "discriminative", "full", "lora")
SEEDS, BATCH = range(3), 16


@dataclass(frozen=True)
class Size:
    rows: int
    held_out: int
    steps: int
    names: tuple[str, ...] = NAMES


FULL, QUICK = Size(200, 100, 40), Size(48, 32, 4, ("scratch-dnn", "lora"))


def contests(settings: texts.Given) -> list[Contest]:
    size = QUICK if settings.quick else FULL

    def problem() -> texts.Problem:
        return texts.packages(settings, "synopsis", size.rows, size.held_out)

    def contest(setting: str, theirs: Side, ours: Side, options: str) -> Contest:
        facts = {"rows": size.rows, "steps": size.steps, "regimes": list(size.names), "seeds": len(SEEDS)}
        warm = setting == "one process"  # a new process is meant to be cold
        return Contest("C2", "trainer", setting, theirs, ours, GATE, options, "transformers", warm, facts)

    found = []
    in_one = functools.partial(_ours, problem, size)
    for options in get_args(peers.Options):
        found.append(contest("one process", functools.partial(_theirs, problem, size, options), in_one, options))
    ours = functools.partial(_processes, problem, size, [[",".join(size.names)]])
    calls = [[name, str(seed), "default"] for name in size.names for seed in SEEDS]
    theirs = functools.partial(_processes, problem, size, calls)
    return [*found, contest("processes", theirs, ours, "default")]


Given = Callable[[], texts.Problem]


def _ours(given: Given, size: Size) -> Outcome:
    problem = given()
    problem.start.body(0)
    began = time.perf_counter()
    quality = compare(problem, size)
    return Outcome(time.perf_counter() - began, quality)


def _theirs(given: Given, size: Size, options: peers.Options) -> Outcome:
    problem = given()
    problem.start.body(0)
    began = time.perf_counter()
    found = [by_trainer(problem, size, name, seed, options) for name in size.names for seed in SEEDS]
    return Outcome(time.perf_counter() - began, statistics.fmean(found))


def _processes(given: Given, size: Size, calls: list[list[str]]) -> Outcome:
    """One process a call, one after another; what each prints last is its accuracy."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        texts.save(given(), path)
        found = []
        began = time.perf_counter()
        for call in calls:
            command = [sys.executable, __file__, str(path), str(size.steps), *call]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
        return Outcome(time.perf_counter() - began, statistics.fmean(found))


def compare(problem: texts.Problem, size: Size) -> float:
    """Every regime and seed by our own training, in one process that shares what can be shared."""
    shared = problem.shared(held_out=True)
    found = []
    for name in size.names:
        regime = _regime(problem, name)
        for seed in SEEDS:
            model = problem.fit(regime, _config(regime, size, seed, device.precision()), shared)
            found.append(problem.accuracy(model, regime.start, shared))
    return statistics.fmean(found)


def by_trainer(problem: texts.Problem, size: Size, name: str, seed: int, options: peers.Options) -> float:
    """One regime and seed as a script for the Trainer does it: tokenize, train, judge."""
    regime = _regime(problem, name)
    config = _config(regime, size, seed, peers.precision(options))
    model = start_model(regime, problem.task, seed)
    with random_state(seed):
        model.body = regime.stages[0].method.prepare(model.body)
    rates = regime.stages[0].method.rates(model)
    set_trainable(model, rates)
    examples, held_out, collate = _read(problem, regime)
    optimizer = None  # the Trainer's own
    if name == "discriminative":
        optimizer = torch.optim.AdamW(param_groups(model, rates, config), lr=config.lr, fused=True)
    trainer = peers.trainer(
        peers.Labeled(model, problem.task), examples, collate, config, options, optimizers=(optimizer, None)
    )
    return peers.accuracy(trainer, held_out)


def _read(problem: texts.Problem, regime: Regime) -> tuple[list[peers.Example], list[peers.Example], peers.Collate]:
    """Training rows, held-out rows, and how a batch is made of them."""
    parts = problem.train, problem.splits.test
    if isinstance(regime.start.inputs, HashedWords):
        train, held_out = (hashed(regime.start.inputs, part, problem.task.targets(part)) for part in parts)
        return train, held_out, bags
    train, held_out = (peers.tokenized(problem.start, part, problem.task.targets(part)) for part in parts)
    return train, held_out, peers.padded(problem.start)


def hashed(inputs: HashedWords, rows: Rows, targets: Array) -> list[peers.Example]:
    """Each text as its hashed words and their weights."""
    encoded = inputs.encode(rows.texts)
    each = (encoded.batch(np.array([i])) for i in range(len(rows)))
    return [
        {"features": row["features"], "weights": row["weights"], "labels": target}
        for row, target in zip(each, targets.tolist(), strict=True)
    ]


def bags(examples: list[peers.Example]) -> dict[str, Tensor]:
    """A batch for an EmbeddingBag: all words end to end, and where each text begins."""
    lengths = [len(example["features"]) for example in examples]
    return {
        "features": torch.cat([example["features"] for example in examples]),
        "weights": torch.cat([example["weights"] for example in examples]),
        "offsets": torch.tensor([0, *lengths[:-1]]).cumsum(0),
        "labels": torch.tensor([example["labels"] for example in examples]),
    }


def _regime(problem: texts.Problem, name: str) -> Regime:
    return REGIMES[name](RegimeContext(problem.start.base, len(problem.train)))


def _config(regime: Regime, size: Size, seed: int, precision: str) -> TrainConfig:
    return TrainConfig(steps=size.steps, lr=regime.defaults.lr, batch_size=BATCH, precision=precision, seed=seed)


def main(path: str, steps: str, names: str, *peer: str) -> None:
    """One process of the contest `processes`: ours with all names, or a peer's with one name, a seed and options."""
    problem = texts.load(Path(path))
    size = Size(len(problem.train), len(problem.splits.test), int(steps), tuple(names.split(",")))
    if not peer:
        print(compare(problem, size))
    else:
        seed, options = peer
        print(by_trainer(problem, size, names, int(seed), "tuned" if options == "tuned" else "default"))


if __name__ == "__main__":
    main(*sys.argv[1:])
