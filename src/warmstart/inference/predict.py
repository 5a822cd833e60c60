"""Predict: what does a trained model say about new rows, in the target's own units?"""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import nn

from warmstart.data.rows.read_columns import NO_COLUMNS, ColumnValues, read_columns
from warmstart.data.rows.usable_rows import readable_texts
from warmstart.data.schema.class_values import spelled_prediction, typed_prediction
from warmstart.data.schema.conversations import write_prompt
from warmstart.data.schema.infer_text import OPTIONAL
from warmstart.data.schema.schema import TEXT_OUT
from warmstart.data.tables.in_memory import InMemory, by_column, is_in_memory, rows_of, table_of
from warmstart.data.tables.read import Table, read_table
from warmstart.errors import InputError, RowError, count_phrase, did_you_mean, join_phrases, shell_word, shorten
from warmstart.generation.answers import AnswerWriter
from warmstart.inference.model_store import StoredModel, load_model
from warmstart.types import Array

CHUNK = 2_000  # rows encoded and predicted at a time
NewData = Iterable[str | None] | Iterable[Mapping[str, Any]] | InMemory | Table | Path


@dataclass(frozen=True)
class TrainedModel:
    """A model that was trained, ready to predict."""

    stored: StoredModel
    folder: Path

    @property
    def regime(self) -> str:
        return self.stored.regime

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes or labels that it predicts; empty for other tasks."""
        return tuple(self.stored.task.to_json().get("classes", ()))

    @staticmethod
    def probability_name(name: str) -> str:
        """What the probability of a class is called."""
        return f"probability of {name}"

    def predict(self, data: NewData, *, every_class: bool = False) -> list[dict[str, Any]]:
        """One dict for each row: 'prediction' in the target's units; 'low' and 'high' of it, or its 'probability'.

        A row from which nothing can be predicted has None for its 'prediction' and says why as its 'reason'.
        `every_class`: with 'probability of ...' for each class as well.

        `data`: texts as they are, or a Series or an array of them; mappings with the columns the model was trained on,
        a DataFrame or a table; a `Path` of a file. Raises InputError where a column is missing, and for anything else.
        Warns of cells that cannot be read as their columns are, and which count as missing.
        """
        new = self.new_rows(data)
        for said in new.warnings:
            warnings.warn(said, stacklevel=2)
        return list(self.stream(new, every_class=every_class))

    @property
    def columns_written(self) -> tuple[str, ...]:
        """Names of the columns of a prediction, without those of `every_class`."""
        task, calibration = self.stored.task, self.stored.calibration
        if task.name == "regression":
            return ("prediction", "low", "high") if "quantile" in calibration else ("prediction",)
        if task.name == "classification":
            return ("prediction", "probability", "expected_cost")
        return ("prediction",)

    def stream(
        self, rows: "NewRows | Sequence[str]", *, every_class: bool = False, spelled: bool = False
    ) -> Iterator[dict[str, Any]]:
        """The same, as it comes; `rows`: texts as the model reads them.

        `spelled`: classes are texts, spelled as in the training table: for CSV, which knows no types.
        """
        stored = self.stored
        task = stored.task.generative
        new = rows if isinstance(rows, NewRows) else self._checked(NewRows(rows))
        writer = None if task is None else text_writer(stored)
        many = CHUNK
        if writer is not None:
            many = writer.answers_at_once
        for start in range(0, len(new.texts), many):
            some = list(new.texts[start : start + many])
            there = [i for i in range(len(some)) if start + i not in new.reasons]
            asked = [some[i] for i in there]
            with _named(new.before + start, there):
                if not asked:
                    predicted = []
                elif writer is None or task is None:
                    columns = new.columns.take(start + np.array(there, dtype=np.int64))
                    predicted = self._predicted(asked, columns, every_class)
                else:
                    predicted = [{"prediction": answer} for answer in writer.answers(asked, task)]
            predicted = [self._in_own_type(row, spelled) for row in predicted]
            self._check_finite(predicted, [new.before + start + i + 1 for i in there])
            answers = dict(zip(there, predicted, strict=True))
            yield from (
                answers.get(i, {"prediction": None, "reason": new.reasons.get(start + i)}) for i in range(len(some))
            )

    def _predicted(self, texts: Sequence[str], columns: ColumnValues, every_class: bool) -> list[dict[str, Any]]:
        stored = self.stored
        outputs = stored.predictor.outputs(texts, columns)
        found = stored.task.predictions(outputs, stored.calibration)
        shares = stored.task.probabilities(outputs, stored.calibration) if every_class else None
        if shares is not None:
            names = map(self.probability_name, self.classes)
            found = found | dict(zip(names, shares.T.astype(float).tolist(), strict=True))
        return [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]

    def _in_own_type(self, row: dict[str, Any], spelled: bool) -> dict[str, Any]:
        """The same prediction; a class of the type that it has in the training table, or spelled as it is there."""
        schema = self.stored.schema
        if schema.task != "classification" or schema.class_type == "text":
            return row
        found, kind = row["prediction"], schema.class_type
        typed = spelled_prediction(found, kind, schema.spellings) if spelled else typed_prediction(found, kind)
        return row | {"prediction": typed}

    def _check_finite(self, found: Sequence[Mapping[str, Any]], numbers: Sequence[int]) -> None:
        """Raises InputError, with the rows' numbers, where something predicted is no finite number."""
        lost = [
            number
            for number, row in zip(numbers, found, strict=True)
            if any(isinstance(value, float) and not math.isfinite(value) for value in row.values())
        ]
        if lost:
            raise InputError(
                f"the model in {self.folder} predicts no finite number for {count_phrase(len(lost), 'row', 'rows')}: "
                f"{join_phrases(lost)}.",
                "leave these rows out if they differ from what it was trained on; if all are affected, train again",
            )

    def outputs(self, texts: Sequence[str], columns: ColumnValues = NO_COLUMNS) -> Array:
        """What the head gives for each row, float32 [n, k]."""
        parts = [np.arange(start, min(start + CHUNK, len(texts))) for start in range(0, len(texts), CHUNK)]
        outputs = self.stored.predictor.outputs
        return np.concatenate([outputs([*texts[part[0] : part[-1] + 1]], columns.take(part)) for part in parts])

    def rows_of(self, table: Table) -> "NewRows":
        """What the model reads of each row of a table, which need not have the target.

        Also why nothing can be predicted from some rows, and warnings of cells that cannot be read as their columns
        are; these count as missing. Raises InputError if a column is missing.
        """
        complete, schema = self._complete(table), self.stored.schema
        columns = read_columns(complete, schema)
        texts, reasons = readable_texts(complete, schema, columns)
        said = tuple(f"{cells.problem(table)}." for cells in columns.unread)
        return self._checked(NewRows(texts, reasons, said, columns.values, table.before))

    def _complete(self, table: Table) -> Table:
        """The table with all columns that are read, by the names that the model knows; those that training could leave
        blank may not be there.
        """
        schema = self.stored.schema
        table = table.renamed(schema.renames_for(table.columns.column_names))
        known = table.columns.column_names
        beside = [name for name in (schema.system, schema.history) if name and name not in known]
        missing = [column for column in schema.text if column not in known]
        needed = [column for column in missing if schema.task != "chat" or column.lower() not in OPTIONAL]
        if needed or len(missing) == len(schema.text):
            lacking = needed or missing
            which = f"column {lacking[0]!r}, which is"
            if len(lacking) > 1:
                which = f"columns {join_phrases(lacking, quote=True)}, which are"
            raise InputError(
                f"{join_phrases(table.files, 3)}: the model reads {which} not there.", did_you_mean(lacking[0], known)
            )
        columns = table.columns
        for name in schema.text if schema.task not in TEXT_OUT else ():
            if pa.types.is_struct(columns[name].type) and schema.column(name).kind in ("text", "category"):
                raise InputError(f"column {name!r} holds objects.", "give a text, a number, true, false or nothing")
        for name in (*missing, *beside):
            columns = columns.append_column(name, pa.nulls(columns.num_rows, pa.large_string()))
        return replace(table, columns=columns)

    def _checked(self, new: "NewRows") -> "NewRows":
        """The same with why there is no prediction where a text is blank, or leaves a model that writes no room."""
        stored, reasons = self.stored, dict(new.reasons)
        task = stored.task.generative
        writer = text_writer(stored) if task is not None and task.long != "chunks" else None
        for i, text in enumerate(new.texts):
            if i not in reasons and not text.strip():
                reasons[i] = "there is nothing to read"
            elif i not in reasons and writer is not None:
                try:
                    writer.check_room([text])
                except RowError as error:
                    reasons[i] = error.reason
        return replace(new, reasons=reasons)

    def new_rows(self, data: Any) -> "NewRows":
        """What the model reads of each row. Parameters and errors as of `predict`; it says its warnings, warns not."""
        if isinstance(data, Path):
            return self.rows_of(read_table(data))
        if is_in_memory(data):
            return self.rows_of(table_of(data))
        if isinstance(data, str | bytes) or not isinstance(data, Iterable | np.ndarray):
            what = "one text" if isinstance(data, str) else f"a {type(data).__name__}"
            raise InputError(f"{what} was given where a list of texts was expected.", "write predict([text])")
        rows = rows_of(data)
        odd = next((i for i, row in enumerate(rows) if not isinstance(row, str | Mapping) and row is not None), None)
        if odd is not None:
            raise InputError(
                f"row {odd + 1} is a {type(rows[odd]).__name__}: {shorten(rows[odd], 40)}, expected a text.",
                "give texts, mappings of columns to cells, or a DataFrame",
            )
        mappings = [row for row in rows if isinstance(row, Mapping)]
        if not mappings:
            return self._of_texts(rows)
        if len(mappings) < len(rows):
            raise InputError("texts and rows with columns were given together.", "give all of them in one form")
        return self.rows_of(table_of(by_column(mappings)))

    def _of_texts(self, texts: Sequence[str | None]) -> "NewRows":
        schema = self.stored.schema
        if texts and (
            len(schema.columns) > 1 or any(column.kind not in ("text", "category") for column in schema.columns)
        ):
            columns = f"column{'s' * (len(schema.text) > 1)} {join_phrases(schema.text, quote=True)}"
            raise InputError(
                f"texts alone were given, but the model reads the {columns}.",
                f"give a DataFrame with these columns, or a list of mappings such as {{{schema.text[0]!r}: ...}}",
            )
        reasons = {i: "there is no text" for i, text in enumerate(texts) if text is None}
        for i, text in enumerate(texts):
            if text is not None and any("\ud800" <= letter <= "\udfff" for letter in text):
                reasons[i] = "it holds half of a character"
        there = ["" if i in reasons else text or "" for i, text in enumerate(texts)]
        if schema.task in TEXT_OUT:
            there = [write_prompt(schema.instruction or "", text) if text.strip() else "" for text in there]
        return self._checked(NewRows(there, reasons))


