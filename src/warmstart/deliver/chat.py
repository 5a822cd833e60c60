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
        """Pieces of the answer as they are written. Afterwards both are part of the conversation."""
        self.turns.append(Turn("user", text))
        pieces: list[str] = []
        seed = self.seed + len(self.turns)
        for piece in self.writer.stream(self.turns, self.most, self.temperature, self.top_p, seed):
            pieces.append(piece)
            yield piece
        self.turns.append(Turn("assistant", "".join(pieces)))


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
            for piece in chat.say(text):
                out.write(piece)
                out.flush()
            out.write("\n")
            out.flush()
