"""Trackers: how are metrics written for MLflow, TensorBoard and Weights & Biases?

Nothing leaves the machine unless an address of a server is given: MLflow writes into a SQLite store, TensorBoard into
event files, Weights & Biases into a folder for `wandb sync`. Each library is imported when its tracker is made.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from warmstart.errors import MissingError, UsageError, did_you_mean
from warmstart.study.tracking import TrackedMetrics, TrackedSettings, Tracker

EXPERIMENT = "warmstart"
LONGEST_VALUE = 500  # characters of a setting: MLflow's limit is 6,000
MODEL_LOADER = "warmstart.inference.mlflow_model"


class MLflowTracker:
    """Runs in MLflow, each a child of its study's, and the winner as a model for `mlflow models serve`."""

    name = "mlflow"

    def __init__(self, place: str):
        from mlflow import MlflowClient

        folder = Path(place)
        uri, self.artifacts = place, None
        if "://" not in place:
            folder.mkdir(parents=True, exist_ok=True)
            uri = f"sqlite:///{folder.resolve() / 'mlflow.db'}"
            self.artifacts = (folder.resolve() / "artifacts").as_uri()
        self.client: Any = MlflowClient(uri)
        self.parent = ""

    def begin(self, study: str, settings: TrackedSettings, known: str | None) -> str:
        client = self.client
        found = client.get_experiment_by_name(EXPERIMENT)
        self.experiment = (
            found.experiment_id if found else client.create_experiment(EXPERIMENT, artifact_location=self.artifacts)
        )
        self.parent = known or client.create_run(self.experiment, run_name=study).info.run_id
        client.update_run(self.parent, status="RUNNING")
        if known is None:
            self._settings(self.parent, settings)
        return self.parent

    def begin_run(self, run: str, known: str | None) -> str:
        tags = {"mlflow.parentRunId": self.parent}
        created: str = known or self.client.create_run(self.experiment, run_name=run, tags=tags).info.run_id
        return created

    def log(self, run: str, metrics: TrackedMetrics, step: int) -> None:
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        now = get_current_time_millis()
        entries = [Metric(_allowed(name), value, now, step) for name, value in _finite(metrics).items()]
        self.client.log_batch(run, metrics=entries)

    def end_run(self, run: str, settings: TrackedSettings, metrics: TrackedMetrics, failed: str | None) -> None:
        self._settings(run, settings)
        self.log(run, metrics, 0)
        self.client.set_terminated(run, "FAILED" if failed else "FINISHED")

    def end(self, metrics: TrackedMetrics, winner: Path | None) -> None:
        self.log(self.parent, metrics, 0)
        if winner is not None:
            self._log_model(winner)
        self.client.set_terminated(self.parent, "FINISHED")

    def _settings(self, run: str, settings: TrackedSettings) -> None:
        from mlflow.entities import Param

        entries = [Param(_allowed(name), str(value)[:LONGEST_VALUE]) for name, value in settings.items()]
        self.client.log_batch(run, params=entries)

    def _log_model(self, winner: Path) -> None:
        """The winner as a `pyfunc` model: its own files and the name of what loads them; nothing is pickled."""
        import tempfile

        import mlflow

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "winner"
            mlflow.pyfunc.save_model(
                str(path),
                loader_module=MODEL_LOADER,
                data_path=str(winner),
                pip_requirements=[f"warmstart=={version('warmstart')}"],
            )
            self.client.log_artifacts(self.parent, str(path), "winner")


class TensorBoardTracker:
    """Event files: a folder for each run, below one for the study."""

    name = "tensorboard"

    def __init__(self, place: str):
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.writer = Path(place), SummaryWriter
        self.writers: dict[str, Any] = {}

    def begin(self, study: str, settings: TrackedSettings, known: str | None) -> str:
        self.study = study
        self._of("").add_text("settings", _as_table(settings))
        return study

    def begin_run(self, run: str, known: str | None) -> str:
        return run

    def log(self, run: str, metrics: TrackedMetrics, step: int) -> None:
        writer = self._of(run)
        for name, value in _finite(metrics).items():
            writer.add_scalar(name, value, step)
        writer.flush()

    def end_run(self, run: str, settings: TrackedSettings, metrics: TrackedMetrics, failed: str | None) -> None:
        writer = self._of(run)
        writer.add_text("settings", _as_table({**settings, **({"failed": failed} if failed else {})}))
        self.log(run, metrics, 0)
        writer.close()
        del self.writers[run]

    def end(self, metrics: TrackedMetrics, winner: Path | None) -> None:
        self.log("", metrics, 0)
        for writer in self.writers.values():
            writer.close()

    def _of(self, run: str) -> Any:
        if run not in self.writers:
            self.writers[run] = self.writer(str(self.folder / self.study / run))
        return self.writers[run]


