"""Conversations: how are turns written in a table cell, and in the text of a row?"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from warmstart.data.tables.json_files import json_error_message
from warmstart.errors import InputError, shorten

Role = Literal["system", "user", "assistant"]
# As chat templates name them, and as ShareGPT files do.
ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "human": "user",
    "gpt": "assistant",
}


READ_KEYS = ("role", "content", "from", "value", "weight")


@dataclass(frozen=True)
class Turn:
    """What one side says."""

    role: Role
    content: str
    learned: bool = True  # of the assistant: no where its weight is 0: it is read, and never learned


def write_turns(turns: Sequence[Turn]) -> str:
    """The turns as canonical JSON: a list of {"role", "content"}, with "weight": 0 where a turn is not learned.

    >>> write_turns([Turn("user", "Hello?")])
    '[{"role": "user", "content": "Hello?"}]'
    """
    weight = {True: {}, False: {"weight": 0}}
    written = [{"role": turn.role, "content": turn.content, **weight[turn.learned]} for turn in turns]
    return json.dumps(written, ensure_ascii=False)


def write_prompt(instruction: str, source: str, *answer: str) -> str:
    """A text to summarize, translate or describe as `write` writes it: a question, and the answer where it is known."""
    asked = f"{instruction}\n\n{source}" if instruction else source
    return write_turns([Turn("user", asked), *(Turn("assistant", text) for text in answer)])


def document(text: str, instruction: str) -> str:
    """The source again.

    >>> document(write_prompt("Sum up.", "A long text.", "A text."), "Sum up.")
    'A long text.'
    """
    asked = next(turn.content for turn in reversed(read_turns(text)) if turn.role == "user")
    return asked.removeprefix(f"{instruction}\n\n") if instruction else asked


def read_turns(text: str) -> tuple[Turn, ...]:
    """The turns that `write` wrote. Raises InputError for anything that is no conversation.

    >>> read_turns('[{"role": "user", "content": "Hello?"}]')
    (Turn(role='user', content='Hello?', learned=True),)
    """
    return turns_of(text)


def turns_of(cell: object) -> tuple[Turn, ...]:
    """The turns in a cell: a list of {role, content} or of ShareGPT's {from, value}, as it is or as JSON.

    An optional system turn comes first, which is left out where it says nothing; then user and assistant alternate, the
    user begins. Raises InputError with what is wrong, without the place, which the caller knows.
    """
    found = _from_json(cell) if isinstance(cell, str) else cell
    if not isinstance(found, list):
        raise InputError(f"it is {shorten(found, 40)}, expected a list of turns")
    turns = tuple(_turn(number, item) for number, item in enumerate(found, 1))
    _check_order(turns)
    return turns if turns[0].content.strip() else turns[1:]


def with_system(text: object, turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The turns after a system turn of this text; as they are where it is blank or they begin with the same one.

    Raises InputError where they begin with another.
    """
    said = str(text).strip() if text is not None else ""
    if not said or not turns:
        return tuple(turns)
    if turns[0].role == "system":
        if turns[0].content.strip() != said:
            raise InputError("it has a system turn, and another in a column of its own")
        return tuple(turns)
    return (Turn("system", said), *turns)


def history_of(cell: object) -> tuple[Turn, ...]:
    """Earlier turns in a cell: a list of [question, answer] pairs, or of turns, as it is or as JSON.

    Raises InputError for anything else.
    """
    found = _from_json(cell) if isinstance(cell, str) and cell.strip() else cell
    if found is None or found == "" or found == []:
        return ()
    if not isinstance(found, list):
        raise InputError(f"its history is {shorten(found, 40)}, expected a list of [question, answer]")
    items = [_from_json(item) if isinstance(item, str) and item.lstrip()[:1] in ("[", "{") else item for item in found]
    if all(isinstance(item, dict) for item in items):
        return turns_of(items)
    turns: list[Turn] = []
    for number, pair in enumerate(items, 1):
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(s, str) and s.strip() for s in pair):
            raise InputError(f"pair {number} of its history is {shorten(pair, 40)}, expected [question, answer]")
        turns += [Turn("user", pair[0]), Turn("assistant", pair[1])]
    return tuple(turns)


def _items(cell: object) -> list[dict[str, Any]]:
    """The turns in a cell as they are written there; none where the cell is no list, or is broken."""
    try:
        found = _from_json(cell) if isinstance(cell, str) and cell.strip() else cell
        items = [_from_json(item) if isinstance(item, str) else item for item in cast(Iterable[Any], found)]
    except (InputError, TypeError):
        return []
    return [item for item in items if isinstance(item, dict)]