@dataclass(frozen=True)
class NewRows:
    """Texts as a model reads them, and why there can be no prediction for some of them."""

    texts: Sequence[str]
    reasons: Mapping[int, str] = field(default_factory=dict)  # by their place, from 0
    warnings: tuple[str, ...] = ()  # sentences: of cells that cannot be read, and count as missing
    columns: ColumnValues = NO_COLUMNS  # the typed values of the same rows, of a table
    before: int = 0  # rows before the first, where they are a part of a file

    @classmethod
    def joined(cls, parts: Sequence["NewRows"]) -> "NewRows":
        """The parts one after another. They must have the same columns."""
        starts = np.cumsum([0, *(len(part.texts) for part in parts)]).tolist()
        return cls(
            [text for part in parts for text in part.texts],
            {
                int(start) + i: said
                for start, part in zip(starts, parts, strict=False)
                for i, said in part.reasons.items()
            },
            tuple(said for part in parts for said in part.warnings),
            ColumnValues.joined([part.columns for part in parts]),
        )


@contextmanager
def _named(start: int, places: Sequence[int]) -> Iterator[None]:
    """Inside, a row that cannot be used is named by its number in the table; `places` of the rows are after `start`."""
    try:
        yield
    except RowError as error:
        raise error.in_table(start + places[error.at] + 1) from error


def text_writer(stored: StoredModel) -> AnswerWriter:
    """The generator of answers. The model's task must generate text."""
    assert stored.writer is not None
    return stored.writer


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
    """The folder of a run's model, or of a study's winner. Raises InputError if there is none."""
    if not path.is_dir():
        raise InputError(f"there is no folder {str(path)!r}.", "name the folder of a finished run or study")
    inner = path / "winner"
    stored_in = inner if (inner / "model.json").exists() else path
    if not (stored_in / "model.json").exists() and (path / "request.json").exists():
        if (path / "study.json").exists() and any(path.glob("runs/*/model.json")):
            raise InputError(
                f"{str(path)!r} is finished, but its model, {str(inner)!r}, is not there.",
                f"write it again with: warmstart resume {shell_word(path)}",
            )
        if any((path / name).exists() for name in ("run.json", "study.json")):  # which come at the end
            raise InputError(
                f"{str(path)!r} is finished, but left no model: what was trained failed.",
                f"see why with: warmstart runs {shell_word(path)}",
            )
        raise InputError(
            f"{str(path)!r} holds no trained model yet.", f"finish it with: warmstart resume {shell_word(path)}"
        )
    return stored_in
