"""Terms are counted and weighted as scikit-learn does, from every text and in pieces."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from warmstart.data.features import terms as terms_module
from warmstart.data.features.count_terms import NO_TERM, TOKEN, Analyzer, count_terms
from warmstart.data.features.terms import Terms

TEXTS = (
    "a blue tent, a Blue tent",
    "",
    "  ",
    "I",
    " x\u3000y \x1c z ",
    "İstanbul straße -- !!",
    "tent",
    "ab cd ef ab cd ef ab",
    "two-person tent: 3.5 kg",
)
KINDS: Sequence[tuple[Analyzer, tuple[int, int]]] = (
    ("word", (1, 1)),
    ("word", (1, 2)),
    ("word", (2, 3)),
    ("char_wb", (2, 4)),
    ("char_wb", (1, 6)),
    ("char_wb", (4, 5)),
)


def of_sklearn(kind: type[CountVectorizer], analyzer: Analyzer, lengths: tuple[int, int], **options: object):
    pattern = TOKEN if analyzer == "word" else None
    return kind(analyzer=analyzer, ngram_range=lengths, token_pattern=pattern, dtype=np.float32, **options)


@pytest.mark.parametrize(("analyzer", "lengths"), KINDS)
def test_counts_are_those_of_scikit_learn(analyzer: Analyzer, lengths: tuple[int, int]):
    counter = of_sklearn(CountVectorizer, analyzer, lengths)
    expected = counter.fit_transform(TEXTS)
    known = counter.vocabulary_

    found = count_terms(TEXTS, analyzer, lengths, lambda terms: map(known.__getitem__, terms), len(known))

    assert (found.toarray() == expected.toarray()).all()
    assert found.has_sorted_indices


@pytest.mark.parametrize("analyzer", ["word", "char_wb"])
def test_terms_without_a_place_do_not_count(analyzer: Analyzer):
    known = {"tent": 1, "ten": 0}

    found = count_terms(TEXTS, analyzer, (1, 4), lambda terms: map(known.get, terms, itertools.repeat(NO_TERM)), 2)

    has = [sum(text.lower().count(term) for text in TEXTS) for term in ("ten", "tent")]
    assert found.sum(0).tolist() == [[0, has[1]] if analyzer == "word" else has]


def test_texts_without_terms_have_empty_rows():
    assert count_terms(["", " "], "char_wb", (2, 4), lambda terms: (0 for _ in terms)).shape == (2, 0)
    assert count_terms([], "word", (1, 2), lambda terms: (0 for _ in terms), 3).shape == (0, 3)


@pytest.mark.parametrize(("analyzer", "lengths"), KINDS)
def test_weights_are_those_of_scikit_learn(
    analyzer: Analyzer, lengths: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(terms_module, "BLOCK", 4)  # counted in pieces
    monkeypatch.setattr(terms_module, "MOST_TERMS", 12)
    weigher = of_sklearn(TfidfVectorizer, analyzer, lengths, max_features=12, sublinear_tf=True).fit(TEXTS)

    found = Terms.fit(TEXTS, analyzer, lengths)

    assert found.vocabulary == tuple(weigher.get_feature_names_out())
    assert (found.idf == weigher.idf_).all()
    assert (found.encode(TEXTS).toarray() == weigher.transform(TEXTS).toarray()).all()
