"""Request: how do flags, keyword arguments and YAML become one request? Only here do strings become objects.

Importing this loads neither torch nor transformers: a request is saved before they are loaded.
"""

import glob
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmstart.data.schema.columns import parse_kinds
from warmstart.data.schema.schema import ColumnChoices
from warmstart.errors import InputError, UsageError, did_you_mean, flag, shorten
from warmstart.models.pretrained.licenses import normalize_license
from warmstart.quantities import REFERENCE_FLOPS, parse_share
from warmstart.regimes.search_space import MOST_TRIALS, SearchEffort, require_optuna
from warmstart.request.forgetting_options import ForgettingOptions, forgetting_options
from warmstart.results.constraints import Constraints
from warmstart.runtime.files import check_links, read_json, write_json
from warmstart.runtime.load_pretrained import go_offline
from warmstart.settings.choices import DEFAULT_BUDGET, DEFAULT_SEEDS, MAX_LENGTH
from warmstart.settings.groups import SETTINGS, AllSettings, ColumnSettings, RecordSettings, SampleSettings
from warmstart.settings.setting import Command, declared
from warmstart.settings.training import LoopSettings, TrainingSettings
from warmstart.settings.winner import EffectSettings, RefitSettings

if TYPE_CHECKING:
    from warmstart.planning.problem import Options


@dataclass(frozen=True, kw_only=True)
class Request(AllSettings):
    """Everything that a person can ask of `check`, `plan`, `compare`, `advise` and `fit`."""

    command: Command = "compare"
    noise_floor: float | None = None  # best reachable score, which only the demo knows

    def __post_init__(self) -> None:
        for name, each in SETTINGS.items():
            value, within = getattr(self, name), each.setting.within
            if name == "budget" and isinstance(value, str):
                self._check_part()
            elif within and value is not None and not within[0] <= value <= within[1]:
                shown = _latency if each.setting.quantity == "latency" else _plain
                bounds = " and ".join(map(shown, within))
                raise UsageError(f"{name} is {shown(value)}; it must lie between {bounds}.", f"correct {flag(name)}")
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

        if self.previous and self.command != "compare":
            raise UsageError(f"previous is for compare, not for {self.command}.", "leave --previous out")
        for name in ("previous_data", "rename", "shrink"):
            if getattr(self, name) not in (None, ()) and not self.previous:
                raise UsageError(f"{name} says nothing without previous.", "name the earlier study with --previous")
        self._check_splits()
        self._check_workers()
        effort = SearchEffort.of(self.search)
        if not 0 <= effort.trials <= MOST_TRIALS or (effort.seconds is not None and effort.seconds < 1):
            raise UsageError(
                f"search is {self.search}; it must be 1 to {MOST_TRIALS:,} trials, or a time.", "correct --search"
            )
        if effort.seconds is not None and self.compute is not None:
            raise UsageError(
                f"search is {self.search}, a time, and with compute nothing is timed.",
                "write a number of trials, e.g. --search 20",
            )
        if effort.trials:
            require_optuna()
        if self.compile and self.shard:
            raise UsageError("compile is for whole weights, not for --shard.", "leave one out")
        if self.compile and self.gradient_checkpointing:
            raise UsageError("compile and gradient_checkpointing do not go together.", "leave one out")
        if self.optimizer_state == "bf16" and (self.optimizer != "adamw" or self.shard):
            other = "--shard" if self.shard else f"--optimizer {self.optimizer}"
            raise UsageError(
                f"optimizer_state is bf16, which is for adamw on whole weights, not for {other}.", "leave one out"
            )
        if self.compute is not None and self.max_training_time is not None:
            raise UsageError(
                "max_training_time is a time, and with compute nothing is timed.", "leave one out, or use --budget"
            )
        parse_kinds(self.column)  # for what is wrong with them
        assert self.forgetting  # read once, for what is wrong with them

    def _check_splits(self) -> None:
        if self.splits == 1:
            return
        if self.command not in ("plan", "compare"):
            raise UsageError(f"splits is for compare, not for {self.command}.", "leave --splits out")
        if self.splits < FEWEST_SPLITS:
            raise UsageError(
                f"splits is {self.splits}: too few to tell how much they differ.",
                f"use --splits {FEWEST_SPLITS} or more",
            )
        if self.seeds not in (DEFAULT_SEEDS, self.splits):
            raise UsageError(
                f"splits is {self.splits} and seeds is {self.seeds}.", "leave out --seeds: each split has one"
            )
        for name in ("previous", "time"):
            if getattr(self, name):
                raise UsageError(f"{name} does not go with splits.", f"leave out --splits or --{name}")

    def _check_workers(self) -> None:
        if self.on is None:
            if self.workers is not None:
                raise UsageError("workers says nothing without on.", "say where they run, e.g. --on ray")
            return
        if self.on != "ray" and not re.fullmatch(r"ray://[^\s/]+:\d+", self.on):
            raise UsageError(f"on is {shorten(self.on)}.", "write ray, or ray://HOST:PORT of a cluster")
        if self.command in ("advise", "fit"):
            why = "each run of a race depends on the one before" if self.races else "fit trains one model"
            raise UsageError(f"on is for compare, not for {self.command}: {why}.", "leave --on out")

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
        return parse_share(self.budget) if isinstance(self.budget, str) and self.compute is None else None

    @property
    def seconds(self) -> float:
        """The budget; with --compute in seconds of the reference device."""
        if self.compute is not None:
            return self.compute / REFERENCE_FLOPS
        return DEFAULT_BUDGET if isinstance(self.budget, str) else self.budget

    @property
    def columns(self) -> ColumnChoices:
        named = {name: getattr(self, name) for name in declared(ColumnSettings)}
        named |= {"target": self.target or "", "kinds": parse_kinds(self.column)}
        return ColumnChoices(**named, piece_bytes=BYTES_PER_TOKEN * self.max_length)

    @property
    def forgetting(self) -> ForgettingOptions:
        """Against forgetting."""
        return forgetting_options(self.reduce_forgetting)

    @property
    def constraints(self) -> Constraints:
        licenses = tuple(normalize_license(name) for name in self.licence)
        return Constraints(self.max_size, self.max_latency, licenses, self.max_training_time, self.pretrained)

    def options(self, regimes: tuple[str, ...]) -> "Options":
        """The part that `compare` reads."""
        from warmstart.planning.problem import Options

        shared = declared(SampleSettings, TrainingSettings, EffectSettings, RefitSettings, RecordSettings)
        return Options(
            **{name: getattr(self, name) for name in shared if name != "seeds"},
            regimes=regimes,
            seeds=self.seeds if self.splits == 1 else self.splits,
            first_seed=self.seed,
            budget=self.seconds,
            by_compute=self.compute is not None,
            read_so_far=self.max_length != MAX_LENGTH,  # it was asked for
            constraints=self.constraints,
            training={name: getattr(self, name) for name in declared(LoopSettings)},
            forgetting=self.forgetting.training,
            interpolate=self.forgetting.interpolate,
        )


