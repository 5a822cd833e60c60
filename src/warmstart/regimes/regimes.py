"""Regimes: which ways of training are there? A start and one or more stages each, with their defaults."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from warmstart.data.schema.columns import Column
from warmstart.data.schema.schema import CORPUS, INSTRUCTED, TEXT_OUT, TaskName
from warmstart.errors import UsageError, did_you_mean
from warmstart.models.dnn import Size
from warmstart.models.pretrained.base import EXAMPLES, Base
from warmstart.models.pretrained.image_base import own_pixels
from warmstart.regimes.defaults import IMAGE_DEFAULTS, IMAGE_TRANSFORMER_DEFAULTS, RegimeDefaults
from warmstart.regimes.discriminative import Discriminative
from warmstart.regimes.frozen import Frozen
from warmstart.regimes.full import Full
from warmstart.regimes.lora import LoRA
from warmstart.regimes.method import Method, Rates
from warmstart.regimes.scratch_dnn import CLASS_SIZE, NUMBER_SIZE, PathByPath, WideAndDeepStart
from warmstart.regimes.search_space import FOR_ENCODERS, IN_CONTEXT, OWN_ARCHITECTURE, SPACES, Dimension
from warmstart.regimes.starts import Architecture, Init, Pretrained, Scratch, Start, dnn, small_cnn
from warmstart.results.names import ENDPOINT_REGIME, ENSEMBLE, PREVIOUS, regime_of
from warmstart.settings.choices import Augment, NetworkSize
from warmstart.tasks.language import Language
from warmstart.tasks.task import Loss, Task

__all__ = ["METHODS", "Discriminative", "Frozen", "Full", "LoRA", "Method", "Rates"]


METHODS: dict[str, Method] = {
    "full": Full(),
    "frozen": Frozen(),
    "top-layers": Frozen(unfrozen=2),
    "discriminative": Discriminative(),
    "lora": LoRA(),
    "qlora": LoRA(quantize="nf4"),
}


@dataclass(frozen=True)
class Stage:
    """A method, an objective and a share of the step budget."""

    method: Method
    objective: Task | None = None  # None: the task itself
    share: float = 1.0
    lr: float | None = None  # None: the run's own
    margins: bool = False  # whether classes are learned by their margins

    def loss(self, task: Task) -> Loss:
        """The loss to minimize for a task."""
        objective = self.objective or task
        return (objective.margins if self.margins else None) or objective


@dataclass(frozen=True)
class Regime:
    """A named way of training."""

    name: str
    start: Start
    stages: tuple[Stage, ...]
    defaults: RegimeDefaults
    search_size: bool = False  # whether trials choose the size of its network
    made_from: "RegimeContext | None" = field(default=None, repr=False, compare=False)  # None: the user's own
    chosen: Mapping[str, Any] = field(default_factory=dict)  # the settings that a search chose beside rate and size
    augmentations: tuple[Augment, ...] = ()  # of images, among which trials choose; none: they do not

    def __post_init__(self) -> None:
        total = sum(stage.share for stage in self.stages)
        if self.stages and abs(total - 1) > 1e-6:
            raise UsageError(
                f"the stages of regime {self.name!r} take {total:.0%} of the steps, not 100 %.",
                "make the `share` values sum to 1",
            )

    @property
    def words(self) -> str:
        """How it is trained, for people."""
        how = ", then ".join(stage.method.words for stage in self.stages)
        return how if self.start.columns is None else f"{how}; columns joined before the head"

    @property
    def space(self) -> tuple[Dimension, ...]:
        """The settings that a search may choose."""
        context = self.made_from
        if context is None or context.size == "reference":
            return OWN_ARCHITECTURE
        other = FOR_ENCODERS if context.language or context.base.kind in ("image", "encoder-decoder") else ()
        return tuple(each for each in SPACES.get(regime_of(self.name), OWN_ARCHITECTURE) if each.name not in other)

    def with_settings(self, settings: Mapping[str, Any]) -> "Regime":
        """The same regime with these values of its space. What the training loop takes is only noted in `chosen`."""
        made, context = self, self.made_from
        own = {name: value for name, value in settings.items() if name in IN_CONTEXT}
        if own and context is not None:
            made = replace(REGIMES[regime_of(self.name)](replace(context, **own)), name=self.name)
        size = made.start.size
        if size is not None:
            of_size = {name: value for name, value in settings.items() if name in ("width", "depth")}
            made = replace(made, start=made.start.resized(replace(size, **of_size)))
        return replace(made, chosen=dict(self.chosen) | dict(settings))


@dataclass(frozen=True)
class RegimeContext:
    """What regimes are made from."""

    base: Base
    rows: int
    init: Init = "default"
    dropout: float | None = None
    language: bool = False  # whether the task is to predict text
    scratch: Base | None = None  # the architecture to train from random weights; None: the base's own
    numbers: bool = False  # whether a number is predicted
    size: NetworkSize = "auto"  # of the network that needs no base
    lora_rank: int = LoRA.rank
    lora_alpha: float = LoRA.alpha
    layers: float = 1.0  # of an architecture with random weights, as a share of the base's


# The defaults of every regime, in one place (also in docs/regimes.md). Rates are for encoders about 400 wide, such as
# MiniLM: on 250 synopses `full` reached .478, .489 and .461 at 1e-4, 2e-4 and 4e-4. Wider ones want lower rates, which
# the search finds (2e-5 to 5e-5 at width 768).
DEFAULTS: dict[str, RegimeDefaults] = {
    "scratch-dnn": RegimeDefaults(
        lr=2e-3,
        epochs=15,
        floor=400,
        batch_size=32,
        evaluations=8,
        warmup=0.05,
        clip=100.0,
        word_dropout=0.2,
        last_weights=True,
        by_rows=((4_000, 15, 32), (16_000, 10, 64), (64_000, 6, 128), (256_000, 3, 256)),
    ),
    "scratch": RegimeDefaults(lr=5e-4, epochs=4),
    "frozen": RegimeDefaults(lr=1e-2, epochs=30, floor=600, batch_size=32, evaluations=16),
    "top-layers": RegimeDefaults(lr=2e-4, epochs=4),
    "discriminative": RegimeDefaults(lr=4e-4, epochs=4),
    "full": RegimeDefaults(lr=2e-4, epochs=4),
    "lora": RegimeDefaults(lr=1e-3, epochs=4),
    "qlora": RegimeDefaults(lr=1e-3, epochs=4),
    "hybrid": RegimeDefaults(lr=4e-4, epochs=6, floor=450),
    "self-pretrained": RegimeDefaults(lr=5e-4, epochs=8, floor=600),
}

# Of `scratch-dnn` where a number is predicted, and of the reference network. Each word may change a number: with none
# dropped, and more steps, the demo's error fell from .163 to .139, that of 4,000 one-line texts from .402 to .392.
NUMBER_PASSES = ((4_000, 12, 32), (16_000, 6, 64), (50_000, 3, 128), (190_000, 2, 256), (400_000, 2, 512))
NUMBER_DEFAULTS = RegimeDefaults(
    lr=2e-3, epochs=12, floor=1200, batch_size=32, evaluations=12, warmup=0.05, clip=100.0, by_rows=NUMBER_PASSES
)
REFERENCE_DEFAULTS = RegimeDefaults(lr=1e-4, epochs=20, floor=400, batch_size=64, evaluations=16)
REFERENCE_SIZE = Size(features=5000, width=4096, depth=8, dropout=0.2)

# The same where text is predicted, for decoders about 600 wide; a step has fewer rows, since each is longer.
LANGUAGE_DEFAULTS: dict[str, RegimeDefaults] = {
    "zero-shot": RegimeDefaults(lr=1e-4, epochs=0, floor=0, batch_size=8),
    "scratch": RegimeDefaults(lr=1e-3, epochs=4, floor=200, batch_size=8),
    "top-layers": RegimeDefaults(lr=1e-4, epochs=2, floor=100, batch_size=8),
    "discriminative": RegimeDefaults(lr=2e-4, epochs=2, floor=100, batch_size=8),
    "full": RegimeDefaults(lr=1e-4, epochs=2, floor=100, batch_size=8),
    "lora": RegimeDefaults(lr=5e-4, epochs=2, floor=100, batch_size=8),
    "qlora": RegimeDefaults(lr=5e-4, epochs=2, floor=100, batch_size=8),
    "hybrid": RegimeDefaults(lr=1e-4, epochs=3, floor=150, batch_size=8),
    "self-pretrained": RegimeDefaults(lr=1e-3, epochs=6, floor=300, batch_size=8),
}

UNTRAINED = RegimeDefaults(lr=0.0, epochs=0, floor=0)  # of what is no network that learns

REGIMES: dict[str, Callable[[RegimeContext], Regime]] = {}
WITHOUT_NETWORK = ("constant", "linear", "boosted", "extractive", ENDPOINT_REGIME)
READ_WITH_BASE = ("embedded", "few-shot", "prompted")  # fitted like those, on what a base makes of each text, unchanged
WITHOUT_TRAINING = (*WITHOUT_NETWORK, *READ_WITH_BASE, "zero-shot", ENSEMBLE)
CHEAP_REGIMES = ("constant", "linear", "embedded")
DEFAULT_REGIMES = (*CHEAP_REGIMES, "scratch-dnn", "scratch", "frozen", "discriminative", "full", "lora", ENSEMBLE)
DEFAULT_IMAGE_REGIMES = (*CHEAP_REGIMES, "scratch-cnn", "scratch", "frozen", "discriminative", "full", "lora", ENSEMBLE)
IMAGE_WITHOUT_BASE = ("constant", "linear", "scratch-cnn", ENSEMBLE)  # of them, what needs no base, beside trees
FOR_COLUMNS = ("boosted",)  # by default where a table has columns that are not text
DEFAULT_WITHOUT_TEXT = ("constant", "linear", *FOR_COLUMNS, "scratch-dnn", ENSEMBLE)
DEFAULT_LANGUAGE_REGIMES = ("zero-shot", "scratch", "full", "lora")
UNTRAINED_BASES = ("zero-shot", "few-shot", "prompted")  # whose time is counted: a base reads and writes
PROMPTED = ("few-shot", "prompted")  # what asks a decoder, and does not train it
FLOORS_OF_WRITING = ("extractive",)  # that need no base
DESCRIPTIONS = {
    "constant": "the median or the most common class: every other regime must beat it",
    "linear": "TF-IDF and a linear model: a cheap, strong baseline",
    "boosted": "gradient-boosted trees on the columns and on a linear model's predictions from the text",
    "embedded": "a linear model on TF-IDF and the base's frozen features",
    "scratch-dnn": "wide and deep network on the same terms and columns as `linear`, from random weights",
    "scratch-cnn": "small residual network on images, from random weights",
    "scratch": "the base's own architecture, from random weights",
    "frozen": "pretrained, trains only the head (linear probe)",
    "top-layers": "pretrained, trains the head and the top 2 layers",
    "discriminative": "pretrained, trains all weights, with a lower learning rate for lower layers",
    "full": "pretrained, trains all weights at one learning rate",
    "lora": "pretrained, trains low-rank adapters and the head",
    "qlora": "the same as lora, with the base in 4 bits",
    "hybrid": "pretrained, language modeling on domain text first, then the task at discriminative rates",
    "self-pretrained": "the base's own architecture from random weights, language modeling first, then the task",
    "zero-shot": "the base as it is, without training",
    "prompted": "a decoder without training: the likelihood of each answer after instructions and examples",
    "prompted-endpoint": "a chat model elsewhere, without training: rows are sent to it, after instructions",
    "few-shot": "the base without training, with a few examples in its prompt",
    "extractive": "the leading sentences, the source itself or the most common values: a floor for generated text",
    "ensemble": "the mean prediction of the regimes that beat the constant, weighted on validation rows",
}
ALIASES = {"differential": "discriminative"}
NO_BASE_NEEDED = frozenset({"scratch", "self-pretrained"})  # of a base they need no more than its shape and tokenizer
LEARN_LANGUAGE = frozenset({"hybrid", "self-pretrained"})  # before the task
RANDOM_START = frozenset({*WITHOUT_NETWORK, PREVIOUS, "scratch-dnn", "scratch-cnn", ENSEMBLE})  # whatever the bases


def is_baseline(name: str) -> bool:
    """Whether the regime in this table row is fitted without the training loop."""
    return regime_of(name) in (*WITHOUT_TRAINING, PREVIOUS)


def is_solved(name: str) -> bool:
    """Whether the regime in this table row is fitted by a solver: from columns and texts, or from a base's features."""
    return regime_of(name) in (*WITHOUT_NETWORK, *READ_WITH_BASE, PREVIOUS)


