"""Lengths: which texts are longer than a base can read, and which contain names of special tokens?"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow.compute as pc

from warmstart.data.rows.findings import ROWS_SHOWN, Finding
from warmstart.data.rows.split import Rows
from warmstart.data.schema import conversations
from warmstart.data.schema.schema import CORPUS, TEXT_OUT, Schema
from warmstart.data.tables.strings import Texts
from warmstart.errors import count_phrase
from warmstart.types import Array

if TYPE_CHECKING:
    from tokenizers import Tokenizer


SAMPLED_TEXTS = 2_000  # texts tokenized to estimate how many are too long


@dataclass(frozen=True)
class Reach:
    """How much text a base reads."""

    tokens: int  # at most, by --max-length and by its own limit
    count: Callable[[list[str]], list[int]]  # tokens of each text, special ones included
    tokenizer: "Callable[[], Tokenizer] | None" = None
    controls: tuple[str, ...] = ()  # names of its control tokens
    base: str = ""  # named where there are several
    limit: int | None = None  # of the base itself; None: not known
    asked: int | None = None  # by --max-length; None: it has its default
    apart: bool = False  # whether an answer has as much room of its own: an encoder-decoder


def too_long(rows: Rows, schema: Schema, owners: Array, readers: Sequence[Reach]) -> list[Finding]:
    """Findings about texts that are too long, for each base. `owners`: the table's row of each text, from 0."""
    found = []
    for reader in readers:
        if reader.limit and reader.asked and reader.asked > reader.limit:
            base = reader.base or "the base"
            said = f"--max-length {reader.asked:,} is more than the {reader.limit:,} tokens that {base} can read: "
            found.append(Finding("max-length", "note", f"{said}it reads {reader.limit:,}."))
        for part in _parts_read(rows, schema, reader.apart):
            found += _too_long(rows, part, schema, owners, reader)
    return found


def named_controls(rows: Rows, schema: Schema, owners: Array, readers: Sequence[Reach]) -> list[Finding]:
    """Names of control tokens in texts, perhaps put there to control the model: here they are plain text."""
    controls = sorted({name for reader in readers for name in reader.controls})
    if not controls:
        return []
    pattern = "|".join(map(re.escape, controls))
    unit = "document" if schema.task in CORPUS else "row"
    blocks = Texts.of(rows.texts).blocks()
    named = np.concatenate([pc.match_substring_regex(b, pattern).to_numpy(zero_copy_only=False) for b in blocks])
    if not named.any():
        return []
    shown = Texts.of(rows.texts).take(np.flatnonzero(named)[:1])[0]
    name = next((name for name in controls if name in shown), controls[0])
    numbers = np.unique(owners[rows.numbers[named] - 1] + 1)
    who = count_phrase(len(numbers), f"{unit} names", f"{unit}s name")
    message = f"{who} a control token of the base, as {name!r}: it is read as plain text."
    return [Finding.of("control-tokens", "note", message, numbers)]


class _Part(NamedTuple):
    """A part of each row that a base reads, with its token limit."""

    texts: Texts
    unit: str
    end: str  # which part of a text that is too long is lost
    kept: str  # what becomes of the rest


def _parts_read(rows: Rows, schema: Schema, apart: bool) -> list[_Part]:
    if schema.task not in TEXT_OUT:
        return [_Part(Texts.of(rows.texts), "pieces" if schema.task in CORPUS else "texts", "the last ", "")]
    if not apart:
        both = Texts.of(map(_spoken, map(conversations.read_turns, rows.texts)))
        return [_Part(both, "texts with their answers", "", _kept(schema))]
    asked, said = (Texts.of(_divided(text)[i] for text in rows.texts) for i in range(2))
    return [_Part(asked, "texts", "", _kept(schema)), _Part(said, "answers", "the last ", "")]


def _too_long(rows: Rows, part: _Part, schema: Schema, owners: Array, reader: Reach) -> list[Finding]:
    """Rows over the limit. Texts with no more bytes have no more tokens, so only longer ones are tokenized."""
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
    numbers = np.unique(owners[rows.numbers[sample[long]] - 1] + 1)
    where = "" if about or schema.task not in CORPUS else f", of {count_phrase(len(numbers), 'document', 'documents')},"
    are, of, say = ("is", "namely", "it says") if count == 1 else ("are", "the longest of", "they say")
    message = (
        f"{about}{count:,} of {len(rows):,} {unit} ({count / len(rows):.1%}){where} {are} longer than {most} tokens"
        f"{reads}, {of} {longest:,}; the model does not see {end}{lost:.0%} of what {say}{kept}."
    )
    more = "choose a base that reads more" if reader.limit and most >= reader.limit else "raise --max-length"
    hint = f"{more}, or name shorter columns" if schema.task not in CORPUS else ""
    if schema.task == "summarise" and schema.long != "chunks":
        hint = f"{more}, or summarize them in parts with --long chunks"
    return [Finding("truncated", "warning", message, tuple(numbers[:ROWS_SHOWN].tolist()), count, hint)]


def _kept(schema: Schema) -> str:
    """How a text that is too long is shortened when it is answered, for the end of a message."""
    if schema.long == "chunks":
        return ": training rows are read at their beginning and end; test rows and new ones are summarized in parts"
    return ": their beginning and end are read"


def _spoken(turns: Sequence[conversations.Turn]) -> str:
    """A conversation without its roles: the template's own tokens are few."""
    return "\n".join(turn.content for turn in turns)


def _divided(text: str) -> tuple[str, str]:
    """Everything before the last answer, and that answer; "" if there is none."""
    turns = conversations.read_turns(text)
    answer = turns[-1:] if turns[-1].role == "assistant" else ()
    return _spoken(turns[: len(turns) - len(answer)]), _spoken(answer)
