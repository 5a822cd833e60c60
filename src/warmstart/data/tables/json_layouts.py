"""JSON layouts: how does one JSON object that holds a whole table become its rows?

`DataFrame.to_json` writes five of them; the sixth is a list of rows under some key, as `{"data": [...]}` has it.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from warmstart.data.tables.formats import check_names
from warmstart.errors import InputError, join_phrases

JsonRow = dict[str, Any]
TURN_KEYS = ({"role", "content"}, {"from", "value"})  # of the items of a list that is a conversation, not a table


def rows_of_object(path: Path, found: Mapping[str, Any]) -> tuple[Iterable[JsonRow], str] | None:
    """(rows, how they were written) where the object is a table; None where it is a row by itself.

    Raises InputError for an object that holds several tables, or one of no certain form.
    """
    if not found:
        return None
    if {"columns", "data"} <= found.keys() <= {"columns", "index", "data"} and _lists(found.values()):
        return _split(path, found), "pandas' orient='split'"
    if isinstance(found.get("schema"), dict) and _is_rows(found.get("data")):
        named = found["schema"].get("primaryKey")
        index = set(named) if isinstance(named, list) else set()
        rows = [{name: cell for name, cell in row.items() if name not in index} for row in found["data"]]
        return rows, "pandas' orient='table'"
    if _mappings(found.values()):
        return _nested(found)
    lists = {name: value for name, value in found.items() if _is_rows(value)}
    if len(lists) > 1:
        raise InputError(
            f"{path} holds several lists of objects: {join_phrases(list(lists), quote=True)}",
            "write one of them to a file of its own, as an array of objects",
        )
    if lists:
        name = next(iter(lists))
        others = [other for other in found if other != name]
        unread = f"; not read: {join_phrases(others, quote=True)}" if others else ""
        return lists[name], f"a list under the key {name!r}{unread}"
    if len(found) > 1 and _lists(found.values()) and len({len(value) for value in found.values()}) == 1:
        columns = list(found)
        cells = zip(*found.values(), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in cells], "a list for each column"
    return None


def _split(path: Path, found: Mapping[str, Any]) -> list[JsonRow]:
    columns = [str(name) for name in found["columns"]]
    check_names(path, columns)
    for number, row in enumerate(found["data"], 1):
        if not isinstance(row, list) or len(row) != len(columns):
            raise InputError(
                f"{path}: row {number} is no list of {len(columns)} cells, as 'columns' has it", "write it again"
            )
    return [dict(zip(columns, row, strict=True)) for row in found["data"]]


def _nested(found: Mapping[str, Mapping[str, Any]]) -> tuple[list[JsonRow], str] | None:
    """Of objects in an object: rows below columns, or columns below rows. None where they have no keys in common."""
    inner = list(next(iter(found.values())))
    keys = set(inner)
    if not keys or any(value.keys() != keys for value in found.values()):
        return None
    by_column = all(map(str.isdecimal, inner)) or (not all(map(str.isdecimal, found)) and len(inner) >= len(found))
    if by_column:
        return [{name: cells[key] for name, cells in found.items()} for key in inner], "pandas' orient='columns'"
    return [dict(row) for row in found.values()], "pandas' orient='index'"


def _is_rows(value: object) -> bool:
    """Whether it is a list of objects that are rows, not turns of a conversation."""
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        return False
    return not any(keys <= value[0].keys() for keys in TURN_KEYS)


def _lists(values: Iterable[object]) -> bool:
    return all(isinstance(value, list) for value in values)


def _mappings(values: Iterable[object]) -> bool:
    return all(isinstance(value, dict) for value in values)
