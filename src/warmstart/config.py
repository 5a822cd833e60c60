"""Config: flags, keyword arguments and YAML become one request; the only place where strings become objects.

Importing this loads neither torch nor transformers: a request is written down before they are.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from warmstart.data.schema import Columns, Scale, TaskName
from warmstart.errors import UsageError, did_you_mean, shortened
from warmstart.record import write_json

if TYPE_CHECKING:
    from warmstart.budget import Options

Command = Literal["compare", "fit", "check", "plan"]


@dataclass(frozen=True)
class Request:
    """Everything that a person can ask of `check`, `plan`, `compare` and `fit`, with its defaults."""

    data: tuple[str, ...]
    target: str | None = None
    command: Command = "compare"
    # columns
    text: tuple[str, ...] = ()
    group: str | None = None
    task: TaskName | None = None
    separator: str | None = None
    scale: Scale | None = None
    drop_bad_rows: bool = False
    # columns, of tasks that write text
    instruction: str | None = None
    fields: tuple[str, ...] = ()
    schema: str | None = None
    # what is compared, or fitted
    regimes: tuple[str, ...] = ()
    regime: str | None = None
    base: str | None = None
    model: str | None = None
    init: Literal["default", "xavier", "he", "normal"] = "default"
    parameters: int | None = None
    corpus: tuple[str, ...] = ()
    retain: str | None = None
    rows: tuple[int, ...] | Literal["auto"] = ()
    tokens: tuple[int, ...] = ()
    seeds: int = 3
    seed: int = 0
    # how it is trained
    trials: int = 3
    lr: float | None = None
    epochs: float | None = None
    length: float = 1.0
    batch_size: int | None = None
    micro_batch: int | None = None
    max_length: int = 256
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = 0.01
    dropout: float | None = None
    word_dropout: float = 0.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    shard: bool = False
    # how much is spent, and what is shown
    budget: float = 1800.0
    worth: float = 0.01
    examples: bool = True
    offline: bool = False
    log: bool = True
    noise_floor: float | None = None
    # what is planned for
    device: str | None = None
    devices: int = 1
    price_per_hour: float | None = None

    def __post_init__(self) -> None:
        for name, least, most in BOUNDS:
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                bounds = f"{_plain(least)} and {_plain(most)}"
                raise UsageError(
                    f"{name} is {_plain(value)}; it must lie between {bounds}.", f"correct --{_flag(name)}"
                )
        if self.rows != "auto" and any(n < 2 for n in self.rows):
            raise UsageError(f"rows is {_plain(self.rows)}; a model needs at least 2 rows.", "correct --rows")
        if self.command == "fit" and (self.rows == "auto" or len(self.rows) > 1):
            raise UsageError(f"rows is {_plain(self.rows)}; fit trains on one number of rows.", "name one with --rows")
        if any(n < FEWEST_TOKENS for n in self.tokens):
            raise UsageError(
                f"tokens is {_plain(self.tokens)}; a model needs at least {FEWEST_TOKENS:,} tokens.", "correct --tokens"
            )
        if self.command == "fit" and len(self.tokens) > 1:
            raise UsageError(
                f"tokens is {_plain(self.tokens)}; fit trains on one number of tokens.", "name one with --tokens"
            )

    @property
    def columns(self) -> Columns:
        return Columns(
            target=self.target or "",
            text=self.text,
            group=self.group,
            task=self.task,
            separator=self.separator,
            scale=self.scale,
            instruction=self.instruction,
            fields=self.fields,
            schema=self.schema,
            piece_bytes=BYTES_PER_TOKEN * self.max_length,
        )

    def options(self, regimes: tuple[str, ...]) -> "Options":
        """The part that `compare` reads."""
        from warmstart.budget import Options

        return Options(
            regimes=regimes,
            rows=self.rows,
            seeds=self.seeds,
            first_seed=self.seed,
            trials=self.trials,
            budget=self.budget,
            worth=self.worth,
            length=self.length,
            epochs=self.epochs,
            lr=self.lr,
            batch_size=self.batch_size,
            precision=self.precision,
            init=self.init,
            dropout=self.dropout,
            examples=self.examples,
            log=self.log,
            training={name: getattr(self, name) for name in TRAINING},
        )


FEWEST_TOKENS = 1000
BYTES_PER_TOKEN = 3  # of text, at least, by which documents are cut into pieces: tokenizers give 3 to 5 for English

# passed on to every run as they are
TRAINING = ("micro_batch", "optimizer", "schedule", "weight_decay", "word_dropout", "shard")

REMARKS = {
    "data": "files, a glob, a folder, or a hub id",
    "target": "the column to predict, or to write; null: a corpus, conversations, or fields",
    "text": "columns to read; empty: all that can be, or the one that holds texts",
    "group": "rows of one group stay on one side of the split",
    "task": f"{', '.join(get_args(TaskName))}; null: from the data",
    "separator": "splits a target cell into several labels",
    "scale": "linear, log10 or log10(1+x); null: log for skewed positive numbers",
    "drop_bad_rows": "leave unusable rows out, and list them",
    "instruction": "before each text to summarise, translate or describe; null: a sentence of the task's own",
    "fields": "columns that make up the JSON object to write, instead of a target",
    "schema": "a file with the JSON Schema of what is to be written; null: from the data",
    "regimes": "empty: all that are compared by default (warmstart regimes)",
    "regime": "for fit",
    "base": "pretrained weights: folder, Python package or hub id; null: all-MiniLM-L6-v2",
    "model": "an architecture of your own, file.py:function",
    "init": "random weights: default, xavier, he or normal",
    "parameters": "weights of a language model from scratch, e.g. 10M; null: the base's own architecture",
    "corpus": "text files or tables to learn the language from, for hybrid; empty: the task's own training texts",
    "retain": "a text file or table on which forgetting is measured; null: text of the base's own",
    "rows": "training rows to use, e.g. [250, 1000]; auto: three or four numbers up to all; empty: all",
    "tokens": "training tokens to use, e.g. [10M, 50M]; empty: all",
    "seeds": "draws of the training rows",
    "trials": "learning rates tried for each regime",
    "lr": "one learning rate, not searched",
    "epochs": "passes over the rows; null: each regime's own",
    "length": "times each regime's own number of steps",
    "batch_size": "rows a step; null: 16, or 32 from 2,000 rows",
    "micro_batch": "rows computed at a time, if memory is short; the result is that of batch_size",
    "max_length": "tokens read of a text",
    "optimizer": "adamw, adam or sgd",
    "schedule": "linear, cosine or constant, after a warm-up",
    "dropout": "of body and head; null: their own",
    "word_dropout": "share of words left out while training",
    "precision": "auto, fp32 or bf16",
    "shard": "for fit by many processes: cut weights and optimizer over them",
    "budget": "seconds, or for example 10m",
    "worth": "the smallest relative gain that matters",
    "examples": "whether texts of the test rows may stand in the report",
    "offline": "use nothing but what is on this machine",
    "log": "note what runs took, for `plan` without data; never a text",
    "device": "for plan: null is this machine; or h100, a100, l4, rtx4090 ...",
    "devices": "for plan: how many of them",
    "price_per_hour": "for plan: of one device; null: from a table",
}

BOUNDS: tuple[tuple[str, float, float], ...] = (
    ("seeds", 1, 100),
    ("trials", 1, 9),
    ("parameters", 1e4, 1e12),
    ("lr", 1e-9, 10),
    ("epochs", 1e-3, 10_000),
    ("length", 1e-3, 100),
    ("batch_size", 1, 65_536),
    ("micro_batch", 1, 65_536),
    ("max_length", 8, 100_000),
    ("weight_decay", 0, 10),
    ("dropout", 0, 0.95),
    ("word_dropout", 0, 0.95),
    ("budget", 1, 1e9),
    ("worth", 0, 1),
    ("devices", 1, 100_000),
    ("price_per_hour", 0, 1e6),
)


def save(request: Request, folder: Path) -> None:
    """Write the request down, so that `resume` works after a kill at any moment. Raises UsageError if it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "request.json", asdict(request))
    except OSError as error:
        raise UsageError(
            f"{str(folder)!r} cannot be written: {error.strerror}.", "name another folder with --out"
        ) from error


