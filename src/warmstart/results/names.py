"""Names: what is a row of a comparison called if regimes may start from several bases?

A row is a regime, or a regime at a base. The name is made and parsed here, and nowhere else.

>>> short_names(["models/v1/bert", "models/v2/bert", "org/tiny", "SmolLM2.Q8_0.gguf"])
('v1-bert', 'v2-bert', 'tiny', 'SmolLM2.Q8_0')
>>> name_at_base("full", "tiny"), split_name("full@tiny"), split_name("linear")
('full@tiny', ('full', 'tiny'), ('linear', None))
"""

import re
from collections import Counter
from collections.abc import Sequence

LENGTH_MULTIPLIERS = (2, 4)  # times the length, for a regime that was still improving


def run_id(name: str, rows: int, seed: int, longer: int = 1) -> str:
    return f"{name}-r{rows}-s{seed}" + (f"-x{longer}" if longer > 1 else "")


ENDPOINT_REGIME = "prompted-endpoint"  # the one that sends rows away
ENSEMBLE = "ensemble"  # a regime and a family of its own: made of other runs, whose costs are its cost
PREVIOUS, CONTINUED = "previous", "continued"  # regimes: an earlier model as it is, and trained on new rows
CONTINUED_MIXED = "continued-mixed"  # the same, trained on old and new rows
HEAD_ONLY = "frozen"  # the fine-tuning regime that leaves the base's weights as they are
TRAIN_BASE_WEIGHTS = frozenset({"top-layers", "discriminative", "full", "lora", "qlora", "hybrid"})  # these may forget
AT = "@"


def name_at_base(regime: str, base: str) -> str:
    """The name of the row in which a regime starts from the base of this short name."""
    return f"{regime}{AT}{base}"


def split_name(name: str) -> tuple[str, str | None]:
    """The regime, and the base that it starts from; None if the name has none."""
    regime, _, base = name.partition(AT)
    return regime, base or None


def regime_of(name: str) -> str:
    """The regime of a row, whatever base it starts from."""
    return split_name(name)[0]


def short_names(sources: Sequence[str]) -> tuple[str, ...]:
    """Short names of these sources: the last part of each, with as many parts before it as distinguish them.

    Only letters, digits, dots, dashes and underscores, because folders are named after them.
    """
    pieces = [_pieces(source) for source in sources]
    names = ["-".join(each[-1:]) for each in pieces]
    for taken in range(2, max(map(len, pieces), default=0) + 1):
        often = Counter(names)
        names = ["-".join(each[-taken:]) if often[name] > 1 else name for name, each in zip(names, pieces, strict=True)]
    seen: Counter[str] = Counter()
    for place, name in enumerate(names):
        seen[name] += 1
        names[place] = name if seen[name] == 1 else f"{name}-{seen[name]}"
    return tuple(names)


def _pieces(source: str) -> list[str]:
    parts = re.split(r"[/\\]+", source.removesuffix(".gguf"))
    cleaned = (re.sub(r"[^\w.-]+", "-", part).strip("-") for part in parts if part not in (".", ".."))
    return [part for part in cleaned if part] or ["base"]