class WandbTracker:
    """Weights & Biases in its offline mode: a folder that `wandb sync` sends later, if anyone wants to."""

    name = "wandb"

    def __init__(self, place: str):
        import wandb

        self.wandb: Any = wandb
        self.folder = Path(place)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.runs: dict[str, Any] = {}

    def begin(self, study: str, settings: TrackedSettings, known: str | None) -> str:
        self.study = study
        self.runs[study] = self._init(study, "study", known, dict(settings))
        return str(self.runs[study].id)

    def begin_run(self, run: str, known: str | None) -> str:
        made = self._init(run, "run", known, {})
        self.runs[str(made.id)] = made
        return str(made.id)

    def log(self, run: str, metrics: TrackedMetrics, step: int) -> None:
        self._of(run).log(_finite(metrics) | {"step": step})

    def end_run(self, run: str, settings: TrackedSettings, metrics: TrackedMetrics, failed: str | None) -> None:
        made = self._of(run)
        made.config.update({name: str(value) for name, value in settings.items()}, allow_val_change=True)
        made.summary.update(_finite(metrics))
        made.finish(exit_code=1 if failed else 0)
        del self.runs[run]

    def end(self, metrics: TrackedMetrics, winner: Path | None) -> None:
        study = self.runs[self.study]
        study.summary.update(_finite(metrics))
        for made in self.runs.values():
            made.finish()

    def _of(self, run: str) -> Any:
        if run not in self.runs:  # of a study that was stopped
            self.runs[run] = self._init(run, "run", run, {})
        return self.runs[run]

    def _init(self, name: str, kind: str, known: str | None, settings: dict[str, Any]) -> Any:
        return self.wandb.init(
            project=EXPERIMENT,
            group=self.study,
            name=name,
            job_type=kind,
            id=known,
            dir=str(self.folder),
            mode="offline",
            reinit="create_new",
            config={key: str(value) for key, value in settings.items()},
            settings=self.wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
        )


@dataclass(frozen=True)
class TrackerKind:
    """A tracker that can be asked for."""

    packages: tuple[str, ...]
    make: Callable[[str], Tracker]


TRACKERS: dict[str, TrackerKind] = {
    "mlflow": TrackerKind(("mlflow",), MLflowTracker),
    "tensorboard": TrackerKind(("tensorboard",), TensorBoardTracker),
    "wandb": TrackerKind(("wandb",), WandbTracker),
}


def make_trackers(asked: Sequence[str]) -> list[Tracker]:
    """The trackers of values of --track, such as 'mlflow:PATH'. Raises UsageError for one that cannot be used."""
    return [kind.make(place) for kind, place in map(_parsed, asked)]


def check_trackers(asked: Sequence[str]) -> None:
    """Raises UsageError for a tracker that is not known, or not installed."""
    for each in asked:
        _parsed(each)


def _parsed(asked: str) -> tuple[TrackerKind, str]:
    name, _, place = asked.partition(":")
    kind = TRACKERS.get(name)
    if kind is None:
        raise UsageError(f"tracker {name!r} is not known.", did_you_mean(name, TRACKERS))
    if not place:
        raise UsageError(f"--track {name} names no folder.", f"write for example --track {name}:{name}")
    for package in kind.packages:
        if find_spec(package) is None:
            raise MissingError(f"--track {name} needs the package {package}.", f"pip install 'warmstart[{name}]'")
    return kind, place


def _allowed(name: str) -> str:
    """A name as MLflow takes it.

    >>> _allowed("test/MAE (log10(price))")
    'test/MAE log10 price'
    """
    return " ".join(re.sub(r"[^\w\-. :/]", " ", name).split())


def _finite(metrics: TrackedMetrics) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def _as_table(settings: TrackedSettings) -> str:
    """Markdown, which TensorBoard renders."""
    lines = [f"| {name} | {str(value).replace('|', ' ')} |" for name, value in settings.items()]
    return "\n".join(["| setting | value |", "|---|---|", *lines])
