"""Record: what was measured in a run? Facts only; nothing is computed here."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from warmstart.errors import InputError
from warmstart.quantities import MISSING, format_disk_size, format_duration, format_number
from warmstart.results.display import Display, Tabular
from warmstart.runtime.environment import Environment
from warmstart.runtime.files import (
    read_fields,
    read_parquet,
    require_plain_name,
    write_json,
    write_parquet,
)
from warmstart.types import Array

RUN_AGAIN = "delete the folder of this run and continue with `warmstart resume`, or use an intact copy"
# Columns of files beside `run.json`.
KEPT_APART = ("scores", "predictions", "train_scores", "train_groups", "old_scores", "old_groups")


class Interval(NamedTuple):
    """A 95 % interval, in the unit of its estimate."""

    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A measured value with bounds for the population of such rows."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class Cost:
    """The cost of one run: the training itself with its evaluations, not the search for its rate."""

    flops: float  # analytic, of the run as if alone: no cache, evaluation included
    seconds: float
    peak_memory_bytes: int | None  # resident, of the whole process, or of the GPU, at the run's peak; None: unknown
    trainable: int  # weights updated
    total: int  # weights in the model
    bytes_saved: int  # of the weights that were updated, on disk


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of the model during training."""

    step: int
    epoch: float
    train_loss: float  # mean over the steps since the point before
    val_loss: float
    val_score: float  # the ranking metric on the validation rows
    seconds: float


@dataclass(frozen=True)
class Trial:
    """One short run of the search, scored on validation rows only."""

    settings: dict[str, Any]  # {"lr": 3e-5} or {"lr": 3e-3, "width": 512, ...}
    steps: int
    val: float | None  # the ranking metric on validation; None: failed or diverged


@dataclass(frozen=True)
class SettingsSearch:
    """A search over a regime's architecture and regularization (`--search`), scored on validation rows only.

    The best trial and the default are trained once more at full length, with another seed, and the better one is kept.
    """

    trials: tuple[Trial, ...]
    pruned: int  # of the trials: stopped early
    settings: dict[str, Any]  # that were kept, beside the learning rate; none: the default
    default: float | None  # the ranking metric of the default at full length; None: failed
    found: float | None  # and of the best trial
    gain: float  # of what was kept over the default, more is better; 0: the default was kept
    flops: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """An entry of comparison.json: cost and gain, without the trials."""
        return asdict_but(self, "trials") | {"trials": len(self.trials)}


# What stands in the line of a run in a table, before metrics and cost.
SHOWN_FACTS = (
    *("id", "regime", "family", "start", "seed", "rows", "metric", "units", "test", "val", "train", "lr", "steps"),
    *("epochs", "converged", "failed", "latency_ms", "disk_bytes"),
)


@dataclass(frozen=True, repr=False)
class Run(Tabular):
    """One regime with one seed on one number of rows: how it was trained, what it scored, what it cost."""

    id: str  # the folder's name, e.g. "full-r1200-s0"
    regime: str
    family: str  # "baseline" | "scratch" | "fine-tuned"
    start: str  # "random weights" or the name of the source, "-" for baselines
    method: str  # in words: "all weights, one rate"
    seed: int
    rows: int  # training rows used
    task: str  # "regression" | "classification"
    metric: str  # the name of the ranking metric
    higher_is_better: bool
    units: str  # of the metric, for people: "log10(price)", "" for accuracy
    val: float | None  # ranking metric on validation rows, at the best point; None: failed before there was one
    test: float | None  # ranking metric on test rows; None: failed
    train: float | None  # ranking metric on (at most 1,000 of) the training rows: the overfitting gap
    metrics: dict[str, float]  # every other metric on test rows, named for people
    lr: float | None
    settings: dict[str, Any]  # steps, batch size, optimizer ... as used
    trials: tuple[Trial, ...]
    tuning_flops: float
    tuning_seconds: float
    points: tuple[Evaluation, ...]
    steps: int  # taken
    best_step: int  # whose weights were kept
    epochs: float
    converged: bool
    failed: str | None  # why the run cannot be used: "diverged at step 12", "does not beat the constant"
    caveats: tuple[str, ...]
    cost: Cost
    latency_ms: float | None  # one row through predict, median
    disk_bytes: int  # of the saved model
    calibration: dict[str, float]  # e.g. {"quantile": 0.61, "coverage": 0.893}
    environment: Environment
    scores: Array = field(repr=False, compare=False)  # [n, 2] value and weight of each test row: test = sum / sum
    predictions: dict[str, list[Any]] = field(repr=False, compare=False)  # columns of scores.parquet, see `save_run`
    retention: dict[str, Any] | None = field(default=None, repr=False)  # `Retention.to_json`; None: nothing to forget
    train_scores: Array | None = field(default=None, repr=False, compare=False)  # [n, 2], of rows trained on: the gap
    train_groups: Array | None = field(default=None, repr=False, compare=False)  # int64 [n], of the same rows
    old_scores: Array | None = field(default=None, repr=False, compare=False)  # [n, 2], of an earlier model's test rows
    old_groups: Array | None = field(default=None, repr=False, compare=False)  # int64 [n], of the same rows
    predicted: dict[str, float] | None = None  # "seconds" and "peak_memory_bytes", before the run
    search: SettingsSearch | None = None  # of its settings; None: not searched
    base_bytes: int = 0  # of the weights of its base that predict needs too, where they are not in the saved model
    revision: str | None = None  # commit of the base on the hub; None: it is not from there

    @property
    def test_groups(self) -> Array | None:
        """int64 [n]: the group of each test row; None where rows were not grouped."""
        column = self.predictions.get("group")
        return None if column is None else np.asarray(column, dtype=np.int64)

    def to_table(self) -> pa.Table:
        """One line: scores, metrics and cost. Lines of several runs can be concatenated."""
        facts = {name: getattr(self, name) for name in SHOWN_FACTS} | asdict(self.cost) | self.metrics
        return pa.Table.from_pylist([facts])

    def _display(self) -> Display:
        unit = f" of {self.units}" if self.units else ""
        score = "no score" if self.test is None else format_number(self.test)
        result = f"failed: {self.failed}" if self.failed else f"{self.metric}{unit} {score}"
        facts = {
            "rows": f"{self.rows:,} training rows, seed {self.seed}",
            "start": self.start,
            "method": self.method,
            "validation": MISSING if self.val is None else format_number(self.val),
            **{name: format_number(value) for name, value in self.metrics.items()},
            "learning rate": MISSING if self.lr is None else f"{self.lr:.1e}",
            "steps": f"{self.steps:,}{'' if self.converged else ', still improving when it stopped'}",
            "time": format_duration(self.cost.seconds),
            "size": format_disk_size(self.disk_bytes, self.base_bytes),
        }
        return Display(f"{self.regime}: {result}", ("", ""), tuple(facts.items()), self.caveats, numbers=False)

    def to_json(self) -> dict[str, Any]:
        """Everything but the per-example columns."""
        return asdict_but(self, *KEPT_APART)


