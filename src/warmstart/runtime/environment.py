"""Environment: which versions and hardware does a result depend on?"""

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from warmstart.runtime.device import best_device


@dataclass(frozen=True)
class Environment:
    """Where a run was made. Results are bit-identical only where all of this is."""

    warmstart: str
    python: str
    torch: str
    transformers: str
    peft: str
    platform: str
    cpu: str
    cores: int
    threads: int
    memory_bytes: int
    device: str  # "cpu" or "cuda: NVIDIA ..."
    precision: str  # "fp32" or "bf16"
    date: str  # UTC, ISO 8601
    processes: int = 1  # that trained together


def current_environment(precision: str, processes: int = 1) -> Environment:
    """This machine and these versions, now; of many processes, where this one is."""
    device = best_device()
    return Environment(
        warmstart=version("warmstart"),
        python=platform.python_version(),
        torch=torch.__version__,
        transformers=version("transformers"),
        peft=version("peft"),
        platform=platform.platform(),
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        device=f"cuda: {torch.cuda.get_device_name()}" if device.type == "cuda" else "cpu",
        precision=precision,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        processes=processes,
    )


def version(package: str) -> str:
    """The installed version, or 'not installed'."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
