"""Usable rows: what does each row of a table contain, and which rows cannot be used?"""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from warmstart.data.rows.read_columns import ReadColumns, read_columns
from warmstart.data.rows.times import times_of
from warmstart.data.schema import conversations
from warmstart.data.schema.cell_values import read_numbers, spell
from warmstart.data.schema.class_values import read_classes
from warmstart.data.schema.conversations import Turn
from warmstart.data.schema.label_sets import LIST, PRINTED, SEPARATED, read_label_sets
from warmstart.data.schema.schema import CORPUS, TEXT_OUT, BadRowsRule, Schema
from warmstart.data.schema.structured import dump_json, misfit, parse_objects
from warmstart.data.tables.cells import as_text, each_text
from warmstart.data.tables.json_files import json_error_message
from warmstart.data.tables.read import Table
from warmstart.data.tables.strings import ArrowColumn, Texts, cell_blocks, is_contiguous
from warmstart.errors import InputError, join_phrases, shorten
from warmstart.types import Array

SHOWN_PROBLEMS = 4  # in one message
FEW_BAD_ROWS = 0.05  # of all rows: so many are left out, and said, where nobody said what to do with them


@dataclass(frozen=True)
class BadRows:
    """Rows that cannot be learned from, for the same reason."""

    kind: str  # "missing-target" | "not-a-number" | "empty-text" | "bad-conversation" | ...: `check` gives it on
    problem: str  # "column 'price' has 2 values that are not numbers (rows 17, 204: '?', '12,50')"
    rows: tuple[int, ...]  # row numbers, from 1


@dataclass(frozen=True)
class UsableRows:
    """All rows of a table, including those that cannot be learned from."""

    texts: Texts  # what the model reads; of a text-out task the conversation with its answer; of a corpus the documents
    targets: Array
    bad: tuple[BadRows, ...]
    pieces: Texts  # of a corpus: the documents cut; else `texts`
    columns: ReadColumns  # what the columns say, where there are any
    owners: Array  # int64 [pieces]: the row, from 0, that a piece is of
    times: Array | None = None  # float64 [n]: when each row is from, if rows are split by that

    @property
    def usable(self) -> Array:
        """The rows that are not bad: bool [n]."""
        good = np.ones(len(self.texts), dtype=bool)
        for kind in self.bad:
            good[np.asarray(kind.rows) - 1] = False
        return good

    def leaves_out(self, rule: BadRowsRule | None) -> bool:
        """Whether bad rows are left out instead of being an error; by default, if they are few."""
        return rule == "drop" or (rule is None and 1 - self.usable.mean() <= FEW_BAD_ROWS + 1e-9)

    @property
    def share(self) -> str:
        """'7 of 40 rows (17.5 %)': those that cannot be used."""
        bad = int((~self.usable).sum())
        return f"{bad:,} of {len(self.texts):,} rows ({100 * bad / len(self.texts):.3g} %)"


def find_usable_rows(table: Table, schema: Schema) -> UsableRows:
    """The contents of each row, and what is wrong with it. A bad row is not an error here."""
    columns = read_columns(table, schema)
    if schema.task in TEXT_OUT:
        texts, targets, bad = _turns(table, schema) if _holds_turns(schema) else _answered(table, schema)
    elif schema.task in CORPUS:
        texts = join_columns(table, schema)
        targets, bad = np.full(len(texts), "", dtype=object), [_empty(texts.blank(), table, schema)]
    else:
        texts, (targets, unread) = write_texts(table, schema, columns), _read_targets(table, schema)
        bad = _find_bad_rows(table, schema, texts, targets, unread, columns)
    times = times_of(table, schema.time)[0] if schema.time else None
    if times is not None:
        has, what = f"column {schema.time!r} has", ("cell that is no time", "cells that are no times")
        bad = [*bad, _bad("missing-time", np.isnan(times), table, has, what)]
    pieces, owners = texts.pieces(schema.piece_bytes) if schema.task in CORPUS else (texts, np.arange(len(texts)))
    return UsableRows(texts, targets, tuple(kind for kind in bad if kind.rows), pieces, columns, owners, times)


def write_texts(table: Table, schema: Schema, columns: ReadColumns | None = None) -> Texts:
    """The input text of each row, as in training; "" for an empty row.

    `columns`: the result of `read_columns`, if known. For text-out tasks: the conversation without its answer, as
    `conversations.write_turns` writes it. Raises InputError for turns that cannot be read, naming the row.
    """
    if schema.columns:
        return join_values(columns or read_columns(table, schema), schema)
    if schema.task not in TEXT_OUT:
        return join_columns(table, schema)
    return Texts.of(_prompts(table, schema))


