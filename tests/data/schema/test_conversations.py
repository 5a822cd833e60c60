"""Are turns read from every form that they come in, and is what is wrong with them said?"""

import json

import pytest

from warmstart.data.schema.conversations import (
    Turn,
    check_answered,
    has_answer,
    looks_like_turns,
    read_turns,
    turns_of,
    write_turns,
)
from warmstart.errors import InputError

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Straße?\n"},
    {"role": "assistant", "content": 'A "road".'},
]
SHAREGPT = [{"from": "human", "value": "Straße?\n"}, {"from": "gpt", "value": 'A "road".'}]
TURNS = (Turn("system", "Be brief."), Turn("user", "Straße?\n"), Turn("assistant", 'A "road".'))


def test_what_is_written_is_read_again_and_is_json_for_chat_templates() -> None:
    assert read_turns(write_turns(TURNS)) == TURNS
    assert json.loads(write_turns(TURNS)) == MESSAGES


@pytest.mark.parametrize(
    "cell",
    [
        MESSAGES,
        json.dumps(MESSAGES),
        [json.dumps(turn) for turn in MESSAGES],
        [turn | {"from": None, "value": None, "weight": 1} for turn in MESSAGES],
        [turn | {"content": [{"type": "text", "text": turn["content"], "image_url": None}]} for turn in MESSAGES],
        [MESSAGES[0] | {"role": None, "from": "system"}, *SHAREGPT],
    ],
)
def test_turns_are_read_as_objects_and_as_json(cell: object) -> None:
    assert turns_of(cell) == TURNS
    assert looks_like_turns(cell) in ("role", "from") and has_answer(cell)


def test_parts_of_a_turn_are_its_lines() -> None:
    parts = [{"type": "text", "text": text} for text in ("Sum up:", "A long text.")]
    assert turns_of([{"role": "user", "content": parts}]) == (Turn("user", "Sum up:\nA long text."),)


def test_what_a_system_turn_is_called_and_that_it_may_say_nothing() -> None:
    assert turns_of([MESSAGES[0] | {"role": "developer"}, *MESSAGES[1:]]) == TURNS
    assert turns_of([{"role": "system", "content": " "}, *MESSAGES[1:]]) == TURNS[1:]


def turn(role: object, content: object) -> dict[str, object]:
    return {"role": role, "content": content}


BROKEN: dict[str, tuple[object, str]] = {
    "two users": ([turn("user", "a"), turn("user", "b")], "turn 2 is of the user, expected the assistant"),
    "assistant first": ([turn("assistant", "a")], "turn 1 is of the assistant, expected the user"),
    "late system": ([*MESSAGES, turn("system", "b")], "turn 4 is of the system, .* a system turn comes first"),
    "after a system turn": ([*MESSAGES[:1], turn("assistant", "b")], "turn 2 is of the assistant, expected the user"),
    "system alone": (MESSAGES[:1], "no turn of a user"),
    "nothing": ([], "no turn of a user"),
    "unknown role": ([turn("tool", "a")], "turn 1 has the role 'tool', expected system, user or assistant"),
    "no role": ([{"content": "a"}], "turn 1 has the role None"),
    "a list for a role": ([turn(["user"], "a")], "turn 1 has the role"),
    "empty turn": ([turn("user", " \n")], r"turn 1 \(user\) is empty"),
    "no content": ([turn("user", None)], r"turn 1 \(user\) holds None, expected text"),
    "an image": (
        [turn("user", [{"type": "image_url"}])],
        r"turn 1 \(user\) holds a part of type 'image_url', expected",
    ),
    "a part without text": (
        [turn("user", [{"type": "text", "text": None}])],
        r"holds a part that is none, expected parts",
    ),
    "no part": ([turn("user", [])], r"turn 1 \(user\) is empty"),
    "a turn of text": (["hello"], "'hello' is not valid JSON"),
    "a turn of numbers": ([[1, 2]], r"turn 1 is \[1, 2\], expected role and content"),
    "cut short": (json.dumps(MESSAGES)[:-5], "is not valid JSON: .* at character"),
    "no list": ('{"role": "user"}', "expected a list of turns"),
    "half a character": ([turn("user", "\ud800")], "holds half of a character"),
    "deep": ("[" * 100_000, "nested too deeply"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_said_with_the_turn(name: str) -> None:
    cell, said = BROKEN[name]
    with pytest.raises(InputError, match=said):
        turns_of(cell)


def test_the_assistant_has_the_last_word() -> None:
    check_answered(TURNS)
    with pytest.raises(InputError, match="the last turn is the user's"):
        check_answered(TURNS[:2])
    assert not has_answer(MESSAGES[:2]) and not has_answer("[") and not has_answer(None)
    assert [looks_like_turns(cell) for cell in (None, [], ["a"], "a", [{"role": "x"}], "[1]")] == [None] * 6
