"""Constraints: which regimes may not be chosen because of what their model or their training needs?

Pure functions: `planning/requirements.py` finds out what a regime needs, before or after training; here it is compared
with what is allowed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from warmstart.errors import UsageError, join_phrases
from warmstart.quantities import format_duration, format_latency, format_size

OF_THE_MODEL = ("max-size", "max-latency")  # known for sure once it is trained; so it is, and tells what they cost
BUDGET = "budget"  # no constraint of the model: there was no time to train it enough to learn anything
NO_CHOICE = "constant"  # is never chosen: it takes no constraint to leave it out


@dataclass(frozen=True)
class Constraints:
    """Limits for the chosen model. The defaults allow everything."""

    max_size: int | None = None  # bytes of all that has to be shipped: for adapters the base too
    max_latency: float | None = None  # seconds for one row
    licenses: tuple[str, ...] = ()  # that pretrained weights may have; empty: any
    max_training_time: float | None = None  # seconds to search for a regime's rate and to train it once
    pretrained: bool = True  # whether pretrained weights may be used at all

    @property
    def given(self) -> bool:
        return self != ANY


ANY = Constraints()


@dataclass(frozen=True)
class Needs:
    """Requirements of a regime. None: unknown, which excludes nothing."""

    regime: str
    pretrained: bool
    licenses: tuple[str, ...] = ()  # of the weights that it starts from; all of them hold. Empty: not known
    size: int | None = None  # bytes
    latency: float | None = None  # seconds for one row
    train: float | None = None  # seconds


@dataclass(frozen=True)
class Excluded:
    """A regime that may not be chosen, with the reason."""

    regime: str
    constraint: str  # "max-size", "max-latency", "licence", "max-training-time", "no-pretrained" or "budget"
    reason: str

    @property
    def trained(self) -> bool:
        """Whether it is trained anyway, to show what the constraint costs."""
        return self.constraint in OF_THE_MODEL


def broken(allowed: Constraints, needs: Needs) -> tuple[Excluded, ...]:
    """The constraints that a regime does not keep, each with the reason.

    >>> broken(Constraints(max_size=50_000_000), Needs("full", True, size=91_000_000))[0].reason
    'it takes 91 MB, more than 50 MB'
    """
    found: list[tuple[str, str]] = []
    if needs.pretrained and not allowed.pretrained:
        found.append(("no-pretrained", "it starts from pretrained weights"))
    if needs.pretrained and allowed.licenses:
        others = [name for name in needs.licenses if name not in allowed.licenses]
        if not needs.licenses:
            found.append(("licence", "nothing says under which license its base is"))
        elif others:
            found.append(("licence", f"its base is under {join_phrases(others)}, not {' or '.join(allowed.licenses)}"))
    if _over(needs.train, allowed.max_training_time):
        took, most = format_duration(needs.train), format_duration(allowed.max_training_time)
        found.append(("max-training-time", f"its search and one run would take about {took}, more than {most}"))
    if _over(needs.size, allowed.max_size):
        found.append(("max-size", f"it takes {format_size(needs.size)}, more than {format_size(allowed.max_size)}"))
    if _over(needs.latency, allowed.max_latency):
        took, most = (format_latency(1000 * (value or 0.0)) for value in (needs.latency, allowed.max_latency))
        found.append(("max-latency", f"a row takes {took}, more than {most}"))
    return tuple(Excluded(needs.regime, constraint, reason) for constraint, reason in found)


def require_a_choice(names: Iterable[str], excluded: Sequence[Excluded]) -> None:
    """Raise UsageError if constraints leave nothing to choose from."""
    choices = [name for name in names if name != NO_CHOICE]
    reasons = {each.regime: f"`{each.regime}`: {each.reason} (--{each.constraint})" for each in reversed(excluded)}
    if choices and all(name in reasons for name in choices):
        raise UsageError(
            f"the constraints leave nothing to choose from. {join_phrases([reasons[name] for name in choices], 12)}.",
            "allow more, or name regimes that take less, e.g. --regimes linear,scratch-dnn",
        )


def not_run(excluded: Iterable[Excluded]) -> set[str]:
    """The regimes that are not even trained."""
    return {each.regime for each in excluded if not each.trained}


def _over(needed: float | None, most: float | None) -> bool:
    return needed is not None and most is not None and needed > most
