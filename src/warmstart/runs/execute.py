"""Execute: which function runs a job of each kind, and what does it need from the study?"""

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from warmstart.inference.earlier_model import EarlierModel
from warmstart.models.pretrained.base import Base
from warmstart.regimes.search_space import NO_SEARCH, SearchEffort
from warmstart.results.record import Run
from warmstart.runs.baseline_run import run_baseline
from warmstart.runs.ensemble_run import combine_runs
from warmstart.runs.job import CombineJob, Job, SearchJob, TrainJob
from warmstart.runs.run import TunedRegime, train_run
from warmstart.runs.search import search_settings
from warmstart.training.event import Event, JobProgress
from warmstart.training.run_data import RunData


@dataclass(frozen=True)
class JobContext:
    """Everything that a job needs from its study, collected when the job begins."""

    tuned: TunedRegime | None  # what is trained; None: a baseline without a network
    run_data: RunData
    progress: JobProgress
    spend: float = 0.0  # FLOPs that a search may use for sizes
    base: Base | None = None  # what a baseline reads texts with, unchanged
    predicted: dict[str, float] | None = None  # what a run is expected to cost; None: unknown
    earlier: EarlierModel | None = None  # that is scored as it is
    effort: SearchEffort = NO_SEARCH  # for the settings of a baseline
    members: tuple[Path, ...] = ()  # folders of the runs that are combined


@dataclass
class Results:
    """Results of a study's jobs by job id, in the order in which they finished."""

    searches: dict[str, TunedRegime] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)

    def __contains__(self, job: object) -> bool:
        return job in self.searches or job in self.runs


@overload
def run(job: SearchJob, context: JobContext, folder: Path) -> Generator[Event, None, TunedRegime]: ...
@overload
def run(job: TrainJob | CombineJob, context: JobContext, folder: Path) -> Generator[Event, None, Run]: ...
def run(
    job: Job, context: JobContext, folder: Path
) -> Generator[Event, None, TunedRegime] | Generator[Event, None, Run]:
    """Run a job in `folder`, as an iterator of events. A finished job is read back."""
    tuned, run_data, progress = context.tuned, context.run_data, context.progress
    if job.kind == "combine":
        return combine_runs(job.regime, context.members, run_data, folder, progress)
    if tuned is None:
        return run_baseline(job.regime, run_data, folder, progress, context.base, context.effort, context.earlier)
    if job.kind == "search":
        return search_settings(
            tuned.regime, tuned.config, run_data, job.trials, context.spend, job.effort, folder, progress
        )
    return train_run(tuned, run_data, folder, context.predicted, progress)