AUTO = "auto"  # the regime that a race advises
DEFAULT_RACE_SHARE = "10%"  # of the whole comparison's time, for a race
MIN_TRAINING_TOKENS = 1000
FEWEST_SPLITS = 3  # as of seeds: fewer say nothing about their spread
BYTES_PER_TOKEN = 3  # of text, at least, by which documents are cut into pieces: tokenizers give 3 to 5 for English


def save_request(request: Request, folder: Path) -> None:
    """Write the request down, so that `resume` works after a kill at any moment. Raises UsageError if it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        began = {"folder": str(Path.cwd()), "from_here": os.path.relpath(Path.cwd(), folder.resolve())}
        facts = asdict(request) | {"began_in": began}
        if request.compute is not None:
            del facts["budget"]  # it is the default, and both are refused
        write_json(folder / "request.json", facts)
    except OSError as error:
        raise UsageError(
            f"{str(folder)!r} cannot be written: {error.strerror}.", "name another folder with --out"
        ) from error


def forget_place(folder: Path) -> None:
    """Take the absolute path out of the request of something finished: it names who made it.

    Relative paths are then sought as they lie from `folder`, and from the directory that a command runs in.
    """
    path = folder / "request.json"
    known = read_json(path, dict[str, Any])
    if isinstance(known.get("began_in"), dict) and known["began_in"].pop("folder", None):
        write_json(path, known)


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
    _find_again(known, folder)
    return from_mapping(known, dict.fromkeys(known, str(path)))


def _latency(seconds: float) -> str:
    return f"{1000 * seconds:g} ms" if seconds < 1 else f"{seconds:g} s"


def _find_again(known: dict[str, Any], folder: Path) -> None:
    """Make relative paths such that they name the same files from here as from where the request began.

    They are sought there first, then as they lie from `folder`, which may have been moved together with them; where it
    is not known any more where that was (`forget_place`), in the present directory. Of rows given in memory the file
    lies in the folder itself.
    """
    began = known.pop("began_in", None)
    began = began if isinstance(began, dict) else {}
    from_here = began["from_here"] if isinstance(began.get("from_here"), str) else "."
    near = folder / from_here
    named = began.get("folder")
    roots = (Path(named), near) if isinstance(named, str) else (near, Path.cwd()) if began else (Path.cwd(), near)
    for key in ("data", "corpus", "base", "general_text", "schema", "previous", "previous_data"):
        value = known.get(key)
        if isinstance(value, list):
            known[key] = [_from_here(each, roots) if isinstance(each, str) else each for each in value]
        elif isinstance(value, str):
            known[key] = _from_here(value, roots)
    data = known.get("data")
    if isinstance(data, list) and len(data) == 1 and Path(str(data[0])).name == TABLE and (folder / TABLE).exists():
        known["data"] = [str(folder / TABLE)]


def _from_here(name: str, roots: tuple[Path, ...]) -> str:
    path = Path(name)
    if path.is_absolute() or roots[0] == Path.cwd():
        return name
    for root in roots:
        if (root / path).exists() or (glob.has_magic(name) and (root / path).parent.exists()):
            return os.path.relpath(root / path)
    return (
        os.path.normpath(roots[0] / path) if path.suffix else name
    )  # the message that it is not there names the folder


TABLE = "table.parquet"  # rows that were given in memory, so that a study of them can go on after a stop


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
    if values.get("compute") is not None and values.get("budget") is not None:
        raise UsageError("budget and compute both limit the study, by time and by arithmetic.", "leave one out")
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
