"""Job: one piece of a study as data, which can be sent elsewhere: what is done, with which rows, after what?

>>> data = RowSelection("5f3c", rows=84, seed=0)
>>> search = SearchJob("full", data, trials=3)
>>> train = TrainJob("full", data, search=search.id)
>>> train.id, train.needs, job_from_json(train.to_json()) == train
('full-r84-s0', ('full-r84',), True)
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from warmstart.regimes.search_space import NO_SEARCH, SearchEffort
from warmstart.results.names import run_id


@dataclass(frozen=True)
class RowSelection:
    """Training rows of a study, defined by their number and the seed."""

    fingerprint: str  # of the study's rows
    rows: int
    seed: int


@dataclass(frozen=True)
class SearchJob:
    """Find the learning rate of a regime, and its size if that may be chosen."""

    regime: str
    data: RowSelection
    trials: int  # rates; 1: the usual one is taken
    after: tuple[str, ...] = ()  # searches: this one may spend as many FLOPs as the one of them that spent most
    effort: SearchEffort = NO_SEARCH  # for its other settings, after the rate
    kind: Literal["search"] = "search"

    @property
    def id(self) -> str:
        return f"{self.regime}-r{self.data.rows}"

    @property
    def needs(self) -> tuple[str, ...]:
        """Ids of the jobs that must finish first."""
        return self.after

    @property
    def doing(self) -> str:
        """Description for people. Crashes of the process are counted under it."""
        words = f"{self.regime}, {self.data.rows:,} rows"
        return f"{words}: searching its learning rate" if self.trials > 1 or self.effort.trials else words

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class TrainJob:
    """Train a regime, or fit a baseline, and score it."""

    regime: str
    data: RowSelection
    length: int = 1  # times the usual number of steps
    search: str | None = None  # the search that gives its rate; None: the usual one
    charged: bool = True  # whether the cost of the search is recorded with this run
    shorter: str | None = None  # the same run at half the length, which tells whether this one has converged
    kind: Literal["train"] = "train"

    @property
    def id(self) -> str:
        return run_id(self.regime, self.data.rows, self.data.seed, self.length)

    @property
    def needs(self) -> tuple[str, ...]:
        """Ids of the jobs that must finish first."""
        return tuple(need for need in (self.search, self.shorter) if need)

    @property
    def doing(self) -> str:
        """Description for people. Crashes of the process are counted under it."""
        words = f"{self.regime}, {self.data.rows:,} rows, seed {self.data.seed}"
        return words + (f", {self.length} times as long" if self.length > 1 else "")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class CombineJob:
    """Average the predictions of finished runs with one seed, by weights chosen on validation rows."""

    regime: str
    data: RowSelection
    members: tuple[str, ...]  # ids of their jobs
    kind: Literal["combine"] = "combine"

    @property
    def id(self) -> str:
        return run_id(self.regime, self.data.rows, self.data.seed)

    @property
    def needs(self) -> tuple[str, ...]:
        """Ids of the jobs that must finish first."""
        return self.members

    @property
    def doing(self) -> str:
        """Description for people. Crashes of the process are counted under it."""
        return f"{self.regime}, {self.data.rows:,} rows, seed {self.data.seed}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


Job = SearchJob | TrainJob | CombineJob


def job_from_json(facts: dict[str, Any]) -> Job:
    """The job that `to_json` described; also accepts lists in place of tuples."""
    data = RowSelection(**facts["data"])
    if facts["kind"] == "search":
        effort = SearchEffort(**facts["effort"])
        return SearchJob(**facts | {"data": data, "after": tuple(facts["after"]), "effort": effort})
    if facts["kind"] == "combine":
        return CombineJob(**facts | {"data": data, "members": tuple(facts["members"])})
    return TrainJob(**facts | {"data": data})
