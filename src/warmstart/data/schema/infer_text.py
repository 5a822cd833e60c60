"""Infer text: is a table a corpus, conversations or texts to generate, and in which columns?"""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from warmstart.data.schema.conversations import looks_like_turns
from warmstart.data.schema.schema import (
    CORPUS,
    TEXT_OUT,
    ColumnChoices,
    Schema,
    TaskName,
    check_meant,
    chosen_metric,
    describe_files,
)
from warmstart.data.schema.structured import describe_schema, infer_json_schema, parse_objects, read_schema
from warmstart.data.tables.cells import blank, constant, is_identifier
from warmstart.data.tables.read import Table
from warmstart.data.tables.strings import ArrowColumn, cell_blocks
from warmstart.errors import InputError, UsageError, join_phrases, shorten

TURNS = ("messages", "conversations", "conversation")  # names of a column that holds all turns
# (columns of the prompt, column of the answer): Alpaca's, and what others call them.
TEXT_PAIRS = (
    (("instruction", "input"), "output"),
    (("instruction", "context"), "response"),
    (("question", "context"), "answer"),
    (("instruction",), "output"),
    (("prompt",), "completion"),
    (("prompt",), "response"),
    (("question",), "answer"),
)
SYSTEM, HISTORY = ("system", "system_prompt"), ("history",)  # names of columns beside turns, or beside a pair
OPTIONAL = ("input", "context")  # columns of a prompt that are blank where the instruction says it all
TURN_SAMPLE = 100  # cells looked at for turns
# By the code at the end of a column's name, as in 'synopsis_de'.
LANGUAGES = {
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "it": "Italian",
    "ja": "Japanese",
    "nl": "Dutch",
    "pl": "Polish",
    "pt": "Portuguese",
    "ru": "Russian",
    "zh": "Chinese",
}


def language_task(table: Table, columns: ColumnChoices) -> tuple[TaskName, str] | None:
    """(the task, why) where it is one of language models, else None: then there is a target to predict."""
    if columns.task in (*CORPUS, *TEXT_OUT):
        return columns.task, f"The task is {columns.task}, as asked."
    if columns.task is not None:
        return None
    if columns.fields or columns.schema is not None:
        return "structured", f"{'--fields' if columns.fields else '--schema'} was given, so the task is structured."
    if columns.target:
        return None
    if table.documents:
        return "causal-lm", "There are texts and no target, so the task is causal-lm."
    if name := _turns_column(table, columns.text):
        return "chat", f"{name!r} holds {_turns_form(table.columns[name])}, so the task is chat."
    if pair := _pair(table, columns):
        return (
            "chat",
            f"{join_phrases(pair[0], quote=True)} and {pair[1]!r} are a prompt and its answer: the task is chat.",
        )
    return None


def infer_text_schema(table: Table, columns: ColumnChoices, task: TaskName, why: str) -> Schema:
    """What the table is for this task. Raises UsageError where a column that it needs cannot be told."""
    check_meant(columns, task)
    if task in CORPUS:
        text, target = _corpus(table, columns, task), ""
    elif task == "chat":
        text, target = _chat(table, columns)
    else:
        text, target = _written(table, columns, task)
    json_schema = _json_schema(table, columns, target) if task == "structured" else None
    instruction = columns.instruction or default_instruction(task, target, json_schema)
    notes = [why, f"The input is {join_phrases(text, quote=True)}{_output(columns, target)}."]
    if json_schema is not None:
        whose = f"as {columns.schema} has it" if columns.schema else "as its values suggest"
        notes.append(f"The answer is a JSON object, {whose}: {describe_schema(json_schema)}.")
    if instruction:
        notes.append(f"Each text comes after the instruction {shorten(instruction, 200)}.")
    system = _beside(table, SYSTEM, task, (*text, target, columns.group))
    history = _beside(table, HISTORY, task, (*text, target, columns.group)) if target else None
    if system:
        notes.append(f"{system!r} is the system turn of each conversation.")
    if history:
        notes.append(f"{history!r} holds the questions and answers before each prompt.")
    used = (*text, target, *columns.fields, columns.group, columns.time, system, history)
    unread = [name for name in table.columns.column_names if name not in used]
    if unread:
        notes.append(f"Not read: {join_phrases(unread, quote=True)}.")
    return Schema(
        task=task,
        target=target,
        text=text,
        labelled=False,
        group=columns.group,
        time=columns.time,
        ignored=dict.fromkeys(unread, "is not asked for"),
        scale="linear",
        multi_label=False,
        separator=columns.separator,
        notes=tuple(notes),
        instruction=instruction,
        fields=columns.fields,
        json_schema=json_schema,
        piece_bytes=columns.piece_bytes if task in CORPUS else 0,
        long=columns.long or "head-tail",
        metric=chosen_metric(columns, task),
        system=system,
        history=history,
    )


