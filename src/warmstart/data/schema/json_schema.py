"""JSON schema: is this a valid schema, and does a text match it?"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from warmstart.errors import MissingError, UsageError, WarmstartError, shorten
from warmstart.runtime.limits import bounded

JsonSchema = Mapping[str, Any]
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")  # keywords that name another schema


class SchemaMismatch(ValueError):
    """A text is no JSON, or not what the schema asks for."""


def check_schema(schema: object, name: str = "the schema") -> dict[str, Any]:
    """The schema itself. Raises UsageError, with the place, for what is no schema or refers to something outside it."""
    jsonschema = _library()
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    if not isinstance(schema, dict):
        raise UsageError(
            f"{name} is {shorten(schema)}: no JSON schema.", 'write an object, such as {"type": "object", ...}'
        )
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
        references = list(_references(schema))
    except RecursionError:
        raise UsageError(f"{name} is nested too deeply.", "flatten it") from None
    except jsonschema.SchemaError as error:
        raise UsageError(
            f"{name} is no JSON schema: {error.json_path}: {shortened_message(error)}.",
            "correct it there; https://json-schema.org lists the keywords",
        ) from None
    resolver = Registry().resolver_with_root(DRAFT202012.create_resource(schema))
    for reference in references:
        try:
            resolver.lookup(reference)
        except Unresolvable:
            raise UsageError(
                f"{name} refers to {reference!r}, which is not in it.", "put the definition into $defs of the schema"
            ) from None
    return schema


def schema_validator(schema: JsonSchema) -> Callable[[str], Any]:
    """What reads a text as JSON of this schema, and raises Unfit for any other text. Nothing is ever fetched."""
    jsonschema = _library()
    from referencing import Registry

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    validator = kind(schema, registry=Registry())

    def read(text: str) -> Any:
        try:
            value = json.loads(text, parse_constant=_no_number)
            with bounded("checking an answer against the JSON schema", "simplify the patterns in it"):
                error = next(validator.iter_errors(value), None)
        except WarmstartError:
            raise
        except (ValueError, RecursionError) as problem:
            raise SchemaMismatch(str(problem)) from None
        if error is not None:
            raise SchemaMismatch(f"{error.json_path}: {error.message}")
        return value

    return read


def shortened_message(error: Any) -> str:
    """The library's message, which repeats the value, in one short line."""
    text = " ".join(str(error.message).split())
    return text if len(text) <= 120 else f"{text[:119]}…"


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _references(schema: object) -> Iterator[str]:
    parts = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    if isinstance(schema, dict):
        yield from (schema[key] for key in REFERENCES if isinstance(schema.get(key), str))
    for part in parts:
        yield from _references(part)


def _library() -> Any:
    try:
        import jsonschema
    except ImportError as error:
        raise MissingError(
            "JSON schemas need the package jsonschema.", "pip install 'warmstart[structured]'"
        ) from error
    return jsonschema
