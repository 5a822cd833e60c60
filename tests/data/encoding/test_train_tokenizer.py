"""Tokenizer: is what it cuts what it joins, and is the same corpus always cut in the same way?"""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tests.tiny import REGRESSION, tiny_rows
from warmstart.data.encoding import train_tokenizer as module
from warmstart.data.encoding.train_tokenizer import SPECIAL, train_tokenizer, vocabulary_size
from warmstart.errors import InputError

TEXTS = tiny_rows(REGRESSION).texts
BYTES = sum(len(text.encode()) for text in TEXTS)


def test_it_is_loaded_by_transformers_and_gives_every_text_back(tmp_path: Path) -> None:
    made = train_tokenizer(TEXTS, BYTES, 400, 64, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert len(tokenizer) == len(made) <= 400 and tokenizer.model_max_length == 64
    assert [tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.mask_token_id] == [
        *range(4)
    ]
    for text in (TEXTS[0], "Straße  émigré\n\n 1234 你好\t", " ", "don't . , !"):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text and not {0, 1, 2, 3} & set(ids)
    assert tokenizer.tokenize("2024") == ["2", "0", "2", "4"]
    assert len(tokenizer.tokenize(TEXTS[0])) < len(TEXTS[0]) / 3


def test_the_same_texts_in_any_order_give_the_same_file(tmp_path: Path) -> None:
    files = []
    for name, texts in (("one", TEXTS), ("two", TEXTS[::-1])):
        train_tokenizer(iter(texts), BYTES, 500, 64, tmp_path / name)
        files.append((tmp_path / name / "tokenizer.json").read_bytes())
    assert files[0] == files[1]


def test_a_model_from_nothing_can_chat(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, BYTES, 400, 64, tmp_path)
    turns = [{"role": "user", "content": "A lamp?"}, {"role": "assistant", "content": "Yes."}]
    said = tokenizer.apply_chat_template(turns, tokenize=False)
    prompt = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    assert said == "<|begin|>user\nA lamp?<|end|>\nassistant\nYes.<|end|>\n" and said.startswith(prompt)


def test_of_a_large_corpus_a_part_is_read_whatever_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE", BYTES // 2)
    monkeypatch.setattr(module, "PIECE", 10)
    some = module._Sample(TEXTS, BYTES)
    pieces = list(some)
    assert 0.3 * BYTES < some.read < 0.7 * BYTES and max(map(len, pieces)) == 10
    assert sorted(module._Sample(TEXTS[::-1], BYTES)) == sorted(pieces)


def test_the_size_follows_the_corpus_and_the_model() -> None:
    sizes = [vocabulary_size(size) for size in (0, 10**6, 10**7, 10**9)]
    assert sizes == [512, 2496, 24960, 32768]
    assert vocabulary_size(10**9, 10**6) == 640
    assert SPECIAL[0] == "<|pad|>"


def test_an_empty_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no text to make a tokenizer of"):
        train_tokenizer(["", ""], 0, 400, 64, tmp_path)
