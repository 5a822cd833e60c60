"""Blind: a page that tells nothing of where texts come from, and votes that are put back to what they were for."""

from html.parser import HTMLParser
from typing import Any

import pytest

from warmstart.errors import InputError
from warmstart.reporting import blind_comparison
from warmstart.reporting.blind_comparison import AnswerPair, Tally, _swapped, page_fingerprint, render_pairs

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> {{7*7}} \"quoted\" 'single' & \u2028 <!-- `"
PAIRS = [AnswerPair(f"source {i}", f"from a {i}", f"from b {i}") for i in range(40)]


def tally(votes: Any, pairs: list[AnswerPair]) -> Tally:
    return blind_comparison.tally(votes, page_fingerprint(pairs), len(pairs))


class Page(HTMLParser):
    """Elements and words of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def votes(choice: str, pairs: list[AnswerPair] = PAIRS) -> dict[str, Any]:
    return {"page": page_fingerprint(pairs), "votes": {str(i + 1): choice for i in range(len(pairs))}}


def preferring_a(wins: int) -> dict[str, Any]:
    """A person who sees a's texts and prefers so many of them."""
    page = page_fingerprint(PAIRS)
    sides = ["right" if (i < wins) == _swapped(page, i) else "left" for i in range(len(PAIRS))]
    return {"page": page, "votes": {str(i + 1): side for i, side in enumerate(sides)}}


def test_the_page_loads_nothing_and_shows_every_pair_in_the_order_that_the_tally_knows() -> None:
    page = Page(render_pairs(PAIRS, "Which summary is better?"))
    assert not {"src", "srcset"} & {name for _, attributes in page.elements for name in attributes}
    assert [attributes["href"] for tag, attributes in page.elements if tag == "link"] == ["data:,"]
    assert [tag for tag, _ in page.elements].count("article") == len(PAIRS)
    shown = [words for words in page.words if words.startswith("from ")]
    swapped = [_swapped(page_fingerprint(PAIRS), i) for i in range(len(PAIRS))]
    assert 10 < sum(swapped) < 30
    for i, turned in enumerate(swapped):
        assert shown[2 * i : 2 * i + 2] == [f"from {name} {i}" for name in ("ba" if turned else "ab")]


def test_what_a_user_wrote_is_only_text() -> None:
    page = Page(render_pairs([AnswerPair(HOSTILE, HOSTILE, "\ud800")], HOSTILE))
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 1
    assert "img" not in tags
    assert page.words.count(HOSTILE) == 3  # the question, the source and one text; the title has more behind it


def test_votes_are_put_back_to_what_they_were_for() -> None:
    found = tally(preferring_a(30), PAIRS)
    assert (found.a, found.b, found.same, found.share) == (30, 10, 0, 0.75)
    assert found.interval == pytest.approx((0.598, 0.858), abs=0.001)  # Wilson, by hand
    left = tally(votes("left"), PAIRS)
    assert left.a == sum(not _swapped(page_fingerprint(PAIRS), i) for i in range(len(PAIRS)))


def test_no_difference_says_nothing_about_the_share() -> None:
    found = tally(votes("same"), PAIRS)
    assert (found.same, found.share, found.interval) == (40, None, (0, 1))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([], "are no votes"),
        ({"page": "x", "votes": []}, "no object 'votes'"),
        (votes("left", PAIRS[:3]), "not from"),
        ({**votes("left"), "votes": {"41": "left"}}, "pair '41' has the vote 'left'; there are pairs 1 to 40"),
        ({**votes("left"), "votes": {"1": "up"}}, "the vote 'up'"),
        ({**votes("left"), "votes": {"1": ["left"]}}, "the vote"),
    ],
)
def test_votes_for_something_else_are_an_error(wrong: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        tally(wrong, PAIRS)