def _beside(table: Table, usual: Sequence[str], task: TaskName, taken: Sequence[str | None]) -> str | None:
    """The column of a chat that is called so and holds anything."""
    known = _by_usual_name(table)
    names = (known[name] for name in usual if task == "chat" and name in known)
    return next((name for name in names if name not in taken and not blank(table.columns[name])), None)


def _output(columns: ColumnChoices, target: str) -> str:
    written = join_phrases(columns.fields or (target,), quote=True) if columns.fields or target else ""
    return f", the output {written}" if written else ""


# --- a corpus ---------------------------------------------------------------------------------------------------------


def _corpus(table: Table, columns: ColumnChoices, task: TaskName) -> tuple[str, ...]:
    if columns.target:
        raise UsageError(
            f"--task {task} learns the texts themselves, so --target {columns.target} means nothing",
            "leave out --target, and name the column of the texts with --text",
        )
    return columns.text or _only_text(table, columns)


def _only_text(table: Table, columns: ColumnChoices) -> tuple[str, ...]:
    """The one column that holds texts; where there are several, the one called 'text'. Raises UsageError."""
    if table.documents:
        return ("text",)
    taken = (*columns.not_read, *columns.fields)
    names = [name for name in table.columns.column_names if name not in taken and holds_text(table, name)]
    if len(names) > 1 and "text" in names:
        return ("text",)
    if len(names) != 1:
        found = (
            f"{len(names)} columns hold texts: {join_phrases(names, quote=True)}" if names else "no column holds texts"
        )
        raise UsageError(f"{found} in {describe_files(table)}", "say which to read with --text COL")
    return (names[0],)


def holds_text(table: Table, name: str) -> bool:
    column = table.columns[name]
    if not pa.types.is_large_string(column.type) or blank(column):
        return False
    return len(column) == 1 or not (constant(column) or is_identifier(name, column))


# --- conversations ----------------------------------------------------------------------------------------------------


def _chat(table: Table, columns: ColumnChoices) -> tuple[tuple[str, ...], str]:
    """(the columns of the prompt, that of the answer), or (the column of all turns, "")"""
    if columns.target:
        return _of_texts(table, columns.text or _only_text(table, columns), columns.target)
    if name := _turns_column(table, columns.text):
        return (name,), ""
    if pair := _pair(table, columns):
        return _of_texts(table, *pair)
    if columns.text:
        raise UsageError(
            f"column {columns.text[0]!r} holds no conversations: expected lists of {{role, content}}",
            "name the column of the answers with --target",
        )
    raise UsageError(
        f"no conversations were found in {describe_files(table)}: there are {join_phrases(table.columns.column_names)}",
        "expected 'messages' (lists of {role, content}), 'conversations' (of {from, value}), or "
        "'instruction', 'input' and 'output'; or name two columns: --text PROMPT --target ANSWER",
    )


def _of_texts(table: Table, text: tuple[str, ...], target: str) -> tuple[tuple[str, ...], str]:
    """The same columns. Raises UsageError where one of them holds turns: they would be read, or written, as JSON."""
    turns = next((name for name in (*text, target) if speaker(table.columns[name])), None)
    if turns is not None:
        raise UsageError(
            f"column {turns!r} of {describe_files(table)} holds conversations, not prompts or answers.",
            "put all turns of a row, the answer last, into one list under 'messages'",
        )
    return text, target


