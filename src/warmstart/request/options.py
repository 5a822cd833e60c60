"""Keys: what can be asked for, in which words, within which bounds, and by which commands?

A key of a request is a flag of some commands, a line of a YAML file and an argument in Python. Its default stands in
`config.Request`, everything else here. The order of the table is that of `--help`.
"""

from dataclasses import dataclass
from typing import Any, Literal

Command = Literal["check", "plan", "compare", "advise", "fit"]
Commands = tuple[Command, ...]
ValueType = type[Any]

ALL: Commands = ("check", "plan", "compare", "advise", "fit")
PLANNED: Commands = ("plan", "compare", "advise", "fit")  # what changes what a training takes
WRITING_TASKS: Commands = ("check", "compare", "advise", "fit")  # what tasks that write text need
TRAINING_COMMANDS: Commands = ("compare", "advise", "fit")
SEVERAL: Commands = ("plan", "compare", "advise")  # several regimes, or several seeds
COMPARING: Commands = ("compare", "advise")  # whose answer is a verdict
CHOOSING: Commands = ("compare", "advise", "fit")  # one of several regimes; fit with --regime auto


@dataclass(frozen=True)
class Option:
    """One key of a request."""

    kind: ValueType  # of what is typed: list: it may be typed again and again
    help: str  # beside the flag
    commands: Commands  # whose flag it is; a file may set it for others too
    remark: str | None = None  # in a YAML file; None: the same as beside the flag
    within: tuple[float, float] | None = None  # the least and the most
    negated: bool = False  # there is --no-NAME as well
    unit: str = ""  # that has to be typed after a number

    @property
    def words(self) -> str:
        """Beside it in a YAML file."""
        return self.help if self.remark is None else self.remark


