"""Remedies: what is asked for against forgetting, and in which strength?

>>> forgetting_options(["general=10%", "mixed"])
ForgettingOptions(general=0.1, base=0.0, mixed=True)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from warmstart.errors import UsageError, did_you_mean
from warmstart.quantities import parse_share

DEFAULT_REPLAY = 0.05  # general rows for each row of the task
DEFAULT_L2_SP = 100.0  # times the rate, of the way back to the base after each step
MAX_L2_SP = 1e6
FORGETTING_METHODS = ("general", "base", "mixed")


@dataclass(frozen=True)
class ForgettingOptions:
    """Against forgetting: two while training, one after it."""

    general: float = 0.0  # replayed: general rows for each row of the task
    base: float = 0.0  # `TrainConfig.toward_base`
    mixed: bool = False  # whether the weights are mixed with the base's, as far as the task bears it

    @property
    def training(self) -> dict[str, float]:
        """The fields of `TrainConfig` that are not as usual."""
        return {name: value for name, value in (("replay", self.general), ("toward_base", self.base)) if value}


def forgetting_options(words: Sequence[str]) -> ForgettingOptions:
    """What 'general', 'base' and 'mixed' ask for, the first two perhaps with a strength: 'general=10%', 'base=30'.

    Raises UsageError for another word, one that is there twice, and a strength that cannot be.
    """
    given = {name: strength for name, _, strength in (word.partition("=") for word in words)}
    if len(given) < len(words):
        raise UsageError("keep names one thing twice.", "name each of general, base and mixed once")
    for name in given:
        if name not in FORGETTING_METHODS:
            raise UsageError(
                f"keep is {name!r}; it must be general, base or mixed.", did_you_mean(name, FORGETTING_METHODS)
            )
    if given.get("mixed"):
        raise UsageError(
            f"keep is 'mixed={given['mixed']}'; mixed takes no strength: validation rows choose it.",
            "write --keep mixed, and with --worth how much of the score it may cost",
        )
    return ForgettingOptions(
        general=_replayed(given["general"]) if "general" in given else 0.0,
        base=_pulled(given["base"]) if "base" in given else 0.0,
        mixed="mixed" in given,
    )


def _replayed(text: str) -> float:
    found = parse_share(text) if text else DEFAULT_REPLAY
    if not 0 < found <= 1:
        raise UsageError(
            f"keep is 'general={text}'; of general rows there may be up to as many as the task has.",
            "write for example --keep general=5%",
        )
    return found


def _pulled(text: str) -> float:
    try:
        found = float(text or DEFAULT_L2_SP)
    except ValueError:
        found = 0.0
    if not 0 < found <= MAX_L2_SP:
        raise UsageError(
            f"keep is 'base={text}'; the pull towards the base is a number of up to {MAX_L2_SP:,.0f}.",
            f"write for example --keep base={DEFAULT_L2_SP:g}",
        )
    return found