def _turns_column(table: Table, text: Sequence[str]) -> str | None:
    """The column of all turns. Raises UsageError where there are several, of which none is named."""
    known = _by_usual_name(table)
    names = text if len(text) == 1 else [] if text else [known[name] for name in TURNS if name in known]
    found = [name for name in names if speaker(table.columns[name])]
    if len(found) > 1:
        raise UsageError(
            f"{' and '.join(map(repr, found))} of {describe_files(table)} all hold conversations; one column is read.",
            f"put all of them under one name, or pick one column: --text {found[0]}",
        )
    return found[0] if found else None


def speaker(column: ArrowColumn) -> str | None:
    """'role' or 'from', if one of the first cells begins like a conversation."""
    if not (pa.types.is_list(column.type) or pa.types.is_large_string(column.type)):
        return None
    cells = (cell for block in cell_blocks(column) for cell in block.slice(0, TURN_SAMPLE).to_pylist())
    return next(filter(None, map(looks_like_turns, itertools.islice(cells, TURN_SAMPLE))), None)


def _turns_form(column: ArrowColumn) -> str:
    return "ShareGPT conversations" if speaker(column) == "from" else "conversations"


def _pair(table: Table, columns: ColumnChoices) -> tuple[tuple[str, ...], str] | None:
    if columns.text:
        return None
    known = _by_usual_name(table)
    pair = next((pair for pair in TEXT_PAIRS if {*pair[0], pair[1]} <= known.keys()), None)
    return (tuple(known[name] for name in pair[0]), known[pair[1]]) if pair else None


def _by_usual_name(table: Table) -> dict[str, str]:
    """The columns by their names in lower case; of several, the one that is called so."""
    names = table.columns.column_names
    return {name.lower(): name for name in names} | {name: name for name in names}


# --- texts to be written ----------------------------------------------------------------------------------------------


def _written(table: Table, columns: ColumnChoices, task: TaskName) -> tuple[tuple[str, ...], str]:
    """(the columns of the source, that of the text or JSON object to be written)"""
    if columns.target and columns.fields:
        raise UsageError("--target and --fields both say what is to be written", "leave one of them out")
    if not columns.target and not columns.fields:
        more = " or, with --fields a,b, the columns that make up a JSON object" if task == "structured" else ""
        there = join_phrases(table.columns.column_names, quote=True)
        raise UsageError(
            "no target was named.", f"say which column is to be written: --target COL{more} (there are: {there})"
        )
    twice = next((name for name in columns.fields if name in columns.text), None)
    if twice:
        raise UsageError(f"column {twice!r} is both --fields and --text", "choose two different columns")
    if columns.target:
        column = table.columns[columns.target]
        if blank(column):
            raise InputError(
                f"column {columns.target!r} has no value in any row, so there is nothing to learn",
                "choose another target",
            )
        if task != "structured" and not pa.types.is_large_string(column.type):
            raise UsageError(
                f"--task {task} writes text, but column {columns.target!r} holds {column.type}", "choose another target"
            )
    return columns.text or _only_text(table, columns), columns.target


def _json_schema(table: Table, columns: ColumnChoices, target: str) -> dict[str, object]:
    if columns.schema is not None:
        return read_schema(Path(columns.schema).expanduser())
    return infer_json_schema(parse_objects(table, target, columns.fields, columns.separator))


def default_instruction(task: TaskName, target: str, json_schema: dict[str, object] | None) -> str | None:
    """The task's own sentence, where the user gave none."""
    if task == "summarise":
        return "Summarise the following text in one or two sentences."
    if task == "translate":
        code = re.search(r"(?:^|[_-])([a-z]{2})$", target)
        language = LANGUAGES.get(code[1]) if code else None
        return f"Translate the following text into {language}." if language else "Translate the following text."
    if task == "structured" and json_schema is not None:
        properties = json_schema.get("properties")
        keys = join_phrases(list(properties), 20) if isinstance(properties, dict) and properties else ""
        return f"Describe the following text as a JSON object{f' with the keys {keys}' if keys else ''}."
    return None
