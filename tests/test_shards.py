"""Shards: is what is read from a corpus whole on disk, and is only what is missing made again?"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny import REGRESSION, tiny_rows
from warmstart.data import shards as module
from warmstart.data.infilling import Infilled
from warmstart.data.inputs import Answers
from warmstart.data.language import Documents, Masked
from warmstart.data.reading import Whole
from warmstart.data.shards import Column, Corpus, written
from warmstart.data.texts import Texts
from warmstart.data.tokenizer import train_tokenizer
from warmstart.errors import InputError, RowError, UsageError
from warmstart.lock import locked

TEXTS = (*tiny_rows(REGRESSION).texts, "", "<|end|> of a text")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return train_tokenizer(TEXTS, 10_000, 400, 64, tmp_path_factory.mktemp("tokenizer"))


def tokenise(texts: Corpus, tokenizer: Any, folder: Path, shards: int) -> Column:
    return written(texts, Whole(tokenizer), folder, shards)["ids"]


class Counted(Sequence[str]):
    """Texts that know how often they were read."""

    def __init__(self, texts: Sequence[str]):
        self.texts, self.read = texts, list[int]()

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, place: int) -> str:  # type: ignore[override]
        self.read.append(place)
        return self.texts[place]


@pytest.mark.parametrize("shards", [1, 3, 200])
def test_every_text_is_there(shards: int, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 100)
    found = tokenise(Texts.of(TEXTS), tokenizer, tmp_path, shards)
    assert len(found) == len(TEXTS) and found.values[0].dtype == np.uint16
    for i, text in enumerate(TEXTS):
        assert tokenizer.decode(found.row(i)) == text
        assert not {*range(4)} & set(found.row(i).tolist())  # what spells a special token is none
    assert found.sizes().tolist() == [len(found.row(i)) for i in range(len(TEXTS))]


def test_only_unfinished_shards_are_made_again(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Counted(TEXTS)
    write, done = module._write, list[int]()

    def killed(texts: Any, rows: range, *rest: Any) -> None:
        if len(done) == 2:
            (tmp_path / "00002.ids").write_bytes(b"half")
            raise KeyboardInterrupt
        done.append(rows.start)
        write(texts, rows, *rest)

    monkeypatch.setattr(module, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        tokenise(corpus, tokenizer, tmp_path, 4)
    monkeypatch.setattr(module, "_write", write)
    corpus.read.clear()
    found = tokenise(corpus, tokenizer, tmp_path, 4)
    assert min(corpus.read[len(TEXTS) :]) == len(TEXTS) // 2  # after all were read to know the corpus again
    assert all(tokenizer.decode(found.row(i)) == text for i, text in enumerate(TEXTS))


def test_another_corpus_is_made_anew(tokenizer: Any, tmp_path: Path) -> None:
    tokenise(TEXTS, tokenizer, tmp_path, 2)
    other = ("a new one", *TEXTS[1:])
    assert tokenizer.decode(tokenise(other, tokenizer, tmp_path, 2).row(0)) == "a new one"
    assert len(tokenise(other, tokenizer, tmp_path, 5).values) == 5


def test_one_text_of_thousands_that_was_edited_is_noticed(tokenizer: Any, tmp_path: Path) -> None:
    many = [f"number {i}" for i in range(3_000)]
    tokenise(many, tokenizer, tmp_path, 2)
    many[7] = "another"
    assert tokenizer.decode(tokenise(many, tokenizer, tmp_path, 2).row(7)) == "another"


def test_damage_and_company_are_named(tokenizer: Any, tmp_path: Path) -> None:
    tokenise(TEXTS, tokenizer, tmp_path, 2)
    with (tmp_path / "00001.ids").open("r+b") as file:
        file.truncate(10)
    with pytest.raises(InputError, match=r"00001\.ids is not as it was written\.\nhint: delete"):
        tokenise(TEXTS, tokenizer, tmp_path, 2)
    with locked(tmp_path), pytest.raises(UsageError, match=r"another process"):
        tokenise(TEXTS, tokenizer, tmp_path, 2)


@pytest.mark.parametrize("kind", ["documents", "masked", "infilled"])
def test_a_large_corpus_is_tokenised_once_and_reads_as_a_small_one(
    kind: str, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base = save_base(tokenizer, tmp_path / "base")
    kinds = {
        "documents": Documents(base, 16),
        "masked": Masked(base, 16, seed=1),
        "infilled": Infilled(base, 16, 1, Answers(0)),
    }
    inputs = kinds[kind]
    texts = ["naïve café", *(text for text in TEXTS if text)]
    small = inputs.encode(texts)
    monkeypatch.setattr(module, "LARGE", 0)
    monkeypatch.setattr(module, "SHARD", 500)
    monkeypatch.setattr(module, "BLOCK", 7)
    monkeypatch.setattr(module, "AT_ONCE", 200)
    large = inputs.encode(texts)
    assert len(list((tmp_path / "cache" / "warmstart" / "tokens").glob("*/*.ids"))) > 1
    monkeypatch.setattr(module, "_write", None)  # nothing is left to write
    for found in (large, inputs.encode(texts)):
        for part in ("tokens", "labels") if kind == "documents" else ("tokens", "spelled"):
            mine, other = getattr(found, part), getattr(small, part)
            assert np.array_equal(mine.values, other.values) and np.array_equal(mine.offsets, other.offsets)
        assert np.array_equal(found.lost, small.lost) and found.lost.any()
        index = np.arange(len(texts))
        mine, other = found.batch(index), small.batch(index)
        assert mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


def test_what_is_cut_elsewhere_is_read_anew(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "LARGE", 0)
    base = save_base(tokenizer, tmp_path / "base")
    texts = [text for text in TEXTS if text]
    longest = [int(Masked(base, length, seed=0).encode(texts).sizes().max()) for length in (16, 8)]
    assert longest == [16, 8]


@pytest.mark.parametrize("at", [0, 11])
def test_a_text_without_tokens_is_named_by_its_number_in_the_corpus(
    at: int, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "LARGE", 0)
    monkeypatch.setattr(module, "SHARD", 500)
    monkeypatch.setattr(module, "AT_ONCE", 100)
    texts = [text for text in TEXTS if text]
    texts[at] = ""
    with pytest.raises(RowError) as raised:
        Masked(save_base(tokenizer, tmp_path / "base"), 16, seed=0).encode(texts)
    assert raised.value.at == at


def save_base(tokenizer: Any, folder: Path) -> str:
    """A folder with the tokenizer, as one with a mask."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_special_tokens({"mask_token": "<|mask|>"})
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return str(folder)
