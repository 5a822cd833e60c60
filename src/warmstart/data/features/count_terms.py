"""Count terms: how often does each text have each term? Every different word is cut into its pieces only once.

The counts are those of scikit-learn's CountVectorizer, which cuts every word of every text. Texts share most of their
words: 20,000 one-line texts have 180,000 words, and 36,000 different ones.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from warmstart.types import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# Words of one letter count ("R package ..."), and so do runs of punctuation: every text that is not blank has a token.
TOKEN = r"(?u)\w+|[^\w\s]+"
NO_TERM = -1  # the place of a term that does not count

Analyzer = Literal["word", "char_wb"]
Places = Callable[[Iterable[str]], Iterable[int]]


def count_terms(
    texts: Sequence[str], analyzer: Analyzer, lengths: tuple[int, int], places: Places, terms: int | None = None
) -> "csr_matrix":
    """Counts as sparse float32 [n, terms], each row by ascending term.

    Parameters
    ----------
    texts : n texts; upper case is read as lower case.
    analyzer : "word" for runs of words, "char_wb" for pieces of words with a space on either side.
    lengths : shortest and longest run or piece.
    places : gives the column of each of some terms, or `NO_TERM`.
    terms : the number of columns; None: as many as `places` gave.
    """
    if analyzer == "word":
        columns, owners = _runs(texts, lengths, places)
        found = _sparse(owners, columns, len(texts), terms)
    else:
        words = [text.lower().split() for text in texts]
        numbers: dict[str, int] = {}
        flat = itertools.chain.from_iterable(words)
        seen = np.fromiter((numbers.setdefault(word, len(numbers)) for word in flat), np.int32)
        cut = [_pieces(word, lengths) for word in numbers]
        columns = np.fromiter(places(itertools.chain.from_iterable(cut)), np.int32)
        of_words = _sparse(_owners(cut), columns, len(cut), terms)
        found = _sparse(_owners(words), seen, len(texts), len(cut)) @ of_words
    found.sort_indices()
    return found


def _sparse(rows: Array, columns: Array, count: int, width: int | None) -> "csr_matrix":
    """How often each row has each column, without `NO_TERM`; rows ascend."""
    from scipy.sparse import csr_matrix

    if (columns == NO_TERM).any():
        rows, columns = rows[columns != NO_TERM], columns[columns != NO_TERM]
    starts = np.searchsorted(rows, np.arange(count + 1))
    width = int(columns.max(initial=NO_TERM)) + 1 if width is None else width
    found = csr_matrix((np.ones(len(columns), dtype=np.float32), columns, starts), shape=(count, width))
    found.sum_duplicates()
    return found


def _owners(parts: Sequence[Sequence[str]]) -> Array:
    """For every element of every part, one after the other, the number of the part."""
    return np.repeat(np.arange(len(parts)), np.fromiter(map(len, parts), np.int64, len(parts)))


def _runs(texts: Sequence[str], lengths: tuple[int, int], places: Places) -> tuple[Array, Array]:
    """The column of each run of neighboring words of each text, and the number of the text, ascending."""
    find = re.compile(TOKEN).findall
    words = [find(text.lower()) for text in texts]
    flat, text_of = list(itertools.chain.from_iterable(words)), _owners(words)
    columns, owners = [], []
    for length in range(lengths[0], lengths[1] + 1):
        first = np.arange(max(len(flat) - length + 1, 0))
        within = text_of[first] == text_of[first + length - 1]  # not from the end of one text into the next
        neighbors = zip(*(itertools.islice(flat, i, None) for i in range(length)), strict=False)
        runs: Iterator[str] = map(" ".join, itertools.compress(neighbors, within))
        columns.append(np.fromiter(places(runs), np.int32))
        owners.append(text_of[first[within]])
    order = np.argsort(np.concatenate(owners), kind="stable")
    return np.concatenate(columns)[order], np.concatenate(owners)[order]


def _pieces(word: str, lengths: tuple[int, int]) -> list[str]:
    """Pieces of a word with a space on either side; the whole, once, where that is no longer than a piece."""
    padded = f" {word} "
    found = []
    for length in range(lengths[0], lengths[1] + 1):
        found += [padded[i : i + length] for i in range(max(len(padded) - length, 0) + 1)]
        if len(padded) <= length:
            break
    return found
