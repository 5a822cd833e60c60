"""Replay: which general text is trained together with the task's rows?"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from warmstart.data.encoding.batches import Batch
from warmstart.data.encoding.examples import BatchStream, Examples
from warmstart.data.encoding.language_inputs import Documents
from warmstart.errors import UsageError
from warmstart.models.model import UNPOOLED, Model
from warmstart.regimes.starts import Start
from warmstart.runtime.files import cache_folder
from warmstart.training.config import TrainConfig
from warmstart.training.general_text import replay_text
from warmstart.types import Array


@dataclass(frozen=True)
class Replay:
    """The task's batches with added general rows: a `Source` for the loop.

    The task's rows and their order are the same as without replay. `share` general rows are added per task row, evenly
    spread over the steps. Which ones depends only on (seed, step), and no row repeats before all were used. All rows
    have the same weight in the loss of a step, and share one objective.
    """

    task: BatchStream
    general: BatchStream  # of batches of one row
    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UsageError(f"a share of {self.share:g} general rows was asked for.", "use more than 0 and at most 1")
        assert self.general.order.batch_size == 1, "general rows are drawn one by one"

    def at(self, step: int, at_most: int | None = None) -> list[Batch]:
        pieces, rows = self.task.at(step, at_most), len(self.task.rows(step))
        replayed = self.replayed(step)
        if not len(replayed):
            return pieces
        found = self.general.pieces(replayed, epoch=0, at_most=at_most)
        whole = rows + len(replayed)
        return [_weighted(piece, rows / whole) for piece in pieces] + [
            _weighted(piece, len(replayed) / whole) for piece in found
        ]

    def replayed(self, step: int) -> Array:
        """Positions of a step's general rows in their examples, int64 [rows]."""
        per_step = self.share * self.task.order.batch_size
        numbers = range(math.floor(step * per_step), math.floor((step + 1) * per_step))
        return np.array([int(self.general.rows(number)[0]) for number in numbers], dtype=np.int64)

    def through(self, steps: Iterable[int]) -> Array:
        """Positions of the general rows of all these steps, int64 [rows]."""
        none = np.empty(0, dtype=np.int64)
        return np.concatenate([none, *(self.replayed(step) for step in steps)])

    def numbers(self, steps: Iterable[int]) -> list[int]:
        """Numbers of the general texts in use, each once, counted from 1."""
        return sorted({int(number) for number in self.general.examples.numbers[self.through(steps)]})


def _weighted(batch: Batch, weight: float) -> Batch:
    return Batch(batch.inputs, batch.targets, batch.share * weight)


def replay_rows(documents: Documents, texts: Sequence[str]) -> Examples:
    """Texts as a language model reads them, from start to end."""
    encoded, at = documents.encode(texts), np.arange(len(texts))
    return Examples(encoded, at, torch.zeros(len(texts)), at + 1)


def replay_examples(model: Model, start: Start, texts: Sequence[str], config: TrainConfig) -> Examples | None:
    """The general rows for a training that starts from `model`, untuned: the user's `texts`, else sampled text.

    None if nothing is replayed: with random weights, or if it was not requested. Raises UsageError for a model that
    generates no text, because both kinds of rows share one objective.
    """
    base = start.base
    if not config.replay or base is None:
        return None
    if model.pooling != UNPOOLED or base.kind != "decoder":
        raise UsageError(
            f"base {start.name!r} is not trained to generate text here: no general text can be replayed.",
            "leave --reduce-forgetting replay out, or use l2-sp or interpolation",
        )
    documents = Documents(base.location, base.inputs.max_length)
    rows = math.ceil(config.replay * config.batch_size * config.steps)
    found = texts or replay_text(model, documents.tokenizer, cache_folder() / "sampled", rows)
    if not found:
        raise UsageError(
            f"base {start.name!r} generates only the text on which forgetting is measured.",
            "give general text with --general-text FILE",
        )
    return replay_rows(documents, found)


def with_replay(task: BatchStream, general: Examples | None, config: TrainConfig) -> BatchStream | Replay:
    """The stream of the task's rows, with general ones added if there are any."""
    if general is None:
        return task
    return Replay(task, BatchStream(general, general.order(1, config.seed), world=task.world), config.replay)
