"""Chunks: nothing is lost, nothing is too long, and it ends."""

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstart.generation.long_documents import chunks, summarize_long
from warmstart.types import Array

PARAGRAPHS = "\n\n".join(f"Paragraph {i} says this. And it says that, {'too ' * (i % 7)}" for i in range(40))


def words(text: str) -> Array:
    """A token a word."""
    return np.array([found.end() for found in re.finditer(r"\S+", text)], dtype=np.int64)


def letters(text: str) -> Array:
    return np.arange(1, len(text) + 1)


def test_a_text_that_fits_is_left_alone() -> None:
    assert chunks("a few words", words("a few words"), 3) == ["a few words"]
    assert summarize_long(["a few words"], lambda texts: [f"<{text}>" for text in texts], words, 3) == ["<a few words>"]


def test_chunks_are_whole_paragraphs_where_they_can_be() -> None:
    found = chunks(PARAGRAPHS, words(PARAGRAPHS), 60)
    assert all(piece.startswith("Paragraph") for piece in found)
    assert all(20 < len(words(piece)) <= 60 for piece in found[:-1])


def test_a_line_without_end_is_cut_between_words_or_characters() -> None:
    assert all(len(piece) <= 30 for piece in chunks("x" * 100, letters("x" * 100), 30))
    assert set(" ".join(chunks("some words " * 50, letters("some words " * 50), 30)).split()) == {"some", "words"}


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab. \n", max_size=300), st.integers(1, 40), st.integers(1, 4))
def test_nothing_is_lost_and_nothing_is_too_long(text: str, room: int, size: int) -> None:
    ends = np.minimum(letters(text)[::size] + size - 1, len(text))
    found = chunks(text, ends, room)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(0 < len(piece) <= room * size for piece in found)


def test_a_long_document_is_summarized_in_chunks_and_their_summaries_again() -> None:
    calls: list[list[str]] = []

    def summarize(texts: list[str]) -> list[str]:
        calls.append(texts)
        return [text.splitlines()[0].split(".")[0] for text in texts]

    assert summarize_long([PARAGRAPHS, "Short. Text."], summarize, words, 60) == ["Paragraph 0 says this", "Short"]
    assert all(len(words(text)) <= 60 for texts in calls for text in texts)
    assert len(calls) == 2 and calls[1][0].count("Paragraph") == len(calls[0]) > 5
    assert calls[1][1] == "Short. Text."


def test_summaries_that_are_together_too_long_are_cut_again() -> None:
    calls: list[list[str]] = []

    def summarize(texts: list[str]) -> list[str]:
        calls.append(texts)
        return [" ".join(text.split()[: len(text.split()) // 4]) for text in texts]

    summarize_long(["word " * 1000], summarize, words, 60)
    assert [len(texts) for texts in calls] == [18, 5, 2, 1]
    assert all(len(words(text)) <= 60 for texts in calls for text in texts)


def test_each_text_is_read_once_a_round() -> None:
    read: list[str] = []

    def counted(text: str) -> Array:
        read.append(text)
        return words(text)

    summarize_long([PARAGRAPHS, "Short."], lambda texts: ["a"] * len(texts), counted, 60)
    assert len(read) == 3 and read[:2] == [PARAGRAPHS, "Short."]


def test_it_ends_where_summaries_do_not_get_shorter() -> None:
    for longer in (lambda text: text, lambda text: text + " and more"):
        found = summarize_long([PARAGRAPHS], lambda texts, write=longer: [write(text) for text in texts], words, 60)
        assert "Paragraph 39" in found[0]
