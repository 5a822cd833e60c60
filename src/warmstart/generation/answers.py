"""Answers: how does a trained model answer a prompt?"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from warmstart.data.encoding.inputs import PromptInputs
from warmstart.data.encoding.language_inputs import Conversations
from warmstart.data.rows.split import Rows
from warmstart.data.schema.conversations import Turn, document, write_prompt, write_turns
from warmstart.data.schema.infer_text import default_instruction
from warmstart.data.schema.schema import TEXT_OUT, Schema
from warmstart.errors import InputError, RowError, shorten
from warmstart.generation.constrained import constraint
from warmstart.generation.generate import TokenConstraint, cache_bytes, decode_stream, generate, stream_tokens
from warmstart.generation.kv_cache import ReadPrefix
from warmstart.generation.long_documents import summarize_long
from warmstart.models.lm_head import LanguageHead
from warmstart.models.model import Model
from warmstart.models.pretrained.base import Base
from warmstart.tasks.task import GenerativeTask
from warmstart.types import Array

MAX_CHECKED_ANSWERS = 200  # answers that are looked at, at most
AT_ONCE, AT_ONCE_ON_CPU = 64, 16  # answers written at a time: none is given before all of them are written


class AnswerWriter(Protocol):
    """What answers conversations, by a model or without one."""

    @property
    def answers_at_once(self) -> int:
        """Answers that are given together: none before the last of them is there."""
        ...

    def answers(self, texts: Sequence[str], task: GenerativeTask) -> list[str]:
        """The answer to each conversation; to one that has an answer, in its place. Raises RowError without room."""
        ...

    def check_room(self, texts: Sequence[str]) -> None:
        """Raises RowError for a conversation that leaves no room for an answer."""
        ...

    def words(self, said: str) -> str:
        """An answer that was streamed, without what does not belong to it."""
        ...

    def stream(self, turns: Sequence[Turn], most: int, temperature: float, top_p: float, seed: int) -> Iterator[str]:
        """Pieces of an answer as they are written; drawn from the seed, at temperature 0 the likeliest."""
        ...


@dataclass(frozen=True)
class Writer:
    """A model that continues conversations, in evaluation mode."""

    model: Model
    inputs: PromptInputs
    prefix: ReadPrefix | None = None  # what all conversations begin with, read already
    deadline: float = math.inf  # by time.perf_counter(): later, no more answers are begun

    @property
    def head(self) -> LanguageHead:
        return require_language_head(self.model)

    @property
    def answers_at_once(self) -> int:
        return AT_ONCE_ON_CPU if next(self.model.parameters()).device.type == "cpu" else AT_ONCE

    def check_room(self, texts: Sequence[str]) -> None:
        """Raises RowError for a conversation that leaves no room for an answer."""
        self.prompts(texts)

    def answers(self, texts: Sequence[str], task: GenerativeTask) -> list[str]:
        """The greedy answer to each conversation, replacing an existing one.

        If the task has a schema, decoding is constrained to it. If the task summarizes in chunks, so are documents that
        are too long. Raises RowError for a conversation that leaves no room for an answer.
        """
        if task.long == "chunks":
            chunks = self.inputs.chunks
            assert chunks is not None, "refused before"
            documents = [document(text, task.instruction) for text in texts]
            return summarize_long(documents, lambda some: self._of(some, task), chunks.ends, chunks.room)
        return self._written(texts, task)

    def _of(self, documents: Sequence[str], task: GenerativeTask) -> list[str]:
        return self._written([write_prompt(task.instruction, text) for text in documents], task)

    def _written(self, texts: Sequence[str], task: GenerativeTask) -> list[str]:
        tokenizer = self.inputs.tokenizer
        allowed: Callable[[], TokenConstraint] | None = None
        if task.json_schema is not None:
            allowed = constraint(tokenizer, task.json_schema)
        found = generate(
            self.model.body,
            self.head,
            self.prompts(texts),
            stop=self.stop,
            most=task.most_tokens,
            allowed=allowed,
            opening=self.inputs.opening,
            never=self.inputs.never,
            prefix=self.prefix,
            deadline=self.deadline,
        )
        return [self.words(tokenizer.decode(tokens, skip_special_tokens=True)) for tokens in found]

    def words(self, said: str) -> str:
        """An answer, stripped and without the thought that some templates begin with."""
        return self.inputs.answer(said)

    def prompts(self, texts: Sequence[str]) -> list[Array]:
        """Prompt tokens for each conversation. Raises RowError for one that leaves no room for an answer."""
        found = []
        for at, text in enumerate(texts):
            try:
                found.append(np.array(self.inputs.prompt(text)))
            except InputError as error:
                raise RowError(at, error.message, error.hint) from error
        return found

    def endless(self, prompts: Sequence[Array], most: int) -> None:
        """Generate so many tokens after each of these, ignoring end tokens, to measure the time."""
        generate(self.model.body, self.head, prompts, stop=set(), most=most, opening=self.inputs.opening)

    def kept_bytes(self, prompt: Array) -> float:
        """Bytes of cache per token of a prompt like this one."""
        return cache_bytes(self.model.body, self.head, prompt, self.inputs.opening)

    def tokens_of(self, answer: str) -> int:
        """Number of tokens of an answer, with the one that ends it."""
        return len(self.inputs.tokenizer(text_target=answer, add_special_tokens=False, verbose=False)["input_ids"]) + 1

    def stream(self, turns: Sequence[Turn], most: int, temperature: float, top_p: float, seed: int) -> Iterator[str]:
        """Pieces of an answer as they are generated; sampled with the seed, or greedy at temperature 0."""
        prompt = np.array(self.inputs.prompt(write_turns(turns)))
        tokens = stream_tokens(
            self.model.body,
            self.head,
            prompt,
            stop=self.stop,
            most=most,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            opening=self.inputs.opening,
            never=self.inputs.never,
        )
        return decode_stream(self.inputs.tokenizer, tokens)

    @property
    def stop(self) -> set[int]:
        return stops(self.model, self.inputs.stop)


def require_language_head(model: Model) -> LanguageHead:
    """The head that scores the next token. A model without one never generates text, so that is a bug."""
    head = model.language_head
    assert head is not None, "a model with pooled features writes no text"
    return head


def stops(model: Model, own: Iterable[int | None]) -> set[int]:
    """Tokens that end a text: its `own`, and those in the body's configuration."""
    configured: Any = getattr(model.body.config, "eos_token_id", None)
    known = configured if isinstance(configured, list) else [configured]
    return {int(token) for token in (*known, *own) if token is not None}


