"""Forgetting options: how is forgetting reduced, and how strongly?

>>> forgetting_options(["replay=10%", "interpolation"])
ForgettingOptions(replay=0.1, l2_sp=0.0, interpolate=True)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from warmstart.errors import UsageError, did_you_mean
from warmstart.quantities import parse_share

DEFAULT_REPLAY = 0.05  # general rows for each row of the task
DEFAULT_L2_SP = 100.0  # times the rate, of the way back to the base after each step
MAX_L2_SP = 1e6
FORGETTING_METHODS = ("replay", "l2-sp", "interpolation")


@dataclass(frozen=True)
class ForgettingOptions:
    """Two remedies while training, one after it."""

    replay: float = 0.0  # general rows for each row of the task
    l2_sp: float = 0.0  # strength of the penalty on the distance from the base's weights
    interpolate: bool = False  # whether weights between the base's and the tuned ones are chosen on validation rows

    @property
    def training(self) -> dict[str, float]:
        """The fields of `TrainConfig` that differ from their defaults."""
        return {name: value for name, value in (("replay", self.replay), ("l2_sp", self.l2_sp)) if value}


def forgetting_options(words: Sequence[str]) -> ForgettingOptions:
    """Parse `replay`, `l2-sp` and `interpolation`, the first two perhaps with a strength: `replay=10%`, `l2-sp=30`.

    Raises UsageError for an unknown word, one that is given twice, and a strength out of range.
    """
    given = {name: strength for name, _, strength in (word.partition("=") for word in words)}
    if len(given) < len(words):
        raise UsageError("reduce_forgetting names one method twice.", "name each of replay, l2-sp, interpolation once")
    for name in given:
        if name not in FORGETTING_METHODS:
            raise UsageError(
                f"reduce_forgetting is {name!r}; it must be replay, l2-sp or interpolation.",
                did_you_mean(name, FORGETTING_METHODS),
            )
    if given.get("interpolation"):
        raise UsageError(
            f"reduce_forgetting is 'interpolation={given['interpolation']}'; it takes no strength: validation rows"
            " choose it.",
            "write --reduce-forgetting interpolation, and with --min-effect how much of the score it may cost",
        )
    return ForgettingOptions(
        replay=_replay_share(given["replay"]) if "replay" in given else 0.0,
        l2_sp=_l2_sp_strength(given["l2-sp"]) if "l2-sp" in given else 0.0,
        interpolate="interpolation" in given,
    )


def _replay_share(text: str) -> float:
    share = parse_share(text) if text else DEFAULT_REPLAY
    if not 0 < share <= 1:
        raise UsageError(
            f"reduce_forgetting is 'replay={text}'; at most as many general rows as the task has can be replayed.",
            "write for example --reduce-forgetting replay=5%",
        )
    return share


def _l2_sp_strength(text: str) -> float:
    try:
        strength = float(text or DEFAULT_L2_SP)
    except ValueError:
        strength = 0.0
    if not 0 < strength <= MAX_L2_SP:
        raise UsageError(
            f"reduce_forgetting is 'l2-sp={text}'; the strength is a number up to {MAX_L2_SP:,.0f}.",
            f"write for example --reduce-forgetting l2-sp={DEFAULT_L2_SP:g}",
        )
    return strength
