"""Forgetting: what has a trained model lost of what its base could do?"""

import numpy as np

from warmstart.data.language import Documents
from warmstart.data.split import Rows
from warmstart.data.spool import cache_folder
from warmstart.engine import world
from warmstart.general import sampled_text
from warmstart.models.language import LanguageHead
from warmstart.models.model import Model
from warmstart.models.pair import Pair
from warmstart.prefix import Examples
from warmstart.rehearsal import general_rows
from warmstart.retention import TEXTS, Retention, drift, features, forgotten, unmoved
from warmstart.stages import Draw, Trained, head_for
from warmstart.starts import Pretrained, Start

LANGUAGE_TEXTS = 32  # of the task's: both models read them


def forgetting(trained: Trained, start: Start, draw: Draw) -> Retention | None:
    """Of a language model what it says worse than its base; else how far its features moved. None without a base."""
    if not isinstance(start, Pretrained):
        return None
    test = draw.splits.test
    if start.base.joined or not trained.steps:
        return None  # what two copies of an encoder say before they have learned to write is nothing to be kept
    if speaks(trained.model):
        return _language_forgotten(trained, start, draw)
    if not trained.body_learned:
        return unmoved(min(TEXTS, len(test)))
    examples = as_read(test, start, draw)
    device = next(trained.model.parameters()).device
    before = draw.shared.of_base(
        f"{start.name} {start.pooling} {start.inputs.key} {len(examples)} test rows",
        lambda: features(start.body(draw.seed).to(device), start.pooling, examples, world()),
    )
    return drift(before, features(trained.model.body, start.pooling, examples, world()))


def speaks(model: Model) -> bool:
    """Whether a language model is held against its base by what they say: not by what a random output layer says."""
    return isinstance(model.head, LanguageHead) and (isinstance(model.body, Pair) or not model.head.fresh)


def _language_forgotten(trained: Trained, start: Pretrained, draw: Draw) -> Retention:
    """Against the base itself: on some test rows, and on general text."""
    base = untuned(trained.model, start, draw)
    asked = spread(draw.splits.test, start, draw)
    return forgotten(base, trained.model, asked, measured_on(base, start, draw), world=world())


def untuned(model: Model, start: Pretrained, draw: Draw) -> Model:
    """What a language model was before it was tuned, its head with it."""
    body = start.body(draw.seed)
    return Model(body, *head_for(body, start, draw.task, draw.seed)).to(next(model.parameters()).device).eval()


def spread(rows: Rows, start: Pretrained, draw: Draw, most: int = LANGUAGE_TEXTS) -> Examples:
    """Some of the study's rows as the task reads them, from all over the file, which is often sorted."""
    count = min(most, len(rows))
    some = rows.take(np.arange(count) * len(rows) // count)
    return draw.shared.examples(draw.task.reads(start.inputs), some, draw.task.targets(some))


def as_read(rows: Rows, start: Pretrained, draw: Draw) -> Examples:
    """The same as a body reads them, whatever the task asks."""
    count = min(TEXTS, len(rows))
    some = rows.take(np.arange(count) * len(rows) // count)
    return draw.shared.examples(start.inputs, some, np.zeros(count, dtype=np.float32))


def measured_on(base: Model, start: Pretrained, draw: Draw) -> Examples | None:
    """General text: what the user gave, else what the base says; None for a base that does not write."""
    if start.base.kind != "decoder":
        return None
    documents = Documents(start.base.location, start.base.inputs.max_length)
    texts = draw.general or sampled_text(base, documents.tokenizer, cache_folder() / "sampled")
    return general_rows(documents, texts)
