"""Structured: which JSON objects are valid answers?"""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from warmstart.data.schema.json_schema import check_schema, shortened_message
from warmstart.data.tables.read import Table
from warmstart.data.tables.strings import cell_blocks
from warmstart.errors import InputError, UsageError, join_phrases
from warmstart.runtime.limits import bounded

MOST_VALUES = 50  # of a field that takes one of a few values; of the keys of an object
ROWS_PER_VALUE = 5  # on average, at least
JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
# A JSON Schema that has none of these says nothing.
KEYWORDS = frozenset({"type", "properties", "$ref", "anyOf", "oneOf", "allOf", "enum", "const", "required", "items"})

# --- the objects of a table -------------------------------------------------------------------------------------------


def parse_objects(table: Table, target: str, fields: Sequence[str], separator: str | None) -> Iterator[object]:
    """The value of each row: the object made of `fields`, or what the target column holds; None where it is missing.

    A text that is no JSON comes as it is. A field whose cell is blank is left out of the object.
    """
    if not fields:
        return (_parsed(cell) for block in cell_blocks(table.columns[target]) for cell in block.to_pylist())
    columns = [_field(table, name, separator) for name in fields]
    return (
        {name: value for name, value in zip(fields, values, strict=True) if value is not None} or None
        for values in zip(*columns, strict=True)
    )


def _field(table: Table, name: str, separator: str | None) -> Iterator[object]:
    column = table.columns[name]
    if _holds_json(column):
        return (_plain(_from_text(cell)) for block in cell_blocks(column) for cell in block.to_pylist())
    cells = (_plain(cell) for block in cell_blocks(column) for cell in block.to_pylist())
    if separator and any(separator in cell for cell in _texts(column)):
        return (_split(cell, separator) if isinstance(cell, str) else cell for cell in cells)
    return cells


def _holds_json(column: Any) -> bool:
    """Whether each text in it, or in its lists, is a JSON object or list: so they come from files of JSON."""
    cells = (cell for block in cell_blocks(column) for cell in block.to_pylist())
    texts = (text for cell in cells for text in (cell if isinstance(cell, list) else [cell]) if text is not None)
    first = next(texts, None)
    return all(isinstance(_from_text(text), dict | list) for text in itertools.chain([first], texts))


def _from_text(cell: object) -> object:
    """What a text says if it is a JSON object or list, and so each item of a list; anything else as it is."""
    if isinstance(cell, list):
        return [_from_text(item) for item in cell]
    found = _parsed(cell) if isinstance(cell, str) and cell.lstrip()[:1] in ("{", "[") else cell
    return found if isinstance(found, dict | list) else cell


def _texts(column: Any) -> Iterator[str]:
    return (cell for block in cell_blocks(column) for cell in block.to_pylist() if isinstance(cell, str))


def _split(cell: str, separator: str) -> list[str]:
    return [part.strip() for part in cell.split(separator) if part.strip()]


def _plain(cell: object) -> object:
    """The cell as JSON knows it: whole numbers without a fraction, nothing where it is blank."""
    if isinstance(cell, float):
        if cell != cell:
            return None
        return int(cell) if cell.is_integer() and abs(cell) < 1e15 else cell
    if isinstance(cell, str):
        return cell if cell.strip() else None
    if isinstance(cell, list):
        return [value for item in cell if (value := _plain(item)) is not None]
    if isinstance(cell, dict):
        return {key: value for key, item in cell.items() if (value := _plain(item)) is not None}
    return cell if cell is None or isinstance(cell, bool | int) else str(cell)


