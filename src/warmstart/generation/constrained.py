"""Constrained: how does an answer follow a JSON schema while it is generated?"""

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from warmstart.data.schema.json_schema import check_schema
from warmstart.errors import MissingError, UsageError

SPACE = " ?"  # between two parts: none or one, so that a model can neither be held to a style nor lost in white space
LIKELY = "0a@.:/ A1PT-"  # what an unfinished number or text is gone on with: most formats end after a few of these
AGAIN = 4  # times the same token, from which on another is tried
NAME_KEYS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")  # whose keys are names
VALUES = ("enum", "const", "default", "examples")  # which hold no schemas
MAX_JSON_TOKENS = 4_096  # tokens within which the shortest JSON of a schema must end


@dataclass(frozen=True)
class Constraint:
    """Makes a new `Walk` for each answer; `generate` takes it as `allowed`."""

    tokenizer: Any  # of llguidance
    grammar: str
    closers: tuple[int, ...]  # the tokens } ] ,
    quote: int
    likely: tuple[int, ...]  # those of LIKELY

    def __call__(self) -> "Walk":
        return Walk(self)

    @property
    def least(self) -> int:
        """Number of tokens of a short answer of this schema, as `closed` writes it for an empty one."""
        return len(Walk(self).closed(MAX_JSON_TOKENS))


def constraint(tokenizer: Any, schema: Mapping[str, Any]) -> Constraint:
    """A constraint for answers of this schema. Generation must stop at the tokenizer's end-of-text token.

    `tokenizer` is a fast one of transformers. Raises UsageError for an invalid schema, for one with a keyword that
    cannot be enforced during generation, and if these tokens cannot spell its JSON.
    """
    check_schema(schema)
    try:
        from llguidance import LLMatcher
        from llguidance.hf import from_tokenizer
    except ImportError as error:
        raise MissingError(
            "constrained answers need the package llguidance.", "pip install 'warmstart[structured]'"
        ) from error
    if tokenizer.eos_token_id is None:
        raise UsageError("the base's tokenizer has no end-of-text token: an answer could not end.", "use another base")
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or type(backend.model).__name__ == "WordPiece":  # which puts spaces between what it spells
        raise UsageError("the base's tokens cannot spell JSON, character by character.", "use another base")
    read = from_tokenizer(tokenizer)
    grammar = LLMatcher.grammar_from_json_schema(_without_unique(schema), overrides={"whitespace_pattern": SPACE})
    problem = LLMatcher(read, grammar).get_error()
    if problem:
        raise UsageError(
            f"the schema cannot be kept while generating: {problem.splitlines()[0]}.",
            "leave that keyword out; answers are then checked afterwards only",
        )
    marks = [read.greedy_tokenize(mark) for mark in ("}", "]", ",", '"', *LIKELY)]
    if all(len(ids) == 1 for ids in marks[:5]):
        *closers, quote = (ids[0] for ids in marks[:4])
        likely = tuple(ids[0] for ids in marks[4:] if len(ids) == 1)
        found = Constraint(read, grammar, tuple(closers), quote, likely)
        if found.least:
            return found
    raise UsageError("the base's tokens cannot spell JSON of this schema.", "use another base")


def _without_unique(schema: Any, names: bool = False) -> Any:
    """The schema without `uniqueItems`, which no grammar can enforce: answers are checked for it afterwards.

    `names`: the keys of `schema` are names of properties or definitions, not keywords.
    """
    if isinstance(schema, list):
        return [_without_unique(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept = {key: part for key, part in schema.items() if names or key != "uniqueItems"}
    return {
        key: part if key in VALUES and not names else _without_unique(part, key in NAME_KEYS and not names)
        for key, part in kept.items()
    }


class Walk:
    """One answer, token by token."""

    def __init__(self, constraint: Constraint):
        from llguidance import LLMatcher

        self.constraint = constraint
        self.matcher = LLMatcher(constraint.tokenizer, constraint.grammar)
        self.tokens: list[int] = []

    def mask(self) -> Tensor:
        """Which tokens may come next, bool [vocabulary]."""
        return torch.from_numpy(_may_follow(self.matcher))

    def take(self, token: int) -> None:
        """Add the chosen token. Raises ValueError for one that is not allowed."""
        if not self.matcher.consume_token(token):
            raise ValueError(self.matcher.get_error())
        self.tokens.append(token)

    def closed(self, most: int) -> list[int]:
        """The answer, complete within so many tokens: the longest prefix that can be completed, with a short ending.

        Unchanged if not even the shortest answer fits.
        """
        kept = list(self.tokens)
        matcher = self.matcher.deep_copy()
        while True:
            ending = self._ending(matcher.deep_copy(), kept, most - len(kept))
            if ending is not None:
                return kept + ending
            if not kept:
                return self.tokens
            kept.pop()
            matcher.rollback(1)

    def _ending(self, matcher: Any, kept: list[int], room: int) -> list[int] | None:
        """A short ending; None if it does not fit."""
        ending: list[int] = []
        while len(ending) <= room:
            if matcher.is_accepting():
                return ending
            next_one = matcher.compute_ff_tokens() or self._shortest(_may_follow(matcher), kept + ending)
            if not next_one or not matcher.consume_tokens(next_one):
                return None
            ending += next_one
        return None

    def _shortest(self, may: np.ndarray, tokens: list[int]) -> list[int]:
        """The token that ends the innermost open part, else the first allowed one.

        If repeating a token led nowhere (0.000 never exceeds 0): a likely token that is rare in this part.
        """
        text = self.constraint.tokenizer.decode_bytes(tokens).replace(b"\\\\", b"").replace(b'\\"', b"")
        in_string = text.count(b'"') % 2 == 1
        wanted = (self.constraint.quote,) if in_string else self.constraint.closers
        closing = [token for token in wanted if may[token]][:1]
        if closing:
            return closing
        zero, *_ = likely = self.constraint.likely
        others = np.flatnonzero(may).tolist()
        if len(tokens) < AGAIN or len(set(tokens[-AGAIN:])) > 1:
            return [zero] if may[zero] and not in_string else others[:1]
        decode = self.constraint.tokenizer.decode_bytes
        used = Counter(itertools.takewhile(lambda token: b'"' not in decode([token]), reversed(tokens)))
        return sorted([*(token for token in likely if may[token]), *others], key=lambda token: used[token])[:1]


def _may_follow(matcher: Any) -> np.ndarray:
    return np.frombuffer(bytearray(matcher.compute_logit_bias()), dtype=np.uint8) > 0
