"""Does an inferred schema fit its data, and is a file that is no schema refused?"""

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from warmstart.data.schema.structured import (
    describe_schema,
    dump_json,
    infer_json_schema,
    misfit,
    parse_objects,
    read_schema,
)
from warmstart.data.tables.formats import usual_type
from warmstart.data.tables.read import Table, read_table
from warmstart.errors import InputError, UsageError

ROOMS = ["hall", "office", "kitchen"]


def table(**columns: object) -> Table:
    made = pa.table({name: pa.array(list(values)) for name, values in columns.items()})  # type: ignore[call-overload]
    usual = pa.table({name: usual_type(made[name]) for name in made.column_names})
    return Table(usual, ("lamps.csv",), (usual.num_rows,))


def test_a_schema_is_inferred_that_its_objects_fit() -> None:
    values: list[dict[str, Any]] = [
        {
            "room": ROOMS[i % 3],
            "name": f"lamp {i}",
            "price": i + 0.5 * (i % 2),
            "count": i,
            "sold": i % 2 == 0,
            "tags": ["new", "red"][: i % 3],
            "size": {"cm": i},
        }
        for i in range(60)
    ]
    del values[7]["count"]
    schema = infer_json_schema(values)
    assert schema["properties"] == {
        "room": {"type": "string", "enum": sorted(ROOMS)},
        "name": {"type": "string"},
        "price": {"type": "number"},
        "count": {"type": "integer"},
        "sold": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string", "enum": ["new", "red"]}},
        "size": {
            "type": "object",
            "properties": {"cm": {"type": "integer"}},
            "required": ["cm"],
            "additionalProperties": False,
        },
    }
    assert "count" not in schema["required"] and len(schema["required"]) == 6
    problem = misfit(schema)
    assert {problem(value) for value in values} == {None}
    assert problem(values[0] | {"room": "attic"}) == "$.room: 'attic' is not one of ['hall', 'kitchen', 'office']"
    assert problem(values[0] | {"more": 1}) is not None
    assert describe_schema(schema).startswith("room (one of 3 values), name (string), price (number)")
    assert "tags (list of one of 2 values)" in describe_schema(schema)


def test_what_is_null_in_some_rows_keeps_its_structure() -> None:
    """A nullable object took any keys, a nullable list any items, and its values were no longer listed."""
    rooms = [{"room": ROOMS[i % 3] if i % 4 else None} for i in range(60)]
    values = [{"size": {"cm": 3}, "tags": ["new"], **rooms[i]} for i in range(59)]
    schema = infer_json_schema([*values, {"size": None, "tags": None, **rooms[59]}])
    assert schema["properties"] == {
        "size": {**infer_json_schema([{"cm": 3}]), "type": ["null", "object"]},
        "tags": {"type": ["array", "null"], "items": {"type": "string", "enum": ["new"]}},
        "room": {"type": ["null", "string"], "enum": [*sorted(ROOMS), None]},
    }
    assert misfit(schema)(values[0] | {"size": {"inch": 1}}) and not misfit(schema)(values[0] | {"size": None})


def test_mixed_kinds_many_keys_and_nothing() -> None:
    assert infer_json_schema([{"a": 1}, {"a": "x"}, {"a": None}])["properties"] == {
        "a": {"type": ["integer", "null", "string"]}
    }
    assert infer_json_schema([{f"key {i}": 1} for i in range(60)]) == infer_json_schema([]) == {"type": "object"}
    few = infer_json_schema([{"a": f"value {i}"} for i in range(9)])
    assert few["properties"] == {"a": {"type": "string"}}  # nine values of nine rows are no list to choose from
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000)  # libraries of other tests may have raised it
    try:
        with pytest.raises(InputError, match="nested too deeply"):
            infer_json_schema([deep])
    finally:
        sys.setrecursionlimit(limit)


def test_fields_make_an_object_without_what_is_missing() -> None:
    lamps = table(
        room=["hall", None, " "],
        tags=["new, red", "", "blue"],
        price=[1.0, None, 2.5],
        parts=[["a", None], [], None],
        sold=[True, False, None],
    )
    assert list(parse_objects(lamps, "", ("room", "tags", "price", "parts", "sold"), ",")) == [
        {"room": "hall", "tags": ["new", "red"], "price": 1, "parts": ["a"], "sold": True},
        {"parts": [], "sold": False},
        {"tags": ["blue"], "price": 2.5},
    ]
    assert list(parse_objects(lamps, "", ("room",), None)) == [{"room": "hall"}, None, None]