def asdict_but(record: Any, *names: str) -> dict[str, Any]:
    """`dataclasses.asdict` without some of the fields, which are not copied either."""
    return {key: _plain(value) for key, value in vars(record).items() if key not in names}


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value


RECORD_FILES = ("run.json", "scores.parquet", "train_scores.parquet", "old_scores.parquet")


def save_run(run: Run, folder: Path) -> None:
    """Write `run.json`, `scores.parquet` and `train_scores.parquet`; the JSON last: its presence means 'finished'.

    Columns of `scores.parquet`: row (number in the source, from 1), value, weight, target, prediction, where rows were
    grouped group (a number, the same in all runs of a study), and by task low, high (regression) or probability
    (classification, of the prediction; raw_probability: before a temperature was fitted), and
    copied: whether the text is, nearly, that of a row it was trained on. `train_scores.parquet` has value and weight of
    some training rows, and where rows were grouped group; `old_scores.parquet` of an earlier model's test rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_columns(folder / "scores.parquet", _columns(run.scores) | run.predictions)
    beside = {"train": (run.train_scores, run.train_groups), "old": (run.old_scores, run.old_groups)}
    for name, (scores, groups) in beside.items():
        if scores is not None:
            grouped = {} if groups is None else {"group": groups}
            _write_columns(folder / f"{name}_scores.parquet", _columns(scores) | grouped)
    write_json(folder / "run.json", run.to_json())


def _columns(scores: Array) -> dict[str, Any]:
    return {"value": scores[:, 0], "weight": scores[:, 1]}


def _write_columns(path: Path, columns: dict[str, Any]) -> None:
    write_parquet(path, pa.table(columns))


def _read_columns(path: Path) -> tuple[Array, dict[str, list[Any]]]:
    """Value and weight, [n, 2], and whatever else."""
    try:
        table = read_parquet(path, {"value": "number", "weight": "number"}, RUN_AGAIN)
    except FileNotFoundError as error:
        raise InputError(f"{path} is not there: the run is not whole.", RUN_AGAIN) from error
    columns = {name: table[name].to_pylist() for name in table.column_names}
    return np.stack([np.asarray(columns.pop("value")), np.asarray(columns.pop("weight"))], axis=1), columns


def load_run(folder: Path) -> Run:
    """The run that `save_run` wrote. Raises InputError where its files are damaged."""
    path = folder / "run.json"
    facts = read_fields(path, Run, RUN_AGAIN, without=KEPT_APART)
    require_plain_name(path, facts["id"])
    scores, columns = _read_columns(folder / "scores.parquet")
    facts |= {"scores": scores, "predictions": columns}
    for name in ("train", "old"):  # neither beside runs of earlier versions, nor of texts that were judged
        path = folder / f"{name}_scores.parquet"
        of_rows, more = _read_columns(path) if path.exists() else (None, {})
        facts |= {f"{name}_scores": of_rows, f"{name}_groups": np.asarray(more["group"]) if "group" in more else None}
    return Run(**facts)
