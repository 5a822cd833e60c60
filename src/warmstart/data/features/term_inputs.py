"""Term inputs: how does a wide and deep network read a row: as weighted terms of its text, and as its columns?"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from warmstart.data.encoding.inputs import Encoded, Inputs, Ragged, WordRows
from warmstart.data.features.column_features import ColumnFeatures
from warmstart.data.features.reading import WORDS, Reading, columns_of
from warmstart.data.features.terms import Terms, encode_terms, term_choices, terms_from_json, terms_to_json
from warmstart.data.rows.read_columns import NO_COLUMNS, ColumnValues
from warmstart.data.rows.split import Rows
from warmstart.data.schema.cell_values import Values
from warmstart.data.schema.columns import Column
from warmstart.data.tables.disk_array import DiskArray
from warmstart.data.tables.strings import BLOCK
from warmstart.runtime.files import read_json, read_tensors, reading_ours, write_arrays, write_json
from warmstart.runtime.sampling import spread_places
from warmstart.types import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

VOCABULARY_ROWS = 50_000  # training rows whose terms are counted, spread over all: memory stays bounded
# Characters and rows that are encoded together, about. In larger blocks more words recur, and each is cut into pieces
# only once; longer texts take more memory.
TERM_BLOCK_CHARACTERS, MOST_BLOCK = 3_000_000, 50_000
TERM_FACTS, TERM_ARRAYS = "terms.json", "terms.safetensors"


@dataclass(frozen=True)
class TermRows(Encoded):
    """Terms and columns of each row, with their weights."""

    terms: WordRows
    columns: WordRows | None  # None: a text is all there is

    def __len__(self) -> int:
        return len(self.terms)

    def sizes(self) -> Array:
        return self.terms.sizes() if self.columns is None else self.terms.sizes() + self.columns.sizes()

    def words(self, index: Array) -> list[int]:
        """A row's terms, for word dropout: columns are never dropped."""
        return self.terms.words(index)

    def batch(self, index: Array, kept: Sequence[Array] | None = None) -> dict[str, Tensor]:
        found = self.terms.batch(index, kept)
        if self.columns is not None:
            found |= {f"column_{name}": tensor for name, tensor in self.columns.batch(index).items()}
        return found

    @property
    def pads(self) -> bool:
        return False


@dataclass(frozen=True, eq=False)
class TermInputs(Inputs):
    """The terms and columns of `linear`. `fit` finds the vocabulary and the categories in the training rows."""

    terms: tuple[Terms, ...] = ()
    reading: Reading = WORDS
    columns: ColumnFeatures | None = None

    @classmethod
    def fit(cls, rows: Rows, columns: Sequence[Column]) -> "TermInputs":
        """Vocabulary, document frequencies, and column features from these rows."""
        reading = columns_of(rows, columns)
        some = rows.take(spread_places(VOCABULARY_ROWS, len(rows)))
        words = reading.words(some.texts, some.columns)
        terms = term_choices(words)[-1] if any(text.strip() for text in words) else ()
        found = ColumnFeatures.fit(reading, rows.columns, unseen=True) if reading.typed else None
        return cls(terms, reading, found if found and found.says else None)

    @property
    def of_rows(self) -> bool:
        return True

    @property
    def term_count(self) -> int:
        return sum(len(kind.vocabulary) for kind in self.terms)

    @property
    def column_count(self) -> int:
        return self.columns.width if self.columns else 0

    @cached_property
    def key(self) -> str:
        facts, arrays = self._parts
        digest = hashlib.sha256(repr(facts).encode())
        for name in sorted(arrays):
            digest.update(np.ascontiguousarray(arrays[name]).data)
        return f"terms:{digest.hexdigest()}"

    def encode(self, texts: Sequence[str]) -> TermRows:
        return self.encode_rows(texts, NO_COLUMNS)

    def encode_rows(self, texts: Sequence[str], columns: Mapping[str, Values]) -> TermRows:
        """Raises InputError where columns are read and not given."""
        words, read = GrowingSparse(), GrowingSparse()
        values = ColumnValues(columns)
        start, count = 0, BLOCK
        while start < len(texts):
            end = min(start + count, len(texts))
            some = values.take(np.arange(start, end))
            written = self.reading.words(texts[start:end], some)
            words.append(encode_terms(self.terms, written) if self.terms else None, end - start)
            if self.columns:
                read.append(self.columns.encode(some), end - start)
            length = max(1, sum(map(len, written)) // len(written))
            start, count = end, max(1, min(MOST_BLOCK, TERM_BLOCK_CHARACTERS // length))
        return TermRows(words.rows(), read.rows() if self.columns else None)

    @property
    def _parts(self) -> tuple[dict[str, Any], dict[str, Array]]:
        terms, arrays = terms_to_json(self.terms)
        facts: dict[str, Any] = {"terms": terms, "reading": self.reading.to_json()}
        if self.columns:
            said, more = self.columns.to_json()
            facts["columns"] = said
            arrays |= more
        return facts, arrays

    def save(self, folder: Path) -> None:
        facts, arrays = self._parts
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / TERM_FACTS, facts)
        write_arrays(folder / TERM_ARRAYS, {name: np.ascontiguousarray(array) for name, array in arrays.items()})

    def to_json(self) -> dict[str, Any]:
        return {"kind": "terms"}


def load_term_inputs(folder: Path, remedy: str) -> TermInputs:
    """The inputs that `save` wrote. Raises InputError, with this remedy, if they are damaged."""
    facts = read_json(folder / TERM_FACTS, dict[str, Any], remedy)
    arrays = {name: tensor.numpy() for name, tensor in read_tensors(folder / TERM_ARRAYS, remedy).items()}
    with reading_ours(folder / TERM_FACTS, remedy):
        terms = terms_from_json(facts["terms"], arrays)
        reading = Reading.from_json(facts["reading"])
        columns = ColumnFeatures.from_json(facts["columns"], arrays, reading) if "columns" in facts else None
        return TermInputs(terms, reading, columns)


class GrowingSparse:
    """Sparse rows that become more; many lie in a file."""

    def __init__(self) -> None:
        self._features, self._lengths, self._weights = DiskArray(np.int32), DiskArray(np.int64), DiskArray(np.float32)

    def append(self, matrix: "csr_matrix | None", count: int) -> None:
        """The next `count` rows; None: empty ones."""
        if matrix is None:
            self._lengths.append(np.zeros(count, dtype=np.int64))
            return
        self._features.append(matrix.indices)
        self._lengths.append(np.diff(matrix.indptr))
        self._weights.append(matrix.data)

    def rows(self) -> WordRows:
        features, offsets = self._features.array(), np.cumsum(np.append(0, self._lengths.array()))
        return WordRows(Ragged(features, offsets), self._weights.array())
