"""Domains: what does a base make of the task's texts, beside other text? Measured once for a study, on few rows."""

import math
import time
from collections.abc import Sequence

import numpy as np
import torch

from warmstart.data import conversations
from warmstart.data.language import Documents
from warmstart.data.schema import TEXT_OUT, Schema
from warmstart.data.split import Rows
from warmstart.data.spool import cache_folder
from warmstart.device import best_device
from warmstart.evaluate import resample
from warmstart.general import sampled_text
from warmstart.mismatch import Mismatch, apart, as_long, divergence, spelling
from warmstart.models.model import UNPOOLED, Model
from warmstart.prefix import Examples, outputs
from warmstart.record import Array, Estimate
from warmstart.retention import features
from warmstart.starts import Pretrained
from warmstart.weights import Base

TEXTS = 400  # of each kind, that are told apart
READ = 32  # of each kind, whose bits are counted


def measure_mismatch(base: Base, rows: Rows, schema: Schema, general: Sequence[str]) -> Mismatch | None:
    """Of training rows. `general`: the reference text; none: what a decoder itself says; an encoder has none then.

    None where the rows hold no word.
    """
    began = time.perf_counter()
    texts = _said(rows, schema)
    tokenizer = base.inputs.tokenizer.backend_tokenizer
    spelled = spelling(texts, tokenizer)
    if spelled is None:
        return None
    start = Pretrained(base)
    decoder = base.kind == "decoder"
    model: Model | None = None
    reference, named = list(general), "--retain"
    if decoder:
        body = start.body(0)
        model = Model(body, start.language_head(body), UNPOOLED).to(best_device()).eval()
        if not general:
            said = Documents(base.location, base.inputs.max_length).tokenizer
            named = f"what {base.name} itself says"
            reference = sampled_text(model, said, cache_folder() / "sampled")
    if not reference:
        return Mismatch(base.name, spelled, seconds=time.perf_counter() - began)
    some = _spread(texts, TEXTS)
    others = _spread(as_long(some, reference), TEXTS)
    read = 0
    bits: list[Estimate | None] = [None, None]
    by_features: Estimate | None = None
    if model is not None:
        counted = [_bits(model, base, _spread(each, READ)) for each in (texts, reference)]
        bits, read = [each for each, _ in counted], sum(tokens for _, tokens in counted)
    elif min(len(some), len(others)):
        body = start.body(0).to(best_device())
        found = [features(body, start.pooling, _examples(base, each)) for each in (some, others)]
        by_features = apart(found[0], found[1])
        read = sum(base.inputs.count([*some, *others]))
    return Mismatch(
        base=base.name,
        spelling=spelled,
        reference=named,
        reference_texts=len(reference),
        reference_spelling=spelling(reference, tokenizer),
        divergence=divergence(some, others),
        apart_by_words=apart(some, others),
        apart_by_features=by_features,
        bits_per_byte=bits[0],
        reference_bits_per_byte=bits[1],
        tokens_read=read,
        seconds=time.perf_counter() - began,
    )


def _said(rows: Rows, schema: Schema) -> list[str]:
    """What there is to read: of a conversation what is said in it."""
    texts = _spread(rows.texts, 2_000)
    if schema.task not in TEXT_OUT:
        return texts
    return ["\n".join(turn.content for turn in conversations.read(text)) for text in texts]


def _spread(texts: Sequence[str], most: int) -> list[str]:
    count = min(most, len(texts))
    return [texts[i * len(texts) // count] for i in range(count)]


def _examples(base: Base, texts: Sequence[str]) -> Examples:
    encoded = base.inputs.encode(texts)
    at = np.arange(len(texts))
    return Examples(encoded, at, torch.zeros(len(texts)), at)


def _bits(model: Model, base: Base, texts: Sequence[str]) -> tuple[Estimate | None, int]:
    """Bits a byte under the base's own output layer, and the tokens that were read."""
    encoded = Documents(base.location, base.inputs.max_length).encode(texts)
    at = np.arange(len(texts))
    found: Array = outputs(model, Examples(encoded, at, torch.zeros(len(texts)), at)).astype(np.float64)
    known = found[:, 2] > 0
    if not known.any():
        return None, 0
    drawn = resample([np.stack([found[known, 0] / math.log(2), found[known, 2]], axis=1)])
    return drawn.estimate, int(found[:, 1].sum())