def default_for(
    task: TaskName, columns: Sequence[Column] = (), image_base: bool = True, named_base: bool = False
) -> tuple[str, ...]:
    """The regimes that are compared by default: boosted trees too, if any `columns` are not text.

    `image_base`: whether there is a base for images. `named_base`: whether a base was named, which is compared also
    where no column is text. None was best on five tables of numbers and categories (docs/benchmarks.md).
    """
    if reads_images(columns):
        usual = DEFAULT_IMAGE_REGIMES if image_base else IMAGE_WITHOUT_BASE
        return (*usual[:2], *FOR_COLUMNS, *usual[2:]) if len(columns) > 1 else usual
    if task in (*TEXT_OUT, *CORPUS):
        floors = (*FLOORS_OF_WRITING, "few-shot") if task in INSTRUCTED else ()
        return (*floors, *DEFAULT_LANGUAGE_REGIMES)
    table = any(column.kind not in ("text", "category") for column in columns)
    table |= len(columns) > 1 and any(column.kind == "category" for column in columns)
    if table and not named_base and all(column.kind != "text" for column in columns):
        return DEFAULT_WITHOUT_TEXT
    return (*DEFAULT_REGIMES[:2], *FOR_COLUMNS, *DEFAULT_REGIMES[2:]) if table else DEFAULT_REGIMES


