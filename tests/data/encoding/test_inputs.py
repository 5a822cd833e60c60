"""Inputs: does an architecture get the text that it should?"""

from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import HashingVectorizer

from warmstart.data.encoding.inputs import Ragged, Tokens
from warmstart.data.features.hashed_words import HashedWords
from warmstart.models.pretrained.base import Base

TEXTS = ["small red lamp, oak", "large blue table, glass of the finest kind", "bowl"]


def test_ragged_rows_come_back() -> None:
    rows = [[1, 2, 3], [], [4]]
    ragged = Ragged.of(rows)
    assert [ragged.row(i).tolist() for i in range(len(ragged))] == rows
    assert ragged.lengths.tolist() == [3, 0, 1]
    assert len(Ragged.of([])) == 0


def test_tokens_are_the_tokenizer_s_own(base: Base) -> None:
    encoded = base.inputs.encode(TEXTS)
    expected = base.inputs.tokenizer(TEXTS, padding=True, return_tensors="pt")
    batch = encoded.batch(np.arange(3))
    assert batch["input_ids"].tolist() == expected["input_ids"].tolist()
    assert batch["attention_mask"].tolist() == expected["attention_mask"].tolist()
    assert encoded.sizes().tolist() == base.inputs.count(TEXTS) == [6 + 1, 10 + 1, 3]


def test_a_batch_of_equal_lengths_needs_no_mask(base: Base) -> None:
    assert base.inputs.encode(["red lamp", "blue bowl"]).batch(np.arange(2)).keys() == {"input_ids"}


def test_long_texts_are_cut_and_the_loss_is_counted(base: Base) -> None:
    texts = ["red " * 50, "red lamp", "blue " * 9]
    encoded = Tokens(base.location, 8).encode(texts)
    assert encoded.sizes().tolist() == [8, 4, 8]
    assert encoded.lost.tolist() == [44, 0, 3]  # six words fit between the two special tokens
    assert len(encoded) == 3
    assert Tokens(base.location, 8).count(texts) == [52, 4, 11]


def test_a_dropped_word_takes_all_its_tokens_and_no_special_one(base: Base) -> None:
    tokenizer = base.inputs.tokenizer
    encoded = base.inputs.encode(["red xyz lamp"])  # xyz: three pieces
    assert encoded.words(np.array([0])) == [3]
    kept = encoded.batch(np.array([0]), [np.array([True, False, True])])["input_ids"][0]
    assert tokenizer.convert_ids_to_tokens(kept.tolist()) == ["[CLS]", "red", "lamp", "[SEP]"]
    assert encoded.sizes().tolist() == [7]  # the row itself is as it was


def test_hashed_words_are_scikit_learn_s() -> None:
    encoded = HashedWords(500).encode(TEXTS)
    expected = HashingVectorizer(n_features=500, stop_words="english", binary=True, norm="l2").transform(TEXTS)
    batch = encoded.batch(np.array([2, 0, 1]))
    dense = np.zeros((3, 500))
    ends = [*batch["offsets"].tolist()[1:], len(batch["features"])]
    for row, (start, end) in enumerate(zip(batch["offsets"].tolist(), ends, strict=True)):
        dense[row, batch["features"][start:end]] = batch["weights"][start:end]
    assert np.allclose(dense, expected.toarray()[[2, 0, 1]])
    assert np.allclose((dense**2).sum(1), 1)


def test_a_text_without_words_is_an_empty_bag_wherever_it_stands() -> None:
    encoded = HashedWords(500).encode(["the of and", "red lamp", "!"])
    batch = encoded.batch(np.arange(3))
    assert batch["offsets"].tolist() == [0, 0, 2]
    assert encoded.words(np.arange(3)) == [0, 2, 0]
    dropped = encoded.batch(np.array([1]), [np.array([True, False])])
    assert len(dropped["features"]) == 1


@pytest.mark.parametrize("a, b", [(HashedWords(10), HashedWords(20)), (Tokens("x", 8), Tokens("x", 9))])
def test_inputs_that_read_differently_have_other_keys(a: Tokens, b: Tokens) -> None:
    assert a.key != b.key


def test_the_tokenizer_is_saved_for_others(base: Base, tmp_path: Path) -> None:
    base.inputs.save(tmp_path)
    again = Tokens(str(tmp_path), base.inputs.max_length).encode(TEXTS)
    assert again.tokens.values.tolist() == base.inputs.encode(TEXTS).tokens.values.tolist()
