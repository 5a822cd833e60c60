"""History: what did earlier runs on this machine take, for estimates without data? Facts only, never a text.

One line of JSON per run in `warmstart/log.jsonl` of the user's state folder. Failing to write it never fails a run.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from warmstart.results.names import regime_of
from warmstart.results.record import Run

OFF = "WARMSTART_LOG"  # set to 0: nothing is written


def history_path() -> Path:
    """Path of the log: below XDG_STATE_HOME, else ~/.local/state."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "warmstart" / "log.jsonl"


def append(run: Run, base: str, tokens: float | None) -> None:
    """Append the cost of a run that started from `base`.

    `tokens`: computed per text, padding included; None: the model reads no tokens.
    """
    if os.environ.get(OFF) == "0":
        return
    facts = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "warmstart": run.environment.warmstart,
        "task": run.task,
        "regime": regime_of(run.regime),
        "base": base,
        "rows": run.rows,
        "tokens": tokens,
        "steps": run.steps,
        "trainable": run.cost.trainable,
        "total": run.cost.total,
        "flops": run.cost.flops,
        "seconds": run.cost.seconds,
        "peak_memory_bytes": run.cost.peak_memory_bytes,
        "disk_bytes": run.disk_bytes,
        "metric": run.metric,
        "score": run.test,
        "failed": run.failed is not None,
        "predicted": run.predicted,
        "device": run.environment.device,
        "threads": run.environment.threads,
    }
    try:
        file = history_path()
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(facts) + "\n")  # one write, so that two processes do not mix their lines
    except (OSError, ValueError, RuntimeError):  # no home, no room, no permission
        return


def read_history() -> list[dict[str, Any]]:
    """Every run in the log; damaged lines are skipped."""
    try:
        lines = history_path().read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, RuntimeError):
        return []
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and {"task", "regime", "rows", "seconds"} <= entry.keys():
            found.append(entry)
    return found
