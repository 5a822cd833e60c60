"""Class values: what type do the classes of a target have, how are they spelled, and what is a class in Python?"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import pyarrow as pa

from warmstart.data.schema.columns import ClassType, LabelNotation
from warmstart.data.schema.label_sets import holds_whole_numbers
from warmstart.data.tables.cells import each_text
from warmstart.data.tables.read import Table

ClassValue: TypeAlias = str | int | float | bool

MOST_SPELLED = 10_000  # classes whose spelling is stored


def class_type(table: Table, name: str, notation: LabelNotation | None) -> ClassType:
    """Type of the classes in a column. Texts are booleans if all of them are true or false, in upper or lower case."""
    column = table.columns[name]
    if notation is not None:
        return "integer" if holds_whole_numbers(column, notation) else "text"
    if pa.types.is_integer(column.type):
        return "integer"
    if pa.types.is_floating(column.type):
        return "number"
    return "boolean" if pa.types.is_boolean(column.type) or _all_booleans(table, name) else "text"


def read_classes(table: Table, name: str, kind: ClassType) -> Iterator[str | None]:
    """The class of each row as text, alike whatever file it came from: 'true' for True, '1' for 1.0; None: missing."""
    once: dict[str, str] = {}  # one object for all rows of a class
    for label in each_text(table.columns[name]):
        if label is None or not label.strip():
            yield None
        else:
            known = label.strip().lower() if kind == "boolean" else label
            yield once.setdefault(known, known)


def find_spellings(table: Table, name: str, kind: ClassType) -> dict[str, str]:
    """By class, how it is mostly written in the files, where that is not as Python prints its value: {'1': '1.00'}."""
    if kind == "text":
        return {}
    written = table.as_written(name)
    if not pa.types.is_large_string(written.type):
        return {}
    counts: dict[str, Counter[str]] = {}
    for label, cell in zip(read_classes(table, name, kind), each_text(written), strict=True):
        if label is not None and cell is not None:
            counts.setdefault(label, Counter())[cell.strip()] += 1
            if len(counts) > MOST_SPELLED:
                return {}
    common = {label: cells.most_common(1)[0][0] for label, cells in counts.items()}
    return {label: cell for label, cell in common.items() if cell != str(class_value(label, kind))}


def class_value(label: str, kind: ClassType) -> ClassValue:
    """The class as a value of its type.

    >>> class_value("7", "integer"), class_value("7", "number"), class_value("true", "boolean")
    (7, 7.0, True)
    """
    if kind == "integer":
        return int(label)
    if kind == "number":
        return float(label)
    return label == "true" if kind == "boolean" else label


def typed_prediction(found: object, kind: ClassType) -> object:
    """One class, or a list of labels, as values of their type."""
    if isinstance(found, list):
        return [class_value(label, kind) for label in found]
    return class_value(str(found), kind)


def spelled_prediction(found: object, kind: ClassType, spellings: Mapping[str, str]) -> object:
    """The same as texts, as they are written in the training table."""
    if isinstance(found, list):
        return [_spelled(label, kind, spellings) for label in found]
    return _spelled(str(found), kind, spellings)


def _spelled(label: str, kind: ClassType, spellings: Mapping[str, str]) -> str:
    return spellings.get(label) or str(class_value(label, kind))


def _all_booleans(table: Table, name: str) -> bool:
    column = table.columns[name]
    if not pa.types.is_large_string(column.type):
        return False
    known: dict[str, bool] = {}
    for cell in each_text(column):
        if cell is not None and cell.strip():
            known[cell] = known.get(cell) or cell.strip().lower() in ("true", "false")
            if not known[cell]:
                return False
    return bool(known)
