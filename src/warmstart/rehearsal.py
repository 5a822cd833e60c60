"""Rehearsal: which general text comes beside the task's rows in a training?"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from warmstart.data.language import Documents
from warmstart.data.spool import cache_folder
from warmstart.errors import UsageError
from warmstart.general import text_to_replay
from warmstart.keeping import Replay
from warmstart.models.model import UNPOOLED, Model
from warmstart.prefix import Examples, Stream
from warmstart.starts import Pretrained, Start
from warmstart.train import TrainConfig


def general_rows(documents: Documents, texts: Sequence[str]) -> Examples:
    """Texts as a language model says them, from beginning to end."""
    encoded, at = documents.encode(texts), np.arange(len(texts))
    return Examples(encoded, at, torch.zeros(len(texts)), at + 1)


def to_replay(model: Model, start: Start, texts: Sequence[str], config: TrainConfig) -> Examples | None:
    """The general rows of a training that starts from `model`, untuned: the user's `texts`, else what it says.

    None where nothing is replayed: from random weights, or where that was not asked for. Raises UsageError for a model
    that says no text: the rows of both sides are read by one objective.
    """
    if not config.replay or not isinstance(start, Pretrained):
        return None
    if model.pooling != UNPOOLED or start.base.kind != "decoder":
        raise UsageError(
            f"base {start.name!r} does not learn to write here: no general text can be replayed.",
            "leave --keep general out, or use --keep base or --keep mixed",
        )
    documents = Documents(start.base.location, start.base.inputs.max_length)
    rows = math.ceil(config.replay * config.batch_size * config.steps)
    found = texts or text_to_replay(model, documents.tokenizer, cache_folder() / "sampled", rows)
    if not found:
        raise UsageError(
            f"base {start.name!r} says nothing but the text on which forgetting is measured.",
            "give general text with --retain FILE",
        )
    return general_rows(documents, found)


def beside(task: Stream, general: Examples | None, config: TrainConfig) -> Stream | Replay:
    """The stream of the task's rows, with general ones beside them where there are any."""
    if general is None:
        return task
    return Replay(task, Stream(general, general.order(1, config.seed), world=task.world), config.replay)
