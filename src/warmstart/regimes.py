"""Regimes: a start and one or more stages. Everything the program compares is one of these, or a baseline."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from warmstart.errors import UsageError, did_you_mean
from warmstart.methods import Discriminative, Frozen, Full, LoRA, Method
from warmstart.models.dnn import size_for
from warmstart.starts import Architecture, Base, Init, Pretrained, Scratch, Start, dnn
from warmstart.tasks import Objective


@dataclass(frozen=True)
class Stage:
    """A method, an objective and a share of the step budget."""

    method: Method
    objective: Objective | None = None  # None: the task itself
    share: float = 1.0
    lr: float | None = None  # None: the run's own


@dataclass(frozen=True)
class Habits:
    """Where a regime lives: the rates to try around, and how long it trains. One row each in the table below."""

    lr: float  # centre of the search
    epochs: float
    floor: int = 300  # steps at least, however few the rows
    batch_size: int | None = None  # None: 16 under 2,000 rows, else 32
    looks: int = 6  # at validation rows while training

    def batch(self, rows: int) -> int:
        """Rows a step. Small tables are trained in small batches: more steps for the same compute."""
        return self.batch_size or (16 if rows < 2_000 else 32)

    def steps(self, rows: int, batch_size: int, length: float = 1.0) -> int:
        """`epochs` over the rows, but at least `floor` steps; both times `length`."""
        return max(1, round(length * max(self.floor, self.epochs * rows / batch_size)))


@dataclass(frozen=True)
class Regime:
    """A named way of training."""

    name: str
    start: Start
    stages: tuple[Stage, ...]
    habits: Habits

    def __post_init__(self) -> None:
        total = sum(stage.share for stage in self.stages)
        if abs(total - 1) > 1e-6:
            raise UsageError(
                f"the stages of regime {self.name!r} take {total:.0%} of the steps, not 100 %.",
                "make the `share` values sum to 1",
            )

    @property
    def words(self) -> str:
        """How it learns, for people."""
        return ", then ".join(stage.method.words for stage in self.stages)


@dataclass(frozen=True)
class Material:
    """What regimes are made from."""

    base: Base
    rows: int  # training rows: sizes the DNN
    init: Init = "default"
    dropout: float | None = None


# The defaults of every regime, in one place (also in docs/regimes.md). Rates are for encoders about 400 wide, such as
# MiniLM: on 250 synopses `full` reached .478, .489 and .461 at 1e-4, 2e-4 and 4e-4. Wider ones want lower rates, which
# the search finds (2e-5 to 5e-5 at width 768).
HABITS: dict[str, Habits] = {
    "scratch-dnn": Habits(lr=3e-3, epochs=20, floor=400, batch_size=64, looks=16),
    "scratch": Habits(lr=5e-4, epochs=4),
    "frozen": Habits(lr=1e-2, epochs=30, floor=600, batch_size=32, looks=16),
    "top-layers": Habits(lr=2e-4, epochs=4),
    "discriminative": Habits(lr=4e-4, epochs=4),
    "full": Habits(lr=2e-4, epochs=4),
    "lora": Habits(lr=1e-3, epochs=4),
    "qlora": Habits(lr=1e-3, epochs=4),
}

REGIMES: dict[str, Callable[[Material], Regime]] = {}
BASELINES = ("constant", "linear")
DEFAULT = ("constant", "linear", "scratch-dnn", "scratch", "frozen", "discriminative", "full", "lora")
WORDS = {
    "constant": "the median or the commonest class: the floor that every other must beat",
    "linear": "TF-IDF and a linear model: the cheap rival",
    "scratch-dnn": "residual network on hashed words, from random weights",
    "scratch": "the base's own architecture, from random weights",
    "frozen": "pretrained, only the head learns (linear probe)",
    "top-layers": "pretrained, the head and the top 2 layers learn",
    "discriminative": "pretrained, all weights learn, each layer slower than the one above",
    "full": "pretrained, all weights learn at one rate",
    "lora": "pretrained, low-rank adapters and the head learn",
    "qlora": "the same on a base held in 4 bits",
}
ALIASES = {"differential": "discriminative"}


def _register(name: str, start: Callable[[Material], Start], method: Method) -> None:
    REGIMES[name] = lambda material: Regime(name, start(material), (Stage(method),), HABITS[name])


def _scratch(material: Material) -> Start:
    base = material.base
    build = Architecture(base, material.dropout)
    return Scratch(build, base.inputs, base.pooling, material.init, dropout=material.dropout)


def _dnn(material: Material) -> Start:
    size = size_for(material.rows)
    if material.dropout is not None:
        size = replace(size, dropout=material.dropout)
    return replace(dnn(size), dropout=material.dropout)


def _pretrained(material: Material) -> Start:
    return Pretrained(material.base, material.dropout)


_register("scratch-dnn", _dnn, Full())
_register("scratch", _scratch, Full())
_register("frozen", _pretrained, Frozen())
_register("top-layers", _pretrained, Frozen(unfrozen=2))
_register("discriminative", _pretrained, Discriminative())
_register("full", _pretrained, Full())
_register("lora", _pretrained, LoRA())
_register("qlora", _pretrained, LoRA(quantize="nf4"))


def known_regime(name: str) -> str:
    """The regime's own name; raises UsageError with the nearest known one."""
    name = ALIASES.get(name, name)
    if name not in REGIMES and name not in BASELINES:
        raise UsageError(f"regime {name!r} is not known.", did_you_mean(name, [*BASELINES, *REGIMES, *ALIASES]))
    return name
