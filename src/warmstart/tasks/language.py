"""Language: how is text learned token by token, and scored in bits per byte or by what is generated?

A model gives three numbers for a text, [n, 3]: the loss of its labeled tokens in nats, their number, and the number of
bytes that they stand for. Bits per byte do not depend on the tokenizer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
from torch import Tensor, nn

from warmstart.data.encoding.batches import Batch
from warmstart.data.encoding.inputs import Inputs, PromptInputs, Tokens
from warmstart.data.encoding.language_inputs import Conversations, Documents, Masked
from warmstart.data.encoding.seq2seq import Seq2Seq
from warmstart.data.encoding.span_corruption import SpanCorruption
from warmstart.data.rows.split import Rows, Splits
from warmstart.data.schema.conversations import read_turns
from warmstart.data.schema.infer_text import default_instruction
from warmstart.data.schema.schema import CORPUS, Long, Schema, TaskName
from warmstart.results.metrics import RANKED_BY
from warmstart.tasks.task import Judgment
from warmstart.tasks.text_metrics import chrf_and_bleu, judge_text
from warmstart.types import Array

GUESSING = 8.0  # bits a byte costs who knows nothing about it
SHORTEST_ANSWER = 16  # tokens that may be written, at least
MIN_BYTES_PER_TOKEN = 2.0  # few tokenizers need more tokens for an answer than this allows
MAX_JUDGED_ROWS = 200  # test rows to write an answer for, at most


@dataclass(frozen=True)
class Language:
    """Documents (`causal-lm`, `masked-lm`), or the last answer of conversations (all other names)."""

    name: TaskName
    target: str = ""
    most_tokens: int = 256  # of an answer
    json_schema: dict[str, Any] | None = None  # what an answer has to fit
    instruction: str = ""  # that questions begin with
    usual: bool = False  # it is the task's own: not given to models that were never trained to follow one
    ranked_by: str = ""  # another metric of written answers than the task's own
    long: Long = "head-tail"  # what becomes of a text that is longer than is read

    @classmethod
    def fit(cls, schema: Schema, splits: Splits) -> "Language":
        """How long an answer may become is learned from the training rows: half as long again as nearly all of them."""
        if schema.task in CORPUS:
            return cls(schema.task)
        sizes = [len(answer.encode()) for answer in splits.train.targets]
        most = max(SHORTEST_ANSWER, round(1.5 * float(np.quantile(sizes, 0.98)) / MIN_BYTES_PER_TOKEN))
        own = default_instruction(schema.task, schema.target, schema.json_schema) or ""
        return cls(
            schema.task,
            schema.target,
            most,
            schema.json_schema,
            schema.instruction or "",
            usual=schema.instruction == own,
            long=schema.long,
            ranked_by=schema.metric,
        )

    learns_language = True

    @property
    def writes(self) -> bool:
        """Whether there are answers to be written."""
        return self.name not in CORPUS

    @property
    def ranks_by_writing(self) -> bool:
        """Whether the metric is one of written answers, not of how likely the references are."""
        return self.name in RANKED_BY

    @property
    def metric(self) -> str:
        return self.ranked_by or RANKED_BY.get(self.name, "bits per byte")

    @property
    def higher_is_better(self) -> bool:
        return self.ranks_by_writing  # likelihoods are then turned: minus the bits

    @property
    def units(self) -> str:
        return ""

    margins = None

    @property
    def generative(self) -> "Language | None":
        return self if self.writes else None

    def reads(self, inputs: Inputs) -> Inputs:
        if self.writes:
            return self.prompts(inputs)
        tokens = _tokens(inputs)
        if self.name == "causal-lm":
            return inputs.like(Documents(tokens.folder, tokens.max_length))
        if tokens.answers is not None:
            return inputs.like(SpanCorruption(tokens.folder, tokens.max_length, 0, tokens.answers))
        return inputs.like(Masked(tokens.folder, tokens.max_length, 0))

    def prompts(self, inputs: Inputs) -> PromptInputs:
        """Turns in the chat template of a decoder; for an encoder-decoder a text to read and one to write."""
        tokens = _tokens(inputs)
        if tokens.answers is None:
            return Conversations(tokens.folder, tokens.max_length, self.instruction)
        without = self.instruction if self.usual and not tokens.answers.instructed else ""
        return Seq2Seq(tokens.folder, tokens.max_length, tokens.answers, without)

    def head(self, width: int, seed: int) -> nn.Module | None:
        """None: the base's own output layer."""
        return None

    def targets(self, rows: Rows) -> Array:
        """Nothing beside the tokens themselves."""
        return np.zeros(len(rows), dtype=np.float32)

    def soft_targets(self, targets: Tensor) -> None:
        return None

    def exact_targets(self, rows: Rows) -> Array:
        return self.targets(rows)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.output_loss(model(batch.inputs), batch.targets)

    def output_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Nats a token."""
        return outputs[:, 0].sum() / outputs[:, 1].sum()

    def row_weights(self, targets: Array) -> None:
        """None: all count alike."""

    def constant(self, targets: Array) -> Array:
        return np.array([GUESSING * log(2), 1.0, 1.0])

    def calibrate(self, outputs: Array, targets: Array) -> dict[str, float]:
        return {}

    def score(self, outputs: Array, targets: Array, calibration: Mapping[str, float]) -> Array:
        """Bits and bytes; where answers are ranked by another metric, of which more is better, minus the bits."""
        bits = outputs[:, 0].astype(np.float64) / log(2)
        return np.stack([-bits if self.higher_is_better else bits, outputs[:, 2].astype(np.float64)], axis=1)

    def metrics(self, outputs: Array, targets: Array, calibration: Mapping[str, float]) -> dict[str, float]:
        nats, tokens, size = (float(total) for total in outputs.astype(np.float64).sum(axis=0))
        found = {"nats per token": nats / tokens, "perplexity": float(np.exp(min(nats / tokens, 700.0)))}
        return found | {"bits per byte": nats / log(2) / size, "bytes per token": size / tokens}

    def predictions(self, outputs: Array, calibration: Mapping[str, float]) -> dict[str, list[Any]]:
        bits = outputs[:, 0].astype(np.float64) / log(2) / np.maximum(outputs[:, 2], 1)
        return {"prediction": bits.tolist()}

    def probabilities(self, outputs: Array, calibration: Mapping[str, float]) -> None:
        """None: there are no classes."""

    def average(
        self, outputs: Sequence[Array], calibrations: Sequence[Mapping[str, float]], weights: Sequence[float]
    ) -> Array:
        raise NotImplementedError("texts have no mean")

    def changes(self, outputs: Array, calibration: Mapping[str, float]) -> None:
        """None: what a text costs is no prediction about it."""

    def truths(self, targets: Array) -> list[Any]:
        return [0.0] * len(targets)

    def judge(self, written: Sequence[str], rows: Rows) -> Judgment:
        """What a model wrote in place of the last answers of these rows, example by example."""
        answers = [str(answer) for answer in rows.targets]
        columns: dict[str, list[Any]] = {"target": answers, "prediction": list(written)}
        if not self.ranks_by_writing:
            beside = chrf_and_bleu(written, answers)
            return Judgment(None, {name: _ratio(scores) for name, scores in beside.items()}, columns)
        sources = [read_turns(text)[-2].content for text in rows.texts]
        found = judge_text(self.name, written, answers, sources=sources, schema=self.json_schema)
        metrics = {name: _ratio(scores) for name, scores in found.scores.items()} | found.corpus
        if found.unsupported:
            columns["not in the source"] = ["; ".join(missing) for missing in found.unsupported]
        return Judgment(found.scores[self.metric], metrics, columns)

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def _tokens(inputs: Inputs) -> Tokens:
    assert inputs.tokens is not None, "a body that does not read tokens writes no text"
    return inputs.tokens


def _ratio(scores: Array) -> float:
    value, weight = scores.sum(axis=0)
    return float(value / weight) if weight else 0.0
