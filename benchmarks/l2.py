"""L2: a decoder of 10 million weights from scratch, beside Hugging Face's Trainer on the same documents.

The same architecture, tokenizer, rates and number of steps. `default`: the peer pads each batch of documents. `tuned`:
it is given lines of 256 tokens cut from all documents end to end, which see each other. Timed is tokenizing, batching
and every step; the tokenizer is trained before. Ours also looks at 8 validation documents at its end.
"""

import functools
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import peers
import texts
from harness import Contest, Gate, Outcome
from warmstart.models.causal_lm import auto_class
from warmstart.models.pretrained.new_architecture import new_architecture
from warmstart.regimes.regimes import LANGUAGE_DEFAULTS, REGIMES, Regime, RegimeContext
from warmstart.regimes.starts import Scratch, random_state
from warmstart.runtime import device
from warmstart.training.config import TrainConfig

GATE = Gate("bits per byte", higher_is_better=False, tolerance=0.03)
LINE, BATCH = 256, 16  # tokens of a line, documents of a step


@dataclass(frozen=True)
class Size:
    rows: int
    held_out: int
    parameters: int


FULL, QUICK = Size(600, 100, 10_000_000), Size(16, 4, 400_000)


def contests(settings: texts.Given) -> list[Contest]:
    size = QUICK if settings.quick else FULL

    @functools.cache
    def given() -> tuple[texts.Problem, Regime]:
        problem = texts.documents(settings, "description", size.rows, size.held_out)
        folder = Path(tempfile.mkdtemp(prefix="l2-"))
        base = new_architecture(folder, "decoder", size.parameters, problem.train.texts, 2 * LINE, None)
        return problem, REGIMES["scratch"](RegimeContext(base, size.rows, language=True))

    ours = functools.partial(_ours, given)
    facts = {"rows": size.rows, "parameters": size.parameters}
    return [
        Contest(
            "L2",
            "trainer",
            options,
            functools.partial(_theirs, given, options),
            ours,
            GATE,
            package="transformers",
            facts=facts,
        )
        for options in ("default", "tuned")
    ]


def _config(rows: int) -> TrainConfig:
    steps = -(-rows // BATCH)
    return TrainConfig(steps=steps, lr=LANGUAGE_DEFAULTS["scratch"].lr, batch_size=BATCH, precision=device.precision())


def _ours(given: Any) -> Outcome:
    problem, regime = given()
    began = time.perf_counter()
    model = problem.fit(regime, _config(len(problem.train)))
    seconds = time.perf_counter() - began
    return Outcome(seconds, problem.accuracy(model, regime.start))


def _theirs(given: Any, options: peers.Options) -> Outcome:
    from transformers import AutoConfig, DataCollatorForLanguageModeling

    problem, regime = given()
    assert isinstance(regime.start, Scratch)
    inputs = problem.task.reads(regime.start.inputs)
    config, tokenizer = _config(len(problem.train)), inputs.tokenizer
    with random_state(0):
        model: Any = auto_class("decoder").from_config(
            AutoConfig.from_pretrained(inputs.folder), attn_implementation="sdpa", dtype=torch.float32
        )
    began = time.perf_counter()
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    rows = [[begin, *ids, end] for ids in tokenizer(list(problem.train.texts), add_special_tokens=False)["input_ids"]]
    if options == "tuned":
        rows = _lines(rows)
    per_step = -(-len(rows) // config.steps)
    collate = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    peers.trainer(model, [{"input_ids": row} for row in rows], collate, _with(config, per_step), options)
    seconds = time.perf_counter() - began
    return Outcome(seconds, texts.bits_per_byte(model, problem, regime.start))


def _lines(rows: list[list[int]]) -> list[list[int]]:
    """All rows end to end, cut into lines of equal length; what is left over is left out."""
    tokens = [token for row in rows for token in row]
    return [tokens[i : i + LINE] for i in range(0, len(tokens) - LINE + 1, LINE)] or [tokens]


def _with(config: TrainConfig, batch_size: int) -> TrainConfig:
    return TrainConfig(steps=config.steps, lr=config.lr, batch_size=batch_size, precision=config.precision)