def floors_for(task: TaskName, base: bool = True) -> tuple[str, ...]:
    """What every comparison holds, whatever is named: a floor that costs next to nothing, or little.

    `base`: whether there is a base, whose untuned answers are a floor of what is trained from it.
    """
    if task not in (*TEXT_OUT, *CORPUS):
        return ("constant",)
    return (*(FLOORS_OF_WRITING if task in INSTRUCTED else ()), *(("zero-shot",) if base else ()))


def reads_images(columns: Sequence[Column]) -> bool:
    """Whether one of the inputs is an image column."""
    return any(column.kind == "image" for column in columns)


def suits(name: str, task: TaskName, columns: Sequence[Column] = ()) -> bool:
    """Whether a regime can learn a task: regimes without a network generate no text, and only language tasks need no
    head.
    """
    if reads_images(columns):
        beside = FOR_COLUMNS if len(columns) > 1 else ()
        return name in (*IMAGE_DEFAULTS, *CHEAP_REGIMES, PREVIOUS, ENSEMBLE, *beside)
    if name in (*FLOORS_OF_WRITING, "few-shot"):
        return task in INSTRUCTED
    if task in (*TEXT_OUT, *CORPUS):
        return name in LANGUAGE_DEFAULTS and not (task in CORPUS and name == "self-pretrained")
    return name in DEFAULTS or is_solved(name) or name == ENSEMBLE


