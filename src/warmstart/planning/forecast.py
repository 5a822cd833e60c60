"""Forecast: which figures are predicted for a regime, and where do they come from?"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from warmstart.errors import join_phrases
from warmstart.quantities import MISSING, format_duration, format_energy, format_scaled, format_size
from warmstart.results.display import Display, Tabular, table_of_rows
from warmstart.runtime.device import best_device
from warmstart.runtime.environment import current_environment
from warmstart.runtime.hardware import PRICES, Machine, price_here, watts_here

MEASURED = "measured here"
COMPUTED = "computed from shapes"
PREDICTED = "predicted, not measured"
LOGGED = "from earlier runs"


@dataclass(frozen=True)
class TargetMachine:
    """The devices, and what an hour of one costs."""

    machine: Machine | None = None  # None: this one
    devices: int = 1
    price_per_hour: float | None = None  # of one device; None: from the table


@dataclass(frozen=True)
class RegimeForecast:
    """One regime: all its runs and the search for its rate. Memory is that of one process."""

    regime: str
    trainable: int | None
    total: int | None
    flops: float | None
    peak_memory_bytes: int | None  # of the process here, of each device elsewhere
    seconds: float | None
    disk_bytes: int | None
    money: float | None  # US dollars
    fits: bool | None  # None: not known
    advice: str  # what would make it fit, or what to know; empty: nothing
    runs: int = 1
    seconds_of_run: float | None = None
    energy_kwh: float | None = None  # at the devices' full power: an upper estimate
    basis: str = MEASURED
    rows: tuple[int, ...] = ()  # numbers of training rows that it is run on
    seeds: int = 1  # on each of them
    trials: int = 0  # learning rates that are tried; 0: none is searched

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"rows": list(self.rows)}


FORECAST_COLUMNS: dict[str, pa.DataType] = {
    "regime": pa.string(),
    "fits": pa.bool_(),
    "seconds": pa.float64(),
    "flops": pa.float64(),
    "peak_memory_bytes": pa.int64(),
    "disk_bytes": pa.int64(),
    "energy_kwh": pa.float64(),
    "money": pa.float64(),
    "runs": pa.int64(),
    "seconds_of_run": pa.float64(),
    "trainable": pa.int64(),
    "total": pa.int64(),
    "basis": pa.string(),
    "advice": pa.string(),
}


@dataclass(frozen=True, repr=False)
class PlanResult(Tabular):
    """All regimes, with caveats. Iterating, indexing and `len` refer to its `forecasts`."""

    forecasts: tuple[RegimeForecast, ...]
    where: str  # the device, in words
    room_bytes: int | None  # memory that a run may use
    notes: tuple[str, ...] = field(default=())

    @property
    def seconds(self) -> float:
        return sum(forecast.seconds or 0.0 for forecast in self.forecasts)

    def __iter__(self) -> Iterator[RegimeForecast]:
        return iter(self.forecasts)

    def __len__(self) -> int:
        return len(self.forecasts)

    def __getitem__(self, at: int) -> RegimeForecast:
        return self.forecasts[at]

    def to_table(self) -> pa.Table:
        """One line for each regime; seconds and FLOPs are of all its runs, money is in US dollars."""
        return table_of_rows([forecast.to_json() for forecast in self.forecasts], FORECAST_COLUMNS)

    def _display(self) -> Display:
        unfit = [one.regime for one in self.forecasts if one.fits is False]
        fits = f"does not fit in memory: {join_phrases(unfit)}" if unfit else "everything fits in memory"
        headline = f"{format_duration(self.seconds)} in total on {self.where}; {fits}"
        titles = ("regime", "fits", "time", "memory", "disk", "trained weights", "of", "energy", "cost")
        advice = (f"{one.regime}: {one.advice}" for one in self.forecasts if one.advice)
        return Display(headline, titles, tuple(map(_line, self.forecasts)), (*advice, *self.notes))


def _line(one: RegimeForecast) -> tuple[str, ...]:
    return (
        one.regime,
        {True: "yes", False: "no", None: "?"}[one.fits],
        format_duration(one.seconds),
        format_size(one.peak_memory_bytes),
        format_size(one.disk_bytes),
        format_scaled(one.trainable, 1000, ("", "k", "M", "G")),
        format_scaled(one.total, 1000, ("", "k", "M", "G")),
        MISSING if one.energy_kwh is None else f"{format_energy(one.energy_kwh)} kWh",
        MISSING if one.money is None else f"${one.money:.2f}",
    )


def power(where: TargetMachine) -> tuple[float, float]:
    """Watts, and price per hour, of all devices together."""
    if where.machine is not None:
        price = where.machine.price_per_hour if where.price_per_hour is None else where.price_per_hour
        return where.devices * where.machine.watts, where.devices * price
    words = current_environment("-").device
    gpu = words if best_device().type == "cuda" else None
    return watts_here(gpu), price_here(gpu) if where.price_per_hour is None else where.price_per_hour


def sources(where: TargetMachine, *, measured: bool = True) -> tuple[str, ...]:
    """Where the figures come from, in words. `measured`: whether steps were run for them."""
    here = "memory (of the whole process) and time: measured in a few steps here, including the most expensive batch"
    price = f"money: {PRICES}" if where.price_per_hour is None else "money: at the given price"
    computed = "weights and compute: computed from the shapes of the models"
    rest = ("disk: computed, for all runs together", "energy: an estimate, at full power")
    return (*((here,) if measured and where.machine is None else ()), computed, *rest, price)
