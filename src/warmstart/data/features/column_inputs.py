"""Column inputs: how does a network read a table: the texts by its body, and the other columns beside them?"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from warmstart.data.encoding.inputs import Encoded, Inputs, Tokens, WordRows
from warmstart.data.encoding.language import LANGUAGE_KEYS
from warmstart.data.features.columns import NUMBER_PIECES, ColumnFeatures
from warmstart.data.features.reading import Reading, columns_of
from warmstart.data.features.term_inputs import GrowingSparse
from warmstart.data.rows.split import Rows
from warmstart.data.rows.values import NO_COLUMNS, ColumnValues
from warmstart.data.schema.cell_values import Values
from warmstart.data.schema.columns import Column
from warmstart.data.tables.strings import BLOCK
from warmstart.runtime.files import read_json, read_tensors, reading_ours, write_arrays, write_json
from warmstart.types import Array

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
    columns: ColumnFeatures

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


def fit_columns(inputs: Inputs, rows: Rows, columns: Sequence[Column]) -> ColumnFeatures | None:
    """What a network with these inputs reads beside them, by these training rows.

    None where there is nothing but text, where no column says anything, or where a body reads no tokens.
    """
    reading = columns_of(rows, columns)
    if not reading.typed or inputs.tokens is None:
        return None
    found = ColumnFeatures.fit(reading, rows.columns, unseen=True, pieces=NUMBER_PIECES)
    return found if found.says else None


def beside_columns(inputs: Inputs, columns: ColumnFeatures | None) -> Inputs:
    """The same inputs with these columns beside them."""
    return inputs if columns is None else ColumnInputs(text_columns(inputs, columns.reading), columns)


def save_columns(folder: Path, columns: ColumnFeatures) -> None:
    facts, arrays = columns.to_json()
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / COLUMN_FACTS, facts | {"reading": columns.reading.to_json()})
    write_arrays(folder / COLUMN_ARRAYS, {name: np.ascontiguousarray(array) for name, array in arrays.items()})


def load_columns(folder: Path, remedy: str) -> ColumnFeatures:
    """What `save_columns` wrote. Raises InputError, with this remedy, where it is damaged."""
    facts = read_json(folder / COLUMN_FACTS, dict[str, Any], remedy)
    arrays = {name: tensor.numpy() for name, tensor in read_tensors(folder / COLUMN_ARRAYS, remedy).items()}
    with reading_ours(folder / COLUMN_FACTS, remedy):
        return ColumnFeatures.from_json(facts, arrays, Reading.from_json(facts["reading"]))
