"""JSON schema: what is none is named with its place, and what does not fit is told."""

from typing import Any

import pytest

from warmstart.data.schema.json_schema import SchemaMismatch, check_schema, schema_validator
from warmstart.errors import UsageError

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ([1], r"\[1\]: no JSON schema"),
        ("string", "'string': no JSON schema"),
        ({"type": "strin"}, r"JSON schema: \$\.type: 'strin'"),
        ({"properties": {"a": {"minimum": "low"}}}, r"\$\.properties\.a\.minimum: 'low'"),
        ({"$ref": "https://example.org/person.json"}, "refers to 'https://example.org/person.json'"),
        ({"items": [{"$ref": "#/$defs/none"}], "$schema": "http://json-schema.org/draft-07/schema#"}, "#/[$]defs/none"),
    ],
)
def test_what_is_no_schema_is_named(schema: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_schema(schema)


def test_a_schema_may_refer_to_its_own_parts() -> None:
    schema = {"$defs": {"person": PERSON}, "type": "array", "items": {"$ref": "#/$defs/person"}}
    assert check_schema(schema) is schema
    assert schema_validator(schema)('[{"name": "Ada"}]') == [{"name": "Ada"}]


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"age": 3}', '{"name": "Ada", "age": -1}', '{"name": "Ada", "age": NaN}', "[" * 100_000, "9" * 5_000],
)
def test_what_does_not_fit_is_told(text: str) -> None:
    read = schema_validator(PERSON)
    assert read('{"name": "Ada", "age": 36}') == {"name": "Ada", "age": 36}
    with pytest.raises(SchemaMismatch):
        read(text)


def test_what_is_no_number_in_json_is_none_here() -> None:
    with pytest.raises(SchemaMismatch, match="NaN"):
        schema_validator({})("[NaN]")
