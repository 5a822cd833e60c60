"""warmstart: train from scratch, fine-tune, or both? Find out on your own data, then ship the winner."""

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

# Read by the OpenMP library when torch loads it. Threads that wait spin for milliseconds by default; on 2 cores
# of which something else used one, that made small matrix products 9 times slower. Idle machines lose nothing.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if TYPE_CHECKING:
    from warmstart.api import advise, check, compare, fit, load, plan, read, report, resume, table_of
    from warmstart.errors import InputError, MissingError, TrainingError, UsageError, WarmstartError

__all__ = [
    "InputError",
    "MissingError",
    "TrainingError",
    "UsageError",
    "WarmstartError",
    "advise",
    "check",
    "compare",
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

    return getattr(import_module("warmstart.errors" if name.endswith("Error") else "warmstart.api"), name)


class _Package(ModuleType):
    """Keeps `warmstart.compare` and `warmstart.report` the functions that they are.

    The import system sets a module as an attribute of its package, so that without this the function would be gone
    as soon as the module of the same name has been imported.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
