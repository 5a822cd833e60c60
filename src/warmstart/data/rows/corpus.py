"""Corpus: which pieces of text do the files for language learning contain?"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from warmstart.data.rows.usable_rows import find_usable_rows
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import PIECE_BYTES, ColumnChoices
from warmstart.data.tables.read import read_table
from warmstart.data.tables.strings import Texts
from warmstart.errors import InputError, join_phrases
from warmstart.types import Array


def read_corpus(
    sources: Sequence[str | Path],
    *,
    text: Sequence[str] = (),
    piece_bytes: int = PIECE_BYTES,
    offline: bool = False,
) -> Texts:
    """The documents in text files, a folder of them, or a column of tables, cut into pieces of at most `piece_bytes`.

    `text`: the columns to read, as far as a table has them; by default its only text column. Empty documents are
    skipped. Raises InputError if none is left, UsageError if the column is ambiguous.
    """
    table = read_table(sources, offline=offline)
    columns = tuple(name for name in text if name in table.columns.column_names)
    schema = infer_schema(table, ColumnChoices(text=columns, task="causal-lm", piece_bytes=piece_bytes))
    found = find_usable_rows(table, schema)
    pieces = found.pieces.take(np.flatnonzero(found.usable[found.owners]))
    if not len(pieces):
        raise InputError(
            f"{join_phrases(table.files, 3)}: there is nothing to read in {join_phrases(schema.text, quote=True)}"
        )
    return pieces


def contained(texts: Sequence[str], pieces: Iterable[str], piece_bytes: int) -> Array:
    """bool [n]: the texts whose beginning, cut like the documents of a corpus, is one of its pieces."""
    firsts = [next(iter(Texts.of([text]).pieces(piece_bytes)[0]), "").strip() for text in texts]
    sought = {first for first in firsts if first}
    found = {piece.strip() for piece in pieces if piece.strip() in sought}
    return np.array([first in found for first in firsts], dtype=bool)
