"""Config: flags, keyword arguments and YAML become one request; the only place where strings become objects.

Importing this loads neither torch nor transformers: a request is written down before they are.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from warmstart.data.schema.schema import ColumnChoices, Long, Scale, TaskName
from warmstart.errors import InputError, UsageError, did_you_mean, flag, shorten
from warmstart.models.pretrained.licences import normalize_licence
from warmstart.quantities import (
    parse_share,
)
from warmstart.request.forgetting_options import ForgettingOptions, forgetting_options
from warmstart.request.options import OPTIONS, Command
from warmstart.results.constraints import Constraints
from warmstart.runtime.files import check_links, read_json, write_json
from warmstart.runtime.load_pretrained import go_offline

if TYPE_CHECKING:
    from warmstart.planning.problem import Options


from warmstart.results.constraints import DEFAULT_BUDGET

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
    general_text: str | None = None
    reduce_forgetting: tuple[str, ...] = ()
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
    optimizer_state: Literal["fp32", "bf16"] = "fp32"
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = 0.01
    dropout: float | None = None
    word_dropout: float = 0.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    gradient_checkpointing: bool = False
    compile: bool = False
    shard: bool = False
    # how much is spent
    budget: float | str = DEFAULT_BUDGET  # seconds; of a race also a share of the whole comparison's: "10%"
    min_effect: float = 0.01
    # what the chosen model has to keep to
    max_size: int | None = None
    max_latency: float | None = None
    licence: tuple[str, ...] = ()
    max_training_time: float | None = None
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
        for name, key in OPTIONS.items():
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
        if any(n < MIN_TRAINING_TOKENS for n in self.tokens):
            raise UsageError(
                f"tokens is {_plain(self.tokens)}; a model needs at least {MIN_TRAINING_TOKENS:,} tokens.",
                "correct --tokens",
            )
        if self.command == "fit" and len(self.tokens) > 1:
            raise UsageError(
                f"tokens is {_plain(self.tokens)}; fit trains on one number of tokens.", "name one with --tokens"
            )

        if self.compile and self.shard:
            raise UsageError("compile is for whole weights, not for --shard.", "leave one out")
        if self.compile and self.gradient_checkpointing:
            raise UsageError("compile and gradient_checkpointing do not go together.", "leave one out")
        if self.optimizer_state == "bf16" and (self.optimizer != "adamw" or self.shard):
            other = "--shard" if self.shard else f"--optimizer {self.optimizer}"
            raise UsageError(
                f"optimizer_state is bf16, which is for adamw on whole weights, not for {other}.", "leave one out"
            )
        assert self.forgetting  # read once, for what is wrong with them

    def _check_part(self) -> None:
        part = parse_share(str(self.budget))
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
        return parse_share(self.budget) if isinstance(self.budget, str) else None

    @property
    def columns(self) -> ColumnChoices:
        return ColumnChoices(
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
    def forgetting(self) -> ForgettingOptions:
        """Against forgetting."""
        return forgetting_options(self.reduce_forgetting)

    @property
    def constraints(self) -> Constraints:
        licences = tuple(normalize_licence(name) for name in self.licence)
        return Constraints(self.max_size, self.max_latency, licences, self.max_training_time, self.pretrained)

    def options(self, regimes: tuple[str, ...]) -> "Options":
        """The part that `compare` reads."""
        from warmstart.planning.problem import Options

        return Options(
            regimes=regimes,
            rows=self.rows,
            tokens=self.tokens,
            seeds=self.seeds,
            first_seed=self.seed,
            trials=self.trials,
            budget=DEFAULT_BUDGET if isinstance(self.budget, str) else self.budget,
            min_effect=self.min_effect,
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
            forgetting=self.forgetting.training,
            interpolate=self.forgetting.interpolate,
        )


AUTO = "auto"  # the regime that a race advises
DEFAULT_RACE_SHARE = "10%"  # of the whole comparison's time, for a race
MIN_TRAINING_TOKENS = 1000
BYTES_PER_TOKEN = 3  # of text, at least, by which documents are cut into pieces: tokenizers give 3 to 5 for English

# passed on to every run as they are
TRAINING = (
    "micro_batch",
    "optimizer",
    "optimizer_state",
    "schedule",
    "weight_decay",
    "word_dropout",
    "gradient_checkpointing",
    "compile",
    "shard",
)


def save_request(request: Request, folder: Path) -> None:
    """Write the request down, so that `resume` works after a kill at any moment. Raises UsageError if it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "request.json", asdict(request))
    except OSError as error:
        raise UsageError(
            f"{str(folder)!r} cannot be written: {error.strerror}.", "name another folder with --out"
        ) from error


def load_request(folder: Path) -> Request:
    """The request that a run or a study was made with. Raises UsageError where there is none."""
    path = folder / "request.json"
    if not folder.is_dir():
        raise UsageError(f"there is no folder {str(folder)!r}.", "name a folder given as --out")
    try:
        known = read_json(path, dict[str, Any], "start again with the same command")
    except FileNotFoundError as error:
        raise UsageError(
            f"{str(folder)!r} holds neither a run nor a study (no request.json).", "name a folder given as --out"
        ) from error
    except InputError as error:
        raise UsageError(error.message, error.hint) from error
    check_links(folder)
    if not isinstance(known.get("base", []), list):  # one was named, or none, before there could be several
        known["base"] = [known["base"]] if known["base"] else []
    return from_mapping(known, dict.fromkeys(known, str(path)))


def holds_request(folder: Path) -> bool:
    """Whether a run or a study was begun in it."""
    try:
        load_request(folder)
    except UsageError:
        return False
    return True


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
    if values.get("offline"):
        go_offline()
    if values.get("command") == "advise" or (values.get("command") == "fit" and values.get("regime") == AUTO):
        values = {"budget": DEFAULT_RACE_SHARE} | dict(values)
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
        raise UsageError(f"{place}{key} is {shorten(first['input'])}: {said}.", hint) from error
    return request


def check_keys(values: Mapping[str, Any], places: Mapping[str, str]) -> None:
    """Raises UsageError for the first key that no request has."""
    names = [f.name for f in fields(Request)]
    for key in values:
        if key not in names:
            place = f"{places[key]}: " if key in places else ""
            raise UsageError(f"{place}key {key!r} is not known.", did_you_mean(key, names))


def _plain(value: Any) -> str:
    """A value as it is typed: 600 for 600.0, every digit that counts, commas between several."""
    if isinstance(value, tuple):
        return ",".join(map(_plain, value))
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