def readable_texts(table: Table, schema: Schema, columns: ReadColumns | None = None) -> tuple[Texts, dict[int, str]]:
    """The same as `write_texts`, "" for a row that cannot be read; with the reasons by position."""
    problems: dict[int, str] = {}
    if schema.task in TEXT_OUT:
        texts = Texts.of(_prompts(table, schema, problems))
    else:
        texts = write_texts(table, schema, columns)
    nothing = f"there is nothing to read in {join_phrases(schema.text, quote=True)}"
    problems |= columns.values.image_problems if columns else {}
    return texts, {int(i): nothing for i in np.flatnonzero(texts.blank())} | problems


def join_values(columns: ReadColumns, schema: Schema) -> Texts:
    """The values of each row as one text, spelled as their columns say; "" if all are missing."""
    values = columns.values
    only = values[schema.text[0]]
    if not schema.labelled and len(schema.columns) == 1 and isinstance(only, Texts):
        return only
    spelled = [spell(values[column.name], column) for column in schema.columns]
    labels = [f"{column.name}: " if schema.labelled else "" for column in schema.columns]
    return Texts.of(
        "\n".join(label + text for label, text in zip(labels, texts, strict=True) if text)
        for texts in zip(*spelled, strict=True)
    )


def join_columns(table: Table, schema: Schema) -> Texts:
    """The text columns of each row as one text, if nothing is known of their kinds; "" for empty rows."""
    first = table.columns[schema.text[0]]
    if not schema.labelled and len(schema.text) == 1 and is_contiguous(first):
        texts = Texts(first.chunks[0])
        if schema.task in CORPUS or not (texts.blank() & (texts.sizes() > 0)).any():
            return texts
    columns = [each_text(table.columns[name]) for name in schema.text]
    labels = [f"{name}: " if schema.labelled else "" for name in schema.text]
    between = "\n\n" if schema.task == "chat" else "\n"
    return Texts.of(
        between.join(label + c for label, c in zip(labels, cells, strict=True) if c is not None and c.strip())
        for cells in zip(*columns, strict=True)
    )


# --- text-out tasks ---------------------------------------------------------------------------------------------------


def _holds_turns(schema: Schema) -> bool:
    """Whether one column contains all turns of a row."""
    return not schema.target and not schema.fields


def _cells(table: Table, schema: Schema) -> Iterator[object]:
    """The cells with turns; None if there are none."""
    cells = (cell for block in cell_blocks(table.columns[schema.text[0]]) for cell in block.to_pylist())
    return (None if cell == [] or (isinstance(cell, str) and not cell.strip()) else cell for cell in cells)


def _prompts(table: Table, schema: Schema, problems: dict[int, str] | None = None) -> Iterator[str]:
    """The prompt of each conversation. Raises InputError for a broken one, unless `problems` collects it."""
    for number, read in enumerate(_readers(table, schema), 1):
        try:
            turns = read()
        except InputError as error:
            place = f"{table.where(number)}, column {schema.text[0]!r}"
            if problems is not None:
                problems[number - 1] = error.message
                yield ""
                continue
            raise InputError(f"{place}: {error.message}", "correct that conversation") from error
        asked = turns[:-1] if _holds_turns(schema) and turns and turns[-1].role == "assistant" else turns
        yield conversations.write_turns(asked) if asked else ""


def _readers(table: Table, schema: Schema) -> Iterator[Callable[[], tuple[Turn, ...]]]:
    """For each row, functions that return its turns, without an answer in another column; () for an empty row.

    Each raises InputError if the turns cannot be read.
    """
    systems = each_text(table.columns[schema.system]) if schema.system else itertools.repeat(None)
    histories = _values(table.columns[schema.history]) if schema.history else itertools.repeat(None)
    if _holds_turns(schema):
        for cell, system in zip(_cells(table, schema), systems, strict=False):
            yield partial(_conversation, cell, system)
        return
    for source, system, history in zip(join_columns(table, schema), systems, histories, strict=False):
        yield partial(_asked, schema.instruction or "", source, system, history)


def _conversation(cell: object, system: object) -> tuple[Turn, ...]:
    return conversations.with_system(system, conversations.turns_of(cell)) if cell is not None else ()


def _asked(instruction: str, source: str, system: object, history: object) -> tuple[Turn, ...]:
    if not source:
        return ()
    asked = conversations.read_turns(conversations.write_prompt(instruction, source))
    return conversations.with_system(system, (*conversations.history_of(history), *asked))


