"""Tokenizer limits: can a tokenizer turn a short text into very many tokens, or search forever?

A tokenizer.json is a small program: it replaces text by text, and splits it by patterns. One of 5 KB can turn a letter
into a hundred million, another can try a pattern in more ways than there are seconds. Both are seen in the file.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any

from warmstart.errors import InputError, shorten

MAX_GROWTH = 256  # characters for one: the longest that Unicode's own normalization makes of one is 18
MAX_WORD = 10_000  # characters of a word that WordPiece looks for pieces of: it tries each length from each place
QUANTIFIED = re.compile(r"[*+]|\{\d+,\}")  # any number of times
_COPY = "take another copy of the model"


def check_tokenizer(tokenizer: Mapping[str, Any], name: str) -> None:
    """Raises InputError for a tokenizer.json (its content, and what to call it) that is no tokenizer, or a trap."""
    model = tokenizer.get("model")
    if not isinstance(model, dict):
        raise InputError(f"{name} is damaged: it has no model.", _COPY)
    added = tokenizer.get("added_tokens", [])
    if not isinstance(added, list) or not all(
        isinstance(token, dict) and isinstance(token.get("content"), str) for token in added
    ):
        raise InputError(f"{name} is damaged: added_tokens is no list of tokens.", _COPY)
    growth = 1
    for part in _parts(tokenizer.get("normalizer")):
        growth *= _growth(part)
        if growth > MAX_GROWTH:
            raise InputError(
                f"{name} makes {growth:,} characters of one, more than {MAX_GROWTH}: it would take all memory.", _COPY
            )
    for part in (*_parts(tokenizer.get("normalizer")), *_parts(tokenizer.get("pre_tokenizer"))):
        pattern = part.get("pattern")
        expression = pattern.get("Regex") if isinstance(pattern, dict) else None
        if isinstance(expression, str) and repeats_repeats(expression):
            raise InputError(
                f"{name} splits by a pattern that may search for ever: {shorten(expression)} repeats what repeats.",
                _COPY,
            )
    longest = model.get("max_input_chars_per_word", 0)
    if not isinstance(longest, int) or longest > MAX_WORD:
        raise InputError(f"{name}: max_input_chars_per_word is {shorten(longest)}, more than {MAX_WORD:,}.", _COPY)


def _parts(part: object) -> Iterator[dict[str, Any]]:
    """A normalizer, or those that it is a sequence of."""
    if isinstance(part, dict):
        for key in ("normalizers", "pretokenizers"):
            for inner in part.get(key) or ():
                yield from _parts(inner)
        yield part


def _growth(part: Mapping[str, Any]) -> int:
    """Characters that this makes of one, at most."""
    kind = part.get("type")
    if kind in ("Replace", "Prepend"):
        content = part.get("content", part.get("prepend", ""))
        return max(1, len(content) if isinstance(content, str) else 1)
    if kind == "Precompiled":
        return _longest_entry(part.get("precompiled_charsmap"))
    return 1  # Unicode's own normalizations are bounded by the text


def _longest_entry(charsmap: object) -> int:
    """The longest text in SentencePiece's table of replacements: a trie, then texts that end with a zero byte."""
    try:
        table = base64.b64decode(str(charsmap or ""), validate=True)
    except binascii.Error:
        return 1  # no table: the library says so itself
    start = 4 + int.from_bytes(table[:4], "little")
    return max((len(entry.decode("utf-8", errors="replace")) for entry in table[start:].split(b"\0")), default=1) or 1


def repeats_repeats(expression: str) -> bool:
    r"""Whether a group that may come any number of times holds something that may come any number of times.

    >>> repeats_repeats(r"(a+)+$"), repeats_repeats(r" ?\p{L}+|\s+(?!\S)|(?:'s|'t)?")
    (True, False)
    """
    groups: list[bool] = [False]  # of each open group: does anything in it repeat?
    at, in_class = 0, False
    while at < len(expression):
        character = expression[at]
        if character == "\\":
            at += 2
            continue
        if in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
            if expression[at + 1 : at + 2] == "]":  # stands for itself there
                at += 1
        elif character == "(":
            groups.append(False)
        elif character == ")" and len(groups) > 1:
            inner = groups.pop()
            repeated = QUANTIFIED.match(expression, at + 1) is not None
            if inner and repeated:
                return True
            groups[-1] = groups[-1] or inner or repeated
        elif QUANTIFIED.match(expression, at):
            groups[-1] = True
        at += 1
    return False