def check_base(base: Base, regime: str) -> None:
    """Raises UsageError for a regime that a base of this kind cannot be trained by, or asked by."""
    if regime in PROMPTED and base.kind != "decoder":
        raise UsageError(
            f"regime {regime!r} asks a base in words; {base.name!r} is an {base.kind}.",
            f"leave it out, or name a decoder, e.g. --base {EXAMPLES['decoder']}",
        )
    if base.kind != "encoder-decoder":
        return
    if regime in LEARN_LANGUAGE and not base.inputs.tokenizer.is_fast:
        raise UsageError(
            f"regime {regime!r} first learns a language from plain text; {base.name!r} reads one and writes another.",
            "leave it out, or name a base that writes the language it reads",
        )
    if regime == "qlora":
        raise UsageError(
            f"{base.name!r}, as an encoder-decoder, cannot be held in 4 bits here.", "use the regime `lora`"
        )


StageTable = Callable[[RegimeContext], tuple[Stage, ...]]


def _register(name: str, start: Callable[[RegimeContext], Start], stages: StageTable) -> None:
    def made(material: RegimeContext) -> Regime:
        defaults = LANGUAGE_DEFAULTS if material.language else DEFAULTS
        if material.base.kind == "image":
            defaults = IMAGE_TRANSFORMER_DEFAULTS if material.base.attends else IMAGE_DEFAULTS
        own = defaults.get(name, UNTRAINED)
        if name == "scratch-dnn":
            own = REFERENCE_DEFAULTS if material.size == "reference" else NUMBER_DEFAULTS if material.numbers else own
        return Regime(name, start(material), stages(material), own, material.size == "search", material)

    REGIMES[name] = made