def _values(column: ArrowColumn) -> Iterator[object]:
    return (cell for block in cell_blocks(column) for cell in block.to_pylist())


def _turns(table: Table, schema: Schema) -> tuple[Texts, Array, list[BadRows]]:
    targets = np.full(table.columns.num_rows, None, dtype=object)
    problems: dict[int, str] = {}  # by row number

    def each() -> Iterator[str]:
        for i, read in enumerate(_readers(table, schema)):
            try:
                turns = read()
                if turns:
                    turns = conversations.learned_part(turns)
                    conversations.check_answered(turns)
                    targets[i] = turns[-1].content
            except InputError as error:
                problems[i + 1], turns = error.message, ()
            yield conversations.write_turns(turns) if turns else ""

    texts, has = Texts.of(each()), f"{schema.answers} has"
    empty = texts.sizes() == 0
    empty[np.array(list(problems), dtype=np.int64) - 1] = False
    if (
        problems
        and len(problems) + empty.sum() == len(texts)
        and not any(map(conversations.has_answer, _cells(table, schema)))
    ):
        what = "without a turn of the assistant, so that nothing would be learned"
        one, several = f"conversation {what} from it", f"conversations {what} from them"
        return texts, targets, [_bad("unanswered", ~empty, table, has, (one, several)), _empty(empty, table, schema)]
    return (
        texts,
        targets,
        [
            _problems("bad-conversation", problems, table, has, ("conversation", "conversations")),
            _empty(empty, table, schema),
        ],
    )


def _answered(table: Table, schema: Schema) -> tuple[Texts, Array, list[BadRows]]:
    sources, targets, problems = join_columns(table, schema), *_answers(table, schema)
    broken: dict[int, str] = {}

    def each() -> Iterator[str]:
        for i, (read, target) in enumerate(zip(_readers(table, schema), targets.tolist(), strict=True)):
            try:
                asked = read()
            except InputError as error:
                broken[i + 1], asked = error.message, ()
            yield conversations.write_turns((*asked, Turn("assistant", target or ""))) if asked else ""

    texts = Texts.of(each())
    missing = np.array([target is None for target in targets], dtype=bool)
    missing[np.array(list(problems), dtype=np.int64) - 1] = False
    has = f"{schema.answers} {'have' if len(schema.fields) > 1 else 'has'}"
    return (
        texts,
        targets,
        [
            _bad("missing-target", missing, table, has, ("missing value", "missing values")),
            _problems("bad-object", problems, table, has, ("value", "values")),
            _problems("bad-conversation", broken, table, "the table has", ("conversation", "conversations")),
            _empty(sources.sizes() == 0, table, schema),
        ],
    )


def _answers(table: Table, schema: Schema) -> tuple[Array, dict[int, str]]:
    """(the answers, None if missing; what is wrong with them, by row number)"""
    targets, problems = np.full(table.columns.num_rows, None, dtype=object), {}
    if schema.json_schema is None:
        for i, cell in enumerate(each_text(table.columns[schema.target])):
            targets[i] = cell if cell is not None and cell.strip() else None
        return targets, {}
    why = misfit(schema.json_schema)
    for i, value in enumerate(parse_objects(table, schema.target, schema.fields, schema.separator)):
        if value is None:
            continue
        try:
            problem = why(value) if isinstance(value, dict) else _no_object(value)
            if not problem:
                written = dump_json(value, schema.json_schema)
                written.encode()
                targets[i] = written
        except RecursionError:
            problem = "it is nested too deeply"
        except UnicodeEncodeError as error:
            problem = f"it holds half of a character ({error.reason})"
        if problem:
            problems[i + 1] = problem
    return targets, problems


def _no_object(value: object) -> str:
    """What is wrong with a value that should be a JSON object."""
    wrong = f"{shorten(value, 40)} is no JSON object"
    try:
        json.loads(value if isinstance(value, str) else "{}")
    except json.JSONDecodeError as error:
        return f"{wrong}: {json_error_message(error)}"
    except (ValueError, RecursionError):  # an integer of thousands of digits
        pass
    return wrong


def _problems(kind: str, problems: dict[int, str], table: Table, who: str, what: tuple[str, str]) -> BadRows:
    """`problems` by row number, as messages for the first few."""
    shown = itertools.islice(problems.items(), SHOWN_PROBLEMS)
    said = "; ".join(f"{table.where(number)}: {problem}" for number, problem in shown)
    more = f"; and {len(problems) - SHOWN_PROBLEMS:,} more" if len(problems) > SHOWN_PROBLEMS else ""
    message = f"{who} {len(problems):,} {what[len(problems) != 1]} that cannot be used ({said}{more})"
    return BadRows(kind, message, tuple(problems))