def test_fields_of_json_files_keep_their_kind(tmp_path: Path) -> None:
    """Nested objects came as text with escaped quotes, lists of numbers as lists of texts."""
    rows = [
        {"size": {"cm": i, "tall": i > 3}, "parts": [{"n": i}, {"n": 2}], "years": [i, 2], "shares": [i, 0.5]}
        | {"tags": ["1", "2"], "seen": [True], "grid": [[1, 2], [3]], "note": "{so}" if i else None}
        for i in range(6)
    ]
    for name, some in (("a.jsonl", rows), ("b.jsonl", [{**rows[1], "years": []}])):
        (tmp_path / name).write_text("\n".join(map(json.dumps, some)))
    found = list(parse_objects(read_table(tmp_path), "", tuple(rows[0]), None))
    assert found[1:6] == rows[1:] and found[0] == {name: value for name, value in rows[0].items() if value is not None}
    assert found[6] == {**rows[1], "years": []}


def test_a_target_holds_objects_as_json_or_as_they_are() -> None:
    lamps = table(
        json=['{"a": 1}', "", None, "no", '{"a": NaN}'],
        struct=[{"a": 1.0, "b": None}, None, None, None, None],
    )
    assert list(parse_objects(lamps, "json", (), None)) == [{"a": 1}, None, None, "no", '{"a": NaN}']
    assert list(parse_objects(lamps, "struct", (), None)) == [{"a": 1}, None, None, None, None]


def test_keys_are_written_in_the_order_of_the_schema() -> None:
    inner = {"properties": {"x": {}, "y": {}}}
    schema = {"properties": {"b": {"items": inner}, "a": inner}}
    value = {"z": 1, "a": {"y": "ü", "x": 2}, "b": [{"y": 3, "x": 4}]}
    assert dump_json(value, schema) == '{"b": [{"x": 4, "y": 3}], "a": {"x": 2, "y": "ü"}, "z": 1}'


def test_keys_are_in_order_also_behind_references_and_alternatives() -> None:
    """Such as pydantic writes them: an answer in another order cannot be written while held to the schema."""
    lamp = {"properties": {"x": {}, "y": {}, "in": {"$ref": "#/$defs/la~1mp"}}}
    schema = {
        "$defs": {"la/mp": lamp},
        "properties": {
            "b": {"anyOf": [{"$ref": "#/$defs/la~1mp"}, {"type": "null"}]},
            "a": {"type": "array", "items": {"$ref": "#/$defs/la~1mp"}},
        },
    }
    value = {"a": [{"y": 1, "x": 2}], "b": {"in": {"y": 3, "x": 4}, "y": 5}}
    assert dump_json(value, schema) == '{"b": {"y": 5, "in": {"x": 4, "y": 3}}, "a": [{"x": 2, "y": 1}]}'
    assert dump_json({"a": 1}, {"$ref": "#"}) == '{"a": 1}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "no JSON Schema: it has none of the keys"),
        ('{"name": "string"}', "no JSON Schema: it has none of the keys"),
        ('{"type": "banana"}', r"no JSON schema: \$.type: 'banana'"),
        ('{"properties": {"a": {"minimum": "x"}}}', r"\$.properties.a.minimum"),
        ('{"$ref": "https://example.org/schema.json"}', "refers to 'https://example.org/schema.json', which is not in"),
        ('{"properties": {"a": {"$ref": "#/$defs/none"}}}', "refers to"),
    ],
)
def test_a_file_that_is_no_schema_is_refused(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        read_schema(path)


def test_a_schema_is_read_from_its_file(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    assert read_schema(tmp_path / "schema.json") == schema
    assert misfit(schema)({"a": "x"}) == "$.a: 'x' is not of type 'integer'"
    with pytest.raises(UsageError, match=r"cannot be read: No such file"):
        read_schema(tmp_path / "none.json")
