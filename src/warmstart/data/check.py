"""Check: what should a person know about a table, by row, before any training?"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pyarrow.compute as pc

from warmstart.data import conversations
from warmstart.data.candidates import BadRows, Candidates, candidates, join_columns
from warmstart.data.cells import constant, each_text
from warmstart.data.copies import Copies, find_copies, shared_by_copies
from warmstart.data.read import Table
from warmstart.data.recognise import gives_away
from warmstart.data.schema import CORPUS, INSTRUCTED, TEXT_OUT, Schema
from warmstart.data.split import Rows, Splits, remarks, split, usable_rows
from warmstart.data.texts import Texts
from warmstart.errors import InputError, listed, shortened
from warmstart.record import Array

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SHOWN = 20  # row numbers kept with a finding
COMPARED_BYTES = 1 << 16  # of a document, in the search for copies: its words are held in memory
SAMPLED_TEXTS = 2_000  # texts tokenised to estimate how many are too long
RARE_CLASS = 5  # training rows
FEW_VAL_ROWS, FEW_TEST_ROWS = 50, 100
QUANTILES = {"min": 0, "p10": 10, "p25": 25, "median": 50, "p75": 75, "p90": 90, "max": 100}
LEAK_SHARE = 0.9  # of the rows whose text names their own target

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Reach:
    """How much a base reads, and how much there is to read."""

    tokens: int  # at most
    count: Callable[[list[str]], list[int]]  # tokens of each text, special ones included
    tokenizer: "Callable[[], Tokenizer] | None" = None
    controls: tuple[str, ...] = ()  # names of its control tokens
    base: str = ""  # told where there are several
    apart: bool = False  # whether an answer has as much room of its own: an encoder-decoder


@dataclass(frozen=True)
class Finding:
    """Something a person should know before training."""

    kind: str  # e.g. "missing-target", "duplicates", "leak", "truncated"
    severity: Severity  # error: training would refuse these rows
    message: str  # one sentence, with counts
    rows: tuple[int, ...] = ()  # the first few row numbers, from 1
    count: int = 0
    hint: str = ""


@dataclass(frozen=True)
class Checked:
    """What was recognised and found."""

    rows: int
    schema: Schema
    findings: tuple[Finding, ...]
    split: dict[str, int]  # {"train": n, "val": n, "test": n}: rows, of a corpus pieces; {} where there is no split
    # regression: quantiles, mean; classification: {"classes", "largest", "counts": {...}};
    # text-out: quantiles of the answers' characters; corpus: {"documents", "pieces", "bytes"}
    target: dict[str, object]
    spelling: dict[str, object] | None = None  # how the base's tokenizer cuts the texts: `mismatch.Spelling`


def check(table: Table, schema: Schema, readers: Sequence[Reach] = ()) -> Checked:
    """Findings about the rows as they would be trained on; errors first. Bad rows are findings, never exceptions.

    `readers`: how much each base reads, and what steers it; without one, lengths go unchecked.
    """
    found = candidates(table, schema)
    findings = [_of_bad_rows(kind) for kind in found.bad]
    findings += [Finding("corpus", "warning", said) for said in remarks(table, schema, found)]
    sizes: dict[str, int] = {}
    try:
        rows = usable_rows(table, schema, found)
        splits = split(rows, schema)
    except InputError as error:
        findings.append(Finding("cannot-split", "error", error.message, hint=error.hint))
    else:
        sizes = {"train": len(splits.train), "val": len(splits.val), "test": len(splits.test)}
        findings += _small_parts(sizes)
        sources = _sources(table, schema, found, rows)
        findings += _copies(table, schema, sources, _parts(found, splits))
        if schema.task in TEXT_OUT:
            findings += _answers(sources, schema)
        elif schema.task not in CORPUS:
            findings += _named_target(rows, schema)
        if schema.task == "classification":
            findings += _classes(found.targets, splits, schema)
        controls = sorted({name for reader in readers for name in reader.controls})
        findings += _named_controls(rows, found.owners, controls)
        for reader in readers:
            for part in _parts_read(rows, schema, reader.apart):
                findings += _too_long(rows, part, schema, found.owners, reader)
    findings += _columns(table, schema) if schema.task not in CORPUS else []
    order: tuple[Severity, ...] = ("error", "warning", "note")
    findings.sort(key=lambda finding: order.index(finding.severity))
    return Checked(len(found.texts), schema, tuple(findings), sizes, _summary(found, schema))


def _sources(table: Table, schema: Schema, found: Candidates, rows: Rows) -> Rows:
    """What is read, without what is the same for all: no instruction, no roles, no answers; of a corpus, documents."""
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
        texts = Texts.of("\n".join(turn.content for turn in conversations.read(text)[:-1]) for text in rows.texts)
    return Rows(texts, rows.targets, rows.numbers, rows.keys)


def _parts(found: Candidates, splits: Splits) -> Array:
    """By row number: 0 train, 1 validation, 2 test; a document in several parts is of the last."""
    part = np.zeros(len(found.texts) + 1, dtype=np.int64)
    for value, rows in ((1, splits.val), (2, splits.test)):
        numbers = found.owners[rows.numbers - 1] + 1
        part[numbers] = np.maximum(part[numbers], value)
    return part


def _of_bad_rows(bad: BadRows) -> Finding:
    hint = "clean them, or pass --drop-bad-rows to leave them out"
    if bad.kind == "single-class":
        hint = "merge them with other classes, or pass --drop-bad-rows to leave them out"
    return Finding(bad.kind, "error", f"{bad.problem}.", bad.rows[:SHOWN], len(bad.rows), hint)


def _small_parts(sizes: dict[str, int]) -> list[Finding]:
    findings = []
    for part, fewest, why in (
        ("val", FEW_VAL_ROWS, "rates and lengths are chosen by chance"),
        ("test", FEW_TEST_ROWS, "only large differences can be told apart"),
    ):
        if sizes[part] < fewest:
            message = f"Only {sizes[part]} rows are left for {'validation' if part == 'val' else part}: {why}."
            findings.append(Finding(f"small-{part}", "warning", message, count=sizes[part], hint="add rows"))
    return findings


# --- copies --------------------------------------------------------------------------------------------------------


def _copies(table: Table, schema: Schema, rows: Rows, part: Array) -> list[Finding]:
    copies = find_copies(rows.texts)
    findings = []
    unit = "document" if schema.task in CORPUS else "row"
    for kind, pairs, what in (
        ("duplicates", copies.exact, f"have exactly the text of an earlier {unit}"),
        ("near-duplicates", copies.near, f"have nearly the text of an earlier {unit}"),
    ):
        if len(pairs):
            again = np.unique(rows.numbers[pairs.max(axis=1)])
            message = f"{len(again):,} {unit}s {what}{copies.bound if kind == 'near-duplicates' else ''}."
            findings.append(_found(kind, "note", message, again))
    findings += _contradictions(rows, copies)
    both = np.concatenate([copies.exact, copies.near])
    parts = part[rows.numbers[both]] if len(both) else both
    across = both[(parts == 2).any(axis=1) & (parts == 0).any(axis=1)]
    if len(across):
        tested = np.unique(rows.numbers[across][part[rows.numbers[across]] == 2])
        column = shared_by_copies(table, schema, rows.numbers[both] - 1)
        among = f"have a copy or near copy among the training {unit}s"
        message = f"{len(tested):,} of {(part == 2).sum():,} test {unit}s {among}"
        coarser = "a coarser --group" if schema.group else "--group with a column that the copies share"
        hint = f"pass {f'--group {column}' if column else coarser} to keep copies on one side, or drop them"
        findings.append(_found("copies-across-split", "warning", f"{message}, so they test memory.", tested, hint))
    return findings


def _contradictions(rows: Rows, copies: Copies) -> list[Finding]:
    differ = copies.exact[rows.targets[copies.exact[:, 0]] != rows.targets[copies.exact[:, 1]]]
    if not len(differ):
        return []
    numbers = np.unique(rows.numbers[differ])
    message = f"{len(numbers):,} rows share their text with a row of another target: no model can tell them apart."
    return [_found("contradictions", "note", message, numbers, "add a column that tells them apart")]


def _found(kind: str, severity: Severity, message: str, numbers: Array, hint: str = "") -> Finding:
    return Finding(kind, severity, message, tuple(numbers[:SHOWN].tolist()), len(numbers), hint)


# --- answers -------------------------------------------------------------------------------------------------------


def _answers(sources: Rows, schema: Schema) -> list[Finding]:
    findings = []
    pairs = zip(sources.texts, sources.targets.tolist(), strict=True)
    equal = np.array([source.strip() == answer.strip() for source, answer in pairs], dtype=bool)
    if equal.any():
        message = f"{equal.sum():,} rows have an answer that is the text itself: copying is learned from them."
        findings.append(_found("answer-is-text", "warning", message, sources.numbers[equal], "leave these rows out"))
    if schema.task == "summarise":
        lengths = np.array([len(answer.encode()) for answer in sources.targets.tolist()])
        longer = lengths > Texts.of(sources.texts).sizes()
        if longer.any():
            message = f"{longer.sum():,} of {len(sources):,} summaries are longer than what they summarise."
            findings.append(_found("long-answer", "warning", message, sources.numbers[longer], "check these rows"))
    return findings


# --- columns and leaks ---------------------------------------------------------------------------------------------


def _columns(table: Table, schema: Schema) -> list[Finding]:
    findings = []
    predicted = schema.task not in TEXT_OUT and not schema.multi_label
    for name in table.columns.column_names:
        column = table.columns[name]
        if name == schema.target:
            continue
        if constant(column):
            severity: Severity = "warning" if name in schema.text else "note"
            message = f"Column {name!r} is {shortened(next(each_text(column)) or '')} in every row and says nothing."
            findings.append(Finding("constant-column", severity, message, count=len(column), hint="leave it out"))
        elif (
            predicted and name in schema.text and (why := gives_away(column, table.columns[schema.target], schema.task))
        ):
            message = f"Column {name!r} {why}, so there is nothing to predict."
            findings.append(
                Finding("leak", "warning", message, count=len(column), hint=f"leave {name!r} out of --text")
            )
    return findings


def _named_target(rows: Rows, schema: Schema) -> list[Finding]:
    """A text that names its own target nearly always, and the target of another row seldom."""
    if schema.multi_label:
        return []
    if len(rows) > 2 * SAMPLED_TEXTS:  # a share this far below is no accident of 2,000 rows
        some = rows.take(np.random.default_rng(0).choice(len(rows), SAMPLED_TEXTS, replace=False))
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
        _found("leak", "warning", message, rows.numbers[index[own]], "remove it from the text, or leave the column out")
    ]


def _target_names(rows: Rows, schema: Schema) -> tuple[Array, list[str]]:
    """(rows whose target would not be found in many texts by chance, as '7' is; each row's target as it is written)"""
    if schema.task == "classification":
        return np.arange(len(rows)), [str(label) for label in rows.targets]
    names = [f"{value:.10g}" for value in rows.targets.tolist()]
    return np.flatnonzero([len(name) >= 3 for name in names]), names


def _named(rows: Rows, index: Array, names: Sequence[str]) -> Array:
    """Whether the texts of these rows contain these names: bool [n]."""
    texts = Texts.of(rows.texts).take(index)
    return np.array([_names(text, name) for text, name in zip(texts, names, strict=True)], dtype=bool)


def _names(text: str, name: str) -> bool:
    """Whether the name stands in the text as words of its own."""
    at = text.lower().find(name.lower())
    end = at + len(name)
    return at >= 0 and not text[max(at - 1, 0) : at].isalnum() and not text[end : end + 1].isalnum()


# --- classes -------------------------------------------------------------------------------------------------------


def _label_counts(targets: Sequence[object]) -> Counter[str]:
    several = (target if isinstance(target, tuple) else (target,) for target in targets if target is not None)
    return Counter(str(label) for labels in several for label in labels)


def _classes(targets: Array, splits: Splits, schema: Schema) -> list[Finding]:
    findings = []
    counts = _label_counts(targets.tolist())
    spellings: dict[str, list[str]] = {}
    for label in sorted(counts):
        spellings.setdefault(" ".join(label.casefold().split()), []).append(label)
    for same in (labels for labels in spellings.values() if len(labels) > 1):
        said = listed([f"{label!r} ({counts[label]:,})" for label in same])
        numbers = np.array([i for i, target in enumerate(targets.tolist(), 1) if target in same[1:]], dtype=np.int64)
        message = f"The classes {said} differ only in case or blank space."
        findings.append(_found("class-spelling", "warning", message, numbers, "write them alike"))
    trained = _label_counts(splits.train.targets.tolist())
    rare = sorted((trained[label], label) for label in counts if trained[label] < RARE_CLASS)
    if rare:
        said = listed([f"{label!r} ({count})" for count, label in rare])
        message = f"{len(rare)} of {len(counts)} classes have fewer than {RARE_CLASS} training rows: {said}."
        findings.append(Finding("rare-classes", "warning", message, count=len(rare), hint="merge them or add rows"))
    largest, most = counts.most_common(1)[0]
    if not schema.multi_label and most > 0.8 * counts.total():
        message = f"{most / counts.total():.0%} of the rows are {largest!r}: accuracy says little, see macro F1."
        findings.append(Finding("imbalance", "warning", message, count=most))
    elif most > 10 * min(counts.values()):
        message = f"The largest class, {largest!r}, has {most:,} rows, the smallest {min(counts.values()):,}."
        findings.append(Finding("imbalance", "note", message, count=most, hint="look at macro F1 beside accuracy"))
    return findings


# --- lengths -------------------------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """What a base reads of each row, and has so many tokens for."""

    texts: Texts
    unit: str
    end: str  # which part of a text that is too long is lost
    kept: str  # what becomes of the rest


def _parts_read(rows: Rows, schema: Schema, apart: bool) -> list[_Part]:
    if schema.task not in TEXT_OUT:
        return [_Part(Texts.of(rows.texts), "pieces" if schema.task in CORPUS else "texts", "the last ", "")]
    if not apart:
        both = Texts.of(map(_spoken, map(conversations.read, rows.texts)))
        return [_Part(both, "texts with their answers", "", _kept(schema))]
    asked, said = (Texts.of(_divided(text)[i] for text in rows.texts) for i in range(2))
    return [_Part(asked, "texts", "", _kept(schema)), _Part(said, "answers", "the last ", "")]


def _too_long(rows: Rows, part: _Part, schema: Schema, owners: Array, reader: Reach) -> list[Finding]:
    """A text of at most as many bytes has no more tokens than that, so only longer ones are tokenised."""
    texts, unit, end, kept = part
    most, reads = reader.tokens, f" that {reader.base} reads" if reader.base else ""
    candidates = np.flatnonzero(texts.sizes() > most)
    if not len(candidates):
        return []
    sample = candidates
    if len(candidates) > SAMPLED_TEXTS:
        sample = np.sort(np.random.default_rng(0).choice(candidates, SAMPLED_TEXTS, replace=False))
    lengths = np.array(reader.count(list(texts.take(sample))))
    longest = int(lengths.max())
    if len(sample) < len(candidates):
        longest = max(longest, *reader.count([texts[int(texts.sizes().argmax())]]))
    long = lengths > most
    if not long.any():
        return []
    count = round(float(long.mean()) * len(candidates))
    lost = float((lengths[long] - most).sum() / lengths[long].sum())
    about = "About " if len(sample) < len(candidates) else ""
    message = (
        f"{about}{count:,} of {len(rows):,} {unit} ({count / len(rows):.1%}) are longer than {most} tokens{reads}, "
        f"the longest of {longest:,}; the model does not see {end}{lost:.0%} of what they "
        f"say{kept}."
    )
    numbers = np.unique(owners[rows.numbers[sample[long]] - 1] + 1)
    hint = "raise --max-length, or name shorter columns" if schema.task not in CORPUS else ""
    if schema.task == "summarise" and schema.long != "chunks":
        hint = "raise --max-length, or summarise them in parts with --long chunks"
    return [Finding("truncated", "warning", message, tuple(numbers[:SHOWN].tolist()), count, hint)]


def _named_controls(rows: Rows, owners: Array, controls: Sequence[str]) -> list[Finding]:
    """Strings that somebody may have put there to steer the model, or to divide a text: neither is what they do."""
    if not controls:
        return []
    pattern = "|".join(map(re.escape, controls))
    blocks = Texts.of(rows.texts).blocks()
    named = np.concatenate([pc.match_substring_regex(b, pattern).to_numpy(zero_copy_only=False) for b in blocks])
    if not named.any():
        return []
    shown = Texts.of(rows.texts).take(np.flatnonzero(named)[:1])[0]
    name = next((name for name in controls if name in shown), controls[0])
    numbers = np.unique(owners[rows.numbers[named] - 1] + 1)
    which = "row names" if len(numbers) == 1 else "rows name"
    message = f"{len(numbers):,} {which} a control token of the base, as {name!r}: it is read as plain text."
    return [_found("control-tokens", "note", message, numbers)]


def _kept(schema: Schema) -> str:
    """What becomes of a text that is too long and is answered, to follow on what is lost."""
    if schema.long == "chunks":
        return ": training rows are read at their beginning and end; test rows and new ones are summarised in parts"
    return ": their beginning and end are read"


def _spoken(turns: Sequence[conversations.Turn]) -> str:
    """A conversation without its roles: the template's own tokens are few."""
    return "\n".join(turn.content for turn in turns)


def _divided(text: str) -> tuple[str, str]:
    """All that is said before the last answer, and that answer; "" where there is none."""
    turns = conversations.read(text)
    answer = turns[-1:] if turns[-1].role == "assistant" else ()
    return _spoken(turns[: len(turns) - len(answer)]), _spoken(answer)


# --- the target ----------------------------------------------------------------------------------------------------


def _summary(found: Candidates, schema: Schema) -> dict[str, object]:
    if schema.task == "classification":
        counts = _label_counts(found.targets.tolist())
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
    quantiles = dict(zip(QUANTILES, np.percentile(values, [*QUANTILES.values()]).tolist(), strict=True))
    return {"mean": float(values.mean()), **quantiles}
