"""Terms: which words, word pairs and pieces of words represent a text, and with what weights? TF-IDF."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from warmstart.data.schema.cell_values import Values
from warmstart.types import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

# Words of one letter count ("R package ..."), and so do runs of punctuation: every text that is not blank has a token.
TOKEN = r"(?u)\w+|[^\w\s]+"
MOST_TERMS = 50_000  # of each kind, the most frequent: bounds the model at (classes x 100,000) weights
MOST_CHARACTERS = 200  # mean length up to which pieces of words are tried; longer texts have words enough


@dataclass(frozen=True)
class Terms:
    """TF-IDF of words and word pairs, or of pieces of words; each row has norm 1."""

    analyzer: Literal["word", "char_wb"]
    lengths: tuple[int, int]  # shortest and longest n-gram
    vocabulary: tuple[str, ...]
    idf: Array = field(repr=False)  # float32 [terms]

    @classmethod
    def fit(cls, texts: Sequence[str], analyzer: Literal["word", "char_wb"], lengths: tuple[int, int]) -> "Terms":
        """Vocabulary and document frequencies of the terms in these texts. At least one text must not be blank."""
        counter = _counter(analyzer, lengths).fit(texts)
        vocabulary = tuple(sorted(counter.vocabulary_, key=counter.vocabulary_.__getitem__))
        return cls(analyzer, lengths, vocabulary, counter.idf_.astype(np.float32))

    @cached_property
    def _counter(self) -> "TfidfVectorizer":
        counter = _counter(self.analyzer, self.lengths, self.vocabulary)
        counter.idf_ = self.idf
        return counter

    def encode(self, texts: Sequence[str]) -> "csr_matrix":
        """Sparse float32 [n, terms]."""
        encoded: csr_matrix = self._counter.transform(texts)
        return encoded

    def read(self, words: Sequence[str], columns: Mapping[str, Values]) -> "csr_matrix":
        """Terms of the words of rows."""
        return self.encode(words)


def _counter(analyzer: str, lengths: tuple[int, int], vocabulary: Sequence[str] | None = None) -> "TfidfVectorizer":
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        analyzer=analyzer,
        ngram_range=lengths,
        vocabulary=vocabulary,
        token_pattern=TOKEN if analyzer == "word" else None,
        max_features=MOST_TERMS,
        sublinear_tf=True,
        dtype=np.float32,
    )


def term_choices(texts: Sequence[str]) -> list[tuple[Terms, ...]]:
    """Words only and, if texts are short, words together with their pieces."""
    words = Terms.fit(texts, "word", (1, 2))
    choices: list[tuple[Terms, ...]] = [(words,)]
    if np.mean([len(text) for text in texts]) <= MOST_CHARACTERS:
        choices.append((words, Terms.fit(texts, "char_wb", (2, 4))))
    return choices


def terms_to_json(terms: Sequence[Terms]) -> tuple[list[dict[str, Any]], dict[str, Array]]:
    """(facts, arrays) for `terms_from_json`."""
    facts = [{"analyzer": t.analyzer, "lengths": t.lengths, "vocabulary": t.vocabulary} for t in terms]
    return facts, {f"idf.{i}": kind.idf for i, kind in enumerate(terms)}


def terms_from_json(facts: Sequence[Mapping[str, Any]], arrays: Mapping[str, Array]) -> tuple[Terms, ...]:
    """What `terms_to_json` wrote."""
    return tuple(
        Terms(kind["analyzer"], tuple(kind["lengths"]), tuple(kind["vocabulary"]), arrays[f"idf.{i}"])
        for i, kind in enumerate(facts)
    )


def encode_terms(terms: Sequence[Terms], texts: Sequence[str]) -> "csr_matrix":
    """All kinds of terms side by side, sparse float32 [n, terms]."""
    from scipy.sparse import hstack

    return hstack([kind.encode(texts) for kind in terms], format="csr")
