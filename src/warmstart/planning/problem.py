"""Problem: what is to be learned, from which rows and bases, with which regimes and how much effort?"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from warmstart.data.rows.old_rows import OldRows
from warmstart.data.rows.split import Splits
from warmstart.data.schema.schema import Schema
from warmstart.errors import UsageError, join_phrases
from warmstart.inference.earlier_model import EarlierModel
from warmstart.models.pretrained.base import Base
from warmstart.regimes.regimes import DEFAULT_REGIMES, NO_BASE_NEEDED, RANDOM_START, Regime, known_regime
from warmstart.results.constraints import ANY, Constraints
from warmstart.results.names import name_at_base, short_names, split_name
from warmstart.runtime.endpoint import Endpoint
from warmstart.settings.choices import DEFAULT_BUDGET
from warmstart.settings.groups import RecordSettings, SampleSettings
from warmstart.settings.training import TrainingSettings
from warmstart.settings.winner import EffectSettings, RefitSettings


@dataclass(frozen=True)
class Options(SampleSettings, TrainingSettings, EffectSettings, RefitSettings, RecordSettings):
    """What is compared, and how thoroughly."""

    regimes: tuple[str, ...] = DEFAULT_REGIMES
    first_seed: int = 0
    budget: float = DEFAULT_BUDGET  # seconds; with `by_compute` those of the reference device
    spent: float = 0.0  # seconds of the budget that reading and checking the data took
    by_compute: bool = False  # whether arithmetic limits the study, so that it does not depend on any clock
    read_so_far: bool = False  # whether a budget leaves what is read of texts as it is
    constraints: Constraints = ANY  # that the chosen model has to keep
    training: dict[str, Any] = field(default_factory=dict)  # further fields of TrainConfig
    forgetting: dict[str, float] = field(default_factory=dict)  # and those of what starts from a base
    interpolate: bool = False  # whether the weights of what starts from a base are mixed with its own afterwards


@dataclass(frozen=True)
class Problem:
    """What is to be learned, from which rows, with which bases."""

    splits: Splits
    schema: Schema
    bases: tuple[Base, ...]  # one at least
    own: tuple[Regime, ...] = ()  # regimes of the user's own
    scratch: Base | None = None  # the architecture to train from random weights; None: that of each base
    general: tuple[str, ...] = ()  # texts on which forgetting is measured; none: what the base itself says
    replayed: tuple[str, ...] = ()  # others, for replay; none: what the base itself says
    corpus: Splits | None = None  # texts of the domain; None: the training rows' own
    spoken: bool = False  # whether these are what the rows say, each with its row's number as key
    caveats: tuple[str, ...] = ()
    earlier: EarlierModel | None = None  # of --previous
    more_splits: tuple[Splits, ...] = ()  # of the same rows, one for each seed after the first; none: one for all
    old: OldRows | None = None  # of the earlier study: some of the training rows, and what it was tested on
    noise_floor: float | None = None  # best reachable score, where it is known
    floors: tuple[str, ...] = ()  # regimes that are compared though others were named
    endpoint: Endpoint | None = None  # a chat model elsewhere, that `prompted-endpoint` asks
    unnamed: tuple[str, ...] = ()  # regimes that nobody named: the usual ones, and floors

    @property
    def floors_note(self) -> str:
        """A sentence that says which floors are compared; empty if none was added."""
        names = join_phrases([f"`{name}`" for name in self.floors])
        return f"Compared beside what was named, as a floor: {names}." if self.floors else ""

    @property
    def available(self) -> int:
        """Training rows; of several splits, those that each of them has."""
        return min(len(splits.train) for splits in (self.splits, *self.more_splits))

    @property
    def base(self) -> Base:
        """The only base, or the first."""
        return self.bases[0]

    @cached_property
    def named(self) -> dict[str, Base]:
        """The bases by their short names."""
        return dict(zip(short_names([base.name for base in self.bases]), self.bases, strict=True))

    def rows_of(self, asked: Sequence[str]) -> tuple[str, ...]:
        """Names of the table rows for these regimes, each `regime` or, with several bases, `regime@base`.

        Regimes without a base come first, then those of each base, so that its weights are loaded once. Raises
        UsageError for an unknown regime or base.
        """
        own = {regime.name for regime in self.own}
        found: dict[str, str | None] = {}
        for name in asked:
            regime, base = (name, None) if name in own else split_name(name)
            regime = regime if name in own else known_regime(regime)
            if base is not None:
                base = self._short(name, base)
            once = regime in own or regime in RANDOM_START or (regime in NO_BASE_NEEDED and self.scratch is not None)
            if once or len(self.bases) == 1:
                found[regime] = None
            else:
                found |= {name_at_base(regime, each): each for each in ([base] if base else self.named)}
        places = {None: -1} | {base: place for place, base in enumerate(self.named)}
        return tuple(sorted(found, key=lambda name: places[found[name]]))

    def _short(self, name: str, base: str) -> str:
        """The short name of a base that was given by this name, or by its source."""
        short = base if base in self.named else next((n for n, b in self.named.items() if b.name == base), None)
        if short is None:
            raise UsageError(
                f"regime {name!r} names a base that is not compared.",
                f"write one of {join_phrases(list(self.named), quote=True)}, or name it with --base as well",
            )
        return short

    def reading(self, max_length: int) -> "Problem":
        """The same problem with texts truncated to this many tokens, for the bases and models that read like them."""
        bases = tuple(replace(base, max_length=max_length) for base in self.bases)
        scratch = self.scratch and replace(self.scratch, max_length=max_length)
        own = tuple(replace(regime, start=regime.start.shortened(max_length)) for regime in self.own)
        return replace(self, bases=bases, scratch=scratch, own=own)
