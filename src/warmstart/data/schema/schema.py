"""Schema: what did the user say about a table, and what was inferred?"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from warmstart.data.schema.columns import ClassType, Column, LabelNotation
from warmstart.errors import UsageError, join_phrases
from warmstart.results.metrics import rankings_of
from warmstart.settings.choices import BadRowsRule as BadRowsRule
from warmstart.settings.choices import Long as Long
from warmstart.settings.choices import Scale as Scale
from warmstart.settings.choices import TaskName as TaskName
from warmstart.settings.groups import ColumnSettings

if TYPE_CHECKING:
    from warmstart.data.tables.read import Table

CORPUS: tuple[TaskName, ...] = ("causal-lm", "masked-lm")  # rows are pieces of documents
TEXT_OUT: tuple[TaskName, ...] = ("summarise", "translate", "chat", "structured")  # rows are conversations
INSTRUCTED: tuple[TaskName, ...] = ("summarise", "translate", "structured")
PIECE_BYTES = 768  # 3 a token, at the 256 tokens that are read of a text by default


@dataclass(frozen=True)
class ColumnChoices(ColumnSettings):
    """What the user said about the columns; what follows from the values may be left to `infer_schema`."""

    target: str = ""  # "": none was named
    piece_bytes: int = PIECE_BYTES  # of a document, at most
    kinds: Mapping[str, str] = field(default_factory=dict)  # by column, as in "datetime:dmy"; else from the values

    @property
    def not_read(self) -> tuple[str | None, ...]:
        """The columns that divide rows or are predicted, and are no inputs unless they are named as such."""
        return (self.target, self.group, self.time)


@dataclass(frozen=True)
class Schema:
    """What was recognized. `notes` say why, one sentence each, for `check` and the report."""

    task: TaskName
    target: str  # "" where it is no column of its own: a corpus, conversations in one column, `fields`
    text: tuple[str, ...]
    labelled: bool  # True: an input is written as "column: value" lines, False: the texts joined by newlines
    group: str | None
    ignored: dict[str, str]  # column -> why it does not feed the model
    scale: Scale  # "linear" for all but regression
    multi_label: bool
    separator: str | None
    notes: tuple[str, ...] = field(default=())
    instruction: str | None = None  # stands before each text that is to be summarized, translated or described
    fields: tuple[str, ...] = ()  # columns that make up the JSON object
    json_schema: dict[str, Any] | None = None  # of the JSON objects that are to be written
    piece_bytes: int = 0  # of a document, at most; 0 where rows are not pieces
    long: Long = "head-tail"  # of a text-out task, what becomes of a text that does not fit
    system: str | None = None  # of chat, the column of the system turn beside that of the turns, or of the prompt
    history: str | None = None  # of chat, the column of earlier questions and answers, in pairs
    # how each column of `text` is read, in the same order; () for tasks of language, whose columns are all text
    columns: tuple[Column, ...] = ()
    # of classification:
    notation: LabelNotation | None = None  # how several labels are written in a cell; None: there is one
    class_type: ClassType = "text"  # of the classes in the training table, and of predictions in Python
    spellings: Mapping[str, str] = field(default_factory=dict)  # of classes that are not written as Python prints them
    class_weights: Mapping[str, float] | None = None  # in the loss, by class; empty: balanced; None: all alike
    costs: Mapping[str, Mapping[str, float]] | None = None  # of mistakes, by true class, by predicted class
    time: str | None = None  # the column by which rows are split: the latest are for testing
    metric: str = ""  # that everything is chosen by; "": the task's own
    other_names: Mapping[str, str] = field(default_factory=dict)  # of columns in new tables -> the names known here
    target_column: Column | None = None  # of a target with units, thousands separators or decimal commas; else None

    def column(self, name: str) -> Column:
        """How a column is read: as text where nothing else is known, as of models of earlier versions."""
        return next((column for column in self.columns if column.name == name), Column(name, "text"))

    def to_json(self) -> dict[str, Any]:
        target = self.target_column.to_json() if self.target_column else None
        return {**asdict(self), "columns": [column.to_json() for column in self.columns], "target_column": target}

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> "Schema":
        """The schema that was written as JSON, also by a version that knew no kinds of columns."""
        said: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in known.items()}
        said["columns"] = tuple(map(Column.from_json, known.get("columns", ())))
        target = known.get("target_column")
        said["target_column"] = Column.from_json(target) if target else None
        return cls(**said)

    def renames_for(self, there: Collection[str]) -> dict[str, str]:
        """Of the columns that are there, those known by another name, with that name."""
        return {new: old for new, old in self.other_names.items() if new in there and old not in there}

    @property
    def answers(self) -> str:
        """What holds the answers of a text-out task, for messages: "column 'synopsis'"."""
        columns = self.fields or (self.target or self.text[0],)
        return f"column{'s' if len(columns) > 1 else ''} {join_phrases(columns, quote=True)}"


def check_meant(columns: ColumnChoices, task: TaskName) -> None:
    """Raises UsageError where something was said that means nothing for the task."""
    for name, said, tasks in (
        ("instruction", columns.instruction, INSTRUCTED),
        ("fields", columns.fields, ("structured",)),
        ("schema", columns.schema, ("structured",)),
        ("separator", columns.separator, ("classification", "structured")),
        ("long head-tail", columns.long == "head-tail", TEXT_OUT),
        ("long chunks", columns.long == "chunks", ("summarise",)),
        ("scale", columns.scale not in (None, "linear"), ("regression",)),
        ("class-weights", columns.class_weights, ("classification",)),
        ("costs", columns.costs, ("classification",)),
    ):
        if said and task not in tasks:
            raise UsageError(f"--{name} is for {join_phrases(tasks)}, but the task is {task}", "leave it out")


def chosen_metric(columns: ColumnChoices, task: TaskName, multi_label: bool = False) -> str:
    """The name of the metric that was asked for; "" for the task's own.

    Raises UsageError for one that the task is not ranked by.
    """
    known = rankings_of(task, multi_label)
    if columns.metric is None:
        return ""
    if columns.metric not in known:
        what = "sets of labels" if multi_label else task
        can = f"choose one of {', '.join(known)}" if known else "leave it out"
        raise UsageError(f"--metric {columns.metric} does not rank {what}.", can)
    return "" if columns.metric == next(iter(known)) else known[columns.metric]


def describe_files(table: "Table") -> str:
    """The table, for messages."""
    return table.files[0] if len(table.files) == 1 else f"these {len(table.files)} files"
