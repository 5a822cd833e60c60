"""Groups: which settings are there, with which defaults? Each is declared once: here, in `training` or in `winner`.

A request holds all of them; what a layer below needs inherits the groups that it needs (`schema.ColumnChoices`,
`problem.Options`). The order of the groups is that of `--help` and of a YAML file; their first lines are its headings.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from warmstart.settings.choices import DEFAULT_SEEDS, MAX_LENGTH, BadRowsRule, Long, MetricName, Scale, TaskName
from warmstart.settings.setting import (
    REPORTING,
    SEVERAL_RUNS,
    TRAINING,
    Command,
    Declared,
    Setting,
    declared,
)
from warmstart.settings.training import LoopSettings, TrainingSettings
from warmstart.settings.winner import BudgetSettings, ConstraintSettings, EffectSettings, RefitSettings


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
        Setting("Column to predict or generate. Not needed for a corpus, conversations or --fields."),
    ] = None
    text: Annotated[tuple[str, ...], Setting("Input columns.", unset="all usable columns", repeat=True)] = ()
    group: Annotated[
        str | None,
        Setting("Column with groups. All rows of a group stay on the same side of the split."),
    ] = None
    time: Annotated[
        str | None, Setting("Column of times. The latest rows are for testing, those before them for validation.")
    ] = None
    task: Annotated[TaskName | None, Setting("Task.", unset="inferred from the data")] = None
    separator: Annotated[str | None, Setting("Character that separates several labels in one target cell.")] = None
    scale: Annotated[
        Scale | None,
        Setting("Scale of a numeric target.", unset="log for skewed positive numbers"),
    ] = None
    metric: Annotated[
        MetricName | None,
        Setting("Metric to rank, choose and stop by.", unset="the task's own"),
    ] = None
    class_weights: Annotated[
        str | None,
        Setting(
            "Weight of each class or label in the loss: balanced, or a YAML or JSON file of class: weight.",
            unset="all alike",
        ),
    ] = None
    costs: Annotated[
        str | None,
        Setting(
            'Costs of mistakes: "spam>ham=1,ham>spam=5" (true class > predicted class), or a CSV file with a row for '
            "each true and a column for each predicted class.",
            unset="every mistake costs the same",
        ),
    ] = None
    instruction: Annotated[
        str | None,
        Setting(
            "Instruction placed before each text to summarize, translate or describe.",
            unset="a sentence for the task",
        ),
    ] = None
    fields: Annotated[
        tuple[str, ...],
        Setting("Columns of the JSON object to generate, instead of a target."),
    ] = ()
    schema: Annotated[
        str | None,
        Setting("File with the JSON Schema of the generated object.", unset="inferred from the data"),
    ] = None
    long: Annotated[
        Long | None,
        Setting(
            "How to handle long texts: keep head and tail, or (summarise only) summarize in chunks.",
            unset="head-tail",
        ),
    ] = None
    image: Annotated[
        str | None,
        Setting("Column with images: paths or bytes.", unset="recognized if it is the only input"),
    ] = None
    image_size: Annotated[
        int | None,
        Setting(
            "Pixels per side that images are resized to. Networks without a base never enlarge them.",
            unset="the base's own size; without a base, that of the images, at most 64",
            within=(8, 1024),
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ReadingSettings:
    """Data and columns."""

    table: Annotated[str | None, Setting("Table of an SQLite database.", unset="the only one")] = None
    column: Annotated[
        tuple[str, ...],
        Setting(
            "NAME=KIND, the kind of a column: text, number, category, boolean, datetime or image.",
            unset="inferred from its cells",
            repeat=True,
        ),
    ] = ()
    max_length: Annotated[int, Setting("Maximum number of tokens per text.", within=(8, 100_000))] = MAX_LENGTH
    bad_rows: Annotated[
        BadRowsRule | None,
        Setting("Unusable rows: drop and list them, or stop with an error.", unset="drop up to 5% of all rows"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class RegimeSettings:
    """Regimes and bases."""

    regime: Annotated[
        str | None,
        Setting("Regime to train (see `warmstart regimes`). auto: run a race and train its choice.", ("fit",)),
    ] = None
    regimes: Annotated[
        tuple[str, ...],
        Setting(
            "Regimes to compare (see `warmstart regimes`).",
            SEVERAL_RUNS,
            unset="the default ones for the task",
        ),
    ] = ()
    base: Annotated[
        tuple[str, ...],
        Setting(
            "Pretrained models to compare: folders, Python packages or Hugging Face ids.",
            unset="the default one for the task",
            repeat=True,
        ),
    ] = ()
    trust_code: Annotated[
        tuple[str, ...],
        Setting(
            "GitHub repository, as owner/repo, whose code may run on this machine for a base of PyTorch Hub.",
            TRAINING,
            unset="none",
            repeat=True,
        ),
    ] = ()
    previous: Annotated[
        str | None,
        Setting(
            "Folder of an earlier study or run. Its model is compared as it is, and trained further; the others learn "
            "from its rows and the new ones.",
            ("compare",),
        ),
    ] = None
    previous_data: Annotated[
        tuple[str, ...],
        Setting(
            "Files with the rows of the earlier study, if they were moved. none: train on the new rows alone.",
            ("compare",),
            unset="those it was made with",
            repeat=True,
        ),
    ] = ()
    rename: Annotated[
        tuple[str, ...],
        Setting(
            "OLD=NEW, a column of the earlier model and what it is called in the new table.", ("compare",), repeat=True
        ),
    ] = ()
    shrink: Annotated[
        float | None,
        Setting(
            "Share of the earlier model's weights to keep before it is trained further, with a little noise added "
            "(shrink and perturb), such as 0.4.",
            ("compare",),
            unset="all",
            within=(0, 1),
        ),
    ] = None
    prompted_endpoint: Annotated[
        str | None,
        Setting(
            "Address of an OpenAI-compatible API for regime prompted-endpoint. Rows leave this machine: they are sent "
            "to it. Its key is read from WARMSTART_ENDPOINT_KEY.",
            TRAINING,
        ),
    ] = None
    prompted_model: Annotated[str | None, Setting("Name of the model to ask at the endpoint.", TRAINING)] = None
    prompted_tokens: Annotated[
        int,
        Setting(
            "Maximum number of tokens to send to and receive from the endpoint, such as 5M.",
            TRAINING,
            within=(1, 1e12),
            quantity="amount",
        ),
    ] = 1_000_000
    prompted_price: Annotated[
        float | None,
        Setting("Price of a million tokens at the endpoint, in US dollars.", TRAINING, within=(0, 1e6)),
    ] = None
    model: Annotated[
        str | None,
        Setting("Your own architecture, as file.py:function. The file is executed.", TRAINING),
    ] = None
    parameters: Annotated[
        int | None,
        Setting(
            "Number of weights of a model trained from scratch, such as 10M.",
            TRAINING,
            unset="as many as the base",
            within=(1e4, 1e12),
            quantity="amount",
        ),
    ] = None
    corpus: Annotated[
        tuple[str, ...],
        Setting(
            "Text files or tables for the language-modeling stage of hybrid.",
            TRAINING,
            unset="the training texts",
            repeat=True,
        ),
    ] = ()
    general_text: Annotated[
        str | None,
        Setting("Text file or table on which to measure forgetting.", TRAINING, unset="text written by the base"),
    ] = None
    reduce_forgetting: Annotated[
        tuple[str, ...],
        Setting(
            "Ways to reduce forgetting: replay, l2-sp, interpolation; with a strength: replay=5%, l2-sp=100.",
            TRAINING,
            unset="none",
        ),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """Rows and seeds."""

    rows: Annotated[
        tuple[int, ...] | Literal["auto"],
        Setting(
            "Number of training rows, such as 1000 or 250,1000,4000. auto: three or four sizes.",
            TRAINING,
            unset="all",
            quantity="count",
        ),
    ] = ()
    tokens: Annotated[
        tuple[int, ...],
        Setting("Number of training tokens, such as 10M or 10M,50M.", TRAINING, unset="all", quantity="amount"),
    ] = ()
    seeds: Annotated[
        int,
        Setting("Number of seeds. Each draws its own training rows.", SEVERAL_RUNS, within=(1, 100)),
    ] = DEFAULT_SEEDS
    splits: Annotated[
        int,
        Setting(
            "Number of times to split the rows, each time with another seed, for tables of few rows. Intervals then "
            "cover the draw of the split.",
            ("plan", "compare"),
            within=(1, 100),
        ),
    ] = 1


@dataclass(frozen=True, kw_only=True)
class SeedSettings:
    """Rows and seeds."""

    seed: Annotated[int, Setting("First seed.", TRAINING, within=(0, 2**31))] = 0


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
class WorkerSettings:
    """Workers."""

    on: Annotated[
        str | None,
        Setting(
            "Run jobs on workers of Ray: ray (on this machine) or ray://HOST:PORT (on a cluster).",
            ("compare",),
            unset="in this process",
        ),
    ] = None
    workers: Annotated[
        int | None,
        Setting("Number of workers.", ("compare",), unset="as many as there are processors for", within=(1, 10_000)),
    ] = None
    worker_threads: Annotated[
        int,
        Setting("Threads of each worker. The last digits of results depend on it.", ("compare",), within=(1, 1024)),
    ] = 1


@dataclass(frozen=True, kw_only=True)
class RecordSettings:
    """Options."""

    examples: Annotated[bool, Setting("Show texts of test rows in the report.", REPORTING)] = True
    track: Annotated[
        tuple[str, ...],
        Setting(
            "Also write metrics for a tracker: mlflow:FOLDER, tensorboard:FOLDER or wandb:FOLDER (offline).",
            TRAINING,
            unset="none",
            repeat=True,
        ),
    ] = ()
    log: Annotated[bool, Setting("Log the cost of each run, for `plan`. No texts are logged.", TRAINING)] = True


@dataclass(frozen=True, kw_only=True)
class OfflineSettings:
    """Options."""

    offline: Annotated[bool, Setting("Do not download anything.")] = False


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
    RefitSettings,
    ConstraintSettings,
    DeviceSettings,
    WorkerSettings,
    RecordSettings,
    OfflineSettings,
):
    """Every group."""


SETTINGS = declared(DataSettings, *(group for group in AllSettings.__bases__ if group is not DataSettings))


def settings_of_command(command: Command) -> dict[str, Declared]:
    """The settings that are flags of a command, or keyword arguments of its function."""
    return {name: each for name, each in SETTINGS.items() if command in each.commands}
