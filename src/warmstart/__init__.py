"""warmstart: train from scratch, fine-tune, or both? Find out on your own data, then ship the winner."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from warmstart.api import check, compare, fit, load, read, table_of
    from warmstart.errors import InputError, MissingError, TrainingError, UsageError, WarmstartError

__all__ = [
    "InputError",
    "MissingError",
    "TrainingError",
    "UsageError",
    "WarmstartError",
    "check",
    "compare",
    "fit",
    "load",
    "read",
    "table_of",
]


def __getattr__(name: str) -> Any:
    """Import on first use: `import warmstart` takes no time, torch comes when something is trained."""
    if name not in __all__:
        raise AttributeError(f"module 'warmstart' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("warmstart.errors" if name.endswith("Error") else "warmstart.api"), name)
