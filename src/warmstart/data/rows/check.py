"""Check: what should a person know about a table, row by row, before training?"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from warmstart.data.rows.class_findings import class_findings, label_counts
from warmstart.data.rows.duplicates import Duplicates, find_duplicates, shared_across_split
from warmstart.data.rows.findings import ROWS_SHOWN, Finding, Severity
from warmstart.data.rows.image_copies import find_image_copies
from warmstart.data.rows.lengths import Reach, named_controls, too_long
from warmstart.data.rows.number_findings import number_findings
from warmstart.data.rows.split import MIN_SPLIT_ROWS, Rows, Splits, held_out_counts, remarks, split, usable_rows
from warmstart.data.rows.time_findings import time_findings
from warmstart.data.rows.times import times_of
from warmstart.data.rows.usable_rows import BadRows, UsableRows, find_usable_rows, join_columns
from warmstart.data.schema import conversations
from warmstart.data.schema.columns import Column
from warmstart.data.schema.infer import gives_away
from warmstart.data.schema.infer_text import OPTIONAL
from warmstart.data.schema.schema import CORPUS, INSTRUCTED, TEXT_OUT, BadRowsRule, Schema
from warmstart.data.tables.cells import blank, constant, each_text, present
from warmstart.data.tables.read import Table
from warmstart.data.tables.strings import ArrowColumn, Texts, cell_blocks
from warmstart.errors import InputError, count_phrase, join_phrases, shell_word, shorten
from warmstart.results.display import Display, Tabular, table_of_rows
from warmstart.types import Array

COMPARED_BYTES = 1 << 16  # of a document, in the search for copies: its words are held in memory
SAMPLED_ROWS = 2_000  # in which names of targets are looked for
MANY_COPIES = 0.2  # of the rows; with as many, a file may have been joined to itself
FEW_VAL_ROWS, FEW_TEST_ROWS = 50, 100
LENGTH_QUANTILES = {"min": 0, "p10": 10, "p25": 25, "median": 50, "p75": 75, "p90": 90, "max": 100}
UNREAD_CELLS = {  # keys of turns, and what it means that they are not read
    "tool_calls": ": the calls are not learned",
    "reasoning_content": ": the reasoning is not learned",
}
LEAK_SHARE = 0.9  # of the rows whose text names their own target


FINDING_COLUMNS: dict[str, pa.DataType] = {
    "severity": pa.string(),
    "kind": pa.string(),
    "message": pa.string(),
    "count": pa.int64(),
    "rows": pa.list_(pa.int64()),
    "hint": pa.string(),
}


@dataclass(frozen=True, repr=False)
class CheckResult(Tabular):
    """What was recognized and found."""

    rows: int
    schema: Schema
    findings: tuple[Finding, ...]
    split: dict[str, int]  # {"train": n, "val": n, "test": n}: rows, of a corpus pieces; {} where there is no split
    # regression: quantiles, mean; classification: {"classes", "largest", "counts": {...}};
    # text-out: quantiles of the answers' characters; corpus: {"documents", "pieces", "bytes"}
    target: dict[str, object]
    spelling: dict[str, object] | None = None  # how the base's tokenizer cuts the texts: `mismatch.Spelling`

    @property
    def usable(self) -> bool:
        """Whether the table can be trained on as it is."""
        return not any(finding.severity == "error" for finding in self.findings)

    def to_table(self) -> pa.Table:
        """One line for each finding, errors first; row numbers start at 1, and only the first few are listed."""
        return table_of_rows([vars(finding) for finding in self.findings], FINDING_COLUMNS)

    def _display(self) -> Display:
        usable = "ready to train" if self.usable else "cannot be trained on"
        target = f" of {self.schema.target!r}" if self.schema.target else ""
        read = join_phrases(self.schema.text, quote=True)
        headline = f"{self.rows:,} rows, {usable}; task: {self.schema.task}{target} from {read}"
        lines = [(each.severity, each.message, each.hint) for each in self.findings]
        parts = ", ".join(f"{n:,} {part}" for part, n in self.split.items())
        notes = (*self.schema.notes, *((f"split: {parts}",) if parts else ()))
        return Display(headline, ("finding", "message", "hint") if lines else (), tuple(lines), notes, numbers=False)


def find_problems(
    table: Table, schema: Schema, readers: Sequence[Reach] = (), *, bad_rows: BadRowsRule | None = None
) -> CheckResult:
    """Findings about the rows as they would be trained on; errors first. Bad rows are findings, never exceptions.

    `readers`: how much each base reads, and its control tokens; without one, lengths are not checked. `bad_rows`: how
    bad rows are handled; by default, a few are left out.
    """
    found = find_usable_rows(table, schema)
    left_out = found.leaves_out(bad_rows)
    findings = [_of_bad_rows(kind, left_out, found) for kind in found.bad]
    remark = "corpus" if schema.task in CORPUS else "unread-cells"
    findings += [Finding(remark, "warning", said) for said in remarks(table, schema, found)]
    findings += [Finding("file", "note", said) for said in table.notes]
    findings += number_findings(found, schema)
    sizes: dict[str, int] = {}
    try:
        rows = usable_rows(table, schema, found)
        splits = split(rows, schema)
    except InputError as error:
        # What the bad rows are is said already: where they are all that is wrong, more rows are not what is needed.
        if left_out or not found.bad or not (found.usable.sum() < MIN_SPLIT_ROWS <= len(found.texts)):
            findings.append(Finding("cannot-split", "error", error.message, hint=error.hint))
    else:
        sizes = {"train": len(splits.train), "val": len(splits.val), "test": len(splits.test)}
        if schema.time:
            findings += time_findings(splits, schema, times_of(table, schema.time)[1], held_out_counts(len(rows)))
        findings += _small_parts(sizes, "piece" if schema.task in CORPUS else "row")
        sources = _sources(table, schema, found, rows)
        findings += _copies(table, schema, sources, _parts(found, splits))
        if schema.task in TEXT_OUT:
            findings += _answers(sources, schema)
            findings += _unread_keys(table, schema)
            findings += _not_learned(rows)
        elif schema.task not in CORPUS and not _pictures(schema):
            findings += _named_target(rows, schema)
        if schema.task == "classification":
            findings += class_findings(found.targets, splits, schema)
        findings += named_controls(rows, schema, found.owners, readers)
        findings += too_long(rows, schema, found.owners, readers)
    findings += _columns(table, schema) if schema.task not in CORPUS and not _pictures(schema) else []
    order: tuple[Severity, ...] = ("error", "warning", "note")
    findings.sort(key=lambda finding: order.index(finding.severity))
    return CheckResult(len(found.texts), schema, tuple(findings), sizes, _summary(found, schema))


def _pictures(schema: Schema) -> bool:
    """Whether images are all that is read."""
    return {column.kind for column in schema.columns} == {"image"}


def _sources(table: Table, schema: Schema, found: UsableRows, rows: Rows) -> Rows:
    """The texts without parts that all rows share: no instruction, no roles, no answers; for a corpus, documents."""
    if schema.task in CORPUS:
        parts, owners = found.texts.pieces(COMPARED_BYTES)
        documents, first = np.unique(owners, return_index=True)
        texts = parts.take(first)
        return Rows(texts, found.targets[documents], documents + 1, texts)
    if schema.task not in TEXT_OUT:
        return rows
    if schema.task in INSTRUCTED or schema.target:
        texts = join_columns(table, schema).take(rows.numbers - 1)
    else:
        texts = Texts.of("\n".join(turn.content for turn in conversations.read_turns(text)[:-1]) for text in rows.texts)
    return Rows(texts, rows.targets, rows.numbers, rows.keys, rows.columns)


def _parts(found: UsableRows, splits: Splits) -> Array:
    """By row number: 0 train, 1 validation, 2 test; a document in several parts counts as the last."""
    part = np.zeros(len(found.texts) + 1, dtype=np.int64)
    for value, rows in ((1, splits.val), (2, splits.test)):
        numbers = found.owners[rows.numbers - 1] + 1
        part[numbers] = np.maximum(part[numbers], value)
    return part


def _of_bad_rows(bad: BadRows, left_out: bool, found: UsableRows) -> Finding:
    if left_out:
        return Finding(bad.kind, "warning", f"Left out: {bad.problem}.", bad.rows[:ROWS_SHOWN], len(bad.rows))
    clean = "merge them with other classes" if bad.kind == "single-class" else "clean them"
    hint = f"{clean}, or pass --bad-rows drop to leave out {found.share}"
    if found.usable.sum() < MIN_SPLIT_ROWS:
        hint = f"{clean}: {found.share} cannot be used, and too few would be left"
    return Finding(bad.kind, "error", f"{bad.problem}.", bad.rows[:ROWS_SHOWN], len(bad.rows), hint)


def _small_parts(sizes: dict[str, int], unit: str) -> list[Finding]:
    findings = []
    for part, fewest, why in (
        ("val", FEW_VAL_ROWS, "what is chosen by them is chosen by chance"),
        ("test", FEW_TEST_ROWS, "only large differences can be told apart"),
    ):
        if sizes[part] < fewest:
            left = count_phrase(sizes[part], f"{unit} is", f"{unit}s are")
            message = f"Only {left} left for {'validation' if part == 'val' else part}: {why}."
            findings.append(
                Finding(
                    f"small-{part}",
                    "warning",
                    message,
                    count=sizes[part],
                    hint="add rows" if unit == "row" else "add texts",
                )
            )
    return findings


# --- copies --------------------------------------------------------------------------------------------------------


def _copies(table: Table, schema: Schema, rows: Rows, part: Array) -> list[Finding]:
    images = rows.columns.images
    alone = images is not None and len(schema.columns) == 1
    words = not schema.columns or any(column.kind == "text" for column in schema.columns)
    read = "text" if words else "input"
    found = [] if alone else _copies_of(read, find_duplicates(rows.texts), table, schema, rows, part)
    if images is None:
        return found
    return [*found, *_copies_of("image", find_image_copies(images), table, schema, rows, part)]


def _copies_of(read: str, copies: Duplicates, table: Table, schema: Schema, rows: Rows, part: Array) -> list[Finding]:
    """Of the texts, of the inputs where none is a text, or of the images."""
    findings = []
    unit = "document" if schema.task in CORPUS else "row"
    for kind, pairs, what in (
        ("duplicates", copies.exact, f"exactly the {read} of an earlier {unit}"),
        ("near-duplicates", copies.near, f"nearly the {read} of an earlier {unit}"),
    ):
        if len(pairs):
            again = np.unique(rows.numbers[pairs.max(axis=1)])
            who = count_phrase(len(again), f"{unit} has", f"{unit}s have")
            message = f"{who} {what}{copies.bound if kind == 'near-duplicates' else ''}."
            many = kind == "duplicates" and len(again) >= MANY_COPIES * len(rows)
            findings.append(_many_copies(again, rows, unit, read) if many else Finding.of(kind, "note", message, again))
    if read != "image" or len(schema.columns) == 1:
        findings += _contradictions(rows, copies, read)
    both = np.concatenate([copies.exact, copies.near])
    parts = part[rows.numbers[both]] if len(both) else both
    across = both[(parts == 2).any(axis=1) & (parts == 0).any(axis=1)]
    if len(across):
        tested = np.unique(rows.numbers[across][part[rows.numbers[across]] == 2])
        column = shared_across_split(table, schema, rows.numbers[both] - 1)
        one = len(tested) == 1
        of_image = f" of {'its' if one else 'their'} image" if read == "image" else ""
        among = f"{'has' if one else 'have'} a copy or near copy{of_image} among the training {unit}s"
        memory = "it tests" if one else "they test"
        message = f"{len(tested):,} of {(part == 2).sum():,} test {unit}s {among}, so {memory} memory."
        group = f"--group {shell_word(column)}" if column else "a coarser --group" if schema.group else ""
        hint = f"pass {group} to keep copies on one side, or drop them" if group else "drop the copies"
        findings.append(Finding.of("copies-across-split", "warning", message, tested, hint))
    return findings


def _many_copies(again: Array, rows: Rows, unit: str, read: str) -> Finding:
    different = len(rows) - len(again)
    copied = f"{len(again) / len(rows):.0%} of the {unit}s are exact copies"
    message = f"{copied}: there are {different:,} different {read}s."
    return Finding.of("duplicates", "warning", message, again, f"keep one of each, unless the {unit}s do come again")


def _contradictions(rows: Rows, copies: Duplicates, read: str) -> list[Finding]:
    differ = copies.exact[rows.targets[copies.exact[:, 0]] != rows.targets[copies.exact[:, 1]]]
    if not len(differ):
        return []
    numbers = np.unique(rows.numbers[differ])
    message = f"{len(numbers):,} rows share their {read} with a row of another target: no model can tell them apart."
    return [Finding.of("contradictions", "note", message, numbers, "add a column that tells them apart")]


# --- answers -------------------------------------------------------------------------------------------------------


def _answers(sources: Rows, schema: Schema) -> list[Finding]:
    findings = []
    pairs = zip(sources.texts, sources.targets.tolist(), strict=True)
    equal = np.array([source.strip() == answer.strip() for source, answer in pairs], dtype=bool)
    if equal.any():
        who = count_phrase(int(equal.sum()), "row has", "rows have")
        message = f"{who} an answer that is the text itself, from which copying is learned."
        findings.append(
            Finding.of("answer-is-text", "warning", message, sources.numbers[equal], "leave these rows out")
        )
    if schema.task == "summarise":
        lengths = np.array([len(answer.encode()) for answer in sources.targets.tolist()])
        longer = lengths > Texts.of(sources.texts).sizes()
        if longer.any():
            are = "is longer than what it summarizes" if longer.sum() == 1 else "are longer than what they summarize"
            message = f"{longer.sum():,} of {len(sources):,} summaries {are}."
            findings.append(Finding.of("long-answer", "warning", message, sources.numbers[longer], "check these rows"))
    return findings


def _unread_keys(table: Table, schema: Schema) -> list[Finding]:
    """Keys of turns besides speaker and words, which no model sees."""
    if schema.target or schema.fields:
        return []
    blocks = (block.to_pylist() for block in cell_blocks(table.columns[schema.text[0]]))
    rows: dict[str, list[int]] = {}
    for number, cell in enumerate(itertools.chain.from_iterable(blocks), 1):
        for key in conversations.unread_keys(cell):
            rows.setdefault(key, []).append(number)
    findings = []
    for key, numbers in sorted(rows.items()):
        what = count_phrase(len(numbers), "conversation has", "conversations have")
        message = f"{what} turns with {key!r}, which is not read{UNREAD_CELLS.get(key, '')}."
        hint = f"leave out what should not be learned, or write {key!r} as words of a turn"
        findings.append(Finding.of("unread-key", "warning", message, np.array(numbers), hint))
    return findings


def _not_learned(rows: Rows) -> list[Finding]:
    """Assistant turns that are read but not learned, because their weight is 0."""
    marked = [i for i, text in enumerate(rows.texts) if '"weight": 0' in text]
    turns = {i: sum(not turn.learned for turn in conversations.read_turns(rows.texts[i])) for i in marked}
    count = sum(turns.values())
    if not count:
        return []
    who = count_phrase(count, "turn of the assistant has", "turns of the assistant have")
    message = f"{who} weight 0: they are read as what was said before, and not learned."
    return [Finding.of("weight-0", "note", message, rows.numbers[[i for i, found in turns.items() if found]], "")]


# --- columns and leaks ---------------------------------------------------------------------------------------------


def _columns(table: Table, schema: Schema) -> list[Finding]:
    findings = []
    predicted = schema.task not in TEXT_OUT and not schema.multi_label
    images = {column.name for column in schema.columns if column.kind == "image"}
    words = (_says_words(schema.column(name), table.as_written(name)) for name in schema.text if name not in images)
    if schema.task not in TEXT_OUT and not images and not any(words):
        message = f"No column that is read holds words: {join_phrases(schema.text, quote=True)}."
        more = "; or name columns with texts by --text" if schema.ignored else ""
        hint = f"what learns from tables, such as boosted trees, will do better{more}"
        findings.append(Finding("no-words", "warning", message, hint=hint))
    for name in table.columns.column_names:
        column = table.columns[name]
        if name in (schema.target, *images) or (name.lower() in OPTIONAL and schema.task == "chat" and blank(column)):
            continue
        if constant(column):
            severity: Severity = "warning" if name in schema.text else "note"
            message = f"Column {name!r} is {shorten(next(each_text(column)) or '')} in every row and says nothing."
            findings.append(Finding("constant-column", severity, message, count=len(column), hint="leave it out"))
        elif (
            predicted and name in schema.text and (why := gives_away(column, table.columns[schema.target], schema.task))
        ):
            message = f"Column {name!r} {why}, so there is nothing to predict."
            findings.append(
                Finding("leak", "warning", message, count=len(column), hint=f"leave {name!r} out of --text")
            )
    return findings


def _says_words(column: Column, cells: ArrowColumn) -> bool:
    """Whether one of the cells contains letters other than those in numbers and dates."""
    return column.kind in ("text", "category") and any(any(map(str.isalpha, cell)) for cell in present(cells))


def _named_target(rows: Rows, schema: Schema) -> list[Finding]:
    """Whether most texts contain their own row's target, and few contain that of another row."""
    if schema.multi_label:
        return []
    if len(rows) > 2 * SAMPLED_ROWS:  # a share this far below is no accident of 2,000 rows
        some = rows.take(np.random.default_rng(0).choice(len(rows), SAMPLED_ROWS, replace=False))
        index, names = _target_names(some, schema)
        if len(index) < 0.4 * len(some) or np.mean(_named(some, index, [names[i] for i in index])) < LEAK_SHARE - 0.1:
            return []
    index, names = _target_names(rows, schema)
    if len(index) < len(rows) / 2:
        return []
    own = _named(rows, index, [names[i] for i in index])
    other = np.random.default_rng(0).permutation(index)
    differ = np.array([names[i] != names[j] for i, j in zip(index, other, strict=True)])
    foreign = _named(rows, index[differ], [names[j] for j in other[differ]])
    if own.mean() < LEAK_SHARE or foreign.sum() > len(foreign) / 2:
        return []
    message = f"{own.mean():.0%} of the texts contain their own value of {schema.target!r}: it can be read off."
    return [
        Finding.of(
            "leak", "warning", message, rows.numbers[index[own]], "remove it from the text, or leave the column out"
        )
    ]


