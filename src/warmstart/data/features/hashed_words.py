"""Hashed words: how does the reference network read a text? As a set of hashed words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from warmstart.data.encoding.inputs import Inputs, Ragged, WordRows
from warmstart.data.tables.disk_array import DiskArray
from warmstart.data.tables.strings import BLOCK


@dataclass(frozen=True)
class HashedWords(Inputs):
    """scikit-learn's HashingVectorizer: lower-case words of two letters and more, English stop words left out.

    Binary, l2-normalized: a text of n different words has n features of weight 1 / sqrt(n).
    """

    features: int = 5000

    @property
    def key(self) -> str:
        return f"hashed:{self.features}"

    def encode(self, texts: Sequence[str]) -> WordRows:
        from sklearn.feature_extraction.text import HashingVectorizer

        vectorizer = HashingVectorizer(n_features=self.features, stop_words="english", binary=True, norm="l2")
        features, lengths, weights = DiskArray(np.int32), DiskArray(np.int64), DiskArray(np.float32)
        for start in range(0, len(texts), BLOCK):
            matrix = vectorizer.transform(texts[start : start + BLOCK])
            features.append(matrix.indices)
            lengths.append(np.diff(matrix.indptr))
            weights.append(matrix.data)
        return WordRows(Ragged(features.array(), np.cumsum(np.append(0, lengths.array()))), weights.array())

    def save(self, folder: Path) -> None:
        """Nothing: the hash needs no vocabulary."""

    def to_json(self) -> dict[str, Any]:
        return {"kind": "hashed words", "features": self.features}
