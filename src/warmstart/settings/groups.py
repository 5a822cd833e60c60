"""Groups: which settings are there, with which defaults? Each is declared here, and nowhere else.

A request holds all of them; what a layer below needs inherits the groups that it needs (`schema.ColumnChoices`,
`problem.Options`). The order of the groups is that of `--help` and of a YAML file; their first lines are its headings.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from warmstart.settings.setting import (
    REPORTING,
    SEVERAL_RUNS,
    TRAINING,
    TRAINING_COST,
    Command,
    Declared,
    Setting,
    declared,
)

Augment = Literal["auto", "none", "light", "strong"]
TaskName = Literal[
    "regression", "classification", "causal-lm", "masked-lm", "summarise", "translate", "chat", "structured"
]
Scale = Literal["linear", "log10", "log10(1+x)"]
Long = Literal["head-tail", "chunks"]
BadRowsRule = Literal["drop", "refuse"]  # all unusable rows are left out; a single one is an error
Init = Literal["default", "xavier", "he", "normal"]
OptimizerName = Literal["adamw", "adam", "sgd"]
OptimizerStateName = Literal["fp32", "bf16"]
ScheduleName = Literal["linear", "cosine", "constant"]
PrecisionName = Literal["auto", "fp32", "bf16"]
NetworkSize = Literal["auto", "search", "reference"]

MAX_LENGTH = 256  # tokens; most titles and descriptions fit, and the time of a step grows with it
DEFAULT_BUDGET = 1800.0  # seconds for a comparison


@dataclass(frozen=True)
class DataSettings:
    """Data."""

    data: Annotated[
        tuple[str, ...],
        Setting("Files, a glob, a folder or a Hugging Face id.", repeat=True),
    ]


@dataclass(frozen=True)
class ColumnSettings:
    """Data and columns."""

    target: Annotated[
        str | None,
        Setting("Column to predict, or to learn to write. Not needed for a corpus, conversations or fields."),
    ] = None
    text: Annotated[tuple[str, ...], Setting("Columns to read.", unset="all that can be read", repeat=True)] = ()
    group: Annotated[str | None, Setting("Column of groups. A group is never split between training and test.")] = None
    task: Annotated[TaskName | None, Setting("Task.", unset="recognized from the data")] = None
    separator: Annotated[str | None, Setting("Character between several labels in one target cell.")] = None
    scale: Annotated[
        Scale | None,
        Setting("Scale of a numeric target.", unset="log for skewed positive numbers"),
    ] = None
    instruction: Annotated[
        str | None,
        Setting(
            "Instruction before each text to summarize, translate or describe.",
            unset="a sentence for the task",
        ),
    ] = None
    fields: Annotated[
        tuple[str, ...],
        Setting("Columns of the JSON object to write, instead of a target."),
    ] = ()
    schema: Annotated[
        str | None,
        Setting("File with the JSON Schema of what is written.", unset="inferred from the data"),
    ] = None
    long: Annotated[
        Long | None,
        Setting(
            "How to shorten long texts: keep head and tail, or (summarise only) summarize them in chunks.",
            unset="head-tail",
        ),
    ] = None
    image: Annotated[str | None, Setting("Column of images: paths or bytes.", unset="if it is the only one")] = None
    image_size: Annotated[
        int | None,
        Setting("Side of images in pixels.", unset="the base's; else theirs, at most 64", within=(8, 1024)),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ReadingSettings:
    """Data and columns."""

    table: Annotated[str | None, Setting("Table to read of a database (SQLite).", unset="the only one")] = None
    column: Annotated[
        tuple[str, ...],
        Setting(
            "NAME=KIND, how a column is read: text, number, category, boolean, datetime or image.",
            unset="by how its cells are written",
            repeat=True,
        ),
    ] = ()
    max_length: Annotated[int, Setting("Tokens to read of each text.", within=(8, 100_000))] = MAX_LENGTH
    bad_rows: Annotated[
        BadRowsRule | None,
        Setting("Unusable rows: drop all of them and list them, or refuse any.", unset="drop up to 5% of all rows"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class RegimeSettings:
    """Regimes and bases."""

    regime: Annotated[
        str | None,
        Setting("Regime to train (see `warmstart regimes`). auto: the one that a race recommends.", ("fit",)),
    ] = None
    regimes: Annotated[
        tuple[str, ...],
        Setting(
            "Regimes to compare (see `warmstart regimes`).",
            SEVERAL_RUNS,
            unset="the usual ones for the task",
        ),
    ] = ()
    base: Annotated[
        tuple[str, ...],
        Setting(
            "Pretrained models to compare: folders, Python packages or Hugging Face ids.",
            unset="the usual one for the task",
            repeat=True,
        ),
    ] = ()
    model: Annotated[
        str | None,
        Setting("Architecture of your own, as file.py:function. The file is executed.", TRAINING_COST),
    ] = None
    parameters: Annotated[
        int | None,
        Setting(
            "Number of weights of a model trained from scratch, such as 10M.",
            TRAINING_COST,
            unset="as many as the base",
            within=(1e4, 1e12),
            quantity="amount",
        ),
    ] = None
    corpus: Annotated[
        tuple[str, ...],
        Setting(
            "Text files or tables from which hybrid learns the language.",
            TRAINING_COST,
            unset="the training texts",
            repeat=True,
        ),
    ] = ()
    general_text: Annotated[
        str | None,
        Setting("Text file or table on which to measure forgetting.", TRAINING_COST, unset="text written by the base"),
    ] = None
    reduce_forgetting: Annotated[
        tuple[str, ...],
        Setting(
            "Ways to reduce forgetting: replay, l2-sp, interpolation, or with a strength replay=5%, l2-sp=100.",
            TRAINING_COST,
            unset="none",
        ),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """Rows and seeds."""

    rows: Annotated[
        tuple[int, ...] | Literal["auto"],
        Setting(
            "Training rows to use, such as 1000 or 250,1000,4000. auto: three or four sizes.",
            TRAINING_COST,
            unset="all",
            quantity="count",
        ),
    ] = ()
    tokens: Annotated[
        tuple[int, ...],
        Setting("Training tokens to use, such as 10M or 10M,50M.", TRAINING_COST, unset="all", quantity="amount"),
    ] = ()
    seeds: Annotated[
        int,
        Setting("Number of seeds. Each draws its own training rows.", SEVERAL_RUNS, within=(1, 100)),
    ] = 3


@dataclass(frozen=True, kw_only=True)
class SeedSettings:
    """Rows and seeds."""

    seed: Annotated[int, Setting("First seed.", TRAINING_COST, within=(0, 2**31))] = 0


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Training."""

    trials: Annotated[int, Setting("Learning rates to try for each regime.", TRAINING_COST, within=(1, 9))] = 3
    lr: Annotated[float | None, Setting("Learning rate.", TRAINING_COST, unset="searched", within=(1e-9, 10))] = None
    epochs: Annotated[
        float | None,
        Setting("Passes over the training rows.", TRAINING_COST, unset="each regime's own", within=(1e-3, 10_000)),
    ] = None
    length: Annotated[
        float,
        Setting("Multiplier for each regime's own number of steps.", TRAINING_COST, within=(1e-3, 100)),
    ] = 1.0
    batch_size: Annotated[
        int | None,
        Setting("Rows in a batch.", TRAINING_COST, unset="16, or 32 from 2,000 rows", within=(1, 65_536)),
    ] = None
    dropout: Annotated[
        float | None,
        Setting("Dropout rate of backbone and head.", TRAINING_COST, unset="their own", within=(0, 0.95)),
    ] = None
    init: Annotated[Init, Setting("Initialization of random weights.", TRAINING_COST)] = "default"
    size: Annotated[
        NetworkSize,
        Setting(
            "Size of scratch-dnn: its own, chosen by trials, or the reference network of 289 million weights.",
            TRAINING_COST,
        ),
    ] = "auto"
    precision: Annotated[PrecisionName, Setting("Precision of matrix products.", TRAINING_COST)] = "auto"


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """Training.

    What the training loop takes as it is: the fields of `TrainConfig` of the same names.
    """

    micro_batch: Annotated[
        int | None,
        Setting(
            "Rows in a forward pass, to save memory. Gradients accumulate to those of a batch.",
            TRAINING_COST,
            unset="the whole batch",
            within=(1, 65_536),
        ),
    ] = None
    optimizer: Annotated[OptimizerName, Setting("Optimizer.", TRAINING_COST)] = "adamw"
    optimizer_state: Annotated[
        OptimizerStateName,
        Setting("Precision of the state of adamw. bf16 takes half the memory.", TRAINING_COST),
    ] = "fp32"
    schedule: Annotated[ScheduleName, Setting("Learning-rate schedule after the warm-up.", TRAINING_COST)] = "linear"
    weight_decay: Annotated[float, Setting("Weight decay.", TRAINING_COST, within=(0, 10))] = 0.01
    word_dropout: Annotated[
        float | None,
        Setting(
            "Share of words to leave out at random during training.",
            TRAINING_COST,
            unset="20% for scratch-dnn, else none",
            within=(0, 0.95),
        ),
    ] = None
    augment: Annotated[Augment, Setting("Random changes of training images.", TRAINING_COST)] = "auto"
    gradient_checkpointing: Annotated[
        bool,
        Setting(
            "Save memory by computing activations again in the backward pass, which takes a third more time.",
            TRAINING_COST,
        ),
    ] = False
    compile: Annotated[
        bool,
        Setting("Compile the layers with torch.compile: slow to start, then faster on a GPU.", TRAINING_COST),
    ] = False
    shard: Annotated[
        bool,
        Setting("Under torchrun, shard weights and optimizer state over the processes (FSDP).", ("fit",)),
    ] = False


