"""Forgetting: what has a trained model lost of what its base could do?"""

import numpy as np
import torch

from warmstart.converted import cache_folder
from warmstart.data.language import Documents
from warmstart.engine import world
from warmstart.general import sampled_text
from warmstart.models.model import UNPOOLED, Model
from warmstart.prefix import Examples
from warmstart.retention import TEXTS, Retention, drift, features, forgotten, unmoved
from warmstart.stages import Draw, Trained
from warmstart.starts import Pretrained, Start

LANGUAGE_TEXTS = 32  # of each kind: both models read them
SAMPLED_TOKENS = 64  # of each text that the base itself says


def forgetting(trained: Trained, start: Start, draw: Draw) -> Retention | None:
    """Of a language model what it says worse than its base; else how far its features moved. None without a base."""
    if not isinstance(start, Pretrained):
        return None
    test = draw.splits.test
    if start.base.joined:
        return None  # what two copies of an encoder say before they have learned to write is nothing to be kept
    if trained.model.pooling == UNPOOLED:
        return _language_forgotten(trained, start, draw) if trained.steps else None
    count = min(TEXTS, len(test))
    if not trained.body_learned:
        return unmoved(count)
    some = test.take(np.arange(count) * len(test) // count)  # spread out: files are often sorted
    examples = draw.shared.examples(start.inputs, some, np.zeros(count, dtype=np.float32))
    device = next(trained.model.parameters()).device
    before = draw.shared.of_base(
        f"{start.name} {start.pooling} {start.inputs.key} {count} test rows",
        lambda: features(start.body(draw.seed).to(device), start.pooling, examples, world()),
    )
    return drift(before, features(trained.model.body, start.pooling, examples, world()))


def _language_forgotten(trained: Trained, start: Pretrained, draw: Draw) -> Retention:
    """Against the base itself: on some test rows, and on general text."""
    body = start.body(draw.seed)
    base = Model(body, start.language_head(body), UNPOOLED).to(next(trained.model.parameters()).device).eval()
    test = draw.splits.test
    count = min(LANGUAGE_TEXTS, len(test))
    some = test.take(np.arange(count) * len(test) // count)
    inputs = draw.task.reads(start.inputs)
    asked = draw.shared.examples(inputs, some, draw.task.targets(some))
    if start.base.kind != "decoder":
        return forgotten(base, trained.model, asked, world=world())
    documents = Documents(start.base.location, start.base.inputs.max_length)
    texts = draw.general or tuple(
        sampled_text(base, documents.tokenizer, cache_folder() / "sampled", LANGUAGE_TEXTS, SAMPLED_TOKENS)
    )
    encoded = documents.encode(texts)
    at = np.arange(len(texts))
    general = Examples(encoded, at, torch.zeros(len(texts)), encoded.sizes(), at)
    return forgotten(base, trained.model, asked, general, world=world())
