"""Special tokens: which tokens control a model, and how is text that contains their names read as plain text?

`<|im_start|>`, `</s>` or `[CLS]` in somebody's data is text. Only what a chat template or the tokenizer adds controls a
model.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

COVER = "\ue000"  # of the private use area: no tokenizer's control token has it


def steering(tokenizer: Any) -> Any:
    """The tokenizer's own library, without truncation and padding; names of control tokens become these tokens.

    `tokenizer` is a fast one of transformers. Only for text that no user wrote.
    """
    return _ready(tokenizer.backend_tokenizer, False)


def as_plain_text(tokenizer: Any) -> Any:
    """The same for text that users wrote: all is text. Text without names of control tokens has the same tokens."""
    backend = tokenizer.backend_tokenizer
    known = [added.content for added in backend.get_added_tokens_decoder().values() if added.special]
    if type(backend.model).__name__ == "Unigram":  # finds their names in its vocabulary
        return _ready(_renamed(backend, tuple(known)), True)
    return _ready(backend, True)


def special_token_names(tokenizer: Any) -> dict[int, str]:
    """The control tokens of a tokenizer, by id."""
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    return {number: token.content for number, token in added.items() if token.special}


def _ready(backend: Any, as_text: bool) -> Any:
    backend.no_padding()
    backend.no_truncation()
    backend.encode_special_tokens = as_text
    return backend


@functools.lru_cache(maxsize=4)
def _renamed(backend: Any, known: tuple[str, ...]) -> Any:
    """A copy whose vocabulary has these tokens under names that no text contains: a pre-tokenizer leaves no spaces."""
    from tokenizers import Tokenizer

    facts = json.loads(backend.to_str())
    facts["added_tokens"] = [token for token in facts["added_tokens"] if not token["special"]]
    vocabulary = facts["model"]["vocab"]
    facts["model"]["vocab"] = [[f"{piece} \0" if piece in known else piece, score] for piece, score in vocabulary]
    return Tokenizer.from_str(json.dumps(facts))


@dataclass(frozen=True)
class EscapedText:
    """A rendered template; in `shown`, control-token names that a user wrote are masked."""

    text: str
    shown: str

    def after(self, start: int) -> "EscapedText":
        return self if not start else EscapedText(self.text[start:], self.shown[start:])


def covered(text: str, known: Sequence[str]) -> str:
    """The text with these names masked, character by character."""
    for name in known:
        if name in text:
            text = text.replace(name, COVER * len(name))
    return text


@dataclass(frozen=True)
class TokenizedText:
    """Tokens of a text, as the tokenizer's library returns them."""

    ids: list[int]
    offsets: list[tuple[int, int]]


def read_tokens(written: EscapedText, tokenizer: Any) -> Any:
    """Tokens: control tokens from the template, text everywhere else. `ids` and `offsets` of each."""
    found = steering(tokenizer).encode(written.shown, add_special_tokens=False)
    if written.shown == written.text:
        return found
    known, pieces, at = special_token_names(tokenizer), TokenizedText([], []), 0
    run: list[tuple[int, tuple[int, int]]] = []

    def take(until: int) -> None:
        """The text between two control tokens."""
        if written.shown[at:until] != written.text[at:until]:
            anew = as_plain_text(tokenizer).encode(written.text[at:until], add_special_tokens=False)
            run[:] = [(token, (at + a, at + b)) for token, (a, b) in zip(anew.ids, anew.offsets, strict=True)]
        pieces.ids.extend(token for token, _ in run)
        pieces.offsets.extend(place for _, place in run)
        run.clear()

    for token, (start, end) in zip(found.ids, found.offsets, strict=True):
        if token in known and known[token] in written.shown[start:end]:
            take(start)
            pieces.ids.append(token)
            pieces.offsets.append((start, end))
            at = end
        else:
            run.append((token, (start, end)))
    take(len(written.text))
    return pieces
