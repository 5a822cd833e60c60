"""Predict: what does a trained model say about new rows, in the target's own units?"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from warmstart.data.rows.examples import write_texts
from warmstart.data.rows.values import ReadColumns, read_columns
from warmstart.data.schema.conversations import write_prompt
from warmstart.data.schema.schema import TEXT_OUT
from warmstart.data.tables.read import InMemory, Table, is_in_memory, table_of
from warmstart.errors import InputError, RowError, did_you_mean, join_phrases
from warmstart.generation.answers import Writer
from warmstart.inference.model_store import StoredModel, load_model
from warmstart.types import Array

CHUNK = 2_000  # rows encoded and predicted at a time
FEW, FEW_ON_CPU = 64, 16  # answers written at a time: none is given before all of them are written


@dataclass(frozen=True)
class TrainedModel:
    """A model that was trained, ready to predict."""

    stored: StoredModel
    folder: Path

    @property
    def regime(self) -> str:
        return self.stored.regime

    def predict(self, data: Sequence[str] | Sequence[Mapping[str, Any]] | InMemory) -> list[dict[str, Any]]:
        """One dict for each row: 'prediction' in the target's units; 'low' and 'high' of it, or its 'probability'.

        `data`: texts as they are, mappings with the columns the model was trained on, a DataFrame or a table of them.
        Raises InputError where a column is missing.
        """
        return list(self.stream(self.texts(data)))

    def stream(self, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The same, as it comes."""
        stored = self.stored
        task = stored.task.generative
        if task is not None:
            writer = text_writer(stored)
            few = FEW_ON_CPU if next(writer.model.parameters()).device.type == "cpu" else FEW
            for start in range(0, len(texts), few):
                asked = list(texts[start : start + few])
                there = [i for i, text in enumerate(asked) if text]
                with _named(start, there):
                    answers = iter(writer.answers([asked[i] for i in there], task))
                yield from ({"prediction": next(answers) if text else ""} for text in asked)
            return
        for start in range(0, len(texts), CHUNK):
            some = list(texts[start : start + CHUNK])
            # a language model says nothing of a text with nothing in it
            there = [i for i, text in enumerate(some) if text.strip() or not stored.task.learns_language]
            with _named(start, there):
                rows = iter(self._predicted([some[i] for i in there]) if there else ())
            read = set(there)
            yield from (next(rows) if i in read else {"prediction": None} for i in range(len(some)))

    def _predicted(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        stored = self.stored
        columns = stored.task.predictions(stored.predictor.outputs(texts), stored.calibration)
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def outputs(self, texts: Sequence[str]) -> Array:
        """What the head gives for each text, float32 [n, k]."""
        parts = [list(texts[start : start + CHUNK]) for start in range(0, len(texts), CHUNK)]
        return np.concatenate([self.stored.predictor.outputs(part) for part in parts])

    def read_columns(self, table: Table) -> ReadColumns:
        """The typed values of a table's columns, read as they were for training; the target need not be there.

        Raises InputError where a column is missing.
        """
        schema, known = self.stored.schema, table.columns.column_names
        missing = [column for column in schema.text if column not in known]
        if missing:
            raise InputError(
                f"{join_phrases(table.files, 3)}: the model reads column {missing[0]!r}, which is not there.",
                did_you_mean(missing[0], known),
            )
        return read_columns(table, schema)

    def texts_of(self, table: Table) -> Sequence[str]:
        """The inputs of a table's rows, written as they were for training; the target need not be there.

        Warns of cells that cannot be read as their columns are, and which count as missing.
        """
        columns = self.read_columns(table)
        for unread in columns.unread:
            warnings.warn(f"{unread.problem(table)}.", stacklevel=3)
        return write_texts(table, self.stored.schema, columns)

    def texts(self, data: Sequence[str] | Sequence[Mapping[str, Any]] | InMemory) -> Sequence[str]:
        """What the model reads of each row. Parameters and errors as of `predict`."""
        if is_in_memory(data):
            return self.texts_of(table_of(data))
        if isinstance(data, str):
            raise InputError("one text was given where a list of them was expected.", "write predict([text])")
        texts = [row for row in data if isinstance(row, str)]
        if len(texts) == len(data):
            schema = self.stored.schema
            return (
                [write_prompt(schema.instruction or "", text) if text.strip() else "" for text in texts]
                if schema.task in TEXT_OUT
                else texts
            )
        rows = [dict(row) for row in data if not isinstance(row, str)]
        if texts:
            raise InputError("texts and rows with columns were given together.", "give all of them in one form")
        return self.texts_of(table_of(_columns(rows)))


@contextmanager
def _named(start: int, places: Sequence[int]) -> Iterator[None]:
    """Inside, a row that cannot be used is named by its number in the table; `places` of the rows are after `start`."""
    try:
        yield
    except RowError as error:
        raise error.in_table(start + places[error.at] + 1) from error


def text_writer(stored: StoredModel) -> Writer:
    """Who answers. The model must be one of a task that writes."""
    writer = None if stored.network is None else stored.network.writer
    assert writer is not None
    return writer


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows as columns; a cell that a row lacks is missing."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def load_model_for_prediction(
    folder: str | Path, *, code: str | None = None, build: Callable[[], nn.Module] | None = None
) -> TrainedModel:
    """The model of a run, or the winner of a study.

    `code` ("file.py:function") or `build` is needed for a model whose architecture is somebody's own.
    """
    path = Path(folder)
    stored_in = model_folder(path)
    return TrainedModel(load_model(stored_in, code=code, build=build), path)


def model_folder(path: Path) -> Path:
    """Where the model of a run lies, or of a study's winner. Raises InputError where there is none."""
    if not path.is_dir():
        raise InputError(f"there is no folder {str(path)!r}.", "name the folder of a finished run or study")
    inner = path / "winner"
    stored_in = inner if (inner / "model.json").exists() else path
    if not (stored_in / "model.json").exists() and (path / "request.json").exists():
        if any((path / name).exists() for name in ("run.json", "report.html")):  # which come at the end
            raise InputError(
                f"{str(path)!r} is finished, but left no model: what was trained failed.",
                f"see why with: warmstart runs {path}",
            )
        raise InputError(f"{str(path)!r} holds no trained model yet.", f"finish it with: warmstart resume {path}")
    return stored_in
