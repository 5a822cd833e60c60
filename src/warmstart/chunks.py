"""Chunks: how is a document summarised that is longer than the model can read?

Either its head and its tail are read (`head_tail`), where most documents say what they are about, or all of it in
chunks, whose summaries are joined and summarised again (`summarise_long`).
"""

import itertools
from collections.abc import Callable, Sequence

BREAKS = ("\n\n", "\n", ". ", " ")  # where a text is cut, the best first
HEAD = 0.7  # of what is kept of a long text
GAP = "\n[…]\n"

Count = Callable[[str], int]  # tokens of a text
Summarise = Callable[[list[str]], list[str]]


def head_tail(text: str, count: Count, room: int) -> str:
    """The text, or its beginning and its end with a mark between them, in at most `room` tokens."""
    if count(text) <= room:
        return text
    kept = room - count(GAP)
    while kept > 1:
        head = _fitting(text, count, max(1, int(HEAD * kept)))
        tail = _fitting(text[::-1], lambda part: count(part[::-1]), max(1, kept - count(head)))[::-1]
        over = count(head.rstrip() + GAP + tail.lstrip()) - room
        if over <= 0:
            return head.rstrip() + GAP + tail.lstrip()
        kept -= over
    return _fitting(text, count, room)


def chunks(text: str, count: Count, room: int) -> list[str]:
    """The text in pieces of at most `room` tokens, cut between paragraphs, else lines, sentences, words, characters."""
    found = []
    while text := text.strip():
        piece = _fitting(text, count, room)
        if len(piece) < len(text):
            half = len(piece) // 2  # a break before it would leave too short a piece
            ends = [piece.rfind(mark, half) + len(mark) for mark in BREAKS if mark in piece[half:]]
            piece = piece[: ends[0]] if ends else piece
        found.append(piece.strip())
        text = text[len(piece) :]
    return found


def summarise_long(texts: Sequence[str], summarise: Summarise, count: Count, room: int) -> list[str]:
    """A summary of each text, however long: of its chunks' summaries where it does not fit into `room` tokens.

    Chunks of all texts are summarised together. Where summaries do not get shorter than what they sum up, what is too
    long is cut to its head and tail: it ends in any case.
    """
    current = list(texts)
    while True:
        parts = [chunks(text, count, room) if count(text) > room else [text] for text in current]
        long = [i for i, some in enumerate(parts) if len(some) > 1]
        if not long:
            return summarise(current)
        summaries = iter(summarise(list(itertools.chain.from_iterable(parts[i] for i in long))))
        for i in long:
            joined = "\n".join(itertools.islice(summaries, len(parts[i])))
            current[i] = joined if 2 * count(joined) <= count(current[i]) else head_tail(joined, count, room)


def _fitting(text: str, count: Count, room: int) -> str:
    """A long beginning of at most `room` tokens, at least one character; nothing much longer is ever counted."""
    low, high = 1, max(2, 2 * room)
    while high < len(text) and count(text[:high]) <= room:
        low, high = high, 2 * high
    high = min(high, len(text))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(text[:middle]) <= room else (low, middle - 1)
    return text[:low]
