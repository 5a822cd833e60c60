"""Trial: one case in a folder of its own: what happened, and what of that is wrong?"""

import os
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from hostile.cases import Case

MAX_SECONDS = 10.0  # to a refusal, beyond what starting takes: torch and transformers need some seconds themselves
START_SECONDS = 20.0
MAX_BYTES = 2 << 30  # resident
ROOT = Path(__file__).parent.parent

# A connection anywhere is an error, and leaves a mark: code that catches it is seen as well.
NO_NETWORK = """
import os, socket
def refuse(*given, **more):
    open(os.environ["HOSTILE_MARK"], "a").write(str(given[-1]))
    raise OSError("no network here")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""


@dataclass(frozen=True)
class Outcome:
    """What a case led to."""

    case: Case
    seconds: float
    peak_bytes: int
    wrong: tuple[str, ...]  # in words; empty: as it should be


def try_case(case: Case, material: Path) -> Outcome:
    """Copy the material, make it hostile, and run the command without a network, with little time."""
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        folder = Path(name) / "work"
        shutil.copytree(material, folder, symlinks=True)
        case.make(folder)
        quiet = Path(name) / "quiet"
        quiet.mkdir()
        (quiet / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
        mark = Path(name) / "connected"
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join((str(quiet), str(ROOT / "src"))),
            "HOME": str(folder),
            "HOSTILE_MARK": str(mark),
            "OMP_NUM_THREADS": "1",
            **case.environment,
        }
        command = shlex.join([sys.executable, "-m", "warmstart", *case.words])
        began = time.monotonic()
        try:
            done = subprocess.run(
                ["bash", "-c", f"exec {command} {case.shell}"],
                cwd=folder,
                env=environment,
                input=case.stdin.encode(),
                capture_output=True,
                timeout=START_SECONDS + MAX_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return Outcome(case, time.monotonic() - began, 0, ("it did not end",))
        seconds = time.monotonic() - began
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024  # of the largest child so far
        return Outcome(case, seconds, peak, tuple(_wrong(case, done, folder, mark)))


def _wrong(case: Case, done: "subprocess.CompletedProcess[bytes]", folder: Path, mark: Path) -> list[str]:
    said = (done.stdout + done.stderr).decode("utf-8", errors="replace")
    victims = [path.read_text(encoding="utf-8") for path in folder.glob("*/victim")]
    found = {
        "its code ran": (folder / "EXECUTED").exists(),
        "a connection was asked for": mark.exists(),
        "a traceback": "Traceback (most recent call last)" in said,
        "an escape sequence was printed": "\x1b" in said or "\x07" in said,
        "a file behind a link was changed": victims not in ([], ["precious"]),
        f"exit code {done.returncode}, not {case.code}": case.code not in (done.returncode,)
        and "link" not in case.name,
        f"it does not say {case.says!r}": case.says not in said,
        "nothing was said": not said.strip() and case.code == 2,
    }
    return [what for what, there in found.items() if there]
