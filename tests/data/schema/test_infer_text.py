"""Are conversations, texts to be written and JSON objects recognized, written as rows, and refused where broken?"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from warmstart.data.rows.check import CheckResult, find_problems
from warmstart.data.rows.lengths import Reach
from warmstart.data.rows.split import Rows, make_rows, split
from warmstart.data.rows.usable_rows import write_texts
from warmstart.data.schema.conversations import Turn, read_turns, write_turns
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import ColumnChoices, Schema
from warmstart.data.tables.formats import usual_type
from warmstart.data.tables.read import Table
from warmstart.data.tables.read import read_table as read_table
from warmstart.errors import InputError, UsageError

N = 60
SOURCES = [f"lamp {i} of oak, with a shade of glass and {i % 7} feet" for i in range(N)]
SHORT = [f"lamp {i}, {i % 7} feet" for i in range(N)]
ROOMS = [("hall", "office", "kitchen")[i % 3] for i in range(N)]


def messages(i: int, *more: tuple[str, str]) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": f"What is lamp {i}?"},
        {"role": "assistant", "content": f"Number {i}."},
        *({"role": role, "content": content} for role, content in more),
    ]


def table(**columns: object) -> Table:
    made = pa.table({name: pa.array(list(values)) for name, values in columns.items()})  # type: ignore[call-overload]
    usual = pa.table({name: usual_type(made[name]) for name in made.column_names})
    return Table(usual, ("lamps.jsonl",), (usual.num_rows,))


def jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def understood(found: Table, **said: object) -> tuple[Schema, Rows]:
    schema = infer_schema(found, ColumnChoices(**said))  # type: ignore[arg-type]
    return schema, make_rows(found, schema)[0]


def checked(found: Table, **said: object) -> CheckResult:
    return find_problems(found, infer_schema(found, ColumnChoices(**said)))  # type: ignore[arg-type]


# --- recognized -------------------------------------------------------------------------------------------------------


def test_messages_are_recognized_from_json_lines_and_from_columns(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be brief."}
    rows: list[dict[str, object]] = [{"id": f"c{i}", "messages": [system, *messages(i)]} for i in range(N)]
    from_file = read_table(jsonl(tmp_path / "chat.jsonl", rows))
    as_structs, as_text = (
        table(messages=[row["messages"] for row in rows]),
        table(messages=[json.dumps(row["messages"]) for row in rows]),
    )
    for found in (from_file, as_structs, as_text):
        schema, made = understood(found)
        assert (schema.task, schema.text, schema.target, schema.instruction) == ("chat", ("messages",), "", None)
        assert schema.notes[0] == "'messages' holds conversations, so the task is chat."
        assert read_turns(made.texts[3]) == (
            Turn("system", "Be brief."),
            Turn("user", "What is lamp 3?"),
            Turn("assistant", "Number 3."),
        )
        assert made.targets[3] == "Number 3." and made.numbers[3] == 4
        assert read_turns(write_texts(found, schema)[3]) == read_turns(made.texts[3])[:2]
        assert len(split(made, schema).test) == N // 5


def test_sharegpt_and_alpaca_are_recognized() -> None:
    share = [[{"from": "human", "value": f"Lamp {i}?"}, {"from": "gpt", "value": f"Yes, {i}."}] for i in range(N)]
    schema, made = understood(table(conversations=share))
    assert schema.notes[0] == "'conversations' holds ShareGPT conversations, so the task is chat."
    assert read_turns(made.texts[1]) == (Turn("user", "Lamp 1?"), Turn("assistant", "Yes, 1."))
    alpaca = table(instruction=[f"Describe lamp {i}." for i in range(N)], input=["oak", ""] * (N // 2), output=SHORT)
    schema, made = understood(alpaca)
    assert (schema.task, schema.text, schema.target) == ("chat", ("instruction", "input"), "output")
    assert [read_turns(text)[0].content for text in made.texts[:2]] == ["Describe lamp 0.\n\noak", "Describe lamp 1."]
    assert made.targets[:2].tolist() == SHORT[:2]
    alone = table(instruction=[f"Describe lamp {i}." for i in range(N)], input=[""] * N, output=SHORT)
    assert "constant-column" not in {finding.kind for finding in checked(alone).findings}
    pairs, _ = understood(table(question=SOURCES, answer=SHORT))
    assert (pairs.task, pairs.text, pairs.target) == ("chat", ("question",), "answer")
    spelled, _ = understood(table(Answer=SHORT, ANSWER=SOURCES, Question=SOURCES, answer=SHORT))
    assert (spelled.task, spelled.text, spelled.target) == ("chat", ("Question",), "answer")
    assert understood(table(Messages=[messages(i) for i in range(N)]))[0].text == ("Messages",)


def test_conversations_that_cannot_be_used_are_said_once() -> None:
    image = [{"role": "user", "content": [{"type": "image_url"}]}, *messages(0)[1:]]
    broken = table(messages=[json.dumps(image)] * N)
    errors = [finding for finding in checked(broken).findings if finding.severity == "error"]
    assert [error.kind for error in errors] == ["bad-conversation"]
    assert "turn 1 (user) holds a part of type 'image_url'" in errors[0].message
    dropped = find_problems(broken, infer_schema(broken, ColumnChoices()), bad_rows="drop")
    assert [finding.kind for finding in dropped.findings if finding.severity == "error"] == ["cannot-split"]


def test_answers_that_are_all_the_same_are_said_to_be_so() -> None:
    alike = table(messages=[json.dumps([messages(i)[0], messages(0)[1]]) for i in range(N)])
    for found in (alike, table(question=SOURCES, answer=["Number 0."] * N)):
        with pytest.raises(
            InputError, match=r"the answers of column '\w+' are 'Number 0.' in every usable row"
        ) as raised:
            understood(found)
        assert "target" not in raised.value.hint


def test_without_a_target_the_columns_are_listed_and_the_commands_that_would_do() -> None:
    for found, hint in (
        (table(**{"the dialog": [messages(i) for i in range(N)]}), "--text 'the dialog'"),
        (table(id=range(N), dialog=[messages(i) for i in range(N)]), "--task chat --text dialog"),
        (table(notes=SOURCES), "--task causal-lm"),
        (table(id=range(N), notes=SOURCES), "--target COL (there are: 'id', 'notes')"),
    ):
        with pytest.raises(UsageError, match="no target was named") as raised:
            infer_schema(found, ColumnChoices())
        assert raised.value.hint.endswith(hint)
    named, _ = understood(table(ask=SOURCES, reply=SHORT), task="chat", text=("ask",), target="reply")
    assert (named.text, named.target) == (("ask",), "reply")


def test_conversations_in_two_columns_are_not_half_read(tmp_path: Path) -> None:
    """A file of both forms was read as if the rows of one of them were empty."""
    forms = (
        {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]},
        {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]},
    )
    found = read_table(jsonl(tmp_path / "mixed.jsonl", [*forms * 3]))
    with pytest.raises(UsageError, match=r"'messages' and 'conversations' of .* all hold conversations"):
        infer_schema(found, ColumnChoices())
    assert infer_schema(found, ColumnChoices(text=("messages",), task="chat")).text == ("messages",)


def test_a_prompt_and_its_answer_in_turns_are_not_learned_as_json(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"prompt": messages(i)[:1], "completion": messages(i)[1:]} for i in range(N)]
    found = read_table(jsonl(tmp_path / "chats.jsonl", rows))
    for asked in (ColumnChoices(), ColumnChoices("completion", ("prompt",), task="chat")):
        with pytest.raises(
            UsageError, match=r"column 'prompt' of .*chats.jsonl holds conversations, not prompts or answers"
        ):
            infer_schema(found, asked)


def test_a_target_is_predicted_as_before_whatever_columns_there_are() -> None:
    chats = table(messages=[json.dumps(messages(i)) for i in range(N)], price=[i + 0.5 for i in range(N)])
    assert infer_schema(chats, ColumnChoices("price")).task == "regression"
    with pytest.raises(UsageError, match=r"^no target was named.\nhint: say which column to predict: --target COL"):
        infer_schema(table(title=SOURCES, price=range(N)), ColumnChoices())


def test_texts_to_be_written_come_after_an_instruction() -> None:
    lamps = table(description=SOURCES, synopsis=SHORT, synopsis_de=[f"{text} alt" for text in SHORT], n=range(N))
    schema, made = understood(lamps, task="summarise", text=("description",), target="synopsis")
    sentence = "Summarise the following text in one or two sentences."
    assert schema.instruction == sentence and any(sentence in note for note in schema.notes)
    assert read_turns(made.texts[0]) == (Turn("user", f"{sentence}\n\n{SOURCES[0]}"), Turn("assistant", SHORT[0]))
    assert write_texts(lamps, schema)[0] == write_turns([Turn("user", f"{sentence}\n\n{SOURCES[0]}")])
    german, _ = understood(lamps, task="translate", text=("synopsis",), target="synopsis_de")
    assert german.instruction == "Translate the following text into German."
    plain, _ = understood(lamps, task="translate", text=("description",), target="synopsis")
    assert plain.instruction == "Translate the following text."
    own, made = understood(lamps, task="summarise", text=("description", "n"), target="synopsis", instruction="Title:")
    assert read_turns(made.texts[1])[0].content == f"Title:\n\n{SOURCES[1]}\n1" and own.instruction == "Title:"
    only, _ = understood(table(description=SOURCES, synopsis=SHORT), task="summarise", target="synopsis")
    assert only.text == ("description",)


def test_fields_make_the_json_object_to_be_written(tmp_path: Path) -> None:
    lamps = table(description=SOURCES, room=ROOMS, tags=["new, red", "old"] * (N // 2), price=range(N))
    schema, made = understood(lamps, text=("description",), fields=("room", "tags"), separator=",")
    assert (schema.task, schema.target, schema.fields) == ("structured", "", ("room", "tags"))
    assert schema.instruction == "Describe the following text as a JSON object with the keys room, tags."
    assert made.targets[0] == '{"room": "hall", "tags": ["new", "red"]}'
    assert "room (one of 3 values), tags (list of one of 3 values)" in " ".join(schema.notes)
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema  # it is stored with the model
    objects = table(description=SOURCES, facts=[json.dumps({"b": i, "a": "x"}) for i in range(N)])
    (tmp_path / "s.json").write_text('{"type": "object", "properties": {"a": {"type": "string"}, "b": {}}}')
    schema, made = understood(objects, target="facts", schema=str(tmp_path / "s.json"))
    assert schema.text == ("description",) and made.targets[3] == '{"a": "x", "b": 3}'


# --- refused ----------------------------------------------------------------------------------------------------------


def test_broken_conversations_are_named_by_row_or_dropped() -> None:
    chats: list[object] = [messages(i) for i in range(N)]
    chats[3] = messages(3, ("user", "And then?"))
    chats[10] = messages(10, ("tool", "x"))
    chats[20] = [{"role": "user", "content": " "}]
    chats[30] = []
    found = table(messages=chats)
    schema = infer_schema(found, ColumnChoices())
    with pytest.raises(InputError) as caught:
        make_rows(found, schema)
    assert caught.value.message == (
        "column 'messages' has 3 conversations that cannot be used (row 4: the last turn is the user's, expected the "
        "assistant's; row 11: turn 3 has the role 'tool', expected system, user or assistant; row 21: turn 1 (user) "
        "is empty). the table has 1 row with nothing to read in 'messages' (row 31). "
        "In all, 4 of 60 rows (6.67 %) cannot be used"
    )
    rows, caveats = make_rows(found, schema, bad_rows="drop")
    assert len(rows) == N - 4 and not {4, 11, 21, 31} & set(rows.numbers.tolist()) and "row 11" in caveats[0]
    findings = {finding.kind: finding.rows for finding in find_problems(found, schema).findings}
    assert (findings["bad-conversation"], findings["empty-text"]) == ((4, 11, 21), (31,))


def test_conversations_without_any_answer_are_refused_as_nothing_to_learn() -> None:
    asked = table(messages=[messages(i)[:1] for i in range(N)])
    schema = infer_schema(asked, ColumnChoices())
    with pytest.raises(InputError, match=r"60 conversations without a turn of the assistant, so that nothing would be"):
        make_rows(asked, schema)
    assert read_turns(write_texts(asked, schema)[0]) == (Turn("user", "What is lamp 0?"),)  # but they can be answered


def test_rows_to_predict_that_are_no_conversation_are_named() -> None:
    schema = infer_schema(table(messages=[messages(i) for i in range(N)]), ColumnChoices())
    with pytest.raises(InputError, match=r"row 2, column 'messages': turn 1 has the role 'bot'"):
        write_texts(table(messages=[messages(0), [{"role": "bot", "content": "x"}]]), schema)
    assert write_texts(table(messages=[None, messages(1)]), schema)[0] == ""


def test_missing_sources_answers_and_objects_that_do_not_fit(tmp_path: Path) -> None:
    texts: list[str | None] = [*SOURCES]
    answers: list[str | None] = [*SHORT]
    texts[1], answers[2], answers[5] = " ", None, ""
    found = table(text=texts, title=answers)
    with pytest.raises(InputError, match=r"'title' has 2 missing values \(rows 3, 6\). the table has 1 row with noth"):
        schema = infer_schema(found, ColumnChoices("title", ("text",), task="summarise"))
        make_rows(found, schema, bad_rows="refuse")
    (tmp_path / "s.json").write_text('{"type": "object", "properties": {"n": {"type": "integer"}}}')
    facts: list[str | None] = [json.dumps({"n": i}) for i in range(N)]
    facts[0], facts[4], facts[7], facts[9] = '{"n": "x"}', "[1]", '{"n": 1', None
    objects = table(text=SOURCES, facts=facts)
    with pytest.raises(InputError) as caught:
        understood(objects, text=("text",), target="facts", task="structured", schema=str(tmp_path / "s.json"))
    assert caught.value.message == (
        "column 'facts' has 1 missing value (row 10). column 'facts' has 3 values that cannot be used "
        "(row 1: $.n: 'x' is not of type 'integer'; row 5: [1] is no JSON object; "
        "row 8: '{\"n\": 1' is no JSON object: Expecting ',' delimiter at character 8). "
        "In all, 4 of 60 rows (6.67 %) cannot be used"
    )


USE: dict[str, tuple[dict[str, object], str]] = {
    "no conversations": ({"task": "chat"}, "no conversations were found in lamps.jsonl: there are text, title"),
    "no turns": ({"task": "chat", "text": ("text",)}, "column 'text' holds no conversations"),
    "nothing to write": ({"task": "summarise", "text": ("text",)}, "no target was named.*which column is to be writt"),
    "no fields": ({"task": "structured", "text": ("text",)}, r"no target was named.*--fields a,b"),
    "both": ({"target": "title", "fields": ("n",)}, "--target and --fields both"),
    "target in fields": ({"target": "n", "fields": ("n",)}, "'n' is both --target and --fields"),
    "field as text": ({"text": ("text",), "fields": ("text",)}, "'text' is both --fields and --text"),
    "unknown field": ({"fields": ("titel",)}, "there is no column 'titel'.*did you mean 'title'"),
    "numbers to write": ({"task": "translate", "target": "n", "text": ("text",)}, "writes text, but column 'n' holds"),
    "the text itself": ({"task": "translate", "target": "copy", "text": ("text",)}, "is the target 'copy' itself"),
    "several texts": ({"task": "summarise", "target": "n_text"}, "3 columns hold texts: 'body', 'title', 'copy'"),
    "fields of chat": ({"task": "chat", "fields": ("n",)}, "--fields is for structured, but the task is chat"),
    "schema of numbers": ({"task": "regression", "target": "n", "schema": "s.json"}, "--schema is for structured"),
    "scale of texts": ({"task": "summarise", "target": "title", "scale": "log10"}, "--scale is for regression"),
    "instruction of a number": ({"target": "n", "instruction": "x"}, "--instruction is for summarise"),
    "no schema file": ({"target": "title", "schema": "none.json", "text": ("text",)}, "'none.json' cannot be read"),
    "never a value": ({"task": "summarise", "target": "nothing", "text": ("text",)}, "'nothing' has no value in any"),
}


@pytest.mark.parametrize("name", USE)
def test_what_cannot_be_meant_is_refused(name: str) -> None:
    said, message = USE[name]
    columns: dict[str, object] = {"text": SOURCES, "title": SHORT, "n": range(N), "copy": SOURCES, "nothing": [""] * N}
    if name == "several texts":
        columns = {"body": SOURCES, "title": SHORT, "copy": SHORT, "n_text": SHORT}
    with pytest.raises((UsageError, InputError), match=f"(?s){message}"):
        infer_schema(table(**columns), ColumnChoices(**said))  # type: ignore[arg-type]


# --- checked ----------------------------------------------------------------------------------------------------------


def test_answers_that_copy_or_outgrow_their_texts_are_found() -> None:
    generator = np.random.default_rng(0)
    words = [f"word{i}" for i in range(300)]
    texts = [" ".join(generator.choice(words, 20)) for _ in range(400)]
    titles = [" ".join(text.split()[:3]) for text in texts]
    titles[0], titles[1], texts[2] = texts[0], texts[1] * 2, texts[3]
    found = checked(table(text=texts, title=titles), task="summarise", text=("text",), target="title")
    kinds = {finding.kind: finding for finding in found.findings}
    assert (kinds["answer-is-text"].rows, kinds["long-answer"].rows) == ((1,), (2,))
    assert kinds["duplicates"].rows == (4,)
    assert kinds["duplicates"].message == "1 row has exactly the text of an earlier row."
    assert kinds["answer-is-text"].message.startswith("1 row has an answer that is the text itself")
    assert kinds["long-answer"].message == "1 of 400 summaries is longer than what it summarizes."
    assert found.target["median"] == np.median([len(title) for title in titles])


def test_copies_are_those_of_the_texts_not_of_the_instruction() -> None:
    long = "Summarise the following text in one or two sentences, and do not leave out a thing that matters: " * 5
    found = checked(
        table(text=[f"{i} lamp" for i in range(N)], title=SHORT),
        task="summarise", text=("text",), target="title", instruction=long,
    )  # fmt: skip
    assert not {"near-duplicates", "duplicates"} & {finding.kind for finding in found.findings}


def test_conversations_longer_than_the_context_are_counted() -> None:
    chats = [messages(i) for i in range(N)]
    chats[5] = [{"role": "user", "content": "word " * 200}, {"role": "assistant", "content": "word " * 100}]
    found = table(messages=chats)
    schema = infer_schema(found, ColumnChoices())
    counted = find_problems(found, schema, [Reach(100, lambda texts: [len(text.split()) for text in texts])])
    finding = next(finding for finding in counted.findings if finding.kind == "truncated")
    assert (
        finding.rows == (6,) and "1 of 60 texts with their answers (1.7%) is longer than 100 tokens" in finding.message
    )
    assert "does not see 67% of" in finding.message
