"""Config: flags, keyword arguments and YAML become one request; the only place where strings become objects.

Importing this loads neither torch nor transformers: a request is written down before they are.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from warmstart.constraints import Constraints
from warmstart.data.schema import Columns, Long, Scale, TaskName
from warmstart.errors import UsageError, did_you_mean, shortened
from warmstart.keys import KEYS, Command, flag, taken_by
from warmstart.licences import plain
from warmstart.quantities import amount, count, duration, number, share, size, wait
from warmstart.record import write_json
from warmstart.remedies import Remedies, remedies

if TYPE_CHECKING:
    from warmstart.problem import Options


HALF_AN_HOUR = 1800.0  # seconds


MAX_LENGTH = 256  # tokens read of a text, where nothing else is asked for


@dataclass(frozen=True)
class Request:
    """Everything that a person can ask of `check`, `plan`, `compare`, `advise` and `fit`, with its defaults."""

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
    long: Long | None = None
    # what is compared, or fitted
    regimes: tuple[str, ...] = ()
    regime: str | None = None
    base: tuple[str, ...] = ()
    model: str | None = None
    init: Literal["default", "xavier", "he", "normal"] = "default"
    parameters: int | None = None
    corpus: tuple[str, ...] = ()
    retain: str | None = None
    keep: tuple[str, ...] = ()
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
    max_length: int = MAX_LENGTH
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    moments: Literal["fp32", "bf16"] = "fp32"
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = 0.01
    dropout: float | None = None
    word_dropout: float = 0.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    gradient_checkpointing: bool = False
    compile: bool = False
    shard: bool = False
    # how much is spent
    budget: float | str = HALF_AN_HOUR  # seconds; of a race also a share of the whole comparison's: "10%"
    worth: float = 0.01
    # what the chosen model has to keep to
    max_size: int | None = None
    max_latency: float | None = None
    licence: tuple[str, ...] = ()
    max_train: float | None = None
    pretrained: bool = True
    # what is shown
    examples: bool = True
    offline: bool = False
    log: bool = True
    noise_floor: float | None = None
    # what is planned for
    device: str | None = None
    devices: int = 1
    price_per_hour: float | None = None

    def __post_init__(self) -> None:
        for name, key in KEYS.items():
            value = getattr(self, name)
            if name == "budget" and isinstance(value, str):
                self._check_part()
            elif key.within and value is not None and not key.within[0] <= value <= key.within[1]:
                bounds = " and ".join(map(_plain, key.within))
                raise UsageError(f"{name} is {_plain(value)}; it must lie between {bounds}.", f"correct {flag(name)}")
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

        if self.compile and self.shard:
            raise UsageError("compile is for whole weights, not for --shard.", "leave one out")
        if self.compile and self.gradient_checkpointing:
            raise UsageError("compile and gradient_checkpointing do not go together.", "leave one out")
        if self.moments == "bf16" and (self.optimizer != "adamw" or self.shard):
            other = "--shard" if self.shard else f"--optimizer {self.optimizer}"
            raise UsageError(f"moments is bf16, which is for adamw on whole weights, not for {other}.", "leave one out")
        assert self.remedies  # read once, for what is wrong with them

    def _check_part(self) -> None:
        part = share(str(self.budget))
        if not self.races:
            raise UsageError(
                f"budget is {self.budget}; a share is for advise and fit --regime auto.",
                "write a length of time, e.g. --budget 30m",
            )
        if not 0.001 <= part <= 1:
            raise UsageError(f"budget is {self.budget}; it must lie between 0.1% and 100%.", "correct --budget")

    @property
    def races(self) -> bool:
        """Whether the answer comes from a race."""
        return self.command == "advise" or (self.command == "fit" and self.regime == AUTO)

    @property
    def part(self) -> float | None:
        """Of the whole comparison's time, to be spent on a race; None where seconds are given."""
        return share(self.budget) if isinstance(self.budget, str) else None

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
            long=self.long,
            piece_bytes=BYTES_PER_TOKEN * self.max_length,
        )

    @property
    def remedies(self) -> Remedies:
        """Against forgetting."""
        return remedies(self.keep)

    @property
    def constraints(self) -> Constraints:
        licences = tuple(plain(name) for name in self.licence)
        return Constraints(self.max_size, self.max_latency, licences, self.max_train, self.pretrained)

    def options(self, regimes: tuple[str, ...]) -> "Options":
        """The part that `compare` reads."""
        from warmstart.problem import Options

        return Options(
            regimes=regimes,
            rows=self.rows,
            tokens=self.tokens,
            seeds=self.seeds,
            first_seed=self.seed,
            trials=self.trials,
            budget=HALF_AN_HOUR if isinstance(self.budget, str) else self.budget,
            worth=self.worth,
            length=self.length,
            read_so_far=self.max_length != MAX_LENGTH,  # it was asked for
            epochs=self.epochs,
            lr=self.lr,
            batch_size=self.batch_size,
            precision=self.precision,
            init=self.init,
            dropout=self.dropout,
            examples=self.examples,
            log=self.log,
            constraints=self.constraints,
            training={name: getattr(self, name) for name in TRAINING},
            keeping=self.remedies.training,
            mixed=self.remedies.mixed,
        )


