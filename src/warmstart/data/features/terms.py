"""Terms: which words, word pairs and pieces of words represent a text, and with what weights? TF-IDF."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from warmstart.data.features.count_terms import NO_TERM, Analyzer, count_terms
from warmstart.data.schema.cell_values import Values
from warmstart.data.tables.strings import BLOCK
from warmstart.types import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfTransformer

MOST_TERMS = 50_000  # of each kind, the most frequent: bounds the model at (classes x 100,000) weights
MOST_CHARACTERS = 200  # mean length up to which pieces of words are tried; longer texts have words enough


@dataclass(frozen=True)
class Terms:
    """TF-IDF of words and word pairs, or of pieces of words; each row has norm 1."""

    analyzer: Analyzer
    lengths: tuple[int, int]  # shortest and longest n-gram
    vocabulary: tuple[str, ...]
    idf: Array = field(repr=False)  # float32 [terms]

    @classmethod
    def fit(cls, texts: Sequence[str], analyzer: Analyzer, lengths: tuple[int, int]) -> "Terms":
        """Vocabulary and document frequencies of the terms in these texts. At least one text must not be blank."""
        known: defaultdict[str, int] = defaultdict()
        known.default_factory = known.__len__
        times: Array = np.zeros(0, dtype=np.float32)
        documents: Array = np.zeros(0, dtype=np.int64)
        for start in range(0, len(texts), BLOCK):
            counts = count_terms(
                texts[start : start + BLOCK], analyzer, lengths, lambda terms: map(known.__getitem__, terms)
            )
            times, documents = (np.pad(each, (0, len(known) - len(each))) for each in (times, documents))
            times += np.bincount(counts.indices, counts.data, minlength=len(known)).astype(np.float32)
            documents += np.bincount(counts.indices, minlength=len(known))
        spelled = sorted(known)
        order = np.array([known[term] for term in spelled])
        kept = np.sort((-times[order]).argsort()[:MOST_TERMS])
        found = documents[order[kept]].astype(np.float32)
        idf = np.log(np.float32(len(texts) + 1) / (found + 1)) + 1  # as if one more text had every term
        return cls(analyzer, lengths, tuple(spelled[i] for i in kept), idf.astype(np.float32))

    @cached_property
    def _weigher(self) -> "TfidfTransformer":
        from sklearn.feature_extraction.text import TfidfTransformer

        weigher = TfidfTransformer(sublinear_tf=True)
        weigher.idf_ = self.idf
        return weigher

    @cached_property
    def _known(self) -> dict[str, int]:
        return {term: i for i, term in enumerate(self.vocabulary)}

    def encode(self, texts: Sequence[str]) -> "csr_matrix":
        """Sparse float32 [n, terms]."""
        counts = count_terms(texts, self.analyzer, self.lengths, self._places, len(self.vocabulary))
        encoded: csr_matrix = self._weigher.transform(counts, copy=False)
        return encoded

    def _places(self, terms: Iterable[str]) -> Iterator[int]:
        return map(self._known.get, terms, itertools.repeat(NO_TERM))

    def read(self, words: Sequence[str], columns: Mapping[str, Values]) -> "csr_matrix":
        """Terms of the words of rows."""
        return self.encode(words)


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
