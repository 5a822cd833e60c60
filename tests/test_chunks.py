"""Chunks: nothing is lost, nothing is too long, and it ends."""

from hypothesis import given, settings
from hypothesis import strategies as st

from warmstart.chunks import GAP, chunks, head_tail, summarise_long

PARAGRAPHS = "\n\n".join(f"Paragraph {i} says this. And it says that, {'too ' * (i % 7)}" for i in range(40))


def count(text: str) -> int:
    """Words, and one more, as tokenizers count that add a special token."""
    return len(text.split()) + 1


def test_a_text_that_fits_is_left_alone() -> None:
    assert chunks("a few words", count, 10) == ["a few words"]
    assert head_tail("a few words", count, 10) == "a few words"
    assert summarise_long(["a few words"], lambda texts: [f"<{text}>" for text in texts], count, 10) == [
        "<a few words>"
    ]


def test_chunks_are_whole_paragraphs_where_they_can_be() -> None:
    found = chunks(PARAGRAPHS, count, 60)
    assert all(piece.startswith("Paragraph") for piece in found)
    assert all(20 < count(piece) <= 60 for piece in found[:-1])


def test_a_line_without_end_is_cut_between_words_or_characters() -> None:
    assert all(len(piece) <= 30 for piece in chunks("x" * 100, len, 30))
    assert set(" ".join(chunks("some words " * 50, len, 30)).split()) == {"some", "words"}


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab. \n", min_size=60, max_size=300), st.integers(3, 40))
def test_nothing_is_lost_and_nothing_is_too_long(text: str, room: int) -> None:
    found = chunks(text, len, room)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(0 < len(piece) <= room for piece in found)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab. \n", min_size=60, max_size=300), st.integers(3, 40))
def test_head_and_tail_fit(text: str, room: int) -> None:
    def superadditive(part: str) -> int:
        """Of two parts together more than of each alone, as where a join spells other tokens."""
        return len(part) + len(part) ** 2 // 100

    assert superadditive(head_tail(text, superadditive, room)) <= room


def test_head_and_tail_are_the_texts_own() -> None:
    found = head_tail(PARAGRAPHS, count, 60)
    head, tail = found.split(GAP)
    assert PARAGRAPHS.startswith(head)
    assert PARAGRAPHS.endswith(tail)
    assert 50 < count(found) <= 60
    assert 1.5 < count(head) / count(tail) < 3.5


def test_a_long_document_is_summarised_in_chunks_and_their_summaries_again() -> None:
    calls: list[list[str]] = []

    def summarise(texts: list[str]) -> list[str]:
        calls.append(texts)
        return [text.splitlines()[0].split(".")[0] for text in texts]

    assert summarise_long([PARAGRAPHS, "Short. Text."], summarise, count, 60) == ["Paragraph 0 says this", "Short"]
    assert len(calls) == 2
    assert all(count(text) <= 60 for texts in calls for text in texts)
    assert calls[1][1] == "Short. Text."


def test_it_ends_where_summaries_do_not_get_shorter() -> None:
    for longer in (lambda text: text, lambda text: text + " and more"):
        found = summarise_long([PARAGRAPHS], lambda texts, write=longer: [write(text) for text in texts], count, 60)
        assert count(found[0]) <= 63
