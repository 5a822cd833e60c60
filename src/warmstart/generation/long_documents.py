"""Long documents: how is a document summarized that is longer than a model can read? In chunks."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from warmstart.types import Array

BREAKS = ("\n\n", "\n", ". ", " ")  # where a text is cut, the best first
CHUNK_FILL = (
    0.95  # of the room that a chunk may take: alone, its tokens are not quite those that it has in its document
)

TokenEnds = Callable[[str], Array]  # where each token of a text ends, int64 [t], in characters
Summarize = Callable[[list[str]], list[str]]


def chunks(text: str, ends: Array, room: int) -> list[str]:
    """The text in pieces of at most `room` tokens, split between paragraphs, else lines, sentences, words, tokens.

    `ends`: where its tokens end, as from `TokenEnds`: the text is tokenized once.
    """
    found, at = [], 0
    while at < len(text):
        first = int(np.searchsorted(ends, at, side="right"))
        until = int(ends[first + room - 1]) if first + room < len(ends) else len(text)
        piece = text[at : max(until, at + 1)]
        if at + len(piece) < len(text):
            half = len(piece) // 2  # a break before it would leave too short a piece
            cuts = [piece.rfind(mark, half) + len(mark) for mark in BREAKS if mark in piece[half:]]
            piece = piece[: cuts[0]] if cuts else piece
        at += len(piece)
        found.append(piece.strip())
    return [piece for piece in found if piece]


def summaries(tokens: int, room: int) -> int:
    """How many summaries a text of so many tokens needs: one per chunk, and those of the summaries."""
    return 1 if tokens <= room else -(-tokens // max(1, int(CHUNK_FILL * room))) + 1


def summarize_long(texts: Sequence[str], summarize: Summarize, ends: TokenEnds, room: int) -> list[str]:
    """A summary of each text: of its chunks' summaries if it has more than `room` tokens.

    Chunks of all texts are summarized together. If summaries do not get shorter than their sources, they are not split
    again, and `summarize` is given a text that is too long, so that it always ends.
    """
    current, tokens = list(texts), [ends(text) for text in texts]
    open_ = [i for i, each in enumerate(tokens) if len(each) > room]
    while open_:
        parts = [chunks(current[i], tokens[i], max(1, int(CHUNK_FILL * room))) for i in open_]
        summaries = iter(summarize(list(itertools.chain.from_iterable(parts))))
        still = []
        for i, some in zip(open_, parts, strict=True):
            current[i] = "\n".join(itertools.islice(summaries, len(some)))
            before, tokens[i] = len(tokens[i]), ends(current[i])
            if room < len(tokens[i]) <= before // 2:
                still.append(i)
        open_ = still
    return summarize(current)
