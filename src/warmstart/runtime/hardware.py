"""Hardware: what can other devices do, and what does an hour on them cost?

Peak figures are those published by the makers, dense (without sparsity), for the stated form factor. Prices are for one
device for an hour on demand: rough, and --price-per-hour replaces them.
"""

import os
from dataclasses import dataclass

from warmstart.errors import UsageError, did_you_mean

UTILIZATION = 0.38  # of the peak in matrix products: plain loops of medium models reach .3 to .45 on these devices
BANDWIDTH_REACHED = 0.7  # of the peak, in element-wise work
LAUNCH = 40e-6  # seconds to start the kernels of one layer once, from Python: small models wait for nothing else
SCALING = 0.9  # of the ideal gain, for more than one device in one machine
USABLE = 0.92  # of the memory: the rest goes to the driver's context and to what lies between tensors
WATTS_A_CORE = 7.0  # of a server's CPU at work, with its share of the memory
PRICE_A_CORE = 0.045  # an hour, US dollars: a virtual core of the general-purpose machines

PRICES = "list prices of the large clouds, on demand, US dollars, about the middle of 2025: rough"


@dataclass(frozen=True)
class Machine:
    """One device."""

    name: str
    words: str
    flops: float  # a second, bf16 matrix products with sums in fp32
    bandwidth: float  # bytes a second
    memory_bytes: float
    watts: float  # at the most
    price_per_hour: float  # US dollars


MACHINES: dict[str, Machine] = {
    machine.name: machine
    for machine in (
        Machine("h200", "NVIDIA H200 SXM", 989e12, 4.8e12, 141e9, 700, 5.0),
        Machine("h100", "NVIDIA H100 SXM, 80 GB", 989e12, 3.35e12, 80e9, 700, 4.0),
        Machine("a100", "NVIDIA A100 SXM, 80 GB", 312e12, 2.04e12, 80e9, 400, 3.5),
        Machine("l40s", "NVIDIA L40S", 362e12, 0.864e12, 48e9, 350, 1.9),
        Machine("a10g", "NVIDIA A10G", 70e12, 0.6e12, 24e9, 150, 1.0),
        Machine("l4", "NVIDIA L4", 121e12, 0.3e12, 24e9, 72, 0.7),
        Machine("rtx4090", "NVIDIA GeForce RTX 4090", 165e12, 1.008e12, 24e9, 450, 0.5),
    )
}


def known_machine(name: str) -> Machine:
    """The device of this name. Raises UsageError with the nearest known one."""
    key = name.lower().replace(" ", "").replace("-", "")
    if key not in MACHINES:
        names = ["cpu", *MACHINES]
        raise UsageError(f"device {name!r} is not in the table of devices.", did_you_mean(key, names))
    return MACHINES[key]


def watts_here(gpu: str | None) -> float:
    """At the most, of this machine's GPU (by its name), else of its cores."""
    machine = _like(gpu)
    return machine.watts if machine else WATTS_A_CORE * (os.cpu_count() or 1)


def price_here(gpu: str | None) -> float:
    """US dollars an hour for a machine like this one."""
    machine = _like(gpu)
    return machine.price_per_hour if machine else PRICE_A_CORE * (os.cpu_count() or 1)


def _like(gpu: str | None) -> Machine | None:
    words = (gpu or "").lower().replace(" ", "").replace("-", "")
    return next((machine for name, machine in MACHINES.items() if name in words), None)