def _target_names(rows: Rows, schema: Schema) -> tuple[Array, list[str]]:
    """(rows whose target is unlikely to occur in a text by chance, unlike '7'; each row's target as written)"""
    if schema.task == "classification":
        return np.arange(len(rows)), [str(label) for label in rows.targets]
    names = [f"{value:.10g}" for value in rows.targets.tolist()]
    return np.flatnonzero([len(name) >= 3 for name in names]), names


def _named(rows: Rows, index: Array, names: Sequence[str]) -> Array:
    """Whether the texts of these rows contain these names: bool [n]."""
    texts = Texts.of(rows.texts).take(index)
    return np.array([_names(text, name) for text, name in zip(texts, names, strict=True)], dtype=bool)


def _names(text: str, name: str) -> bool:
    """Whether the name occurs in the text as whole words."""
    at = text.lower().find(name.lower())
    end = at + len(name)
    return at >= 0 and not text[max(at - 1, 0) : at].isalnum() and not text[end : end + 1].isalnum()


# --- the target ----------------------------------------------------------------------------------------------------


def _summary(found: UsableRows, schema: Schema) -> dict[str, object]:
    if schema.task == "classification":
        counts = label_counts(found.targets.tolist())
        largest = counts.most_common(1)[0][0] if counts else None
        return {"classes": len(counts), "largest": largest, "counts": dict(counts.most_common())}
    if schema.task in CORPUS:
        sizes = found.texts.sizes()
        return {"documents": int((sizes > 0).sum()), "pieces": len(found.pieces), "bytes": int(sizes.sum())}
    if schema.task in TEXT_OUT:
        values = np.array([len(answer) for answer in found.targets.tolist() if answer is not None], dtype=np.float64)
    else:
        values = found.targets[np.isfinite(found.targets)]
    if not len(values):
        return {}
    quantiles = dict(zip(LENGTH_QUANTILES, np.percentile(values, [*LENGTH_QUANTILES.values()]).tolist(), strict=True))
    return {"mean": float(values.mean()), **quantiles}