@dataclass(frozen=True, kw_only=True)
class BudgetSettings:
    """Budget."""

    budget: Annotated[
        float | str,
        Setting(
            "Time to spend, such as 10m or 2h. With advise, or fit --regime auto, also a share of the time to compare"
            " everything.",
            (*SEVERAL_RUNS, "fit"),
            unset="30m; 10% with advise and auto",
            within=(1, 1e9),
            quantity="budget",
        ),
    ] = DEFAULT_BUDGET


@dataclass(frozen=True, kw_only=True)
class EffectSettings:
    """Choosing the winner."""

    min_effect: Annotated[
        float,
        Setting(
            "Smallest relative difference that matters, and the most that interpolation may cost.",
            TRAINING,
            within=(0, 1),
            quantity="share",
        ),
    ] = 0.01


@dataclass(frozen=True, kw_only=True)
class ConstraintSettings:
    """Choosing the winner."""

    max_size: Annotated[
        int | None,
        Setting(
            "Largest size of the chosen model, with all that it needs, such as 50MB.",
            TRAINING,
            unset="any",
            within=(1, 1e15),
            quantity="size",
        ),
    ] = None
    max_latency: Annotated[
        float | None,
        Setting(
            "Longest time of the chosen model for one row, such as 20ms.",
            TRAINING,
            unset="any",
            within=(1e-6, 3600),
            quantity="latency",
        ),
    ] = None
    licence: Annotated[
        tuple[str, ...],
        Setting(
            "Licenses that pretrained weights may have, such as apache-2.0,mit.",
            TRAINING,
            unset="any",
        ),
    ] = ()
    max_training_time: Annotated[
        float | None,
        Setting(
            "Longest time to search for a learning rate and train once, such as 2h.",
            TRAINING,
            unset="any",
            within=(1, 1e9),
            quantity="duration",
        ),
    ] = None
    pretrained: Annotated[bool, Setting("Allow pretrained weights.", TRAINING)] = True


