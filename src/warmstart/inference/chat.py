"""Chat: how does a person talk to a trained model in a terminal, or have it process texts one by one?"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TextIO

from warmstart.data.encoding.inputs import ContinuationInputs
from warmstart.data.schema.conversations import Turn, read_turns, write_prompt
from warmstart.errors import UsageError, printable
from warmstart.generation.answers import AnswerWriter
from warmstart.generation.continuations import stream_continuation
from warmstart.inference.predict import TrainedModel, text_writer
from warmstart.models.model import Model
from warmstart.tasks.task import GenerativeTask

MAX_ANSWER_TOKENS = 512  # tokens of an answer
EMPTY = "(empty answer; this turn is not remembered)"
HOW = "Each line is a turn. /new starts over, /quit or Ctrl-D ends"
DOES = {"summarise": "summarize", "translate": "translate", "structured": "describe"}
ASKED = "Each line is a text of its own, answered as in training. /quit or Ctrl-D ends"
GOES_ON = "Each line is the beginning of a text, which the model continues. /quit or Ctrl-D ends"


@dataclass(frozen=True)
class Drawing:
    """How tokens are sampled, and how many at most."""

    temperature: float = 0.0  # 0: the likeliest
    top_p: float = 1.0
    seed: int = 0
    most: int = MAX_ANSWER_TOKENS


class ChatSession(Protocol):
    """Anything that answers every line: a conversation, a continuation, or separate requests."""

    how: str  # for who types

    def say(self, text: str) -> Iterator[str]: ...
    def anew(self) -> None: ...


@dataclass
class Chat:
    """A conversation so far, and who answers."""

    writer: AnswerWriter
    drawing: Drawing = Drawing()
    turns: list[Turn] = field(default_factory=list)

    how = HOW

    def say(self, text: str) -> Iterator[str]:
        """Pieces of the answer as they are written. Then both are part of the conversation, unless it is empty."""
        turns = [*self.turns, Turn("user", text)]
        pieces: list[str] = []
        how = self.drawing
        for piece in self.writer.stream(turns, how.most, how.temperature, how.top_p, how.seed + len(turns)):
            pieces.append(piece)
            yield piece
        answer = self.writer.words("".join(pieces))
        if answer:
            self.turns[:] = [*turns, Turn("assistant", answer)]

    def anew(self) -> None:
        """Forget everything but the system prompt."""
        self.turns[:] = [turn for turn in self.turns if turn.role == "system"]


@dataclass
class Continuation:
    """A language model that continues texts, each by itself."""

    model: Model
    inputs: ContinuationInputs
    drawing: Drawing = Drawing()

    how = GOES_ON

    def say(self, text: str) -> Iterator[str]:
        """Pieces of what comes after the text."""
        how = self.drawing
        yield from stream_continuation(self.model, self.inputs, text, how.most, how.temperature, how.top_p, how.seed)

    def anew(self) -> None:
        """Nothing is remembered."""


@dataclass
class Requests:
    """A model that summarizes, translates or describes texts, each by itself, as in training."""

    writer: AnswerWriter
    task: GenerativeTask
    drawing: Drawing = Drawing()

    how = ASKED

    def say(self, text: str) -> Iterator[str]:
        """Pieces of the answer; all of it at once where a schema holds it, or where it is made of parts."""
        asked = write_prompt(self.task.instruction, text)
        if self.task.json_schema is not None or self.task.long == "chunks":
            yield from self.writer.answers([asked], self.task)
        else:
            how = self.drawing
            yield from self.writer.stream(read_turns(asked), how.most, how.temperature, how.top_p, how.seed)

    def anew(self) -> None:
        """Nothing is remembered."""


def chat_with(
    trained: TrainedModel,
    system: str | None = None,
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    most: int = MAX_ANSWER_TOKENS,
    seed: int = 0,
) -> Chat | Requests | Continuation:
    """A conversation, or texts to answer or continue. Raises UsageError for a model that does neither."""
    stored, network = trained.stored, trained.stored.network
    drawing = Drawing(temperature, top_p, seed, most)
    texts = None if network is None else network.inputs.continuation
    if network is not None and texts is not None and texts.causal:
        if system:
            raise UsageError(
                f"the model in {trained.folder} continues texts and takes no system prompt.",
                "leave out --system, or chat with a run of --task chat",
            )
        return Continuation(network.model, texts, drawing)
    task = stored.task.generative
    if task is None:
        raise UsageError(
            f"the model in {trained.folder} was trained for {stored.task.name}: it answers nobody.",
            "chat with a run of --task chat, or use `warmstart predict`",
        )
    if task.name in DOES:
        if system:
            raise UsageError(
                f"the model in {trained.folder} was trained to {DOES[task.name]} texts: there is nothing to "
                "tell it before.",
                "leave out --system, or chat with a run of --task chat",
            )
        return Requests(text_writer(stored), task, drawing)
    turns = [Turn("system", system)] if system else []
    return Chat(text_writer(stored), drawing, turns)


def converse(talk: ChatSession, lines: Iterable[str], out: TextIO = sys.stdout) -> None:
    """Answer every line as it is generated. Empty lines are skipped, `/new` starts over, `/quit` ends."""
    for line in lines:
        text = line.encode(errors="replace").decode().strip()  # a terminal may give half of a character
        if text == "/quit":
            return
        if text == "/new":
            talk.anew()
        elif text:
            blank = True
            for piece in talk.say(text):
                blank = blank and not piece.strip()
                out.write(printable(piece))
                out.flush()
            if blank:
                out.write(EMPTY)
            out.write("\n")
            out.flush()
