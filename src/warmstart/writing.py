"""Writing: how does a trained model answer?"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from warmstart.chunks import summarise_long
from warmstart.constrain import constraint
from warmstart.data.conversations import Turn, ask, document, write
from warmstart.data.language import Conversations
from warmstart.generate import Guide, generate, spelled, stream
from warmstart.models.language import LanguageHead
from warmstart.models.model import Model
from warmstart.tasks.language import Language


@dataclass(frozen=True)
class Writer:
    """A model that continues conversations, in evaluation mode."""

    model: Model
    inputs: Conversations

    @property
    def head(self) -> LanguageHead:
        assert isinstance(self.model.head, LanguageHead)
        return self.model.head

    def answers(self, texts: Sequence[str], task: Language) -> list[str]:
        """The likeliest answer to each conversation; to one that has an answer, in its place.

        Where the task has a schema, an answer fits it, token by token. Where it summarises long documents in chunks,
        so are those that do not fit. Raises InputError for one without room.
        """
        if task.long == "chunks":
            documents = [document(text, task.instruction) for text in texts]
            return summarise_long(documents, lambda some: self._of(some, task), self.inputs.ends, self.inputs.room)
        return self._written(texts, task)

    def _of(self, documents: Sequence[str], task: Language) -> list[str]:
        return self._written([ask(task.instruction, text) for text in documents], task)

    def _written(self, texts: Sequence[str], task: Language) -> list[str]:
        tokenizer = self.inputs.tokenizer
        allowed: Callable[[], Guide] | None = None
        if task.json_schema is not None:
            allowed = constraint(tokenizer, task.json_schema)
        prompts = [np.array(self.inputs.prompt(text)) for text in texts]
        found = generate(self.model.body, self.head, prompts, stop=self.stop, most=task.most_tokens, allowed=allowed)
        return [tokenizer.decode(tokens, skip_special_tokens=True).strip() for tokens in found]

    def stream(self, turns: Sequence[Turn], most: int, temperature: float, top_p: float, seed: int) -> Iterator[str]:
        """Pieces of an answer as they are written; drawn from the seed, at temperature 0 the likeliest."""
        prompt = np.array(self.inputs.prompt(write(turns)))
        tokens = stream(
            self.model.body,
            self.head,
            prompt,
            stop=self.stop,
            most=most,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
        )
        return spelled(self.inputs.tokenizer, tokens)

    @property
    def stop(self) -> set[int]:
        return stops(self.model, self.inputs.tokenizer)


def stops(model: Model, tokenizer: Any) -> set[int]:
    """Tokens that end a text: the tokenizer's, and those of the base's own settings for generation."""
    configured: Any = getattr(getattr(model.body, "generation_config", None), "eos_token_id", None)
    configured = configured if configured is not None else getattr(model.body.config, "eos_token_id", None)
    known = configured if isinstance(configured, list) else [configured]
    return {int(token) for token in (*known, tokenizer.eos_token_id) if token is not None}