OPTIONS: dict[str, Option] = {
    "data": Option(list[str], "files, a glob, a folder or a hub id; also key=value", ALL,
        remark="files, a glob, a folder, or a hub id"),
    "target": Option(str, "the column to predict, or to write", ALL,
        remark="the column to predict, or to write; null: a corpus, conversations, or fields"),
    "regime": Option(str, "how to train; `regimes` lists them; auto: what a race advises", ("fit",), remark="for fit"),
    "text": Option(list[str], "a column to read (repeatable); default: all that can be", ALL,
        remark="columns to read; empty: all that can be, or the one that holds texts"),
    "column": Option(list[str], "NAME=KIND: text, number, category, boolean or datetime (repeatable)", ALL,
        remark="how columns are read, e.g. [zip=category, day=datetime:dmy]; empty: by how their cells are written"),
    "group": Option(str, "rows of one group stay on one side of the split", ALL),
    "task": Option(str,
        "regression, classification, causal-lm, masked-lm, summarise, translate, chat, structured; default: auto", ALL,
        remark="regression, classification, causal-lm, masked-lm, summarise, translate, chat, structured; null: from"
        " the data"),
    "separator": Option(str, "splits a target cell into several labels", ALL),
    "scale": Option(str, "linear, log10 or log10(1+x); default: log for skewed positives", ALL,
        remark="linear, log10 or log10(1+x); null: log for skewed positive numbers"),
    "instruction": Option(str, "before each text to summarise, translate or describe", WRITING_TASKS,
        remark="before each text to summarise, translate or describe; null: a sentence of the task's own"),
    "fields": Option(str, "a,b,c: columns that make up the JSON object to write", WRITING_TASKS,
        remark="columns that make up the JSON object to write, instead of a target"),
    "schema": Option(str, "the JSON Schema of what is written; default: from the data", WRITING_TASKS,
        remark="a file with the JSON Schema of what is to be written; null: from the data"),
    "long": Option(str, "of a text too long head-tail (default) is read, or by summarise in chunks", WRITING_TASKS,
        remark="of a text too long, null: head and tail are read; chunks: for summarise, summaries of all its parts"),
    "drop_bad_rows": Option(bool, "leave unusable rows out, and list them", ALL),
    "base": Option(list[str], "pretrained weights: folder, Python package or hub id (repeatable)", ALL,
        remark="pretrained weights: folders, Python packages or hub ids, compared with each other; empty: the usual of"
        " the task"),
    "regimes": Option(str, "a,b,c (see `regimes`)", SEVERAL,
        remark="empty: all that are compared by default (warmstart regimes)"),
    "model": Option(str, "an architecture of your own, file.py:function (runs that file)", PLANNED,
        remark="an architecture of your own, file.py:function"),
    "init": Option(str, "random weights: default, xavier, he or normal", PLANNED),
    "parameters": Option(str, "weights of a language model from scratch: 10M", TRAINING_COMMANDS, within=(1e4, 1e12),
        remark="weights of a language model from scratch, e.g. 10M; null: the base's own architecture"),
    "corpus": Option(list[str], "texts to learn the language from, for hybrid (repeatable)", TRAINING_COMMANDS,
        remark="text files or tables to learn the language from, for hybrid; empty: the task's own training texts"),
    "general_text": Option(str, "general text: forgetting and mismatch are measured on it", TRAINING_COMMANDS,
        remark="a text file or table on which forgetting is measured; null: text of the base's own"),
    "reduce_forgetting": Option(str,
        "replay, l2-sp or interpolation; also replay=5%,l2-sp=100",
        TRAINING_COMMANDS,
        remark="against forgetting, e.g. [replay=5%, l2-sp=100, interpolation]; empty: nothing is done"),
    "rows": Option(str, "training rows to use: 1000, 250,1000,4000 or auto; default: all", PLANNED,
        remark="training rows to use, e.g. [250, 1000]; auto: three or four numbers up to all; empty: all"),
    "tokens": Option(str, "training tokens to use: 10M or 10M,50M; default: all", TRAINING_COMMANDS,
        remark="training tokens to use, e.g. [10M, 50M]; empty: all"),
    "seeds": Option(int, "draws of the training rows (3)", SEVERAL, within=(1, 100),
        remark="draws of the training rows"),
    "seed": Option(int, "the first seed", PLANNED, within=(0, 2**31)),
    "trials": Option(int, "learning rates tried for each regime (3)", PLANNED, within=(1, 9),
        remark="learning rates tried for each regime"),
    "lr": Option(float, "one learning rate, not searched", PLANNED, within=(1e-9, 10)),
    "epochs": Option(float, "passes over the rows; default: each regime's own", PLANNED, within=(1e-3, 10_000),
        remark="passes over the rows; null: each regime's own"),
    "length": Option(float, "times each regime's own number of steps (1)", PLANNED, within=(1e-3, 100),
        remark="times each regime's own number of steps"),
    "batch_size": Option(int, "rows a step; default: 16, or 32 from 2,000 rows", PLANNED, within=(1, 65_536),
        remark="rows a step; null: 16, or 32 from 2,000 rows"),
    "micro_batch": Option(int, "rows computed at a time, if memory is short; same result", PLANNED, within=(1, 65_536),
        remark="rows computed at a time, if memory is short; the result is that of batch_size"),
    "max_length": Option(int, "tokens read of a text (256)", ALL, within=(8, 100_000), remark="tokens read of a text"),
    "optimizer": Option(str, "adamw, adam or sgd", PLANNED),
    "optimizer_state": Option(str, "what adamw keeps of each weight: fp32, or bf16 in half the memory", PLANNED),
    "schedule": Option(str, "linear, cosine or constant, after a warm-up", PLANNED),
    "weight_decay": Option(float, "0.01", PLANNED, within=(0, 10), remark=""),
    "dropout": Option(float, "of body and head; default: their own", PLANNED, within=(0, 0.95),
        remark="of body and head; null: their own"),
    "word_dropout": Option(float, "share of words left out while training (0)", PLANNED, within=(0, 0.95),
        remark="share of words left out while training"),
    "precision": Option(str, "auto, fp32 or bf16", PLANNED),
    "gradient_checkpointing": Option(bool,
        "less memory: activations are computed again, for a third more time", PLANNED,
        remark="keep less between forward and backward pass, and compute it again: a third more time"),
    "compile": Option(bool, "the repeated blocks by torch: minutes at first, then faster steps on a GPU", PLANNED,
        remark="the repeated blocks by torch: minutes at first, then faster steps on a GPU"),
    "shard": Option(bool, "under torchrun: cut weights and optimizer over the processes", ("fit",),
        remark="for fit by many processes: cut weights and optimizer over them"),
    "budget": Option(str, "time to spend, e.g. 10m or 2h (30m); of advise and fit --regime auto also a share of what"
        " comparing all would take (10%)", (*SEVERAL, "fit"), within=(1, 1e9), unit="s",
        remark="seconds, or for example 10m; for advise also 10%"),
    "min_effect": Option(str,
        "the smallest gain that matters, and what --reduce-forgetting interpolation may cost (1%)", CHOOSING,
        within=(0, 1),
        remark="the smallest relative gain that matters, and what interpolation may cost of the score"),
    "max_size": Option(str, "of the chosen model, with all that it needs: 50MB", CHOOSING, within=(1, 1e15),
        remark="of the chosen model, with all that it needs, e.g. 50MB; null: any"),
    "max_latency": Option(str, "of a row by the chosen model: 20ms", CHOOSING, within=(1e-6, 3600), unit="s",
        remark="of a row by the chosen model, e.g. 20ms; null: any"),
    "licence": Option(str, "that pretrained weights may have: apache-2.0,mit", CHOOSING,
        remark="that pretrained weights may have, e.g. [apache-2.0, mit]; empty: any"),
    "max_training_time": Option(str, "time to search for a rate and train once: 2h", CHOOSING, within=(1, 1e9),
        unit="s",
        remark="time to search for a rate and train once, e.g. 2h; null: any"),
    "pretrained": Option(bool, "whether pretrained weights may be used", CHOOSING, negated=True),
    "examples": Option(bool, "texts in the report", COMPARING, negated=True,
        remark="whether texts of the test rows may stand in the report"),
    "device": Option(str, "cpu (here), h100, a100, l4, rtx4090 ...", ("plan",),
        remark="for plan: null is this machine; or h100, a100, l4, rtx4090 ..."),
    "devices": Option(int, "how many of them (1)", ("plan",), within=(1, 100_000), remark="for plan: how many of them"),
    "price_per_hour": Option(float, "of one device", ("plan",), within=(0, 1e6),
        remark="for plan: of one device; null: from a table"),
    "offline": Option(bool, "use nothing but what is on this machine", ALL),
    "log": Option(bool, "note what runs took, for `plan`", TRAINING_COMMANDS, negated=True,
        remark="note what runs took, for `plan` without data; never a text"),
}  # fmt: skip


def options_of_command(command: Command) -> tuple[str, ...]:
    """The keys that are flags of a command."""
    return tuple(name for name, key in OPTIONS.items() if command in key.commands)
