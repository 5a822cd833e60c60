"""Forecast: which figures are predicted for a regime, and where do they come from?"""

from dataclasses import dataclass, field
from typing import Any

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
    """One regime: all its runs and the search for its rate, but the memory of one process."""

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

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class PlanResult:
    """All regimes, and what is to be said about them."""

    forecasts: tuple[RegimeForecast, ...]
    where: str  # the device, in words
    room_bytes: int | None  # memory that a run may use
    notes: tuple[str, ...] = field(default=())

    @property
    def seconds(self) -> float:
        return sum(forecast.seconds or 0.0 for forecast in self.forecasts)


def power(where: TargetMachine) -> tuple[float, float]:
    """Watts, and price an hour, of all devices together."""
    if where.machine is not None:
        price = where.machine.price_per_hour if where.price_per_hour is None else where.price_per_hour
        return where.devices * where.machine.watts, where.devices * price
    words = current_environment("-").device
    gpu = words if best_device().type == "cuda" else None
    return watts_here(gpu), price_here(gpu) if where.price_per_hour is None else where.price_per_hour


def sources(where: TargetMachine, *, measured: bool = True) -> tuple[str, ...]:
    """Where the figures come from, in words. `measured`: whether steps were made for them."""
    here = "memory (of the whole process) and time: a few steps were measured here, the dearest batch among them"
    price = f"money: {PRICES}" if where.price_per_hour is None else "money: at the price that was given"
    rest = "weights, compute and disk are computed; energy is an estimate, at full power"
    return (*((here,) if measured and where.machine is None else ()), rest, price)
