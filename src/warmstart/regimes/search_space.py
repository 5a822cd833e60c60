"""Search space: which settings of a regime may a search choose, within which bounds, and which are tried next?

A setting is a field of `RegimeContext` or `TrainConfig`, the width or depth of a deep network, or one of the trees'.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from warmstart.errors import MissingError
from warmstart.quantities import parse_duration

if TYPE_CHECKING:
    import optuna

SettingValue = int | float | str


@dataclass(frozen=True)
class Dimension:
    """A setting with its values: `choices`, or everything from `low` to `high`."""

    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False  # whether factors matter, and not differences
    whole: bool = False  # integers only
    choices: tuple[SettingValue, ...] = ()

    def distribution(self) -> "optuna.distributions.BaseDistribution":
        """The same for Optuna."""
        from optuna import distributions as known

        if self.choices:
            return known.CategoricalDistribution(self.choices)
        if self.whole:
            return known.IntDistribution(int(self.low), int(self.high), log=self.log)
        return known.FloatDistribution(self.low, self.high, log=self.log)


# The rate found before, times this: more regularization, or another size, may want another one.
RATE_FACTOR = Dimension("lr_factor", 0.3, 3.0, log=True)
_DROPOUT = Dimension("dropout", 0.0, 0.5)
_DECAY = Dimension("weight_decay", 1e-4, 0.3, log=True)
_WORDS = Dimension("word_dropout", 0.0, 0.3)  # share of the words
_INIT = Dimension("init", choices=("default", "xavier", "he", "normal"))
_LAYERS = Dimension("layers", choices=(1 / 3, 2 / 3, 1.0))  # share of the base's layers
_RANK = Dimension("lora_rank", choices=(4, 8, 16, 32, 64))
_ALPHA = Dimension("lora_alpha", 4.0, 64.0, log=True)

TREE_SPACE = (
    Dimension("leaves", 4, 127, log=True, whole=True),
    Dimension("rate", 0.01, 0.3, log=True),
    Dimension("least_in_leaf", 1, 100, log=True, whole=True),
    Dimension("l2", 1e-3, 10.0, log=True),
    Dimension("columns", 0.4, 1.0),  # share of the columns that a tree reads
)

SPACES: dict[str, tuple[Dimension, ...]] = {
    "boosted": TREE_SPACE,
    "scratch-dnn": (
        Dimension("width", choices=(64, 128, 256, 512)),
        Dimension("depth", 0, 3, whole=True),
        _DROPOUT,
        _WORDS,
        _DECAY,
    ),
    "scratch-cnn": (_INIT, _DROPOUT, _DECAY),
    "scratch": (_LAYERS, _INIT, _DROPOUT, _WORDS, _DECAY),
    "self-pretrained": (_LAYERS, _INIT, _DROPOUT, _DECAY),
    "frozen": (_DROPOUT, _DECAY),  # what it reads of a text is computed once: no words are dropped
    "top-layers": (_DROPOUT, _WORDS, _DECAY),
    "discriminative": (_DROPOUT, _WORDS, _DECAY),
    "full": (_DROPOUT, _WORDS, _DECAY),
    "hybrid": (_DROPOUT, _DECAY),
    "lora": (_RANK, _ALPHA, _DROPOUT, _WORDS, _DECAY),
    "qlora": (_RANK, _ALPHA, _DROPOUT, _WORDS, _DECAY),
}
OWN_ARCHITECTURE = (_DECAY,)  # the only setting that any architecture has
FOR_ENCODERS = frozenset({"word_dropout", "layers"})  # of texts that get a head; nothing of it suits images or answers
IN_CONTEXT = frozenset({"dropout", "init", "lora_rank", "lora_alpha", "layers"})  # fields of `RegimeContext`

MOST_TRIALS = 1_000
STARTUP_SHARE = 1 / 3  # of the trials, drawn at random before Optuna learns from them; at least:
STARTUP = 4
BEFORE_PRUNING = 3  # complete trials


@dataclass(frozen=True)
class SearchEffort:
    """How much to search of a regime's settings: so many trials, or for so many seconds."""

    trials: int = 0
    seconds: float | None = None  # None: as long as the trials take

    @classmethod
    def of(cls, asked: int | str) -> "SearchEffort":
        """From a number of trials, or a time such as '10m'."""
        if isinstance(asked, int):
            return cls(asked)
        return cls(MOST_TRIALS, parse_duration(asked))

    def goes_on(self, trials: int, seconds: float) -> bool:
        """Whether there is another trial after so many."""
        return trials < self.trials and (self.seconds is None or seconds < self.seconds)


NO_SEARCH = SearchEffort()


@dataclass
class Suggested:
    """Settings to try, which must be followed by `tell`."""

    settings: dict[str, SettingValue]
    trial: "optuna.Trial" = field(repr=False)
    seen: list[float] = field(default_factory=list)  # its scores while it was trained

    def hopeless(self, score: float) -> bool:
        """Whether it does worse so far than the median of the trials before; `score`: at its next evaluation."""
        self.seen.append(score)
        self.trial.report(score, len(self.seen) - 1)
        return bool(self.trial.should_prune())


class Sampler:
    """Optuna's tree-structured Parzen estimator and median pruner: the same for the same seed and scores.

    Nothing is stored: whoever resumes a search tells it the known scores again, in order.
    """

    def __init__(self, space: Sequence[Dimension], seed: int, trials: int, *, higher_is_better: bool):
        optuna = _optuna()
        self.distributions = {each.name: each.distribution() for each in space}
        startup = max(STARTUP, round(STARTUP_SHARE * min(trials, 10 * STARTUP)))
        self.study: Any = optuna.create_study(
            direction="maximize" if higher_is_better else "minimize",
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=BEFORE_PRUNING),
        )

    def ask(self) -> Suggested:
        """The next settings to try."""
        trial = self.study.ask(self.distributions)
        return Suggested(dict(trial.params), trial)

    def tell(self, tried: Suggested, score: float | None, *, pruned: bool) -> None:
        """How they did; None: they failed."""
        from optuna.trial import TrialState

        if pruned:
            self.study.tell(tried.trial, state=TrialState.PRUNED)
        elif score is None:
            self.study.tell(tried.trial, state=TrialState.FAIL)
        else:
            self.study.tell(tried.trial, score)


def require_optuna() -> None:
    """Raises MissingError where it is not installed."""
    _optuna()


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingError("--search needs the package optuna.", "pip install 'warmstart[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def described(settings: Mapping[str, SettingValue]) -> str:
    """In words, for people; of no settings nothing.

    >>> described({"lora_rank": 8, "weight_decay": 0.012345})
    'lora rank 8, weight decay 0.0123'
    """
    shown = {k: f"{v:.3g}" if isinstance(v, float) else str(v) for k, v in settings.items()}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown.items())
