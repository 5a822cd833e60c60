"""Column inputs: how does a network read a table: texts or images by its body, and the other columns beside them?"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from warmstart.data.encoding.inputs import Encoded, Inputs, Tokens, WordRows
from warmstart.data.encoding.language_inputs import LANGUAGE_KEYS
from warmstart.data.features.column_features import NUMBER_PIECES, ColumnFeatures
from warmstart.data.features.reading import Reading, columns_of
from warmstart.data.features.term_inputs import VOCABULARY_ROWS, GrowingSparse
from warmstart.data.features.terms import Terms, encode_terms, terms_from_json, terms_to_json
from warmstart.data.rows.read_columns import NO_COLUMNS, ColumnValues
from warmstart.data.rows.split import Rows
from warmstart.data.schema.cell_values import Values
from warmstart.data.schema.columns import Column
from warmstart.data.tables.strings import BLOCK
from warmstart.runtime.files import read_json, read_tensors, reading_ours, write_arrays, write_json
from warmstart.runtime.sampling import spread_places
from warmstart.types import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

COLUMN_FACTS, COLUMN_ARRAYS = "columns.json", "columns.safetensors"
COLUMN_KEYS = ("joined_features", "joined_offsets", "joined_weights")  # of a batch
HEAD_KEYS = (*LANGUAGE_KEYS, *COLUMN_KEYS)  # of a batch: read by the head alone


@dataclass(frozen=True)
class TextColumns(Inputs):
    """What other inputs make of the columns of text of each row; of rows without columns, of their texts."""

    inner: Inputs
    reading: Reading

    @property
    def key(self) -> str:
        return f"{self.inner.key} of {self.reading.named('text')}"

    @property
    def tokens(self) -> Tokens | None:
        return self.inner.tokens

    def words(self, texts: Sequence[str], columns: Mapping[str, Values]) -> Sequence[str]:
        """What is read of each row."""
        return self.reading.words(texts, columns) if columns else texts

    def encode(self, texts: Sequence[str]) -> Encoded:
        return self.inner.encode(texts)

    def encode_rows(self, texts: Sequence[str], columns: Mapping[str, Values]) -> Encoded:
        return self.inner.encode_rows(self.words(texts, columns), columns)

    def save(self, folder: Path) -> None:
        self.inner.save(folder)

    def to_json(self) -> dict[str, Any]:
        return self.inner.to_json()


def text_columns(inputs: Inputs, reading: Reading) -> Inputs:
    """The same inputs on the columns of text, where there are any beside others; else on the whole row as a text."""
    kinds = {column.kind for column in reading.columns}
    return TextColumns(inputs, reading) if "text" in kinds and len(kinds) > 1 and "image" not in kinds else inputs


@dataclass(frozen=True, eq=False)
class FeaturesBeside:
    """What a head reads of a row beside what its body reads: columns, and terms where the body reads no text."""

    columns: ColumnFeatures
    terms: tuple[Terms, ...] = ()
    longest: int = 0  # terms of a training row, at most

    @classmethod
    def fit(cls, reading: Reading, rows: Rows, texts: bool) -> "FeaturesBeside":
        """Of these training rows; `texts`: whether their texts are read as terms."""
        columns = ColumnFeatures.fit(reading, rows.columns, unseen=True, pieces=NUMBER_PIECES)
        some = rows.take(spread_places(VOCABULARY_ROWS, len(rows)))
        words = reading.words(some.texts, some.columns) if texts and reading.named("text") else ()
        if not any(text.strip() for text in words):
            return cls(columns)
        terms = (Terms.fit(words, "word", (1, 2)),)
        return cls(columns, terms, int(np.diff(encode_terms(terms, words).indptr).max()))

    @property
    def reading(self) -> Reading:
        return self.columns.reading

    @property
    def says(self) -> bool:
        """Whether anything differs between rows."""
        return self.columns.says or bool(self.terms)

    @property
    def width(self) -> int:
        return self.columns.width + sum(len(kind.vocabulary) for kind in self.terms)

    @property
    def most(self) -> int:
        """Features that a row has at most."""
        return self.columns.most + self.longest

    def encode(self, columns: Mapping[str, Values]) -> "csr_matrix":
        """Sparse float32 [n, width]."""
        from scipy.sparse import csr_matrix, hstack

        found: csr_matrix = self.columns.encode(columns)
        if self.terms:
            words = self.reading.words((), columns)
            found = hstack([found, encode_terms(self.terms, words)], format="csr")
        return found

    def to_json(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """(facts, arrays) for `from_json`."""
        facts, arrays = self.columns.to_json()
        if self.terms:
            terms, more = terms_to_json(self.terms)
            facts, arrays = facts | {"terms": terms, "longest": self.longest}, arrays | more
        return facts, arrays

    @classmethod
    def from_json(cls, facts: Mapping[str, Any], arrays: Mapping[str, Array], reading: Reading) -> "FeaturesBeside":
        terms = terms_from_json(facts.get("terms", ()), arrays)
        return cls(ColumnFeatures.from_json(facts, arrays, reading), terms, int(facts.get("longest", 0)))


@dataclass(frozen=True)
class ColumnRows(Encoded):
    """What a body reads of each row, and the features of its columns."""

    body: Encoded
    columns: WordRows

    @property
    def of_body(self) -> Encoded:
        return self.body

    def __len__(self) -> int:
        return len(self.body)

    def sizes(self) -> Array:
        return self.body.sizes()

    def words(self, index: Array) -> list[int]:
        """Of its text: columns are never dropped."""
        return self.body.words(index)

    def batch(self, index: Array, kept: Sequence[Array] | None = None) -> dict[str, Tensor]:
        beside = self.columns.batch(index)
        return self.body.batch(index, kept) | {f"joined_{name}": tensor for name, tensor in beside.items()}

    @property
    def pads(self) -> bool:
        return self.body.pads

    def loss_weights(self) -> Array:
        return self.body.loss_weights()

    def highest(self) -> tuple[int, int | None]:
        return self.body.highest()

    def used_tokens(self) -> Array:
        return self.body.used_tokens()

    @property
    def flips(self) -> bool:
        return self.body.flips

    def in_epoch(self, epoch: int) -> Encoded:
        return self.on_body(self.body.in_epoch(epoch))

    def on_body(self, rows: Encoded) -> Encoded:
        return replace(self, body=rows)


@dataclass(frozen=True, eq=False)
class ColumnInputs(Inputs):
    """A body's inputs, and columns beside them."""

    body: Inputs
    columns: FeaturesBeside

    @property
    def of_body(self) -> Inputs:
        return self.body

    @property
    def tokens(self) -> Tokens | None:
        return self.body.tokens

    @property
    def of_rows(self) -> bool:
        return True

    @cached_property
    def key(self) -> str:
        facts, arrays = self.columns.to_json()
        digest = hashlib.sha256(repr((facts, self.columns.reading.to_json())).encode())
        for name in sorted(arrays):
            digest.update(np.ascontiguousarray(arrays[name]).data)
        return f"{self.body.key} beside columns:{digest.hexdigest()}"

    def like(self, inputs: Inputs) -> Inputs:
        return text_columns(inputs, self.columns.reading)

    def encode(self, texts: Sequence[str]) -> Encoded:
        return self.encode_rows(texts, NO_COLUMNS)

    def encode_rows(self, texts: Sequence[str], columns: Mapping[str, Values]) -> Encoded:
        """Raises InputError where columns are not given."""
        return self.join(self.body.encode_rows(texts, columns), columns)

    def join(self, rows: Encoded, columns: Mapping[str, Values]) -> Encoded:
        values, read = ColumnValues(columns), GrowingSparse()
        for start in range(0, len(rows), BLOCK):
            end = min(start + BLOCK, len(rows))
            read.append(self.columns.encode(values.take(np.arange(start, end))), end - start)
        return ColumnRows(rows, read.rows())

    def save(self, folder: Path) -> None:
        self.body.save(folder)

    def to_json(self) -> dict[str, Any]:
        return self.body.to_json()


