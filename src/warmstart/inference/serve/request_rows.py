"""Request rows: how do the rows in a request become the rows that a model predicts?"""

import json
from collections.abc import Sequence
from typing import Any

from warmstart.data.schema.schema import Schema
from warmstart.data.tables.images import bytes_of_text
from warmstart.errors import InputError, shorten
from warmstart.inference.predict import NewRows, TrainedModel


def rows_of_request(trained: TrainedModel, rows: Sequence[Any]) -> NewRows:
    """The rows as `predict` reads them. Raises InputError for what is neither a text nor an object of single values."""
    rows = _with_images(trained.stored.schema, rows)
    if not all(isinstance(row, str | dict) for row in rows):
        raise InputError("a row is neither an object of its columns nor a text.", 'send [{"column": "value"}]')
    mixed: set[str] = set()
    kinds: dict[str, bool] = {}
    for i, row in enumerate(rows, 1):
        for name, cell in row.items() if isinstance(row, dict) else ():
            if isinstance(cell, list | dict) and not trained.stored.task.writes:
                kind = "a list" if isinstance(cell, list) else "an object"
                raise InputError(
                    f"row {i}: column {shorten(name)} holds {kind}.", "send a text, a number, true, false or null"
                )
            if cell is not None and kinds.setdefault(name, isinstance(cell, str)) != isinstance(cell, str):
                mixed.add(name)
    if mixed:  # what one row says must not hang on how another is written
        rows = [
            {name: _as_text(cell) if name in mixed else cell for name, cell in row.items()}
            if isinstance(row, dict)
            else row
            for row in rows
        ]
    return trained.new_rows(rows)


def _with_images(schema: Schema, rows: Sequence[Any]) -> Sequence[Any]:
    """The same rows with the bytes of images, which are sent in base64; no file of the server is read.

    Raises InputError for what is no base64.
    """
    names = [column.name for column in schema.columns if column.kind == "image"]
    if not names:
        return rows
    found = []
    for i, row in enumerate(rows, 1):
        if isinstance(row, str | bytes) and len(schema.columns) == 1:
            row = {names[0]: row}
        if isinstance(row, dict):
            row = row | {name: _image_of(row.get(name), name, i) for name in names}
        found.append(row)
    return found


def _image_of(cell: Any, name: str, row: int) -> bytes | None:
    if cell is None or isinstance(cell, bytes):
        return cell
    found = bytes_of_text(cell) if isinstance(cell, str) else None
    if found is None:
        raise InputError(
            f"row {row}: column {shorten(name)} holds no image in base64.",
            'send the content of a file: {"' + name + '": "data:image/jpeg;base64,..."}',
        )
    return found


def _as_text(cell: Any) -> str | None:
    return cell if cell is None or isinstance(cell, str) else json.dumps(cell)