def unread_keys(cell: object) -> set[str]:
    """The keys of turns, beside those of speaker and words, that hold anything."""
    keys = set[str]()
    for item in _items(cell):
        for key, value in item.items():
            if key not in READ_KEYS and value not in (None, "", [], {}):
                keys.add(str(key))
    return keys


def learned_part(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The turns up to the last one that is learned: those after it would be read for nothing.

    Raises InputError where each turn of the assistant has weight 0.
    """
    last = next((k for k in reversed(range(len(turns))) if turns[k].role == "assistant"), None)
    learned = [k for k, turn in enumerate(turns) if turn.role == "assistant" and turn.learned]
    if last is not None and not learned:
        raise InputError("every turn of the assistant has weight 0, so that nothing would be learned")
    return tuple(turns) if last in learned else tuple(turns[: learned[-1] + 1]) if learned else tuple(turns)


def check_answered(turns: Sequence[Turn]) -> None:
    """Raises InputError where the assistant does not have the last word."""
    if turns[-1].role != "assistant":
        raise InputError("the last turn is the user's, expected the assistant's")


def has_answer(cell: object) -> bool:
    """Whether any turn in the cell is the assistant's, however broken the others are."""
    said = (item.get("role") or item.get("from") for item in _items(cell))
    return any(isinstance(role, str) and ROLES.get(role) == "assistant" for role in said)


def looks_like_turns(cell: object) -> str | None:
    """'role' or 'from', the key that names the speaker, where the cell begins like a conversation."""
    try:
        found = _from_json(cell) if isinstance(cell, str) and cell.lstrip()[:1] == "[" else cell
        first = found[0] if isinstance(found, list) and found else None
        first = _from_json(first) if isinstance(first, str) and first.lstrip()[:1] == "{" else first
    except InputError:
        return None
    if isinstance(first, dict):
        for speaker, said in (("role", "content"), ("from", "value")):
            if speaker in first and said in first:
                return speaker
    return None


def _turn(number: int, item: object) -> Turn:
    found = _from_json(item) if isinstance(item, str) else item
    if not isinstance(found, dict):
        raise InputError(f"turn {number} is {shorten(found, 40)}, expected role and content")
    role, content = _value(found, "role", "from"), _value(found, "content", "value")
    if not isinstance(role, str) or role not in ROLES:
        raise InputError(f"turn {number} has the role {shorten(role, 40)}, expected system, user or assistant")
    content = _joined(number, ROLES[role], content) if isinstance(content, list) else content
    if not isinstance(content, str):
        raise InputError(f"turn {number} ({ROLES[role]}) holds {shorten(content, 40)}, expected text")
    if not content.strip() and ROLES[role] != "system":
        raise InputError(f"turn {number} ({ROLES[role]}) is empty")
    try:
        content.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"turn {number} ({ROLES[role]}) holds half of a character ({error.reason})") from error
    return Turn(ROLES[role], content, _learned(number, ROLES[role], found.get("weight")))


def _learned(number: int, role: Role, weight: object) -> bool:
    """Whether a turn counts, by its weight. Raises InputError for a weight that is neither 0 nor 1."""
    if role != "assistant" or weight is None:
        return True
    if not isinstance(weight, bool | int | float) or weight not in (0, 1):
        raise InputError(f"turn {number} has the weight {shorten(weight, 40)}, expected 0 or 1")
    return bool(weight)


def _joined(number: int, role: Role, parts: list[object]) -> str:
    """The text of content that is in parts, as lines. Raises InputError for a part that is no text."""
    texts = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get("text") if isinstance(part, dict) and kind == "text" else None
        if not isinstance(text, str):
            what = f"of type {shorten(kind, 40)}" if isinstance(kind, str) and kind != "text" else "that is none"
            raise InputError(f"turn {number} ({role}) holds a part {what}, expected parts of type 'text' alone")
        texts.append(text)
    return "\n".join(texts)


def _value(item: dict[str, Any], *keys: str) -> object:
    return next((item[key] for key in keys if item.get(key) is not None), None)


def _check_order(turns: Sequence[Turn]) -> None:
    spoken = turns[1:] if turns and turns[0].role == "system" else turns
    if not spoken:
        raise InputError("it has no turn of a user")
    expected: Role = "user"
    for number, turn in enumerate(spoken, 1 + len(turns) - len(spoken)):
        if turn.role != expected:
            rule = "a system turn comes first" if turn.role == "system" else "user and assistant take turns"
            raise InputError(f"turn {number} is of the {turn.role}, expected the {expected}: {rule}")
        expected = "assistant" if expected == "user" else "user"


def _from_json(text: str) -> object:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise InputError("it is nested too deeply") from error
    except ValueError as error:
        wrong = json_error_message(error) if isinstance(error, json.JSONDecodeError) else str(error)
        raise InputError(f"{shorten(text, 40)} is not valid JSON: {wrong}") from error
