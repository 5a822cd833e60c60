"""Sample fit: what do regimes without a network take? Each is fitted to some of the rows, and scaled to all of them."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from warmstart.baselines.baseline import FitData, Fitted
from warmstart.baselines.baselines import FIT_BASELINE
from warmstart.planning.forecast import COMPUTED, MEASURED, RegimeForecast, TargetMachine, power
from warmstart.planning.problem import Options
from warmstart.planning.run_plan import RunPlan
from warmstart.quantities import REFERENCE_FLOPS
from warmstart.results.names import ENDPOINT_REGIME
from warmstart.runtime.device import peak_memory, reset_peak_memory
from warmstart.runtime.endpoint import Endpoint
from warmstart.training.run_data import RunData

SCORE_ROWS = 60  # bytes in the file of scores for each test row
BASELINE_ROWS = 1_000  # that a baseline is fitted on to see how long it takes


@dataclass(frozen=True)
class SampleFit:
    """A fit to some of the training rows."""

    fitted: Fitted
    seconds: float  # that a fit to all rows takes, in proportion
    flops: float
    peak: int | None  # bytes

    def counted(self, options: Options) -> float:
        """Seconds of the budget."""
        return self.flops / REFERENCE_FLOPS if options.by_compute else self.seconds


def sample_fit(name: str, run_data: RunData) -> SampleFit:
    """Fit a regime without a network to some of the rows."""
    some = run_data.splits.train.take(np.arange(min(BASELINE_ROWS, len(run_data.splits.train))))
    reset_peak_memory()
    began = time.perf_counter()
    data = FitData(run_data.task, some, run_data.seed, columns=run_data.schema.columns, validation=run_data.splits.val)
    fitted = FIT_BASELINE[name](data)
    times = len(run_data.splits.train) / len(some)
    seconds = times * (time.perf_counter() - began)
    return SampleFit(fitted, seconds, times * (fitted.flops + fitted.tuning_flops), peak_memory())


def baseline_forecast(
    plan: RunPlan, name: str, run_data: RunData, sample: SampleFit, where: TargetMachine, room: int | None
) -> RegimeForecast:
    """Cost of a baseline, fitted to some rows and scaled to all of them."""
    fitted, seconds, peak = sample.fitted, sample.seconds, sample.peak
    runs = len(plan.seeds) * len(plan.sizes)
    scored = sum(fitted.baseline.flops(p.texts, p.columns) for p in (run_data.splits.val, run_data.splits.test))
    here = where.machine is None
    watts, price = power(where)
    return RegimeForecast(
        regime=name,
        trainable=fitted.baseline.weights,
        total=fitted.baseline.weights,
        flops=runs * (sample.flops + scored),
        peak_memory_bytes=peak,
        seconds=runs * seconds,
        disk_bytes=runs * (8 * fitted.baseline.weights + SCORE_ROWS * len(run_data.splits.test)),
        money=runs * seconds / 3600 * price,
        fits=None if peak is None or room is None or not here else peak <= room,
        advice="" if here else "runs on the CPU; its time is that of this machine",
        runs=runs,
        seconds_of_run=seconds,
        energy_kwh=runs * seconds * watts / 3.6e6,
        basis=MEASURED,
        **jobs_of(plan, name),
    )


def endpoint_forecast(plan: RunPlan, endpoint: Endpoint) -> RegimeForecast:
    """Forecast for a chat model on another machine: a plan sends it nothing, so its time is unknown."""
    runs = len(plan.seeds) * len(plan.sizes)
    return RegimeForecast(
        regime=ENDPOINT_REGIME,
        trainable=0,
        total=0,
        flops=0.0,
        peak_memory_bytes=None,
        seconds=None,
        disk_bytes=runs * SCORE_ROWS * len(plan.splits.test),
        money=None if endpoint.price is None else endpoint.planned_tokens / 1e6 * endpoint.price,
        fits=None,
        advice="",
        runs=runs,
        seconds_of_run=None,
        energy_kwh=None,
        basis=COMPUTED,
    )


def jobs_of(plan: RunPlan, name: str) -> dict[str, Any]:
    """How a regime is run: numbers of rows, seeds, and learning rates tried."""
    trials = plan.options.trials if name in plan.networks and plan.searched_at(name) else 0
    return {"rows": plan.sizes_of(name), "seeds": len(plan.seeds), "trials": trials}