def fit_columns(inputs: Inputs, rows: Rows, columns: Sequence[Column]) -> FeaturesBeside | None:
    """What a network with these inputs reads beside them, by these training rows.

    None where there is nothing but text or images, where no column says anything, or where a body reads neither.
    """
    reading = columns_of(rows, columns)
    if not reading.typed or not (inputs.tokens or inputs.reads_images):
        return None
    found = FeaturesBeside.fit(reading, rows, texts=inputs.reads_images)
    return found if found.says else None


def beside_columns(inputs: Inputs, columns: FeaturesBeside | None) -> Inputs:
    """The same inputs with these columns beside them."""
    return inputs if columns is None else ColumnInputs(text_columns(inputs, columns.reading), columns)


def save_columns(folder: Path, columns: FeaturesBeside) -> None:
    facts, arrays = columns.to_json()
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / COLUMN_FACTS, facts | {"reading": columns.reading.to_json()})
    write_arrays(folder / COLUMN_ARRAYS, {name: np.ascontiguousarray(array) for name, array in arrays.items()})


def load_columns(folder: Path, remedy: str) -> FeaturesBeside:
    """What `save_columns` wrote. Raises InputError, with this remedy, where it is damaged."""
    facts = read_json(folder / COLUMN_FACTS, dict[str, Any], remedy)
    arrays = {name: tensor.numpy() for name, tensor in read_tensors(folder / COLUMN_ARRAYS, remedy).items()}
    with reading_ours(folder / COLUMN_FACTS, remedy):
        return FeaturesBeside.from_json(facts, arrays, Reading.from_json(facts["reading"]))
