"""Token cache: is what is read from a corpus whole on disk, and is only what is missing made again?"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny import REGRESSION, tiny_rows, tiny_splits
from warmstart.data.encoding import token_cache as module
from warmstart.data.encoding.inputs import Answers, Tokens
from warmstart.data.encoding.language_inputs import Documents, Masked
from warmstart.data.encoding.span_corruption import SpanCorruption
from warmstart.data.encoding.token_cache import ShardedColumn, TokenColumns, cached_columns, write_cache
from warmstart.data.encoding.tokenize import TokenizeWhole
from warmstart.data.encoding.train_tokenizer import train_tokenizer
from warmstart.data.tables.strings import Texts
from warmstart.errors import InputError, RowError
from warmstart.training.frozen_prefix import SharedData

TEXTS = (*tiny_rows(REGRESSION).texts, "", "<|end|> of a text")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return train_tokenizer(TEXTS, 10_000, 400, 64, tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "warmstart" / "tokens"


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    """The texts make four shards."""
    monkeypatch.setattr(module, "SHARD", sum(len(text.encode()) for text in TEXTS) // 4)


class Counted(TokenizeWhole):
    """Knows which texts were read."""

    def __init__(self, tokenizer: Any):
        super().__init__(tokenizer)
        object.__setattr__(self, "seen", list[int]())

    def read(self, first: int, block: Sequence[str]) -> TokenColumns:
        self.seen.extend(range(first, first + len(block)))  # type: ignore[attr-defined]
        return super().read(first, block)


def tokenize(texts: Sequence[str], tokenizer: Any) -> ShardedColumn:
    return cached_columns(Texts.of(texts), TokenizeWhole(tokenizer))["ids"]


@pytest.mark.parametrize("shard", [1, 500, 1 << 30])
def test_every_text_is_there(shard: int, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_CHARACTERS", 100)
    monkeypatch.setattr(module, "SHARD", shard)
    texts = TEXTS[-20:] if shard == 1 else TEXTS  # each is a file of its own
    found = tokenize(texts, tokenizer)
    assert len(found) == len(texts) and found.values[0].dtype == np.uint16
    for i, text in enumerate(texts):
        assert tokenizer.decode(found.row(i)) == text
        assert not {*range(4)} & set(found.row(i).tolist())  # what spells a special token is none
    assert found.sizes().tolist() == [len(found.row(i)) for i in range(len(texts))]


@pytest.mark.usefixtures("four")
def test_only_unfinished_shards_are_made_again(tokenizer: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, done = module._write, list[int]()

    def killed(texts: Any, rows: range, reading: Any, folder: Path, shard: int) -> None:
        if len(done) == 2:
            (folder / ".00002.arrow.1.tmp").write_bytes(b"half")
            raise KeyboardInterrupt
        done.append(shard)
        write(texts, rows, reading, folder, shard)

    monkeypatch.setattr(module, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        tokenize(TEXTS, tokenizer)
    monkeypatch.setattr(module, "_write", write)
    reading = Counted(tokenizer)
    found = cached_columns(Texts.of(TEXTS), reading)["ids"]
    assert reading.seen == [*range(len(TEXTS) // 2, len(TEXTS))]  # type: ignore[attr-defined]
    assert not [*cache.rglob("*.tmp")]
    assert all(tokenizer.decode(found.row(i)) == text for i, text in enumerate(TEXTS))


@pytest.mark.usefixtures("four")
def test_how_far_it_is_is_told_before_each_shard(tokenizer: Any) -> None:
    texts = Texts.of(TEXTS)
    assert [*write_cache(texts, TokenizeWhole(tokenizer))] == [0, 0.25, 0.5, 0.75] and [
        *write_cache(texts, TokenizeWhole(tokenizer))
    ] == []


def test_a_study_of_a_large_corpus_makes_its_tokens_first_and_says_so(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LARGE", 0)
    monkeypatch.setattr(module, "SHARD", 500)
    shared = SharedData(tiny_splits(REGRESSION))
    base = save_base(tokenizer, tmp_path / "base")
    told = [*shared.keeping(Documents(base, 16))]
    assert len(told) > 1 and told == sorted(told) and [*shared.keeping(Tokens(base, 16))] == []
    monkeypatch.setattr(module, "_write", None)
    assert len(shared.encoded(Documents(base, 16))) == len(shared)


def test_one_text_of_thousands_that_was_edited_is_noticed(tokenizer: Any) -> None:
    many = [f"number {i}" for i in range(3_000)]
    tokenize(many, tokenizer)
    many[7] = "another"
    assert tokenizer.decode(tokenize(many, tokenizer).row(7)) == "another"


def test_another_cut_of_the_same_text_is_another_corpus(tokenizer: Any) -> None:
    assert (
        len(tokenize(["ab", "c"], tokenizer).row(0))
        and tokenizer.decode(tokenize(["a", "bc"], tokenizer).row(1)) == "bc"
    )


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize("left", [0, 10, -1])
def test_what_is_damaged_is_made_again(left: int, tokenizer: Any, cache: Path) -> None:
    tokenize(TEXTS, tokenizer)
    (damaged,) = cache.glob("*/00001.arrow")
    with damaged.open("r+b") as file:
        file.truncate(left % damaged.stat().st_size)
    reading = Counted(tokenizer)
    found = cached_columns(Texts.of(TEXTS), reading)["ids"]
    assert reading.seen == [*range(len(TEXTS) // 4, len(TEXTS) // 2)]  # type: ignore[attr-defined]
    assert all(tokenizer.decode(found.row(i)) == text for i, text in enumerate(TEXTS))


def test_a_full_disk_is_named(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(InputError, match=r"No space left on device\nhint: make room there; what is done is kept"):
        tokenize(TEXTS, tokenizer)


@pytest.mark.parametrize("kind", ["documents", "masked", "infilled"])
def test_a_large_corpus_is_tokenized_once_and_reads_as_a_small_one(
    kind: str, tokenizer: Any, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = save_base(tokenizer, tmp_path / "base")
    kinds = {
        "documents": Documents(base, 16),
        "masked": Masked(base, 16, seed=1),
        "infilled": SpanCorruption(base, 16, 1, Answers(0)),
    }
    inputs = kinds[kind]
    texts = ["naïve café", *(text for text in TEXTS if text)]
    small = inputs.encode(texts)
    monkeypatch.setattr(module, "LARGE", 0)
    monkeypatch.setattr(module, "SHARD", 500)
    monkeypatch.setattr(module, "BLOCK", 7)
    monkeypatch.setattr(module, "BLOCK_CHARACTERS", 200)
    large = inputs.encode(texts)
    assert len(list(cache.glob("*/*.arrow"))) > 1
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
    monkeypatch.setattr(module, "LARGE", 0)
    monkeypatch.setattr(module, "SHARD", 500)
    monkeypatch.setattr(module, "BLOCK_CHARACTERS", 100)
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
