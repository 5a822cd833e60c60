"""Device: where does a run happen, in which precision, with how many threads and how much memory?"""

import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from warmstart.errors import UsageError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Context in which torch computes on the calling thread alone, so that it starts no pool of threads there.

    With pools for two threads of a process, OpenMP has more threads than cores and lets them sleep between operations:
    one row took a MiniLM classifier 13 ms on two cores instead of 7.5.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Context in which torch, NumPy and SciPy compute on so many threads."""
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)


def best_device() -> torch.device:
    """The GPU if torch sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision(asked: str = "auto") -> str:
    """'bf16' only where the hardware computes in it: elsewhere it is emulated, hundreds of times slower."""
    fast = torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    if asked == "auto":
        return "bf16" if fast else "fp32"
    if asked not in PRECISIONS:
        raise UsageError(f"precision {asked!r} is not known.", "use auto, fp32 or bf16")
    if asked == "bf16" and not fast:
        raise UsageError("this machine has no bf16 arithmetic; it would be emulated and far slower.", "use fp32")
    return asked


def set_seed(number: int) -> None:
    """What `torch.manual_seed` does for the devices we use, without the stack trace that it takes down each time.

    That trace was a third of a small step.
    """
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(number)


def reset_peak_memory() -> None:
    """Start measuring anew. Where the system cannot forget its peak, `peak_memory` says None."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return
    if sys.platform == "linux":
        # glibc keeps freed memory of the run before: give it back, or every later run starts at its peak.
        ctypes.CDLL(None).malloc_trim(0)
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return


def peak_memory() -> int | None:
    """Bytes at the peak since `reset_peak_memory`: of the GPU if there is one, else resident in this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) * 1024 if "VmHWM" in lines else None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if sys.platform == "darwin" else None


def resident_memory() -> int | None:
    """Bytes that this process holds now: of the GPU if there is one, else resident; None where that is not known."""
    if torch.cuda.is_available():
        return int(torch.cuda.memory_allocated())
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if status.exists() else None


def gpu_memory() -> int | None:
    """Bytes of the GPU that is computed on, used or not; None where there is none."""
    return int(torch.cuda.mem_get_info()[1]) if torch.cuda.is_available() else None


def memory_room() -> int | None:
    """Bytes that a run here may use at its peak, of which this process holds some already; None: not known.

    Of the GPU if there is one, else what the system calls available, or less where a control group sets a limit.
    """
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved())
    info = Path("/proc/meminfo")
    if not info.exists():
        return None
    lines = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
    room = int(lines["MemAvailable"].split()[0]) * 1024 + (resident_memory() or 0)
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return min(room, int(text)) if text.isdigit() else room
