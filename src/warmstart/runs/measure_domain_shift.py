"""Measure domain shift: how well does a base know the task's texts? Measured once per study, on few rows."""

import math
import time
from collections.abc import Sequence

import numpy as np
import torch

from warmstart.data.encoding.examples import Examples
from warmstart.data.encoding.language_inputs import Documents
from warmstart.data.rows.split import Rows
from warmstart.data.schema import conversations
from warmstart.data.schema.cell_values import spell
from warmstart.data.schema.schema import TEXT_OUT, Schema
from warmstart.models.evaluate import outputs
from warmstart.models.model import UNPOOLED, Model
from warmstart.models.pretrained.base import Base
from warmstart.regimes.starts import Pretrained
from warmstart.results.bootstrap import resample
from warmstart.results.domain_shift import DomainShift, as_long, classifier_distance, spelling, word_divergence
from warmstart.results.record import Estimate
from warmstart.runs.forgetting_measures import features
from warmstart.runtime.device import best_device
from warmstart.runtime.files import cache_folder
from warmstart.runtime.sampling import spread_places
from warmstart.training.general_text import sampled_text
from warmstart.types import Array

TEXTS_PER_KIND = 400  # of each kind, that a classifier tells apart
CELLS_PER_COLUMN = 1_000  # whose tokens are counted
TEXTS_SCORED = 32  # of each kind, whose bits are counted


def measure_domain_shift(base: Base, rows: Rows, schema: Schema, general: Sequence[str]) -> DomainShift | None:
    """Domain shift of training rows. `general`: the reference text; if none, a decoder's own samples.

    An encoder without a reference text has none. Returns None if the rows contain no words.
    """
    began = time.perf_counter()
    texts = _said(rows, schema)
    tokenizer = base.inputs.tokenizer.backend_tokenizer
    spelled = spelling(_cells(rows, schema) or texts, tokenizer)
    if spelled is None:
        return None
    start = Pretrained(base)
    decoder = base.kind == "decoder"
    model: Model | None = None
    reference, named = list(general), "--general-text"
    if decoder:
        body = start.body(0)
        model = Model(body, start.language_head(body), UNPOOLED).to(best_device()).eval()
        if not general:
            said = Documents(base.location, base.inputs.max_length).tokenizer
            named = f"what {base.name} itself says"
            reference = sampled_text(model, said, cache_folder() / "sampled")
    if not reference:
        return DomainShift(base.name, spelled, seconds=time.perf_counter() - began)
    some = _spread(texts, TEXTS_PER_KIND)
    others = _spread(as_long(some, reference), TEXTS_PER_KIND)
    read = 0
    bits: list[Estimate | None] = [None, None]
    by_features: Estimate | None = None
    if model is not None:
        counted = [_bits(model, base, _spread(each, TEXTS_SCORED)) for each in (texts, reference)]
        bits, read = [each for each, _ in counted], sum(tokens for _, tokens in counted)
    elif min(len(some), len(others)):
        body = start.body(0).to(best_device())
        found = [features(body, start.pooling, _examples(base, each)) for each in (some, others)]
        by_features = classifier_distance(found[0], found[1])
        read = sum(base.inputs.count([*some, *others]))
    return DomainShift(
        base=base.name,
        spelling=spelled,
        reference=named,
        reference_texts=len(reference),
        reference_spelling=spelling(reference, tokenizer),
        divergence=word_divergence(some, others),
        apart_by_words=classifier_distance(some, others),
        apart_by_features=by_features,
        bits_per_byte=bits[0],
        reference_bits_per_byte=bits[1],
        tokens_read=read,
        seconds=time.perf_counter() - began,
    )


def _said(rows: Rows, schema: Schema) -> list[str]:
    """Text of a row; of a conversation, what is said in it."""
    texts = _spread(rows.texts, 2_000)
    if schema.task not in TEXT_OUT:
        return texts
    return ["\n".join(turn.content for turn in conversations.read_turns(text)) for text in texts]


def _cells(rows: Rows, schema: Schema) -> list[str]:
    """The cells of the columns that hold words, as `check` counts their tokens; empty if rows have no columns."""
    columns = [column for column in schema.columns if column.kind in ("text", "category")] if rows.columns else []
    cells = (list(spell(rows.columns[column.name], column)) for column in columns)
    return [cell for several in cells for cell in _spread(several, CELLS_PER_COLUMN)]


def _spread(texts: Sequence[str], most: int) -> list[str]:
    return [texts[i] for i in spread_places(most, len(texts))]


def _examples(base: Base, texts: Sequence[str]) -> Examples:
    encoded = base.inputs.encode(texts)
    at = np.arange(len(texts))
    return Examples(encoded, at, torch.zeros(len(texts)), at)


def _bits(model: Model, base: Base, texts: Sequence[str]) -> tuple[Estimate | None, int]:
    """Bits per byte under the base's own output layer, and the number of tokens."""
    encoded = Documents(base.location, base.inputs.max_length).encode(texts)
    at = np.arange(len(texts))
    found: Array = outputs(model, Examples(encoded, at, torch.zeros(len(texts)), at)).astype(np.float64)
    known = found[:, 2] > 0
    if not known.any():
        return None, 0
    drawn = resample([np.stack([found[known, 0] / math.log(2), found[known, 2]], axis=1)])
    return drawn.estimate, int(found[:, 1].sum())