def load(folder: Path) -> Request:
    """The request that a run or a study was made with. Raises UsageError where there is none."""
    path = folder / "request.json"
    if not folder.is_dir():
        raise UsageError(f"there is no folder {str(folder)!r}.", "name a folder given as --out")
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            f"{str(folder)!r} holds neither a run nor a study (no request.json).", "name a folder given as --out"
        ) from error
    except (OSError, ValueError) as error:  # a folder of that name, or half a file
        raise UsageError(f"{path} is damaged: {error}.", "start again with the same command") from error
    if not isinstance(known, dict):
        raise UsageError(f"{path} is damaged: it holds no keys.", "start again with the same command")
    return from_mapping(known, dict.fromkeys(known, str(path)))


DEEPEST = 2  # a mapping, and lists in it

NEEDED = {
    "data": ("no data was named.", "name a file, a folder, a glob or a hub id, or `data` in the file of --config"),
}


def from_mapping(values: Mapping[str, Any], places: Mapping[str, str] | None = None) -> Request:
    """A request from keys and values, checked. `places` names the file that a key comes from, for messages.

    Raises UsageError for a key that is not known or not there, and for a value that cannot be.
    """
    from pydantic import TypeAdapter, ValidationError

    places = places or {}
    check_keys(values, places)
    without_data = values.get("command") == "plan" and values.get("task") and values.get("rows")  # from the log
    for key, (message, hint) in NEEDED.items():
        if not values.get(key) and not (without_data and not values.get("data")):
            raise UsageError(message, hint)
    try:
        request: Request = TypeAdapter(Request).validate_python({"data": ()} | dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        known = first.get("ctx", {}).get("error")
        if isinstance(known, UsageError):  # by the request itself, on numbers that are out of bounds
            raise known from None
        key = str(first["loc"][0])
        place = f"{places[key]}: " if key in places else ""
        said = first["msg"][0].lower() + first["msg"][1:]
        raise UsageError(f"{place}{key} is {shortened(first['input'])}: {said}.", f"correct {key}") from error
    return request


def check_keys(values: Mapping[str, Any], places: Mapping[str, str]) -> None:
    """Raises UsageError for the first key that no request has."""
    names = [f.name for f in fields(Request)]
    for key in values:
        if key not in names:
            place = f"{places[key]}: " if key in places else ""
            raise UsageError(f"{place}key {key!r} is not known.", did_you_mean(key, names))


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings in a YAML file; null means the default. Raises UsageError where it holds anything else.

    Aliases are refused: a few hundred bytes of them can grow into gigabytes. So is deep nesting: it takes minutes.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be read: {error.strerror}.", "check --config") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{str(path)!r} is not UTF-8 text.", "save it as UTF-8") from error
    example = "`warmstart init DATA --target COL` writes an example"
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise UsageError(f"{path} uses a YAML alias ({event.anchor!r}).", "write the value out")
            if depth > DEEPEST:
                raise UsageError(f"{path} is nested too deeply.", "write one `key: value` a line")
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}.", example) from error
    except (ValueError, OverflowError) as error:  # a date that is none, which YAML takes for one: 2024-13-45
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} holds a value that cannot be read: {error}.", "put it in quotes") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no keys.", f"write one `key: value` a line; {example}")
    values = {str(key).replace("-", "_"): value for key, value in found.items() if value is not None}
    check_keys(values, dict.fromkeys(values, str(path)))
    return {key: parsed(key, value) for key, value in values.items()}


