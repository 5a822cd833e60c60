"""Corpus: which pieces of text hold files that a language is learned from, beside the rows of the task?"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from warmstart.data.candidates import candidates
from warmstart.data.read import read
from warmstart.data.recognise import recognise
from warmstart.data.schema import PIECE_BYTES, Columns
from warmstart.data.texts import Texts
from warmstart.errors import InputError, listed
from warmstart.record import Array


def read_corpus(
    sources: Sequence[str | Path],
    *,
    text: Sequence[str] = (),
    piece_bytes: int = PIECE_BYTES,
    offline: bool = False,
) -> Texts:
    """The documents in text files, a folder of them, or a column of tables, cut into pieces of at most `piece_bytes`.

    `text`: the columns to read, those of them that the tables have; else the only one that holds texts. Documents
    with nothing to read are passed over. Raises InputError where none is left, UsageError for an unclear column.
    """
    table = read(sources, offline=offline)
    columns = tuple(name for name in text if name in table.columns.column_names)
    schema = recognise(table, Columns(text=columns, task="causal-lm", piece_bytes=piece_bytes))
    found = candidates(table, schema)
    pieces = found.pieces.take(np.flatnonzero(found.usable[found.owners]))
    if not len(pieces):
        raise InputError(f"{listed(table.files, 3)}: there is nothing to read in {listed(schema.text, quote=True)}")
    return pieces


def contained(texts: Sequence[str], pieces: Iterable[str], piece_bytes: int) -> Array:
    """bool [n]: the texts whose beginning, cut as the documents of a corpus are, is one of its pieces."""
    firsts = [next(iter(Texts.of([text]).pieces(piece_bytes)[0]), "").strip() for text in texts]
    sought = {first for first in firsts if first}
    found = {piece.strip() for piece in pieces if piece.strip() in sought}
    return np.array([first in found for first in firsts], dtype=bool)
