"""Tracking: how do the metrics of a study reach an experiment tracker, live, without being able to stop the study?

The events of a study pass through here on their way to the progress bar. Nothing below knows that trackers exist.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from warmstart.errors import shorten
from warmstart.results.record import Run, load_run
from warmstart.runtime.distributed import world
from warmstart.runtime.files import read_json, write_json
from warmstart.training.event import Event
from warmstart.types import Value

INTERVAL = 1.0  # seconds between training losses that are reported; evaluations always are
MESSAGE = 300  # characters of a tracker's own error
TRACKED_FILE = "tracking.json"  # what a tracker calls the study and its runs, so that a resumed study goes on there

TrackedMetrics = Mapping[str, float]
TrackedSettings = Mapping[str, Any]


class Tracker(Protocol):
    """A place for metrics: a parent for the study, and a child for each run."""

    @property
    def name(self) -> str:
        """As it is typed after --track."""
        ...

    def begin(self, study: str, settings: TrackedSettings, known: str | None) -> str:
        """Begin the study, or go on with the one that is `known`; returns what the tracker calls it."""
        ...

    def begin_run(self, run: str, known: str | None) -> str:
        """Begin a run of the study, or go on with it."""
        ...

    def log(self, run: str, metrics: TrackedMetrics, step: int) -> None:
        """Metrics of a run that was begun, after a step."""
        ...

    def end_run(self, run: str, settings: TrackedSettings, metrics: TrackedMetrics, failed: str | None) -> None:
        """The results of a run that was begun."""
        ...

    def end(self, metrics: TrackedMetrics, winner: Path | None) -> None:
        """The result of the study, with the folder of its winner. Nothing follows."""
        ...


@dataclass
class SafeTracker:
    """A tracker of a study in `folder`. Its first failure is noted in `failure`, and nothing is reported after it."""

    tracker: Tracker
    folder: Path
    failure: str | None = None
    reported: float = 0.0
    names: dict[str, str] = field(default_factory=dict)  # of the study ("") and its runs, by the tracker
    ended: set[str] = field(default_factory=set)

    @property
    def path(self) -> Path:
        return self.folder / TRACKED_FILE

    def begin(self, settings: TrackedSettings) -> None:
        """Begin the study, or go on with it."""
        known = read_json(self.path, dict[str, Any]).get(self.tracker.name, {}) if self.path.exists() else {}
        self.names, self.ended = dict(known.get("names", {})), set(known.get("ended", ()))
        self.names[""] = self.tracker.begin(self.folder.resolve().name, settings, self.names.get(""))
        self._save()

    def see(self, event: Event) -> None:
        """Report what an event says about a run."""
        if event.finished is not None:
            self._finished(event.finished)
        elif event.job and event.job not in self.ended and (event.step or event.evaluation):
            self._measured(event)

    def _measured(self, event: Event) -> None:
        metrics, step = {}, 0
        if event.evaluation is not None:
            seen, step = event.evaluation, event.evaluation.step
            metrics = {"val/loss": seen.val_loss, "val/score": seen.val_score, "epoch": seen.epoch}
            metrics |= {"train/mean_loss": seen.train_loss}
        if event.step is not None and time.monotonic() - self.reported > INTERVAL:
            self.reported = time.monotonic()
            step = step or event.step.index + 1
            metrics |= {"train/loss": event.step.loss, "lr": event.step.lr, "train/grad_norm": event.step.grad_norm}
        if metrics:
            self.tracker.log(self._begun(event.job), metrics, step)

    def _finished(self, run: Run) -> None:
        if run.id in self.ended:
            return
        known = {"test/score": run.test, "val/best": run.val, "seconds": run.cost.seconds, "flops": run.cost.flops}
        metrics = {name: float(value) for name, value in known.items() if value is not None}
        metrics |= {f"test/{name}": value for name, value in run.metrics.items()}
        facts = {"regime": run.regime, "start": run.start, "rows": run.rows, "seed": run.seed, "lr": run.lr}
        self.tracker.end_run(self._begun(run.id), facts | {"metric": run.metric} | run.settings, metrics, run.failed)
        self.ended.add(run.id)
        self._save()

    def _begun(self, run: str) -> str:
        if run not in self.names:
            self.names[run] = self.tracker.begin_run(run, None)
            self._save()
        return self.names[run]

    def _save(self) -> None:
        known = read_json(self.path, dict[str, Any]) if self.path.exists() else {}
        write_json(self.path, known | {self.tracker.name: {"names": self.names, "ended": sorted(self.ended)}})

    def safely(self, report: "Callable[[SafeTracker], None]") -> str:
        """Report something to this tracker; returns a warning, once, where it failed."""
        if self.failure is not None:
            return ""
        try:
            report(self)
        except Exception as error:  # whatever a library of someone else's raises
            self.failure = shorten(" ".join(f"{type(error).__name__}: {error}".split()), MESSAGE)
            return f"warning: tracking with {self.tracker.name} stopped; the study continues. {self.failure}"
        return ""

    def end(self, winner: Path) -> None:
        """Report the result: the model in this folder, and its scores."""
        run = load_run(winner) if (winner / "run.json").exists() else None
        metrics = {"test/score": run.test} if run and run.test is not None else {}
        self.tracker.end(metrics, winner if run and run.failed is None else None)


def tracked(
    steps: Generator[Event, None, Value],
    trackers: Sequence[Tracker],
    folder: Path,
    winner: Path,
    settings: TrackedSettings,
) -> Generator[Event, None, Value]:
    """The same events and value; the trackers of the main process see them. A tracker that fails is heard of once.

    `winner`: the folder of the model at the end; `settings`: of the study.
    """
    each = [SafeTracker(tracker, folder) for tracker in trackers if world().main]

    def tell(report: Callable[[SafeTracker], None]) -> Generator[Event, None, None]:
        for warning in filter(None, [tracker.safely(report) for tracker in each]):
            yield Event("tracking", message=warning)

    with closing(steps):
        yield from tell(lambda tracker: tracker.begin(settings))
        while True:
            try:
                event = next(steps)
            except StopIteration as stop:
                yield from tell(lambda tracker: tracker.end(winner))
                value: Value = stop.value
                return value
            yield event
            yield from tell(partial(SafeTracker.see, event=event))
