"""warmstart: train from scratch, fine-tune, or both? Find out on your own data, then ship the winner."""

import os
from typing import TYPE_CHECKING, Any

# Read by the OpenMP library when torch loads it. Threads that wait spin for milliseconds by default; on 2 cores
# of which something else used one, that made small matrix products 9 times slower. Idle machines lose nothing.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if TYPE_CHECKING:
    from warmstart.api import advise, check, compare, export, fit, load, plan, read, report, resume
    from warmstart.data.tables.read import table_of
    from warmstart.errors import InputError, MissingError, TrainingError, UsageError, WarmstartError
    from warmstart.estimators import WarmstartClassifier, WarmstartRegressor


__all__ = [
    "InputError",
    "MissingError",
    "TrainingError",
    "UsageError",
    "WarmstartClassifier",
    "WarmstartError",
    "WarmstartRegressor",
    "advise",
    "check",
    "compare",
    "export",
    "fit",
    "load",
    "plan",
    "read",
    "report",
    "resume",
    "table_of",
]


def __getattr__(name: str) -> Any:
    """Import on first use: `import warmstart` takes no time, torch comes when something is trained."""
    if name not in __all__:
        raise AttributeError(f"module 'warmstart' has no attribute {name!r}")
    from importlib import import_module

    where = "errors" if name.endswith("Error") else "estimators" if name.startswith("Warmstart") else "api"
    return getattr(import_module(f"warmstart.{where}"), name)