@dataclass(frozen=True, kw_only=True)
class DeviceSettings:
    """Device to plan for."""

    device: Annotated[
        str | None,
        Setting("Device: cpu, h100, a100, l4, rtx4090 and others.", ("plan",), unset="this machine"),
    ] = None
    devices: Annotated[int, Setting("Number of devices.", ("plan",), within=(1, 100_000))] = 1
    price_per_hour: Annotated[
        float | None,
        Setting("Price of one device in US dollars.", ("plan",), unset="from a table", within=(0, 1e6)),
    ] = None


@dataclass(frozen=True, kw_only=True)
class RecordSettings:
    """Options."""

    examples: Annotated[bool, Setting("Show texts of test rows in the report.", REPORTING)] = True
    log: Annotated[bool, Setting("Log how long runs took, for `plan`. No texts are logged.", TRAINING)] = True


@dataclass(frozen=True, kw_only=True)
class OfflineSettings:
    """Options."""

    offline: Annotated[bool, Setting("Use only what is on this machine.")] = False


@dataclass(frozen=True, kw_only=True)
class AllSettings(
    ColumnSettings,
    DataSettings,  # its field comes first in Request(data, target): dataclasses begin with the last base
    ReadingSettings,
    RegimeSettings,
    SampleSettings,
    SeedSettings,
    TrainingSettings,
    LoopSettings,
    BudgetSettings,
    EffectSettings,
    ConstraintSettings,
    DeviceSettings,
    RecordSettings,
    OfflineSettings,
):
    """Every group."""


SETTINGS = declared(DataSettings, *(group for group in AllSettings.__bases__ if group is not DataSettings))


def settings_of_command(command: Command) -> dict[str, Declared]:
    """The settings that are flags of a command, or keyword arguments of its function."""
    return {name: each for name, each in SETTINGS.items() if command in each.commands}
