"""Files: written atomically."""

import json
import os
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """Write atomically: a reader, or a kill, sees the old file or the new one, never half of one."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w") as file:
        json.dump(value, file, indent=1, ensure_ascii=False, allow_nan=False, default=_scalar)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def sync(path: Path) -> None:
    """Wait until it is on the disk: a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _scalar(value: Any) -> Any:
    if type(value).__module__ == "numpy" and not getattr(value, "shape", ()):  # a scalar; numpy is not imported for it
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def cache_folder() -> Path:
    """Where things lie that can be made again: `$XDG_CACHE_HOME/warmstart`, else `~/.cache/warmstart`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "warmstart"
