"""Predict: new rows through a trained model, in the target's own units."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from torch import nn

from warmstart.data.read import Table
from warmstart.data.split import write_texts
from warmstart.errors import InputError, did_you_mean
from warmstart.store import Stored, load_model

CHUNK = 2_000  # rows encoded and predicted at a time


@dataclass(frozen=True)
class Trained:
    """A model that was trained, ready to predict."""

    stored: Stored
    folder: Path

    @property
    def regime(self) -> str:
        return self.stored.regime

    def predict(self, data: Sequence[str] | Sequence[Mapping[str, Any]] | Table) -> list[dict[str, Any]]:
        """One dict for each row: 'prediction' in the target's units, with 'low' and 'high' (regression) or 'probability'.

        `data`: texts as they are, mappings with the columns the model was trained on, or a table that was read.
        Raises InputError where a column is missing.
        """
        return list(self.stream(self._texts(data)))

    def stream(self, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The same, as it comes."""
        stored = self.stored
        for start in range(0, len(texts), CHUNK):
            outputs = stored.predictor.outputs(list(texts[start : start + CHUNK]))
            columns = stored.task.predictions(outputs, stored.calibration)
            for values in zip(*columns.values(), strict=True):
                yield dict(zip(columns, values, strict=True))

    def texts_of(self, table: Table) -> list[str]:
        """The inputs of a table's rows, written as they were for training; the target need not be there."""
        schema = self.stored.schema
        for column in schema.text:
            if column not in table.columns.column_names:
                raise InputError(
                    f"column {column!r}, which the model reads, is not in the data.",
                    did_you_mean(column, table.columns.column_names),
                )
        return write_texts(table, schema)

    def _texts(self, data: Sequence[str] | Sequence[Mapping[str, Any]] | Table) -> list[str]:
        if isinstance(data, Table):
            return self.texts_of(data)
        if isinstance(data, str):
            raise InputError("one text was given where a list of them was expected.", "write predict([text])")
        texts = [row for row in data if isinstance(row, str)]
        if len(texts) == len(data):
            return texts
        columns = pa.Table.from_pylist([dict(row) for row in data if not isinstance(row, str)])
        return self.texts_of(Table(columns, ("the given rows",), (len(data),)))


def load(folder: str | Path, *, code: str | None = None, build: Callable[[], nn.Module] | None = None) -> Trained:
    """The model of a run, or the winner of a study.

    `code` ("file.py:function") or `build` is needed for a model whose architecture is somebody's own.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"there is no folder {str(folder)!r}.", "name the folder of a finished run or study")
    inner = path / "winner"
    stored = load_model(inner if (inner / "model.json").exists() else path, code=code, build=build)
    return Trained(stored, path)