def doubts(base: Base, schema: Schema, rows: Rows) -> tuple[str, ...]:
    """Caveats about a base before it is trained to write the answers of these rows.

    Raises UsageError if answers must fit a schema that its tokens cannot spell.
    """
    if base.answers is None:
        return _endless(base) if schema.task in TEXT_OUT else ()
    tokenizer = base.inputs.tokenizer
    if schema.json_schema is not None:
        constraint(tokenizer, schema.json_schema)
    found = []
    if base.joined:
        found.append(
            f"{base.name} only reads: what writes beside it starts from a copy of its weights, and the attention that "
            "joins the two from random ones. Its zero-shot says nothing."
        )
    own = default_instruction(schema.task, schema.target, schema.json_schema)
    if own and schema.instruction == own and not base.answers.instructed:
        found.append(f"{base.name} was not trained to follow instructions: it reads each text without {own!r}")
    some = [str(answer) for answer in rows.targets[:MAX_CHECKED_ANSWERS]]
    wrong = [
        pair for text in some if (pair := (text, respelled(tokenizer, text))) and pair[0].split() != pair[1].split()
    ]
    if wrong:
        found.append(
            f"The tokens of {base.name} cannot spell {len(wrong)} of {len(some)} answers: "
            f"{shorten(wrong[0][0], 60)} becomes {shorten(wrong[0][1], 60)}."
        )
    return tuple(found)


def _endless(base: Base) -> tuple[str, ...]:
    """A caveat for templates that end the assistant's turn without a token: then the end of an answer cannot be
    learned.
    """
    tokens = base.inputs.tokens
    assert tokens is not None, "a body that does not read tokens writes no text"
    with contextlib.suppress(InputError):  # of a template that fits no conversation, which is reported with its row
        if Conversations(tokens.folder, tokens.max_length, "").template.closing is None:
            return (
                f"The chat template of {base.name} ends an answer with no token of its own, so where an answer ends is "
                "not learned: answers go on until they are as long as the longest.",
            )
    return ()


def respelled(tokenizer: Any, text: str) -> str:
    """The text after encoding and decoding."""
    spelled: str = tokenizer.decode(tokenizer(text_target=text, verbose=False)["input_ids"], skip_special_tokens=True)
    return spelled
