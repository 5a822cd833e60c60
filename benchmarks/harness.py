"""Harness: how long do two sides take for the same work, and is the work as good?

A contest is timed A B, B A, A B ...: interleaved, so that a machine that slows down slows both. Each pair gives one
ratio, the peer's time over ours; the median counts. Contests in which our side does the same work share it: peer, ours,
peer, then backwards. Each side times itself, because only it knows what is preparation.
"""

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from warmstart.runtime import device
from warmstart.runtime.environment import current_environment, version
from warmstart.runtime.files import write_json

RESULTS = Path(__file__).parent / "results"
FEWEST = 5  # repetitions: below, a median says little
Row = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """One side, once."""

    seconds: float
    quality: float
    memory_bytes: int | None = None  # of its input, where that is compared


Side = Callable[[], Outcome]


@dataclass(frozen=True)
class Gate:
    """How good the work must be: ours may be worse than the peer's by the tolerance, better by anything."""

    metric: str
    higher_is_better: bool
    tolerance: float

    def passes(self, ours: float, peer: float) -> bool:
        loss = peer - ours if self.higher_is_better else ours - peer
        return bool(loss <= self.tolerance)  # False for nan


@dataclass(frozen=True)
class Contest:
    """One row of the results: two sides that do the same work."""

    test: str
    peer: str
    setting: str
    theirs: Side
    ours: Side
    gate: Gate
    options: str = ""  # of the peer, where one setting has several: "default", "tuned"
    package: str = ""  # that the peer is imported from
    warm: bool = True  # a first small round that does not count: imports, threads, memory
    facts: dict[str, Any] = field(default_factory=dict)  # extra keys of the row: sizes

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.test, self.peer, self.setting, self.options

    @property
    def name(self) -> str:
        return " ".join(part for part in self.key if part)

    @property
    def missing(self) -> bool:
        return bool(self.package) and find_spec(self.package) is None


def interleaved(sides: Sequence[Side], repetitions: int) -> list[list[Outcome]]:
    """The outcomes of each side: all of them once a repetition, each time in the other order than before."""
    outcomes: list[list[Outcome]] = [[] for _ in sides]
    for repetition in range(repetitions):
        order = list(zip(outcomes, sides, strict=True))
        for found, side in order if repetition % 2 == 0 else reversed(order):
            found.append(side())
        print(f"round {repetition + 1} of {repetitions}", file=sys.stderr, flush=True)
    return outcomes


def together(contests: Sequence[Contest], repetitions: int, environment: dict[str, Any]) -> list[Row]:
    """The rows of contests that share our side, which runs once a repetition, in the middle of the peers."""
    middle = -(-len(contests) // 2)
    sides = [contest.theirs for contest in contests]
    theirs = interleaved([*sides[:middle], contests[0].ours, *sides[middle:]], repetitions)
    ours = theirs.pop(middle)
    return [row_of(contest, found, ours, environment) for contest, found in zip(contests, theirs, strict=True)]


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def row_of(contest: Contest, theirs: Sequence[Outcome], ours: Sequence[Outcome], environment: dict[str, Any]) -> Row:
    """The row that is stored."""
    gate = contest.gate
    quality = {side: statistics.median(o.quality for o in found) for side, found in (("ours", ours), ("peer", theirs))}
    row: Row = {
        "test": contest.test,
        "peer": contest.peer,
        "setting": contest.setting,
        "options": contest.options,
        "ratio": spread([their.seconds / our.seconds for their, our in zip(theirs, ours, strict=True)]),
        "equal": gate.passes(**quality),
        "quality": {"metric": gate.metric, **quality, "tolerance": gate.tolerance},
        "seconds": {"ours": spread([o.seconds for o in ours]), "peer": spread([o.seconds for o in theirs])},
        "repetitions": len(ours),
        "peer_version": installed(contest.package) if contest.package else "",
    }
    memory = {"ours": ours[0].memory_bytes, "peer": theirs[0].memory_bytes}
    if memory["ours"] and memory["peer"]:
        row["memory"] = memory | {"ratio": memory["peer"] / memory["ours"]}
    return row | contest.facts | {"environment": environment}


def installed(package: str) -> str:
    """The version of what `package` is imported from, which may have another name: scikit-learn for sklearn."""
    return version(packages_distributions().get(package, [package])[0])


def environment() -> dict[str, Any]:
    return asdict(current_environment(device.precision()))


def same_environment(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two rows were measured under the same conditions: everything but the date."""
    return {**a, "date": ""} == {**b, "date": ""}


@dataclass(frozen=True)
class Results:
    """The rows of one test in its file, written after each of them."""

    path: Path

    def rows(self) -> list[Row]:
        return json.loads(self.path.read_text()) if self.path.exists() else []

    def holds(self, contest: Contest, here: dict[str, Any]) -> bool:
        """Whether this row is there already, from this environment."""
        return any(key_of(row) == contest.key and same_environment(row["environment"], here) for row in self.rows())

    def put(self, row: Row) -> None:
        """Add the row, or replace the one with its key."""
        others = [other for other in self.rows() if key_of(other) != key_of(row)]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, [*others, row])


def key_of(row: Row) -> tuple[str, str, str, str]:
    return row["test"], row["peer"], row["setting"], row.get("options", "")


def hold(
    contests: Sequence[Contest], small: Sequence[Contest], results: Results, repetitions: int, again: bool
) -> None:
    """Every contest that can be held and is not there yet. `small` are the same ones on little data, to warm up."""
    here = environment()
    shared: dict[Side, list[Contest]] = {}
    for contest, warm_up in zip(contests, small, strict=True):
        if contest.missing:
            print(f"{contest.name}: skipped, {contest.package} is not installed", flush=True)
        elif results.holds(contest, here) and not again:
            print(f"{contest.name}: kept from {results.path.name}", flush=True)
        else:
            if contest.warm:
                interleaved([warm_up.theirs, warm_up.ours], 1)
            shared.setdefault(contest.ours, []).append(contest)
    for group in shared.values():
        for row in together(group, repetitions, here):
            results.put(row)
            print(said(row), flush=True)


def rehearse(contests: Sequence[Contest]) -> None:
    """Each contest once, to see that it runs. Nothing is stored: the sizes are too small to mean anything."""
    for contest in contests:
        if contest.missing:
            print(f"{contest.name}: skipped, {contest.package} is not installed", flush=True)
        else:
            print("quick:", said(together([contest], 1, environment())[0]), flush=True)


def said(row: Row) -> str:
    """A row in one line."""
    ratio, quality, seconds = row["ratio"], row["quality"], row["seconds"]
    equal = "equal" if row["equal"] else "NOT EQUAL"
    return (
        f"{' '.join(part for part in key_of(row) if part)}: {ratio['median']:.2f} "
        f"[{ratio['min']:.2f}, {ratio['max']:.2f}], {quality['metric']} ours {quality['ours']:.4f} "
        f"peer {quality['peer']:.4f} {equal}, {seconds['ours']['median']:.3g} s against "
        f"{seconds['peer']['median']:.3g} s"
    )
