"""Named columns: do the columns exist that the user named, and which could be the target if none was named?"""

import re
import shlex
from pathlib import Path

import pyarrow as pa

from warmstart.data.schema.infer_text import holds_text, speaker
from warmstart.data.schema.schema import ColumnChoices, describe_files
from warmstart.data.tables.cells import PLAIN_NUMBER, each_text
from warmstart.data.tables.formats import CUT_BY_DELIMITERS
from warmstart.data.tables.read import Table
from warmstart.errors import UsageError, did_you_mean, join_phrases

PLAIN_NAME = re.compile(r"[^\W\d]\w*")


def check_columns(table: Table, columns: ColumnChoices) -> None:
    """Raises UsageError for a named column that is not there, or that is named twice for different things."""
    target, known = columns.target, table.columns.column_names
    named = (target, *columns.text, columns.image, columns.group, columns.time, *columns.fields, *columns.kinds)
    for name in filter(None, named):
        if name not in known:
            raise UsageError(f"there is no column {name!r} in {describe_files(table)}", _meant(table, name))
    roles = {"--text": columns.text, "--group": (columns.group,), "--time": (columns.time,), "--fields": columns.fields}
    for role, names in roles.items():
        if target and target in names:
            raise UsageError(f"column {target!r} is both --target and {role}", "choose two different columns")
    for name in columns.kinds:
        if name == target and columns.kinds[name].startswith("number") and columns.task in (None, "regression"):
            continue
        if name in (target, columns.group) or (columns.text and name not in columns.text):
            why = "it is not among the --text columns" if columns.text and name != target else "it is not an input"
            raise UsageError(f"--column says how {name!r} is read, but {why}", "leave it out")
    for name in columns.text if target else ():
        cells = zip(each_text(table.columns[name]), each_text(table.columns[target]), strict=True)
        if all(cell == other for cell, other in cells):
            raise UsageError(f"the text column {name!r} is the target {target!r} itself", "choose other text columns")


def _meant(table: Table, name: str) -> str:
    """What may have been meant by a column that is not there, for a hint."""
    known = table.columns.column_names
    hint = did_you_mean(name, known)
    headless = not hint.endswith("?") and _seems_headless(table)
    return f"{hint}; the file seems to have no header line: add one" if headless else hint


def _seems_headless(table: Table) -> bool:
    """Whether most columns are called what a cell might say, and one has a number for a name and numbers in it."""
    if Path(table.files[0]).suffix.lower() not in CUT_BY_DELIMITERS:
        return False
    names = table.columns.column_names
    numbers = [
        pa.types.is_integer(table.columns[name].type) or pa.types.is_floating(table.columns[name].type)
        for name in names
        if PLAIN_NUMBER.match(name)
    ]
    return any(numbers) and 2 * sum(PLAIN_NAME.fullmatch(name) is None for name in names) >= len(names)


def no_target(table: Table) -> UsageError:
    """What can be said where no column is to be predicted and the form of the table does not tell the task."""
    names = table.columns.column_names
    ways = [f"which column to predict: --target COL (there are: {join_phrases(names, quote=True)})"]
    turns = next((name for name in names if speaker(table.columns[name])), None)
    if turns is not None:
        ways.append(f"that {turns!r} holds conversations: --task chat --text {shlex.quote(turns)}")
    elif len(names) == 1 and holds_text(table, names[0]):
        ways.append("that the texts themselves are to be learned: --task causal-lm")
    return UsageError("no target was named.", f"say {', or '.join(ways)}")
