"""Blind comparison: which of two answers do people prefer, without knowing which regime wrote them?

A page shows each pair in an order derived from the pairs themselves, which the page does not reveal. Votes stay in the
browser until they are downloaded as votes.json; `tally` assigns them to their regimes.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from markupsafe import Markup

from warmstart.errors import InputError, shorten
from warmstart.reporting.html_assets import asset, policy, templates
from warmstart.results.record import Interval

CHOICES = ("left", "right", "same")


@dataclass(frozen=True)
class AnswerPair:
    """Two outputs for one source."""

    source: str
    a: str
    b: str


@dataclass(frozen=True)
class Tally:
    """How often each was preferred."""

    a: int
    b: int
    same: int  # neither: they say nothing about the share
    share: float | None  # of a, among votes for one of the two
    interval: Interval  # 95 %, Wilson


@dataclass(frozen=True)
class Preference:
    """What a person thinks of two regimes' answers, or of one's and the reference."""

    a: str
    b: str
    pairs: int  # on the page
    identical: int  # rows that are not on it: both wrote the same
    tally: Tally

    @property
    def statement(self) -> str:
        """In a sentence; names of regimes in `backticks`."""
        found = self.tally
        voted = found.a + found.b + found.same
        counts = f"`{self.a}` {found.a:,}, `{self.b}` {found.b:,}, no difference {found.same:,}"
        said = f"Judged blind on {voted:,} of {self.pairs:,} rows: {counts}."
        if found.share is None:
            return said
        low, high = found.interval
        share = f"`{self.a}` was preferred in {found.share:.0%} [{low:.0%}, {high:.0%}] of the votes for one of them"
        better = self.a if low > 0.5 else self.b if high < 0.5 else None
        verdict = f"`{better}` is preferred" if better else "too few or too even to say which is preferred"
        return f"{said} {share}: {verdict}."

    def to_json(self) -> dict[str, Any]:
        facts = {"a": self.a, "b": self.b, "pairs": self.pairs, "identical": self.identical}
        found = self.tally
        votes = {"votes_a": found.a, "votes_b": found.b, "no_difference": found.same}
        return facts | votes | {"share_a": found.share, "interval": list(found.interval)}


def render_pairs(pairs: Sequence[AnswerPair], question: str) -> str:
    """One self-contained HTML page that asks the question of each pair."""
    page = page_fingerprint(pairs)
    shown = [
        (pair.source, *((pair.b, pair.a) if _swapped(page, i) else (pair.a, pair.b))) for i, pair in enumerate(pairs)
    ]
    script = asset("blind.js")
    written = (
        templates()
        .get_template("blind.html.j2")
        .render(
            question=question,
            pairs=shown,
            page=page,
            style=Markup(asset("style.css") + asset("blind.css")),
            script=Markup(script),
            policy=policy(script),
        )
    )
    return written.encode("utf-8", "replace").decode()


def tally(votes: object, page: str, pairs: int) -> Tally:
    """What votes.json, read as JSON, says of the page of this fingerprint, which shows so many pairs.

    Raises InputError for anything else.
    """
    from scipy.stats import binomtest

    counts = dict.fromkeys(("a", "b", "same"), 0)
    for i, choice in _votes(votes, page, pairs).items():
        first = "b" if _swapped(page, i) else "a"
        second = "a" if first == "b" else "b"
        counts[{"left": first, "right": second, "same": "same"}[choice]] += 1
    decided = counts["a"] + counts["b"]
    if not decided:
        return Tally(**counts, share=None, interval=Interval(0.0, 1.0))
    bounds = binomtest(counts["a"], decided).proportion_ci(method="wilson")
    return Tally(**counts, share=counts["a"] / decided, interval=Interval(float(bounds.low), float(bounds.high)))


def _votes(votes: object, page: str, pairs: int) -> dict[int, str]:
    """The choice for each pair, by its place."""
    hint = "name the votes.json that the page of this study gave"
    if not isinstance(votes, Mapping) or not isinstance(votes.get("votes"), Mapping):
        raise InputError(f"{shorten(votes)} are no votes: there is no object 'votes'.", hint)
    if votes.get("page") != page:
        raise InputError(f"these votes are from page {shorten(votes.get('page'))}, not from {page!r}.", hint)
    found: dict[int, str] = {}
    known: dict[Any, int] = {str(i + 1): i for i in range(pairs)}
    for pair, choice in votes["votes"].items():
        if pair not in known or choice not in CHOICES:
            raise InputError(
                f"votes.json: pair {shorten(pair)} has the vote {shorten(choice)}; "
                f"there are pairs 1 to {pairs} and the votes left, right and same.",
                hint,
            )
        found[known[pair]] = choice
    return found


def page_fingerprint(pairs: Sequence[AnswerPair]) -> str:
    """Names a page."""
    return hashlib.sha256(json.dumps([astuple(pair) for pair in pairs]).encode()).hexdigest()[:16]


def _swapped(page: str, i: int) -> bool:
    """A coin for each pair, the same whenever it is thrown."""
    return hashlib.sha256(f"{page} {i}".encode()).digest()[0] % 2 == 1
