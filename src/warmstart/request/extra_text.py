"""Extra text: which general text measures forgetting, and which corpus teaches the domain?"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from warmstart.data.rows.corpus import contained, read_corpus
from warmstart.data.rows.split import Splits, make_rows, split, usable_rows
from warmstart.data.rows.usable_rows import find_usable_rows
from warmstart.data.schema.conversations import read_turns as read_turns
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import CORPUS, TEXT_OUT, ColumnChoices, Schema
from warmstart.data.tables.in_memory import table_of
from warmstart.data.tables.read import Table
from warmstart.errors import UsageError
from warmstart.request.read_data import PreparedData
from warmstart.request.request import Request
from warmstart.runtime.sampling import spread_places

MAX_GENERAL_TEXTS = 64  # pieces of text on which forgetting is measured


MAX_REPLAY_ROWS = 2000  # that are replayed, at most


def general_text(request: Request) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Some pieces of --general-text, from all over it: to measure by, and others to replay, where that is asked for.

    None where nothing was named. Raises UsageError where none is left to replay.
    """
    if request.general_text is None:
        return (), ()
    pieces = read_corpus([request.general_text], piece_bytes=request.columns.piece_bytes, offline=request.offline)
    if not request.forgetting.replay:
        return _spread(pieces, MAX_GENERAL_TEXTS), ()
    measured = _spread(pieces, min(MAX_GENERAL_TEXTS, -(-len(pieces) // 2)))
    known = set(measured)  # no text is replayed by which is measured what was kept
    others = [piece for piece in pieces if piece not in known]
    if not others:
        raise UsageError(
            f"{request.general_text} holds a single piece of text, which is used to measure forgetting; none is left"
            " to replay.",
            "name a file with more text, or leave --general-text out: then the base's own text is replayed",
        )
    return measured, _spread(others, MAX_REPLAY_ROWS)


def domain(request: Request, understood: PreparedData) -> Splits | None:
    """What `hybrid` learns the language from: the corpus that was named; None: the task's own training texts.

    Those of a task whose rows are conversations are what is said in them; the keys of these pieces are the numbers of
    the rows, of which a draw takes its own.
    """
    schema = understood.schema
    if request.corpus:
        piece_bytes = request.columns.piece_bytes
        pieces = read_corpus(request.corpus, text=request.text, piece_bytes=piece_bytes, offline=request.offline)
        table = table_of({"text": list(pieces)})
        plain = _plain(table, request)
        return split(make_rows(table, plain, bad_rows="drop")[0], plain)
    if schema.task not in TEXT_OUT:
        return None
    parts = understood.splits.train, understood.splits.val
    rows = (read_turns(text) for part in parts for text in part.texts)
    said = ("\n\n".join(turn.content for turn in turns if turn.learned) for turns in rows)
    table = table_of({"text": list(said)})
    plain = _plain(table, request)
    found = find_usable_rows(table, plain)
    index = np.flatnonzero(found.usable[found.owners])
    owners = found.owners[index]
    keys = np.concatenate([part.numbers for part in parts])[owners].astype(str).tolist()
    spoken = replace(usable_rows(table, plain, found), keys=keys)
    learned = owners < len(parts[0])
    train, val = (spoken.take(np.flatnonzero(part)) for part in (learned, ~learned))
    return Splits(train, val, spoken.take(np.empty(0, dtype=np.int64)), "")


def _read_before(request: Request, understood: PreparedData, corpus: Splits) -> tuple[str, ...]:
    """A caveat where the corpus holds test rows."""
    test, schema = understood.splits.test, understood.schema
    columns: list[Sequence[object]] = [test.texts]
    if schema.task not in CORPUS:
        columns = [understood.table.columns[name].take(test.numbers - 1).to_pylist() for name in schema.text]
    held = np.zeros(len(test), dtype=bool)
    for cells in columns:
        pieces = chain.from_iterable(part.texts for part in (corpus.train, corpus.val, corpus.test))
        texts = [cell if isinstance(cell, str) else "" for cell in cells]
        held |= contained(texts, pieces, request.columns.piece_bytes)
    if not held.any():
        return ()
    return (
        f"The corpus holds the text of {held.sum():,} of {len(test):,} test rows: what learned its language had read "
        "them before it was judged by them.",
    )


def _plain(table: Table, request: Request) -> Schema:
    return infer_schema(table, ColumnChoices(text=("text",), task="causal-lm", piece_bytes=request.columns.piece_bytes))


def _spread(pieces: Sequence[str], most: int) -> tuple[str, ...]:
    return tuple(pieces[i] for i in spread_places(most, len(pieces)))