# --- numbers and classes ----------------------------------------------------------------------------------------------


def _find_bad_rows(
    table: Table, schema: Schema, texts: Texts, targets: Array, unread: Mapping[int, str], columns: ReadColumns
) -> list[BadRows]:
    """A row may be bad for two reasons. `unread`: target cells that are not lists of labels, by position."""
    column, has = table.columns[schema.target], f"column {schema.target!r} has"
    empty = texts.sizes() == 0
    problems = {place + 1: said for place, said in columns.values.image_problems.items()}
    empty[np.array([*problems], dtype=np.int64) - 1] = False  # told with their reasons
    pictures = join_phrases([column.name for column in schema.columns if column.kind == "image"], quote=True)
    damaged = _problems("bad-image", problems, table, f"column {pictures} has", ("image", "images"))
    if schema.task == "regression":
        unparsed = read_numbers(table, schema.target, schema.target_column)[1]
        values = as_text(column) if unparsed.any() else []
        found = [
            _bad(
                "missing-target",
                np.isnan(targets) & ~unparsed,
                table,
                has,
                ("missing value", "missing values"),
            ),
            _bad(
                "not-a-number",
                unparsed,
                table,
                has,
                ("value that is not a number", "values that are not numbers"),
                values,
            ),
            _bad(
                "infinite-target",
                np.isinf(targets),
                table,
                has,
                ("infinite value", "infinite values"),
            ),
            _empty(empty, table, schema),
        ]
    else:
        missing = np.array([target is None and i not in unread for i, target in enumerate(targets)], dtype=bool)
        odd = np.zeros(len(texts), dtype=bool)
        odd[list(unread)] = True
        single = np.zeros(len(texts), dtype=bool)
        if not schema.multi_label:
            counts = Counter(targets[~(missing | odd | empty)])
            single = np.array([counts[target] == 1 for target in targets], dtype=bool) & ~empty
        found = [
            _bad("missing-target", missing, table, has, ("missing value", "missing values")),
            _bad("not-a-list", odd, table, has, _not_lists(schema), as_text(column) if unread else ()),
            _empty(empty, table, schema),
            _bad(
                "single-class",
                single,
                table,
                has,
                ("class with a single row", "classes with a single row"),
                targets,
            ),
        ]
    return [kind for kind in (damaged, *found) if kind.rows]


def _not_lists(schema: Schema) -> tuple[str, str]:
    if schema.notation in (LIST, PRINTED):
        return "value that is not a list of labels", "values that are not lists of labels"
    return "value that is not a vector of zeros and ones", "values that are not vectors of zeros and ones, equally long"


def _read_targets(table: Table, schema: Schema) -> tuple[Array, dict[int, str]]:
    """(float64 [n] with NaN, or object [n] with None, for missing targets; cells that are not lists of labels)."""
    column = table.columns[schema.target]
    if schema.task == "regression":
        return read_numbers(table, schema.target, schema.target_column)[0], {}
    targets = np.empty(len(column), dtype=object)
    if not schema.multi_label:
        for i, label in enumerate(read_classes(table, schema.target, schema.class_type)):
            targets[i] = label
        return targets, {}
    notation = schema.notation or (LIST if pa.types.is_list(column.type) else SEPARATED)  # None: of earlier versions
    sets = read_label_sets(column, notation, schema.separator)
    for i, labels in enumerate(sets.labels):
        targets[i] = labels
    return targets, sets.unread


def _bad(
    kind: str, mask: Array, table: Table, who: str, what: tuple[str, str], values: Sequence[object] | Array = ()
) -> BadRows:
    """`what` describes one row and several; `values` are shown with the row numbers."""
    rows = tuple(int(i) + 1 for i in np.flatnonzero(mask))
    cells = ": " + join_phrases([shorten(values[row - 1]) for row in rows[:8]]) if len(values) and rows else ""
    return BadRows(kind, f"{who} {len(rows):,} {what[len(rows) != 1]} ({table.rows(rows)}{cells})", rows)


def _empty(mask: Array, table: Table, schema: Schema) -> BadRows:
    inputs = f"with nothing to read in {join_phrases(schema.text, quote=True)}"
    return _bad("empty-text", mask, table, "the table has", (f"row {inputs}", f"rows {inputs}"))
