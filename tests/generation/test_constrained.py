"""Constrain: whatever the model would say, its answer is JSON of the schema, and fits into its tokens."""

import json
from typing import Any

import pytest

from tests.decoders import byte_tokenizer, own_head, prompts, tiny_decoder
from warmstart.data.schema.json_schema import SchemaMismatch, schema_validator
from warmstart.errors import UsageError
from warmstart.generation.constrained import Constraint, constraint
from warmstart.generation.generate import generate

SCHEMA = {
    "type": "object",
    "properties": {
        "section": {"enum": ["admin", "net", 'the "other"']},
        "size": {"type": "number"},
        "tags": {"type": "array", "items": {"type": "string", "minLength": 2}, "minItems": 1, "maxItems": 3},
        "upstream": {
            "type": "object",
            "properties": {"free": {"type": "boolean"}, "since": {"type": "string", "format": "date"}},
            "required": ["free", "since"],
            "additionalProperties": False,
        },
        "note": {"type": ["string", "null"]},
    },
    "required": ["section", "size", "tags", "upstream"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return byte_tokenizer()


@pytest.fixture(scope="module")
def allowed(tokenizer: Any) -> Constraint:
    return constraint(tokenizer, SCHEMA)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("more", [0, 7, 100])
def test_an_untrained_model_writes_json_of_the_schema(
    tokenizer: Any, allowed: Constraint, kind: str, more: int
) -> None:
    model = tiny_decoder(kind, vocabulary=320, context=256)  # wider than the tokenizer's 300
    most = allowed.least + more
    answers = generate(
        model.base_model,
        own_head(model),
        prompts([4, 9, 5], 300),
        stop={tokenizer.eos_token_id},
        most=most,
        allowed=allowed,
    )
    read = schema_validator(SCHEMA)
    for answer in answers:
        assert len(answer) <= most
        assert read(tokenizer.decode(answer))["section"] in SCHEMA["properties"]["section"]["enum"]  # type: ignore[index]


@pytest.mark.parametrize(
    "begun",
    [
        "",
        '{"section": "ne',
        '{"section": "the \\',
        '{"section": "net", "size": -',
        '{"section": "net", "size": 1.',
        '{"section": "net", "size": 1e',
        '{"section": "net", "size": 10, "tags": ["a\\u00',
        '{"section": "net", "size": 10, "tags": ["ab", "\\"',
        '{"section": "net", "size": 10, "tags": ["ab"], "upstream": {"free": fal',
        '{"section": "net", "size": 10, "tags": ["ab"], "upstream": {"free": true, "since": "20',
    ],
)
def test_an_answer_that_was_cut_off_is_ended(tokenizer: Any, allowed: Constraint, begun: str) -> None:
    guide = allowed()
    for token in tokenizer.encode(begun):
        guide.take(token)
    whole = tokenizer.decode(guide.closed(200))
    assert schema_validator(SCHEMA)(whole)
    assert whole.startswith(begun)


@pytest.mark.parametrize("more", [0, 5])
def test_where_the_ending_has_no_room_something_is_taken_back(tokenizer: Any, allowed: Constraint, more: int) -> None:
    begun = '{"section": "net", "size": 1234567890, "tags": ["' + "ab" * 20
    guide = allowed()
    for token in tokenizer.encode(begun):
        guide.take(token)
    most = allowed.least + more
    closed = guide.closed(most)
    assert len(closed) <= most
    assert schema_validator(SCHEMA)(tokenizer.decode(closed))["section"] in ("net", "admin")


@pytest.mark.parametrize(
    ("begun", "whole"), [("[1", "[1]"), ('[{"a": [true', '[{"a": [true]}]'), ('["a{', '["a{"]'), ('["\\', '["\\""]')]
)
def test_what_could_go_on_forever_is_ended_at_once(tokenizer: Any, begun: str, whole: str) -> None:
    guide = constraint(tokenizer, {"type": "array"})()
    for token in tokenizer.encode(begun):
        guide.take(token)
    assert tokenizer.decode(guide.closed(100)) == whole


@pytest.mark.parametrize(
    "part",
    [
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "integer", "minimum": 1, "multipleOf": 7},
        {"type": "string", "format": "email"},
        {"type": "string", "format": "uri"},
        {"type": "string", "pattern": "^[A-Z][a-z]+ [A-Z][a-z]+$"},
        {"$ref": "#"},
    ],
)
def test_a_value_that_not_every_token_ends_is_ended_shortly(tokenizer: Any, part: dict[str, Any]) -> None:
    """Such schemas were refused, as if the tokens could not spell them: 0.000... never exceeds 0."""
    kinds = {"anyOf": [part, {"type": "null"}]} if "$ref" in part else part
    schema = {"type": "object", "properties": {"a": kinds}, "required": ["a"], "additionalProperties": False}
    found = constraint(tokenizer, schema)
    assert found.least < 50
    schema_validator(schema)(tokenizer.decode(found().closed(50)))


def test_where_nothing_has_room_the_answer_stays(tokenizer: Any, allowed: Constraint) -> None:
    guide = allowed()
    begun = tokenizer.encode('{"section')
    for token in begun:
        guide.take(token)
    assert guide.closed(10) == begun


def test_what_has_ended_stays_as_it_is(tokenizer: Any) -> None:
    whole = tokenizer.encode('{"a": 12}')
    guide = constraint(tokenizer, {"type": "object", "properties": {"a": {"type": "integer"}}})()
    for token in whole:
        guide.take(token)
    assert guide.closed(len(whole)) == whole
    assert guide.mask()[tokenizer.eos_token_id]


@pytest.mark.parametrize(
    ("schema", "words"),
    [({"type": "strin"}, r"schema: \$\.type"), ({"not": {"type": "string"}}, "cannot be kept while generating: .*not")],
)
def test_a_schema_that_cannot_be_kept_is_an_error(tokenizer: Any, schema: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        constraint(tokenizer, schema)


def test_a_tokenizer_that_cannot_spell_json_is_an_error() -> None:
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    letters = Tokenizer(models.BPE(vocab={"<|end|>": 0, "a": 1, "b": 2}, merges=[]))
    letters.decoder = decoders.ByteLevel()
    with pytest.raises(UsageError, match="cannot spell JSON"):
        constraint(PreTrainedTokenizerFast(tokenizer_object=letters, eos_token="<|end|>"), SCHEMA)
    with pytest.raises(UsageError, match="no end-of-text token"):
        constraint(PreTrainedTokenizerFast(tokenizer_object=letters), SCHEMA)


def test_answers_may_have_a_space_after_commas_and_colons_or_none(tokenizer: Any, allowed: Constraint) -> None:
    value = {"section": "net", "size": 2.5, "tags": ["ab"], "upstream": {"free": True, "since": "2020-02-29"}}
    for separators in [(",", ":"), (", ", ": ")]:
        guide = allowed()
        for token in tokenizer.encode(json.dumps(value, separators=separators)):
            guide.take(token)
    with pytest.raises(ValueError):
        allowed().take(tokenizer.encode("\n")[0])


def test_items_that_must_differ_are_checked_and_not_constrained(tokenizer: Any) -> None:
    """A schema with `uniqueItems` was refused, after training."""
    tags = {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True, "maxItems": 2}
    schema = {
        "type": "object",
        "properties": {"tags": tags, "uniqueItems": {"type": "boolean"}},  # the second is a name
        "required": ["tags", "uniqueItems"],
        "additionalProperties": False,
    }
    limits = constraint(tokenizer, schema)
    assert limits.least and limits.grammar.count("uniqueItems") == 2  # the name, and that it is required
    read = schema_validator(schema)
    assert read('{"tags": ["a", "b"], "uniqueItems": true}')["tags"] == ["a", "b"]
    with pytest.raises(SchemaMismatch, match="non-unique"):
        read('{"tags": ["a", "a"], "uniqueItems": true}')