def _only(method: Method) -> StageTable:
    return lambda material: (Stage(method),)


def _after_language(first: Method, then: Method) -> StageTable:
    """Half of the steps on the language of the domain, the other half on the task."""
    return lambda material: (Stage(first, _language(material), 0.5), Stage(then, share=0.5))


def _language(material: RegimeContext) -> Language:
    """The objective by which a base of its kind learns from plain text."""
    return Language("causal-lm" if material.base.kind == "decoder" else "masked-lm")


def _scratch(material: RegimeContext) -> Start:
    base = material.scratch or material.base
    build = Architecture(base, material.dropout, material.layers)
    return Scratch(build, base.inputs, base.pooling, material.init, dropout=material.dropout)


def _dnn(material: RegimeContext) -> Start:
    reference = material.size == "reference"
    size = REFERENCE_SIZE if reference else NUMBER_SIZE if material.numbers else CLASS_SIZE
    if material.dropout is not None:
        size = replace(size, dropout=material.dropout)
    if reference:
        return replace(dnn(size), dropout=material.dropout)
    return WideAndDeepStart(size, dropout=material.dropout)


def _dnn_stages(material: RegimeContext) -> tuple[Stage, ...]:
    return (Stage(Full()),) if material.size == "reference" else (Stage(PathByPath(), margins=True),)


def _adapters(material: RegimeContext, quantize: Literal["nf4"] | None) -> tuple[Stage, ...]:
    return (Stage(LoRA(material.lora_rank, material.lora_alpha, quantize)),)


def _cnn(material: RegimeContext) -> Start:
    return small_cnn(own_pixels(material.base), material.rows, material.init, material.dropout)


def _layer_rates(material: RegimeContext) -> tuple[Stage, ...]:
    """A network for images has more layers than an encoder of texts: as slow below, it would hardly learn there."""
    return (Stage(Discriminative(decay=0.9) if material.base.kind == "image" else Discriminative()),)


def _pretrained(material: RegimeContext) -> Start:
    return Pretrained(material.base, material.dropout)


_register("scratch-dnn", _dnn, _dnn_stages)
_register("scratch-cnn", _cnn, _only(Full()))
_register("scratch", _scratch, _only(Full()))
_register("frozen", _pretrained, _only(Frozen()))
_register("top-layers", _pretrained, _only(Frozen(unfrozen=2)))
_register("discriminative", _pretrained, _layer_rates)
_register("full", _pretrained, _only(Full()))
_register("lora", _pretrained, lambda material: _adapters(material, None))
_register("qlora", _pretrained, lambda material: _adapters(material, "nf4"))
_register("hybrid", _pretrained, _after_language(Full(), Discriminative()))
_register("self-pretrained", _scratch, _after_language(Full(), Full()))
_register("embedded", _pretrained, lambda material: ())
_register("prompted", _pretrained, lambda material: ())
_register("few-shot", _pretrained, lambda material: ())
_register("zero-shot", _pretrained, lambda material: ())


def known_regime(name: str) -> str:
    """The regime's exact name; raises UsageError with the closest known one."""
    name = ALIASES.get(name, name)
    if name not in REGIMES and name not in (*WITHOUT_TRAINING, PREVIOUS):
        raise UsageError(f"regime {name!r} is not known.", did_you_mean(name, [*WITHOUT_TRAINING, *REGIMES, *ALIASES]))
    return name
