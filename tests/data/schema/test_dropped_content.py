"""Is every column and key of a conversation read, or said to be left out?"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_language import save_language_base
from warmstart.data.encoding.chat_template import Template
from warmstart.data.encoding.language_inputs import Conversations
from warmstart.data.rows.check import CheckResult, find_problems
from warmstart.data.rows.usable_rows import find_usable_rows, readable_texts
from warmstart.data.schema.conversations import Turn, read_turns, turns_of, write_turns
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import ColumnChoices, Schema
from warmstart.data.tables.in_memory import table_of
from warmstart.data.tables.read import Table, read_table

N = 30


def turns(i: int, **more: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": f"What is lamp {i}?"}, {"role": "assistant", "content": f"Lamp {i}."} | more]


def checked(path: Path, rows: list[dict[str, Any]]) -> tuple[Table, Schema, CheckResult]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = read_table(path)
    schema = infer_schema(table, ColumnChoices())
    return table, schema, find_problems(table, schema)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"tool_calls": [{"id": "c", "type": "function"}]}, "'tool_calls', which is not read: the calls"),
        ({"reasoning_content": "hm"}, "'reasoning_content', which is not read: the reasoning"),
        ({"name": "Ann"}, "'name', which is not read."),
        ({"weight": 1, "tool_calls": [], "name": None}, None),  # these say nothing
    ],
)
def test_keys_of_turns_that_are_not_read_are_said(tmp_path: Path, more: dict[str, Any], said: str | None) -> None:
    """Cases 18 and 19."""
    found = checked(tmp_path / "a.jsonl", [{"messages": turns(i, **more)} for i in range(N)])[2]
    messages = [finding.message for finding in found.findings if finding.kind == "unread-key"]
    assert (said is None and not messages) or (said is not None and said in messages[0] and len(messages) == 1)


def test_a_system_column_is_the_system_turn(tmp_path: Path) -> None:
    """Case 21; blank cells, and the same words in the turns themselves, change nothing."""
    rows: list[dict[str, Any]] = [{"conversations": turns(i), "system": f"You are {i}."} for i in range(N)]
    rows[1]["system"] = " "
    rows[2]["conversations"] = [{"role": "system", "content": "You are 2."}, *turns(2)]
    rows[3]["conversations"] = [{"role": "system", "content": "You are another."}, *turns(3)]
    table, schema, found = checked(tmp_path / "a.jsonl", rows)
    assert schema.system == "system" and "'system' is the system turn of each conversation." in schema.notes
    texts = find_usable_rows(table, schema).texts
    assert read_turns(texts[0])[0] == Turn("system", "You are 0.")
    assert read_turns(texts[1])[0].role == "user" and len(read_turns(texts[2])) == 3
    (odd,) = [finding for finding in found.findings if finding.kind == "bad-conversation"]
    assert odd.rows == (4,) and "another in a column of its own" in odd.message
    asked, reasons = readable_texts(table, schema)
    assert read_turns(asked[0])[0].role == "system"
    assert reasons == {3: "it has a system turn, and another in a column of its own"}


@pytest.mark.parametrize("encode", [lambda pairs: pairs, json.dumps], ids=["lists", "JSON"])
def test_system_and_history_beside_a_prompt(tmp_path: Path, encode: Any) -> None:
    """Case 22."""
    rows = [
        {
            "instruction": f"and lamp {i}?",
            "input": "",
            "output": f"Lamp {i}.",
            "system": "Be kind.",
            "history": encode([["hello", "hi"]] if i else []),
            "id": i,
        }
        for i in range(N)
    ]
    rows[5]["history"] = encode([["hello"]])
    table, schema, found = checked(tmp_path / "a.jsonl", rows)
    assert (schema.system, schema.history) == ("system", "history") and schema.notes[-1] == "Not read: 'id'."
    texts = find_usable_rows(table, schema).texts
    assert [turn.content for turn in read_turns(texts[0])] == ["Be kind.", "and lamp 0?", "Lamp 0."]
    assert [turn.content for turn in read_turns(texts[1])] == ["Be kind.", "hello", "hi", "and lamp 1?", "Lamp 1."]
    (odd,) = [finding for finding in found.findings if finding.kind == "bad-conversation"]
    assert odd.rows == (6,) and "pair 1 of its history" in odd.message


def test_the_context_of_a_question_is_read() -> None:
    rows = {
        "instruction": ["Who?"] * 2 + ["When?"] * 28,
        "context": ["Ann came.", None] * 15,
        "response": list("ab" * 15),
    }
    table = table_of(rows | {"category": ["x"] * N})
    schema = infer_schema(table, ColumnChoices())
    assert schema.text == ("instruction", "context") and schema.target == "response"
    assert schema.notes[-1] == "Not read: 'category'."
    assert read_turns(find_usable_rows(table, schema).texts[0])[0].content == "Who?\n\nAnn came."


def test_columns_that_no_text_task_reads_are_said() -> None:
    table = table_of(
        {"text": [f"a lamp, {i}" for i in range(N)], "title": [f"lamp {i} now" for i in range(N)], "n": [1] * N}
    )
    schema = infer_schema(table, ColumnChoices("title", ("text",), task="summarise"))
    assert "Not read: 'n'." in schema.notes


def said(i: int, *weights: object) -> list[dict[str, Any]]:
    """A conversation whose turns of the assistant have these weights."""
    found: list[dict[str, Any]] = []
    for k, weight in enumerate(weights):
        found += [{"role": "user", "content": f"ask {i} {k}"}, {"role": "assistant", "content": f"answer {i} {k}"}]
        found[-1] |= {} if weight is None else {"weight": weight}
    return found


def test_turns_of_weight_0_are_read_and_not_learned(tmp_path: Path) -> None:
    """Case 18."""
    table, schema, found = checked(tmp_path / "a.jsonl", [{"messages": said(i, 0, 1)} for i in range(N)])
    (note,) = [finding for finding in found.findings if finding.kind == "weight-0"]
    assert note.message.startswith("30 turns of the assistant have weight 0") and len(note.rows) > 0
    texts = find_usable_rows(table, schema).texts
    assert [turn.learned for turn in read_turns(texts[0])] == [True, False, True, True]
    template = Template(Conversations(str(save_language_base(tmp_path / "base")), 160).tokenizer, 160)
    weighted, plain = (template.spoken(json.loads(write_turns(turns_of(said(0, w, 1))))) for w in (0, 1))
    assert (weighted.tokens == plain.tokens).all() and plain.bytes - weighted.bytes == len("answer 0 0")
    assert (weighted.labels != plain.labels).any() and (weighted.answer == plain.answer).all()


@pytest.mark.parametrize(
    ("weights", "turns", "problem"),
    [
        ((1, 0), 2, None),  # what follows the last turn that is learned is not needed
        ((0, True, 0.0), 4, None),
        ((0, 0), 0, "every turn of the assistant has weight 0"),
        ((1, 0.5), 0, "turn 4 has the weight 0.5, expected 0 or 1"),
        ((1, "no"), 0, "turn 4 has the weight 'no', expected 0 or 1"),
        ((None, None), 4, None),
    ],
)
def test_a_conversation_ends_with_a_turn_that_is_learned(weights: Any, turns: int, problem: str | None) -> None:
    table = table_of({"messages": [json.dumps(said(i, *(weights if i == 3 else (1, 1)))) for i in range(N)]})
    found = find_usable_rows(table, infer_schema(table, ColumnChoices()))
    if problem is None:
        assert len(read_turns(found.texts[3])) == turns
    else:
        assert problem in found.bad[0].problem and found.bad[0].rows == (4,)