AUTO = "auto"  # the regime that a race advises
PART = "10%"  # of the whole comparison's time, for a race
FEWEST_TOKENS = 1000
BYTES_PER_TOKEN = 3  # of text, at least, by which documents are cut into pieces: tokenizers give 3 to 5 for English

# passed on to every run as they are
TRAINING = (
    "micro_batch",
    "optimizer",
    "moments",
    "schedule",
    "weight_decay",
    "word_dropout",
    "gradient_checkpointing",
    "compile",
    "shard",
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
    if not isinstance(known.get("base", []), list):  # one was named, or none, before there could be several
        known["base"] = [known["base"]] if known["base"] else []
    return from_mapping(known, dict.fromkeys(known, str(path)))


def holds_request(folder: Path) -> bool:
    """Whether a run or a study was begun in it."""
    try:
        load(folder)
    except UsageError:
        return False
    return True


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
    if values.get("command") == "advise" or (values.get("command") == "fit" and values.get("regime") == AUTO):
        values = {"budget": PART} | dict(values)
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
        named = re.findall(r"'([^']*)'", str(first.get("ctx", {}).get("expected", "")))
        hint = did_you_mean(str(first["input"]), named) if named else f"correct {key}"
        raise UsageError(f"{place}{key} is {shortened(first['input'])}: {said}.", hint) from error
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


LISTS = ("data", "text", "base", "fields", "corpus", "keep", "regimes", "licence", "rows", "tokens")


def parsed(key: str, value: Any) -> Any:
    """A value as a request holds it, from what people write: '10m', '1%', '250,1000', 'a,b'."""
    if key == "budget" and str(value).strip().endswith("%"):
        share(str(value))
        return str(value).strip()
    if key in ("budget", "max_train"):
        typed = isinstance(value, str)
        return duration(value if typed else f"{value}s")  # from Python: seconds
    if key == "worth":
        return share(str(value))
    if key == "max_size":
        return size(key, value)
    if key == "max_latency":
        return wait(key, value)
    if key == "parameters":
        return amount(key, value)
    if key == "task" and value == "auto":
        return None
    if key == "rows" and value == "auto":
        return value
    if key in LISTS:
        parts = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        parts = parts if isinstance(parts, list | tuple) else [parts]
        if isinstance(value, str) and not parts:
            raise UsageError(f"{flag(key)} is empty.", "give it a value, or leave it out")
        if key == "tokens":
            return tuple(amount(key, part) for part in parts)
        return tuple(count(part) for part in parts) if key == "rows" else tuple(str(part) for part in parts)
    return value


def typed(key: str, value: Any) -> Any:
    """The same for what is typed after a flag."""
    kind = KEYS[key].kind
    return number(key, value, kind) if kind in (int, float) else parsed(key, value)


def override(pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` from the command line; `null` for the default."""
    found = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        found[key.replace("-", "_")] = None if value == "null" else parsed(key.replace("-", "_"), value)
    return found


NEVER_TYPED = ("command", "noise_floor")
FOR_A_CHOICE = {"budget", "max_size", "max_latency", "licence", "max_train", "pretrained"}  # of one among regimes


def command_line(request: Request, out: str) -> str:
    """The command that repeats a request, with what differs from the defaults."""
    words = ["warmstart", request.command, *request.data]
    words += ["--target", request.target] if request.target else []
    default = Request(request.data, request.target)
    taken = set(taken_by(request.command)) - {"data", "target"}
    if request.command == "fit" and not request.races:
        taken -= FOR_A_CHOICE
    for entry in fields(Request):
        value = getattr(request, entry.name)
        if entry.name not in taken or value == getattr(default, entry.name):
            continue
        if KEYS[entry.name].kind == list[str]:
            words += [part for column in value for part in (flag(entry.name), column)]
        elif isinstance(value, bool):
            words.append(flag(entry.name if value else f"no_{entry.name}"))
        else:
            unit = "" if isinstance(value, str) else KEYS[entry.name].unit  # a share has none
            words += [flag(entry.name), _plain(value) + unit]
    return shlex.join([*words, "--out", out])


def _plain(value: Any) -> str:
    """A value as it is typed: 600 for 600.0, every digit that counts, commas between several."""
    if isinstance(value, tuple):
        return ",".join(map(_plain, value))
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


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
        remark = KEYS[entry.name].words
        lines.append(f"{text}  # {remark}" if remark else text)
    return "\n".join(lines) + "\n"
