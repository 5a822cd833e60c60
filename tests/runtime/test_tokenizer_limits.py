"""Tokenizer limits: traps are seen, the tokenizers in use are not taken for ones."""

import base64
from typing import Any

import pytest

from warmstart.errors import InputError
from warmstart.runtime.tokenizer_limits import check_tokenizer, repeats_repeats

LLAMA = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def replace(content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": "e"}, "content": content}


def tokenizer(**parts: Any) -> dict[str, Any]:
    return {"model": {"type": "WordPiece", "max_input_chars_per_word": 100}} | parts


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (tokenizer(normalizer={"type": "Sequence", "normalizers": [replace("e" * 40)] * 5}), "characters of one"),
        (tokenizer(normalizer={"type": "Prepend", "prepend": "x" * 1000}), "characters of one"),
        (
            tokenizer(
                normalizer={
                    "type": "Precompiled",
                    "precompiled_charsmap": base64.b64encode(bytes(4) + b"a" * 999 + b"\0").decode(),
                }
            ),
            "characters of one",
        ),
        (tokenizer(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a+)+b"}}), "search for ever"),
        (tokenizer(model={"max_input_chars_per_word": 10**9}), "max_input_chars_per_word"),
        ({}, "has no model"),
        ({"model": []}, "has no model"),
    ],
)
def test_a_trap_is_seen_in_the_file(found: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError, match=what):
        check_tokenizer(found, "tokenizer.json")


def test_usual_tokenizers_are_no_traps() -> None:
    check_tokenizer(tokenizer(normalizer=replace("▁"), pre_tokenizer={"pattern": {"Regex": LLAMA}}), "x")
    check_tokenizer(tokenizer(normalizer=None, pre_tokenizer=None), "x")


@pytest.mark.parametrize("pattern", [r"(a+)+", r"(?:x*y)*", r"((\w+)\s)+", r"(a|b+){2,}"])
def test_what_repeats_a_repetition_is_recognized(pattern: str) -> None:
    assert repeats_repeats(pattern)


@pytest.mark.parametrize("pattern", [LLAMA, r"[(a+)+]+", r"\(a+\)+", r"(?:\d{3})*", r"(a+)?", "", "(", ")+", "[", "\\"])
def test_what_does_not_is_left_alone(pattern: str) -> None:
    assert not repeats_repeats(pattern)
