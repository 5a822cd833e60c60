"""GPU: how fast are packing, compiling, adapters and training from scratch on one GPU, and are the results the same?

    python benchmarks/gpu.py [--out FILE] [--parts packing,scratch] [--seconds 540] [--tiny]

Needs torch 2.11 or newer with CUDA, and no network: all weights and texts are made up. Each part runs in a process of
its own, so that it survives the failure of the others, and ends with the time that is left. The file is written after
each of them. `--tiny` goes through everything with tiny shapes, also on a CPU. What each part does: gpu_parts.py.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "gpu.json"
LONGEST = 540.0  # seconds of everything
LEAST = 15.0  # seconds without which no part is begun


@dataclass(frozen=True)
class Part:
    """A question, and the most seconds that it may take."""

    name: str
    seconds: float


PARTS = (
    Part("golden", 60),
    Part("packing", 60),
    Part("compiling", 75),
    Part("scratch", 75),
    Part("lora", 120),
    Part("finetune", 75),
    Part("qlora", 75),
    Part("resume", 75),
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--parts", default=",".join(part.name for part in PARTS))
    parser.add_argument("--seconds", type=float, default=LONGEST)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args(arguments)
    wanted = given.parts.split(",")
    if unknown := set(wanted) - {part.name for part in PARTS}:
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    found = run_parts([part for part in PARTS if part.name in wanted], given.out, given.seconds, tiny=given.tiny)
    return 1 if any("error" in result for result in found["parts"].values()) else 0


def run_parts(parts: list[Part], out: Path, seconds: float, *, tiny: bool) -> dict[str, Any]:
    """Run each part within the time that is left, and write what was found after each of them."""
    began = time.monotonic()
    found: dict[str, Any] = {"tiny": tiny, "parts": {}}
    for part in parts:
        left = seconds - (time.monotonic() - began)
        if left < min(LEAST, part.seconds):
            found["parts"][part.name] = {"skipped": "there was no time left"}
        else:
            found["parts"][part.name] = run_part(part, min(left, part.seconds), tiny)
        found["seconds"] = round(time.monotonic() - began, 1)
        write(out, found)
        print(json.dumps({part.name: found["parts"][part.name]}), flush=True)
    return found


def run_part(part: Part, seconds: float, tiny: bool) -> dict[str, Any]:
    """What a part prints as its last line; or why there is none."""
    began = time.monotonic()
    call = [sys.executable, "-W", "ignore", str(HERE / "gpu_parts.py"), part.name, "tiny" if tiny else "full"]
    paths = [str(HERE), str(HERE.parent), str(HERE.parent / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=seconds, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"it took longer than {seconds:.0f} s"}
    took = {"seconds": round(time.monotonic() - began, 1)}
    if done.returncode:
        return {"error": "\n".join(done.stderr.strip().splitlines()[-5:]) or f"exit code {done.returncode}"} | took
    try:
        result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return {"error": f"it printed no result: {done.stdout[-300:]!r}"} | took
    return result | took


def write(path: Path, found: dict[str, Any]) -> None:
    """Replace the file at once, so that it is whole whenever the machine is taken away."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(found, indent=1) + "\n")
    beside.replace(path)


if __name__ == "__main__":
    sys.exit(main())
