"""Embedder: what does a base, unchanged, make of a text? One vector of length 1, read once and shared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn

from warmstart.data.encoding.examples import Examples
from warmstart.data.encoding.inputs import Inputs
from warmstart.data.features.column_inputs import text_columns
from warmstart.data.features.reading import WORDS, Reading
from warmstart.data.rows.read_columns import NO_COLUMNS
from warmstart.data.schema.cell_values import Values
from warmstart.models.evaluate import outputs
from warmstart.models.model import Model, body_width
from warmstart.models.pretrained.base import Base
from warmstart.regimes.starts import Pretrained
from warmstart.runtime.device import best_device
from warmstart.training.flops import flops
from warmstart.training.frozen_prefix import PrefixCache, SharedData
from warmstart.types import Array


@dataclass(frozen=True, eq=False)
class Embedder:
    """The pooled features of a base, which stays as it is.

    `shared`: the rows of a study. What the base makes of them is computed once for all seeds, and for `frozen` too; it
    lies in the file of `SharedData`. None: every text is read when it is asked for.
    """

    base: Base
    shared: SharedData | None = None
    reading: Reading = WORDS  # of a table whose other columns are read beside: then the base reads its texts alone

    @property
    def inputs(self) -> Inputs:
        """How the base reads a row."""
        return text_columns(self.base.inputs, self.reading)

    def _texts(self, texts: Sequence[str], columns: Mapping[str, Values]) -> Sequence[str]:
        """What the base reads of these rows."""
        return self.reading.words(texts, columns) if self.reads_texts_alone else texts

    @property
    def reads_texts_alone(self) -> bool:
        """Whether it reads the columns of text, not the whole row."""
        return self.inputs != self.base.inputs

    def vectors(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> Array:
        """float32 [n, width], each row of length 1 (Euclidean). `columns`: the typed values of these rows."""
        if not len(texts):
            return np.zeros((0, self.width), dtype=np.float32)
        read = self._texts(texts, columns)
        places = None if self._stored is None else [self._places.get(text, -1) for text in read]
        if self._stored is None or places is None or min(places) < 0:
            encoded = self.base.inputs.encode_rows(read, columns)
            n = len(texts)
            found = outputs(self.model, Examples(encoded, np.arange(n), torch.zeros(n), np.arange(n)))
        else:
            found = self._stored.values[self._stored.starts[places]]
        lengths: Array = np.linalg.norm(found, axis=1, keepdims=True)
        return np.asarray(found / np.maximum(lengths, 1e-12), dtype=np.float32)

    def flops(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> float:
        """Of reading these texts, whether or not they were read before."""
        if not len(texts):
            return 0.0
        if self.base.kind == "image":  # all cost the same
            return len(texts) * float(flops(self.model, {}).forward(np.ones(1), 1.0)[0])
        read = self.base.inputs.encode(self._texts(texts, columns))
        return float(flops(self.model, {}).forward(read.sizes()).sum())

    @property
    def width(self) -> int:
        return body_width(self.model.body)

    @cached_property
    def model(self) -> Model:
        body = Pretrained(self.base).body(0)
        for parameter in body.parameters():
            parameter.requires_grad_(False)
        return Model(body, nn.Identity(), self.base.pooling).to(best_device()).eval()

    @cached_property
    def _stored(self) -> PrefixCache | None:
        """None where there are no rows to share, or no room for what is made of them."""
        return self.shared.features(self.model, self.inputs) if self.shared else None

    @cached_property
    def _places(self) -> dict[str, int]:
        """Where in the rows of the study a text is."""
        assert self.shared is not None
        return {text: place for place, text in enumerate(self._texts(self.shared.texts, self.shared.columns))}
