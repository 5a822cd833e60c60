"""Trial: what happens when one command meets one hostile case, and what of that is wrong?"""

import multiprocessing
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from hostile.cases import Case

CPU_SECONDS = 10  # of the processor, to a refusal
PATIENCE = 120.0  # seconds of wall time; a busy machine needs many. A process that still runs then is stuck
START_SECONDS = 20  # of the processor, to import everything in a process that is started anew
MAX_BYTES = 2 << 30  # resident
ROOT = Path(__file__).parent.parent
CONTEXT = multiprocessing.get_context("forkserver")

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
    """How a command ended, and what is wrong with that."""

    case: Case
    seconds: float
    peak_bytes: int  # 0 where it was killed, and for a process that was started anew
    wrong: tuple[str, ...]  # in words; empty: as it should be


def start_server() -> None:
    """Name what everything is forked from. To be called once, before the first case."""
    os.environ["OMP_NUM_THREADS"] = "1"  # a process with several threads may not be forked
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["WARMSTART_SUPERVISED"] = "1"
    CONTEXT.set_forkserver_preload(["hostile.children"])


def try_case(case: Case, material: Path) -> Outcome:
    """Copy the material, make it hostile, and run the command without a network, with little time."""
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        folder = Path(name) / "work"
        shutil.copytree(material, folder, symlinks=True)
        case.make(folder)
        began = time.monotonic()
        code = (_started_anew if case.kind == "surroundings" else _forked)(case, folder)
        seconds = time.monotonic() - began
        peak = Path(name) / "peak"
        used = int(peak.read_text()) * 1024 if peak.exists() else 0
        return Outcome(case, seconds, used, tuple(_wrong(case, code, used, folder)))


def _forked(case: Case, folder: Path) -> int | None:
    """The exit code; negative: the signal that killed it; None: it did not end."""
    from hostile import children

    environment = {"HOME": str(folder), **case.environment}
    arguments = (case.words, folder, environment, case.stdin, CPU_SECONDS)
    child = CONTEXT.Process(target=children.run_command, args=arguments, daemon=True)
    child.start()
    child.join(PATIENCE)
    code = child.exitcode
    child.kill()
    child.join()
    return code


def _started_anew(case: Case, folder: Path) -> int | None:
    quiet = folder.parent / "quiet"
    quiet.mkdir()
    (quiet / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(quiet), str(ROOT / "src"))),
        "HOME": str(folder),
        "HOSTILE_MARK": str(folder.parent / "connected"),
        **case.environment,
    }
    command = shlex.join([sys.executable, "-m", "warmstart", *case.words])
    with (folder.parent / "said").open("wb") as said:
        try:
            return subprocess.run(
                ["bash", "-c", f"ulimit -t {START_SECONDS + CPU_SECONDS}; exec {command} {case.shell}"],
                cwd=folder,
                env=environment,
                input=case.stdin.encode(),
                stdout=said,
                stderr=said,
                timeout=PATIENCE,
            ).returncode
        except subprocess.TimeoutExpired:
            return None


def _wrong(case: Case, code: int | None, used: int, folder: Path) -> list[str]:
    if code is None:
        return ["it did not end"]
    place = folder.parent
    said = (place / "said").read_bytes().decode("utf-8", errors="replace") if (place / "said").exists() else ""
    victims = [path.read_text(encoding="utf-8") for path in folder.glob("*/victim")]
    last = said.strip().splitlines()[-1:] or [""]
    found = {
        "its code ran": (folder / "EXECUTED").exists(),
        "it asked for a connection": (place / "connected").exists(),
        f"a traceback: {last[0][:150]}": "Traceback (most recent call last)" in said,
        "an escape sequence was printed": "\x1b" in said or "\x07" in said,
        "a file behind a link was changed": victims not in ([], ["precious"]),
        f"it computed for more than {CPU_SECONDS} s": code == -24,  # SIGXCPU
        f"exit code {code}, not {join_codes(case)}": code not in case.codes and code != -24 and "link" not in case.name,
        f"it does not say {case.says!r}": case.says not in said,
        "nothing was said": not said.strip() and code == 2,
        f"it took {used / 2**30:.1f} GB": used > MAX_BYTES,
    }
    return [what for what, there in found.items() if there]


def join_codes(case: Case) -> str:
    return " or ".join(map(str, case.codes))
