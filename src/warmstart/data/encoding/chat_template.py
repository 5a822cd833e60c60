"""Chat template: how does a conversation become tokens, and which of them are the assistant's?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from warmstart.data.encoding import special_tokens
from warmstart.data.encoding.packing import UNLABELED
from warmstart.data.encoding.special_tokens import EscapedText
from warmstart.errors import InputError, WarmstartError, join_phrases, shorten
from warmstart.runtime.limits import bounded
from warmstart.types import Array

TurnDict = dict[str, Any]  # role and content; weight 0 where the assistant's words are not to be learned

# For a base that brings none. The space before the assistant's words belongs to them, as in any running text.
PLAIN = (
    "{{ bos_token }}{% for turn in messages %}{{ turn['role'] | capitalize }}: {{ turn['content'] }}"
    "{% if turn['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
MIN_ROOM_DIVISOR = 4  # the answer always has room for a quarter of the length, and so has the prompt
HEAD_SHARE = 0.7  # of what is kept of a long text: most documents say at their beginning what they are about
OMISSION_MARK = "\n[…]\n"  # in the place of what is not read


@dataclass(frozen=True)
class Prompt:
    """The tokens before the answer."""

    tokens: Array  # int32 [t]
    learned: Array  # bool [t]: words of earlier assistant turns, and what ends these
    bytes: int  # UTF-8 bytes of these words
    lost: int  # tokens that did not fit


@dataclass(frozen=True)
class TemplatedConversation:
    """A conversation as tokens: the prompt, then the last assistant turn."""

    prompt: Prompt
    answer: Array  # int32 [a], with the token that ends the turn
    bytes: int  # UTF-8 bytes of the words that are learned
    lost: int

    @property
    def tokens(self) -> Array:
        """Input tokens, int32 [t]: the last token is never read."""
        return np.append(self.prompt.tokens, self.answer[:-1])

    @property
    def labels(self) -> Array:
        """The token to predict after each of them, int32 [t]."""
        before = np.where(self.prompt.learned, self.prompt.tokens, UNLABELED)[1:]
        return np.append(before, self.answer).astype(np.int32)


@dataclass(frozen=True)
class Template:
    """The chat template of a tokenizer that has one; reads at most `max_length` tokens.

    Names of control tokens inside a turn are read as text. Raises InputErrors without a row number.
    """

    tokenizer: Any
    max_length: int
    instruction: str = ""  # that a question may begin with: never cut away

    def spoken(self, turns: Sequence[TurnDict]) -> TemplatedConversation:
        """Tokens of a conversation that ends with an assistant turn.

        A conversation that is too long is shortened where it matters least: old exchanges are dropped first, then the
        middle of the last question, after its instruction, with a mark in its place. The system turn and the answer are
        kept, unless the answer alone takes more than three quarters: then its end is cut.
        """
        *asked, last = turns
        whole, opening = self._render(turns), self._opening(asked)
        _, first, end, closed = self._span(whole.text, opening.text, last, is_last=True)
        ids, ends = self._after(opening, whole, closed)
        if not len(ids):
            raise InputError("the last assistant turn has no token to learn.", "give it some words")
        prompt = self._fitted(asked, opening, self.room(len(ids)))
        answer = ids[: self.max_length + 1 - len(prompt.tokens)]
        words = whole.text[first : end if len(answer) == len(ids) else min(end, int(ends[len(answer) - 1]))]
        return TemplatedConversation(
            prompt, answer, prompt.bytes + len(words.encode()), prompt.lost + len(ids) - len(answer)
        )

    def prompt(self, turns: Sequence[TurnDict]) -> Prompt:
        """The tokens to generate an answer after: all turns, without the last one if it is the assistant's.

        The length of that answer does not matter, so evaluation sees the same prompts as use.
        """
        asked = turns[:-1] if turns and turns[-1]["role"] == "assistant" else turns
        return self._fitted(asked, self._opening(asked), self.room(0))

    @cached_property
    def closing(self) -> int | None:
        """The token that ends an assistant turn; None if there is none."""
        turns = [{"role": "user", "content": "."}, {"role": "assistant", "content": "."}]
        last = int(self.spoken(turns).answer[-1])
        return last if last in self._given else None

    def words(self, said: str) -> str:
        """The answer, without the empty thought that some templates begin it with."""
        if self._thought and said.lstrip().startswith(self._thought[0]) and self._thought[-1] in said:
            said = said.partition(self._thought[-1])[2]
        return said.strip()

    @cached_property
    def _thought(self) -> list[str]:
        """Start and end of an empty thought, such as <think> and </think>; empty if the template has none."""
        asked, answer = {"role": "user", "content": "?"}, {"role": "assistant", "content": "."}
        whole, opening = self._render([asked, answer]).text, self._render([asked], ask=True).text
        begin, first, _, _ = self._span(whole, opening, answer, is_last=True)
        marks = whole[begin:first].split()
        return marks if len(marks) == 2 else []

    def size(self, turns: Sequence[TurnDict]) -> int:
        """Number of tokens of a prompt before it is shortened."""
        return len(self._opening(turns).ids)

    def room(self, answer: int) -> int:
        """Number of tokens left for a prompt before an answer of so many: the answer's last token is never read."""
        quarter = self.max_length // MIN_ROOM_DIVISOR
        return max(quarter, self.max_length - max(answer - 1, quarter))

    def _fitted(self, turns: Sequence[TurnDict], opening: "_Opening", room: int) -> Prompt:
        count = len(opening.ids)
        if len(opening.ids) > room:
            turns, opening = self._without_oldest(turns, opening, room)
        ids, size = opening.ids, 0
        learned = np.zeros(len(ids), dtype=bool)
        for k, turn in enumerate(turns):
            if turn["role"] == "assistant" and turn.get("weight", 1):
                start, first, end, closed = self._span(opening.text, self._render(turns[:k], ask=True).text, turn)
                learned |= (opening.offsets[:, 1] > start) & (opening.offsets[:, 0] < closed)
                size += len(opening.text[first:end].encode())
        lost = count - len(ids)
        if len(ids) > room:
            cut, mark = self._middle(opening, turns, len(ids) - room)
            lost += cut.stop - cut.start
            ids = np.concatenate([ids[: cut.start], mark, ids[cut.stop :]])
            learned = np.concatenate([learned[: cut.start], np.zeros(len(mark), dtype=bool), learned[cut.stop :]])
        return Prompt(ids, learned, size, lost)

    def _without_oldest(
        self, turns: Sequence[TurnDict], opening: "_Opening", room: int
    ) -> tuple[Sequence[TurnDict], "_Opening"]:
        """Drop the oldest exchanges: the fewest that leave `room`, but never the last question.

        Found by bisection, since rendering and tokenizing hundreds of turns one by one would be slow.
        """
        asked = [k for k, turn in enumerate(turns) if turn["role"] == "user"]
        found, low, high = (turns, opening), 1, len(asked) - 1
        while low <= high:
            middle = (low + high) // 2
            fewer = [*turns[: asked[0]], *turns[asked[middle] :]]
            shorter = self._opening(fewer)
            if len(shorter.ids) <= room:
                found, high = (fewer, shorter), middle - 1
            else:
                low = middle + 1
                if middle == len(asked) - 1:  # even the last question alone is too long
                    found = fewer, shorter
        return found

    def _middle(self, opening: "_Opening", turns: Sequence[TurnDict], excess: int) -> tuple[slice, Array]:
        """The span to cut from the last question to save `excess` tokens, and the mark in its place."""
        content = turns[-1]["content"].strip() if turns else ""
        end = opening.text.rfind(content) + len(content)
        first = end - len(content) + (len(self.instruction) if content.startswith(self.instruction) else 0)
        starts, ends = opening.offsets.T
        inside = np.flatnonzero((starts >= first) & (ends <= end))
        if len(inside) < excess or turns[-1]["role"] == "system":
            raise InputError(
                f"even without the question that it ends with, the conversation is {excess - len(inside):,} tokens "
                f"longer than fits beside its answer into {self.max_length:,}.",
                "raise --max-length, or shorten its system turn or --instruction",
            )
        mark = self._mark if len(inside) - excess > 2 * len(self._mark) else self._mark[:0]
        kept = len(inside) - excess - len(mark)
        start = int(inside[0]) + int(np.ceil(HEAD_SHARE * kept))
        return slice(start, start + excess + len(mark)), mark

    @cached_property
    def _mark(self) -> Array:
        return np.array(
            special_tokens.as_plain_text(self.tokenizer).encode(OMISSION_MARK, add_special_tokens=False).ids,
            dtype=np.int32,
        )

    def _span(self, text: str, opening: str, turn: TurnDict, is_last: bool = False) -> tuple[int, int, int, int]:
        """Positions of an assistant turn in `text`: start of what is learned, start and end of its words, end of what
        is learned.

        A special token that ends the turn is learned with it.
        """
        content = turn["content"].strip()  # as most templates do
        # After the last turn nothing follows, while before its words a template may put more: an empty thought, say.
        first = text.rfind(content) if is_last else text.find(content, len(opening))
        if not text.startswith(opening) or first < len(opening):
            raise InputError(
                f"the base's chat template does not give the assistant's turn {shorten(content, 30)} as it is, after "
                "what it gives for the turns before it.",
                "use another base, or correct the chat_template in its folder",
            )
        end = first + len(content)
        rest = text[end:].lstrip()
        closing = next((token for token in self._closings if rest.startswith(token)), "")
        return len(opening), first, end, len(text) - len(rest) + len(closing) if closing else end

    def _after(self, opening: "_Opening", whole: EscapedText, closed: int) -> tuple[Array, Array]:
        """The tokens after the opening, and where in `whole` each ends.

        If the opening's last word would merge with the answer's first, the tokens are those of the answer alone,
        because it is generated after the opening as it is. No token spans a special token, so text before the opening's
        last special token need not be tokenized again.
        """
        given = np.flatnonzero(np.isin(opening.ids, self._given))
        at = int(given[-1]) if len(given) else 0
        start = int(opening.offsets[at, 0]) if len(given) else 0
        before = opening.ids[at:].tolist()
        both = special_tokens.read_tokens(whole.after(start), self.tokenizer)
        ids, offsets = both.ids[len(before) :], _offsets(both)[len(before) :] + start
        if both.ids[: len(before)] != before:
            rest = special_tokens.read_tokens(whole.after(len(opening.text)), self.tokenizer)
            ids, offsets = rest.ids, _offsets(rest) + len(opening.text)
        count = int((offsets[:, 0] < closed).sum())
        return np.array(ids[:count], dtype=np.int32), offsets[:count, 1]

    def _opening(self, turns: Sequence[TurnDict]) -> "_Opening":
        written = self._render(turns, ask=True)
        encoding = special_tokens.read_tokens(written, self.tokenizer)
        return _Opening(written.text, np.array(encoding.ids, dtype=np.int32), encoding)

    def _render(self, turns: Sequence[TurnDict], ask: bool = False) -> EscapedText:
        """The turns rendered by the template. Rendered twice if a control token is named in one, to tell them apart."""
        text = self._templated(turns, ask)
        shown = [turn | {"content": special_tokens.covered(turn["content"], self._controls)} for turn in turns]
        if shown == list(turns):
            return EscapedText(text, text)
        with_covers = self._templated(shown, ask)
        pairs = zip(text, with_covers, strict=False)
        if len(text) != len(with_covers) or any(a != b and b != special_tokens.COVER for a, b in pairs):
            raise InputError(
                "the base's chat template gives another form to a turn in which one of its control tokens is named.",
                f"leave out the row, or write these otherwise: {join_phrases(self._controls, 4)}",
            )
        return EscapedText(text, with_covers)

    def _templated(self, turns: Sequence[TurnDict], ask: bool) -> str:
        from jinja2 import TemplateError

        try:
            with bounded("the base's chat template", "use another base, or correct the chat_template in its folder"):
                text: str = self.tokenizer.apply_chat_template(list(turns), tokenize=False, add_generation_prompt=ask)
        except WarmstartError:
            raise
        except (TemplateError, TypeError, ValueError, LookupError) as error:
            raise InputError(
                f"the base's chat template does not take these turns ({', '.join(t['role'] for t in turns)}): {error}",
                "order the roles as it expects, or use another base",
            ) from error
        return text

    @cached_property
    def _controls(self) -> list[str]:
        """Names of control tokens, longest first, as the tokenizer finds them."""
        return sorted(special_tokens.special_token_names(self.tokenizer).values(), key=len, reverse=True)

    @cached_property
    def _given(self) -> list[int]:
        return list(self.tokenizer.get_added_vocab().values())

    @cached_property
    def _closings(self) -> list[str]:
        """Possible ends of a turn, longest first: one may be a prefix of another."""
        return sorted(self.tokenizer.get_added_vocab(), key=len, reverse=True)


@dataclass(frozen=True)
class _Opening:
    """Turns rendered by the template, with the generation prompt."""

    text: str
    ids: Array  # int32 [t]
    encoding: Any  # with `ids` and `offsets`

    @cached_property
    def offsets(self) -> Array:
        return _offsets(self.encoding)


def _offsets(encoding: Any) -> Array:
    """Start and end of each token in the text, int64 [t, 2]."""
    return np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