def _parsed(cell: object) -> object:
    if not isinstance(cell, str):
        return _plain(cell)
    if not cell.strip():
        return None
    try:
        return json.loads(cell, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return cell


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def dump_json(value: object, json_schema: dict[str, Any]) -> str:
    """The value as JSON, its keys in the order of the schema, as constrained decoding writes them."""
    return json.dumps(_ordered(value, json_schema, json_schema), ensure_ascii=False)


def _ordered(value: object, json_schema: object, root: dict[str, Any]) -> object:
    known = list(_parts(json_schema, root, ())) if isinstance(value, list | dict) else []
    if isinstance(value, list):
        items = {"allOf": [part["items"] for part in known if "items" in part]}
        return [_ordered(item, items, root) for item in value]
    if not isinstance(value, dict):
        return value
    properties: dict[str, list[object]] = {}
    for part in known:
        for name, each in (part.get("properties") or {}).items():
            properties.setdefault(name, []).append(each)
    names = [*(name for name in properties if name in value), *(name for name in value if name not in properties)]
    return {name: _ordered(value[name], {"allOf": properties.get(name, [])}, root) for name in names}


def _parts(json_schema: object, root: dict[str, Any], via: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The schema, and those that it is made of: what it refers to (once each), and its alternatives."""
    if not isinstance(json_schema, dict):
        return
    yield json_schema
    reference = json_schema.get("$ref")
    if isinstance(reference, str) and reference not in via:
        yield from _parts(_referred(reference, root), root, (*via, reference))
    for keyword in ("allOf", "anyOf", "oneOf"):
        for part in json_schema.get(keyword) or ():
            yield from _parts(part, root, via)


def _referred(reference: str, root: dict[str, Any]) -> object:
    """What stands in the schema at a place such as #/$defs/lamp; None for any other kind of name."""
    found: Any = root
    for name in reference.removeprefix("#").split("/")[1:]:
        found = found.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found if reference.startswith("#") else None


# --- the schema -------------------------------------------------------------------------------------------------------


def infer_json_schema(values: Iterable[object]) -> dict[str, Any]:
    """A JSON Schema that all the objects among these values fit. Raises InputError where they are nested too deeply.

    Of texts that take at most 50 values, each five times on average, it lists the values.
    """
    found = [value for value in values if isinstance(value, dict)]
    try:
        return _inferred(found) if found else {"type": "object"}
    except RecursionError as error:
        raise InputError("the JSON objects are nested too deeply", "flatten them") from error


def _inferred(values: Sequence[Any]) -> dict[str, Any]:
    there = [value for value in values if value is not None]
    if there and len(there) < len(values):
        return _or_null(_inferred(there))
    kinds = sorted({JSON_TYPES.get(type(value), "null") for value in values})
    if kinds == ["object"]:
        names = list(dict.fromkeys(name for value in values for name in value))
        if len(names) > MOST_VALUES:  # keys that are data
            return {"type": "object"}
        return {
            "type": "object",
            "properties": {name: _inferred([value[name] for value in values if name in value]) for name in names},
            "required": [name for name in names if all(name in value for value in values)],
            "additionalProperties": False,
        }
    if kinds == ["array"]:
        items = [item for value in values for item in value]
        return {"type": "array", "items": _inferred(items)} if items else {"type": "array"}
    if kinds == ["string"]:
        distinct = sorted(set(values))
        if len(distinct) <= MOST_VALUES and len(values) >= ROWS_PER_VALUE * len(distinct):
            return {"type": "string", "enum": distinct}
    if kinds == ["integer", "number"]:
        kinds = ["number"]
    return {"type": kinds[0] if len(kinds) == 1 else kinds}


def _or_null(json_schema: dict[str, Any]) -> dict[str, Any]:
    kinds = json_schema["type"]
    more = {"enum": [*json_schema["enum"], None]} if "enum" in json_schema else {}
    return {**json_schema, **more, "type": sorted([*(kinds if isinstance(kinds, list) else [kinds]), "null"])}


def describe_schema(json_schema: dict[str, Any]) -> str:
    """The schema in words, for a note: 'section (string), tags (list of one of 12 texts)'."""
    properties = json_schema.get("properties") or {}
    return join_phrases([f"{name} ({_kind(each)})" for name, each in properties.items()]) or "of any kind"


def _kind(json_schema: object) -> str:
    known = json_schema if isinstance(json_schema, dict) else {}
    if "enum" in known:
        return f"one of {len(known['enum'])} values"
    if known.get("type") == "array":
        return f"list of {_kind(known.get('items'))}"
    kind = known.get("type", "anything")
    return " or ".join(map(str, kind)) if isinstance(kind, list) else str(kind)


def read_schema(path: Path) -> dict[str, Any]:
    """The JSON Schema in a file. Raises UsageError where there is none, or where it refers to another file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be read: {error.strerror}", "check --schema") from error
    except (ValueError, RecursionError) as error:
        reason = "is nested too deeply" if isinstance(error, RecursionError) else f"is not JSON: {error}"
        raise UsageError(f"{path} {reason}", "correct it, or leave out --schema to infer one from the data") from error
    hint = 'write for example {"type": "object", "properties": {"name": {"type": "string"}}}, or leave out --schema'
    if not isinstance(found, dict) or not KEYWORDS & found.keys():
        raise UsageError(f"{path} is no JSON Schema: it has none of the keys type, properties, anyOf", hint)
    check_schema(found, str(path))
    kinds = found.get("type", "object")
    if "object" not in (kinds if isinstance(kinds, list) else [kinds]):
        raise UsageError(f"{path} describes values of type {join_phrases([kinds])}, but an answer is an object", hint)
    return found


def misfit(json_schema: dict[str, Any]) -> Callable[[object], str | None]:
    """A function that says why a value does not fit the schema, or None where it does."""
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry

    # An empty registry: nothing is ever fetched.
    validator = validator_for(json_schema, Draft202012Validator)(json_schema, registry=Registry())

    def problem(value: object) -> str | None:
        with bounded("checking a value against the JSON schema", "simplify the patterns in it"):
            error = next(validator.iter_errors(value), None)
        return f"{error.json_path}: {shortened_message(error)}" if error else None

    return problem
