"""Scored rows: which rows was a saved run scored on, so that its export can be scored on them again?"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from warmstart.data.rows.split import Rows
from warmstart.data.rows.usable_rows import find_usable_rows
from warmstart.data.schema.schema import CORPUS, TEXT_OUT, Schema
from warmstart.data.tables.read import Table
from warmstart.data.tables.strings import Texts
from warmstart.errors import InputError, join_phrases
from warmstart.results.record import Run
from warmstart.types import Array

KEPT_EXAMPLES = "examples.parquet"
LONGEST_KEPT = 600  # characters of a text that a study keeps: a longer one was cut
GIVE = "name the data that it was trained on with --data FILE"


def rows_of_table(table: Table, schema: Schema, run: Run) -> Rows:
    """The run's test rows by their numbers. Raises InputError where the table lacks a column, or has too few rows."""
    table = table.renamed(schema.renames_for(table.columns.column_names))
    read = dict.fromkeys((*schema.text, *schema.fields, schema.system, schema.history, schema.time, schema.target))
    lacking = next((name for name in read if name and name not in table.columns.column_names), None)
    if lacking is not None:
        target = ", the target," if lacking == schema.target else ""
        raise InputError(
            f"{join_phrases(table.files, 3)}: column {lacking!r}{target} is not there: the export is scored on "
            "the test rows of the run.",
            GIVE,
        )
    found = find_usable_rows(table, schema)
    index = np.asarray(run.predictions["row"], dtype=np.int64) - 1
    if not len(index) or index.max() >= len(found.pieces):
        raise InputError(
            f"the run was scored on row {index.max(initial=0) + 1}, but the data has {len(found.pieces)} rows.", GIVE
        )
    texts = found.pieces.take(index)
    columns = found.columns.values.take(found.owners[index])
    return Rows(texts, found.targets[found.owners[index]], index + 1, texts, columns)


def kept_rows(folders: Sequence[Path], schema: Schema, run: Run, *, typed: bool) -> Rows:
    """The run's test rows by what the study kept of them. Raises InputError where that is not all of them.

    `typed`: the model reads columns, of which only the text made of them is kept.
    """
    file = next((each / KEPT_EXAMPLES for each in folders if (each / KEPT_EXAMPLES).exists()), None)
    if file is None or typed or schema.task in (*TEXT_OUT, *CORPUS):
        raise InputError("the test rows of the run were not kept, and its data is not where it was.", GIVE)
    kept = {entry["row"]: entry["text"] for entry in pq.read_table(file).to_pylist()}
    numbers = run.predictions["row"]
    if any(len(kept.get(number, " " * LONGEST_KEPT)) >= LONGEST_KEPT for number in numbers):
        raise InputError("some test rows of the run are too long to have been kept whole.", GIVE)
    texts = Texts.of(kept[number] for number in numbers)
    return Rows(texts, _targets(run.predictions["target"], schema), np.asarray(numbers, dtype=np.int64), texts)


def _targets(values: Sequence[object], schema: Schema) -> Array:
    if schema.task == "regression":
        return np.asarray(values, dtype=np.float64)
    targets = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        targets[i] = tuple(value) if isinstance(value, list) else value
    return targets