LISTS = ("data", "text", "fields", "corpus", "regimes", "rows", "tokens")
AMOUNTS = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}


def parsed(key: str, value: Any) -> Any:
    """A value as a request holds it, from what people write: '10m', '1%', '250,1000', 'a,b'."""
    if key == "budget":
        return duration(str(value))
    if key == "worth":
        return share(str(value))
    if key == "parameters":
        return amount(key, value)
    if key == "task" and value == "auto":
        return None
    if key == "rows" and value == "auto":
        return value
    if key in LISTS:
        parts = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        parts = parts if isinstance(parts, list | tuple) else [parts]
        if key == "tokens":
            return tuple(amount(key, part) for part in parts)
        return tuple(_whole(part) for part in parts) if key == "rows" else tuple(str(part) for part in parts)
    return value


def override(pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` from the command line; `null` for the default."""
    found = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        found[key.replace("-", "_")] = None if value == "null" else parsed(key.replace("-", "_"), value)
    return found


def duration(text: str) -> float:
    """Seconds in '90', '90s', '10m', '1h30m'."""
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    if not match or not any(match.groups()):
        raise UsageError(f"{text!r} is no length of time.", "write for example 90s, 10m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def share(text: str) -> float:
    """0.01 in '1%' and in '0.01'."""
    try:
        return float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError as error:
        raise UsageError(f"{text!r} is no share.", "write for example 1% or 0.01") from error


def amount(key: str, value: Any) -> int:
    """A whole number in '10M', '1.5B', '250k' and '4000'. `key` names it in messages."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmbt]?)", str(value).strip().replace("_", "").lower(), re.ASCII)
    number = Fraction(match[1]) * AMOUNTS.get(match[2], 1) if match else None
    if number is None or number.denominator > 1:
        raise UsageError(f"{str(value)!r} is no number of {key}.", f"write for example --{key} 10M")
    return int(number)


def _whole(text: Any) -> int:
    try:
        return int(str(text).replace("_", ""))
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no number of rows.", "write for example --rows 1000, --rows 250,1000 or --rows auto"
        ) from error


NEVER_TYPED = ("command", "noise_floor")
PLANNED = ("device", "devices", "price_per_hour")
UNUSED: dict[
    Command, tuple[str, ...]
] = {  # keys that a command has no flag for; a file may set them for other commands
    "compare": (*NEVER_TYPED, *PLANNED, "regime", "shard"),
    "fit": (*NEVER_TYPED, *PLANNED, "regimes", "seeds", "budget", "worth", "examples"),
    "check": NEVER_TYPED,
    "plan": (*NEVER_TYPED, "regime", "shard", "worth", "examples", "log"),
}


def command_line(request: Request, out: str) -> str:
    """The command that repeats a request, with what differs from the defaults."""
    words = ["warmstart", request.command, *request.data]
    words += ["--target", request.target] if request.target else []
    default = Request(request.data, request.target)
    for entry in fields(Request):
        value = getattr(request, entry.name)
        if entry.name in ("data", "target", *UNUSED[request.command]) or value == getattr(default, entry.name):
            continue
        flag = f"--{_flag(entry.name)}"
        if entry.name in ("text", "corpus"):
            words += [part for column in value for part in (flag, column)]
        elif isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words += [flag, _plain(value)]
    return shlex.join([*words, "--out", out])


def _plain(value: Any) -> str:
    """A value as it is typed: 600 for 600.0, every digit that counts, commas between several."""
    if isinstance(value, tuple):
        return ",".join(map(_plain, value))
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _flag(name: str) -> str:
    return name.replace("_", "-")


def commented(request: Request) -> str:
    """A YAML file with every key, its value and a remark: for `warmstart init`."""
    import yaml

    lines = []
    for entry in fields(Request):
        if entry.name in NEVER_TYPED:
            continue
        value = getattr(request, entry.name)
        plain = list(value) if isinstance(value, tuple) else value
        flow = yaml.safe_dump({entry.name: plain}, default_flow_style=True, allow_unicode=True, width=10_000)
        text = flow.strip().removeprefix("{").removesuffix("}")
        remark = REMARKS.get(entry.name, "")
        lines.append(f"{text}  # {remark}" if remark else text)
    return "\n".join(lines) + "\n"
