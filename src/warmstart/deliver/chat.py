"""Chat: a conversation with a trained model in a terminal."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TextIO

from warmstart.data.conversations import Turn
from warmstart.deliver.predict import Trained, writer_of
from warmstart.errors import UsageError
from warmstart.tasks import Language
from warmstart.writing import Writer

LONGEST = 512  # tokens of an answer
EMPTY = "(an empty answer: neither it nor what you said is remembered)"
HOW = "a line is a turn; /new begins anew, /quit or Ctrl-D ends"


@dataclass
class Chat:
    """A conversation so far, and who answers."""

    writer: Writer
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    most: int = LONGEST
    turns: list[Turn] = field(default_factory=list)

    def say(self, text: str) -> Iterator[str]:
        """Pieces of the answer as they are written. Then both are part of the conversation, unless it is empty."""
        turns = [*self.turns, Turn("user", text)]
        pieces: list[str] = []
        for piece in self.writer.stream(turns, self.most, self.temperature, self.top_p, self.seed + len(turns)):
            pieces.append(piece)
            yield piece
        answer = "".join(pieces)
        if answer.strip():
            self.turns[:] = [*turns, Turn("assistant", answer)]


def chat_with(
    trained: Trained,
    system: str | None = None,
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    most: int = LONGEST,
    seed: int = 0,
) -> Chat:
    """A conversation with a model that was trained to write. Raises UsageError for one that was not."""
    stored = trained.stored
    if not isinstance(stored.task, Language) or not stored.task.writes:
        raise UsageError(
            f"the model in {trained.folder} was trained for {stored.task.name}: it answers nobody.",
            "chat with a run of --task chat, or use `warmstart predict`",
        )
    turns = [Turn("system", system)] if system else []
    return Chat(writer_of(stored), temperature, top_p, seed, most, turns)


def converse(chat: Chat, lines: Iterable[str], out: TextIO = sys.stdout) -> None:
    """An answer to every line, written as it comes; empty lines are passed over, `/new` begins anew, `/quit` ends."""
    for line in lines:
        text = line.strip()
        if text == "/quit":
            return
        if text == "/new":
            chat.turns[:] = [turn for turn in chat.turns if turn.role == "system"]
        elif text:
            before = len(chat.turns)
            for piece in chat.say(text):
                out.write(piece)
                out.flush()
            if len(chat.turns) == before:
                out.write(EMPTY)
            out.write("\n")
            out.flush()
